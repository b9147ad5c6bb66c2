"""What a set of events amounts to: each sentence of the HTTP contract about events, as a scenario."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.events import Entry, Event, EventType, History, HistoryRule, Outcome, SkipRule, fold, recent

PLAY, SKIP, COMPLETE, LIKE, DISLIKE = EventType
PLAYED, SKIPPED, LIKED, DISLIKED = Outcome
MINUTE = 60_000
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
) -> Event:
    """An event some minutes after the epoch, with an id of its own."""
    at_ms = round(minute * MINUTE)
    return Event(at_ms, type, id or f"{at_ms}-{type.name}-{track}", track, played_ms, track_ms, session)


def outcomes(*events: Event) -> list[tuple[str, Outcome]]:
    """Track and outcome of each entry that the events amount to."""
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
    """Under 30 s and under 0.9 of the track is a skip; without a length, or without a time, the event's own type stands."""
    assert SkipRule().skipped(type, played_ms, track_ms) is skipped


def test_limits_of_the_skip_rule_are_the_recipes() -> None:
    """Another rule draws the line elsewhere."""
    rule = SkipRule(limit_ms=10_000, end_share=0.5)

    assert [rule.skipped(SKIP, heard, 12_000) for heard in (5_999, 6_000, 10_000)] == [True, False, False]


def test_rule_without_room_for_an_entry_is_refused() -> None:
    """A history of no entries is nobody's wish; -1 would have meant all but the oldest."""
    with pytest.raises(ValueError, match="found length 0"):
        HistoryRule(length=0)


def test_open_play_counts_as_played() -> None:
    """A play that has not ended yet is in the history as played."""
    assert outcomes(event(0, PLAY)) == [("a", PLAYED)]


def test_skip_turns_the_play_of_its_track_into_a_skip() -> None:
    """One entry, not two, and it stands where the play started."""
    history = fold([event(0, PLAY), event(1, SKIP)], RULE)

    assert history.entries == (Entry("a", SKIPPED, 0, True, 0),)


def test_skip_reaches_back_over_other_tracks_of_the_session() -> None:
    """The player reports late: the next track has started already."""
    assert outcomes(event(0, PLAY, "a"), event(1, PLAY, "b"), event(2, SKIP, "a")) == [("a", SKIPPED), ("b", PLAYED)]


def test_skip_without_a_play_is_a_skip_of_its_own() -> None:
    """Nothing is lost when the play never arrived."""
    assert outcomes(event(0, PLAY, "a"), event(1, SKIP, "b")) == [("a", PLAYED), ("b", SKIPPED)]


def test_skip_in_a_later_session_leaves_the_earlier_play_alone() -> None:
    """'In the same session': past the gap, the skip is an entry of its own."""
    history = fold([event(0, PLAY), event(31, SKIP)], RULE)

    assert [(entry.outcome, entry.session) for entry in history.entries] == [(PLAYED, 0), (SKIPPED, 1)]


def test_second_skip_does_not_skip_an_ended_play_again() -> None:
    """A play ends once; what ends after it is another play whose start was lost."""
    assert outcomes(event(0, PLAY), event(1, COMPLETE), event(2, SKIP)) == [("a", PLAYED), ("a", SKIPPED)]


def test_skip_ends_the_latest_play_of_a_repeated_track() -> None:
    """The same track twice, the second time left."""
    events = [event(0, PLAY), event(1, COMPLETE), event(2, PLAY), event(3, SKIP)]

    assert outcomes(*events) == [("a", PLAYED), ("a", SKIPPED)]


def test_complete_confirms_a_play() -> None:
    """It adds no entry."""
    assert outcomes(event(0, PLAY), event(3, COMPLETE)) == [("a", PLAYED)]


def test_skip_near_the_end_confirms_a_play() -> None:
    """The skip rule decides, not the player's word for it."""
    assert outcomes(event(0, PLAY), event(3, SKIP, played_ms=180_000, track_ms=200_000)) == [("a", PLAYED)]


def test_opinion_stands_over_how_the_play_ended() -> None:
    """A liked track that was left early is liked, and still known to be skipped."""
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
    """What arrives last but happened first is the oldest entry, and may end the play that came before it."""
    arrived = [event(5, PLAY, "b"), event(0, PLAY, "a"), event(1, SKIP, "a")]

    assert outcomes(*arrived) == [("a", SKIPPED), ("b", PLAYED)]


def test_play_comes_before_its_end_within_a_millisecond() -> None:
    """A player with a coarse clock loses nothing."""
    assert outcomes(event(0, SKIP), event(0, PLAY)) == [("a", SKIPPED)]


@pytest.mark.parametrize(("minute", "sessions"), [(30, [0, 0]), (30.001, [0, 1])])
def test_unnamed_session_ends_when_more_than_the_gap_has_passed(minute: float, sessions: list[int]) -> None:
    """The gap itself is still inside."""
    history = fold([event(0, PLAY, "a"), event(minute, PLAY, "b")], RULE)

    assert [entry.session for entry in history.entries] == sessions


def test_session_lasts_as_long_as_no_gap_does() -> None:
    """It is the pause that ends a session, not its length."""
    history = fold([event(25 * number, PLAY, f"t{number}") for number in range(10)], RULE)

    assert {entry.session for entry in history.entries} == {0}


