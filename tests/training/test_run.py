"""From a log to an artifact by the command line, on a small simulated world: all steps together, and one by one.

The two runs differ in their folders only, so their files must not differ either. An export takes seconds, so tests share it.
"""

import json
import shutil
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from model import artifact
from model.encoding import RowHistory
from model.graphs import Graphs
from model.nets import build
from model.vocabulary import FIRST
from tests.training.goldens import golden_answers
from training import run
from training.__main__ import main
from training.data.catalogue import artists_of
from training.data.import_log import import_log
from training.data.log import open_log
from training.data.split import with_valid
from training.fitting.calibration import rate_prior
from training.fitting.checkpoint import CHECKPOINT, RunError
from training.fitting.fit import Fitted, fit
from training.recipe import CalibrationRule, CopyHeadRule, read_recipe
from training.run_folder import CALIBRATION, REPORT, RUN, SESSION_MEMORY, prepare, resume

RECIPE = """
name = "small"
[history]
length = 10
[network]
width = 16
layers = 1
heads = 2
feed_forward = 32
[loss]
pair = 0.5
[fit]
epochs = 2
batch = 32
[calibration]
theta = [0.5, 0.6, 0.7]
hit_loss = 0.9
[session_memory]
weights = [1, 5]
recent = 20
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder with a log, a recipe, a run and its artifacts."""

    root: Path

    @property
    def log(self) -> Path:
        """The folder that `simulate` writes."""
        return self.root / "log"

    @property
    def recipe(self) -> str:
        """The recipe's path."""
        return str(self.root / "small.toml")

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.root / "run"

    @property
    def artifacts(self) -> Path:
        """The folder that contains `current`."""
        return self.root / "artifacts"


def call(*words: object) -> int:
    """Call a command of `python -m training`. Returns its exit code."""
    return main([str(word) for word in words])


def simulated(root: Path) -> Place:
    """Simulate a log and write the recipe, below `root`."""
    place = Place(root=root)
    Path(place.recipe).write_text(RECIPE)
    options = ("--listeners", 50, "--tracks", 60, "--artists", 24, "--sessions", 3)
    assert call("simulate", "--out", place.log, *options) == 0
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Run all steps by one command."""
    place = simulated(tmp_path_factory.mktemp("first with a space"))
    words = ("--recipe", place.recipe, "--run", place.run, "--out", place.artifacts, "--threads", 1)
    assert call("run", place.log, *words) == 0
    return place


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Run the same steps by a command each."""
    place = simulated(tmp_path_factory.mktemp("second"))
    assert call("train", place.log, "--recipe", place.recipe, "--run", place.run, "--threads", 1) == 0
    assert call("evaluate", place.run, "--threads", 1) == 0
    assert call("export", place.run, "--out", place.artifacts, "--threads", 1) == 0
    return place


@dataclass(frozen=True, kw_only=True, slots=True)
class Renewed:
    """An artifact of the first run with other take-downs and sessions, and what its export said."""

    artifact: artifact.Artifact
    said: str


