"""Everything that is stored about a listener, for an export. It includes values that cannot be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from model.events import Event, EventType
from model.long_history import NO_PAST, Past
from service.blocks import Block, read_block
from service.store.formats import unpack_block, unpack_event, unpack_opinion
from service.store.past import UnreadableError, unpack_past
from service.store.redis_connection import Command

_HASHES, _STRINGS = ("events", "private", "opinions", "blocks"), ("long", "tracks")
KINDS = (*_HASHES, *_STRINGS)
"""The kinds of a listener's keys."""
_READ = {**dict.fromkeys(_HASHES, "HGETALL"), **dict.fromkeys(_STRINGS, "GET")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Everything that is stored about a listener. The defaults are for a listener never seen."""

    events: Sequence[Event] = ()
    """In canonical order, private ones among them."""
    opinions: Mapping[str, tuple[EventType, int]] = field(default_factory=dict)
    """The newest of each track, and its time."""
    blocks: Mapping[Block, int] = field(default_factory=dict)
    """And their times."""
    past: Past = NO_PAST
    """Plays older than the events."""
    unreadable: Sequence[tuple[str, bytes, bytes]] = ()
    """Kind of key, field and value. For a key of another type the value is its dump."""
    expires_in_ms: Mapping[str, int] = field(default_factory=dict)
    """By kind of key."""


def commands_to_export(keys: Sequence[str]) -> list[Command]:
    """Return the Redis commands that read everything under a listener's keys, which are in the order of `KINDS`."""
    read = [(_READ[kind], key) for kind, key in zip(KINDS, keys, strict=True)]
    return [*read, *[(command, key) for command in ("PTTL", "DUMP") for key in keys]]


def stored_of(replies: Sequence[Any]) -> Stored:
    """Make a `Stored` from the replies to `commands_to_export`."""
    count = len(KINDS)
    values, ttls, dumps = (dict(zip(KINDS, replies[start : start + count], strict=True)) for start in (0, count, 2 * count))
    events, opinions, unreadable = list[Event](), dict[str, tuple[EventType, int]](), list[tuple[str, bytes, bytes]]()
    blocks = dict[Block, int]()
    for kind in _HASHES:
        found = values[kind]
        if isinstance(found, ResponseError):
            unreadable.append((kind, b"", dumps[kind]))
            continue
        for name, value in zip(found[::2], found[1::2], strict=True):
            if kind == "opinions" and (opinion := unpack_opinion(value)) and (track_id := text_of(name)):
                opinions[track_id] = opinion
            elif kind == "blocks" and (at_ms := unpack_block(value)) is not None and (block := read_block(text_of(name) or "")):
                blocks[block] = at_ms
            elif kind in ("events", "private") and (event := unpack_event(value)):
                events.append(event)
            else:
                unreadable.append((kind, name, value))
    past = _past(values)
    if past is None:
        unreadable += [(kind, b"", dumps[kind]) for kind in _STRINGS if dumps[kind]]
    return Stored(
        events=sorted(events),
        opinions=opinions,
        blocks=blocks,
        past=past or NO_PAST,
        unreadable=unreadable,
        expires_in_ms={kind: ttl for kind, ttl in ttls.items() if ttl >= 0},
    )


def text_of(value: bytes) -> str | None:
    """Decode an id; None if it is not valid UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _past(values: Mapping[str, Any]) -> Past | None:
    """Return the plays of the long history; None if a part cannot be read."""
    found = [values[kind] for kind in _STRINGS]
    if any(isinstance(value, ResponseError) for value in found):
        return None
    long, tracks = (value or b"" for value in found)
    try:
        return unpack_past(long, tracks) if long or not tracks else None
    except UnreadableError:
        return None
