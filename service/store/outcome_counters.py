"""Hourly counters in Redis of what became of proposals. They add up over workers and services, and survive restarts.

    nexttrack:outcomes:{HOUR}   hash: version of the format, model version, arm, rank and outcome -> count; for `outcomes_ttl`

HOUR is the hour of receipt, counted from 1970. The format's version begins each field, since a counter's value is a number. A
hash has at most `MOST_FIELDS` counters, because a client could make up model versions. Further ones count as `other`.

On one server `record.lua` counts in the same transaction that stores the event. So an event counts exactly once, also if the
service is killed in between, and costs no round trip. On a cluster the counters are in another slot than the listener, where
no script reaches both. There this class collects counts in memory and adds them each `FLUSH_S`. Each addition has a number,
and `count.lua` ignores a number that it has seen, so a repeated one does not count twice. A killed process loses at most the
counts of the last `FLUSH_S`.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

from redis.exceptions import ResponseError

from service.errors import StoreUnavailableError
from service.observing.logs import Trouble
from service.observing.outcomes import OUTCOMES, ProposalOutcome
from service.repeating import repeat
from service.store.connections import RedisClient
from service.store.redis_connection import Command, checked
from service.store.scripts import Script, run_script

HOUR_MS = 60 * 60 * 1000
MOST_FIELDS = 2_000
FLUSH_S = 1.0
VERSION = "1"
_FAILED = "outcomes of proposals cannot be counted yet"
OTHER = "\t".join([VERSION, "other", "other", "other", ""])
"""The beginning of the counters for which a hash has no room."""


class HourlyCount(NamedTuple):
    """How often an outcome was reported in the hour that began at `hour_ms`."""

    hour_ms: int
    outcome: ProposalOutcome
    times: int


class OutcomeCounts(Protocol):
    """Something that reads the hourly counts of outcomes."""

    async def read(self, now_ms: int, hours: int) -> Sequence[HourlyCount]:
        """Return the counts of the last `hours` hours, including the current one, in any order.

        Raises StoreUnavailableError if the store does not answer in time.
        """


class OutcomeCounters:
    """Counts outcomes of proposals in Redis, one counter for each hour, version, arm, rank and outcome."""

    def __init__(self, client: RedisClient, ttl: timedelta, *, most_fields: int = MOST_FIELDS) -> None:
        """`ttl` is how long Redis keeps an hour's counters after their last change. `most_fields` limits the counters of an
        hour.
        """
        self._client, self._most_fields = client, most_fields
        self._ttl_ms = round(ttl.total_seconds() * 1000)
        self._count = Script.load("outcomes.lua", "count.lua")
        self._trouble = Trouble(_FAILED)
        self._collected: dict[str, Counter[str]] = {}
        self._sent: dict[str, tuple[int, Counter[str]]] = {}  # additions that Redis may not have: their numbers and counts
        self._writer, self._number = secrets.token_hex(8), 0

    @property
    def with_events(self) -> bool:
        """Return whether the script that stores an event also counts its outcome. If not, the caller must call `add`."""
        return not self._client.is_cluster

    @property
    def limits(self) -> tuple[int, int, str]:
        """Return the arguments of the scripts that hold for all counters: ttl in ms, most counters of an hour, prefix of those
        beyond.
        """
        return self._ttl_ms, self._most_fields, OTHER

    def add(self, received_ms: int, outcome: ProposalOutcome) -> None:
        """Count an outcome in memory. `flush` adds it to Redis."""
        self._collected.setdefault(key_of(received_ms), Counter())[field_of(outcome)] += 1

    async def flush(self) -> None:
        """Add the collected counts to Redis. If that fails, the next flush sends the same counts again."""
        for key in [key for key in self._collected if key not in self._sent]:
            self._number += 1
            self._sent[key] = self._number, self._collected.pop(key)
        if not self._sent:
            return
        calls = [
            ([key], [*self.limits, self._writer, number, *(part for pair in counts.items() for part in pair)])
            for key, (number, counts) in self._sent.items()
        ]
        try:
            await run_script(self._run, self._count, calls)
        except StoreUnavailableError as error:
            self._trouble(error)
        else:
            self._sent.clear()

    @asynccontextmanager
    async def flushing(self) -> AsyncIterator[None]:
        """Flush every `FLUSH_S` seconds during the `with` block, and once more at its end."""
        task = None if self.with_events else asyncio.create_task(repeat(self.flush, FLUSH_S, failed=_FAILED))
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                await self.flush()
                await self.flush()  # counts that were collected while an earlier addition of their hour was under way

    async def read(self, now_ms: int, hours: int) -> Sequence[HourlyCount]:
        moments = [now_ms - back * HOUR_MS for back in range(hours)]
        replies = await self._run([("HGETALL", key_of(moment)) for moment in moments])
        return [
            HourlyCount(moment // HOUR_MS * HOUR_MS, outcome, int(count))
            for moment, found in zip(moments, replies, strict=True)
            if not isinstance(found, ResponseError)
            for name, count in zip(found[::2], found[1::2], strict=True)
            if (outcome := _outcome(name)) is not None and count.isdigit()
        ]

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        return checked(await self._client.run(commands), "WRONGTYPE")


def key_of(received_ms: int) -> str:
    """Return the Redis key of the counters for the hour of `received_ms`."""
    return f"nexttrack:outcomes:{{{received_ms // HOUR_MS}}}"


def field_of(outcome: ProposalOutcome) -> str:
    """Return the hash field that counts this outcome."""
    return "\t".join([VERSION, *outcome])


def _outcome(name: bytes) -> ProposalOutcome | None:
    """Return the outcome that a hash field counts; None if the field has another format or is no counter."""
    version, *parts = name.decode(errors="replace").split("\t")
    if version != VERSION or len(parts) != len(ProposalOutcome._fields) or parts[-1] not in OUTCOMES:
        return None
    return ProposalOutcome(parts[0], parts[1], parts[2], next(outcome for outcome in OUTCOMES if outcome == parts[3]))
