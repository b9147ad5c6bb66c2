"""The graphs of a network with a copy head: they agree with torch, score own tracks without a row, and pass golden cases."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from model import artifact
from model.encoding import RowHistory
from model.events import Entry, Outcome
from model.graphs import Graphs
from model.long_history import long_history_of
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.copy_head import CopyHead
from model.nets.network import Network
from model.nets.session_memory import SessionMemory
from model.vocabulary import FIRST, Vocabulary
from tests.training.conftest import TRACKS
from tests.training.worlds import small_recipe
from training.evaluation.rankers import NetworkRanker
from training.exporting import scoring_graphs
from training.exporting.export import export, golden_of, open_graph, weight_of
from training.exporting.graphs import export_encoder, write_graph, write_weights
from training.exporting.search.select_retrieval import select_retrieval
from training.fitting.session_memory import tables

pytestmark = pytest.mark.timeout(600)  # torch's exporter takes 20 s of processor time for a copy head
LENGTH = 40


def _network() -> Network:
    """Make a network with random weights, all optional parts, and a confident copy head."""
    torch.manual_seed(3)
    config = NetworkConfig(width=16, layers=1, heads=2, feed_forward=32, gaps=True, wanted_head=True)
    rows = len(TRACKS) + FIRST
    network = build(config, rows, 9)
    network.copy_head = CopyHead(rows, LENGTH)
    network.copy_head.temperature.fill_(0.5)
    network.copy_head.shift.fill_(0.25)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        network.copy_head.gate.bias.fill_(10.0)  # own tracks rank first
    heard, number = np.random.default_rng(0).integers(FIRST, rows, 60), np.repeat(np.arange(6), 10)
    network.session_memory = SessionMemory(tables(heard, number, np.arange(6)[::-1], rows), recent=20, weight=2.0)
    return network.eval()


def _history(track_ids: list[str], vocabulary: Vocabulary) -> RowHistory:
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
    own = long_history_of(entries, vocabulary, length=LENGTH, now_ms=len(entries) * 60_000, going_on={1}).encoded
    known = [entry for entry in entries if entry.track_id in TRACKS][-9:]
    return RowHistory(
        [vocabulary.row(entry.track_id) for entry in known], [entry.outcome for entry in known], [1] * len(known), own
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the artifact. The export compares its graphs with torch on random long histories, also with request-local rows."""
    vocabulary = Vocabulary(TRACKS)
    samples = [_history([*TRACKS[:size], "mine", *TRACKS[:size], "mine", TRACKS[0]], vocabulary) for size in range(9)]
    return export(
        _network(),
        recipe=small_recipe("copies", length=9),
        vocabulary=vocabulary,
        popular=list(range(FIRST, len(vocabulary))),
        samples=samples,
        root=tmp_path_factory.mktemp("copies"),
        origin={},
        quality={},
    )


def test_the_manifest_tells_the_service_what_to_read(exported: Path) -> None:
    """The manifest has the length of the long history and the names of the inputs."""
    manifest = artifact.load(exported).manifest

    assert manifest.long_history == LENGTH
    assert {"own_tracks", "own_outcomes", "own_ages", "own_session", "own_newest"} <= {*manifest.inputs}
    assert {"own_tracks", "own_newest"} <= {*manifest.rank_inputs}


def test_golden_cases_hold_own_tracks_without_a_row(exported: Path) -> None:
    """The service's graphs replay them when they load. One case proposes a track without a row."""
    found = artifact.load(exported)
    Graphs(found, threads=1)

    assert any(row >= len(found.vocabulary) for case in found.golden for row in case.best)


def test_lists_and_candidates_have_the_same_scores(exported: Path) -> None:
    """If the listed tracks are sent as candidates, they get the list's scores. Request-local rows do too, in a batch with
    others.
    """
    found = artifact.load(exported)
    graphs = Graphs(found, threads=1)
    history = _history(["mine", *TRACKS[:6], "mine", "yours", *TRACKS[2:5]], found.vocabulary)
    beside = [RowHistory(), history, _history(TRACKS[:3], found.vocabulary)]

    best = graphs.best(beside, [[], [], []], [30, 30, 30])
    ranked = graphs.rank(beside, [one.rows for one in best])

    assert max(best[1].rows) == len(found.vocabulary) + 1  # the listener has two unknown tracks
    assert max([*best[0].rows, *best[2].rows]) < len(found.vocabulary)  # no listener gets another's tracks
    for one, again in zip(best, ranked, strict=True):
        assert again.scores == pytest.approx(one.scores, rel=1e-4, abs=1e-4)


def test_an_own_track_without_a_row_can_be_masked(exported: Path) -> None:
    """A request-local row in `excluded` is removed from the list, and nothing else changes."""
    found = artifact.load(exported)
    graphs, size = Graphs(found, threads=1), len(found.vocabulary)
    history = _history(["mine", *TRACKS[:6], "mine", *TRACKS[:2]], found.vocabulary)
    [free], [masked] = graphs.best([history], [[]], [30]), graphs.best([history], [[size]], [30])

    assert size in free.rows
    assert masked.rows[:29] == [row for row in free.rows if row != size][:29]


def test_a_faster_search_is_compared_on_listeners_own_tracks(tmp_path: Path) -> None:
    """The comparison reads long histories, and golden cases with tracks without a row stay the same."""
    network, vocabulary = _network(), Vocabulary(TRACKS)
    encoder = export_encoder(network)
    records = write_weights(tmp_path, encoder.weights)
    write_graph(tmp_path / artifact.MODEL, encoder.graph, scoring_graphs.top(network), encoder.weights, records)
    samples = [_history(["mine", *TRACKS[:size], "yours", *TRACKS[:size]], vocabulary) for size in range(1, 9)]
    golden = golden_of(NetworkRanker.of("copies", network), samples[5], 9)

    chosen = select_retrieval(
        network,
        encoder,
        tmp_path,
        samples=samples,
        golden=[asdict(golden)],
        length=9,
        weight=weight_of(network),
        open_graph=open_graph,
        eight_bits_from=0,
        session_memory_from=0,
        copy_head_from=0,
    )

    assert (chosen.found.bits, chosen.found.overlap) == (8, 1)
    assert len(chosen.golden) == 1
    assert max(golden.best) >= len(vocabulary)
