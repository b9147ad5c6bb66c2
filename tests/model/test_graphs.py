"""ONNX graphs run in batches, agree with the model computed by hand, and are refused if they differ."""

import itertools
import math
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from model.artifact import Artifact, ArtifactError, Golden
from model.batch_memory import taken_bytes
from model.encoding import RowHistory
from model.graphs import Graphs
from model.vocabulary import FIRST
from tests.service import artifacts

HISTORIES = [
    RowHistory(),
    RowHistory([FIRST + 3], [1]),
    RowHistory([FIRST + 3, FIRST + 2, FIRST + 2], [1, 2, 1]),
    RowHistory([FIRST + number % 40 for number in range(60)], [1 + number % 2 for number in range(60)]),
]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """Open the small artifact's graphs."""
    return Graphs(artifacts.load(tmp_path_factory.mktemp("artifact")), threads=1)


def by_hand(history: RowHistory) -> dict[int, float]:
    """Compute the model of `artifacts.py` a second time: the score of each row."""
    liking = np.zeros(artifacts.GENRES)
    for row, outcome in zip(history.rows[-50:], history.outcomes[-50:], strict=True):
        liking[(row - FIRST) % artifacts.GENRES] += -1 if outcome == 2 else 1
    prior = np.linspace(0.5, 0.0, 42)
    return {row: float(liking[(row - FIRST) % artifacts.GENRES] + prior[row]) for row in range(FIRST, 42)}


def large(root: Path, tracks: int = 80_000, probes: int | None = None) -> Artifact:
    """Make an artifact of many tracks."""
    return artifacts.load(root, tracks=[f"t{number}" for number in range(tracks)], probes=probes)


def test_batch_of_ragged_histories_is_scored_each_as_alone(graphs: Graphs) -> None:
    """One batch holds empty, short, long and truncated histories with different counts and exclusions. Each agrees with the
    hand computation.
    """
    counts, excluded = [5, 1, 40, 3], [[], [FIRST + 7], [FIRST, FIRST + 1], [FIRST + 2]]
    found = graphs.best(HISTORIES, excluded, counts)

    for history, without, count, scores in zip(HISTORIES, excluded, counts, found, strict=True):
        wanted = {row: score for row, score in by_hand(history).items() if row not in without}
        best = sorted(wanted, key=lambda row: -wanted[row])[:count]
        assert scores.rows == best
        assert np.allclose(scores.scores, [wanted[row] for row in best], atol=1e-5)


def test_time_of_a_run_is_that_of_onnx_runtime_alone(graphs: Graphs) -> None:
    """Every request of a batch reports the same run. Steps before and after it do not count."""
    started = time.perf_counter()
    found = graphs.best(HISTORIES, [[]] * 4, [1] * 4)
    elapsed_s = time.perf_counter() - started

    assert {scores.ran_s for scores in found} == {found[0].ran_s}
    assert 0 < found[0].ran_s < elapsed_s


def test_fewer_tracks_than_asked_for_is_no_error(graphs: Graphs) -> None:
    """All remaining tracks are returned; padding, unknown and excluded rows never are."""
    [found] = graphs.best([RowHistory()], [list(range(FIRST, 39))], [1_000])

    assert found.rows == [39, 40, 41]


def test_candidates_are_scored_in_their_order(graphs: Graphs) -> None:
    """A batch may have different numbers of candidates. Scores equal those over the whole catalogue."""
    candidates = [[FIRST + 5, FIRST], [FIRST + 7], [], [41]]
    found = graphs.rank(HISTORIES, candidates)

    assert [scores.rows for scores in found] == candidates
    for history, scores in zip(HISTORIES, found, strict=True):
        assert np.allclose(scores.scores, [by_hand(history)[row] for row in scores.rows], atol=1e-5)


def test_artifact_that_answers_otherwise_than_at_training_is_refused(tmp_path: Path) -> None:
    """Golden cases are replayed before anything is served."""
    artifact = artifacts.load(tmp_path, golden_error=0.01)

    with pytest.raises(ArtifactError, match=r"golden case 0: found scores .* by model\.onnx, the trainer got"):
        Graphs(artifact, threads=1)


def test_ranking_that_answers_otherwise_than_at_training_is_refused(tmp_path: Path) -> None:
    """The second graph ranks the same cases. Here it scores everything a little higher."""
    artifact = artifacts.load(tmp_path)
    graph = onnx.load(artifact.folder / "rank.onnx", load_external_data=False)
    last = graph.graph.node[-1]
    last.output[0] = "almost"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.01, np.float32), "more"))
    graph.graph.node.append(onnx.helper.make_node("Add", ["almost", "more"], ["scores"]))
    (artifact.folder / "rank.onnx").write_bytes(graph.SerializeToString())

    with pytest.raises(ArtifactError, match=r"golden case 0: found scores .* by rank\.onnx, the trainer got"):
        Graphs(artifact, threads=1)


