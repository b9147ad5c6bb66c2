"""Track ids and rows map to each other, and unknown ids share one row."""

import gc
import pickle
import weakref
from collections.abc import Iterator

import pytest

from model.pauses import STEP
from model.vocabulary import FIRST, PADDING, REMEMBERED, UNKNOWN, Vocabulary


def test_tracks_have_rows_in_their_order() -> None:
    """The first track has row `FIRST`, and a row gives its track back."""
    vocabulary = Vocabulary(["a", "b", "c"])

    assert [vocabulary.row(track) for track in "abc"] == [FIRST, FIRST + 1, FIRST + 2]
    assert [vocabulary.track(vocabulary.row(track)) for track in "abc"] == ["a", "b", "c"]


def test_track_never_seen_has_the_unknown_row() -> None:
    """A new track is no error."""
    vocabulary = Vocabulary(["a"])

    assert vocabulary.row("z") == UNKNOWN
    assert (vocabulary.knows("a"), vocabulary.knows("z")) == (True, False)


def test_known_rows_leave_out_the_unknown() -> None:
    """They are in order, with repetitions."""
    assert Vocabulary(["a", "b"]).known_rows(["b", "z", "a", "b"]) == [FIRST + 1, FIRST, FIRST + 1]


def test_length_counts_padding_and_unknown() -> None:
    """The length is the height of an embedding table."""
    assert len(Vocabulary(["a", "b"])) == 2 + FIRST


@pytest.mark.parametrize("row", [PADDING, UNKNOWN])
def test_rows_that_are_no_tracks_have_no_name(row: int) -> None:
    """Index -1 or -2 would otherwise name the last tracks."""
    with pytest.raises(ValueError, match=f"row {row} is no track"):
        Vocabulary(["a", "b"]).track(row)


def test_track_that_comes_twice_is_refused() -> None:
    """It would have two rows, and later rows would have wrong names."""
    with pytest.raises(ValueError, match="found 1 repeated track ids"):
        Vocabulary(["a", "b", "a"])


def test_rows_are_those_of_a_dict() -> None:
    """The ids are of all kinds, more than the cache holds, and so many that hashes share buckets."""
    ids = ["", "\ud800", *(f"{'é𝄞x'[number % 3]}{number}" for number in range(REMEMBERED + 1_000))]
    vocabulary, rows = Vocabulary(ids), {track: row for row, track in enumerate(ids, FIRST)}

    assert [vocabulary.row(track) for track in ids] == list(rows.values())
    assert vocabulary.known_rows(track + "x" for track in ids) == []
    assert vocabulary.tracks == ids


def test_other_threads_get_a_turn_after_each_step() -> None:
    """The ids are read as they are needed: at a pause, no later id has been read."""
    tracks, read, pauses = [f"t{number}" for number in range(2 * STEP + 1)], list[str](), list[int]()

    def reading() -> Iterator[str]:
        for track in tracks:
            read.append(track)
            yield track

    vocabulary = Vocabulary(reading(), lambda: pauses.append(len(read)))

    assert vocabulary.tracks == tracks
    assert pauses == [STEP, 2 * STEP, 2 * STEP + 1]


def test_vocabulary_of_nothing_knows_nothing() -> None:
    """Padding and unknown are its only rows."""
    assert len(Vocabulary([])) == FIRST
    assert Vocabulary([]).row("a") == UNKNOWN


def test_vocabulary_is_not_pickled() -> None:
    """Strings have other hashes in another process, so look-ups would fail."""
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(Vocabulary(["a"]))


def test_vocabulary_is_freed_without_garbage_collection() -> None:
    """The service excludes its first vocabulary from garbage collection, which alone would free a cycle of references."""
    vocabulary = Vocabulary(["a", "b"])
    vocabulary.row("a")
    vocabulary.row("z")
    freed, was_enabled = weakref.ref(vocabulary), gc.isenabled()
    gc.disable()
    try:
        del vocabulary
        left = freed()
    finally:
        if was_enabled:
            gc.enable()

    assert left is None


def test_many_ids_are_looked_up_at_once_as_one_by_one() -> None:
    """Known and unknown ones, repeated, in full and empty buckets; of nothing, nothing; and in an empty vocabulary."""
    tracks = [f"täglich {number}" for number in range(3_000)]
    vocabulary = Vocabulary(tracks)
    asked = [*tracks[::7], *(f"new {number}" for number in range(3_000)), "\ud800", tracks[0]]

    assert vocabulary.rows_of_many(asked).tolist() == [vocabulary.row(track) for track in asked]
    assert vocabulary.rows_of_many([]).tolist() == []
    assert vocabulary.rows_of_many(asked[-5:]).tolist() == [*[UNKNOWN] * 4, FIRST]
    for times in (1, 100):
        assert Vocabulary([]).rows_of_many(["a", "b"] * times).tolist() == [UNKNOWN, UNKNOWN] * times
