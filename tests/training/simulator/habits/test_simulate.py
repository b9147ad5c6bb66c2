"""Simulated listeners with habits repeat and skip as real ones do, and nothing beats their best possible ranking."""

from pathlib import Path

import numpy as np
import pytest

from model.events import HistoryRule
from model.vocabulary import UNKNOWN
from training.data.log import open_log
from training.data.sequences import Sequences, build, is_wanted
from training.data.split import TEST, split
from training.evaluation.cases import select_cases
from training.evaluation.evaluate import answer, summarise
from training.evaluation.metrics import MISS
from training.evaluation.own_history import Kept, markov
from training.evaluation.rankers import BestPossible
from training.evaluation.repetition import figures
from training.recipe import SplitRule
from training.run import baseline_rankers
from training.simulator.habits.truth import HabitTruth, Imagined
from training.simulator.plays import LastPlay
from training.simulator.simulate import simulate
from training.simulator.truth import best_scores, read_truth

REAL = {
    "skipped": 0.31,
    "skipped p10": 0.11,
    "skipped p50": 0.28,
    "skipped p90": 0.55,
    "skip after a skip": 0.66,
    "skip after a play": 0.15,
    "plays p50": 10,
    "plays p90": 46,
    "the same again": 0.044,
    "kept before": 0.81,
    "kept in session": 0.15,
}
"""Measured on 1.82 million plays of 80 listeners."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of some 50,000 plays: the world of habits with a quarter of its listeners."""
    out = tmp_path_factory.mktemp("simulated") / "log"
    simulate(out, world="habits", listeners=20)
    return out


@pytest.fixture(scope="module")
def truth(folder: Path) -> HabitTruth:
    """The simulator's knowledge about that log."""
    found = read_truth(folder)
    assert isinstance(found, HabitTruth)
    return found


@pytest.fixture(scope="module")
def sequences(folder: Path) -> Sequences:
    """The same log as the trainer reads it."""
    return build(open_log(folder), HistoryRule())


def test_listeners_repeat_and_skip_as_real_ones(sequences: Sequences) -> None:
    """Each figure is near that of real listeners. In few listeners, chance moves the figures by some percent."""
    found = figures(sequences)

    for name, real in REAL.items():
        assert found[name] == pytest.approx(real, rel=0.15), name


def test_the_trainer_sees_the_plays_that_were_made(sequences: Sequences, truth: HabitTruth) -> None:
    """Folding the events gives back each play with its listener, start, track, and whether it was skipped."""
    names = np.array(sequences.users)[np.repeat(sequences.user, np.diff(sequences.offsets))]

    assert (names == truth.users[truth.user]).all()
    assert (sequences.at_ms == truth.at_ms).all()
    assert (np.array(sequences.tracks)[sequences.track] == truth.tracks[truth.track]).all()
    assert (is_wanted(sequences.outcome) == ~truth.skipped).all()