def test_graph_that_cannot_run_a_golden_case_is_refused(tmp_path: Path) -> None:
    """It loads but fails when it runs, because its table of tracks is too short."""
    artifact = artifacts.load(tmp_path)
    graph = onnx.load(artifact.folder / "rank.onnx", load_external_data=False)
    prior = next(tensor for tensor in graph.graph.initializer if tensor.name == "prior")
    prior.dims[0] = 2
    next(entry for entry in prior.external_data if entry.key == "length").value = "8"
    (artifact.folder / "rank.onnx").write_bytes(graph.SerializeToString())

    with pytest.raises(ArtifactError, match=r"golden case 0 cannot be run: .*indices element out of data bounds"):
        Graphs(artifact, threads=1)


def test_case_in_which_nothing_can_be_proposed_is_replayed(tmp_path: Path) -> None:
    """The listener has heard everything and the model proposes no repeats, so the answer has no tracks."""
    artifact = artifacts.load(tmp_path)
    rows = list(range(FIRST, len(artifact.vocabulary)))
    nothing = Golden(rows=[FIRST], outcomes=[1], excluded=rows, best=[], scores=[])
    Graphs(replace(artifact, golden=[*artifact.golden, nothing]), threads=1)

    with pytest.raises(ArtifactError, match=r"golden case 0: found scores \["):
        Graphs(replace(artifact, golden=[replace(nothing, excluded=rows[1:])]), threads=1)


def test_weights_that_are_changed_in_place_are_noticed(tmp_path: Path) -> None:
    """The weights are mapped, so writing to the file changes the model in use. From then on it gives no answers."""
    artifact = artifacts.load(tmp_path)
    graphs, before = Graphs(artifact, threads=1), Graphs(artifact, threads=1)
    assert graphs.best([RowHistory()], [[]], [1])
    weights = artifact.folder / "weights.bin"
    with weights.open("r+b") as file:
        file.write(b"\xff" * 64)
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))  # a file system's clock may be too coarse for a quick test

    with pytest.raises(ArtifactError, match=r"weights\.bin was changed in place after it was verified"):
        graphs.best([RowHistory()], [[]], [1])
    with pytest.raises(ArtifactError, match="was changed in place"):
        before.rank([RowHistory()], [[FIRST]])
    with pytest.raises(ArtifactError, match="was changed in place"):
        Graphs(artifact, threads=1)


def test_weights_that_are_replaced_or_deleted_go_on_serving(tmp_path: Path) -> None:
    """Mapped weights stay as they are. An update writes other files, and an old artifact may be deleted while it is in use."""
    artifact = artifacts.load(tmp_path)
    graphs = Graphs(artifact, threads=1)
    before = graphs.best(HISTORIES, [[]] * 4, [5] * 4)
    (tmp_path / "other").write_bytes(b"\xff" * 1000)
    os.replace(tmp_path / "other", artifact.folder / "weights.bin")
    replaced = graphs.best(HISTORIES, [[]] * 4, [5] * 4)
    shutil.rmtree(artifact.folder)
    deleted = graphs.best(HISTORIES, [[]] * 4, [5] * 4)

    assert [scores.scores for scores in replaced] == [scores.scores for scores in before]
    assert [scores.scores for scores in deleted] == [scores.scores for scores in before]


def test_rounding_of_another_processor_is_accepted(tmp_path: Path) -> None:
    """A difference in the sixth digit is accepted."""
    Graphs(artifacts.load(tmp_path, golden_error=1e-6), threads=1)


def test_graph_that_does_not_load_is_refused(tmp_path: Path) -> None:
    """Bytes that are no graph give an ArtifactError with the file's name."""
    artifact = artifacts.load(tmp_path)
    (artifact.folder / "rank.onnx").write_bytes(b"no graph")

    with pytest.raises(ArtifactError, match=r"rank\.onnx does not load"):
        Graphs(artifact, threads=1)


