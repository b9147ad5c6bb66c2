"""Personal Spotify exports, with invented playbacks in the documented form: listeners, tracks and skips."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from training.data.import_log import import_log
from training.data.log import Log, LogError
from training.sources.spotify_export import NO_TRACK, PODCAST, TWICE

NEW_YEAR_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
Row = Mapping[str, Any]


def extended(minute: int, ms_played: int, reason_end: str | None, *, skipped: bool | None, **more: object) -> Row:
    """Make a playback of the extended history that ended in this minute of New Year's morning."""
    return {
        "ts": f"2024-01-01T00:{minute:02d}:00Z",
        "platform": "android",
        "ms_played": ms_played,
        "spotify_track_uri": f"spotify:track:{minute}",
        "master_metadata_track_name": f"Song {minute}",
        "master_metadata_album_artist_name": "Band",
        "reason_end": reason_end,
        "skipped": skipped,
        **more,
    }


def basic(minute: int, ms_played: int = 200_000, **more: object) -> Row:
    """Make a playback of the basic history."""
    return {
        "endTime": f"2024-01-01 00:{minute:02d}",
        "artistName": "Band",
        "trackName": f"Song {minute}",
        "msPlayed": ms_played,
        **more,
    }


def write(path: Path, rows: Sequence[object]) -> None:
    """Write a file of an export."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1))


def imported(tmp_path: Path, *paths: Path, max_broken: float = 0.0) -> Log:
    """Import files or folders, and return the log."""
    console = Console(file=StringIO())
    return import_log("spotify_export", list(map(str, paths)), tmp_path / "log", max_broken=max_broken, console=console)


def listeners(log: Log) -> list[str]:
    """Return the names of the log's listeners."""
    return log.events().collect()["user_id"].unique().sort().to_list()


@pytest.mark.parametrize(
    ("ms_played", "reason_end", "skipped", "type"),
    [
        (5_000, "fwdbtn", None, "skip"),
        (1_000, None, None, "skip"),
        (20_000, "trackdone", None, "complete"),
        (200_000, "fwdbtn", None, "complete"),
        (5_000, "fwdbtn", False, "complete"),
        (9_000, "trackdone", True, "skip"),
    ],
)
def test_a_skip_is_what_the_rows_say_or_how_they_ended(
    tmp_path: Path, ms_played: int, reason_end: str | None, skipped: bool | None, type: str
) -> None:
    """`skipped` decides if it has a value. Otherwise less than 30 seconds is a skip, unless the track ended by itself."""
    write(tmp_path / "endsong_0.json", [extended(1, ms_played, reason_end, skipped=skipped)])

    assert imported(tmp_path, tmp_path / "endsong_0.json").events().collect()["type"].to_list() == [type]


def test_a_playback_is_dated_by_its_start(tmp_path: Path) -> None:
    """The field `ts` is the time at which a playback ended."""
    write(tmp_path / "endsong_0.json", [extended(10, 60_000, "trackdone", skipped=None)])

    events = imported(tmp_path, tmp_path / "endsong_0.json").events().collect()

    assert events.select("at_ms", "played_ms").rows() == [(NEW_YEAR_MS + 9 * 60_000, 60_000)]


def test_what_names_no_track_is_passed_over_by_reason(tmp_path: Path) -> None:
    """These are podcasts, audiobooks, and playbacks of removed tracks, in both forms of history."""
    nothing = {"spotify_track_uri": None, "master_metadata_track_name": None, "master_metadata_album_artist_name": None}
    write(
        tmp_path / "nina" / "Streaming_History_Audio_2024.json",
        [
            extended(1, 60_000, "trackdone", skipped=None),
            extended(2, 60_000, "trackdone", skipped=None, **nothing, episode_name="News"),
            extended(3, 60_000, "trackdone", skipped=None, **nothing, audiobook_uri="spotify:show:1"),
            extended(4, 60_000, "trackdone", skipped=None, **nothing),
        ],
    )
    write(
        tmp_path / "nina" / "StreamingHistory_podcast_0.json",
        [{"endTime": "2024-01-02 00:00", "podcastName": "News", "episodeName": "Today", "msPlayed": 5}],
    )

    about = imported(tmp_path, tmp_path / "nina").about

    assert about["rows"]["passed_over"] == {PODCAST: 3, NO_TRACK: 1}
    assert (about["rows"]["in_files"], about["rows"]["read"]) == (5, 1)