@pytest.fixture(scope="module")
def renewed(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Renewed:
    """Export the first run again, without a track and an artist, and with the sessions of the log's last quarter."""
    root, newer = tmp_path_factory.mktemp("renewed"), tmp_path_factory.mktemp("newer")
    whole = artifact.load(place.artifacts / "current")
    assert whole.catalogue is not None
    listed = {"tracks": [whole.vocabulary.track(FIRST + 1), "unknown"], "artists": [whole.catalogue.artists[0]], "albums": []}
    (root / "blocks.json").write_text(json.dumps(listed))
    events = pl.read_parquet(place.log / "events.parquet")
    events.tail(len(events) // 4).write_parquet(newer / "events.parquet")
    (newer / "log.json").write_bytes((place.log / "log.json").read_bytes())
    options = ("--blocks", root / "blocks.json", "--session-memory", newer, "--threads", 1)
    with redirect_stderr(StringIO()) as said:
        assert call("export", place.run, "--out", root / "artifacts", *options) == 0
    return Renewed(artifact=artifact.load(root / "artifacts" / "current"), said=" ".join(said.getvalue().split()))


def test_the_same_run_on_the_same_log_publishes_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The second command says which artifact is in use, where its report is, and how to train again."""
    before = {path.name for path in place.artifacts.iterdir()}
    name = (place.artifacts / "current").readlink()
    words = ("--recipe", place.recipe, "--run", place.run, "--out", place.artifacts, "--threads", 1)
    assert call("run", place.log, *words) == 0

    told = f"current is {name}, from the same log, recipe and code, so there is nothing to do"
    assert f"{told} (its report: {place.run}/report.html). --anew trains again" in capsys.readouterr().err
    assert {path.name for path in place.artifacts.iterdir()} == before


def test_take_downs_that_cannot_be_read_are_said_before_the_training(place: Place, tmp_path: Path) -> None:
    """They are needed at the end, which may be hours later."""
    words = ("--recipe", place.recipe, "--run", tmp_path / "run", "--blocks", tmp_path / "absent.json")

    assert call("run", place.log, *words) == 1
    assert not (tmp_path / "run").exists()


def test_run_leaves_an_artifact_that_loads(place: Place) -> None:
    """It has the recipe's history rule, the log's origin and the catalogue's names."""
    loaded = artifact.load(place.artifacts / "current")

    assert loaded.manifest.history == read_recipe(place.recipe).history
    assert loaded.manifest.recipe == read_recipe(place.recipe).as_dict()
    assert loaded.manifest.origin["events"] == open_log(place.log).about["events"]
    assert loaded.catalogue is not None
    assert all(loaded.catalogue.titles)


def test_golden_cases_of_the_run_replay(place: Place) -> None:
    """ONNX Runtime reproduces them from the folder alone."""
    for case, rows, scores in golden_answers(place.artifacts / "current"):
        assert rows[0].tolist() == list(case.best)
        assert scores[0] == pytest.approx(case.scores, rel=1e-4, abs=1e-4)


def test_artifact_carries_its_measured_quality(place: Place) -> None:
    """Its figures equal the report's, for this recipe and not for a baseline."""
    quality = artifact.load(place.artifacts / "current").manifest.quality
    [reported] = [one for one in json.loads((place.run / "report.json").read_text())["rankers"] if one["name"] == "small"]

    assert quality == reported
    assert 0 <= quality["values"]["hr@20"] <= 1
    assert quality["counts"]["cases"] > 100


def test_report_shows_the_baselines_and_the_best_possible_beside_the_model(place: Place) -> None:
    """All are measured on the same cases."""
    rankers = json.loads((place.run / "report.json").read_text())["rankers"]

    assert {"small", "best possible"} < {one["name"] for one in rankers}
    assert len(rankers) >= 6
    assert len({one["counts"]["cases"] for one in rankers}) == 1
    assert (place.run / "report.html").stat().st_size > 1000


def test_popular_tracks_are_the_whole_catalogue_best_first(place: Place) -> None:
    """The fallback can propose any track, and begins with a track that was really played often of late."""
    loaded = artifact.load(place.artifacts / "current")
    current = resume(place.run)
    counts = current.split.counts[list(loaded.popular)]

    assert sorted(loaded.popular) == list(range(2, len(loaded.vocabulary)))
    assert counts[:10].mean() > 2 * counts[-10:].mean()


def test_same_seed_gives_the_same_weights_and_the_same_artifact(place: Place, twin: Place) -> None:
    """Every file is equal byte for byte, except the manifest, which differs in version and date only."""
    one, two = (artifact.load(each.artifacts / "current") for each in (place, twin))
    states = [torch.load(next(each.run.glob("best-*.pt")), weights_only=True) for each in (place, twin)]
    own = {"version": "", "created_at": None, "sha256": ""}

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert one.manifest.files == two.manifest.files
    assert one.manifest.model_dump() | own == two.manifest.model_dump() | own


def test_evaluating_again_gives_the_same_numbers(place: Place) -> None:
    """The checkpoint is used, and nothing is trained again."""
    before = json.loads((place.run / "report.json").read_text())["rankers"]
    assert main(["evaluate", str(place.run), "--threads", "1"]) == 0

    assert json.loads((place.run / "report.json").read_text())["rankers"] == before


def test_another_recipe_in_the_runs_folder_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The error comes before anything is trained, and the run stays as it was."""
    before = (place.run / RUN).read_bytes()
    words = ["train", str(place.log), "--recipe", place.recipe, "--run", str(place.run), "--seed", "2"]

    assert main(words) == 1
    assert "holds another run: its recipe has seed = 1, not 2. " in capsys.readouterr().err
    assert (place.run / RUN).read_bytes() == before


def test_what_a_run_is_of_is_written_once(place: Place) -> None:
    """Another process may be reading `run.json`, and a process that is killed while writing leaves part of a file."""
    before = (place.run / RUN).stat().st_mtime_ns
    resume(place.run)

    assert (place.run / RUN).stat().st_mtime_ns == before


def test_full_disk_is_said_in_a_sentence(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the file, and nothing is left under its name."""
    (tmp_path / "run.draft").symlink_to("/dev/full")

    assert main(["train", str(place.log), "--recipe", place.recipe, "--run", str(tmp_path)]) == 1
    assert "run.json cannot be written: [Errno 28] No space left on device" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / RUN).exists()


def test_export_drops_what_was_taken_down(place: Place, renewed: Renewed) -> None:
    """An artist stands for the tracks that the log's catalogue says. Without `--blocks` nothing is dropped."""
    whole = artifact.load(place.artifacts / "current")
    assert whole.catalogue is not None
    dropped, artists = renewed.artifact.dropped, whole.catalogue.artists
    theirs = {FIRST + place for place, name in enumerate(artists) if name == artists[0]}

    assert list(whole.dropped) == []
    assert set(dropped) == theirs | {FIRST + 1}
    assert f"it never proposes {len(dropped)} of its tracks, which are taken down" in renewed.said


def test_export_before_measuring_is_refused(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An artifact carries its measured quality. The error says how to measure it."""
    words = ["train", str(place.log), "--recipe", place.recipe, "--run", str(tmp_path / "run")]
    assert main(words) == 0

    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "artifacts")]) == 1
    assert "is not measured yet; `python -m training evaluate" in capsys.readouterr().err.replace("\n", " ")


def log_of(root: Path, *, tracks: int, type: str) -> Path:
    """Make a log of six listeners with ten events each, all of one type."""
    events = [
        f"u{user},t{(user + play) % tracks},{1767225600 + user * 977 + play * 200},{type}"
        for user in range(6)
        for play in range(10)
    ]
    (root / "plays.csv").write_text("\n".join(["user_id,track_id,at_s,type", *events]))
    return import_log("canonical", [str(root / "plays.csv")], root / "log").folder


def test_model_that_is_worse_than_popularity_is_published_by_force_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that proposes no repeats has no hits where everybody plays the same track. `run` says so and ends with an error.

    Once published, it proposes the track to strangers, and nothing to a listener who has heard it.
    """
    log, recipe, run_, out = (
        log_of(tmp_path, tracks=1, type="complete"),
        tmp_path / "bad.toml",
        tmp_path / "run",
        tmp_path / "out",
    )
    recipe.write_text('name = "bad"\n[network]\nwidth = 8\nlayers = 1\nheads = 2\nrepeats = false\n[fit]\nepochs = 1\n')

    assert call("run", log, "--recipe", recipe, "--run", run_, "--out", out, "--threads", 1) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "bad is worse than popularity on its own test part: HR@20" in said
    assert "Nothing was published; --force publishes it all the same" in said
    assert not out.exists()

    assert call("export", run_, "--out", out, "--force") == 0
    published = artifact.load(out / "current")
    capsys.readouterr()
    assert call("export", run_, "--out", out, "--force") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"instead of {published.manifest.version}; `python -m training rollback --out {out}` brings that back" in said
    graphs = Graphs(published, threads=1)
    [stranger, listener] = graphs.best([RowHistory(), RowHistory([2], [1], [1])], [[], []], [5, 5])
    assert published.manifest.name == "bad"
    assert list(published.vocabulary.tracks) == ["t0"]
    assert (stranger.rows, listener.rows) == ([2], [])
    assert stranger.sound
    assert listener.sound


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rankers": [{"x": 1}]}'])
def test_report_that_cannot_be_read_is_said_in_a_sentence(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """The error names the command that writes it again."""
    shutil.copytree(place.run, tmp_path / "run")
    (tmp_path / "run" / REPORT).write_text(text)

    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "artifacts"), "--threads", "1"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "report.json is damaged or of another version" in said
    assert f"`python -m training evaluate {tmp_path / 'run'}` measures again" in said


def test_log_that_gives_nothing_to_select_by_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has skips only, so there is no kept track to find. Nothing is trained, and no checkpoint is left."""
    log = log_of(tmp_path, tracks=3, type="skip")

    assert main(["train", str(log), "--recipe", "sasrec", "--run", str(tmp_path / "run")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "the validation part has 6 cases and cannot give ndcg@10" in said
    assert "it gives no such score" in said
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_the_weight_of_the_memory_is_chosen_and_kept(place: Place) -> None:
    """The output lists the weights that were tried. The exported graphs use the chosen one."""
    tried = json.loads((place.run / SESSION_MEMORY).read_text())

    assert {one["memory"] for one in tried} == {1, 5}
    assert tried[0]["scores"]["ndcg@10"] == max(one["scores"]["ndcg@10"] for one in tried)


def test_refit_learns_from_both_parts_with_what_was_chosen(place: Place, tmp_path: Path) -> None:
    """The second training has the chosen number of epochs, a prior from the rates of both parts, and the memory's chosen
    weight. Repeating the command continues from its checkpoints.
    """
    console, log = Console(file=StringIO()), open_log(place.log)
    recipe = read_recipe(place.recipe)
    plain = run.train(prepare(log, recipe, tmp_path / "plain"), console)
    refit = replace(recipe, fit=replace(recipe.fit, refit=True))
    current = prepare(log, refit, tmp_path / "refit")
    fitted = run.train(current, console)
    known = with_valid(current.split)
    by_hand = replace(refit, fit=replace(refit.fit, epochs=plain.best + 1))
    artists = artists_of(log, current.split)
    anew = fit(by_hand, known, None, folder=tmp_path / "by hand", artists=artists, console=console)
    theta = json.loads((current.folder / CALIBRATION).read_text())[0]["theta"]
    anew.network.set_calibration(torch.from_numpy(rate_prior(known, theta)), 0.0)
    again = run.train(current, console)

    assert theta > 0
    assert [epoch.scores for epoch in fitted.epochs] == [epoch.scores for epoch in plain.epochs]
    assert fitted.sequences == plain.sequences + anew.sequences
    for network in (fitted.network, again.network):
        assert all(map(torch.equal, network.state_dict().values(), anew.network.state_dict().values()))
        assert not any(map(torch.equal, network.parameters(), plain.network.parameters()))
        assert network.session_memory is not None
        assert plain.network.session_memory is not None
        assert network.session_memory.weight == plain.network.session_memory.weight


def test_fresh_resumed_and_stepwise_runs_end_with_the_same_weights(place: Place, twin: Place, tmp_path: Path) -> None:
    """The runs have no refit, and a prior (theta above 0) that must be in the weights exactly once.

    Fresh and resumed runs are compared with the best epoch's weights and the prior added by hand. The weights of separate
    `train`, `evaluate` and `export` commands are read from the artifact's file.
    """
    console = Console(file=StringIO())
    fresh = run.train(prepare(open_log(place.log), read_recipe(place.recipe), tmp_path / "fresh"), console).network
    resumed = run.train(resume(tmp_path / "fresh"), console).network
    by_hand = torch.load(next((tmp_path / "fresh").glob("best-*.pt")), weights_only=True)
    theta = json.loads((tmp_path / "fresh" / CALIBRATION).read_text())[0]["theta"]
    by_hand["bias"] += torch.from_numpy(rate_prior(resume(tmp_path / "fresh").split, theta))
    published = artifact.load(twin.artifacts / "current")
    items = published.manifest.weights["items"]
    exported = np.memmap(published.folder / artifact.WEIGHTS, items.dtype, "r", items.offset, items.shape)

    assert theta > 0
    for network in (fresh, resumed):
        state = network.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in by_hand.items())
        assert np.array_equal(network.item_matrix().detach().numpy(), exported)


def test_first_network_is_gone_before_the_second_is_learned(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At ten million tracks one network takes gigabytes. When the second begins, only the first one's session memory is still
    held.
    """
    recipe = read_recipe(place.recipe)
    fitted: list[Fitted] = []
    held: list[list[str]] = []

    def watched(*args: Any, **kwargs: Any) -> Fitted:
        held.append([parameter.device.type for first in fitted for parameter in first.network.parameters()])
        fitted.append(fit(*args, **kwargs))
        return fitted[-1]

    monkeypatch.setattr(run, "fit", watched)
    refit = replace(recipe, fit=replace(recipe.fit, refit=True))
    run.train(prepare(open_log(place.log), refit, tmp_path / "run"), Console(file=StringIO()))

    assert [set(devices) for devices in held] == [set(), {"meta"}]


def test_what_a_finished_run_has_chosen_is_not_chosen_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nightly export repeats neither the start of the vectors nor the validation. A file of choices that cannot be read is an
    error.
    """
    recipe = read_recipe(place.recipe)
    recipe = replace(
        recipe,
        fit=replace(recipe.fit, start="cooccurrence", refit=True),
        calibration=CalibrationRule(theta=(0.2,), hit_loss=0.9),
    )
    console = Console(file=StringIO())
    current = prepare(open_log(place.log), recipe, tmp_path / "run")
    first = run.train(current, console).network
    for name in (
        "training.run.choose_calibration",
        "training.run.choose_session_memory",
        "training.fitting.fit.smoothed_vectors",
    ):
        monkeypatch.setattr(name, None)
    again = run.train(resume(current.folder), console).network

    assert all(map(torch.equal, again.state_dict().values(), first.state_dict().values()))
    assert again.session_memory is not None
    assert first.session_memory is not None
    assert again.session_memory.weight == first.session_memory.weight
    (current.folder / CALIBRATION).write_text('[{"share": 1}]')
    with pytest.raises(RunError, match=r"calibration\.json is of another version"):
        run.train(current, console)


def test_every_long_stage_shows_its_progress(place: Place, tmp_path: Path) -> None:
    """On a terminal a stage begins with an empty bar, so each leaves its title. Elsewhere the same stages print lines."""
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    recipe = replace(read_recipe(place.recipe), copy_head=CopyHeadRule(length=20))
    current = prepare(open_log(place.log), recipe, tmp_path / "run", console=console)
    fitted = run.train(current, console)
    measured, _ = run.measure(current, fitted, console)
    run.publish(current, fitted, measured[1].as_dict(), tmp_path / "artifacts", console=console)
    stages = ["reading the log", "training small", "choosing weights", "reading listeners' own pasts"]
    stages += ["trying the session memory", "measuring the proposals", "writing the artifact"]

    assert [stage for stage in stages if stage not in out.getvalue()] == []


def test_newer_sessions_are_remembered_without_training(place: Place, renewed: Renewed) -> None:
    """The network stays the same, and the memory is filled from another log (here a later part). Lists change, and golden cases
    hold.
    """
    before, after = artifact.load(place.artifacts / "current").golden, renewed.artifact.golden

    assert [case.rows for case in before] == [case.rows for case in after]
    assert [case.best for case in before] != [case.best for case in after]
    assert before[0] == after[0]  # an empty history matches no session
    for case, rows, _ in golden_answers(renewed.artifact.folder):
        assert rows[0].tolist() == list(case.best)


@pytest.fixture(scope="module")
def longer(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of the first run. Its catalogue has one more track of the first artist, listed twice, and one of no artist."""
    log = tmp_path_factory.mktemp("longer") / "log"
    shutil.copytree(place.log, log)
    catalogue = pl.read_parquet(log / "catalogue.parquet")
    new = pl.DataFrame({"track_id": ["new", "new", "nobody's"], "artist": ["x", catalogue["artist"][0], None]})
    pl.concat([catalogue, new], how="diagonal").write_parquet(log / "catalogue.parquet")
    return log


def _published(log: Path, recipe: str, folder: Path) -> artifact.Artifact:
    """Train, evaluate and export a recipe in a folder."""
    words = ["run", log, "--recipe", recipe, "--run", folder / "run", "--out", folder / "artifacts", "--threads", 1]
    assert main([str(word) for word in words]) == 0
    return artifact.load(folder / "artifacts" / "current")


def _items(loaded: artifact.Artifact) -> np.memmap[Any, np.dtype[np.float32]]:
    record = loaded.manifest.weights["items"]
    return np.memmap(loaded.folder / artifact.WEIGHTS, np.float32, "r", record.offset, record.shape)


def test_new_tracks_are_served_with_the_vector_of_their_artist(place: Place, longer: Path, tmp_path: Path) -> None:
    """Trained tracks keep their rows and items. Golden cases hold, and the lists can have new tracks."""
    plain, found = artifact.load(place.artifacts / "current"), _published(longer, f"{place.recipe}:new_tracks=true", tmp_path)
    known, items, before = len(plain.vocabulary), _items(found), _items(plain)
    assert found.catalogue is not None
    artists = [None, None, *found.catalogue.artists]
    near = [row for row in range(FIRST, known) if artists[row] == artists[found.vocabulary.row("new")]]
    heard = RowHistory([found.vocabulary.row("new")], [1], [1])
    [best] = Graphs(found, threads=1).best([heard], [[]], [len(found.vocabulary) - FIRST])

    assert found.vocabulary.tracks[: known - FIRST] == plain.vocabulary.tracks
    assert found.vocabulary.tracks[known - FIRST :][-2:] == ["new", "nobody's"]
    assert np.array_equal(items[:known], before)
    assert items[found.vocabulary.row("new"), :-1] == pytest.approx(before[near, :-1].mean(0), abs=1e-5)
    assert items[found.vocabulary.row("new"), -1] <= np.quantile(before[near, -1], 0.1)
    assert items[found.vocabulary.row("nobody's"), :-1] == pytest.approx(before[FIRST:, :-1].mean(0), abs=1e-5)
    assert sorted(best.rows) == list(range(FIRST, len(found.vocabulary)))
    for case, rows, _ in golden_answers(found.folder):
        assert rows[0].tolist() == list(case.best)


def test_new_tracks_change_nothing_with_the_option_off(place: Place, longer: Path, tmp_path: Path) -> None:
    """The log counts as the same one, because no model learns from tracks without events. All arrays are equal."""
    plain, found = artifact.load(place.artifacts / "current"), _published(longer, place.recipe, tmp_path)

    assert open_log(longer).content() == open_log(place.log).content()
    for name in (artifact.WEIGHTS, artifact.TRACKS, artifact.POPULAR, artifact.GOLDEN, artifact.CATALOGUE):
        assert (found.folder / name).read_bytes() == (plain.folder / name).read_bytes()


def test_a_network_without_a_memory_is_given_none(place: Place) -> None:
    """The error is a sentence, and nothing is exported."""
    current = resume(place.run)
    plain = build(current.recipe.network, len(current.split.vocabulary), current.recipe.history.length)

    with pytest.raises(RunError, match="remembers no sessions"):
        run.refresh_session_memory(current, plain, current.log)


def test_artists_are_numbered_in_the_order_of_the_rows(place: Place, tmp_path: Path) -> None:
    """Numbers start at 1, each artist has one, and padding and unknown have none. A log without a catalogue gives no
    numbers.
    """
    current = resume(place.run)
    artists = artists_of(current.log, current.split)
    for name in ("events.parquet", "log.json"):
        (tmp_path / name).write_bytes((place.log / name).read_bytes())

    assert artists is not None
    assert artists.shape == (len(current.split.vocabulary),)
    assert artists[:2].tolist() == [0, 0]
    assert set(artists[2:].tolist()) == set(range(1, int(artists.max()) + 1))
    assert artists_of(open_log(tmp_path), current.split) is None
