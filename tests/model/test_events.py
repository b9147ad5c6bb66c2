"""The history that follows from a set of events: each sentence of the HTTP contract about events is a scenario."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.events import (
    AHEAD_MS,
    LATE_MS,
    Entry,
    Event,
    EventType,
    History,
    HistoryRule,
    Outcome,
    Revision,
    SkipRule,
    fold,
    fold_recent,
    recent,
)

PLAY, SKIP, COMPLETE, LIKE, DISLIKE = EventType
PLAYED, SKIPPED, LIKED, DISLIKED = Outcome
MINUTE, HOUR = 60_000, 60 * 60_000
RULE = HistoryRule(gap_ms=30 * MINUTE)


def event(
    minute: float,
    type: EventType,
    track: str = "a",
    *,
    id: str | None = None,
    played_ms: int | None = None,
    track_ms: int | None = None,
    session: str | None = None,
    delay: float = 0,
    private: bool = False,
) -> Event:
    """Make an event some minutes after the epoch, received `delay` minutes later, with an id of its own."""
    at_ms = round(minute * MINUTE)
    return Event(
        at_ms,
        type,
        id or f"{at_ms}-{type.name}-{track}",
        track,
        delay_ms=round(delay * MINUTE),
        played_ms=played_ms,
        track_ms=track_ms,
        session_id=session,
        private=private,
    )


def outcomes(*events: Event) -> list[tuple[str, Outcome]]:
    """Return track and outcome of each entry of the events' history."""
    return [(entry.track_id, entry.outcome) for entry in fold(events, RULE).entries]


@pytest.mark.parametrize(
    ("type", "played_ms", "track_ms", "skipped"),
    [
        (SKIP, None, None, True),
        (COMPLETE, None, None, False),
        (COMPLETE, None, 200_000, False),
        (SKIP, 29_999, None, True),
        (COMPLETE, 29_999, None, False),
        (SKIP, 30_000, None, False),
        (SKIP, 30_000, 200_000, False),
        (SKIP, 29_999, 200_000, True),
        (COMPLETE, 29_999, 200_000, True),
        (COMPLETE, 0, 200_000, True),
        (SKIP, 19_000, 20_000, False),
        (SKIP, 18_000, 20_000, False),
        (SKIP, 17_999, 20_000, True),
    ],
)
def test_how_much_was_heard_decides_before_what_the_player_called_it(
    type: EventType, played_ms: int | None, track_ms: int | None, *, skipped: bool
) -> None:
    """Under 30 s and under 0.9 of the track is a skip. Without a length or a time heard, the event's own type counts."""
    assert SkipRule().skipped(type, played_ms, track_ms) is skipped


def test_limits_of_the_skip_rule_are_the_recipes() -> None:
    """Another rule has other limits."""
    rule = SkipRule(limit_ms=10_000, end_share=0.5)

    assert [rule.skipped(SKIP, heard, 12_000) for heard in (5_999, 6_000, 10_000)] == [True, False, False]


def test_rule_that_makes_no_sense_is_refused() -> None:
    """The error says what was found: for example a history of 0 or -1 entries, or a session with a negative gap."""
    with pytest.raises(ValueError, match="found length 0"):
        HistoryRule(length=0)
    with pytest.raises(ValueError, match="gap_ms -1"):
        HistoryRule(gap_ms=-1)
    with pytest.raises(ValueError, match="named_gap_ms -2"):
        HistoryRule(named_gap_ms=-2)


def test_open_play_counts_as_played() -> None:
    """A play that has not ended yet is in the history as played."""
    assert outcomes(event(0, PLAY)) == [("a", PLAYED)]


def test_skip_turns_the_play_of_its_track_into_a_skip() -> None:
    """The result is one entry, at the time of the play's start."""
    history = fold([event(0, PLAY), event(1, SKIP)], RULE)

    assert history.entries == (Entry("a", SKIPPED, 0, True, 0),)


def test_skip_reaches_back_over_other_tracks_of_the_session() -> None:
    """The player reports late, when the next track has already started."""
    assert outcomes(event(0, PLAY, "a"), event(1, PLAY, "b"), event(2, SKIP, "a")) == [("a", SKIPPED), ("b", PLAYED)]


