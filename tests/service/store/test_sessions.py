"""The promises of every session store, tested on Valkey, on a cluster of Valkeys, and on the tests' own fake."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from redis import Redis

from model.events import Event, EventType, HistoryRule, Outcome, fold
from service.errors import StoreUnavailableError
from service.settings import Settings
from service.store.connections import connect
from service.store.sessions import HistoryReader, RedisSessions, Remembered, SessionStore
from tests.service.applications import NOW_MS
from tests.service.fakes import MemorySessions

pytestmark = pytest.mark.anyio
RULE = HistoryRule()
KEEP, KEEP_OPINIONS = 6, 2
PLAY, SKIP, LIKE, DISLIKE = EventType.PLAY, EventType.SKIP, EventType.LIKE, EventType.DISLIKE


class Where(NamedTuple):
    """The store to test. Without a URL it is the fake."""

    url: str | None


@pytest.fixture(params=["valkey", "cluster", "memory"])
def where(request: pytest.FixtureRequest) -> Where:
    """Yield each store in turn."""
    return Where(None if request.param == "memory" else request.getfixturevalue(request.param))


@asynccontextmanager
async def opened(where: Where, **changes: object) -> AsyncIterator[SessionStore]:
    """Open the store with small limits, so that it trims."""
    limits = Settings.model_validate(
        {"history_events": KEEP, "opinions": KEEP_OPINIONS, "redis_timeout": timedelta(seconds=10), **changes}
    )
    if where.url is None:
        yield MemorySessions(RULE, keep=KEEP, keep_opinions=KEEP_OPINIONS)
        return
    link = connect(where.url, limits.redis_timeout)
    try:
        yield RedisSessions(link, limits, RULE, lambda _: nullcontext())
    finally:
        await link.close()


def user() -> str:
    """Return a listener that no other test uses."""
    return f"user {uuid4().hex}"


def play(number: int, *, track: str | None = None, type: EventType = PLAY) -> Event:
    """Make event `number`, a second after the one before."""
    return Event(1_000 * number, type, f"e{number}", track or f"t{number}")


async def test_unknown_listener_has_an_empty_history(where: Where) -> None:
    """A listener who was never seen is no error."""
    async with opened(where) as store:
        found = await store.read(user(), NOW_MS)

    assert found == Remembered()


async def test_recorded_events_are_read_as_the_history_they_fold_to(where: Where) -> None:
    """All fields of an event are stored, so reading gives the same history as folding the events themselves."""
    events = [
        Event(1, PLAY, "e1", "täglich", session_id="s1", request_id="r1"),
        Event(2, EventType.COMPLETE, "e2", "täglich", 7, 29_999, 200_000, "s1"),
    ]
    listener = user()
    async with opened(where) as store:
        await store.record({listener: events})
        found = await store.read(listener, NOW_MS)

    assert found.history == fold(events, RULE)
    assert found.history.entries[0].skipped  # by the skip rule, so the durations were stored


async def test_repeated_event_is_a_duplicate_and_changes_nothing(where: Where) -> None:
    """Events may be sent again within a batch, in another one, or with other contents."""
    listener = user()
    async with opened(where) as store:
        first = await store.record({listener: [play(1), play(1), play(2)]})
        again = await store.record({listener: [play(1)._replace(track_id="other"), play(3)]})
        found = await store.read(listener, NOW_MS)

    assert first == {listener: [True, False, True]}
    assert again == {listener: [False, True]}
    assert [entry.track_id for entry in found.history.entries] == ["t1", "t2", "t3"]


async def test_one_batch_may_hold_many_users_and_mixes_none(where: Where) -> None:
    """Each user's events are stored for that user, and results come in order, whatever slots or nodes the users have."""
    listeners = [user() for _ in range(20)]
    async with opened(where) as store:
        await store.record({listeners[0]: [play(0)]})
        results = await store.record({listener: [play(number)] for number, listener in enumerate(listeners)})
        found = [await store.read(listener, NOW_MS) for listener in listeners]

    assert [results[listener] for listener in listeners] == [[False], *[[True]] * 19]
    assert [[entry.track_id for entry in one.history.entries] for one in found] == [[f"t{n}"] for n in range(20)]


async def test_only_the_newest_events_show(where: Where) -> None:
    """However many events arrive, the history holds the newest `history_events` by time."""
    listener = user()
    async with opened(where) as store:
        for number in (*range(5, 30), *range(5)):
            await store.record({listener: [play(number)]})
            found = await store.read(listener, NOW_MS)

    assert [entry.track_id for entry in found.history.entries] == [f"t{number}" for number in range(24, 30)]


async def test_tracks_that_the_model_cannot_read_fill_no_history(valkey: str) -> None:
    """Old sessions are left out only when the newer ones hold enough known plays."""
    listener, rule = user(), HistoryRule(length=2, gap_ms=1)
    events = [play(1, track="known"), play(2, track="known"), *(play(number, track="new") for number in range(3, 6))]
    link = connect(valkey, timedelta(seconds=10))
    store = RedisSessions(link, Settings(), rule, lambda _: nullcontext())
    await store.record({listener: events})
    newest = await store.read(listener, NOW_MS)
    all_of_them = await store.read(listener, NOW_MS, HistoryReader(rule, "known".__eq__))
    await link.close()

    assert [entry.at_ms for entry in newest.history.entries] == [4_000, 5_000]
    assert all_of_them.history == fold(events, rule)


