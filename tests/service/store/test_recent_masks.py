"""The masks of recent listeners hold the events that this process has seen, in bounded memory."""

import tracemalloc
from collections.abc import Iterator
from datetime import timedelta

import pytest

from model.events import Event, EventType, SkipRule
from service.blocks import Block
from service.store import recent_masks
from service.store.forgotten import digest_of
from service.store.recent_masks import KEPT_S, Masks, RecentMasks
from tests.service.applications import Seconds


@pytest.fixture
def clock() -> Seconds:
    """Make the clock of `masks`."""
    return Seconds()


@pytest.fixture
def masks(clock: Seconds) -> RecentMasks:
    """Make the masks of a process that waits half a second for its store."""
    return RecentMasks(SkipRule(), timedelta(seconds=0.5), clock=clock)


def event(type: EventType, track_id: str, *, played_ms: int | None = None, track_ms: int | None = None) -> Event:
    """Make an event. Only its type, its track and the times heard matter here."""
    return Event(1, type, f"{type} {track_id}", track_id, played_ms=played_ms, track_ms=track_ms)


def known(masks: RecentMasks, user_id: str = "u") -> Masks:
    """Return the masks of a listener as lists."""
    return Masks(*map(list, masks.of(user_id)))


def test_posted_events_are_known_at_once(masks: RecentMasks) -> None:
    """They are listed by reason, each track once. A listener without events has no masks."""
    posted = [EventType.PLAY, EventType.SKIP, EventType.COMPLETE, EventType.DISLIKE, EventType.SKIP]
    tracks = ["played", "skipped", "completed", "disliked", "skipped"]
    masks.post({"u": [event(type, track) for type, track in zip(posted, tracks, strict=True)]})

    assert known(masks) == Masks(["skipped"], ["played", "skipped", "completed", "disliked"], ["disliked"], [])
    assert known(masks, "v") == Masks([], [], [], [])


def test_skip_rule_decides_what_is_a_skip(masks: RecentMasks) -> None:
    """A skip after a minute counts as a play, and an end after ten seconds of three minutes counts as a skip."""
    late = event(EventType.SKIP, "heard", played_ms=60_000)
    early = event(EventType.COMPLETE, "left", played_ms=10_000, track_ms=180_000)
    masks.post({"u": [late, early]})

    assert known(masks).skipped == ["left"]


def test_like_takes_back_a_dislike_and_no_skip(masks: RecentMasks) -> None:
    """It takes back the dislike of this track only. A track whose name begins or ends alike stays disliked."""
    masks.post({"u": [event(EventType.DISLIKE, track) for track in ("t1", "t11", "at1")]})
    masks.post({"u": [event(EventType.SKIP, "t1"), event(EventType.LIKE, "t1")]})

    assert known(masks) == Masks(["t1"], ["t1", "t11", "at1"], ["t11", "at1"], [])


def test_read_replaces_what_was_known(masks: RecentMasks, clock: Seconds) -> None:
    """Once the store must have every event that was posted here, masks that it does not report have ended."""
    masks.post({"u": [event(EventType.SKIP, "old"), event(EventType.DISLIKE, "liked elsewhere since")]})
    clock.now = 1.1
    masks.read("u", Masks(skipped=["new"], played=["new"], disliked=[]))

    assert known(masks) == Masks(["new"], ["new"], [], [])


def test_read_that_may_have_missed_an_event_does_not_undo_it(masks: RecentMasks, clock: Seconds) -> None:
    """An event posted a moment ago may not have been written when the store was read."""
    masks.post({"u": [event(EventType.SKIP, "just now"), event(EventType.DISLIKE, "too")]})
    clock.now = 0.9
    masks.read("u", Masks(skipped=["before"], played=["before"], disliked=[]))

    assert known(masks) == Masks(["before", "just now"], ["before", "just now", "too"], ["too"], [])


