"""The baselines of a listener's own past equal counts by hand and loops over all plays."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp

import numpy as np
import pytest

from model.vocabulary import UNKNOWN
from tests.training.logs import D, L, P, S, split_of
from training.data.split import TEST, Split
from training.evaluation.cases import Cases, select_cases
from training.evaluation.evaluate import answer, evaluate
from training.evaluation.metrics import MISS
from training.evaluation.own_history import (
    WEIGHTS,
    Kept,
    back_off,
    counts,
    disliked_own_rows,
    markov,
    own_history,
    own_sessions,
    own_unknown_names,
    own_unknown_tracks,
    recency,
    session_rows,
    targets_with_own,
)

A, B, C, X = range(4)


def _kept(track: Sequence[int], session: Sequence[int] | None = None) -> Kept:
    return Kept(np.array(track), np.zeros(len(track), np.int64) if session is None else np.array(session))


def test_the_newest_kept_play_of_a_track_decides_its_recency() -> None:
    """A's latest play is later than those of B and C, so A is best. X was never kept."""
    assert recency(_kept([A, B, C, A]), 4).tolist() == [1.0, 0.5, 0.75, 0.0]


def test_counts_halve_with_age() -> None:
    """A play counts half after a hundred later kept plays."""
    found = counts(_kept([A, *[B] * 99, C]), 4)

    assert found[A] == pytest.approx(0.5)
    assert found[C] == 1


def test_markov_counts_what_followed_the_same_context() -> None:
    """B followed A twice and C once. After the context (C, A) only X followed. The last play has no follower."""
    track = _kept([A, B, A, C, A, X, A, B, C, A])

    assert markov(track, 4).tolist() == [0, 2, 1, 1]
    assert markov(track, 4, 2).tolist() == [0, 0, 0, 1]
    assert markov(track, 4, 3).tolist() == [0, 0, 0, 0]


def test_a_context_longer_than_the_past_says_nothing() -> None:
    """One kept play has no predecessor, so all scores are 0."""
    assert markov(_kept([A]), 4, 3).tolist() == [0, 0, 0, 0]


def test_own_sessions_by_hand() -> None:
    """The last track A was kept two places before C in another session. B, the second newest track, was kept one place before
    C.

    Plays of the current session are matched as well: A is one place after B, and B one before A.
    """
    found = own_sessions(_kept([A, B, C, B, A], [0, 0, 0, 1, 1]), 4)

    other = 0.72  # lag 1; C has lag 2
    third = 0.72 * exp(-1 / 3)
    after, before = [distance**-0.55 for distance in (1, 2)], [0.65 * distance**-0.5 for distance in (1, 2)]
    assert found[C] == pytest.approx(after[1] + other * after[0], rel=1e-5)
    assert found[B] == pytest.approx(after[0] + before[0] + third * before[0], rel=1e-5)
    assert found[A] == pytest.approx(other * (before[0] + after[0]) + third * before[1], rel=1e-5)
    assert found[X] == 0


def test_own_sessions_agree_with_going_through_all_pairs() -> None:
    """On 20 random pasts the result equals the definition: each match with each play of its session up to 15 places away."""
    random = np.random.default_rng(4)
    for _ in range(20):
        size = int(random.integers(1, 60))
        kept = _kept(random.integers(0, 12, size).tolist(), np.sort(random.integers(0, 3, size)).tolist())
        newest = list(dict.fromkeys(kept.track[::-1].tolist()))[:9]
        wanted = np.zeros(12)
        for match in range(size):
            if kept.track[match] not in newest:
                continue
            lag = newest.index(int(kept.track[match]))
            for play in range(size):
                away = play - match
                if away and abs(away) <= 15 and kept.session[play] == kept.session[match]:
                    near = away**-0.55 if away > 0 else 0.65 * (-away) ** -0.5
                    wanted[kept.track[play]] += (1 if lag == 0 else 0.72 * exp(-(lag - 1) / 3)) * near

        assert own_sessions(kept, 12) == pytest.approx(wanted, rel=1e-5)


def test_back_off_is_the_weighted_sum_of_shares() -> None:
    """The past is chosen so that every part of the sum is positive."""
    kept = _kept([A, B, C, X, A, B, C], [0, 0, 0, 0, 1, 1, 1])
    parts = [markov(kept, 4, 3), markov(kept, 4, 2), markov(kept, 4), own_sessions(kept, 4), counts(kept, 4)]

    assert all(part.sum() > 0 for part in parts)
    assert back_off(kept, 4) == pytest.approx(
        sum(weight * part / part.sum() for weight, part in zip(WEIGHTS, parts, strict=True)), rel=1e-5
    )


def _unknown() -> tuple[Split, Cases]:
    """Make a listener who met `new` and `newer` after the training part. The last session holds a, new and never."""
    lines = [("u", "a", P, "train"), ("u", "new", P, "valid"), ("u", "newer", P, "valid"), ("u", "a", P, "test")]
    split = split_of([*lines, ("u", "new", P, "test"), ("u", "never", P, "test")])
    split = replace(split, sequences=replace(split.sequences, session=np.array([0, 0, 0, 1, 1, 1], np.int32)))
    return split, select_cases(split, TEST)


