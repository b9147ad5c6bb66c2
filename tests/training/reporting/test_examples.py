"""Real cases of a small log, shown with titles and words."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.encoding import Encoded
from training.data.import_log import import_log
from training.data.log import Log
from training.data.sequences import build
from training.data.split import TEST, split
from training.evaluation.cases import Cases, select_cases
from training.evaluation.metrics import Floats
from training.evaluation.own_history import own_history
from training.recipe import Recipe
from training.reporting.examples import Play, draw_examples

RECIPE = Recipe(name="small")


@dataclass(frozen=True, slots=True)
class ByRow:
    """A ranker that proposes tracks in the order of their rows."""

    name: str = "by row"

    def scores(self, batch: Encoded, cases: Cases) -> Floats:
        """Score lower rows higher."""
        return np.tile(-np.arange(cases.size, dtype=np.float32), (len(batch.tracks), 1))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Make a log of four listeners who play thirty tracks in a circle. Each listener's newest track is new to all; t5 has no
    title.
    """
    root = tmp_path_factory.mktemp("examples")
    rows = [
        {
            "user_id": f"u{user}",
            "track_id": f"t{(7 * user + play) % 30:02d}" if play < 59 else f"new{user}",
            "at_s": 1_767_225_600 + play * 200,
            "type": "skip" if play % 3 == 0 else "complete",
            "title": None if (7 * user + play) % 30 == 5 else f"Song {(7 * user + play) % 30}",
            "artist": "Ann",
        }
        for user in range(4)
        for play in range(60)
    ]
    pl.DataFrame(rows).write_csv(root / "plays.csv")
    return import_log("canonical", [str(root / "plays.csv")], root / "log")


def test_examples_tell_what_was_heard_proposed_and_done(log: Log) -> None:
    """They equal the log: the last tracks before the case in order, the first five rows, and the next track."""
    cases = select_cases(split(build(log, RECIPE.history), RECIPE.split), TEST)
    examples = draw_examples(ByRow(), cases, log, length=20, count=8)
    catalogue = log.catalogue()
    assert catalogue is not None
    titles = {track: title or track for track, title in catalogue.select("track_id", "title").iter_rows()}
    words = {"skip": "skipped", "complete": "played"}
    events = log.events().collect().sort("user_id", "at_ms").partition_by("user_id")
    stories = [[(titles[track], words[kind]) for track, kind in mine.select("track_id", "type").iter_rows()] for mine in events]
    names = [name for row in range(20) for name in (f"Song {row}", f"t{row:02d}")]  # t05 has no title

    assert len(examples) == 8
    for example in examples:
        told = [(play.title, play.outcome) for play in (*example.heard, example.then)]
        assert any(told == story[end - len(told) : end] for story in stories for end in range(len(told), len(story) + 1))
        assert [play.title for play in example.proposed] == ["Song 0", "Song 1", "Song 2", "Song 3", "Song 4"]
        assert all(play.artist == "Ann" and not play.outcome for play in example.proposed)
        assert example.rank == (names.index(example.then.title) // 2 + 1 if example.then.title in names else None)


def test_the_same_cases_are_drawn_each_time_and_none_twice(log: Log) -> None:
    """A report that is made again shows the same cases. A part with few cases shows all of them."""
    cases = select_cases(split(build(log, RECIPE.history), RECIPE.split), TEST)

    assert draw_examples(ByRow(), cases, log, length=20, count=5) == draw_examples(ByRow(), cases, log, length=20, count=5)
    assert len(draw_examples(ByRow(), cases, log, length=20, count=1000)) == len(cases)
    assert draw_examples(ByRow(), cases.take(slice(0, 0)), log, length=20) == []


def test_tracks_that_only_the_listener_knows_have_names_too(tmp_path: Path, log: Log) -> None:
    """A ranker may propose tracks of the listener's own past that have no row. Without a catalogue their ids are shown."""
    for name in ("events.parquet", "log.json"):
        (tmp_path / name).write_bytes((log.folder / name).read_bytes())
    bare = Log(folder=tmp_path, about=log.about)
    events = pl.read_parquet(tmp_path / "events.parquet")
    later = events.filter(pl.col("track_id").str.starts_with("new")).with_columns(at_ms=pl.col("at_ms") + 200_000)
    pl.concat([events, later]).sort("user_id", "at_ms", "type", "track_id").write_parquet(tmp_path / "events.parquet")
    cases = select_cases(split(build(bare, RECIPE.history), RECIPE.split), TEST)
    recent = next(ranker for ranker in own_history(cases.split) if ranker.name == "most recent")
    examples = draw_examples(recent, cases, bare, length=20, count=1000)

    assert any(play.title.startswith("new") for example in examples for play in example.proposed)
    assert {example.then for example in examples} >= {Play(title="new0", outcome="played")}
