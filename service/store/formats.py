"""The format of the values that Redis stores about listeners.

Each value begins with the version of its format. An event is the byte 1 and a msgpack array of the fields of `Event`, without
those at the end that have their default. An opinion is the text `1`, the number of its type, and its time. A block is the text
`1` and the time at which it was made.

During a rolling upgrade, or after a rollback, readers meet the values of another version of the service. A new field of an
event goes to the end and keeps the version: older readers ignore it. Any other change takes a new version, whose values older
readers count and skip. A key of another kind takes a new name.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

import msgspec

from model.events import Event, EventType

VERSION = 1
UNKNOWN, BROKEN = "version", "broken"
"""Why a value cannot be read: its version is unknown, or its bytes are no value of their version."""

_REQUIRED = len(Event._fields) - len(Event._field_defaults)
_DEFAULTS = tuple(Event._field_defaults.values())
_VERSION_BYTE = bytes([VERSION])


def pack_event(event: Event) -> bytes:
    """Pack an event as a stored value."""
    if event[-1]:
        return _VERSION_BYTE + _encode(event)
    size = len(event) - 1
    while size > _REQUIRED and not event[size - 1] and event[size - 1] == _DEFAULTS[size - 1 - _REQUIRED]:
        size -= 1
    return _VERSION_BYTE + _encode(event[:size])


def unpack_events(count: int, values: bytes) -> list[Event]:
    """Unpack `count` stored events from one value that holds them end to end. Raises msgspec.MsgspecError if one cannot be
    read.
    """
    array_header = b"\xdd" + (2 * count).to_bytes(4, "big")  # of a version and an event each
    return cast("list[Event]", _decode_all(array_header + values)[1::2])


def unpack_readable(values: Iterable[bytes]) -> tuple[list[Event], list[str]]:
    """Unpack the stored events that can be read. Also returns the reason for each of the others: `UNKNOWN` or `BROKEN`."""
    events, reasons = list[Event](), list[str]()
    for value in values:
        event = unpack_event(value)
        if event is not None:
            events.append(event)
        else:
            reasons.append(BROKEN if value[:1] in (_VERSION_BYTE, b"") else UNKNOWN)
    return events, reasons


def unpack_event(value: bytes) -> Event | None:
    """Unpack a stored event; None if it cannot be read."""
    if value[:1] != _VERSION_BYTE:
        return None
    try:
        fields: Sequence[Any] = _decode_fields(value[1:])
        return msgspec.convert(fields[: len(Event._fields)], Event)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def pack_opinion(event: Event) -> str:
    """Pack a like or dislike as a stored value. `record.lua` compares such values by time and type."""
    return f"{VERSION}{event.type.value}{event.at_ms}"


def unpack_opinion(value: bytes) -> tuple[EventType, int] | None:
    """Unpack the type and time of a stored opinion; None if it cannot be read."""
    text = value.decode("latin-1")
    if text[:2] not in (f"{VERSION}{EventType.LIKE.value}", f"{VERSION}{EventType.DISLIKE.value}") or not text[2:].isdecimal():
        return None
    return EventType(int(text[1])), int(text[2:])


def pack_block(at_ms: int) -> str:
    """Pack the time of a block as a stored value."""
    return f"{VERSION}{at_ms}"


def unpack_block(value: bytes) -> int | None:
    """Unpack the time of a stored block; None if it cannot be read."""
    text = value.decode("latin-1")
    return int(text[1:]) if text[:1] == str(VERSION) and text[1:].isdecimal() else None


_encode = msgspec.msgpack.Encoder().encode
_decode_all = msgspec.msgpack.Decoder(list[Literal[1] | Event]).decode  # 1 is `VERSION`
_decode_fields = msgspec.msgpack.Decoder(list[Any]).decode
