"""Stores what listeners did in Redis: their newest events, their opinions and their blocks.

    nexttrack:{USER}:events     hash: event id -> event; the newest `history_events`, for `history_ttl`
    nexttrack:{USER}:private    hash: event id -> private event; until its session must have ended
    nexttrack:{USER}:opinions   hash: track id -> its newest like or dislike; for `opinions_ttl`
    nexttrack:{USER}:blocks     hash: what the listener blocked -> when; for `opinions_ttl` after the last event or block
    nexttrack:{USER}:long       string: plays older than these events, packed; the newest `long_history`, for `history_ttl`
    nexttrack:{USER}:tracks     string: the ids of their tracks

`service.store.formats` packs the values. A write or a read is one atomic round trip, by the script `record.lua` or `read.lua`.
Redis stores a *set* of events, and `model.events.fold_recent` makes the history anew at each read. So the state depends neither
on the order nor on the repetition in which events arrive, with one exception: of two events with one id, the first counts. Only
writes prolong the expiry.

Events that leave this window are folded into plays and appended to the long history, each once. `long_history.lua` remembers
where the newest of them stood in time. An event that arrives later and lies before that place is dropped, and counts as a
duplicate. Private events never enter the long history.

USER is the listener's id with braces escaped, inside braces. The text between the first braces decides a key's cluster slot.
An id with a brace of its own could put a listener's keys into different slots, or be taken for another listener's id.

A value that cannot be read is counted, logged once and skipped.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog
from redis.exceptions import ResponseError

from model.events import AHEAD_MS, Event, EventType, History, HistoryRule, Outcome, fold, fold_recent
from model.long_history import NO_PAST, Past
from service.blocks import NO_BLOCKS, Block, Blocks, read_block
from service.errors import StoreUnavailableError
from service.observing.logs import Trouble
from service.observing.outcomes import ProposalOutcome, outcome_of
from service.settings import Settings
from service.store.connections import RedisClient
from service.store.forgotten import commands_to_announce
from service.store.formats import (
    BROKEN,
    UNKNOWN,
    VERSION,
    pack_block,
    pack_event,
    pack_opinion,
    unpack_events,
    unpack_readable,
)
from service.store.outcome_counters import OutcomeCounters, field_of, key_of
from service.store.past import HEADER as LONG_HEADER
from service.store.past import VERSION as LONG_VERSION
from service.store.past import UnreadableError, unpack_past
from service.store.redis_connection import Command, checked
from service.store.scripts import Call, Script, run_script
from service.store.stored import KINDS, Stored, commands_to_export, stored_of, text_of

logger = structlog.get_logger()

Timer = Callable[[str], AbstractContextManager[object]]
"""Given an operation's name, a context that measures it."""
Count = Callable[[str, str], None]
"""Counts a value that cannot be read, given the kind of its key and the reason."""

EMPTY = History()
_NO_MORE: Sequence[Any] = ((), 0, 0, b"", 0, b"", b"")
"""What `read.lua` leaves out of its reply for most listeners."""
_LIKE = EventType.LIKE


@dataclass(frozen=True, slots=True)
class HistoryReader:
    """How a model reads a listener's events: its history rule, and which tracks it knows. Other tracks do not count for the
    length.

    With `reads_past` it reads all stored events, and the long history before them.
    """

    rule: HistoryRule
    known: Callable[[str], bool] = lambda _: True
    reads_past: bool = False


class Remembered(NamedTuple):
    """What the store returns about a listener: history, dislikes, blocks and long history. The defaults are for an unknown
    listener.
    """

    history: History = EMPTY
    disliked: frozenset[str] = frozenset()
    expires_in_ms: int | None = None
    blocks: Blocks = NO_BLOCKS
    past: Past = NO_PAST  # plays before the history, if the reader reads them


