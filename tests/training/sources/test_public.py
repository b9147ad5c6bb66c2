"""Readers of other people's formats, on made-up rows of the documented form."""

import json
from pathlib import Path

import polars as pl
import pytest

from model.events import HistoryRule, Outcome
from training.data.import_log import import_log
from training.data.log import LogError
from training.data.sequences import build
from training.sources.kuairand import EVENTS_FROM_MS

HOUR_MS = 3_600_000


def _kuairand(folder: Path) -> Path:
    folder.mkdir()
    zeros = {"is_like": [0, 1, 0], "is_hate": [0, 0, 1], "play_time_ms": [0, 0, 0]}
    pl.DataFrame(
        {
            "user_id": [1, 1, 1],
            "video_id": [10, 11, 12],
            "time_ms": [EVENTS_FROM_MS + HOUR_MS * hour for hour in (1, 2, 3)],
            "tab": [1, 1, 0],
            "long_view": [0, 1, 0],
            **zeros,
        }
    ).write_parquet(folder / "events.parquet")
    pl.DataFrame({"user_id": [1, 1, 1], "pos": [8, 7, 6], "video_id": [10, 10, 10], "long_view": [1, 0, 0]}).write_parquet(
        folder / "history.parquet"
    )
    return folder


def test_kuairand_gives_one_entry_a_row(tmp_path: Path) -> None:
    """Folded, each shown video is one entry, in order, opinions joined to it; the same video again is a new entry."""
    log = import_log("kuairand", [str(_kuairand(tmp_path / "data"))], tmp_path / "log")

    sequences = build(log, HistoryRule())

    assert [sequences.tracks[track] for track in sequences.track] == ["10", "10", "10", "10", "11", "12"]
    assert sequences.outcome.tolist() == [
        Outcome.SKIPPED,
        Outcome.SKIPPED,
        Outcome.PLAYED,
        Outcome.SKIPPED,
        Outcome.LIKED,
        Outcome.DISLIKED,
    ]


def test_kuairand_asks_only_where_passing_over_is_a_skip(tmp_path: Path) -> None:
    """History and other tabs inform the model; the evaluation asks about the feed alone."""
    log = import_log("kuairand", [str(_kuairand(tmp_path / "data"))], tmp_path / "log")

    assert build(log, HistoryRule()).asked.tolist() == [False, False, False, True, True, False]


def test_kuairand_history_lies_before_all_events(tmp_path: Path) -> None:
    """The made-up times keep the history's order, a minute apart, before anything that has a time."""
    log = import_log("kuairand", [str(_kuairand(tmp_path / "data"))], tmp_path / "log")

    times = log.events().filter(~pl.col("asked")).collect()["at_ms"].to_list()[:3]

    assert times == [EVENTS_FROM_MS - 60_000 * minutes for minutes in (3, 2, 1)]


def test_kuairand_wants_its_folder(tmp_path: Path) -> None:
    """The refusal says what was looked for."""
    with pytest.raises(LogError, match=r"wanted one folder with an events.parquet"):
        import_log("kuairand", [str(tmp_path)], tmp_path / "log")


def test_nowplaying_keeps_its_published_split(tmp_path: Path) -> None:
    """Each file is a part, each session a listener, seconds become milliseconds."""
    for number, part in enumerate(("train", "valid", "test")):
        (tmp_path / f"{part}.csv").write_text(f"session_id\titem_id\ttimestamp\n{number}\t34\t170000000{number}\n")

    events = import_log("nowplaying", [str(tmp_path)], tmp_path / "log").events().collect()

    assert events.select("user_id", "session_id", "track_id", "at_ms", "type", "part").rows() == [
        ("0", "0", "34", 1_700_000_000_000, "play", "train"),
        ("1", "1", "34", 1_700_000_001_000, "play", "valid"),
        ("2", "2", "34", 1_700_000_002_000, "play", "test"),
    ]


def test_nowplaying_keeps_the_order_of_one_second_and_asks_from_the_second_track_on(tmp_path: Path) -> None:
    """Three tweets of one second, one track twice in a row: all stay, in the file's order; the first is context only."""
    for part, session in (("train", 1), ("valid", 2), ("test", 3)):
        lines = "".join(f"{session}\t{item}\t1700000000\n" for item in (9, 5, 5))
        (tmp_path / f"{part}.csv").write_text(f"session_id\titem_id\ttimestamp\n{lines}")

    events = import_log("nowplaying", [str(tmp_path)], tmp_path / "log").events().collect()

    assert events.filter(user_id="1").select("track_id", "at_ms", "asked").rows() == [
        ("9", 1_700_000_000_000, False),
        ("5", 1_700_000_000_001, True),
        ("5", 1_700_000_000_002, True),
    ]


