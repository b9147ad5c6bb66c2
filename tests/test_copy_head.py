"""A copy head from training to service: lists agree, and tracks without a row are scored, masked and kept in golden cases."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from model import artifact
from model.artifact import Artifact
from model.encoding import RowHistory
from model.events import Entry, Outcome
from model.graphs import Graphs
from model.long_history import long_history_of
from tests.test_end_to_end import served
from training.__main__ import main
from training.data.log import open_log
from training.replaying.replay import replay
from training.run_folder import SESSION_MEMORY

pytestmark = pytest.mark.timeout(600)  # torch's exporter takes 20 s of processor time for a copy head
LENGTH = 60
RECIPE = f"""\
name = "copying"
[history]
length = 8
[split]
min_count = 25
valid = 0.2
test = 0.1
[network]
width = 16
layers = 1
heads = 2
feed_forward = 32
gaps = true
wanted_head = true
[loss]
feedback = 0.5
[fit]
epochs = 1
batch = 64
valid_cases = 1500
[calibration]
wanted = [3.0, 10.0]
theta = [0.2]
hit_loss = 0.9
[copy_head]
length = {LENGTH}
steps = 100
[session_memory]
weights = [5]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a simulated log and an artifact trained on it, with all optional parts.

    The export compares its graphs with torch on random long histories, also with request-local rows.
    """
    folder = tmp_path_factory.mktemp("copying")
    (folder / "copying.toml").write_text(RECIPE)
    log, out = str(folder / "log"), str(folder / "artifacts")
    assert main(["simulate", "--out", log, "--listeners", "120", "--tracks", "300", "--artists", "40"]) == 0
    recipe = ["--recipe", str(folder / "copying.toml"), "--run", str(folder / "run")]
    assert main(["run", log, *recipe, "--cases", "100", "--out", out, "--force"]) == 0
    return folder


@pytest.fixture(scope="module")
def exported(world: Path) -> Artifact:
    """Load the artifact."""
    return artifact.load(world / "artifacts" / "current")


@pytest.fixture(scope="module")
def graphs(exported: Artifact) -> Graphs:
    """Open the artifact's graphs."""
    return Graphs(exported, threads=1)


def test_lists_agree_over_the_long_history(world: Path, exported: Artifact) -> None:
    """The service keeps 40 events in its window, and older plays packed. The head proposes tracks that the model lacks."""
    with served(world, history_events=40, long_history=LENGTH) as url:
        replayed = replay(open_log(world / "log"), exported.folder, url, listeners=12, console=Console(file=StringIO()))

    assert replayed.online.counts["cases"] > 100
    assert replayed.online.counts["unknown"] > 20
    assert (replayed.same, replayed.degraded) == (1.0, 0), replayed.differences
    assert replayed.online.values == pytest.approx(replayed.offline.values)


def test_the_manifest_tells_the_service_what_to_read(exported: Artifact) -> None:
    """The manifest has the length of the long history and the names of the inputs."""
    manifest = exported.manifest

    assert manifest.long_history == LENGTH
    assert {"own_tracks", "own_outcomes", "own_ages", "own_session", "own_newest"} <= {*manifest.inputs}
    assert {"own_tracks", "own_newest"} <= {*manifest.rank_inputs}


def test_the_session_memory_is_used_beside_the_head(world: Path) -> None:
    [chosen] = json.loads((world / "run" / SESSION_MEMORY).read_text())

    assert chosen["memory"] == 5


@pytest.mark.usefixtures("graphs")
def test_golden_cases_hold_own_tracks_without_a_row(exported: Artifact) -> None:
    """The service's graphs replay them when they load. One case proposes a track without a row."""
    assert any(row >= len(exported.vocabulary) for case in exported.golden for row in case.best)


def history_of(exported: Artifact, track_ids: list[str]) -> RowHistory:
    """Encode plays a minute apart, as the service would. The last three are in the current session."""
    entries = [
        Entry(
            track_id,
            Outcome.SKIPPED if place % 4 == 3 else Outcome.PLAYED,
            place * 60_000,
            False,
            int(place >= len(track_ids) - 3),
        )
        for place, track_id in enumerate(track_ids)
    ]
    vocabulary, now_ms = exported.vocabulary, len(entries) * 60_000
    own = long_history_of(entries, vocabulary, length=LENGTH, now_ms=now_ms, going_on={1}).encoded
    known = [entry for entry in entries if vocabulary.knows(entry.track_id)][-exported.manifest.history.length :]
    return RowHistory(
        [vocabulary.row(entry.track_id) for entry in known], [entry.outcome for entry in known], [1] * len(known), own
    )


def test_lists_and_candidates_have_the_same_scores(exported: Artifact, graphs: Graphs) -> None:
    """If the listed tracks are sent as candidates, they get the list's scores. Request-local rows do too, in a batch with
    others.
    """
    tracks, size = list(exported.vocabulary.tracks), len(exported.vocabulary)
    history = history_of(exported, ["mine", *tracks[:6], "mine", "yours", *tracks[2:5]])
    beside = [RowHistory(), history, history_of(exported, tracks[:3])]

    best = graphs.best(beside, [[], [], []], [size, size, size])
    ranked = graphs.rank(beside, [one.rows for one in best])

    assert max(best[1].rows) == size + 1  # the listener has two unknown tracks
    assert max([*best[0].rows, *best[2].rows]) < size  # no listener gets another's tracks
    for one, again in zip(best, ranked, strict=True):
        assert again.scores == pytest.approx(one.scores, rel=1e-4, abs=1e-4)


def test_an_own_track_without_a_row_can_be_masked(exported: Artifact, graphs: Graphs) -> None:
    """A request-local row in `excluded` is removed from the list, and nothing else changes."""
    tracks, size = list(exported.vocabulary.tracks), len(exported.vocabulary)
    history = history_of(exported, ["mine", *tracks[:6], "mine", *tracks[:2]])
    [free], [masked] = graphs.best([history], [[]], [size]), graphs.best([history], [[size]], [size])

    rest = [row for row in free.rows if row != size]

    assert size in free.rows
    assert len(rest) > 20
    assert masked.rows[: len(rest)] == rest
    assert size not in masked.rows
