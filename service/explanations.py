"""Explains why a track is proposed: which tracks of the history raised its score, found by leaving each of them out.

The model scores the proposed tracks again, by the same weights: for the whole history, for none, and for the history without
each of its tracks. A track's share is the fall of the score without this track, divided by the sum of all such falls. So an
explanation says what the model did, not what the listener thought.

If leaving out a track lowers the scores of all tracks alike, it says nothing about the proposed one. So scores are compared
with the median score of some popular tracks, the reference.

Cost: the ranking graph runs for some 20 to 40 histories, bounded by `NEWEST` and the number of proposals.

It knows neither HTTP nor Redis nor ONNX.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from model.events import Entry

NEWEST = 20
"""So many tracks of the history are left out, the newest ones, and besides each proposed track that was heard before."""
SHOWN, LEAST = 5, 0.05
"""An explanation names at most so many tracks, and none with a smaller share."""
REFERENCE = 50
"""Popular tracks with which scores are compared."""
ROUNDING = 1e-4
"""A fall of the score that the rounding of float32 may explain."""

Reason = Literal["session", "habit", "artist", "popular"]


class Because(NamedTuple):
    """A track of the history, and its share of the rise in a proposed track's score."""

    track_id: str
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The reason for one proposed track. `because` lists the tracks of the history that raised its score most; `reason` is the
    kind of tracks that did.
    """

    because: Sequence[Because] = ()
    reason: Reason = "popular"


POPULAR = Explanation()
"""Nothing in the history raised the track."""


def tracks_to_leave_out(entries: Sequence[Entry], proposed: Sequence[str]) -> list[str]:
    """Return the tracks of a history to leave out, one at a time: the newest ones, then proposed tracks that were heard
    before.
    """
    heard = dict.fromkeys([entry.track_id for entry in reversed(entries)])
    newest = list(heard)[:NEWEST]
    return [*newest, *(track_id for track_id in proposed if track_id in heard and track_id not in newest)]


def without(entries: Iterable[Entry], track_id: str) -> list[Entry]:
    """Return the entries of all tracks but one."""
    return [entry for entry in entries if entry.track_id != track_id]


def explain(
    track_id: str, score: float, unheard: float, left_out: Mapping[str, float], same_artist: Callable[[str], bool]
) -> Explanation:
    """Explain one proposed track from its scores, each less the reference score.

    `score` is the score after the whole history, and `unheard` the score after an empty one. `left_out` has the score after the
    history without each track. `same_artist` returns whether a track is by the proposed track's artist.
    """
    rises = {other: score - less for other, less in left_out.items() if score - less > ROUNDING * max(1.0, abs(score))}
    if not rises or score <= unheard:
        return POPULAR
    if math.inf in rises.values():  # the listener's own track, which nobody else could be proposed
        rises = {other: 1.0 for other, rise in rises.items() if rise == math.inf}
    total = sum(rises.values())
    most = sorted([other for other, rise in rises.items() if rise >= LEAST * total], key=lambda other: -rises[other])[:SHOWN]
    sums: dict[Reason, float] = {"session": 0.0, "habit": 0.0, "artist": 0.0}
    for other, rise in rises.items():
        sums["habit" if other == track_id else "artist" if same_artist(other) else "session"] += rise
    return Explanation(
        because=[Because(other, rises[other] / total) for other in most], reason=max(sums, key=lambda kind: sums[kind])
    )