def test_odd_rows_break_and_are_counted(tmp_path: Path) -> None:
    """They have another format, values of another type, or times that cannot be read."""
    rows = [
        extended(1, 60_000, None, skipped=None),
        {"track": "Song"},
        ["Song"],
        None,
        {**extended(2, 1, None, skipped=None), "ms_played": "long"},
        {**extended(3, 1, None, skipped=None), "ms_played": [1]},
        {**extended(4, 1, None, skipped=None), "ts": "yesterday"},
        {**extended(5, 1, None, skipped=None), "ts": None},
        {**extended(6, 1, None, skipped=None), "spotify_track_uri": True},
    ]
    write(tmp_path / "endsong_0.json", rows)

    about = imported(tmp_path, tmp_path / "endsong_0.json", max_broken=1.0).about

    assert about["rows"]["in_files"] == about["rows"]["read"] == len(rows)
    assert sum(about["rows"]["broken"].values()) == len(rows) - 1


def test_each_persons_folder_is_a_listener(tmp_path: Path) -> None:
    """The folder's name is the listener's, unless Spotify chose it. So is the name of an archive."""
    write(tmp_path / "all/ann/Spotify Extended Streaming History/Streaming_History_Audio_2024_0.json", [_KEPT])
    write(tmp_path / "all/ann/MyData/StreamingHistory_music_0.json", [basic(59)])
    write(tmp_path / "all/ben/Streaming_History_Audio_2024_0.json", [_KEPT])
    (tmp_path / "all/cid").mkdir()
    for name in ("cid/my_spotify_data.zip", "dan.zip"):
        with zipfile.ZipFile(tmp_path / "all" / name, "w") as archive:
            archive.writestr("Spotify Extended Streaming History/Streaming_History_Audio_2024_0.json", json.dumps([_KEPT]))
            archive.writestr("Spotify Extended Streaming History/ReadMeFirst.pdf", "")

    log = imported(tmp_path, tmp_path / "all")

    assert listeners(log) == ["ann", "ben", "cid", "dan"]
    assert log.about["rows"]["kept"] == 5
    assert [name.rpartition("/")[2] for name in log.about["ignored"]] == ["ReadMeFirst.pdf does not end in .json"] * 2


def test_people_whose_folders_have_one_name_stay_apart(tmp_path: Path) -> None:
    """A listener's name is as much of the folder's path as is needed to tell people apart, also if a shell expanded the
    files.
    """
    paths = [tmp_path / person / "audio" / "endsong_0.json" for person in ("ann", "ben")]
    for path in paths:
        write(path, [_KEPT])

    assert listeners(imported(tmp_path, *paths)) == ["ann/audio", "ben/audio"]


def test_a_username_counts_more_than_a_folder(tmp_path: Path) -> None:
    """Older exports have a username. It also applies to the basic history in the same folder."""
    write(tmp_path / "x" / "endsong_0.json", [extended(1, 60_000, None, skipped=None, username="nina")])
    write(tmp_path / "x" / "StreamingHistory0.json", [basic(30)])

    assert listeners(imported(tmp_path, tmp_path / "x")) == ["nina"]


def test_the_basic_history_is_read(tmp_path: Path) -> None:
    """Ids are made of names. Within a minute the file's order counts. Less than 30 seconds is a skip."""
    rows = [basic(5, 240_000), basic(5, 2_000, trackName="Intro"), basic(5, 1_000, trackName="Other"), basic(9)]
    write(tmp_path / "nina" / "StreamingHistory_music_0.json", rows)

    log = imported(tmp_path, tmp_path / "nina")
    catalogue = log.catalogue()

    assert log.events().collect().select("track_id", "type", "at_ms", "played_ms").rows() == [
        ("Band - Song 5", "complete", NEW_YEAR_MS + 60_000, 240_000),
        ("Band - Intro", "skip", NEW_YEAR_MS + 298_000, 2_000),
        ("Band - Other", "skip", NEW_YEAR_MS + 299_000, 1_000),
        ("Band - Song 9", "complete", NEW_YEAR_MS + 340_000, 200_000),
    ]
    assert catalogue is not None
    assert catalogue.row(3)[:3] == ("Band - Song 9", "Song 9", "Band")