def test_mssd_reads_skip_2_in_the_order_of_positions(tmp_path: Path) -> None:
    """A session's playbacks keep their order though only the hour is known, across midnight too; skip_2 is the skip."""
    (tmp_path / "log_0.csv").write_text(
        "session_id,session_position,session_length,track_id_clean,skip_1,skip_2,skip_3,not_skipped,hour_of_day,date\n"
        "0_a,3,3,t_z,false,false,true,false,0,2018-07-16\n"
        "0_a,1,3,t_x,false,true,true,false,23,2018-07-15\n"
        "0_a,2,3,t_y,false,false,false,true,23,2018-07-15\n"
    )

    events = import_log("mssd", [str(tmp_path / "log_0.csv")], tmp_path / "log").events().collect()

    assert events.select("user_id", "track_id", "type").rows() == [
        ("0_a", "t_x", "skip"),
        ("0_a", "t_y", "complete"),
        ("0_a", "t_z", "complete"),
    ]


def _playback(minute: int, ms_played: int, reason_end: str, *, skipped: bool | None) -> dict[str, object]:
    return {
        "ts": f"2024-01-01T00:{minute:02d}:00Z",
        "platform": "android",
        "ms_played": ms_played,
        "spotify_track_uri": f"spotify:track:{minute}",
        "master_metadata_track_name": "Song",
        "master_metadata_album_artist_name": "Band",
        "reason_end": reason_end,
        "skipped": skipped,
    }


def test_spotify_exports_fall_back_on_how_a_playback_ended(tmp_path: Path) -> None:
    """`skipped` decides where it says something; null, it takes the end and the 30 seconds together."""
    playbacks = [
        _playback(1, 5_000, "fwdbtn", skipped=None),
        _playback(2, 20_000, "trackdone", skipped=None),
        _playback(3, 200_000, "fwdbtn", skipped=None),
        _playback(4, 5_000, "fwdbtn", skipped=False),
        _playback(5, 9_000, "trackdone", skipped=True),
    ]
    (tmp_path / "nina").mkdir()
    (tmp_path / "nina" / "Streaming_History_Audio_2024.json").write_text(json.dumps(playbacks))

    events = import_log("spotify_export", [str(tmp_path / "nina")], tmp_path / "log").events().collect()

    assert events.sort("track_id")["type"].to_list() == ["skip", "complete", "complete", "complete", "skip"]
    assert events["user_id"].unique().to_list() == ["nina"]


def test_spotify_exports_date_a_playback_by_its_start(tmp_path: Path) -> None:
    """`ts` is when a playback ended; podcasts, which have no track, are passed over."""
    podcast = {**_playback(9, 1_000, "endplay", skipped=None), "spotify_track_uri": None}
    (tmp_path / "endsong_0.json").write_text(json.dumps([_playback(10, 60_000, "trackdone", skipped=None), podcast]))

    events = import_log("spotify_export", [str(tmp_path / "endsong_0.json")], tmp_path / "log").events().collect()

    assert events.select("at_ms", "played_ms").rows() == [(1_704_067_200_000 + 9 * 60_000, 60_000)]


def test_a_file_that_is_no_spotify_export_is_refused(tmp_path: Path) -> None:
    """A JSON file of another kind is said in a sentence."""
    (tmp_path / "library.json").write_text('{"tracks": 5}')

    with pytest.raises(LogError, match=r"library.json: wanted a JSON array of playbacks"):
        import_log("spotify_export", [str(tmp_path / "library.json")], tmp_path / "log")


@pytest.mark.parametrize("source", ["kuairand", "nowplaying", "mssd", "spotify_export"])
def test_formats_with_fixed_columns_refuse_renaming(tmp_path: Path, source: str) -> None:
    """`--column` with such a format would do nothing: better to say so."""
    with pytest.raises(LogError, match="fixed columns"):
        import_log(source, [str(tmp_path)], tmp_path / "log", columns={"track_id": "song"})