class SessionStore(Protocol):
    """Stores what listeners did. All methods raise StoreUnavailableError if the store does not answer in time."""

    async def record(self, events: Mapping[str, Sequence[Event]]) -> Mapping[str, Sequence[bool]]:
        """Store events by user id. Returns for each event whether it was new, in the same order."""

    async def read(self, user_id: str, now_ms: int, reader: HistoryReader | None = None) -> Remembered:
        """Return the history, dislikes and blocks of a listener at `now_ms`; empty ones for an unknown listener.

        Without a `reader` the store's own history rule is used, and tracks of any kind count for the length.
        """

    async def export(self, user_id: str) -> Stored:
        """Return everything stored under a user id."""

    async def block(self, user_id: str, block: Block, now_ms: int) -> bool:
        """Add a block. Returns False if the listener has the largest allowed number of blocks already."""

    async def unblock(self, user_id: str, block: Block) -> None:
        """Remove a block. It is no error if there is none."""

    async def forget(self, user_id: str) -> int:
        """Delete everything stored under a user id. Returns the number of deleted keys."""

    async def ping(self) -> None:
        """Check that the store answers and accepts writes. Raises StoreUnavailableError if not."""


class RedisSessions:
    """The session store on Redis 6.2 or later, Valkey, or a cluster of them."""

    def __init__(
        self,
        client: RedisClient,
        settings: Settings,
        rule: HistoryRule,
        timer: Timer,
        *,
        counters: OutcomeCounters | None = None,
        counted: Callable[[ProposalOutcome], None] = lambda _: None,
        unreadable: Count = lambda _, __: None,
    ) -> None:
        """`rule` decides how long private events are kept, and it reads histories where no model's reader is given.

        `counters` count the outcomes of proposals, and `counted` is called with each counted one. Without `counters` nothing is
        counted. `unreadable` counts values that cannot be read.
        """
        self._client = client
        self._reader = HistoryReader(rule)
        self._timer, self._unreadable = timer, unreadable
        self._record = Script.load(
            "outcomes.lua",
            "record.lua",
            constants=_constants(settings, rule, counters),
            functions={"history": ("order.lua", "long_history.lua")},
        )
        self._read = Script.load(
            "read.lua", constants={"VERSION": ord(str(VERSION)), "DISLIKE": ord(str(EventType.DISLIKE.value))}
        )
        self._block = Script.load("block.lua")
        self._counters, self._counted = counters, counted
        self._trouble = Trouble("sessions are out of reach")
        self._told = set[tuple[str, str]]()
        self._keep = settings.history_events
        self._block_limits = (settings.blocks, _ms(settings.opinions_ttl))

    async def record(self, events: Mapping[str, Sequence[Event]]) -> Mapping[str, Sequence[bool]]:
        skip = self._reader.rule.skip
        outcomes = [
            [outcome_of(event, skip) if event.request_id else None for event in of_user] if self._counters else ()
            for of_user in events.values()
        ]
        calls = list(map(self._call_to_record, events, events.values(), outcomes))
        with self._timer("record"):
            replies = await run_script(self._run, self._record, calls)
        recorded = {}
        for user_id, of_user, outcomes_of, reply in zip(events, events.values(), outcomes, replies, strict=True):
            fresh, replaced = (reply, 0) if isinstance(reply, bytes) else reply
            self._count("key", *[BROKEN] * replaced)
            recorded[user_id] = [new == ord("1") for new in fresh]
            if any(outcomes_of):
                self._note(of_user, outcomes_of, recorded[user_id])
        return recorded

    async def read(self, user_id: str, now_ms: int, reader: HistoryReader | None = None) -> Remembered:
        reader = reader or self._reader
        keys = _keys(user_id)
        with self._timer("read"):
            [reply] = await run_script(self._run, self._read, [(keys, [int(reader.reads_past)])])
        count, packed, private, expires_in_ms, *more = reply
        found, unknown, broken, blocked, unknown_blocks, long, tracks = more or _NO_MORE
        if unknown or unknown_blocks or broken:
            self._count("opinions", *[UNKNOWN] * unknown)
            self._count("blocks", *[UNKNOWN] * unknown_blocks)
            self._count("key", *[BROKEN] * broken)
        try:
            events = unpack_events(count, packed)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            events = await self._readable(keys)
        if reader.reads_past:
            history = fold(events, reader.rule, now_ms=now_ms)
        else:
            events = sorted(events)[-self._keep :] if count > self._keep else events
            history = fold_recent(events, reader.rule, reader.known, now_ms=now_ms)
        disliked = self._decoded(found)
        return Remembered(
            history=history,
            disliked=_with_private(disliked, events, history, now_ms) if private else disliked,
            expires_in_ms=expires_in_ms if expires_in_ms >= 0 else None,
            blocks=self._blocks(blocked) if blocked else NO_BLOCKS,
            past=self._past(long, tracks) if long else NO_PAST,
        )

    async def export(self, user_id: str) -> Stored:
        keys = _keys(user_id)
        with self._timer("export"):
            return stored_of(await self._run(commands_to_export(keys)))

    async def block(self, user_id: str, block: Block, now_ms: int) -> bool:
        call: Call = [_key(user_id, "blocks")], [str(block), pack_block(now_ms), *self._block_limits]
        with self._timer("block"):
            [(stored, replaced)] = await run_script(self._run, self._block, [call])
        self._count("key", *[BROKEN] * replaced)
        return bool(stored)

    async def unblock(self, user_id: str, block: Block) -> None:
        with self._timer("block"):
            await self._run([("HDEL", _key(user_id, "blocks"), str(block))])

    async def forget(self, user_id: str) -> int:
        with self._timer("forget"):
            deleted, *_ = await self._run([("UNLINK", *_keys(user_id)), *commands_to_announce(user_id)])
        return int(deleted)

    async def ping(self) -> None:
        try:
            await self._client.ping()
        except StoreUnavailableError as error:
            self._trouble(error)
            raise

    async def _readable(self, keys: Sequence[str]) -> list[Event]:
        """Read the events again one by one, and return those that can be read."""
        events = list[Event]()
        for key, values in zip(KINDS, await self._run([("HVALS", key) for key in keys[:2]]), strict=False):
            if not isinstance(values, ResponseError):  # no hash: `read.lua` has counted it
                found, reasons = unpack_readable(values)
                events += found
                self._count(key, *reasons)
        return events

    def _blocks(self, found: bytes) -> Blocks:
        blocks = [block for text in found.split(b"\n") if (block := read_block(text_of(text) or ""))]
        self._count("blocks", *[BROKEN] * (found.count(b"\n") + 1 - len(blocks)))
        return Blocks.of(blocks)

    def _past(self, long: bytes, tracks: bytes) -> Past:
        try:
            return unpack_past(long, tracks)
        except UnreadableError as error:
            self._count("long", error.reason)
            return NO_PAST

    def _decoded(self, track_ids: Sequence[bytes]) -> frozenset[str]:
        try:
            return frozenset([track_id.decode() for track_id in track_ids])
        except UnicodeDecodeError:
            sound = [text for text in map(text_of, track_ids) if text is not None]
            self._count("opinions", *[BROKEN] * (len(track_ids) - len(sound)))
            return frozenset(sound)

    def _call_to_record(self, user_id: str, events: Sequence[Event], outcomes: Sequence[ProposalOutcome | None]) -> Call:
        """Return the keys and arguments of `record.lua` for the events of one listener."""
        keys, fields = _keys(user_id), [""] * len(events)
        if self._counters is not None and self._counters.with_events and any(outcomes):
            place = next(place for place, outcome in enumerate(outcomes) if outcome)
            keys += (key_of(events[place].at_ms + events[place].delay_ms),)  # those of one request arrive together
            fields = ["" if outcome is None else field_of(outcome) for outcome in outcomes]
        return keys, list(itertools.chain.from_iterable(map(_arguments, events, fields)))

    def _note(self, events: Sequence[Event], outcomes: Sequence[ProposalOutcome | None], new: Sequence[bool]) -> None:
        """Call `counted` for the outcome of each new event. If `record.lua` did not count it, add it to the counters too."""
        for event, outcome in itertools.compress(zip(events, outcomes, strict=True), new):
            if outcome is not None:
                self._counted(outcome)
                if self._counters is not None and not self._counters.with_events:
                    self._counters.add(event.at_ms + event.delay_ms, outcome)

    def _count(self, kind: str, *reasons: str) -> None:
        """Count values that cannot be read, and log the first one of each kind and reason."""
        for reason in reasons:
            self._unreadable(kind, reason)
            if (kind, reason) not in self._told:
                self._told.add((kind, reason))
                logger.warning(
                    "stored values cannot be read and are skipped; only the first is logged", kind=kind, reason=reason
                )

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands and return the replies. Raises StoreUnavailableError for an error, unless the script is unknown or a key
        holds no hash.
        """
        try:
            return checked(await self._client.run(commands), "WRONGTYPE")
        except StoreUnavailableError as error:
            self._trouble(error)
            raise


def _constants(settings: Settings, rule: HistoryRule, counters: OutcomeCounters | None) -> dict[str, int | float | str]:
    """Return the constants of `record.lua`."""
    counters_ttl_ms, most_counters, other = counters.limits if counters else (1, 0, "")
    return {
        "KEEP": settings.history_events,
        # Trimming sorts all of a listener's events. The slack lets it run at few writes only; readers never see it.
        "SLACK": max(1, settings.history_events // 4),
        "OPINIONS": settings.opinions,
        "LONG_PLAYS": settings.long_history,
        "LONG_VERSION": LONG_VERSION,
        "HEADER": LONG_HEADER,
        "TTL": _ms(settings.history_ttl),
        "PRIVATE_TTL": max(rule.gap_ms, rule.named_gap_ms) + AHEAD_MS,
        "OPINIONS_TTL": _ms(settings.opinions_ttl),
        "COUNTERS_TTL": counters_ttl_ms,
        "COUNTERS": most_counters,
        "OTHER": other,
        "GAP_MS": rule.gap_ms,
        "NAMED_GAP_MS": rule.named_gap_ms,
        "LIMIT_MS": rule.skip.limit_ms,
        "END_SHARE": rule.skip.end_share,
    }


def _ms(duration: timedelta) -> int:
    return round(duration.total_seconds() * 1000)


def _keys(user_id: str) -> tuple[str, ...]:
    """Return all Redis keys of a listener, in the order of `KINDS`. No other function makes these keys."""
    user = user_id.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    return tuple([f"nexttrack:{{{user}}}:{kind}" for kind in KINDS])


def _key(user_id: str, kind: str) -> str:
    return _keys(user_id)[KINDS.index(kind)]


def _arguments(event: Event, counter: str) -> tuple[str | bytes | int, ...]:
    """Return the arguments of `record.lua` for one event. `counter` is the hash field that counts its outcome, or empty."""
    _, type, event_id, track_id, *_, private = event
    if type < _LIKE or private:
        return event_id, pack_event(event), "", "", int(private), counter
    return event_id, pack_event(event), track_id, pack_opinion(event), 0, counter


def _with_private(disliked: frozenset[str], events: Sequence[Event], history: History, now_ms: int) -> frozenset[str]:
    """Add the private likes and dislikes of open sessions to the disliked tracks: a like removes a track, a dislike adds it."""
    tracks = {event.track_id for event in events if event.private and event.type >= EventType.LIKE}
    said = {track_id: outcome for track_id, outcome in history.opinions(now_ms).items() if track_id in tracks}
    liked = {track_id for track_id, outcome in said.items() if outcome is Outcome.LIKED}
    return (disliked - liked) | (said.keys() - liked)
