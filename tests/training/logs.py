"""Small logs for tests, written as lists of entries."""

from collections.abc import Sequence
from random import Random

import numpy as np

from model.events import Outcome
from training.data.sequences import Sequences
from training.data.split import Split, split
from training.recipe import SplitRule

P, S, L, D = Outcome.PLAYED, Outcome.SKIPPED, Outcome.LIKED, Outcome.DISLIKED
TRAINED, CHECKED, TESTED = "train", "valid", "test"

Line = tuple[str, str, Outcome, str]
"""A listener, a track, its outcome, and the part it belongs to. Entries are one second apart."""


Late = tuple[int, int, Outcome]
"""The outcome that a line had until another line, given by their numbers."""


def split_of(
    lines: Sequence[Line], *, asked: Sequence[bool] | None = None, min_count: int = 1, late: Sequence[Late] = ()
) -> Split:
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
        late_entry=np.array([entry for entry, _, _ in late], np.int64),
        late_from=np.array([known_from for _, known_from, _ in late], np.int64),
        late_before=np.array([before for _, _, before in late], np.int8),
    )
    return split(sequences, SplitRule(min_count=min_count))


def late_lines(random: Random, listeners: int = 3, entries: int = 14) -> tuple[list[Line], list[Late]]:
    """Make random entries of listeners whose outcomes are often reported late, some twice. Half of them are for training."""
    lines, late = list[Line](), list[Late]()
    for user in range(listeners):
        first = len(lines)
        for place in range(entries):
            outcome, part = random.choice((P, S, L, D)), TRAINED if place < entries // 2 else TESTED
            lines.append((f"u{user}", f"t{random.randrange(4)}", outcome, part))
            stops = (
                sorted(random.sample(range(place + 2, entries + 2), random.choice((0, 0, 1, 2)))) if place < entries - 1 else []
            )
            late += [(first + place, first + min(stop, entries), random.choice((P, S, L, D))) for stop in stops]
    return lines, late


def known_outcomes(lines: Sequence[Line], late: Sequence[Late], line: int) -> list[Outcome]:
    """Return the outcomes of a listener's lines before `line` as they were known when it began, by the plain definition."""
    user = lines[line][0]
    found = []
    for place, (name, _, outcome, _) in enumerate(lines[:line]):
        if name == user:
            before = [before for entry, known_from, before in late if entry == place and known_from > line]
            found.append(before[0] if before else outcome)
    return found