def test_weight_for_a_head_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Otherwise the setting would have no effect."""
    with pytest.raises(ArtifactError, match="found no head that predicts 'wanted'"):
        Graphs(artifacts.load(tmp_path), threads=1, wanted_weight=0.5)


@pytest.mark.parametrize(("told", "weight"), [(None, 0.25), (2.0, 2.0), (0.0, 0.0)])
def test_further_inputs_are_fed_as_the_manifest_lists_them(tmp_path: Path, told: float | None, weight: float) -> None:
    """Gaps come from the history. The weight is the manifest's, also in golden cases, unless the setting gives another."""
    graphs = Graphs(artifacts.load(tmp_path, wanted_weight=0.25), threads=1, wanted_weight=told)
    history = RowHistory([FIRST + 3], [1], [6])
    plain = by_hand(history)
    candidates = [FIRST, FIRST + 3]

    [ranked], [best] = graphs.rank([history], [candidates]), graphs.best([history], [[]], [40])

    assert ranked.scores == pytest.approx([plain[row] + weight * row + 6 for row in candidates], abs=1e-4)
    assert dict(zip(best.rows, best.scores, strict=True)) == pytest.approx(
        {row: score + weight * row + 6 for row, score in plain.items()}, abs=1e-4
    )


@pytest.mark.parametrize("weight", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_finite_numbers_are_not_sound(tmp_path: Path, weight: float) -> None:
    """Broken weights do not give an empty list. A request that excludes all tracks does."""
    graphs = Graphs(artifacts.load(tmp_path, wanted_weight=0.25), threads=1, wanted_weight=weight)
    history = RowHistory([FIRST + 3], [1], [6])

    found = graphs.best([history, RowHistory()], [[], []], [5, 5])
    ranked = graphs.rank([history], [[FIRST]])

    assert [scores.sound for scores in (*found, *ranked)] == [False, False, False]


def test_empty_list_because_all_is_excluded_is_sound(graphs: Graphs) -> None:
    """In the same batch, a request without exclusions gets tracks."""
    all_of_them = list(range(FIRST, len(artifacts.TRACKS) + FIRST))
    none, some = graphs.best([RowHistory(), RowHistory()], [all_of_them, []], [5, 5])

    assert (list(none.rows), none.sound) == ([], True)
    assert (len(some.rows), some.sound) == (5, True)


def test_many_exclusions_are_left_out_of_an_index_afterwards(tmp_path: Path, graphs: Graphs) -> None:
    """An index compares each of them with each row that it scores. The lists equal a masking graph's, in one batch with few
    exclusions.
    """
    index = Graphs(artifacts.load(tmp_path, probes=16), threads=1)
    best = [list(scores.rows) for scores in graphs.best(HISTORIES, [[]] * 4, [40] * 4)]
    excluded: list[list[int]] = [[*best[0][:5], *best[0][:5]] * 30, [FIRST], best[2][::2] * 20, []]
    counts = [5, 2, 40, 7]

    found, wanted = index.best(HISTORIES, excluded, counts), graphs.best(HISTORIES, excluded, counts)

    assert [(scores.rows, scores.scores) for scores in found] == [(scores.rows, scores.scores) for scores in wanted]
    assert all(scores.sound for scores in found)


@pytest.mark.skipif(taken_bytes() is None, reason="only Linux with glibc says how much memory a process has taken")
def test_cost_of_an_ordinary_request_is_measured(tmp_path: Path) -> None:
    """These graphs hold two or three lists of scores for each request, and none for ranking."""
    graphs = Graphs(large(tmp_path), threads=1)
    scores_bytes = 4 * 80_000

    assert 1.5 * scores_bytes < graphs.cost(0, 1).bytes < 6 * scores_bytes
    assert graphs.cost(0, None).bytes < scores_bytes / 4


def test_memory_that_falls_while_it_is_measured_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else frees memory meanwhile, for example a former model. Then ordinary requests still share a batch."""
    falling = itertools.count(10**9, -(10**6))
    monkeypatch.setattr("model.graphs.taken_bytes", lambda: next(falling))
    graphs = Graphs(large(tmp_path), threads=1)

    assert not graphs.cost(5, 20).is_large
    assert not graphs.cost(20, None).is_large


@pytest.mark.skipif(taken_bytes() is None, reason="only Linux with glibc says how much memory a process has taken")
def test_memory_of_large_requests_is_given_back(tmp_path: Path) -> None:
    """Otherwise it would be kept for ever: 16 of these requests need 15 MB for their scores."""
    graphs = Graphs(large(tmp_path, probes=16), threads=1)
    excluded = list(range(FIRST, 40_000))
    before = taken_bytes()
    graphs.best([RowHistory()] * 16, [excluded] * 16, [5] * 16)
    after = taken_bytes()

    assert before is not None
    assert after is not None
    assert after - before < 5_000_000


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what a process has mapped")
def test_weights_are_mapped_not_read(tmp_path: Path) -> None:
    """So several worker processes share one copy in memory."""
    artifact = artifacts.load(tmp_path)
    graphs = Graphs(artifact, threads=1)

    assert str(artifact.folder / "weights.bin") in Path("/proc/self/maps").read_text()
    assert graphs.best([RowHistory()], [[]], [1])
