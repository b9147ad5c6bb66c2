"""ListenBrainz exports, with invented listens in the documented form."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.training.sources.imports import imported, rows
from training.data.log import LogError
from training.sources.listenbrainz import NO_OPINION, NO_RECORDING, NO_TIME

TEN = 1_769_853_600  # 2026-01-31 10:00 UTC


def listen(second: int, title: str, *, mbid: str | None = None, **more: Any) -> Mapping[str, Any]:
    """Make a listen. `mbid` is the id that the server found for its names."""
    return {
        "listened_at": TEN + second,
        "track_metadata": {
            "track_name": title,
            "artist_name": "Band",
            "release_name": "Album",
            "additional_info": {"duration_ms": 200_000},
            "mbid_mapping": None if mbid is None else {"recording_mbid": mbid},
        },
        **more,
    }


def text(*objects: object) -> str:
    """Write objects as JSON Lines."""
    return "".join(json.dumps(one) + "\n" for one in objects)


def test_an_export_is_read_as_it_was_downloaded(tmp_path: Path) -> None:
    """Listens of all months and feedback are read, and `user.json` names the listener. Other files are listed."""
    feedback = [
        {"recording_mbid": "m1", "score": 1, "created": TEN + 9},
        {"recording_mbid": "m2", "score": -1, "created": TEN + 8},
        {"recording_mbid": "m1", "score": 0, "created": TEN + 7},
        {"recording_mbid": None, "recording_msid": "x", "score": 1, "created": TEN},
        {"recording_mbid": "m1", "score": 1},
    ]
    with zipfile.ZipFile(tmp_path / "listenbrainz_other_123.zip", "w") as archive:
        archive.writestr("user.json", json.dumps({"user_id": 7, "username": "ann"}))
        archive.writestr("listens/2025/12.jsonl", text(listen(0, "Song", mbid="m1")))
        archive.writestr("listens/2026/1.jsonl", text(listen(1, "Song"), listen(2, "Other", mbid="m2")))
        archive.writestr("feedback.jsonl", text(*feedback))
        archive.writestr("pinned_recording.jsonl", text({"blurb_content": "my song"}))

    log = imported("listenbrainz", tmp_path / "log", tmp_path / "listenbrainz_other_123.zip")
    catalogue = log.catalogue()

    assert rows(log, "user_id", "track_id", "type") == [
        ("ann", "m1", "complete"),
        ("ann", "Band - Song", "complete"),
        ("ann", "m2", "complete"),
        ("ann", "m2", "dislike"),
        ("ann", "m1", "like"),
    ]
    assert log.about["rows"]["passed_over"] == {NO_OPINION: 1, NO_RECORDING: 1, NO_TIME: 1}
    assert log.about["rows"]["in_files"] == 8
    assert [name.rpartition(": ")[2] for name in log.about["ignored"]] == [
        "pinned_recording.jsonl has no listens and no feedback"
    ]
    assert catalogue is not None
    assert catalogue.row(2) == ("m2", "Other", "Band", "Album", None, 200_000)


def test_a_listener_is_named_by_the_listen_the_archive_or_the_person(tmp_path: Path) -> None:
    """`--user` takes precedence over user_name, and user_name over the name of the export."""
    (tmp_path / "listenbrainz_ben_5" / "listens" / "2026").mkdir(parents=True)
    path = tmp_path / "listenbrainz_ben_5" / "listens" / "2026" / "1.jsonl"
    path.write_text(text(listen(0, "Song"), listen(1, "Song", user_name="cid")))

    found = [rows(imported("listenbrainz", tmp_path / f"log{user}", path, user=user), "user_id") for user in (None, "ann")]

    assert found == [[("ben",), ("cid",)], [("ann",), ("ann",)]]


def test_odd_listens_break_and_are_counted(tmp_path: Path) -> None:
    """They include rows of another format."""
    odd = [
        {"listened_at": TEN, "track_metadata": None},
        {"listened_at": TEN},
        {"id": 7},
        [1],
        {**listen(3, "Song"), "listened_at": None},
        listen(4, ""),
        {"listened_at": TEN, "track_metadata": {"track_name": ["a"], "artist_name": "Band"}},
    ]
    (tmp_path / "ann.jsonl").write_text(text(listen(0, "Song"), *odd))

    counted = imported("listenbrainz", tmp_path / "log", tmp_path / "ann.jsonl", max_broken=1.0).about["rows"]

    assert (counted["in_files"], counted["kept"], sum(counted["broken"].values())) == (8, 1, 7)


def test_a_file_without_listens_is_refused(tmp_path: Path) -> None:
    """The error says what was expected."""
    (tmp_path / "x.json").write_text('{"a": 1}')

    with pytest.raises(LogError, match=r"wanted listens with listened_at and track_metadata; found .*x.json"):
        imported("listenbrainz", tmp_path / "log", tmp_path / "x.json")
