"""Makes the bodies of `POST /v1/events` from a log's events.

An event's id is made from the event alone. So a second backfill posts duplicates, which change nothing, also if the log has
grown. Ids begin with the event's place among the listener's events of the same millisecond and type. There the id
decides the order in which the service reads them, and it must be the trainer's order.

Events say that they are `imported`: what counts is when they happened, not when they arrived.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import polars as pl

from training.backfilling.newest_events import COLUMNS

EVENTS_A_BATCH = 1_000
BYTES_A_BATCH = 900_000  # a body may have a MiB
_LARGEST = 2**53  # of a number in JSON, as the service takes it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(kw_only=True, slots=True)
class Batch:
    """A batch of events as JSON, the number of listeners whose last event is in it, and the last of these listeners (None if
    there is none).
    """

    events: list[bytes] = field(default_factory=list)
    size: int = 0
    listeners: int = 0
    last: str | None = None

    @property
    def body(self) -> bytes:
        """Return the body of the request."""
        return b'{"events":[' + b",".join(self.events) + b"]}"


def postable(now_ms: int) -> pl.Expr:
    """Return an expression that is true for events that the service accepts. It refuses events of the future, sessions' names
    with control characters, and too large durations.
    """
    named = pl.col("session_id").str.contains(r"\p{Cc}").fill_null(value=False)
    large = pl.any_horizontal(pl.col(name).fill_null(0) > _LARGEST for name in ("played_ms", "track_ms"))
    return (pl.col("at_ms") <= now_ms) & ~named & ~large


def batches(tables: Iterable[pl.DataFrame]) -> Iterator[Batch]:
    """Yield the events of tables of whole listeners in batches. The events of one listener may be spread over several
    batches.
    """
    batch = Batch()
    for table in tables:
        same_moment = ("user_id", "at_ms", "type")
        placed = table.select(*COLUMNS, place=pl.int_range(pl.len()).over(same_moment), ends=_ends())
        for *values, place, ends in placed.iter_rows():
            event = _event(values, place)
            if len(batch.events) == EVENTS_A_BATCH or batch.size + len(event) >= BYTES_A_BATCH:
                yield batch
                batch = Batch()
            batch.events.append(event)
            batch.size += len(event) + 1
            if ends:
                batch.listeners, batch.last = batch.listeners + 1, values[0]
    if batch.events:
        yield batch


def _ends() -> pl.Expr:
    """Return an expression that is true for each listener's last row."""
    return (pl.col("user_id") != pl.col("user_id").shift(-1)).fill_null(value=True)


def _event(values: list[str | int | None], place: int) -> bytes:
    event = {name: value for name, value in zip(COLUMNS, values, strict=True) if value is not None}
    digest = blake2b(_write(values).encode(), digest_size=12).digest()
    at = _EPOCH + timedelta(milliseconds=int(event.pop("at_ms")))
    event |= {
        "event_id": f"log-{place:04d}-{urlsafe_b64encode(digest).decode()}",
        "at": at.isoformat(timespec="milliseconds"),
        "imported": True,
    }
    return _write(event).encode()
