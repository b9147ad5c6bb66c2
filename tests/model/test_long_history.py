"""Long histories: numbering, truncation and padding, the same for the trainer's log and the service's entries."""

from dataclasses import replace

import numpy as np
import pytest

from model.events import Entry, Event, EventType, HistoryRule, Outcome, fold
from model.long_history import (
    LongHistories,
    Past,
    Plays,
    encode_long,
    heard_since,
    join,
    long_history_of,
    past_entries,
    without_last,
)
from model.vocabulary import FIRST, Vocabulary
from tests.training.logs import P, S, split_of
from training.data.split import long_histories

A, B = FIRST, FIRST + 1
VOCABULARY = Vocabulary(["a", "b"])
SIZE = len(VOCABULARY)
MINUTE = 60_000


def _entries(*plays: tuple[str, Outcome, int]) -> list[Entry]:
    """Make plays at the given minutes: session 0 up to minute 100, session 1 after it."""
    return [Entry(track, outcome, minute * MINUTE, outcome is S, int(minute >= 100)) for track, outcome, minute in plays]


def test_a_listeners_past_by_hand() -> None:
    """The encoding has known rows, unknown tracks numbered from the newest, ages in minutes, the current session, newest
    places.
    """
    entries = _entries(("x", P, 0), ("a", S, 10), ("y", P, 20), ("x", P, 100), ("a", P, 101))

    own = long_history_of(entries, VOCABULARY, length=10, now_ms=103 * MINUTE + 59_999, going_on={1})

    assert own.unknown == ["x", "y"]
    assert [field.tolist() for field in own.encoded] == [
        [[SIZE, A, SIZE + 1, SIZE, A]],
        [[P, S, P, P, P]],
        [[103, 93, 83, 3, 2]],
        [[0, 0, 0, 1, 1]],
        [[3, 4, 2, 3, 4]],
    ]


def test_only_the_newest_plays_are_read() -> None:
    """Older plays influence neither numbers nor places."""
    entries = _entries(("x", P, 0), ("a", P, 1), ("y", P, 2))

    own = long_history_of(entries, VOCABULARY, length=2, now_ms=3 * MINUTE, going_on=())

    assert own.unknown == ["y"]
    assert own.encoded.own_tracks.tolist() == [[A, SIZE]]


def test_nothing_heard_is_one_place_of_padding() -> None:
    """It holds for a batch of its own and in a batch with others."""
    own = long_history_of([], VOCABULARY, length=5, now_ms=0, going_on=())
    other = long_history_of(_entries(("a", P, 0), ("b", P, 1), ("a", P, 2)), VOCABULARY, length=5, now_ms=MINUTE, going_on=())

    assert own.encoded.own_tracks.tolist() == [[0]]
    assert join([None, other.encoded]).own_tracks.tolist() == [[0, 0, 0], [A, B, A]]


def test_joining_pads_on_the_left_and_moves_places_along() -> None:
    """The joined batch equals encoding all histories at once."""
    short, long = _entries(("b", S, 0), ("x", P, 1), ("b", P, 2)), _entries(*[("a", P, minute) for minute in range(5)])
    both = [long_history_of(one, VOCABULARY, length=9, now_ms=9 * MINUTE, going_on={0}).encoded for one in (short, long)]
    at_once = encode_long(
        Plays(
            tracks=np.array([7, 8, 7, 3, 3, 3, 3, 3]),
            rows=np.array([B, 1, B, A, A, A, A, A]),
            outcomes=np.array([S, P, P, P, P, P, P, P]),
            at_ms=np.array([0, 1, 2, 0, 1, 2, 3, 4]) * MINUTE,
            sessions=np.zeros(8, np.int64),
        ),
        np.array([0, 3]),
        np.array([3, 8]),
        asked_ms=np.full(2, 9 * MINUTE),
        going_on=np.zeros(2, np.int64),
        size=SIZE,
        length=9,
    )
    held = at_once.own_tracks > 0

    for mine, wanted in zip(join(both), at_once, strict=True):
        assert np.where(held, mine, 0).tolist() == np.where(held, wanted, 0).tolist()


def test_the_trainers_log_and_the_services_entries_give_the_same() -> None:
    """A random past is encoded before each of its entries, for all lengths and any unknown tracks."""
    random = np.random.default_rng(5)
    lines = [("u", "ab"[place % 2], P, "train") for place in range(4)]
    lines += [("u", f"{'abxyz'[random.integers(5)]}", (P, S)[random.integers(2)], "test") for _ in range(40)]
    split = split_of(lines)
    minutes = np.cumsum(random.integers(0, 20, len(lines)))
    sessions = np.arange(len(lines)) // 6
    sequences = replace(split.sequences, at_ms=minutes * MINUTE, session=sessions.astype(np.int32))
    split = replace(split, sequences=sequences)
    entries = [
        Entry(track, outcome, int(minute) * MINUTE, outcome is S, int(session))
        for (_, track, outcome, _), minute, session in zip(lines, minutes, sessions, strict=True)
    ]
    for length in (1, 7, 100):
        for place in range(1, len(lines)):
            offline = long_histories(split, np.array([place]), length=length)
            online = long_history_of(
                entries[:place],
                split.vocabulary,
                length=length,
                now_ms=int(minutes[place]) * MINUTE,
                going_on={int(sessions[place])},
            ).encoded

            assert [field.tolist() for field in online] == [field.tolist() for field in offline]


