"""Keeps the masks of recent listeners in this process, so that a reply without Redis still leaves out what they refused.

A mask is a track that must not be proposed: skipped or played in the session, or disliked. `RecentMasks` takes them from what
passes through this process anyway: each read, and each posted event, also one whose write failed or timed out. It does not
know what another worker or service saw, nor a listener whom it dropped for others. It keeps a listener's masks for `KEPT_S`
after it last saw the listener, so a session's masks may outlast the session. That costs a degraded reply a few tracks.

Memory is bounded by `CAPACITY_BYTES`: the listeners seen longest ago are dropped first, and of one listener the oldest tracks
past `LISTENER_CHARACTERS`. A listener with a session of 20 tracks takes about 1 KB.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from model.events import Event, EventType, SkipRule

CAPACITY_BYTES = 32 * 1024 * 1024
LISTENER_CHARACTERS = 64 * 1024
KEPT_S = 24 * 60 * 60.0
_ENTRY_BYTES = 300
"""What a listener takes beside the strings: a place in the ordered dictionary and the object. A test measures it."""


class Masks(NamedTuple):
    """A listener's tracks that must not be proposed, by reason."""

    skipped: Collection[str] = ()
    played: Collection[str] = ()
    disliked: Collection[str] = ()


class RecentMasks:
    """The masks of recent listeners, by user id."""

    def __init__(
        self,
        skip: SkipRule,
        timeout: timedelta,
        *,
        capacity_bytes: int = CAPACITY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timeout` is the longest wait for a reply of the store."""
        self._skip, self._clock, self._capacity = skip, clock, capacity_bytes
        self._settled_s = 2 * timeout.total_seconds()
        self._listeners: OrderedDict[str, _Listener] = OrderedDict()  # seen longest ago first
        self._bytes = 0

    def post(self, events: Mapping[str, Sequence[Event]]) -> None:
        """Note events by user id, before they are written."""
        for user_id, of_user in events.items():
            listener = self._take(user_id)
            listener.posted_at = self._clock()
            for event in of_user:
                self._note(listener, event)
            self._keep(user_id, listener)

    def read(self, user_id: str, masks: Masks) -> None:
        """Note what the store knows of a listener.

        It replaces what was known, unless an event was posted so recently that this reply may not have it yet.
        """
        listener = self._take(user_id)
        parts = map(_join, masks)
        if self._clock() - listener.posted_at > self._settled_s:
            listener.skipped, listener.played, listener.disliked = parts
        else:
            before = listener.skipped, listener.played, listener.disliked
            listener.skipped, listener.played, listener.disliked = map(_unite, before, parts)
        self._keep(user_id, listener)

    def of(self, user_id: str) -> Masks:
        """What this process knows of a listener, and empty masks of one whom it does not know."""
        listener = self._listeners.get(user_id)
        if listener is None or self._clock() - listener.seen_at > KEPT_S:
            return Masks()
        return Masks(*(part.split("\n")[1:-1] for part in (listener.skipped, listener.played, listener.disliked)))

    def forget(self, user_id: str) -> None:
        """Drop a listener."""
        self._take(user_id)

    @property
    def size_bytes(self) -> int:
        """The memory that the listeners take."""
        return self._bytes

    def _note(self, listener: "_Listener", event: Event) -> None:
        track_id = event.track_id
        if event.type is EventType.DISLIKE:
            listener.disliked = _add(listener.disliked, track_id)
        elif event.type is EventType.LIKE:
            listener.disliked = listener.disliked.replace(f"\n{track_id}\n", "\n")
        elif event.type is not EventType.PLAY and self._skip.skipped(event.type, event.played_ms, event.track_ms):
            listener.skipped = _add(listener.skipped, track_id)
        listener.played = _add(listener.played, track_id)

    def _take(self, user_id: str) -> "_Listener":
        """Remove a listener, or make a new one; `_keep` puts it back as the one seen last."""
        listener = self._listeners.pop(user_id, None)
        if listener is None:
            return _Listener()
        self._bytes -= listener.bytes
        return listener

    def _keep(self, user_id: str, listener: "_Listener") -> None:
        if listener.skipped == listener.played == listener.disliked == "\n":
            return
        listener.seen_at = now = self._clock()
        listener.bytes = _ENTRY_BYTES + sum(map(sys.getsizeof, (user_id, listener.skipped, listener.played, listener.disliked)))
        self._listeners[user_id] = listener
        self._bytes += listener.bytes
        while self._listeners:
            oldest = next(iter(self._listeners.values()))
            if self._bytes <= self._capacity and now - oldest.seen_at <= KEPT_S:
                return
            self._bytes -= self._listeners.popitem(last=False)[1].bytes


@dataclass(slots=True)
class _Listener:
    """Track ids, oldest first, each between line breaks, which no id contains: a tenth of the memory of sets."""

    skipped: str = "\n"
    played: str = "\n"
    disliked: str = "\n"
    posted_at: float = field(default=float("-inf"))
    seen_at: float = 0.0
    bytes: int = 0


def _join(track_ids: Iterable[str]) -> str:
    joined = "\n".join(track_ids)
    return _newest(f"\n{joined}\n") if joined else "\n"


def _add(part: str, track_id: str) -> str:
    return part if f"\n{track_id}\n" in part else _newest(f"{part}{track_id}\n")


def _unite(before: str, after: str) -> str:
    if before in after:
        return after
    return _join(dict.fromkeys([*after.split("\n")[1:-1], *before.split("\n")[1:-1]]))


def _newest(part: str) -> str:
    """The end of `part`, whole ids of at most `LISTENER_CHARACTERS`."""
    return part if len(part) <= LISTENER_CHARACTERS else "\n" + part[-LISTENER_CHARACTERS:].partition("\n")[2]
