"""Rows in any state become a canonical log, or the import is refused with a reason."""

import json
import random
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from training.data.import_log import import_log
from training.data.log import CATALOGUE, ORDER, SCHEMA, TITLES, LogError

HEAD = "user_id,track_id,at_s,type,played_ms"
SOUND = "u,t,1700000000,play,"


def _csv(folder: Path, *rows: str, head: str = HEAD) -> str:
    path = folder / "log.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return str(path)


def _quiet() -> Console:
    return Console(file=StringIO(), width=200)


def test_events_are_sorted_in_the_canonical_schema(tmp_path: Path) -> None:
    """Whatever the order of the rows, the log is sorted by listener, time, kind and track, in the documented types."""
    path = _csv(tmp_path, "b,t,1700000002,play,", "a,t,1700000009,skip,500", "a,t,1700000001,play,")

    events = import_log("canonical", [path], tmp_path / "log").events().collect()

    assert events.schema == SCHEMA
    assert events.select(ORDER).rows() == [
        ("a", 1_700_000_001_000, "play", "t"),
        ("a", 1_700_000_009_000, "skip", "t"),
        ("b", 1_700_000_002_000, "play", "t"),
    ]


def test_a_repeated_event_is_counted_and_kept_once(tmp_path: Path) -> None:
    """A player that posted an event twice did not play the track twice."""
    log = import_log("canonical", [_csv(tmp_path, SOUND, SOUND, "v,t,1700000000,play,")], tmp_path / "log")

    assert log.about["rows"] == {
        "in_files": 3,
        "passed_over": {},
        "read": 3,
        "broken": {},
        "duplicates": 1,
        "added": 0,
        "kept": 2,
    }
    assert len(log.events().collect()) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",t,1700000000,play,", "missing user_id"),
        ("u,,1700000000,play,", "missing track_id"),
        (f"{'ü' * 129},t,1700000000,play,", "user_id over 256 bytes"),
        ("u,a\tb,1700000000,play,", "track_id with a control character"),
        ("u,t,yesterday,play,", "unreadable time (wanted Unix seconds such as 1769853600)"),
        ("u,t,,play,", "missing time"),
        ("u,t,1700000000000,play,", "time not between 1990 and 2100 (at_s wants Unix seconds, at_ms Unix milliseconds)"),
        ("u,t,1700000000,,", "missing type"),
        ("u,t,1700000000,paused,", "unreadable type (wanted one of play, skip, complete, like, dislike)"),
        ("u,t,1700000000,skip,long", "unreadable played_ms"),
        ("u,t,1700000000,skip,-5", "negative played_ms"),
        ("u", "fewer fields than the 5 columns"),
    ],
)
def test_a_broken_row_is_counted_under_its_reason(tmp_path: Path, row: str, reason: str) -> None:
    """Each kind of fault has its own line, so that a person can find what to correct."""
    path = _csv(tmp_path, SOUND, row)

    log = import_log("canonical", [path], tmp_path / "log", max_broken=0.5, console=_quiet())

    assert log.about["rows"]["broken"] == {reason: 1}
    assert log.about["events"] == 1


def test_an_id_of_exactly_256_bytes_is_sound(tmp_path: Path) -> None:
    """The limit is the HTTP contract's: 256 bytes of UTF-8 pass."""
    log = import_log("canonical", [_csv(tmp_path, f"{'ü' * 128},t,1700000000,play,")], tmp_path / "log")

    assert log.about["events"] == 1


def test_too_many_broken_rows_refuse_the_log_and_write_nothing(tmp_path: Path) -> None:
    """Too many broken rows mean that the whole log is wrong, so nothing is imported."""
    path = _csv(tmp_path, SOUND, SOUND, SOUND, "u,t,1700000000,paused,")

    with pytest.raises(
        LogError, match=r"1 of 4 rows are broken, 20\.00% may be.*unreadable type \(wanted one of play, .*\): 1"
    ):
        import_log("canonical", [path], tmp_path / "log", max_broken=0.2, console=_quiet())

    assert [file.name for file in tmp_path.iterdir()] == ["log.csv"]


def test_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    """One row in four is not over a limit of 25 %."""
    path = _csv(tmp_path, SOUND, "v,t,1700000000,play,", "w,t,1700000000,play,", "u,t,1700000000,paused,")

    log = import_log("canonical", [path], tmp_path / "log", max_broken=0.25, console=_quiet())

    assert log.about["events"] == 3


def test_each_reason_is_shown_with_a_row(tmp_path: Path) -> None:
    """The table on the terminal shows an example row. Markup in it is printed literally."""
    console = _quiet()
    path = _csv(tmp_path, SOUND, "nina,[bold]song,1700000000,paused,")

    import_log("canonical", [path], tmp_path / "log", max_broken=0.5, console=console)

    assert isinstance(console.file, StringIO)
    shown = console.file.getvalue()
    assert "unreadable type" in shown
    assert "user_id='nina', track_id='[bold]song'" in shown


