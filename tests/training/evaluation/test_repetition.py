"""The figures of repeats and skips agree with a count by hand."""

import io
from math import isnan, nan

import numpy as np
import pytest
from rich.console import Console

from model.events import Outcome
from training.data.sequences import Sequences
from training.evaluation.repetition import WORDS, figures, print_figures


def _sequences(*listeners: list[tuple[int, str]]) -> Sequences:
    """Make the log of listeners. A play is a session and a track; a small letter was skipped."""
    plays = [play for listener in listeners for play in listener]
    count = len(plays)
    return Sequences(
        tracks=[chr(65 + number) for number in range(26)],
        users=[str(number) for number in range(len(listeners))],
        offsets=np.concatenate([[0], np.cumsum([len(listener) for listener in listeners])]),
        user=np.arange(len(listeners), dtype=np.int32),
        track=np.array([ord(name.upper()) - 65 for _, name in plays], np.int32),
        outcome=np.array([Outcome.SKIPPED if name.islower() else Outcome.PLAYED for _, name in plays], np.int8),
        at_ms=np.arange(count),
        session=np.array([session for session, _ in plays], np.int32),
        asked=np.ones(count, np.bool_),
        part=np.full(count, -1, np.int8),
    )


FIRST = [(0, "A"), (0, "B"), (0, "b"), (0, "c"), (1, "A"), (1, "B"), (1, "A"), (2, "a")]
SECOND = [(0, "A"), (0, "d")]


def test_figures_equal_a_count_by_hand() -> None:
    """The first listener skips B, C and A and repeats A, B, A; the second skips D. Sessions of both are kept apart."""
    found = figures(_sequences(FIRST, SECOND))

    assert list(found) == list(WORDS)
    assert found["skipped"] == pytest.approx(4 / 10)
    assert found["skipped p50"] == pytest.approx((3 / 8 + 1 / 2) / 2)
    assert found["skip after a skip"] == pytest.approx(1 / 1)  # c after b
    assert found["skip after a play"] == pytest.approx(2 / 5)  # b after B and d after A, not A-B, A-B, B-A
    assert found["plays p50"] == pytest.approx(2.5)  # of 4, 3, 1, 2
    assert found["the same again"] == pytest.approx(2 / 8)  # b after B, and a after A in the next session
    assert found["kept before"] == pytest.approx(3 / 6)
    assert found["kept in session"] == pytest.approx(1 / 6)
    assert found["followed before"] == pytest.approx(1 / 2)  # B after the second A; not A after B
    assert found["plays until repeat"] == pytest.approx(2)  # 2, 2 and 2


def test_a_new_track_counts_if_enough_plays_follow() -> None:
    """Of two listeners' tracks only A has 500 kept plays after it. It is kept again after 500 plays, or not at all."""
    others = [(number, "BC"[number % 2]) for number in range(1, 500)]
    soon, late = [(0, "A"), *others, (500, "A")], [(0, "A"), *others, (500, "B"), (501, "A")]

    assert isnan(figures(_sequences(soon[:400]))["new ones kept again"])
    assert figures(_sequences(soon))["new ones kept again"] == pytest.approx(1)
    assert figures(_sequences(late))["new ones kept again"] == pytest.approx(1 / 2)  # not A, but B


def test_logs_are_printed_beside_each_other() -> None:
    """Each log has a column, and the last one is divided by the first. A dash stands for a share of nothing. Each figure is
    explained.
    """
    out = io.StringIO()
    mine, other = (
        {"skipped": 0.2, "kept before": 0.0, "skip after a skip": nan},
        {"skipped": 0.3, "kept before": 0.1, "skip after a skip": 0.5},
    )
    print_figures({"mine": mine, "other": other}, Console(file=out, width=80))
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]

    assert lines == [
        "mine other ratio",
        "skipped 0.2 0.3 1.50",
        "kept before 0 0.1 -",
        "skip after a skip - 0.5 -",
        "skipped: share of plays that were skipped",
        "kept before: share of kept plays of a track that the listener had kept before",
        "skip after a skip: share skipped of the plays that follow a skipped play of the same session",
    ]
