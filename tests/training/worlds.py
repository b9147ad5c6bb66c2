"""Small invented listening data for tests of the trainer: splits without a log, and a world that a network can memorise."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from model.events import HistoryRule, Outcome
from model.nets.config import NetworkConfig
from model.vocabulary import FIRST, Vocabulary
from training.data.sequences import Sequences
from training.data.split import TEST, TRAIN, VALID, Split
from training.recipe import FitRule, LossRule, Recipe

RING = 6
"""Tracks in each of the two rings of `two_rings`. Rows FIRST to FIRST + 5 are one ring, the next six the other."""

Play = tuple[int, Outcome, int]
"""Row (or UNKNOWN), outcome, and part."""


def split_of(listeners: Sequence[Sequence[Play]], *, rows: int) -> Split:
    """Make a split in which each listener has the given plays, a minute apart. `rows` is the height of the vocabulary."""
    plays = [play for listener in listeners for play in listener]
    row = np.array([row for row, _, _ in plays], np.int32)
    names = [f"t{number}" for number in range(rows)]  # t0 stands for padding, which no play has, and t1 for any unknown track
    sequences = Sequences(
        tracks=names,
        users=[f"u{number}" for number in range(len(listeners))],
        offsets=np.array([0, *accumulate(len(listener) for listener in listeners)], np.int64),
        user=np.arange(len(listeners), dtype=np.int32),
        track=row,
        outcome=np.array([outcome for _, outcome, _ in plays], np.int8),
        at_ms=np.arange(len(plays), dtype=np.int64) * 60_000,
        session=np.zeros(len(plays), np.int32),
        asked=np.ones(len(plays), np.bool_),
        part=np.array([part for _, _, part in plays], np.int8),
    )
    return Split(sequences=sequences, vocabulary=Vocabulary(names[FIRST:]), part=sequences.part, row=row)


def next_in_rings(row: int, outcome: Outcome) -> int:
    """Return the next track: the ring's next track after a kept one, the same place of the other ring after a refused one."""
    ring, place = divmod(row - FIRST, RING)
    if outcome.wanted:
        return FIRST + ring * RING + (place + 1) % RING
    return FIRST + (1 - ring) * RING + place


def two_rings(listeners: int = 60, *, plays: int = 16, seed: int = 0, part: int = TRAIN) -> list[list[Play]]:
    """Make listeners who follow `next_in_rings` from a random start and refuse three tracks of ten.

    A model that reads the last track and its outcome can be certain of the next track. A model that reads only tracks cannot:
    its best guess is right in seven cases of ten.
    """
    random = np.random.default_rng(seed)
    made = []
    for _ in range(listeners):
        row, mine = int(random.integers(FIRST, FIRST + 2 * RING)), list[Play]()
        for _ in range(plays):
            outcome = Outcome.SKIPPED if random.random() < 0.3 else Outcome.PLAYED
            mine.append((row, outcome, part))
            row = next_in_rings(row, outcome)
        made.append(mine)
    return made


def rings_split(listeners: int = 60) -> Split:
    """Return the two rings as a split. Validation and test have their own listeners."""
    held_out = two_rings(4, seed=1, part=VALID) + two_rings(4, seed=2, part=TEST)
    return split_of(two_rings(listeners) + held_out, rows=FIRST + 2 * RING)


def small_recipe(
    name: str = "small",
    *,
    seed: int = 1,
    length: int = 8,
    network: NetworkConfig | None = None,
    loss: LossRule | None = None,
    fit: FitRule | None = None,
) -> Recipe:
    """Return a recipe that trains on the rings within a second."""
    return Recipe(
        name=name,
        seed=seed,
        history=HistoryRule(length=length),
        network=network or NetworkConfig(width=16, layers=1, heads=2, feed_forward=32, dropout=0.1),
        loss=loss or LossRule(),
        fit=fit or FitRule(epochs=3, batch=32, warmup=5, learning_rate=5e-3),
    )
