"""The baselines agree with counts made by hand."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest

from model.encoding import RowHistory, encode_histories
from tests.training.logs import D, L, P, S, split_of
from training.data.split import TEST, TRAIN, VALID, Split
from training.evaluation.baselines import DAY_MS, FALLBACK, item_rate, markov, popular
from training.evaluation.cases import select_cases
from training.evaluation.evaluate import Ranker
from training.evaluation.metrics import Floats
from training.evaluation.session_knn import distinct_wanted, session_knn

END = ("z", "a", P, "test")


def _scores(ranker: Ranker, split: Split, history: Sequence[tuple[str, int]]) -> dict[str, float]:
    batch = encode_histories(
        [RowHistory([split.vocabulary.row(track) for track, _ in history], [outcome for _, outcome in history])], length=10
    )
    line: Floats = ranker.scores(batch, select_cases(split, TEST).take(slice(1)))[0]
    return dict(zip(split.vocabulary.tracks, line[2:].tolist(), strict=True))


def test_popular_counts_what_was_kept_in_the_parts_named() -> None:
    """A skip does not count, and the test part is never read."""
    lines = [("u", "a", P, "train"), ("u", "b", S, "train"), ("u", "b", L, "train"), ("u", "a", P, "valid"), END]
    split = split_of(lines)

    assert _scores(popular(split), split, []) == {"a": 1, "b": 1}
    assert _scores(popular(split, parts=(TRAIN, VALID)), split, []) == {"a": 2, "b": 1}


def test_popularity_of_the_last_days_halves_with_age() -> None:
    """A play that is one half-life older than the newest counts half."""
    split = split_of([("u", "a", P, "train"), ("u", "b", P, "train"), END])
    split = replace(split, sequences=replace(split.sequences, at_ms=np.array([0, 2 * DAY_MS, 9 * DAY_MS])))

    assert _scores(popular(split, half_life_days=2), split, []) == {"a": 0.5, "b": 1}


def test_item_rate_is_drawn_towards_the_mean() -> None:
    """The mean is 3/4. Track a has (2 + 4 * 3/4) / (2 + 4), track b has (1 + 4 * 3/4) / (2 + 4)."""
    split = split_of([("u", "a", P, "train"), ("u", "a", L, "train"), ("u", "b", P, "train"), ("u", "b", D, "train"), END])

    found = _scores(item_rate(split, strength=4), split, [])

    assert found == {"a": pytest.approx(5 / 6), "b": pytest.approx(4 / 6)}


def test_markov_counts_what_followed_the_last_wanted_track() -> None:
    """After a, one listener skipped b and kept c, another kept c, and a third kept b.

    No transition leads from one listener to the next.
    """
    lines = [("u", "a", P, "train"), ("u", "b", S, "train"), ("u", "c", P, "train"), ("v", "a", P, "train")]
    lines += [("v", "c", P, "train"), ("w", "a", L, "train"), ("w", "b", P, "train"), ("z", "a", P, "test")]
    split = split_of(lines)
    background = {"a": FALLBACK, "b": FALLBACK / 3, "c": FALLBACK * 2 / 3}

    after_a = _scores(markov(split), split, [("a", P), ("c", S)])
    knowing = _scores(markov(split, refused=0.5), split, [("a", P)])

    assert after_a == pytest.approx({"a": background["a"], "b": 1 + background["b"], "c": 2 + background["c"]})
    assert knowing == pytest.approx({"a": background["a"], "b": 0.5 + background["b"], "c": 2 + background["c"]})


def test_markov_without_a_wanted_track_falls_back_on_popularity() -> None:
    """An empty history, and one with skips only, get a list by popularity."""
    split = split_of([("u", "a", P, "train"), ("u", "b", P, "train"), ("u", "b", P, "train"), END])

    for history in ([], [("a", S)]):
        found = _scores(markov(split), split, history)

        assert found == pytest.approx({"a": FALLBACK / 2, "b": FALLBACK})


def test_distinct_wanted_tracks_stand_where_they_were_heard_last() -> None:
    """Lags count from the newest track, skips leave no gap, at most `reach` tracks are read, and cases do not mix."""
    batch = encode_histories(
        [RowHistory([8, 6, 5, 6, 5, 7], [P, P, P, P, P, S]), RowHistory(), RowHistory([6], [L])], length=10
    )

    case, row, lag = distinct_wanted(batch, reach=2)

    assert list(zip(case.tolist(), row.tolist(), lag.tolist(), strict=True)) == [(0, 6, 1), (0, 5, 0), (2, 6, 0)]


def test_session_knn_by_hand() -> None:
    """The history is a, b, a day after the sessions (a b c), (d b) and (e). The first shares both tracks, the second b.

    c stands one place after b; d and a stand one place before it. a and b were just heard.
    """
    lines = [("u", track, P, "train") for track in "abc"] + [("v", track, P, "train") for track in "db"]
    split = split_of([*lines, ("w", "e", P, "train"), END])
    at_ms = np.array([0, 0, 0, 0, 0, 0, DAY_MS])
    split = replace(split, sequences=replace(split.sequences, at_ms=at_ms))

    found = _scores(session_knn(split), split, [("a", P), ("b", P)])

    rare, two, age, match = log(3) ** 2, log(3 / 2) ** 2, 2**0.2, 0.9
    both = (rare * exp(-1 / 8) + two) / (3**0.25 * age) * match
    one = two / (2**0.25 * age) * match
    popular_b, popular_once = FALLBACK, FALLBACK / 2
    assert found == pytest.approx(
        {
            "a": both * 0.8 * 0.2 + popular_once,
            "b": (both + one) * 0.8 * 0.3 + popular_b,
            "c": both + popular_once,
            "d": one * 0.8 + popular_once,
            "e": popular_once,
        },
        rel=1e-5,
    )


def test_session_knn_takes_the_newest_sessions_and_the_nearest_neighbours() -> None:
    """With one session for each track and one neighbour, only the newest session with b counts."""
    lines = [("u", track, P, "train") for track in "bc"] + [("v", track, P, "train") for track in "bd"]
    split = split_of([*lines, ("w", "e", P, "train"), END])

    newest = _scores(session_knn(split, recent=1), split, [("b", P)])
    nearest = _scores(session_knn(split, neighbours=1), split, [("b", P)])

    assert newest["c"] < 0.01 < newest["d"]
    assert nearest == pytest.approx(newest)


def test_session_knn_keeps_a_listeners_sessions_apart() -> None:
    """A listener's tracks of another session do not count: b's session has c and not d."""
    split = split_of([*[("u", track, P, "train") for track in "bcde"], END])
    split = replace(split, sequences=replace(split.sequences, session=np.array([0, 0, 1, 1, 0], np.int32)))

    found = _scores(session_knn(split), split, [("b", P)])

    assert found["d"] < 0.01 < found["c"]


def test_session_knn_agrees_with_the_formulas_read_literally() -> None:
    """Random sessions and histories with skips and repeats give the same scores as loops over dictionaries. They need several
    batches.
    """
    rng = np.random.default_rng(5)
    lines = [
        (f"u{user:02}", f"t{rng.integers(12):02}", (P, P, S, L)[rng.integers(4)], "train")
        for user in range(30)
        for _ in range(6)
    ]
    split = split_of([*lines, ("z", "t00", P, "test")])
    split = replace(split, sequences=replace(split.sequences, at_ms=split.sequences.at_ms * 3_600))
    ranker = session_knn(split, recent=5, neighbours=4, reach=6, fade=3.0)
    histories = [
        RowHistory(rng.integers(2, len(split.vocabulary), size).tolist(), rng.integers(1, 5, size).tolist())
        for size in rng.integers(0, 15, 200).tolist()
    ]
    batch = encode_histories(histories, length=15)

    found = ranker.scores(batch, select_cases(split, TEST).take(np.zeros(len(histories), np.int64)))

    for line, history in zip(found, histories, strict=True):
        assert line[2:].tolist() == pytest.approx(_literally(split, history, recent=5, neighbours=4, reach=6, fade=3), rel=1e-4)


def _literally(split: Split, history: RowHistory, *, recent: int, neighbours: int, reach: int, fade: float) -> list[float]:
    sequences = split.sequences
    sessions: list[tuple[dict[int, int], int]] = []  # the last place of each track, and the end
    for start, stop in reversed(list(zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True))):  # newest first
        entries = [entry for entry in range(start, stop) if split.part[entry] == TRAIN and sequences.outcome[entry] in (P, L)]
        if entries:
            places = {int(split.row[entry]): place for place, entry in enumerate(entries)}
            sessions.append((places, int(sequences.at_ms[entries[-1]])))
    rarity = {
        row: log(len(sessions) / max(1, sum(row in rows for rows, _ in sessions))) for row in range(2, len(split.vocabulary))
    }
    heard = [row for row, outcome in zip(history.rows, history.outcomes, strict=True) if outcome in (P, L)]
    newest_first = list(dict.fromkeys(reversed(heard)))[:reach]
    similarity: dict[int, float] = {}
    shared: dict[int, int] = {}
    for lag, row in reversed(list(enumerate(newest_first))):
        for session in [session for session, (rows, _) in enumerate(sessions) if row in rows][:recent]:
            similarity[session] = similarity.get(session, 0) + exp(-lag / fade) * rarity[row] ** 2
            shared[session] = lag
    for session in similarity:
        rows, ended_ms = sessions[session]
        days = (int(sequences.at_ms[-1]) - ended_ms) / DAY_MS
        similarity[session] /= len(rows) ** 0.25 * (1 + days) ** 0.2
    nearest = sorted(similarity, key=lambda session: (-similarity[session], session))[:neighbours]
    scores = dict.fromkeys(rarity, 0.0)
    for session in nearest:
        rows, _ = sessions[session]
        match = rows[newest_first[shared[session]]]
        for row, place in rows.items():
            near = max(1, abs(place - match)) ** -0.5 * (1 if place > match else 0.8)
            scores[row] += similarity[session] * max(0, 1 - 0.1 * (shared[session] + 1)) * near
    for lag, row in enumerate(newest_first):
        scores[row] *= 0.2 if lag else 0.3
    counts = np.bincount(split.row[(split.part == TRAIN) & np.isin(sequences.outcome, (P, L))], minlength=len(split.vocabulary))
    return [scores[row] + FALLBACK * counts[row] / counts.max() for row in scores]


def test_baselines_learn_nothing_from_the_test_part() -> None:
    """Other test entries of known tracks give the same scores."""
    lines = [("u", track, P, "train") for track in "abcab"]
    one = split_of([*lines, ("u", "a", P, "test"), ("v", "b", P, "test")])
    other = split_of([*lines, ("u", "c", S, "test"), ("v", "c", L, "test")])

    for make in (popular, item_rate, markov, session_knn):
        assert _scores(make(one), one, [("a", P)]) == _scores(make(other), other, [("a", P)])