def test_skip_without_a_play_is_a_skip_of_its_own() -> None:
    """No skip is lost if its play never arrived."""
    assert outcomes(event(0, PLAY, "a"), event(1, SKIP, "b")) == [("a", PLAYED), ("b", SKIPPED)]


def test_skip_in_a_later_session_leaves_the_earlier_play_alone() -> None:
    """After the gap it is another session, so the skip is an entry of its own."""
    history = fold([event(0, PLAY), event(31, SKIP)], RULE)

    assert [(entry.outcome, entry.session) for entry in history.entries] == [(PLAYED, 0), (SKIPPED, 1)]


def test_second_skip_does_not_skip_an_ended_play_again() -> None:
    """A play ends once. A second end belongs to another play whose start was lost."""
    assert outcomes(event(0, PLAY), event(1, COMPLETE), event(2, SKIP)) == [("a", PLAYED), ("a", SKIPPED)]


def test_skip_ends_the_latest_play_of_a_repeated_track() -> None:
    """The same track is played twice, and left the second time."""
    events = [event(0, PLAY), event(1, COMPLETE), event(2, PLAY), event(3, SKIP)]

    assert outcomes(*events) == [("a", PLAYED), ("a", SKIPPED)]


def test_complete_confirms_a_play() -> None:
    """It adds no entry."""
    assert outcomes(event(0, PLAY), event(3, COMPLETE)) == [("a", PLAYED)]


def test_skip_near_the_end_confirms_a_play() -> None:
    """The skip rule decides, not the type that the player sent."""
    assert outcomes(event(0, PLAY), event(3, SKIP, played_ms=180_000, track_ms=200_000)) == [("a", PLAYED)]


def test_opinion_stands_over_how_the_play_ended() -> None:
    """A liked track that was left early is liked, and still counts as skipped in its session."""
    [entry] = fold([event(0, PLAY), event(0.1, LIKE), event(0.2, SKIP)], RULE).entries

    assert (entry.outcome, entry.skipped) == (LIKED, True)


@pytest.mark.parametrize(("first", "second", "last"), [(DISLIKE, LIKE, LIKED), (LIKE, DISLIKE, DISLIKED)])
def test_later_opinion_replaces_the_earlier(first: EventType, second: EventType, last: Outcome) -> None:
    """A dislike keeps a track out until a later like."""
    assert outcomes(event(0, PLAY), event(1, first), event(2, second)) == [("a", last)]


def test_opinion_of_a_track_not_heard_is_an_entry() -> None:
    """A like from a search page informs the model too."""
    assert outcomes(event(0, PLAY, "a"), event(1, DISLIKE, "b")) == [("a", PLAYED), ("b", DISLIKED)]


def test_opinion_belongs_to_the_newest_play_of_the_track() -> None:
    """An earlier play of the same track keeps its outcome."""
    events = [event(0, PLAY), event(1, COMPLETE), event(2, PLAY), event(3, LIKE)]

    assert outcomes(*events) == [("a", PLAYED), ("a", LIKED)]


def test_late_event_takes_its_place_by_time() -> None:
    """An event that arrives last but happened first is the oldest entry, and may end a play that arrived before it."""
    arrived = [event(5, PLAY, "b"), event(0, PLAY, "a"), event(1, SKIP, "a")]

    assert outcomes(*arrived) == [("a", SKIPPED), ("b", PLAYED)]


def test_play_comes_before_its_end_within_a_millisecond() -> None:
    """A player with a coarse clock loses no event."""
    assert outcomes(event(0, SKIP), event(0, PLAY)) == [("a", SKIPPED)]


@pytest.mark.parametrize(("minute", "sessions"), [(30, [0, 0]), (30.001, [0, 1])])
def test_unnamed_session_ends_when_more_than_the_gap_has_passed(minute: float, sessions: list[int]) -> None:
    """A pause of exactly the gap does not end the session."""
    history = fold([event(0, PLAY, "a"), event(minute, PLAY, "b")], RULE)

    assert [entry.session for entry in history.entries] == sessions


def test_session_lasts_as_long_as_no_gap_does() -> None:
    """A pause ends a session, not its length."""
    history = fold([event(25 * number, PLAY, f"t{number}") for number in range(10)], RULE)

    assert {entry.session for entry in history.entries} == {0}


