"""Small logs for tests, written as lists of entries."""

from collections.abc import Sequence

import numpy as np

from model.events import Outcome
from training.data.sequences import Sequences
from training.data.split import Split, split
from training.recipe import SplitRule

P, S, L, D = Outcome.PLAYED, Outcome.SKIPPED, Outcome.LIKED, Outcome.DISLIKED
TRAINED, CHECKED, TESTED = "train", "valid", "test"

Line = tuple[str, str, Outcome, str]
"""A listener, a track, its outcome, and the part it belongs to. Entries are one second apart."""


def split_of(lines: Sequence[Line], *, asked: Sequence[bool] | None = None, min_count: int = 1) -> Split:
    """Make the split of a log whose lines are sorted by listener and time."""
    tracks = list(dict.fromkeys(track for _, track, _, _ in lines))
    users = list(dict.fromkeys(user for user, _, _, _ in lines))
    lengths = [sum(user == name for user, _, _, _ in lines) for name in users]
    sequences = Sequences(
        tracks=tracks,
        users=users,
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]),
        user=np.arange(len(users), dtype=np.int32),
        track=np.array([tracks.index(track) for _, track, _, _ in lines], np.int32),
        outcome=np.array([outcome for _, _, outcome, _ in lines], np.int8),
        at_ms=np.arange(len(lines), dtype=np.int64) * 1000,
        session=np.zeros(len(lines), np.int32),
        asked=np.ones(len(lines), np.bool_) if asked is None else np.array(asked),
        part=np.array([("train", "valid", "test").index(part) for _, _, _, part in lines], np.int8),
    )
    return split(sequences, SplitRule(min_count=min_count))
