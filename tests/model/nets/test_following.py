"""The place of the past that a listener follows: a sum over all paths agrees, and albums go on as people play them."""

from itertools import product

import numpy as np
import pytest
import torch

from model.nets.following import (
    AROUND,
    BACK,
    GO,
    GO_AFTER_PAUSE,
    GO_AFTER_SKIP,
    NEAR,
    OUTSIDE,
    PAUSE_MINUTES,
    PRIOR,
    REFUSED,
    STEPS,
    next_places,
)


def followed_by_hand(tracks: list[int], kept: list[bool], minutes: list[int]) -> list[float]:
    """Filter the newest `STEPS` plays by loops over all pairs of places. The last play is at the time of the request."""
    places = range(len(tracks))
    weights = [(1.0 if kept[place] else REFUSED) * 0.5 ** ((len(tracks) - 1 - place) / PRIOR) for place in places]
    prior = [weight / sum(weights) for weight in weights]
    moves = {away: NEAR / away for away in range(2, AROUND + 1)} | {-away: BACK / away for away in range(1, AROUND + 1)}
    moves[1] = 1.0
    total = sum(moves.values())
    later = [*minutes[1:], minutes[-1]]
    found = prior
    for seen in places[-STEPS:]:
        go = GO if kept[seen] else GO_AFTER_SKIP
        if later[seen] - minutes[seen] > PAUSE_MINUTES:
            go = GO_AFTER_PAUSE
        met = [found[place] if place < seen and tracks[place] == tracks[seen] else 0.0 for place in places]
        met = [one / (sum(met) + OUTSIDE) for one in met]
        moved = [go * sum(moves.get(place - other, 0.0) / total * met[other] for other in places) for place in places]
        found = [moved[place] + (1 - sum(moved)) * prior[place] for place in places]
    return found


def _followed(tracks: list[int], kept: list[bool], minutes: list[int], *, padding: int = 0) -> list[float]:
    """Run `next_places` on one history, after so many places of padding."""
    count = len(tracks)
    last = {track: place for place, track in enumerate(tracks)}
    newest = [0] * padding + [padding + last[track] for track in tracks]
    keep = torch.tensor([[False] * padding + kept])
    refused = torch.tensor([[False] * padding + [not one for one in kept]])
    ages = torch.tensor([[0] * padding + [minutes[-1] - minute for minute in minutes]])
    found = next_places(torch.tensor([newest]), keep, refused, ages)
    assert found[0, :padding].tolist() == [0] * padding
    assert found.shape == (1, padding + count)
    return found[0, padding:].tolist()


@pytest.mark.parametrize("padding", [0, 3])
def test_probabilities_agree_with_loops_over_all_places(padding: int) -> None:
    """Random pasts of all lengths have refused plays, pauses and repeated sequences. Padding changes nothing."""
    random = np.random.default_rng(1)
    for count in (1, 2, 4, 5, 6, 20, 60):
        tracks = random.integers(0, 5, count).tolist()
        kept = (random.random(count) < 0.7).tolist()
        minutes = np.cumsum(random.choice([3, 500], count, p=[0.9, 0.1])).tolist()

        found = _followed(tracks, kept, minutes, padding=padding)

        assert found == pytest.approx(followed_by_hand(tracks, kept, minutes), rel=1e-4)


def test_the_longest_sequence_that_agrees_decides() -> None:
    """Track 10 has followed 1 2 3, track 11 only 2 3, and track 12 only 3. Now 1 2 3 was heard again."""
    past = [1, 2, 3, 10, *range(20, 40), 0, 2, 3, 11, *range(40, 60), 0, 0, 3, 12, *range(60, 80)]
    tracks = [*past, 90, 91, 1, 2, 3]

    found = _followed(tracks, [True] * len(tracks), [3 * place for place in range(len(tracks))])

    three, two, one = (found[tracks.index(track)] for track in (10, 11, 12))
    assert max(found) == three
    assert three > 3 * two
    assert two > 1.5 * one


def test_a_track_may_be_left_out_and_a_pause_makes_jumps_likelier() -> None:
    """An album of 1 to 8 is heard again without track 3. After a pause its next track has less of the probability."""
    album = list(range(1, 9))
    tracks = [*range(20, 30), *album, *range(30, 60), 1, 2, 4, 5, 6]
    kept, minutes = [True] * len(tracks), [3 * place for place in range(len(tracks))]
    after_pause = [*minutes[:-1], minutes[-1] + 100]

    at_once, late = _followed(tracks, kept, minutes), _followed(tracks, kept, after_pause)

    assert tracks[int(np.argmax(at_once))] == 7
    assert at_once[16] > late[16] > 1.5 / len(tracks)


def test_skipped_plays_say_where_the_listener_is() -> None:
    """An album of 1 to 8 is heard again. All its tracks are skipped, and so the next one is as likely as if none was."""
    tracks = [*range(20, 30), *range(1, 9), *range(30, 60), 1, 2, 3, 4]
    minutes = list(range(len(tracks)))
    heard = [True] * len(tracks)
    skipped = [*heard[:-4], *[False] * 4]

    for kept in (heard, skipped):
        found = _followed(tracks, kept, minutes)

        assert tracks[int(np.argmax(found))] == 5
        assert max(found) > 0.2


@pytest.mark.parametrize("loop", [[1], [1, 2], [1, 2, 3]])
def test_the_same_few_tracks_again_and_again_are_followed(loop: list[int]) -> None:
    """The loop has just been heard twice, so nothing older shows how it goes on."""
    tracks = [*range(20, 60), *loop, *loop]

    found = _followed(tracks, [True] * len(tracks), list(range(len(tracks))))

    sums = {track: sum(found[place] for place in range(len(tracks)) if tracks[place] == track) for track in set(tracks)}
    assert max(sums, key=lambda track: sums[track]) == loop[0]
    assert sums[loop[0]] > 0.2


def test_the_probabilities_of_all_places_sum_to_one() -> None:
    """What would move beyond an end of the past jumps anywhere instead."""
    for first, second in product((1, 2, 9), repeat=2):
        tracks = [1, 2, *range(100, 130), 1, 2, 3, *range(40, 80), first, second, first]

        assert sum(_followed(tracks, [True] * len(tracks), list(range(len(tracks))))) == pytest.approx(1, rel=1e-4)
