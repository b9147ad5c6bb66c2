"""Truncation, padding and numbering give the arrays that trainer and service feed to a network."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from model.encoding import (
    GAP_CODES,
    GOING_ON,
    HALF_HOUR_MS,
    RowHistory,
    encode,
    encode_histories,
    feed,
    gap_codes,
    read_entries,
    rows_of,
)
from model.events import Entry, Outcome
from model.vocabulary import Vocabulary


def history(size: int, first: int = 2) -> RowHistory:
    """Make a history with rows that count up from `first`, and alternating outcomes."""
    return RowHistory([first + place for place in range(size)], [1 + place % 4 for place in range(size)])


def test_newest_entry_stands_last_behind_padding_on_the_left() -> None:
    """All histories of a batch end at the same place."""
    tracks, outcomes, _ = encode_histories([history(1), history(3)], length=5)

    assert tracks.tolist() == [[0, 0, 2], [2, 3, 4]]
    assert outcomes.tolist() == [[0, 0, 1], [1, 2, 3]]


def test_newest_entries_survive_truncation() -> None:
    """A long history loses its oldest entries."""
    tracks, outcomes, _ = encode_histories([history(6)], length=2)

    assert tracks.tolist() == [[6, 7]]
    assert outcomes.tolist() == [[1, 2]]


def test_batch_is_as_wide_as_its_longest_history() -> None:
    """It is not as wide as the model allows, so short histories are cheap."""
    assert encode_histories([history(1), history(2), history(0)], length=50).tracks.shape == (3, 2)


def test_batch_is_no_wider_than_the_model_allows() -> None:
    """The network has no position for more entries."""
    assert encode_histories([history(9), history(2)], length=4).tracks.shape == (2, 4)


def test_empty_history_is_a_line_of_padding() -> None:
    """A new listener needs no special case, alone or in a batch."""
    assert encode_histories([RowHistory()], length=5).tracks.tolist() == [[0]]
    assert encode_histories([history(2), RowHistory()], length=5).tracks.tolist() == [[2, 3], [0, 0]]


def test_no_histories_are_an_empty_batch() -> None:
    """The batch has no lines."""
    assert encode_histories([], length=5).tracks.shape == (0, 1)


def test_arrays_are_what_the_graph_takes() -> None:
    """They are int64, whatever type the log's numbers have."""
    log = np.array([2, 3], np.int32), np.array([1, 2], np.int8)
    encoded = encode(*log, np.array([0]), np.array([2]), length=5)

    assert encoded.tracks.dtype == encoded.outcomes.dtype == np.dtype(np.int64)


def test_unknown_tracks_inform_nothing() -> None:
    """They are removed before the newest entries are chosen, so they do not displace a known track."""
    entries = [Entry(track, Outcome.PLAYED, 0, False, 0) for track in ("a", "b", "new", "newer")]

    assert rows_of(entries, Vocabulary(["a", "b"]), length=2) == RowHistory([2, 3], [1, 1])


def test_outcomes_reach_the_network_as_their_numbers() -> None:
    """The number 0 is padding's."""
    entries = [Entry("a", outcome, 0, False, 0) for outcome in Outcome]

    assert rows_of(entries, Vocabulary(["a"]), length=9).outcomes == [1, 2, 3, 4]


@given(st.lists(st.sampled_from(["a", "b", "new"]), max_size=9), st.integers(1, 6))
def test_entries_shown_to_a_person_are_those_that_are_encoded(tracks: list[str], length: int) -> None:
    """Both functions leave out the same unknown or old entries."""
    vocabulary = Vocabulary(["a", "b"])
    entries = [Entry(track, list(Outcome)[place % 4], place, False, 0) for place, track in enumerate(tracks)]
    read = read_entries(entries, vocabulary, length=length)
    encoded = rows_of(entries, vocabulary, length=length)

    assert [vocabulary.row(entry.track_id) for entry in read] == list(encoded.rows)
    assert [entry.outcome for entry in read] == list(encoded.outcomes)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 7))