def test_named_session_outlasts_a_gap() -> None:
    """A name takes precedence over the gap."""
    history = fold([event(0, PLAY, session="s"), event(24 * 60, SKIP, session="s")], RULE)

    assert [(entry.outcome, entry.session) for entry in history.entries] == [(SKIPPED, 0)]


def test_named_session_ends_after_a_day_without_an_event() -> None:
    """Then the same name begins another session. The recipe sets how long it lasts."""
    events = [event(0, PLAY, session="s"), event(24 * 60 + 1, SKIP, session="s")]
    shorter = HistoryRule(named_gap_ms=HOUR)

    assert [(entry.outcome, entry.session) for entry in fold(events, RULE).entries] == [(PLAYED, 0), (SKIPPED, 1)]
    assert fold(events[:1], RULE).skipped(0) == fold(events[:1], RULE).skipped(25 * HOUR) == []
    assert [bool(fold(events[:1], rule).session(2 * HOUR)) for rule in (RULE, shorter)] == [True, False]


def test_event_without_a_name_joins_the_named_session_before_it() -> None:
    """The player names its session in plays only. Such an event prolongs the session by the unnamed gap only."""
    history = fold([event(0, PLAY, session="s"), event(20, SKIP), event(24 * 60 - 1, PLAY, "b", session="s")], RULE)

    assert [(entry.outcome, entry.session) for entry in history.entries] == [(SKIPPED, 0), (PLAYED, 0)]
    assert fold([event(0, PLAY, session="s"), event(20, SKIP)], RULE).spans[0].until_ms == 24 * HOUR


def test_named_session_ends_where_another_name_begins() -> None:
    """No gap is needed."""
    history = fold([event(0, PLAY, session="s"), event(1, SKIP, session="t")], RULE)

    assert [(entry.outcome, entry.session) for entry in history.entries] == [(PLAYED, 0), (SKIPPED, 1)]


def test_interrupted_named_session_goes_on() -> None:
    """Two devices take turns. A skip on the first device finds the play of the first device."""
    events = [event(0, PLAY, "a", session="s"), event(1, PLAY, "b", session="t"), event(2, SKIP, "a", session="s")]
    history = fold(events, RULE)

    assert [(entry.track_id, entry.outcome, entry.session) for entry in history.entries] == [
        ("a", SKIPPED, 0),
        ("b", PLAYED, 1),
    ]
    assert [entry.track_id for entry in history.session(2 * MINUTE)] == ["a"]


def test_session_is_over_when_the_gap_has_passed() -> None:
    """A track that was skipped yesterday may be proposed today."""
    history = fold([event(0, PLAY, "a"), event(40, PLAY, "b"), event(50, COMPLETE, "b")], RULE)

    assert [entry.track_id for entry in history.session(80 * MINUTE)] == ["b"]
    assert history.session(80 * MINUTE + 1) == ()


@pytest.mark.parametrize(("name", "lasts"), [(None, 30 * MINUTE), ("s", 24 * HOUR)])
def test_session_of_a_player_whose_clock_is_slow_goes_on(name: str | None, lasts: int) -> None:
    """The time of receipt counts. A skip that is 31 minutes old when it arrives still masks, for as long as any other skip."""
    history = fold([event(0, SKIP, session=name, delay=31)], RULE)

    assert history.skipped(31 * MINUTE + lasts) == ["a"]
    assert history.skipped(31 * MINUTE + lasts + 1) == []


def test_event_that_is_a_day_old_on_receipt_revives_nothing() -> None:
    """A delay up to 24 hours counts as a slow clock. Beyond, it is a late report, which counts at its own time only."""
    day = LATE_MS / MINUTE
    slow, late = (fold([event(0, SKIP, session="s", delay=delay)], RULE) for delay in (day, day + 1))

    assert slow.skipped(LATE_MS + HOUR) == ["a"]
    assert late.skipped(LATE_MS + HOUR) == []
    assert late.skipped(HOUR) == ["a"]


def test_event_from_a_clock_ahead_counts_from_its_own_time() -> None:
    """The later of both times counts."""
    history = fold([event(5, SKIP)], RULE)

    assert history.skipped(35 * MINUTE) == ["a"]


