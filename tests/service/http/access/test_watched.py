"""A value that follows its files."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.http.access.keys import AccessError
from service.http.access.watched import MOST_BYTES, Watched


def lines(texts: Sequence[str]) -> list[str]:
    """The lines of all files; `bad` is refused."""
    if "bad" in texts:
        raise AccessError("bad is refused")
    return [line for text in texts for line in text.split()]


def test_value_follows_a_file_whose_time_stays_the_same(tmp_path: Path) -> None:
    """A backup tool or a fast writer leaves the modification time as it was."""
    file = tmp_path / "keys"
    file.write_text("one")
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    watched = Watched("keys", [file], lines)
    before = watched.value
    file.write_text("two")
    os.utime(file, ns=times)
    asyncio.run(watched.look())

    assert (before, watched.value) == (["one"], ["two"])


@pytest.mark.parametrize("change", ["bad", None, b"\xff", "x" * (MOST_BYTES + 1)], ids=["refused", "gone", "binary", "huge"])
def test_old_value_stays_where_the_new_one_cannot_be_used(tmp_path: Path, change: str | bytes | None) -> None:
    file = tmp_path / "keys"
    file.write_text("one")
    watched = Watched("keys", [file], lines)
    file.unlink()
    if change is not None:
        file.write_bytes(change if isinstance(change, bytes) else change.encode())
    with pytest.raises(AccessError):
        asyncio.run(watched.look())

    assert watched.value == ["one"]


def test_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="none cannot be read: No such file"):
        Watched("keys", [tmp_path / "none"], lines)


@pytest.mark.anyio
async def test_watch_goes_on_after_a_refusal(tmp_path: Path) -> None:
    """A file that is wrong for a moment must not end the watch."""
    file = tmp_path / "keys"
    file.write_text("one")
    made = {"one": asyncio.Event(), "bad": asyncio.Event(), "two": asyncio.Event()}

    def make(texts: Sequence[str]) -> list[str]:
        made.get(texts[0], asyncio.Event()).set()  # an empty file, too, may be seen while it is written
        return lines(texts)

    watched = Watched("keys", [file], make)
    task = asyncio.create_task(watched.watch(0))
    file.write_text("bad")
    await made["bad"].wait()
    file.write_text("two")
    await made["two"].wait()
    task.cancel()

    assert watched.value == ["two"]