def test_slices_of_a_log_and_separate_histories_give_the_same_arrays(sizes: list[int], length: int) -> None:
    """The trainer cuts a log, and the service has separate histories. Here the two could differ."""
    histories = [history(size, first=2 + 10 * number) for number, size in enumerate(sizes)]
    histories = [one._replace(gaps=[1 + row % 5 for row in one.rows]) for one in histories]
    rows = np.array([row for one in histories for row in one.rows], np.int64)
    outcomes = np.array([outcome for one in histories for outcome in one.outcomes], np.int64)
    gaps = np.array([gap for one in histories for gap in one.gaps], np.int64)
    stops = np.cumsum(sizes, dtype=np.int64)

    cut = encode(rows, outcomes, stops - np.array(sizes, np.int64), stops, length=length, gaps=gaps)

    separate = encode_histories(histories, length=length)
    by_hand = [one.rows[-length:] for one in histories]
    width = max([1, *map(len, by_hand)])
    assert np.array_equal(cut.tracks, separate.tracks)
    assert np.array_equal(cut.outcomes, separate.outcomes)
    assert np.array_equal(cut.gaps, separate.gaps)
    assert cut.tracks.tolist() == [[0] * (width - len(rows)) + list(rows) for rows in by_hand]


def test_gap_codes_by_hand() -> None:
    """There is one code up to and including half an hour, then one for each doubling. Negative and very long times have codes,
    too.
    """
    half_hours = np.array([-3.0, 0.0, 0.5, 1.0, 1.001, 2.0, 2.001, 4.001, 512.0, 512.001, 10**6])
    codes = gap_codes((half_hours * HALF_HOUR_MS).astype(np.int64))

    assert codes.tolist() == [1, 1, 1, 1, 2, 2, 3, 4, 10, 11, 11]
    assert (codes.max(), codes.dtype) == (GAP_CODES - 1, np.dtype(np.int64))


@given(pauses=st.integers(0, 2**40))
def test_gap_code_is_the_number_of_binary_digits(pauses: int) -> None:
    """It counts the binary digits of the whole half hours, plus one, up to the last code."""
    [code] = gap_codes(np.array([pauses * HALF_HOUR_MS + 1]))

    assert code == min(GOING_ON + pauses.bit_length(), GAP_CODES - 1)


def test_gaps_count_to_the_next_known_entry_and_from_the_newest_to_the_question() -> None:
    """An unknown track in between is passed over, and truncated entries have no influence. Without the request's time, no gap
    is known.
    """
    vocabulary = Vocabulary(["a", "b"])
    hour = 2 * HALF_HOUR_MS
    plays = [("a", 0), ("b", 3 * hour), ("new", 4 * hour), ("a", 8 * hour), ("b", 8 * hour + 60_000)]
    entries = [Entry(track, Outcome.PLAYED, at_ms, skipped=False, session=0) for track, at_ms in plays]

    def gaps(length: int, asked_hours: float) -> Sequence[int]:
        return rows_of(entries, vocabulary, length=length, now_ms=round(asked_hours * hour)).gaps

    assert rows_of(entries, vocabulary, length=9, now_ms=8 * hour + 60_000) == RowHistory([2, 3, 2, 3], [1] * 4, [4, 5, 1, 1])
    assert gaps(2, 8.2) == [1, 1]
    assert gaps(2, 9.5) == [1, 3]
    assert gaps(1, 8.6) == [2]
    assert rows_of(entries, vocabulary, length=2) == RowHistory([2, 3], [1, 1])
    assert rows_of([], vocabulary, length=2, now_ms=hour) == RowHistory([], [], [])


def test_histories_with_and_without_gaps_stand_in_one_batch() -> None:
    """A history without times has the code 0, as padding has."""
    batch = encode_histories([RowHistory([2], [1]), RowHistory([2, 3, 4], [1, 1, 1], [0, 5, 6]), RowHistory()], length=2)

    assert batch.gaps.tolist() == [[0, 0], [5, 6], [0, 0]]
    assert encode_histories([RowHistory([2], [1])], length=2).gaps.tolist() == [[0]]


def test_graph_is_fed_what_it_reads() -> None:
    """It gets the inputs that it names, and no others."""
    batch = encode_histories([RowHistory([2], [1], [3])], length=2)

    assert feed(("tracks", "count"), batch, count=7, excluded=None) == {"tracks": batch.tracks, "count": 7}
    assert feed(("gaps",), batch)["gaps"].tolist() == [[3]]
