"""Keeps the masks of recent listeners in this process, so that a reply without Redis still leaves out tracks that they refused.

A mask is a track that must not be proposed: skipped or played in the session, or disliked. Beside masks it keeps the blocks of
the listener. It takes both from what passes through this process anyway: each read, and each posted event or block, also one
whose write failed or timed out. It does not
know what another worker or service saw, nor a listener whom it dropped for others. It keeps a listener's masks for `KEPT_S`
after it last saw the listener, so a session's masks may outlast the session. That costs a degraded reply a few tracks.

Memory is limited by `CAPACITY_BYTES`: the listeners seen longest ago are dropped first, and of one listener the oldest tracks
past `LISTENER_CHARACTERS`. A listener with a session of 20 tracks takes about 1 KB.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from sys import getsizeof
from typing import NamedTuple

from model.events import Event, EventType, SkipRule
from service.blocks import Block
from service.store.forgotten import digest_of

CAPACITY_BYTES = 32 * 1024 * 1024
LISTENER_CHARACTERS = 64 * 1024
KEPT_S = 24 * 60 * 60.0
_ENTRY_BYTES = 300
"""Bytes that a listener takes in addition to the strings: a place in the ordered dictionary and the object. A test measures
it.
"""


class Masks(NamedTuple):
    """The tracks that must not be proposed to a listener, by reason, and the listener's blocks."""

    skipped: Collection[str] = ()
    played: Collection[str] = ()
    disliked: Collection[str] = ()
    blocks: Collection[str] = ()  # as texts, see `service.blocks.Block`


class RecentMasks:
    """The masks of recent listeners, by the digests of their user ids. Forgotten listeners are named by digests too."""

    def __init__(
        self,
        skip: SkipRule,
        timeout: timedelta,
        *,
        capacity_bytes: int = CAPACITY_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timeout` is the longest time that a read of the store takes."""
        self._skip, self._clock, self._capacity = skip, clock, capacity_bytes
        self._settled_s = 2 * timeout.total_seconds()
        self._listeners: OrderedDict[bytes, _Listener] = OrderedDict()  # by digest, seen longest ago first
        self._bytes = 0

    def post(self, events: Mapping[str, Sequence[Event]]) -> None:
        """Add the masks that follow from events, by user id. Call it before the events are written to the store."""
        for user_id, of_user in events.items():
            listener = self._take(digest := digest_of(user_id))
            listener.posted_at = self._clock()
            for event in of_user:
                self._note(listener, event)
            self._keep(digest, listener)

    def block(self, user_id: str, block: Block) -> None:
        """Add a block. Call it before the block is written to the store."""
        listener = self._take(digest := digest_of(user_id))
        listener.posted_at = self._clock()
        listener.blocks = _add(listener.blocks, str(block))
        self._keep(digest, listener)

    def unblock(self, user_id: str, block: Block) -> None:
        """Remove a block."""
        listener = self._take(digest := digest_of(user_id))
        listener.blocks = listener.blocks.replace(f"\n{block}\n", "\n")
        self._keep(digest, listener)

    def read(self, user_id: str, masks: Masks) -> None:
        """Update a listener's masks after a read of the store.

        They replace the known masks. But if an event was posted so recently that the read may have missed it, both are united.
        """
        digest, now = digest_of(user_id), self._clock()
        listener = self._listeners.get(digest) or _Listener()
        before, texts = listener.texts, tuple(map(_join, masks))
        if now - listener.posted_at <= self._settled_s:
            texts = tuple(map(_unite, before, texts))
        if texts != before:
            listener = self._take(digest)
            listener.skipped, listener.played, listener.disliked, listener.blocks = texts
            self._keep(digest, listener)
        elif texts != _NO_TEXTS:
            listener.seen_at = now
            self._listeners.move_to_end(digest)

    def of(self, user_id: str) -> Masks:
        """Return the known masks of a listener; empty ones if this process knows none."""
        listener = self._listeners.get(digest_of(user_id))
        if listener is None or self._clock() - listener.seen_at > KEPT_S:
            return Masks()
        return Masks(*(text.split("\n")[1:-1] for text in listener.texts))

    def forget(self, digest: bytes) -> None:
        """Remove the listener with this digest."""
        listener = self._listeners.pop(digest, None)
        self._bytes -= listener.bytes if listener is not None else 0

    def forget_all(self) -> None:
        """Remove all listeners."""
        self._listeners.clear()
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """Return the memory of all listeners, in bytes."""
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

    def _take(self, digest: bytes) -> "_Listener":
        """Remove and return a listener's masks, or return new ones. `_keep` puts them back as the most recent ones."""
        listener = self._listeners.pop(digest, None)
        if listener is None:
            return _Listener()
        self._bytes -= listener.bytes
        return listener

    def _keep(self, digest: bytes, listener: "_Listener") -> None:
        texts = listener.texts
        if texts == _NO_TEXTS:
            return
        listener.seen_at = now = self._clock()
        listener.bytes = _ENTRY_BYTES + sum(map(getsizeof, (digest, *texts)))
        self._listeners[digest] = listener
        self._bytes += listener.bytes
        while self._listeners:
            oldest = next(iter(self._listeners.values()))
            if self._bytes <= self._capacity and now - oldest.seen_at <= KEPT_S:
                return
            self._bytes -= self._listeners.popitem(last=False)[1].bytes


@dataclass(slots=True)
class _Listener:
    """A listener's masks as texts of track ids, oldest first, separated by line breaks. This takes a tenth of the memory of
    sets.
    """

    skipped: str = "\n"
    played: str = "\n"
    disliked: str = "\n"
    blocks: str = "\n"
    posted_at: float = field(default=float("-inf"))
    seen_at: float = 0.0
    bytes: int = 0

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """Return the texts in the order of the fields of `Masks`."""
        return self.skipped, self.played, self.disliked, self.blocks


_NO_TEXTS = _Listener().texts


def _join(track_ids: Collection[str]) -> str:
    if not track_ids:
        return "\n"
    joined = "\n".join(track_ids)
    return _newest(f"\n{joined}\n")


def _add(part: str, track_id: str) -> str:
    return part if f"\n{track_id}\n" in part else _newest(f"{part}{track_id}\n")


def _unite(before: str, after: str) -> str:
    if before in after:
        return after
    return _join(dict.fromkeys([*after.split("\n")[1:-1], *before.split("\n")[1:-1]]))


def _newest(part: str) -> str:
    """Return the last ids of `part`: whole ids, with at most `LISTENER_CHARACTERS` characters together."""
    return part if len(part) <= LISTENER_CHARACTERS else "\n" + part[-LISTENER_CHARACTERS:].partition("\n")[2]
