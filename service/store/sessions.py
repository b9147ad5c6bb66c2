"""What is remembered of listeners: their newest events and their opinions, in Redis.

    nexttrack:{USER}:events     hash: event id -> packed event; the newest `history_events`, for `history_ttl`
    nexttrack:{USER}:opinions   hash: track id -> stamp of its newest like or dislike; for `opinions_ttl`

Two hashes a listener and two scripts, `record.lua` and `read.lua`: one atomic round trip writes, one reads. Kept is a *set*
of events; `model.events.fold` makes a history of it anew at each read, from as many `recent` ones as matter. So the state
depends neither on the order nor on the repetition in which events arrive. (The exception: of two events with one id, the
first counts.) An event older than all that are kept is accepted and falls out again at once; what has fallen out is not known
any more, so that sent again it is reported as accepted once more. Writes alone prolong both expiries.

USER is the listener's id with braces escaped, inside braces: the part between the first braces decides a key's cluster
slot, and with a brace of its own an id could put a listener's keys into different slots, or be taken for another's.
"""

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

import msgspec
from redis.exceptions import NoScriptError, ResponseError

from model.events import Event, EventType, History, HistoryRule, fold, recent
from service.errors import StoreUnavailableError
from service.observing.logs import Trouble
from service.settings import Settings
from service.store.connections import RedisClient
from service.store.redis_connection import Command

Timer = Callable[[str], AbstractContextManager[object]]
"""Given an operation's name, a context that measures it."""


EMPTY = History()


@dataclass(frozen=True, kw_only=True, slots=True)
class Remembered:
    """What is known of a listener; without arguments, of one never seen."""

    history: History = EMPTY
    disliked: frozenset[str] = frozenset()
    expires_in_ms: int | None = None


class SessionStore(Protocol):
    """Remembers what listeners did. All methods raise StoreUnavailableError where the store does not answer in time."""

    async def record(self, events: Mapping[str, Sequence[Event]]) -> Mapping[str, Sequence[bool]]:
        """Record events by user id. For each event, in the same place, whether it was new."""

    async def read(self, user_id: str) -> Remembered:
        """What is known of a listener; of an unknown one, nothing."""

    async def forget(self, user_id: str) -> int:
        """Delete all that is kept under a user id; returns how many keys there were."""

    async def ping(self) -> None:
        """Returns once the store answers and accepts writes."""


class RedisSessions:
    """The session store on Redis 6.2 or later, Valkey, or a cluster of them."""

    def __init__(
        self,
        client: RedisClient,
        settings: Settings,
        rule: HistoryRule,
        timer: Timer,
        *,
        known: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`known` says of a track id whether the model can read it: others do not fill a history."""
        self._client = client
        self._rule, self._known = rule, known
        self._timer = timer
        self._record, self._read = _Script.load("record.lua"), _Script.load("read.lua")
        self._trouble = Trouble("sessions are out of reach")
        self._keep = settings.history_events
        # Trimming sorts all of a listener's events; with slack it does so at every so-many-th write only. It never shows.
        slack = max(1, self._keep // 4)
        history_ttl_ms = round(settings.history_ttl.total_seconds() * 1000)
        opinions_ttl_ms = round(settings.opinions_ttl.total_seconds() * 1000)
        self._limits = (self._keep, slack, history_ttl_ms, settings.opinions, opinions_ttl_ms)

    async def record(self, events: Mapping[str, Sequence[Event]]) -> Mapping[str, Sequence[bool]]:
        calls = [
            (*_keys(user_id), *self._limits, *itertools.chain.from_iterable(map(_arguments, of_user)))
            for user_id, of_user in events.items()
        ]
        with self._timer("record"):
            replies = await self._call(self._record, calls)
        return {user_id: [new == ord("1") for new in reply] for user_id, reply in zip(events, replies, strict=True)}

    async def read(self, user_id: str) -> Remembered:
        with self._timer("read"):
            [reply] = await self._call(self._read, [(*_keys(user_id), int(EventType.DISLIKE))])
        count, packed, expires_in_ms, disliked = reply
        events = _decoder.decode(_array_header(count) + packed)
        if count > self._keep:
            events = sorted(events)[-self._keep :]
        return Remembered(
            history=fold(recent(events, self._rule, self._known), self._rule),
            disliked=frozenset(track_id.decode() for track_id in disliked),
            expires_in_ms=expires_in_ms if expires_in_ms >= 0 else None,
        )

    async def forget(self, user_id: str) -> int:
        with self._timer("forget"):
            [deleted] = await self._run([("UNLINK", *_keys(user_id))])
        return int(deleted)

    async def ping(self) -> None:
        try:
            await self._client.ping()
        except StoreUnavailableError as error:
            self._trouble(error)
            raise

    async def _call(self, script: "_Script", calls: Sequence[Command]) -> list[Any]:
        """Run a script for each of `calls` (two keys, then arguments), loading it where Redis has lost it."""
        replies = await self._run([("EVALSHA", script.sha, 2, *call) for call in calls])
        missing = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            again = await self._run([("EVAL", script.text, 2, *calls[place]) for place in missing])
            for place, reply in zip(missing, again, strict=True):
                replies[place] = reply
        return replies

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        """What Redis replies; the one refusal that may be among it is that it does not know a script."""
        try:
            return [_checked(reply) for reply in await self._client.run(commands)]
        except StoreUnavailableError as error:
            self._trouble(error)
            raise


def _keys(user_id: str) -> tuple[str, str]:
    """All keys of a listener; the only place that names them."""
    user = user_id.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    return f"nexttrack:{{{user}}}:events", f"nexttrack:{{{user}}}:opinions"


def _arguments(event: Event) -> tuple[str | bytes | int, ...]:
    if event.type in (EventType.LIKE, EventType.DISLIKE):
        return event.event_id, _encoder.encode(event), event.track_id, event.at_ms * 8 + event.type
    return event.event_id, _encoder.encode(event), "", ""


def _array_header(count: int) -> bytes:
    """What msgpack puts before `count` values to make them an array."""
    return b"\xdd" + count.to_bytes(4, "big")


def _checked(reply: Any) -> Any:
    # Out of memory, read-only replica, loading: not the caller's fault.
    if isinstance(reply, ResponseError) and not isinstance(reply, NoScriptError):
        raise StoreUnavailableError("Redis refused the request", cause=reply) from reply
    return reply


@dataclass(frozen=True, slots=True)
class _Script:
    text: str
    sha: str

    @classmethod
    def load(cls, name: str) -> "_Script":
        text = resources.files("service.store").joinpath(name).read_text(encoding="utf-8")
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())  # Redis names scripts by SHA-1


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Event])