def test_blocks_are_known_until_they_are_removed(masks: RecentMasks, clock: Seconds) -> None:
    """A read that may have missed a block does not undo it; a later one says what there is."""
    one, other = Block("tracks", "t1"), Block("artists", "t1")
    masks.block("u", one)
    masks.block("u", other)
    masks.read("u", Masks(blocks=["albums/before"]))
    united = known(masks).blocks
    masks.unblock("u", one)
    left = known(masks).blocks
    clock.now = 1.1
    masks.read("u", Masks(blocks=["tracks/t2"]))

    assert (united, left) == (["albums/before", "tracks/t1", "artists/t1"], ["albums/before", "artists/t1"])
    assert known(masks) == Masks([], [], [], ["tracks/t2"])


def test_forgotten_listener_is_unknown(masks: RecentMasks) -> None:
    """Deleting a listener deletes only this listener's masks."""
    masks.post({user: [event(EventType.SKIP, "t1")] for user in ("u", "v")})
    masks.forget(digest_of("u"))

    assert known(masks) == Masks([], [], [], [])
    assert known(masks, "v").skipped == ["t1"]


def test_masks_end_a_day_after_the_listener_was_seen(masks: RecentMasks, clock: Seconds) -> None:
    """They are no longer used, and the next listener takes their place."""
    masks.post({"u": [event(EventType.SKIP, "t1")]})
    size = masks.size_bytes
    clock.now = KEPT_S + 1
    gone = known(masks)
    masks.post({"v": [event(EventType.SKIP, "t1")]})

    assert gone == Masks([], [], [], [])
    assert masks.size_bytes == size


def test_listeners_seen_longest_ago_make_room(clock: Seconds) -> None:
    """A read or an event counts as seeing a listener. The limit is never exceeded."""
    one = RecentMasks(SkipRule(), timedelta(seconds=0.5), clock=clock)
    one.post({"u0": [event(EventType.SKIP, "t1")]})
    masks = RecentMasks(SkipRule(), timedelta(seconds=0.5), capacity_bytes=3 * one.size_bytes, clock=clock)
    for number in range(3):
        masks.post({f"u{number}": [event(EventType.SKIP, "t1")]})
    masks.read("u0", Masks(["t1"], ["t1"]))
    masks.post({"u3": [event(EventType.SKIP, "t1")]})

    assert [user for user in ("u0", "u1", "u2", "u3") if known(masks, user).skipped] == ["u0", "u2", "u3"]
    assert masks.size_bytes <= 3 * one.size_bytes


def test_listener_of_whom_nothing_is_masked_takes_no_room(masks: RecentMasks) -> None:
    """A million listeners without masks displace nobody."""
    masks.read("u", Masks())

    assert masks.size_bytes == 0


def test_one_listener_cannot_take_everything(masks: RecentMasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener with very many tracks keeps the newest, with complete ids."""
    monkeypatch.setattr(recent_masks, "LISTENER_CHARACTERS", 100)
    tracks = [f"track {number:04d}" for number in range(1_000)]
    masks.post({"u": [event(EventType.SKIP, track) for track in tracks]})
    masks.read("v", Masks(skipped=tracks))

    assert known(masks).skipped == known(masks, "v").skipped == tracks[-9:]


@pytest.fixture
def traced() -> Iterator[None]:
    """Let Python count its allocations."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_memory_is_what_is_counted(masks: RecentMasks) -> None:
    """For 2,000 listeners the interpreter allocated at most the counted bytes, and at least three quarters of them."""
    before = tracemalloc.get_traced_memory()[0]
    for user in range(2_000):
        tracks = [f"track {user}-{number}" for number in range(20)]
        masks.read(f"user {user}", Masks(skipped=tracks[:5], played=tracks, disliked=tracks[:3]))
    allocated = tracemalloc.get_traced_memory()[0] - before

    assert 0.75 * masks.size_bytes <= allocated <= masks.size_bytes
