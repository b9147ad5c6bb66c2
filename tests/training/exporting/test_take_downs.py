"""An export drops the tracks that are taken down: no reply of a service with that artifact has one."""

import json
from pathlib import Path

import pytest

from model import artifact
from model.catalogue import Catalogue
from model.vocabulary import FIRST, Vocabulary
from tests.service import artifacts
from tests.service.applications import running
from tests.service.processes import free_port, process
from tests.training.conftest import DROPPED, TRACKS, Exported
from training.exporting.take_downs import TakeDownError, TakeDowns, read_take_downs, rows_taken_down
from training.running_service import ServiceError

VOCABULARY = Vocabulary(["a", "b", "c", "d"])
CATALOGUE = Catalogue(
    titles=[None] * 4, artists=["x", "y", "x", None], albums=["one", "one", "two", None], durations_ms=[None] * 4
)


def listed(*, tracks: tuple[str, ...] = (), artists: tuple[str, ...] = (), albums: tuple[str, ...] = ()) -> TakeDowns:
    """A list of take-downs."""
    return TakeDowns(tracks=list(tracks), artists=list(artists), albums=list(albums))


@pytest.mark.parametrize(
    ("take_downs", "names"),
    [
        (listed(), ""),
        (listed(tracks=("b", "unknown")), "b"),
        (listed(artists=("x", "nobody")), "ac"),
        (listed(tracks=("d",), artists=("y",), albums=("two",)), "bcd"),
    ],
)
def test_artists_and_albums_stand_for_their_tracks(take_downs: TakeDowns, names: str) -> None:
    """What the log does not know has no row."""
    rows = rows_taken_down(take_downs, VOCABULARY, CATALOGUE)

    assert [VOCABULARY.track(row) for row in rows] == list(names)


@pytest.mark.parametrize("catalogue", [None, Catalogue(titles=[None] * 4, artists=[None] * 4, durations_ms=[None] * 4)])
def test_artists_that_the_log_does_not_name_stop_the_export(catalogue: Catalogue | None) -> None:
    """Their tracks would be proposed again, and nobody would notice."""
    with pytest.raises(TakeDownError, match="1 artists are taken down, and the log's catalogue names no artists"):
        rows_taken_down(listed(artists=("x",)), VOCABULARY, catalogue)


def test_list_is_read_from_a_running_service_or_from_its_reply_in_a_file(tmp_path: Path) -> None:
    """The address may be the service's own, or end with the path. A key is presented."""
    port, folder = free_port(), artifacts.build(tmp_path / "artifacts", catalogue=True)
    settings = {"artifact": folder, "state_dir": tmp_path / "state", "admin_keys": "me:a-secret-of-some-length"}
    with process("-m", "service", port=port, log=tmp_path / "log", **settings):
        url, key = f"http://127.0.0.1:{port}", "a-secret-of-some-length"
        at_first = read_take_downs(url, key)
        at_path = read_take_downs(f"{url}/v1/blocks", key)
        with pytest.raises(ServiceError, match="the service wants a key"):
            read_take_downs(url, None)
    (tmp_path / "blocks.json").write_text(json.dumps({"tracks": ["b"], "artists": [], "albums": []}))
    from_file = read_take_downs(str(tmp_path / "blocks.json"), None)

    assert at_first == at_path == listed()
    assert from_file == listed(tracks=("b",))


@pytest.mark.parametrize("text", ["", "[]", '{"tracks": ["b"]}', '{"tracks": [], "artists": [], "albums": [], "genres": []}'])
def test_file_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    """A part that is missing or misspelled would be ignored without a word."""
    (tmp_path / "blocks.json").write_text(text)
    with pytest.raises(
        TakeDownError, match=r"blocks\.json: found no list of take-downs .*; wanted what GET /v1/blocks replies"
    ):
        read_take_downs(str(tmp_path / "blocks.json"), None)


def test_exported_model_never_proposes_what_was_dropped(exported: Exported) -> None:
    """In no way to ask, and without its scorer neither. Its golden cases are the trainer's, with the dropped tracks."""
    loaded = artifact.load(exported.folder)
    gone = {TRACKS[row - FIRST] for row in DROPPED}
    with running(loaded) as client:
        replies = [
            client.get("/v1/users/u/next?count=100").json(),
            client.post("/v1/next", json={"history": [{"track_id": "t1"}], "count": 100}).json(),
            client.post("/v1/next", json={"candidates": TRACKS, "count": 100}).json(),
        ]

    assert list(loaded.dropped) == list(DROPPED)
    assert not set(loaded.popular) & set(DROPPED)
    assert {row for case in loaded.golden for row in case.best} & set(DROPPED)
    assert [len(reply["tracks"]) for reply in replies] == [20, 19, 20]  # t1 was just played
    assert not any(track["track_id"] in gone for reply in replies for track in reply["tracks"])


def test_dropped_rows_that_are_no_tracks_are_refused(tmp_path: Path) -> None:
    """Like everything in an artifact that cannot be right."""
    with pytest.raises(artifact.ArtifactError, match=r"dropped\.json: wanted rows from 2 to 41"):
        artifacts.load(tmp_path, dropped=[1])