def test_sessions_are_told_apart_by_the_events_own_times() -> None:
    """So the service splits the events of an offline player into the same sessions as the trainer does in the log."""
    events = [event(0, PLAY, "a", delay=180), event(60, PLAY, "b", delay=120), event(61, SKIP, "b", delay=119)]
    history = fold(events, RULE)

    assert [(entry.track_id, entry.session) for entry in history.entries] == [("a", 0), ("b", 1)]
    assert [entry.track_id for entry in history.session(200 * MINUTE)] == ["a", "b"]  # both arrived just now


def test_players_with_unequal_clocks_mask_for_each_other() -> None:
    """One clock is 40 minutes slow. Both sessions have events at the same time, so both are the current one."""
    history = fold([event(0, SKIP, "slow", delay=40), event(40, PLAY, "right")], RULE)

    assert [entry.track_id for entry in history.session(41 * MINUTE)] == ["slow", "right"]
    assert history.skipped(41 * MINUTE) == ["slow"]


def test_skip_in_one_of_two_named_sessions_masks_in_both() -> None:
    """Two players take turns. Only the newest session is the current one, but neither proposes tracks that the other
    skipped.
    """
    history = fold([event(0, SKIP, "a", session="s"), event(1, PLAY, "b", session="t")], RULE)

    assert [entry.track_id for entry in history.session(2 * MINUTE)] == ["b"]
    assert history.skipped(2 * MINUTE) == ["a"]


def test_named_session_is_current_again_when_a_newer_one_has_ended() -> None:
    """It lasts for 24 hours without an event, whatever other sessions began and ended."""
    history = fold([event(0, PLAY, "a", session="s"), event(60, PLAY, "b")], RULE)

    assert [[entry.track_id for entry in history.session(minute * MINUTE)] for minute in (90, 91)] == [["b"], ["a"]]


@pytest.mark.parametrize("name", [None, "new"])
def test_skip_after_our_clock_was_set_back_masks(name: str | None) -> None:
    """Events recorded before the change are in the future. Sessions before and after it are then current."""
    back = 120
    history = fold([event(back, SKIP, "before", session=name and "old"), event(0, SKIP, "after", session=name)], RULE)
    current = [entry.track_id for entry in history.session(MINUTE)]

    assert history.skipped(MINUTE) == ["after", "before"]
    assert current == (["after"] if name else ["after", "before"])


def test_player_whose_clock_is_ahead_has_the_newest_session() -> None:
    """Up to five minutes in the future do not mean that our own clock was set back."""
    ahead = AHEAD_MS / MINUTE
    history = fold([event(0, PLAY, "a", session="s"), event(1 + ahead, PLAY, "b", session="t")], RULE)

    assert [entry.track_id for entry in history.session(MINUTE)] == ["b"]


def test_private_events_count_until_their_session_ends() -> None:
    """A private play, a private skip of an ordinary play and a private dislike disappear afterwards, and change nothing."""
    events = [
        event(0, PLAY, "a"),
        event(1, SKIP, "a", private=True),
        event(2, PLAY, "b", private=True),
        event(3, DISLIKE, "a", private=True),
    ]
    during, after = (fold(events, RULE, now_ms=minute * MINUTE) for minute in (33, 34))

    assert [(entry.track_id, entry.outcome, entry.skipped) for entry in during.entries] == [
        ("a", DISLIKED, True),
        ("b", PLAYED, False),
    ]
    assert during.opinions(33 * MINUTE) == {"a": DISLIKED}
    assert [(entry.track_id, entry.outcome, entry.skipped) for entry in after.entries] == [("a", PLAYED, False)]
    assert after.opinions(34 * MINUTE) == {}


def test_private_event_of_an_earlier_session_is_gone() -> None:
    """It does not matter which session goes on now. The private event still separates sessions, so no event changes its
    session.
    """
    events = [event(0, PLAY, "a", private=True), event(1, PLAY, "b"), event(60, PLAY, "c", private=True)]
    history = fold(events, RULE, now_ms=61 * MINUTE)

    assert [(entry.track_id, entry.session) for entry in history.entries] == [("b", 0), ("c", 1)]


