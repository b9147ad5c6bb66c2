"""What a simulator knows about its log and no model does: the probability of each next kept track.

Ranking by this probability is optimal for every metric of the next kept track's rank. So no model can be expected to do better.

Shapes: B cases, V tracks of the world, R requested track ids, N plays.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from training.simulator.habits.truth import HabitTruth
from training.simulator.moods.truth import MoodTruth
from training.simulator.moods.world import Floats, Int64s
from training.simulator.plays import LastPlay

TRUTH = "truth.npz"
"""The file's name in the log's folder."""


class Truth(Protocol):
    """A simulator's knowledge about a log."""

    @property
    def tracks(self) -> npt.NDArray[np.str_]:
        """Return the ids of the world's tracks, [V]."""

    def next_kept(self, users: Sequence[str], at_ms: Int64s, supposed: LastPlay | None = None) -> Floats:
        """Return the probability [B, V] that the next play of each case is each track and is kept.

        Case b is the play that listener `users[b]` started at `at_ms[b]`. ValueError if the log has no such play. `supposed`
        replaces the outcome of the play before each case.
        """

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as plain arrays by name, for the disk."""


def best_scores(
    truth: Truth, users: Sequence[str], at_ms: Int64s, tracks: Sequence[str], *, supposed: LastPlay | None = None
) -> Floats:
    """Return the probability [B, R] that the next play of each case is each of `tracks` and is kept.

    A track that is not in the simulated world scores 0. With `tracks` in the vocabulary's order, scores are in the order of
    rows. `supposed` replaces the outcome of the play before each case.
    """
    kept = truth.next_kept(users, at_ms, supposed)
    number = {track: index for index, track in enumerate(truth.tracks.tolist())}
    column = np.array([number.get(track, -1) for track in tracks], np.int64)
    scores = kept[:, column]
    scores[:, column < 0] = 0
    return scores


def save_truth(truth: Truth, folder: Path) -> None:
    """Write `truth.npz` into a log's folder: plain arrays, nothing pickled."""
    with (folder / TRUTH).open("wb") as file:
        np.savez(file, allow_pickle=False, **truth.arrays())


def read_truth(folder: Path) -> Truth | None:
    """Read the truth behind the log in `folder`; None if the log was not simulated."""
    if not (folder / TRUTH).is_file():
        return None
    with np.load(folder / TRUTH, allow_pickle=False) as file:
        arrays = dict(file)
    return HabitTruth.of(arrays) if "rules_fade" in arrays else MoodTruth.of(arrays)
