"""Bodies read by msgspec: pydantic accepts each of them, too, and reads the same."""

import json
import random
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from service.http.fast_parse import read_events, read_next
from service.http.schemas import NextRequest, OneOrMany, PostedEvents
from service.rules import AskedRules

NOW_MS = 1_800_000_000_000
_EVENTS: TypeAdapter[Any] = TypeAdapter(OneOrMany)
_NEXT = TypeAdapter(NextRequest)

EVENT = {"event_id": "e", "user_id": "u", "track_id": "t", "type": "skip", "at": "2027-01-15T07:59:00.5Z", "played_ms": 5}
FULL = EVENT | {"track_ms": 200_000, "request_id": "r", "session_id": "s", "private": True, "imported": True}
ASKED = {
    "user_id": "u",
    "history": [{"track_id": "t1"}, {"track_id": "t2", "outcome": "liked"}],
    "count": 3,
    "exclude": ["x"],
    "candidates": ["c"],
    "artist_gap": 3,
    "album_gap": 2,
    "not_heard_days": 1.5,
    "replay": True,
    "novelty": -0.5,
    "explore": 0.25,
    "explain": True,
}
ODD: list[Any] = [
    *("", "a", "\n", "a\n", "\x00", "\x7f", "\x85", "\xa0", "\ud800", "é" * 128, "é" * 129, "x" * 256, "x" * 257, "😀" * 64),
    *("events", "2027-01-15", "2027-01-15T07:59:00", "2027-02-30T07:59:00Z", "2027-01-15t07:59:00z", "1969-12-31T23:59:59Z"),
    *(None, True, False, 0, 1, 100, 101, -1, 1.0, 1.5, "5", 2**53, 2**53 + 1, 2**64, 1e300),
    *(10**255, 10**256, -(10**255), 10**400),
    *([], ["a"], ["a", 1], [None], {}, {"track_id": "t"}, {"track_id": "t", "outcome": "skipped", "more": 1}),
]


def mutated(body: Any, random: random.Random) -> Any:
    """Replace or remove a value of the body at any depth, or add another one."""
    if isinstance(body, list) and body:
        place = random.randrange(len(body))
        return [*body[:place], mutated(body[place], random), *body[place + 1 :]]
    if not isinstance(body, dict) or not body or random.random() < 0.1:
        return random.choice(ODD)
    name, way = random.choice(list(body)), random.random()
    if way < 0.1:
        return {key: value for key, value in body.items() if key != name}
    return body | ({"more": 1} if way < 0.15 else {name: mutated(body[name], random)})


def bodies(*sound: Any) -> list[bytes]:
    """Make sound bodies, many that are nearly sound, and some that no JSON encoder writes."""
    chance = random.Random(1)
    made = [json.dumps(mutated(body, chance)) for body in sound for _ in range(3_000)]
    made += [json.dumps(body) for body in sound] + [json.dumps(body, ensure_ascii=False) for body in sound]
    whole = json.dumps(sound[0])
    made += [whole[:-1], whole + "x", whole + " ", "", "null", "[]", whole.replace('"user_id"', '"\\u0075ser_id"')]
    made += [whole[:-1] + ', "user_id": "again"}', whole.replace('"u"', "NaN"), whole.replace('"u"', '"\\u0000"')]
    broken = [whole.encode().replace(b'"u"', raw) for raw in (b'"\xff"', b'"\xed\xa0\x80"', b'"\x01"', b'"a\tb"')]
    return [text.encode("utf-8", "surrogatepass") for text in made] + broken


def pydantics(adapter: TypeAdapter[Any], body: bytes) -> Any:
    """Return pydantic's result, None if it refuses the body."""
    try:
        return adapter.validate_json(body)
    except ValidationError:
        return None


def test_events_are_read_as_pydantic_reads_them() -> None:
    """Among thousands of nearly sound bodies, none is accepted that pydantic refuses, and each gives the same fields."""
    taken = 0
    for body in bodies(EVENT, FULL, {"events": [EVENT, FULL]}):
        read = read_events(body, NOW_MS)
        if read is None:
            continue
        taken += 1
        found = pydantics(_EVENTS, body)
        assert found is not None, body
        told, many = read
        posted = found.events if isinstance(found, PostedEvents) else [found]
        assert many is isinstance(found, PostedEvents)
        for (user_id, event), wanted in zip(told, posted, strict=True):
            fields = event._asdict() | {"user_id": user_id, "type": event.type.name.lower()}
            at_ms, delay_ms = fields.pop("at_ms"), fields.pop("delay_ms")
            assert fields == wanted.model_dump(exclude={"at", "imported"})
            assert at_ms == (NOW_MS if wanted.at is None else wanted.at)
            assert delay_ms == (0 if wanted.imported else max(0, NOW_MS - at_ms))

    assert taken > 1_000


def test_wishes_are_read_as_pydantic_reads_them() -> None:
    """The same holds for requests for next tracks."""
    taken = 0
    for body in bodies(ASKED, {"history": ASKED["history"]}, {}):
        read = read_next(body)
        if read is None:
            continue
        taken += 1
        found = pydantics(_NEXT, body)
        assert found is not None, body
        plays = None if read.plays is None else [(track_id, outcome.name.lower()) for track_id, outcome in read.plays]
        history = None if found.history is None else [(entry.track_id, entry.outcome) for entry in found.history]
        query = (read.query.count, read.query.exclude, read.query.candidates)
        rules = {name: getattr(found, name) for name in AskedRules.__annotations__ if getattr(found, name) is not None}
        assert (read.user_id, plays, query) == (found.user_id, history, (found.count, found.exclude, found.candidates))
        assert repr(sorted(read.query.rules.items())) == repr(sorted(rules.items()))

    assert taken > 500


@pytest.mark.parametrize("size", [1, 1_000])
def test_plain_bodies_need_no_pydantic(size: int) -> None:
    """Bodies that players usually send are read by msgspec; otherwise it would save no time."""
    assert read_events(json.dumps({"events": [FULL] * size}).encode(), NOW_MS) is not None
    assert read_next(json.dumps({"history": [{"track_id": f"é{number}"} for number in range(size)]}).encode()) is not None