def test_no_events_are_an_empty_history() -> None:
    """An unknown listener needs no special case."""
    history = fold([], RULE)

    assert history.entries == ()
    assert history.session(0) == ()
    assert history.skipped(0) == []


def test_events_that_differ_in_what_is_left_out_can_be_told_apart() -> None:
    """Logs have no event ids. Two rows of one millisecond may differ only in a field that one of them lacks."""
    rows = [
        Event(0, COMPLETE, "", "a", 0, heard, whole, name) for heard in (None, 5) for whole in (None, 9) for name in (None, "s")
    ]

    assert fold(rows, RULE) == fold(reversed(rows), RULE)


def _events() -> st.SearchStrategy[Event]:
    # few values on purpose: most lists then hold plays and ends of one track, ties in time and interrupted sessions
    return st.builds(
        Event,
        at_ms=st.integers(0, 12).map(lambda step: step * 10 * MINUTE),
        type=st.sampled_from(EventType),
        event_id=st.sampled_from("xyz"),
        track_id=st.sampled_from("ab"),
        delay_ms=st.sampled_from([0, 0, MINUTE, 20 * MINUTE, 2 * HOUR, LATE_MS, LATE_MS + 1]),
        played_ms=st.sampled_from([None, 1_000, 60_000]),
        track_ms=st.sampled_from([None, 200_000]),
        session_id=st.sampled_from([None, None, "s", "t"]),
        private=st.sampled_from([False, False, True]),
    )


BRIEF = HistoryRule(gap_ms=RULE.gap_ms, named_gap_ms=50 * MINUTE)
"""A rule whose named sessions end within the two hours of `_events`."""
TIMES = st.integers(0, 30).map(lambda step: step * 10 * MINUTE)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(_events(), max_size=12), TIMES, st.data())
def test_neither_order_nor_repetition_of_events_changes_the_history(
    events: list[Event], now_ms: int, data: st.DataObject
) -> None:
    """The history depends on the set of events only: a client may retry, and a network may reorder."""
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    shuffled = data.draw(st.permutations(events + repeated))

    assert fold(shuffled, BRIEF, now_ms=now_ms) == fold(events, BRIEF, now_ms=now_ms)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(_events(), max_size=12))
def test_history_runs_forward_in_time(events: list[Event]) -> None:
    """The oldest entry comes first. Each has the time of one of its track's events, and there are never more entries than
    events.
    """
    entries = fold(events, RULE).entries

    assert [entry.at_ms for entry in entries] == sorted(entry.at_ms for entry in entries)
    assert {(entry.at_ms, entry.track_id) for entry in entries} <= {(event.at_ms, event.track_id) for event in events}
    assert len(entries) <= len(set(events))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(TIMES, st.integers(0, 3)), min_size=1, max_size=8, unique_by=lambda pair: pair[0]), TIMES)
def test_skips_mask_while_an_event_of_their_session_was_seen_a_gap_ago(pairs: list[tuple[int, int]], now_ms: int) -> None:
    """It agrees with the plain definition for unnamed sessions: neighbouring events without a gap between them are a
    session.
    """
    pairs = sorted(pairs)
    gap_ms, step_ms = BRIEF.gap_ms, 25 * MINUTE
    events = [Event(at_ms, SKIP, "", f"t{place}", steps * step_ms) for place, (at_ms, steps) in enumerate(pairs)]

    def together(one: int, other: int) -> bool:
        first, last = sorted((one, other))
        return all(pairs[place + 1][0] - pairs[place][0] <= gap_ms for place in range(first, last))

    expected = {
        f"t{place}"
        for place in range(len(pairs))
        for other, (at_ms, steps) in enumerate(pairs)
        if together(place, other) and now_ms <= at_ms + steps * step_ms + gap_ms
    }

    assert set(fold(events, BRIEF).skipped(now_ms)) == expected


def _plain(history: History) -> list[Entry]:
    """Number sessions from 0 by their first entries, so that ends of histories can be compared."""
    numbers: dict[int, int] = {}
    return [entry._replace(session=numbers.setdefault(entry.session, len(numbers))) for entry in history.entries]