@pytest.mark.parametrize(("names", "differs"), [((None, None), False), (("s1", "s1"), False), (("s1", "s2"), True)])
def test_only_the_first_track_of_a_named_session_is_seen_differently_offline(
    names: tuple[str | None, str | None], *, differs: bool
) -> None:
    """Two plays, an hour, two plays. When the service is asked after the hour, it takes a named session for going on, because
    nothing says that the next track begins another. The trainer knows. Without names, and within a session, both agree.
    """
    minutes = (0, 1, 61, 62)
    events = [
        Event(minute * MINUTE, EventType.PLAY, str(minute), "ab"[place % 2], session_id=names[place // 2])
        for place, minute in enumerate(minutes)
    ]
    whole = fold(events, HistoryRule())
    split = split_of(
        [("u", entry.track_id, entry.outcome, ("train", "test")[place // 2]) for place, entry in enumerate(whole.entries)]
    )
    sequences = replace(
        split.sequences,
        at_ms=np.array([entry.at_ms for entry in whole.entries]),
        session=np.array([entry.session for entry in whole.entries], np.int32),
    )
    seen = []
    for place in (2, 3):
        now_ms = minutes[place] * MINUTE
        before = fold(events[:place], HistoryRule())
        going_on = {entry.session for entry in before.session(now_ms)}
        online = long_history_of(before.entries, split.vocabulary, length=9, now_ms=now_ms, going_on=going_on).encoded
        offline = long_histories(replace(split, sequences=sequences), np.array([place]), length=9)
        seen.append(online.own_session.tolist() != offline.own_session.tolist())

    assert seen == [differs, False]


def test_fields_are_the_names_of_inputs() -> None:
    """The manifest lists these names."""
    assert LongHistories._fields == ("own_tracks", "own_outcomes", "own_ages", "own_session", "own_newest")


def test_packed_past_is_read_as_its_entries_would_be() -> None:
    """Some plays packed and some as entries give what all as entries give: rows, request-local ones, outcomes, ages, tracks."""
    chance = np.random.default_rng(4)
    outcomes = list(Outcome)
    entries = _entries(
        *[(f"{'abx'[chance.integers(3)]}{chance.integers(9)}", outcomes[chance.integers(4)], n) for n in range(90)]
    )
    vocabulary = Vocabulary([f"{letter}{number}" for letter in "ab" for number in range(9)])
    older = entries[:60]
    ids = [*dict.fromkeys(entry.track_id for entry in older), "of no play"]
    numbers, times = (np.array(column) for column in ([ids.index(one.track_id) for one in older], [one.at_ms for one in older]))
    past = Past(ids, numbers, times, np.array([one.outcome for one in older]))

    for length in (10, 30, 31, 75, 90, 200):
        whole = long_history_of(entries, vocabulary, length=length, now_ms=100 * MINUTE, going_on=())
        packed = long_history_of(entries[60:], vocabulary, length=length, now_ms=100 * MINUTE, going_on=(), past=past)

        assert packed.unknown == whole.unknown
        assert [field.tolist() for field in packed.encoded] == [field.tolist() for field in whole.encoded]
    assert sorted(heard_since(past, 49 * MINUTE)) == sorted({entry.track_id for entry in older[50:]})
    assert [(entry.track_id, entry.outcome, entry.at_ms) for entry in past_entries(past)] == [
        (entry.track_id, entry.outcome, entry.at_ms) for entry in older
    ]


def test_without_last_is_the_history_before_that_play() -> None:
    """The newest play of the track and all later plays are left out. Ages stay, and so does the numbering of unknown tracks."""
    entries = _entries(("a", P, 0), ("x", P, 1), ("a", P, 2), ("b", P, 3), ("x", P, 4))
    whole, before = (
        long_history_of(some, VOCABULARY, length=9, now_ms=4 * MINUTE, going_on=()).encoded for some in (entries, entries[:3])
    )
    row = VOCABULARY.row("b")

    found = without_last(whole, row)

    assert [field.tolist() for field in found] == [field.tolist() for field in before]
    assert without_last(found, row) is found
    assert [field.tolist() for field in without_last(without_last(found, VOCABULARY.row("a")), VOCABULARY.row("a"))] == [
        [[0]] for _ in LongHistories._fields
    ]
