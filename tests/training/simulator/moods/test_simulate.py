"""Simulated listening resembles real listening, and its best possible ranking is right."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.events import HistoryRule, Outcome
from training.data.log import LogError, open_log
from training.data.sequences import Sequences, build
from training.simulator.moods.truth import Imagined, MoodTruth
from training.simulator.moods.world import KEPT, SKIPPED, Bools, Floats, Int64s
from training.simulator.plays import LastPlay
from training.simulator.simulate import simulate
from training.simulator.truth import best_scores, read_truth


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of some 40,000 plays: the default world with fewer listeners."""
    out = tmp_path_factory.mktemp("simulated") / "log"
    simulate(out, listeners=400)
    return out


@pytest.fixture(scope="module")
def truth(folder: Path) -> MoodTruth:
    """The simulator's knowledge about that log."""
    found = read_truth(folder)
    assert isinstance(found, MoodTruth)
    return found


@pytest.fixture(scope="module")
def sequences(folder: Path) -> Sequences:
    """The same log as the trainer reads it, by the default history rule."""
    return build(open_log(folder), HistoryRule())


def _same_session(sequences: Sequences) -> Bools:
    """Say for each entry but the first whether it follows another entry of its session."""
    user = sequences.sequence
    follows: Bools = (np.diff(user) == 0) & (np.diff(sequences.session) == 0)
    return follows


def _refused(sequences: Sequences) -> Bools:
    return np.isin(sequences.outcome, (Outcome.SKIPPED, Outcome.DISLIKED))


def test_as_many_plays_are_left_as_in_real_listening(sequences: Sequences) -> None:
    """18.5 % of plays are left within 30 seconds. In 40,000 clustered plays chance moves this by about 0.4 points."""
    assert _refused(sequences).mean() == pytest.approx(0.185, abs=0.015)


def test_skips_come_in_runs_as_in_real_listening(sequences: Sequences) -> None:
    """59 % of plays after a skip are skipped, and 9 % of those after a kept track."""
    refused, follows = _refused(sequences), _same_session(sequences)
    before, after = refused[:-1][follows], refused[1:][follows]

    assert after[before].mean() == pytest.approx(0.59, abs=0.03)
    assert after[~before].mean() == pytest.approx(0.09, abs=0.015)


def test_sessions_are_as_long_as_real_ones(sequences: Sequences) -> None:
    """The median session has 11 tracks, the 95th percentile 68."""
    keys = sequences.sequence.astype(np.int64) * 1_000_000 + sequences.session
    lengths = np.unique(keys, return_counts=True)[1]

    assert np.median(lengths) == pytest.approx(11, abs=1)
    assert np.quantile(lengths, 0.95) == pytest.approx(68, abs=9)


def test_the_trainer_sees_the_plays_that_were_made(sequences: Sequences, truth: MoodTruth) -> None:
    """Folding the events by the default rule gives back each play with its start, its listener and whether it was skipped.

    Late skips count as kept.
    """
    names = np.array(sequences.users)[np.repeat(sequences.user, np.diff(sequences.offsets))]
    last = np.where(_refused(sequences), SKIPPED, KEPT)
    follows = _same_session(sequences)

    assert (names == truth.users[truth.user]).all()
    assert (sequences.at_ms == truth.at_ms).all()
    assert (truth.last[1:][follows] == last[:-1][follows]).all()


def test_a_player_posts_a_start_and_an_end_of_each_play(folder: Path) -> None:
    """There are as many ends as plays. Some are skips after 30 s, and opinions are few."""
    events = pl.read_parquet(folder / "events.parquet")
    count = dict(events.group_by("type").len().iter_rows())
    late = events.filter((pl.col("type") == "skip") & (pl.col("played_ms") >= 30_000))

    assert count["play"] == count["skip"] + count["complete"]
    assert 0 < len(late) < 0.06 * count["play"]
    assert 0 < count["like"] + count["dislike"] < 0.05 * count["play"]


def test_listeners_come_back_over_weeks(sequences: Sequences) -> None:
    """With a split by time, many listeners of each part are in the training part too."""
    first, last = np.quantile(sequences.at_ms, [0.8, 0.9])
    early = set(sequences.sequence[sequences.at_ms < first].tolist())
    late = set(sequences.sequence[sequences.at_ms >= last].tolist())

    assert len(late) > 100
    assert len(late & early) > 0.9 * len(late)


