"""Invented names are unique, read like names, and show the mood."""

import numpy as np
import pytest

from training.simulator.names import artist_names, track_titles

SMALL = {
    *("the", "for", "in", "to", "at", "My", "No", "Not", "Your", "One", "More", "Another", "Ask", "Back", "Beyond", "Under"),
    *("Waiting", "Goodbye,", "Hearts", "Blue", "Blues", "Dawn", "Two"),
}
"""Words that occur in the titles of every mood."""


@pytest.mark.parametrize("count", [1, 200, 700, 3_000])
def test_artists_have_different_names(count: int) -> None:
    """It holds even if there are more artists than words for them."""
    names = artist_names(count, np.random.default_rng(1))

    assert len(set(names)) == len(names) == count


def test_hundreds_of_artists_and_thousands_of_titles_need_no_number() -> None:
    """The demo's 200 artists and 2,000 tracks are far below the limit. Numbers would look made by a machine."""
    rng = np.random.default_rng(1)
    titles = track_titles(np.arange(3_000) % 12, rng)

    assert len(set(titles)) == 3_000
    assert not [name for name in (*artist_names(700, rng), *titles) if any(sign.isdigit() for sign in name)]


def test_titles_stay_different_when_words_run_out() -> None:
    """There are 5,000 tracks of one mood, and moods beyond the twelve that have words."""
    titles = track_titles(np.repeat([0, 12, 25], [5_000, 300, 300]), np.random.default_rng(1))

    assert len(set(titles)) == 5_600


def test_a_mood_has_words_of_its_own() -> None:
    """Each word of a title, except small ones, occurs in one mood only, so a person recognises the mood."""
    moods = np.arange(2_400) % 12
    titles = track_titles(moods, np.random.default_rng(1))
    owners: dict[str, set[int]] = {}
    for mood, title in zip(moods.tolist(), titles, strict=True):
        for word in set(title.split()) - SMALL:
            owners.setdefault(word, set()).add(mood)

    assert {word: of for word, of in owners.items() if len(of) > 1} == {}


def test_the_same_seed_gives_the_same_names() -> None:
    """A log of the same seed is the same log, names included."""
    first, again, other = (
        [*artist_names(50, rng), *track_titles(np.arange(50) % 12, rng)] for rng in map(np.random.default_rng, (1, 1, 2))
    )

    assert first == again
    assert first != other
