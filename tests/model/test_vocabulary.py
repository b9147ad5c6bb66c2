"""Track ids and rows: two ways, with a row for whatever is not known."""

import pytest

from model.vocabulary import FIRST, PADDING, UNKNOWN, Vocabulary


def test_tracks_have_rows_in_their_order() -> None:
    """Row `FIRST` is the first track; a row gives its track back."""
    vocabulary = Vocabulary(["a", "b", "c"])

    assert [vocabulary.row(track) for track in "abc"] == [FIRST, FIRST + 1, FIRST + 2]
    assert [vocabulary.track(vocabulary.row(track)) for track in "abc"] == ["a", "b", "c"]


def test_track_never_seen_has_the_unknown_row() -> None:
    """It is no error to hear something new."""
    assert Vocabulary(["a"]).row("z") == UNKNOWN


def test_known_rows_leave_out_the_unknown() -> None:
    """In order, with repetitions."""
    assert Vocabulary(["a", "b"]).known_rows(["b", "z", "a", "b"]) == [FIRST + 1, FIRST, FIRST + 1]


def test_length_counts_padding_and_unknown() -> None:
    """The height of an embedding table."""
    assert len(Vocabulary(["a", "b"])) == 2 + FIRST


@pytest.mark.parametrize("row", [PADDING, UNKNOWN])
def test_rows_that_are_no_tracks_have_no_name(row: int) -> None:
    """Index -1 or -2 would silently name the last tracks."""
    with pytest.raises(ValueError, match=f"row {row} is no track"):
        Vocabulary(["a", "b"]).track(row)


def test_track_that_comes_twice_is_refused() -> None:
    """It would have two rows, and rows behind it the wrong names."""
    with pytest.raises(ValueError, match="1 track ids come more than once"):
        Vocabulary(["a", "b", "a"])