def test_named_session_outlasts_a_gap() -> None:
    """The player's own word goes before ours."""
    history = fold([event(0, PLAY, session="s"), event(500, SKIP, session="s")], RULE)

    assert [(entry.outcome, entry.session) for entry in history.entries] == [(SKIPPED, 0)]


def test_named_session_ends_where_another_name_begins() -> None:
    """No gap is needed."""
    history = fold([event(0, PLAY, session="s"), event(1, SKIP, session="t")], RULE)

    assert [(entry.outcome, entry.session) for entry in history.entries] == [(PLAYED, 0), (SKIPPED, 1)]


def test_interrupted_named_session_goes_on() -> None:
    """Two devices in turn: a skip on the first finds the play of the first."""
    events = [event(0, PLAY, "a", session="s"), event(1, PLAY, "b", session="t"), event(2, SKIP, "a", session="s")]
    history = fold(events, RULE)

    assert [(entry.track_id, entry.outcome, entry.session) for entry in history.entries] == [
        ("a", SKIPPED, 0),
        ("b", PLAYED, 1),
    ]
    assert history.last_session == 0


def test_session_is_over_when_the_gap_has_passed() -> None:
    """What was skipped yesterday may be proposed today."""
    history = fold([event(0, PLAY, "a"), event(40, PLAY, "b"), event(50, COMPLETE, "b")], RULE)

    assert [entry.track_id for entry in history.session(80 * MINUTE, RULE.gap_ms)] == ["b"]
    assert history.session(80 * MINUTE + 1, RULE.gap_ms) == ()


def test_no_events_are_an_empty_history() -> None:
    """An unknown listener is no special case."""
    history = fold([], RULE)

    assert history.entries == ()
    assert history.session(0, RULE.gap_ms) == ()


def test_events_that_differ_in_what_is_left_out_can_be_told_apart() -> None:
    """Logs have no event ids: two rows of one millisecond may differ only in what one of them does not know."""
    rows = [
        Event(0, COMPLETE, "", "a", heard, whole, name) for heard in (None, 5) for whole in (None, 9) for name in (None, "s")
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
        played_ms=st.sampled_from([None, 1_000, 60_000]),
        track_ms=st.sampled_from([None, 200_000]),
        session_id=st.sampled_from([None, None, "s", "t"]),
    )


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(_events(), max_size=12), st.data())
def test_neither_order_nor_repetition_of_events_changes_the_history(events: list[Event], data: st.DataObject) -> None:
    """State depends on the set of events: a client may retry, and a network may reorder."""
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    shuffled = data.draw(st.permutations(events + repeated))

    assert fold(shuffled, RULE) == fold(events, RULE)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(_events(), max_size=12))
def test_history_runs_forward_in_time(events: list[Event]) -> None:
    """Oldest first, each entry at the time of one of its track's events, and never more entries than events."""
    entries = fold(events, RULE).entries

    assert [entry.at_ms for entry in entries] == sorted(entry.at_ms for entry in entries)
    assert {(entry.at_ms, entry.track_id) for entry in entries} <= {(event.at_ms, event.track_id) for event in events}
    assert len(entries) <= len(set(events))


def _plain(history: History) -> list[Entry]:
    """Entries with sessions numbered from 0 in the order of their first ones, so that histories of unequal ends compare."""
    numbers: dict[int, int] = {}
    return [entry._replace(session=numbers.setdefault(entry.session, len(numbers))) for entry in history.entries]


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(_events(), max_size=20, unique=True), st.integers(1, 4), st.sets(st.sampled_from("ab")))
def test_recent_events_fold_to_the_end_of_what_all_fold_to(events: list[Event], length: int, tracks: set[str]) -> None:
    """To leave old events out changes no entry that is left, nor the current session, and leaves `length` known plays."""
    rule = HistoryRule(length=length, gap_ms=RULE.gap_ms)
    whole, part = fold(events, rule), fold(recent(events, rule, tracks.__contains__), rule)
    left_out = len(whole.entries) - len(part.entries)
    found = [entry for entry in part.entries if entry.track_id in tracks]

    assert _plain(part) == _plain(replace(whole, entries=whole.entries[left_out:]))
    assert _plain(replace(part, entries=part.session(part.last_at_ms, 0))) == _plain(
        replace(whole, entries=whole.session(whole.last_at_ms, 0))
    )
    assert part.last_at_ms == whole.last_at_ms
    assert not left_out or len(found) >= length


def test_old_sessions_are_left_out_once_there_are_enough_plays() -> None:
    """Whole sessions, by their gap or by their names; one that is named again later keeps all since its beginning."""
    rule = HistoryRule(length=2, gap_ms=RULE.gap_ms)
    by_gap = [event(60 * day + minute, PLAY) for day in range(9) for minute in range(2)]
    by_name = [event(minute, PLAY, session=f"s{minute // 4}") for minute in range(36)]
    again = [*by_name, event(40, PLAY, session="s3")]

    assert recent(by_gap, rule, "a".__contains__) == by_gap[-2:]
    assert recent(by_name, rule, "a".__contains__) == by_name[-4:]
    assert recent(again, rule, "a".__contains__) == again[12:]
    assert recent(by_gap, rule, "b".__contains__) == by_gap


@pytest.mark.parametrize(("outcome", "wanted"), [(PLAYED, True), (LIKED, True), (SKIPPED, False), (DISLIKED, False)])
def test_played_and_liked_tracks_are_wanted(outcome: Outcome, *, wanted: bool) -> None:
    """What a next-track model should propose."""
    assert outcome.wanted is wanted
