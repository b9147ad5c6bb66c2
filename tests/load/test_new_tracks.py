"""Hidden tracks are hidden from the training alone, and every kept target belongs to the right group."""

from pathlib import Path

import pytest

from model.vocabulary import UNKNOWN
from tests.load.new_tracks import GROUPS, groups, hide, main
from tests.training.logs import TESTED, TRAINED, P, S, split_of
from training.data.split import TEST, kept_apart
from training.evaluation.cases import select_cases
from training.simulator.simulate import simulate

TRACKS = [f"t{number}" for number in range(10)]
SMALL = "demo:network.width=16,network.feed_forward=16,network.layers=1,fit.epochs=1,fit.valid_cases=50"


def test_targets_are_told_apart() -> None:
    """One track of ten is hidden. Ann has heard it before and Bob has not. A skipped target belongs to no group."""
    [apart] = [track for track, hidden in zip(TRACKS, kept_apart(TRACKS, 0.1), strict=True) if hidden]
    other = next(track for track in TRACKS if track != apart)
    lines = [("ann", track, P, TRAINED) for track in TRACKS]
    lines += [("ann", track, P, TESTED) for track in (apart, other, "unheard")]
    lines += [("bob", other, P, TRAINED), ("bob", other, S, TESTED), ("bob", apart, P, TESTED)]
    whole = split_of(lines)
    parts = hide(whole, 0.1)
    found = groups(parts, select_cases(whole, TEST))

    assert [track for track in whole.vocabulary.tracks if not parts.hidden.vocabulary.knows(track)] == [apart]
    assert (parts.hidden.row == UNKNOWN).sum() == (whole.row == UNKNOWN).sum() + 3
    assert [found[name].tolist() for name in GROUPS] == [
        [True, False, False, False, True],
        [False, False, False, False, True],
        [False, False, True, False, False],
        [False, True, False, False, False],
    ]


def test_table_has_a_row_for_each_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without vectors no hidden track is found. A network that learned from all tracks has no hidden track to add."""
    simulate(tmp_path / "log", listeners=40, tracks=60, artists=12)
    words = ["", str(tmp_path / "log"), "--recipe", SMALL, "--folder", str(tmp_path / "runs"), "--quantiles", "0", "0.5"]
    monkeypatch.setattr("sys.argv", words)
    main()
    lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    cells = {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}

    assert int(cells["targets"][0]) > 0
    assert cells["hidden, no vectors"][0] == "0.000 / 0.000"
    assert float(cells["hidden, artists' vectors, quantile 0"][0].split()[0]) > 0
    assert float(cells["hidden, artists' vectors, quantile 0.5"][0].split()[0]) > 0
    assert float(cells["whole, no vectors"][0].split()[0]) > 0