async def test_dislike_holds_until_a_later_like(where: Where) -> None:
    """The newest opinion by the player's clock counts, not the last one to arrive."""
    listener = user()
    async with opened(where) as store:
        await store.record({listener: [play(5, track="a", type=DISLIKE), play(3, track="b", type=DISLIKE)]})
        await store.record({listener: [play(4, track="a", type=LIKE), play(6, track="b", type=LIKE)]})
        found = await store.read(listener, NOW_MS)

    assert found.disliked == {"a"}


async def test_private_events_count_in_their_session_only(where: Where) -> None:
    """While the session goes on, they are plays, skips and opinions like others. Afterwards they and their opinions are
    gone.
    """
    listener = user()
    events = [
        play(1),
        play(2, track="b"),
        play(3, track="b", type=SKIP),
        play(4, type=DISLIKE),
        play(5, track="liked", type=LIKE),
    ]
    async with opened(where) as store:
        await store.record({listener: [play(0, track="liked", type=DISLIKE)]})
        results = await store.record({listener: [event._replace(private=True) for event in events]})
        again = await store.record({listener: events})
        during, after = await store.read(listener, 10_000), await store.read(listener, 10_000 + RULE.gap_ms)

    assert (results[listener], again[listener]) == ([True] * 5, [False] * 5)
    assert [entry.track_id for entry in during.history.entries] == ["liked", "t1", "b", "t4"]
    assert during.history.skipped(10_000) == ["b"]
    assert during.disliked == {"t4"}
    assert [entry.track_id for entry in after.history.entries] == ["liked"]
    assert after.history.skipped(10_000) == []
    assert after.disliked == {"liked"}


async def test_dislike_outlives_the_history(where: Where) -> None:
    """A disliked track is excluded even after the event has been trimmed from the history."""
    listener = user()
    async with opened(where) as store:
        await store.record({listener: [play(0, track="bad", type=DISLIKE)]})
        await store.record({listener: [play(number) for number in range(1, 50)]})
        found = await store.read(listener, NOW_MS)

    assert found.disliked == {"bad"}
    assert all(entry.outcome is Outcome.PLAYED for entry in found.history.entries)


async def test_everything_stored_can_be_exported(where: Where) -> None:
    """The export has all fields of each event, private ones too, and the newest opinion of each track. An unknown listener has
    nothing.
    """
    listener = user()
    full = Event(3_000, LIKE, "e3", "täglich", 7, 29_999, 200_000, "s1", "r1")
    events = [play(1), play(2, type=DISLIKE), full, play(4, type=LIKE)._replace(private=True)]
    async with opened(where) as store:
        await store.record({listener: events})
        found, nothing = await store.export(listener), await store.export(user())

    assert list(found.events) == events
    assert found.opinions == {"t2": (DISLIKE, 2_000), "täglich": (LIKE, 3_000)}
    assert found.expires_in_ms["events"] > 0
    assert not found.unreadable
    assert (nothing.events, nothing.opinions, nothing.expires_in_ms) == ([], {}, {})


async def test_forgetting_leaves_nothing(where: Where) -> None:
    """Afterwards the listener is unknown, opinions included."""
    listener = user()
    async with opened(where) as store:
        await store.record({listener: [play(1), play(2, type=DISLIKE)]})
        keys = await store.forget(listener)
        found = await store.read(listener, NOW_MS)
        again = await store.forget(listener)

    assert keys > 0
    assert found == Remembered()
    assert again == 0


@pytest.mark.parametrize("pair", [("{a}", "a"), ("a}b", "a"), ("}", ""), ("%7B", "{"), ("a:events", "a"), ("{}x", "{}y")])
async def test_ids_with_braces_are_users_of_their_own(where: Where, pair: tuple[str, str]) -> None:
    """No id can be mistaken for another's, or break the rule that a user's keys share a cluster slot."""
    one, other = (part + suffix for part, suffix in zip(pair, [user()] * 2, strict=True))
    async with opened(where) as store:
        await store.record({one: [play(1, type=DISLIKE)], other: [play(2)]})
        found = [await store.read(listener, NOW_MS) for listener in (one, other)]

    assert [[entry.track_id for entry in known.history.entries] for known in found] == [["t1"], ["t2"]]
    assert [known.disliked for known in found] == [{"t1"}, set()]


