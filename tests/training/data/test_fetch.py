"""Logs from a remote store. `memory://` represents any store that fsspec knows."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import fsspec
import polars as pl
import pytest

from training.data.import_log import import_log
from training.data.log import Log, LogError

SOUND = {"user_id": ["ann", "bob"], "track_id": ["t1", "t2"], "at_s": [1_700_000_000, 1_700_000_060], "type": ["play", "skip"]}


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """Make an empty store in memory."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


def put(store: fsspec.AbstractFileSystem, name: str, **columns: object) -> None:
    """Write a Parquet file into the store. A column that is None is left out."""
    data = {key: value for key, value in {**SOUND, **columns}.items() if value is not None}
    into = BytesIO()
    pl.DataFrame(data).write_parquet(into)
    store.pipe_file(name, into.getvalue())


def imported(tmp_path: Path, *paths: str) -> Log:
    """Import paths with the source `canonical`, and return the log."""
    return import_log("canonical", paths, tmp_path / "log")


@pytest.mark.parametrize("path", ["memory://lake/log/**/*.parquet", "memory://lake/log", "memory://lake/log/day=1/a.parquet"])
def test_log_is_read_from_a_store(tmp_path: Path, store: fsspec.AbstractFileSystem, path: str) -> None:
    """The address may be a glob, a folder or a file. Copies are deleted afterwards, and the log names the address."""
    put(store, "/lake/log/day=1/a.parquet")
    if not path.endswith("a.parquet"):
        put(store, "/lake/log/day=2/a.parquet", user_id=["cid", "dan"])
    log = imported(tmp_path, path)

    assert log.about["events"] == (2 if path.endswith("a.parquet") else 4)
    assert log.about["paths"] == [path]
    assert sorted(file.name for file in log.folder.iterdir()) == ["events.parquet", "log.json"]


def test_file_url_is_read_in_place(tmp_path: Path) -> None:
    """It is a local path by another name."""
    pl.DataFrame(SOUND).write_parquet(tmp_path / "a.parquet")

    assert imported(tmp_path, f"file://{tmp_path}/a.parquet").about["events"] == 2


def test_folder_that_names_a_column_gives_it(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    """As in Hive, the type is in the path only."""
    put(store, "/lake/type=like/a.parquet", type=None)
    put(store, "/lake/type=skip/a.parquet", type=None, user_id=["cid", "dan"])

    assert imported(tmp_path, "memory://lake").about["types"] == {"play": 0, "skip": 2, "complete": 0, "like": 2, "dislike": 0}


def test_partitions_may_differ_in_type(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    """One job wrote ids as numbers and another as text; they are the same ids."""
    put(store, "/lake/1.parquet", track_id=["7", "8"])
    put(store, "/lake/2.parquet", track_id=[7, 9], user_id=["cid", "dan"], session_id=["s", "s"])
    log = imported(tmp_path, "memory://lake")

    assert sorted(log.events().collect()["track_id"].unique()) == ["7", "8", "9"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"track_id": None}, "wanted columns track_id; found user_id, at_s, type"),
        ({"at_s": None}, "wanted columns one of at, at_s, at_ms"),
        ({"track_id": [["t"], ["t"]]}, r"column track_id is List\(String\); wanted text"),
    ],
)
def test_bad_partition_is_named(
    tmp_path: Path, store: fsspec.AbstractFileSystem, columns: dict[str, object], words: str
) -> None:
    """The error names this one file by its address in the store."""
    put(store, "/lake/day=1/good.parquet")
    put(store, "/lake/day=2/bad.parquet", **columns)

    with pytest.raises(LogError, match=rf"memory://lake/day=2/bad\.parquet: {words}"):
        imported(tmp_path, "memory://lake/**/*.parquet")
    assert [file.name for file in tmp_path.iterdir()] == []


def test_file_that_is_no_parquet_is_named(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    """The file is an upload that broke off."""
    store.pipe_file("/lake/broken.parquet", b"PAR1 and no more")

    with pytest.raises(LogError, match=r"memory://lake/broken\.parquet cannot be read as Parquet"):
        imported(tmp_path, "memory://lake")


@pytest.mark.parametrize("path", ["memory://lake/none/*.parquet", "memory://lake/none"])
def test_place_where_nothing_lies_is_refused(tmp_path: Path, store: fsspec.AbstractFileSystem, path: str) -> None:
    """The error names the path that was typed."""
    put(store, "/lake/a.parquet")

    with pytest.raises(LogError, match="found no file there"):
        imported(tmp_path, path)


def test_local_glob_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    """The error comes before anything is read."""
    with pytest.raises(LogError, match=r"wanted a name that ends in .*; found no file"):
        imported(tmp_path, f"{tmp_path}/**/*.parquet")


def test_missing_driver_is_named(tmp_path: Path) -> None:
    """The error names the package to install, in the driver's own words."""
    fsspec.register_implementation("cupboard", "no_such_package.Cupboard", errtxt="Install cupboardfs to open it", clobber=True)

    with pytest.raises(LogError, match="cupboard://shelf/log wants a driver that is not installed: Install cupboardfs"):
        imported(tmp_path, "cupboard://shelf/log")


def test_unknown_protocol_is_said(tmp_path: Path) -> None:
    """The protocol is a typing error."""
    with pytest.raises(LogError, match=r"s4://bucket cannot be fetched.*s4"):
        imported(tmp_path, "s4://bucket")