@settings(deadline=None, max_examples=300)  # a busy machine is no failure
@given(st.lists(_events(), max_size=20, unique=True), st.integers(1, 4), st.sets(st.sampled_from("ab")), TIMES)
def test_recent_events_fold_to_the_end_of_what_all_fold_to(
    events: list[Event], length: int, tracks: set[str], now_ms: int
) -> None:
    """Leaving old events out changes no remaining entry, no mask and not the current session. At least `length` known plays
    remain.
    """
    rule = replace(BRIEF, length=length)
    whole, part = fold(events, rule, now_ms=now_ms), fold_recent(events, rule, tracks.__contains__, now_ms=now_ms)
    left_out = len(whole.entries) - len(part.entries)
    plays = [event for event in recent(events, rule, tracks.__contains__, now_ms=now_ms) if event.type is PLAY]

    assert _plain(part) == _plain(whole._replace(entries=whole.entries[left_out:]))
    assert part.skipped(now_ms) == whole.skipped(now_ms)
    assert part.opinions(now_ms) == whole.opinions(now_ms)
    assert _plain(part._replace(entries=part.session(now_ms))) == _plain(whole._replace(entries=whole.session(now_ms)))
    assert not left_out or sum(play.track_id in tracks and play.at_ms <= now_ms for play in plays) >= length


def test_old_sessions_are_left_out_once_there_are_enough_plays() -> None:
    """Whole sessions are left out, by gap or by name. If a session is named again later, all events since its beginning
    stay.
    """
    rule = HistoryRule(length=2, gap_ms=RULE.gap_ms, named_gap_ms=HOUR)
    by_gap = [event(60 * day + minute, PLAY) for day in range(9) for minute in range(2)]
    by_name = [event(minute, PLAY, session=f"s{minute // 4}") for minute in range(36)]
    again = [*by_name, event(40, PLAY, session="s3")]

    def left(events: list[Event], minute: float, track: str = "a") -> list[Event]:
        return list(recent(events, rule, track.__contains__, now_ms=round(minute * MINUTE)))

    assert left(by_gap, 500) == by_gap[-2:]
    assert left(by_name, 96) == by_name[-4:]
    assert left(by_name, 91) == by_name[-8:]  # the eighth session may continue
    assert left(again, 100) == again[12:]
    assert left(by_gap, 500, "b") == by_gap
    assert left(by_gap, 421) == by_gap[-4:]  # the last two plays are in the future


def test_outcome_reported_after_the_next_play_began_is_a_revision() -> None:
    """It has the outcome before the change, and the number of entries at that time."""
    events = [event(0, PLAY, "a"), event(1, PLAY, "b"), event(2, SKIP, "a"), event(3, PLAY, "c"), event(4, LIKE, "a")]
    history = fold(events, RULE)

    assert history.entries[0].outcome is LIKED
    assert history.revisions == (Revision(0, 2, PLAYED), Revision(0, 3, SKIPPED))
    assert fold([event(0, PLAY), event(1, SKIP), event(2, PLAY, "b")], RULE).revisions == ()


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(_events(), max_size=12, unique=True))
def test_revisions_tell_what_was_known_when_each_entry_began(events: list[Event]) -> None:
    """Taking back later revisions gives the same outcomes as folding only the events before an entry's first event."""
    ordered = sorted(events, key=lambda event: tuple((value is not None, value) for value in event))
    whole = fold(ordered, BRIEF)

    for place in range(len(ordered)):
        earlier = fold(ordered[:place], BRIEF).entries
        if len(fold(ordered[: place + 1], BRIEF).entries) == len(earlier):
            continue
        outcomes = [entry.outcome for entry in whole.entries[: len(earlier)]]
        for revision in reversed(whole.revisions):
            if revision.since > len(earlier) > revision.entry:
                outcomes[revision.entry] = revision.before
        assert outcomes == [entry.outcome for entry in earlier]


@pytest.mark.parametrize(("outcome", "wanted"), [(PLAYED, True), (LIKED, True), (SKIPPED, False), (DISLIKED, False)])
def test_played_and_liked_tracks_are_wanted(outcome: Outcome, *, wanted: bool) -> None:
    """They are the targets of a next-track model."""
    assert outcome.wanted is wanted