def test_unknown_own_tracks_have_rows_after_the_last_one() -> None:
    """They are numbered from the one heard last. A track that the listener has not heard stays unknown."""
    split, cases = _unknown()
    names = [split.sequences.tracks[track] for track in own_unknown_tracks(cases, 1).tolist()]

    assert names == own_unknown_names(cases, 1) == ["newer", "new"]
    assert cases.target.tolist() == [split.vocabulary.row("a"), UNKNOWN, UNKNOWN]
    assert targets_with_own(cases).tolist() == [split.vocabulary.row("a"), cases.size + 1, UNKNOWN]


def test_an_unknown_own_track_is_a_hit_for_who_proposes_it_and_a_miss_for_the_rest() -> None:
    """Own Markov ranks `new` first, because it followed `a`. Popularity cannot rank it."""
    split, cases = _unknown()
    own = {ranker.name: answer(ranker, cases, length=5).rank.tolist() for ranker in own_history(split)}

    assert own["own Markov"][1] == 1
    assert own["most recent"][1] == 3  # after a and newer
    assert own["own Markov"][2] == MISS


def test_disliked_own_tracks_have_rows_to_mask() -> None:
    """The last word counts, from when it is known: a like takes a dislike back, and a report may come late."""
    lines = [("u", "a", P, "train"), ("u", "x", D, "valid"), ("u", "y", D, "valid"), ("u", "z", L, "valid")]
    lines += [("u", "y", L, "test"), ("u", "a", P, "test"), ("u", "a", P, "test")]
    cases = select_cases(split_of(lines, late=[(1, 5, P)]), TEST)

    assert [own_unknown_names(cases, case) for case in range(3)] == [["z", "y", "x"], ["y", "z", "x"], ["y", "z", "x"]]
    assert [(rows - cases.size).tolist() for rows in disliked_own_rows(cases)] == [[1], [2], [2]]


def test_disliked_own_tracks_are_found_once_for_all_batches() -> None:
    """A batch reads what its cases know. It does not look for opinions in the whole log again."""
    lines = [("u", "a", P, "train"), ("u", "x", D, "valid"), ("v", "y", D, "valid"), ("u", "a", P, "test")]
    split = split_of([*lines[:2], lines[3], lines[2], ("v", "a", P, "test")])
    cases = select_cases(split, TEST)
    no_opinions = replace(split.sequences, outcome=np.full_like(split.sequences.outcome, P))
    batch = replace(cases, split=replace(split, sequences=no_opinions)).take(slice(1, 2))

    assert [(rows - cases.size).tolist() for rows in disliked_own_rows(batch)] == [[0]]


def test_dislike_of_an_earlier_session_holds_for_an_unknown_track() -> None:
    """As the service does, where histories end with the session too."""
    split = split_of([("u", "a", P, "train"), ("u", "x", D, "valid"), ("u", "x", P, "test"), ("u", "a", P, "test")])
    two = replace(split.sequences, offsets=np.array([0, 2, 4]), user=np.zeros(2, np.int32))
    cases = select_cases(replace(split, sequences=two), TEST)

    assert [own_unknown_names(cases, case) for case in (0, 1)] == [[], ["x"]]
    assert [(rows - cases.size).tolist() for rows in disliked_own_rows(cases)] == [[], [0]]


def test_a_copy_head_proposes_no_disliked_track_without_a_row() -> None:
    """As the service, which masks it by its id."""
    split = split_of([("u", "a", P, "train"), ("u", "x", D, "valid"), ("u", "y", P, "valid"), ("u", "x", P, "test")])
    ranker = own_history(split)[0]  # proposes the listener's kept tracks
    liked = split_of([("u", "a", P, "train"), ("u", "x", L, "valid"), ("u", "y", P, "valid"), ("u", "x", P, "test")])

    assert answer(ranker, select_cases(split, TEST), length=5).rank.tolist() == [MISS]
    assert answer(own_history(liked)[0], select_cases(liked, TEST), length=5).rank.tolist() == [2]


def test_what_this_session_has_heard_can_be_masked() -> None:
    """In the last case `a` and `new` are masked, by the rows that they have in this case."""
    split, cases = _unknown()

    assert [rows.tolist() for rows in session_rows(cases)] == [
        [],
        [split.vocabulary.row("a")],
        [split.vocabulary.row("a"), cases.size],
    ]


def test_reports_tell_targets_of_the_session_from_those_heard_before() -> None:
    """`most recent` finds tracks that were just heard. If tracks of the session are masked, these hits disappear."""
    lines = [
        ("u", "a", P, "train"),
        ("u", "b", P, "train"),
        ("u", "b", P, "test"),
        ("u", "a", P, "test"),
        ("u", "c", L, "test"),
    ]
    split = split_of([*lines, ("u", "d", S, "test"), ("u", "b", P, "test")])
    split = replace(split, sequences=replace(split.sequences, session=np.array([0, 0, 1, 1, 1, 1, 1], np.int32)))
    cases = select_cases(split, TEST)

    measured = evaluate(own_history(split)[0], cases, length=5)

    assert cases.in_session.tolist() == [False, False, False, False, True]
    assert measured.values["hr@20_session"] == measured.values["hr@20_before"] == 1
    assert measured.values["hr@20_new"] == 0
    assert measured.values["hr@20"] == 3 / 4
    assert measured.values["hr@20_masked"] == 2 / 4
    assert measured.counts["in_session"] == 1