def test_both_histories_together_count_no_playback_twice(tmp_path: Path) -> None:
    """Basic rows within the time of the extended history are in it already. Later ones are new, and get the same track ids."""
    write(tmp_path / "nina" / "Streaming_History_Audio_2024.json", [extended(m, 60_000, None, skipped=None) for m in (10, 20)])
    write(
        tmp_path / "nina" / "StreamingHistory_music_0.json", [basic(10), basic(15), basic(30, trackName="Song 20"), basic(31)]
    )

    log = imported(tmp_path, tmp_path / "nina")

    assert log.about["rows"]["passed_over"] == {TWICE: 2}
    assert log.events().collect()["track_id"].to_list() == [
        "spotify:track:10",
        "spotify:track:20",
        "spotify:track:20",
        "Band - Song 31",
    ]


def test_files_without_listening_are_ignored_and_listed(tmp_path: Path) -> None:
    """An export has dozens of such files, with all kinds of JSON."""
    write(tmp_path / "nina" / "Streaming_History_Audio_2024.json", [_KEPT])
    write(tmp_path / "nina" / "SearchQueries.json", [{"platform": "IPHONE", "searchTime": "2024-01-01T00:00:00Z"}])
    write(tmp_path / "nina" / "Playlist1.json", {"playlists": [{"name": "Mine"}]})  # type: ignore[arg-type] # an object
    (tmp_path / "nina" / "Marquee.json").write_text("not JSON")
    (tmp_path / "nina" / "empty.json").write_text("[]")

    about = imported(tmp_path, tmp_path / "nina").about

    assert about["rows"]["kept"] == 1
    assert sorted(name.rpartition("/")[2] for name in about["ignored"]) == [
        f"{name} is no listening history" for name in ("Marquee.json", "Playlist1.json", "SearchQueries.json", "empty.json")
    ]


@pytest.mark.parametrize("name", ["Streaming_History_Audio_2024.json", "StreamingHistory_music_1.json", "endsong_1.json"])
def test_a_damaged_history_is_refused(tmp_path: Path, name: str) -> None:
    """A download that broke off must not pass for a file without listening."""
    write(tmp_path / "nina" / "Streaming_History_Audio_2023.json", [_KEPT])
    (tmp_path / "nina" / name).write_text(json.dumps([_KEPT, _KEPT])[:-30])

    with pytest.raises(LogError, match=f"{name} is not sound JSON"):
        imported(tmp_path, tmp_path / "nina")


@pytest.mark.parametrize("text", ['{"tracks": 5}', "[]", '[{"tracks": 5}]', ""])
def test_a_file_that_is_no_export_is_refused(tmp_path: Path, text: str) -> None:
    """It holds if a path names the file itself. The error says what was expected."""
    (tmp_path / "library.json").write_text(text)

    with pytest.raises(LogError, match=r"wanted Spotify's streaming history.*ts and ms_played.*found .*library.json"):
        imported(tmp_path, tmp_path / "library.json")


_KEPT = extended(1, 60_000, "trackdone", skipped=None)


def test_an_export_with_a_mark_or_in_utf_16_is_read(tmp_path: Path) -> None:
    """An editor on Windows may add a byte order mark."""
    text = json.dumps([extended(1, 60_000, None, skipped=None, master_metadata_track_name="Für Elise")], ensure_ascii=False)
    (tmp_path / "endsong_0.json").write_bytes(text.encode("utf-8-sig"))
    (tmp_path / "endsong_1.json").write_bytes(text.replace("track:1", "track:2").encode("utf-16"))

    catalogue = imported(tmp_path, tmp_path / "endsong_0.json", tmp_path / "endsong_1.json").catalogue()

    assert catalogue is not None
    assert catalogue["title"].to_list() == ["Für Elise"] * 2
