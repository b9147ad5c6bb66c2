"""The long history in Redis: plays that have left the exact window, each once, as folding all events gives them."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from random import Random

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis import Redis

from model.events import Entry, Event, EventType, Outcome, fold
from model.long_history import NO_PAST, past_entries
from service.store.formats import pack_event
from service.store.past import HEADER
from service.store.sessions import HistoryReader, Remembered, SessionStore
from tests.service.applications import NOW_MS
from tests.service.store.test_sessions import KEEP, RULE, Where, opened, play, user
from tests.service.store.test_sessions_versions import counting, key

pytestmark = pytest.mark.anyio
PLAY, SKIP, COMPLETE, LIKE, DISLIKE = EventType
READER = HistoryReader(RULE, reads_past=True)
MINUTE = 60_000
WINDOW = 16  # events; a quarter more are kept at times, and half of that may stay so that no play of three events is cut
QUIET = settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def redis(valkey: str) -> Iterator[Redis]:
    """A client that sees and changes stored values."""
    with Redis.from_url(valkey) as client:
        yield client


@pytest.fixture(params=["valkey", "cluster"])
def where(request: pytest.FixtureRequest) -> Where:
    """Redis on one server, and a cluster."""
    return Where(request.getfixturevalue(request.param))


def some_plays(chance: Random) -> list[Event]:
    """Events in order: 25 to 40 plays of four tracks with their reports, after short and long pauses. Either two named sessions
    alternate, or no session has a name.
    """
    names: Sequence[str | None] = chance.choice([(None,), ("s1", "s2")])
    events, at_ms = list[Event](), 0
    for number in range(chance.randint(25, 40)):
        at_ms += chance.choice([1, 2, 5 * MINUTE, 31 * MINUTE, 25 * 60 * MINUTE])
        kinds = chance.choice([[PLAY], [SKIP], [PLAY, COMPLETE], [PLAY, SKIP], [PLAY, SKIP, LIKE], [PLAY, DISLIKE]])
        track, name = "d" if kinds == [SKIP] else chance.choice("abc"), chance.choice(names)
        for place, type in enumerate(kinds):
            heard = (chance.choice([None, 10_000, 60_000]), chance.choice([None, 11_000])) if type in (SKIP, COMPLETE) else ()
            event = Event(at_ms, type, f"é{number:03}{place}", track, 0, *heard)
            events.append(event._replace(session_id=name))
    return events


def shown(entries: Iterable[Entry]) -> list[tuple[str, Outcome, int]]:
    """What the copy head reads of entries, apart from their sessions."""
    return [(entry.track_id, entry.outcome, entry.at_ms) for entry in entries]


def read_of(found: Remembered) -> list[tuple[str, Outcome, int]]:
    """The plays of the past and of the history."""
    return shown([*past_entries(found.past), *found.history.entries])


@asynccontextmanager
async def told(where: Where, *batches: Sequence[Event], **changes: object) -> AsyncIterator[tuple[SessionStore, str]]:
    """A store that was told batches of events of a listener, and the listener."""
    listener = user()
    async with opened(where, **changes) as store:
        for batch in batches:
            await store.record({listener: batch})
        yield store, listener


def cut_up(events: Sequence[Event], chance: Random, most: int) -> list[list[Event]]:
    """Batches of at most `most` events, with repetitions of earlier ones."""
    batches, start = list[list[Event]](), 0
    while start < len(events):
        stop = start + chance.randint(1, most)
        batches.append([*events[start:stop], *chance.choices(events[:stop], k=chance.randint(0, 3))])
        start = stop
    return batches


@given(chance=st.randoms(use_true_random=False))
@QUIET
def test_past_and_history_are_the_fold_of_all_events(valkey: str, chance: Random) -> None:
    """Whatever is sent again in between. No luck: 25 plays and more go through a window of 16 events."""
    events = some_plays(chance)
    batches = cut_up(events, chance, len(events))

    async def state() -> Remembered:
        async with told(Where(valkey), *batches, history_events=WINDOW) as (store, listener):
            return await store.read(listener, NOW_MS, READER)

    found = anyio.run(state)

    assert len(found.past.tracks) > 0
    assert read_of(found) == shown(fold(events, RULE).entries)


@given(chance=st.randoms(use_true_random=False))
@QUIET
def test_events_that_are_late_by_less_than_the_window_take_their_place(valkey: str, chance: Random) -> None:
    """Each four plays arrive in any order, each with its reports behind it. The past is what all events in order give."""
    events = some_plays(chance)
    each = [list(of_play) for _, of_play in groupby(events, key=attrgetter("at_ms"))]
    fours = [each[start : start + 4] for start in range(0, len(each), 4)]
    runs = [[event for of_play in chance.sample(four, len(four)) for event in of_play] for four in fours]
    batches = [batch for run in runs for batch in cut_up(run, chance, 4)]

    async def state() -> Remembered:
        async with told(Where(valkey), *batches, history_events=WINDOW) as (store, listener):
            return await store.read(listener, NOW_MS, READER)

    assert read_of(anyio.run(state)) == shown(fold(events, RULE).entries)


@given(chance=st.randoms(use_true_random=False))
@QUIET
def test_sending_old_events_again_changes_no_stored_byte(valkey: str, chance: Random) -> None:
    """However they arrived: in any order, many of them too late. Plays of the past stand in the order of their times."""
    events = some_plays(chance)
    batches = cut_up(chance.sample(events, len(events)), chance, 20)
    again = chance.sample(events, len(events))

    async def states() -> tuple[list[bytes], list[bytes], Remembered]:
        with Redis.from_url(valkey) as redis:
            async with told(Where(valkey), *batches, history_events=WINDOW) as (store, listener):
                keys = sorted(redis.scan_iter(match=f"*{listener}*"))
                before = [redis.dump(name) for name in keys]
                results = await store.record({listener: again})
                assert not any(results[listener])
                return before, [redis.dump(name) for name in keys], await store.read(listener, NOW_MS, READER)

    before, after, found = anyio.run(states)

    assert len(before) >= 3
    assert before == after
    assert found.past.at_ms.tolist() == sorted(found.past.at_ms.tolist())


async def test_an_event_too_old_for_the_window_is_dropped_but_its_opinion_counts(where: Where) -> None:
    """It counts as a duplicate: nobody knows any more whether it has been there before."""
    events = [play(number) for number in range(10, 40)]
    async with told(where, events) as (store, listener):
        before = await store.read(listener, NOW_MS, READER)
        results = await store.record({listener: [play(1), play(2, type=DISLIKE)]})
        after = await store.read(listener, NOW_MS, READER)

    assert results == {listener: [False, False]}
    assert read_of(before) == read_of(after) == shown(fold(events, RULE).entries)
    assert after.disliked == {"t2"}


async def test_only_the_newest_plays_are_kept_and_their_tracks(where: Where) -> None:
    """An eighth more at times. The tracks of dropped plays are dropped with them."""
    events = [play(number, track=f"t{number // 2}") for number in range(300)]
    async with told(where, *[events[start : start + 7] for start in range(0, 300, 7)], long_history=40) as (store, listener):
        found = await store.read(listener, NOW_MS, READER)
        stored = await store.export(listener)

    assert 40 <= len(found.past.tracks) <= 45
    assert len(found.past.ids) <= 24
    assert read_of(found) == shown(fold(events, RULE).entries)[-len(read_of(found)) :]
    assert shown(past_entries(stored.past)) == shown(past_entries(found.past))


async def test_a_report_of_a_play_that_has_left_is_a_play_of_its_own(where: Where) -> None:
    """As it is for the window alone. The play in the past does not change."""
    events = [play(number) for number in range(20)]
    async with told(where, events, [Event(21_000, LIKE, "like", "t0")]) as (store, listener):
        found = await store.read(listener, NOW_MS, READER)

    assert read_of(found)[0] == ("t0", Outcome.PLAYED, 0)
    assert read_of(found)[-1] == ("t0", Outcome.LIKED, 21_000)


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_skip_without_its_play_skips_an_older_one_until_the_play_arrives(where: Where, *, in_time: bool) -> None:
    """Track "a" is played twice, and the second `play` arrives after its `skip`. If it arrives while the first play is in the
    window, all is as if it had come in order. If the first play has left before, it stays skipped, and the second is lost.
    """
    first, second, skip = (
        Event(at_ms, type, f"a{at_ms}", "a") for at_ms, type in ((1_000, PLAY), (3_000, PLAY), (4_000, SKIP))
    )
    others = [play(number) for number in (0, 2, *range(5, 40))]
    told_events = [first, *others[:2], skip, second] if in_time else [first, *others[:2], skip]
    async with told(where, told_events, others[2:], [second]) as (store, listener):
        found = [one for one in read_of(await store.read(listener, NOW_MS, READER)) if one[0] == "a"]

    both = [("a", Outcome.PLAYED, 1_000), ("a", Outcome.SKIPPED, 3_000)]
    assert found == (both if in_time else [("a", Outcome.SKIPPED, 1_000)])


async def test_private_events_never_enter_the_past(where: Where) -> None:
    """Neither while their session goes on nor when the window has long passed them."""
    events = [play(number)._replace(private=number % 2 == 0) for number in range(100)]
    async with told(where, *[[event] for event in events]) as (store, listener):
        during, after = await store.read(listener, 100_000, READER), await store.read(listener, NOW_MS, READER)

    assert {track for track, _, _ in read_of(during)} >= {"t96", "t98"}
    assert read_of(after) == shown(fold(events[1::2], RULE).entries)
    assert not {track for track, _, _ in shown(past_entries(during.past))} & {event.track_id for event in events[::2]}


async def test_who_does_not_read_the_past_is_not_sent_it(where: Where) -> None:
    """A model without a copy head reads the newest events and nothing else, as before."""
    async with told(where, [play(number) for number in range(50)]) as (store, listener):
        found = await store.read(listener, NOW_MS)

    assert found.past is NO_PAST
    assert [entry.track_id for entry in found.history.entries] == [f"t{number}" for number in range(50 - KEEP, 50)]


async def test_forgetting_and_expiry_reach_the_past(valkey: str, redis: Redis) -> None:
    """Both keys expire with the events, and a deletion leaves no key."""
    changes = {"history_ttl": timedelta(seconds=50)}
    async with told(Where(valkey), [play(number) for number in range(50)], **changes) as (store, listener):
        ttls = [int(redis.pttl(key(listener, kind))) for kind in ("long", "tracks")]
        await store.forget(listener)

    assert all(40_000 < ttl <= 50_000 for ttl in ttls)
    assert not list(redis.scan_iter(match=f"*{listener}*"))


async def test_no_past_is_kept_if_it_is_switched_off(valkey: str, redis: Redis) -> None:
    """`NEXTTRACK_LONG_HISTORY=0`: the window is trimmed, and nothing else is stored."""
    async with told(Where(valkey), [play(number) for number in range(50)], long_history=0) as (_, listener):
        kinds = [name.rsplit(b":", 1)[1] for name in redis.scan_iter(match=f"*{listener}*")]

    assert kinds == [b"events"]


async def test_events_that_another_version_let_in_again_do_not_enter_twice(valkey: str, redis: Redis) -> None:
    """During a rolling upgrade an older service, which knows no watermark, stores old events. They are not appended."""
    events = [play(number) for number in range(60)]
    async with told(Where(valkey), events[:40]) as (store, listener):
        redis.hset(key(listener, "events"), mapping={event.event_id: pack_event(event) for event in events[:9]})
        await store.record({listener: events[40:]})
        found = await store.read(listener, NOW_MS, READER)

    assert read_of(found) == shown(fold(events, RULE).entries)


async def test_a_past_of_another_version_is_skipped_counted_and_left_alone(valkey: str, redis: Redis) -> None:
    """Its listener is served from the window, and a newer service finds its own value again."""
    async with counting(valkey, history_events=KEEP) as (store, counts):
        listener = user()
        redis.mset({key(listener, "long"): b"\x02newer", key(listener, "tracks"): b"\x02newer"})
        await store.record({listener: [play(number) for number in range(50)]})
        found = await store.read(listener, NOW_MS, READER)
        stored = await store.export(listener)

    assert [entry.track_id for entry in found.history.entries] == [f"t{number}" for number in range(50 - KEEP, 50)]
    assert counts == {("long", "version"): 1}
    assert redis.get(key(listener, "long")) == redis.get(key(listener, "tracks")) == b"\x02newer"
    assert [kind for kind, _, _ in stored.unreadable] == ["long", "tracks"]


@pytest.mark.parametrize("harm", ["type", "tracks' type", "header", "lost tracks", "lost plays"])
async def test_a_broken_past_is_skipped_counted_and_begun_anew(valkey: str, redis: Redis, harm: str) -> None:
    """Eviction may take one of the keys. No track is ever read under another's number."""
    events = [play(number) for number in range(60)]
    async with counting(valkey, history_events=KEEP) as (store, counts):
        listener = user()
        await store.record({listener: events[:30]})
        match harm:
            case "type":
                redis.delete(key(listener, "long"))
                redis.hset(key(listener, "long"), "a", "b")
            case "tracks' type":
                redis.delete(key(listener, "tracks"))
                redis.hset(key(listener, "tracks"), "a", "b")
            case "header":
                redis.set(key(listener, "long"), (redis.get(key(listener, "long")) or b"")[: HEADER - 1])
            case "lost tracks":
                redis.delete(key(listener, "tracks"))
            case _:
                redis.delete(key(listener, "long"))
        broken = await store.read(listener, NOW_MS, READER)
        exported = await store.export(listener)
        await store.record({listener: events[30:]})
        found = await store.read(listener, NOW_MS, READER)

    newest = shown(fold(events, RULE).entries)
    assert len(broken.past.tracks) == 0
    assert exported.unreadable
    assert sum(counts.values()) >= 1 or harm == "lost plays"
    assert len(found.past.tracks) > 20
    assert read_of(found) == newest[-len(read_of(found)) :]
