"""Stored values: unpacking restores what was packed. Values of another version are read or skipped, without an error."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.events import Event, EventType
from service.store.formats import BROKEN, UNKNOWN, pack_event, pack_opinion, unpack_events, unpack_opinion, unpack_readable

PLAIN = Event(1_800_000_000_000, EventType.PLAY, "e1", "t1")
FULL = Event(5, EventType.DISLIKE, "e2", "täglich", 7, 8, 9, "s", "r", private=True)


INTEGERS = st.integers(0, 2**53)
TEXTS = st.sampled_from(["", "e1", "täglich", "x" * 256, "\x00"])
EVENTS = st.builds(
    Event,
    at_ms=INTEGERS,
    event_id=TEXTS,
    track_id=TEXTS,
    delay_ms=INTEGERS,
    played_ms=st.none() | INTEGERS,
    track_ms=st.none() | INTEGERS,
    session_id=st.none() | TEXTS,
    request_id=st.none() | TEXTS,
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(EVENTS, max_size=5))
def test_events_are_unpacked_as_they_were_packed(events: list[Event]) -> None:
    """It holds for all fields, alone or end to end. Missing fields get their defaults again."""
    packed = [pack_event(event) for event in events]

    assert unpack_events(len(events), b"".join(packed)) == events
    assert unpack_readable(packed) == (events, [])


def test_event_takes_no_room_for_what_it_does_not_say() -> None:
    """A plain play takes its version, an array of four, 9 bytes of time, a type, and two short ids."""
    assert len(pack_event(PLAIN)) == 1 + 1 + 9 + 1 + 3 + 3


def test_values_begin_with_their_version() -> None:
    """So a reader knows the format before it reads the rest."""
    assert pack_event(FULL)[:1] == b"\x01"
    assert pack_opinion(FULL) == "145"
    assert unpack_opinion(b"145") == (EventType.DISLIKE, 5)


def _packed(*fields: object) -> bytes:
    return b"\x01" + msgspec.msgpack.encode(fields)


NEWER = pack_event(FULL)[:1] + msgspec.msgpack.encode([*FULL, "more", {"and": "more"}])


def test_event_with_further_fields_is_read_without_them() -> None:
    """A newer version may add fields at the end. Older versions read the rest, so a rollback loses no event."""
    with pytest.raises(msgspec.MsgspecError):
        unpack_events(1, NEWER)  # the fast way raises

    assert unpack_readable([NEWER]) == ([FULL], [])


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\x02" + pack_event(PLAIN)[1:], UNKNOWN),
        (pack_event(PLAIN)[1:], UNKNOWN),
        (b"\xc1garbage", UNKNOWN),
        (b"", BROKEN),
        (b"\x01", BROKEN),
        (pack_event(PLAIN)[:-1], BROKEN),
        (b"\x01\xc1", BROKEN),
        (pack_event(PLAIN) + b"\x01", BROKEN),
        (_packed(1, 5, "e", "t"), BROKEN),
        (_packed(1, 0, "e"), BROKEN),
        (_packed("now", 0, "e", "t"), BROKEN),
        (pack_event(PLAIN).replace(b"t1", b"\xff1"), BROKEN),
        (b"\x01" + msgspec.msgpack.encode({"at_ms": 1}), BROKEN),
    ],
)
def test_value_that_cannot_be_read_costs_no_other(value: bytes, reason: str) -> None:
    """It has another version, an unknown type or too few fields, is truncated, or is no msgpack. Only this value is counted and
    skipped.
    """
    values = [pack_event(PLAIN), value, pack_event(FULL)]

    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        unpack_events(3, b"".join(values))
    assert unpack_readable(values) == ([PLAIN, FULL], [reason])


@pytest.mark.parametrize("value", [b"", b"1", b"14", b"24" + b"5", b"125", b"14x", b"nonsense", b"\xff\xfe"])
def test_opinion_that_cannot_be_read_is_none(value: bytes) -> None:
    """It has another version, a type that is no opinion, or no time."""
    assert unpack_opinion(value) is None