def test_the_same_seed_makes_the_same_log(tmp_path: Path) -> None:
    """Events, titles and truth are a function of the arguments; another seed makes another world."""
    logs = [simulate(tmp_path / name, listeners=20, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    events = [log.events().collect() for log in logs]
    truths = [(log.folder / "truth.npz").read_bytes() for log in logs]

    assert events[0].equals(events[1])
    assert truths[0] == truths[1]
    assert not events[0].equals(events[2])


def test_tracks_have_titles_that_a_person_can_tell_apart(folder: Path) -> None:
    """No two tracks of the demo share artist and title, and each artist has a name of their own."""
    catalogue = pl.read_parquet(folder / "catalogue.parquet")

    assert catalogue.select("title", "artist").is_unique().all()
    assert catalogue["artist"].n_unique() == 200


def test_albums_are_of_one_artist_and_bear_the_name_of_a_track(folder: Path) -> None:
    """No album has more than eight tracks, and only an artist's last one has fewer."""
    albums = (
        pl.read_parquet(folder / "catalogue.parquet")
        .group_by("album", "artist", maintain_order=True)
        .agg(tracks=pl.len(), opens=pl.col("title").first())
    )
    last = albums["artist"].ne_missing(albums["artist"].shift(-1))

    assert albums["album"].is_unique().all()
    assert (albums["opens"] == albums["album"]).all()
    assert albums["tracks"].max() == 8
    assert ((albums["tracks"] == 8) | last).all()


def test_a_world_too_small_for_its_moods_is_refused(tmp_path: Path) -> None:
    """Each mood needs an artist. The error says which numbers were found."""
    with pytest.raises(LogError, match="found 50 listeners, 5 artists"):
        simulate(tmp_path / "log", listeners=50, artists=5, tracks=100)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    """Only --force replaces a log, and nothing replaces a folder that is none."""
    with pytest.raises(LogError, match="is no log"):
        simulate(tmp_path, listeners=5)
    (tmp_path / "log.json").touch()
    with pytest.raises(LogError, match="--force"):
        simulate(tmp_path, listeners=5)


def test_a_log_of_real_people_has_no_truth(tmp_path: Path) -> None:
    """Without truth.npz there is no best possible score to show."""
    assert read_truth(tmp_path) is None


def test_the_truth_survives_the_disk(truth: MoodTruth, folder: Path) -> None:
    """The truth that is read back gives the same scores, and its file contains plain numbers only."""
    users, at_ms = [str(truth.users[truth.user[7]])], truth.at_ms[7:8]
    again = read_truth(folder)

    assert isinstance(again, MoodTruth)
    assert again.world.habits == truth.world.habits
    assert (best_scores(again, users, at_ms, ["t0007"]) == best_scores(truth, users, at_ms, ["t0007"])).all()


def test_best_scores_follow_the_vocabulary(truth: MoodTruth) -> None:
    """Scores are in the order of the given ids. An id of no simulated track scores 0."""
    users, at_ms = [str(truth.users[truth.user[row]]) for row in (3, 900)], truth.at_ms[[3, 900]]
    straight = best_scores(truth, users, at_ms, ["t0001", "t0002", "elsewhere"])

    assert (best_scores(truth, users, at_ms, ["t0002", "t0001"]) == straight[:, [1, 0]]).all()
    assert (straight[:, :2] > 0).all()
    assert (straight[:, 2] == 0).all()


def test_a_case_of_another_log_is_refused(truth: MoodTruth) -> None:
    """Scores for a play that was never simulated would be wrong."""
    with pytest.raises(ValueError, match="another log"):
        best_scores(truth, ["u000"], truth.at_ms[:1] + 1, ["t0001"])


@pytest.mark.parametrize("skipped", [False, True])
def test_supposing_what_happened_changes_nothing(truth: MoodTruth, sequences: Sequences, *, skipped: bool) -> None:
    """The filter's state after a supposed play is the state that the simulation stored, and another one after the other
    outcome. A case that begins a session keeps its state, whatever is supposed.
    """
    follows, ended = np.flatnonzero(_same_session(sequences)) + 1, _refused(sequences)
    rows = follows[ended[follows - 1] == skipped][:300]
    users, at_ms = [str(truth.users[user]) for user in truth.user[rows]], truth.at_ms[rows]
    before = [sequences.tracks[track] for track in sequences.track[rows - 1]]
    real = best_scores(truth, users, at_ms, truth.tracks.tolist())

    def supposing(tracks: list[str] | list[None], *, skipped: bool) -> Floats:
        return best_scores(truth, users, at_ms, truth.tracks.tolist(), supposed=LastPlay(tracks, skipped))

    np.testing.assert_allclose(supposing(before, skipped=skipped), real, rtol=1e-12)
    assert (np.abs(supposing(before, skipped=not skipped) - real).max(axis=1) > 1e-3).mean() > 0.9
    assert (supposing([None] * len(rows), skipped=not skipped) == real).all()


def test_an_imagined_session_that_repeats_a_real_one_ranks_as_it_did(truth: MoodTruth, sequences: Sequences) -> None:
    """The first session of a listener, played again, ends in the same ranking of the next track."""
    user = sequences.users[7]
    entries = np.arange(sequences.offsets[7], sequences.offsets[8])
    entries = entries[sequences.session[entries] == sequences.session[entries[0]]]
    listener = Imagined(truth, user)
    for entry in entries[:-1].tolist():
        listener.play(sequences.tracks[sequences.track[entry]], skipped=bool(_refused(sequences)[entry]))
    [scores] = best_scores(truth, [user], sequences.at_ms[entries[-1:]], truth.tracks.tolist())

    assert len(entries) > 5
    assert listener.ranked() == truth.tracks[np.argsort(-scores, kind="stable")].tolist()


def test_a_stranger_cannot_be_imagined(truth: MoodTruth) -> None:
    """Their taste is unknown."""
    with pytest.raises(ValueError, match="no listener 'zoe'"):
        Imagined(truth, "zoe")


class Sample:
    """Kept plays of the log, with the scores of the omniscient ranker."""

    def __init__(self, truth: MoodTruth, sequences: Sequences, *, kept_only: bool) -> None:
        rows = np.flatnonzero(~_refused(sequences)) if kept_only else np.arange(len(sequences.at_ms))
        self.rows: Int64s = np.random.default_rng(1).choice(rows, 3_000, replace=False)
        users = [str(truth.users[user]) for user in truth.user[self.rows]]
        self.best: Floats = best_scores(truth, users, truth.at_ms[self.rows], truth.tracks.tolist())
        self.target = np.array([int(sequences.tracks[track][1:]) for track in sequences.track[self.rows]])

    def rank(self, scores: Floats) -> Int64s:
        """Return the number of tracks that score above the target. A tie would count half, but no score here ties."""
        found: Int64s = (scores > scores[np.arange(len(self.target)), self.target][:, None]).sum(axis=1)
        return found

    def hit_rate(self, scores: Floats, k: int = 20) -> float:
        return float((self.rank(scores) < k).mean())


def test_the_best_ranking_hits_as_often_as_it_says(truth: MoodTruth, sequences: Sequences) -> None:
    """Its scores are probabilities, so the sum of its top 20 predicts its hit rate.

    The filter and the generator are separate code. They agree on 3,000 plays to within three standard errors (0.027).
    """
    sample = Sample(truth, sequences, kept_only=True)
    top = np.sort(sample.best, axis=1)[:, -20:].sum(axis=1) / sample.best.sum(axis=1)

    assert sample.hit_rate(sample.best) == pytest.approx(top.mean(), abs=0.027)


def test_the_best_ranking_knows_how_often_tracks_are_kept(truth: MoodTruth, sequences: Sequences) -> None:
    """All scores of a case sum to the probability that its play is kept.

    This holds to within three standard errors, for plays that were likely to be kept and for those that were not.
    """
    sample = Sample(truth, sequences, kept_only=False)
    expected, kept = sample.best.sum(axis=1), ~_refused(sequences)[sample.rows]

    for chosen in (expected > 0.7, expected <= 0.7):
        assert chosen.sum() > 300
        assert kept[chosen].mean() == pytest.approx(expected[chosen].mean(), abs=3 * 0.5 / np.sqrt(chosen.sum()))


def test_nothing_simpler_beats_the_best_ranking(truth: MoodTruth, sequences: Sequences) -> None:
    """Hit rate and NDCG fall with each thing that a ranker ignores: the session so far, the taste too, or the listener."""
    sample = Sample(truth, sequences, kept_only=True)
    world, user = truth.world, truth.user[sample.rows]
    tastes = truth.favourite[user] / truth.favourite[user].sum(axis=1, keepdims=True)
    rankings = {
        "best": sample.best,
        "mood of the moment, blind to artist and skips": truth.belief[sample.rows] @ world.by_mood,
        "taste, blind to the session": tastes @ world.by_mood,
        "popularity": np.tile(world.overall, (len(user), 1)),
    }
    hits = {name: sample.hit_rate(scores) for name, scores in rankings.items()}
    gains = {
        name: float(np.where((rank := sample.rank(scores)) < 10, 1 / np.log2(rank + 2), 0).mean())
        for name, scores in rankings.items()
    }

    assert all(better > worse for better, worse in pairwise(hits.values())), hits
    assert all(better > worse for better, worse in pairwise(gains.values())), gains
    assert hits["best"] > 2.5 * hits["popularity"]
