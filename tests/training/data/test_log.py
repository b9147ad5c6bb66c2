"""The canonical log on disk is found, refused, or replaced as a whole."""

import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from training.data.log import ABOUT, EVENTS, SCHEMA, LogError, describe, open_log, replacing, write_about


def _write(folder: Path, mark: str) -> None:
    pl.DataFrame(schema=SCHEMA).write_parquet(folder / EVENTS)
    write_about(folder, {"mark": mark})


def _write_half(folder: Path) -> None:
    _write(folder, "new")
    raise OSError("disk full")


def test_a_folder_without_a_log_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    """For a newcomer who names the wrong folder, the error says what was expected and what to do."""
    with pytest.raises(LogError, match="python -m training import"):
        open_log(tmp_path)


def test_a_log_appears_when_it_is_whole(tmp_path: Path) -> None:
    """While the log is being written, its final folder does not exist."""
    out = tmp_path / "log"
    with replacing(out, force=False) as folder:
        _write(folder, "new")
        seen_early = out.exists()

    assert not seen_early
    assert open_log(out).about == {"mark": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_failed_import_leaves_the_old_log_and_no_litter(tmp_path: Path) -> None:
    """An error half way, even with --force, deletes nothing that was there before."""
    out = tmp_path / "log"
    with replacing(out, force=False) as folder:
        _write(folder, "old")

    with pytest.raises(OSError, match="disk full"), replacing(out, force=True) as folder:
        _write_half(folder)

    assert open_log(out).about == {"mark": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_force_replaces_a_log(tmp_path: Path) -> None:
    """With --force the new log takes the old one's place."""
    out = tmp_path / "log"
    for mark in ("old", "new"):
        with replacing(out, force=True) as folder:
            _write(folder, mark)

    assert open_log(out).about == {"mark": "new"}


def test_an_existing_log_is_not_replaced_without_force(tmp_path: Path) -> None:
    """A log is an hour's work for someone, so it is replaced only on request."""
    (tmp_path / ABOUT).write_text("{}")

    with pytest.raises(LogError, match="--force"), replacing(tmp_path, force=False):
        pass


def test_force_deletes_nothing_but_logs(tmp_path: Path) -> None:
    """`--out ~ --force` does not delete a home directory."""
    (tmp_path / "letters.txt").write_text("dear")

    with pytest.raises(LogError, match="no log"), replacing(tmp_path, force=True):
        pass

    assert (tmp_path / "letters.txt").read_text() == "dear"


def test_a_description_counts_and_dates_the_events() -> None:
    """The figures of log.json equal a count by hand of three events."""
    events = pl.LazyFrame(
        {
            "user_id": ["a", "a", "b"],
            "track_id": ["x", "x", "x"],
            "at_ms": [0, 1_500, 86_400_000],
            "type": ["play", "skip", "play"],
        }
    )

    assert describe(events) == {
        "events": 3,
        "users": 2,
        "tracks": 1,
        "types": {"play": 2, "skip": 1, "complete": 0, "like": 0, "dislike": 0},
        "first": "1970-01-01T00:00:00.000+00:00",
        "last": "1970-01-02T00:00:00.000+00:00",
    }


def _killed(out: Path, *, when: str) -> None:
    """Start an import in another process, which is killed while it writes, or between its two last steps."""
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from training.data import log\n"
        "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "out, when = Path(sys.argv[1]), sys.argv[2]\n"
        "move = os.replace\n"
        "def replace(old, new):\n"
        "    if when == 'moving' and Path(new) == out: die()\n"
        "    move(old, new)\n"
        "os.replace = replace\n"
        "with log.replacing(out, force=True) as folder:\n"
        "    (folder / 'half').write_text('')\n"
        "    if when == 'writing': die()\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(out), when], check=False)
    assert killed.returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["writing", "moving"])
@pytest.mark.parametrize("before", [True, False])
def test_what_a_killed_import_left_is_cleared(tmp_path: Path, when: str, before: bool) -> None:
    """The next import deletes it. A log that was about to be replaced is put back."""
    out = tmp_path / "log"
    if before:
        with replacing(out, force=False) as folder:
            _write(folder, "old")
    _killed(out, when=when)
    drafts = [path for path in tmp_path.iterdir() if path.name != "log"]

    with pytest.raises(OSError, match="disk full"), replacing(out, force=True) as folder:
        _write_half(folder)

    assert len(drafts) == 1
    assert [path.name for path in tmp_path.iterdir()] == (["log"] if before else [])
    if before:
        assert open_log(out).about == {"mark": "old"}


def test_drafts_of_running_imports_and_other_folders_stay(tmp_path: Path) -> None:
    """Only drafts of this log that no running process holds are deleted."""
    (tmp_path / ".log-backup_1").mkdir()
    (tmp_path / ".log-abcdefgh").mkdir()
    (tmp_path / ".other-abcdefgh").mkdir()
    (tmp_path / ".other-abcdefgh" / "lock").write_text("")
    with replacing(tmp_path / "log", force=False) as running:
        _write(running, "first")
        with replacing(tmp_path / "log", force=False) as folder:
            _write(folder, "second")
        assert running.is_dir()
        (tmp_path / "log" / EVENTS).unlink()
        (tmp_path / "log" / ABOUT).unlink()
        (tmp_path / "log").rmdir()

    assert open_log(tmp_path / "log").about == {"mark": "first"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".log-abcdefgh", ".log-backup_1", ".other-abcdefgh", "log"]