async def test_only_writing_prolongs_what_is_kept(valkey: str) -> None:
    """Each key expires as set, counted from the last write. Reading prolongs nothing."""
    listener = user()
    keys = [f"nexttrack:{{{listener}}}:{kind}" for kind in ("events", "opinions", "private")]
    with Redis.from_url(valkey) as redis:
        async with opened(Where(valkey), history_ttl=timedelta(seconds=50), opinions_ttl=timedelta(seconds=90)) as store:
            await store.record({listener: [play(1, type=LIKE), play(3)._replace(private=True)]})
            fresh = [int(redis.pttl(key)) for key in keys]
            for key in keys:
                redis.pexpire(key, 20_000)
            await store.read(listener, NOW_MS)
            after_reading = [int(redis.pttl(key)) for key in keys]
            await store.record({listener: [play(2)]})
            after_writing = [int(redis.pttl(key)) for key in keys]

    assert 40_000 < fresh[0] <= 50_000
    assert 80_000 < fresh[1] <= 90_000
    assert RULE.named_gap_ms < fresh[2] < RULE.named_gap_ms + 600_000
    assert max(after_reading) <= 20_000
    assert 40_000 < after_writing[0] <= 50_000
    assert 80_000 < after_writing[1] <= 90_000
    assert after_writing[2] <= 20_000  # nothing private was written


async def test_expiry_is_set_anew_when_a_hundredth_of_the_time_is_over(valkey: str) -> None:
    """So an ordinary event is one write to the append-only file, not two."""
    listener = user()
    key = f"nexttrack:{{{listener}}}:events"
    with Redis.from_url(valkey) as redis:
        async with opened(Where(valkey), history_ttl=timedelta(hours=10)) as store:
            await store.record({listener: [play(1)]})
            redis.pexpire(key, 35_900_000)
            await store.record({listener: [play(2)]})
            kept = int(redis.pttl(key))
            redis.pexpire(key, 35_600_000)
            await store.record({listener: [play(3)]})
            renewed = int(redis.pttl(key))

    assert kept <= 35_900_000
    assert renewed > 35_900_000


async def test_opinions_are_prolonged_though_events_have_time_left_from_a_longer_setting(valkey: str) -> None:
    """Events that were kept for hours do not show when opinions were last prolonged, once events are kept for seconds only."""
    listener = user()
    key = f"nexttrack:{{{listener}}}:opinions"
    async with opened(Where(valkey), history_ttl=timedelta(hours=10), opinions_ttl=timedelta(seconds=90)) as store:
        await store.record({listener: [play(1, type=DISLIKE)]})
    with Redis.from_url(valkey) as redis:
        redis.pexpire(key, 20_000)
        async with opened(Where(valkey), history_ttl=timedelta(seconds=50), opinions_ttl=timedelta(seconds=90)) as store:
            await store.record({listener: [play(2)]})
        left = int(redis.pttl(key))

    assert 80_000 < left <= 90_000


async def test_window_can_shrink_by_thousands_of_events(valkey: str) -> None:
    """Lua cannot pass all their ids in one call."""
    listener = user()
    async with opened(Where(valkey), history_events=10_000, long_history=0) as store:
        await store.record({listener: [play(n) for n in range(9_000)]})
    async with opened(Where(valkey), history_events=KEEP, long_history=0) as store:
        await store.record({listener: [play(9_000)]})
        left = (await store.export(listener)).events

    assert sorted(event.event_id for event in left) == sorted(play(n).event_id for n in range(9_001 - KEEP, 9_001))


async def test_memory_of_a_listener_is_bounded(valkey: str) -> None:
    """After any number of events, Redis has no more than the limit plus some slack, and no more opinions than allowed."""
    listener = user()
    async with opened(Where(valkey)) as store:
        for start in range(0, 200, 10):
            await store.record({listener: [play(n, type=(PLAY, DISLIKE)[n % 2]) for n in range(start, start + 10)]})
            await store.record({listener: [play(-n)._replace(private=True) for n in range(start + 1, start + 11)]})
    with Redis.from_url(valkey) as redis:
        kept = [int(redis.hlen(f"nexttrack:{{{listener}}}:{what}")) for what in ("events", "private", "opinions")]

    assert min(kept[:2]) >= KEEP
    assert max(kept[:2]) <= KEEP + KEEP // 4 + 1
    assert kept[2] == KEEP_OPINIONS


async def test_what_redis_refuses_is_in_the_log(valkey: str, logged: list[dict[str, Any]]) -> None:
    """If its memory is full, the player gets a 503, and the log has the reason."""
    with Redis.from_url(valkey) as redis:
        redis.config_set("maxmemory", 1)
        try:
            async with opened(Where(valkey)) as store:
                with pytest.raises(StoreUnavailableError, match="OOM"):
                    await store.record({user(): [play(1)]})
        finally:
            redis.config_set("maxmemory", 0)

    assert [line["event"] for line in logged] == ["sessions are out of reach"]
    assert "OOM" in logged[0]["cause"]


async def test_scripts_are_loaded_again_after_redis_lost_them(valkey: str) -> None:
    """After SCRIPT FLUSH or a restart between two requests, callers notice nothing."""
    listener = user()
    async with opened(Where(valkey)) as store:
        await store.record({listener: [play(1)]})
        with Redis.from_url(valkey) as redis:
            redis.script_flush()
        results = await store.record({listener: [play(1)], user(): [play(2)]})
        with Redis.from_url(valkey) as redis:
            redis.script_flush()
        found = await store.read(listener, NOW_MS)

    assert list(results.values()) == [[False], [True]]
    assert len(found.history.entries) == 1