def test_the_order_of_tracks_matters(sequences: Sequences) -> None:
    """What followed a track before predicts the next one far less if each session's plays are shuffled."""
    kept = is_wanted(sequences.outcome)
    user = np.repeat(np.arange(len(sequences)), np.diff(sequences.offsets))[kept]
    track, session = sequences.track[kept].astype(np.int64), sequences.session[kept].astype(np.int64)
    shuffled = track[np.lexsort((np.random.default_rng(1).random(len(track)), session, user))]

    def hits(tracks: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
        found = []
        for listener in range(5):
            mine, own_session = tracks[user == listener], session[user == listener]
            for at in range(len(mine) - 300, len(mine)):
                if own_session[at] == own_session[at - 1]:
                    scores = markov(Kept(mine[:at], own_session[:at]), len(sequences.tracks))
                    found.append((scores > scores[mine[at]]).sum() < 20 and scores[mine[at]] > 0)
        return float(np.mean(found))

    assert hits(track) > 1.3 * hits(shuffled)


def test_habits_fade(truth: HabitTruth) -> None:
    """A track that was kept within the last 100 kept plays is kept next more often than one that was kept 500 plays ago."""
    again: dict[bool, list[int]] = {True: [], False: []}
    for listener in range(len(truth.users)):
        track = truth.track[(truth.user == listener) & ~truth.skipped]
        for at in range(600, len(track), 20):
            young, old = (
                set(track[at - 100 : at].tolist()),
                set(track[at - 600 : at - 500].tolist()) - set(track[at - 500 : at]),
            )
            following = set(track[at : at + 20].tolist())
            again[True] += [one in following for one in young]
            again[False] += [one in following for one in old]

    assert np.mean(again[True]) > 2 * np.mean(again[False])


def test_no_baseline_beats_the_best_ranking(truth: HabitTruth, sequences: Sequences) -> None:
    """The true probabilities hit most, in HR@20 and NDCG@10."""
    parts = split(sequences, SplitRule())
    cases = select_cases(parts, TEST, cap=600)
    best = BestPossible(truth, parts)
    values = {
        one.name: summarise(one.name, cases, answer(one, cases, length=50)).values for one in [best, *baseline_rankers(parts)]
    }
    others = [found for name, found in values.items() if name != best.name]

    assert len(others) == 10
    assert all(values[best.name]["hr@20"] > one["hr@20"] + 0.03 for one in others)
    assert all(values[best.name]["ndcg@10"] > one["ndcg@10"] + 0.02 for one in others)


def test_the_best_ranking_proposes_tracks_that_only_the_listener_knows(truth: HabitTruth, sequences: Sequences) -> None:
    """A track that the training part lacks can be proposed if it is in the listener's own past, as the baselines do."""
    parts = split(sequences, SplitRule())
    cases = select_cases(parts, TEST)
    own = cases.take(np.flatnonzero((cases.target == UNKNOWN) & cases.repeat)[:20])
    ranks = answer(BestPossible(truth, parts), own, length=50).rank

    assert len(own) == 20
    assert (ranks < MISS).all()


def test_the_best_ranking_hits_as_often_as_it_says(truth: HabitTruth) -> None:
    """The sum of its 20 largest probabilities predicts its hit rate among all plays, to 3 standard errors."""
    rng = np.random.default_rng(1)
    said, hit = [], []
    for session in rng.choice(int(truth.session.max()) + 1, 60, replace=False).tolist():
        for play, chances in truth.session_chances(session):
            played = chances.played()
            best = np.argpartition(-played, 20)[:20]
            said.append(played[best].sum())
            hit.append(truth.track[play] in best)
    error = np.sqrt((np.array(said) * (1 - np.array(said))).sum()) / len(said)

    assert len(said) > 500
    assert np.mean(hit) == pytest.approx(np.mean(said), abs=3 * error)


@pytest.mark.parametrize("skipped", [False, True])
def test_supposing_what_happened_changes_nothing(truth: HabitTruth, *, skipped: bool) -> None:
    """The chances after a supposed play are those after the real one, and others after the other outcome.

    A case that begins a session keeps its chances, whatever is supposed.
    """
    follows = np.flatnonzero(truth.session[1:] == truth.session[:-1]) + 1
    rows = follows[truth.skipped[follows - 1] == skipped][-40:]
    users, at_ms = [str(truth.users[user]) for user in truth.user[rows]], truth.at_ms[rows]
    before = [str(truth.tracks[track]) for track in truth.track[rows - 1]]
    real = truth.next_kept(users, at_ms)
    other = truth.next_kept(users, at_ms, LastPlay(before, not skipped))

    np.testing.assert_allclose(truth.next_kept(users, at_ms, LastPlay(before, skipped)), real, rtol=1e-12)
    assert (np.abs(other - real).max(axis=1) > 1e-3).all()
    assert (truth.next_kept(users, at_ms, LastPlay([None] * len(rows), not skipped)) == real).all()


def test_the_same_seed_makes_the_same_log(tmp_path: Path) -> None:
    """Events and truth are a function of the arguments; another seed makes other listeners. The truth survives the disk."""
    logs = [
        simulate(tmp_path / name, world="habits", listeners=3, sessions=5, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    events = [log.events().collect() for log in logs]
    truths = [(log.folder / "truth.npz").read_bytes() for log in logs]
    again = read_truth(logs[0].folder)

    assert events[0].equals(events[1])
    assert truths[0] == truths[1]
    assert not events[0].equals(events[2])
    assert isinstance(again, HabitTruth)
    assert logs[0].about["settings"]["habits"]["fade"] == again.world.rules.fade


def test_an_imagined_session_that_repeats_a_first_one_ranks_as_it_did(truth: HabitTruth, sequences: Sequences) -> None:
    """The first session of a listener, played again, ends in the same ranking of the next track."""
    entries = np.arange(sequences.offsets[7], sequences.offsets[8])
    entries = entries[sequences.session[entries] == sequences.session[entries[0]]]
    listener = Imagined(truth, sequences.users[7])
    for entry in entries[:-1].tolist():
        skipped = not is_wanted(sequences.outcome[entry : entry + 1])[0]
        listener.play(sequences.tracks[sequences.track[entry]], skipped=skipped)
    [scores] = best_scores(truth, [sequences.users[7]], sequences.at_ms[entries[-1:]], truth.tracks.tolist())

    assert len(entries) > 5
    assert listener.ranked() == truth.tracks[np.argsort(-scores, kind="stable")].tolist()


def test_a_stranger_cannot_be_imagined(truth: HabitTruth) -> None:
    """Their taste is unknown."""
    with pytest.raises(ValueError, match="no listener 'zoe'"):
        Imagined(truth, "zoe")