def test_the_same_command_on_a_grown_file_replaces_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tomorrow's import is today's command, also with the path written otherwise. It says which log it replaces."""
    path, console = _csv(tmp_path, SOUND), _quiet()
    import_log("canonical", [path], tmp_path / "log", console=console)
    _csv(tmp_path, SOUND, "v,t,1700000009,play,")
    monkeypatch.chdir(tmp_path)

    log = import_log("canonical", ["log.csv"], Path("log"), console=console)

    assert log.events().collect()["user_id"].to_list() == ["u", "v"]
    assert isinstance(console.file, StringIO)
    assert "replaces the log that the same command wrote; it had 1 event" in console.file.getvalue()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log", "log.csv"]


@pytest.mark.parametrize(
    "change", [{"columns": {"played_ms": "type"}}, {"encoding": "cp1252"}, {"catalogue": "titles.csv"}, {}]
)
def test_a_log_of_another_command_is_not_replaced(tmp_path: Path, change: dict[str, Any]) -> None:
    """An option or a file that differs may mean another log, so a person must say `--force`."""
    log = import_log("canonical", [_csv(tmp_path, SOUND)], tmp_path / "log")
    other = tmp_path / ("log.csv" if change else "other.csv")
    other.write_text(f"{HEAD}\n{SOUND}\nv,t,1700000009,play,\n")
    (tmp_path / "titles.csv").write_text("track_id,title\nt,One\n")

    with pytest.raises(LogError, match="log exists already; choose another --out, or --force to replace that log"):
        import_log("canonical", [str(other)], tmp_path / "log", **change)

    assert len(log.events().collect()) == 1
    assert len(import_log("canonical", [str(other)], tmp_path / "log", force=True).events().collect()) == 2


@pytest.mark.parametrize("rows", [[SOUND], ["u,t,1700000001,play,", "u,t,1700000002,play,", "u,t,1700000003,play,"]])
def test_the_same_command_does_not_lose_events(tmp_path: Path, rows: list[str]) -> None:
    """A file that was cut, or that a rotation began anew, does not replace the log that has its older events."""
    log = import_log("canonical", [_csv(tmp_path, SOUND, "v,t,1700000009,play,")], tmp_path / "log")
    path = _csv(tmp_path, *rows)

    with pytest.raises(LogError, match=r"has 2 events from 2023-11-14.*the same command now found .*--force"):
        import_log("canonical", [path], tmp_path / "log")

    assert log.events().collect()["user_id"].to_list() == ["u", "v"]
    assert import_log("canonical", [path], tmp_path / "log", force=True).about["events"] == len(rows)


@pytest.mark.parametrize("fault", ["u,t,1700000000,paused,", "u,t,later,play,"])
def test_a_failed_import_leaves_the_log_of_the_same_command(tmp_path: Path, fault: str) -> None:
    """The old log stays until the new one is whole."""
    log = import_log("canonical", [_csv(tmp_path, SOUND)], tmp_path / "log")

    with pytest.raises(LogError, match="1 of 2 rows are broken"):
        import_log("canonical", [_csv(tmp_path, SOUND, fault)], tmp_path / "log", console=_quiet())

    assert len(log.events().collect()) == 1


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    """A header without rows is a mistake, and the error is a sentence."""
    with pytest.raises(LogError, match="no rows"):
        import_log("canonical", [_csv(tmp_path)], tmp_path / "log")


def test_an_unknown_source_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """After a typing error in --source, the error lists the right names."""
    with pytest.raises(LogError, match="the sources are canonical, sql, kuairand"):
        import_log("canonicle", ["x.csv"], tmp_path / "log")


def test_sorting_in_slices_gives_the_same_log(tmp_path: Path) -> None:
    """A log larger than a slice is sorted a few listeners at a time, to the same events in the same order.

    400 rows of 23 listeners in slices of 30, so that slices hold several listeners and some listeners fill one.
    """
    rng = random.Random(1)
    rows = [f"u{rng.randrange(23)},t{rng.randrange(9)},{1_700_000_000 + rng.randrange(400)},play," for _ in range(400)]
    path = _csv(tmp_path, *rows)

    whole = import_log("canonical", [path], tmp_path / "whole")
    sliced = import_log("canonical", [path], tmp_path / "sliced", slice_rows=30)

    assert sliced.events().collect().equals(whole.events().collect())
    assert sliced.about == whole.about
    assert {file.name for file in sliced.folder.iterdir()} == {"events.parquet", "log.json"}


def test_the_log_says_where_it_came_from(tmp_path: Path) -> None:
    """Source, paths, licence and skip rule travel with the log, into every artifact made from it."""
    path = _csv(tmp_path, SOUND)

    about = import_log("canonical", [path], tmp_path / "log").about

    assert (about["source"], about["paths"]) == ("canonical", [path])
    assert about["licence"]
    assert about["skips"]


def test_a_catalogue_has_each_track_of_the_log_once(tmp_path: Path) -> None:
    """The catalogue has the titles of played tracks if the source has them, and all of its columns."""
    playbacks = [
        {
            "ts": f"2024-01-01T00:0{minute}:00Z",
            "ms_played": 40_000,
            "spotify_track_uri": uri,
            "master_metadata_track_name": "Song",
        }
        for minute, uri in enumerate(["spotify:track:1", "spotify:track:1", "spotify:track:2"])
    ]
    (tmp_path / "endsong_0.json").write_text(json.dumps(playbacks))

    log = import_log("spotify_export", [str(tmp_path / "endsong_0.json")], tmp_path / "log")
    catalogue = log.catalogue()

    assert (log.folder / CATALOGUE).is_file()
    assert catalogue is not None
    assert catalogue.schema == TITLES
    assert catalogue["track_id"].to_list() == ["spotify:track:1", "spotify:track:2"]
