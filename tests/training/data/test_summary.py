"""The figures, the histogram and the warnings of a log, counted by hand on small logs."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from training.data import summary
from training.data.import_log import import_log
from training.data.log import Log
from training.data.summary import lines, summarise, warnings

NEW_YEAR_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC
NOW = datetime(2027, 1, 1, tzinfo=UTC)
MINUTE_MS, DAY_MS = 60_000, 86_400_000
Row = tuple[str, str, int, str, str]


def log_of(folder: Path, *rows: Row) -> Log:
    """Import a log of (listener, track, minutes after New Year, type, played_ms) rows."""
    text = "".join(f"{user},{track},{NEW_YEAR_MS + at * MINUTE_MS},{type},{played}\n" for user, track, at, type, played in rows)
    (folder / "log.csv").write_text("user_id,track_id,at_ms,type,played_ms\n" + text)
    return import_log("canonical", [str(folder / "log.csv")], folder / "log")


MIXED: tuple[Row, ...] = (
    ("a", "x", 1, "play", ""),
    ("a", "x", 2, "skip", "5000"),
    ("a", "y", 3, "play", ""),
    ("a", "y", 6, "complete", "180000"),
    ("a", "x", 60, "play", ""),  # another session, with x again
    ("b", "x", 61, "play", ""),
    ("b", "x", 62, "skip", "45000"),  # skipped late, so it counts as heard
)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_figures_are_those_counted_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """They do not depend on how the log is cut into slices."""
    log = log_of(tmp_path, *MIXED)
    monkeypatch.setattr(summary, "_SLICE", size)

    found = summarise(log, NOW)

    assert (found.events, found.listeners, found.tracks, found.plays) == (7, 2, 2, 4)
    assert (found.first_ms, found.last_ms) == (NEW_YEAR_MS + MINUTE_MS, NEW_YEAR_MS + 62 * MINUTE_MS)
    if size == 1000:
        assert (found.skips, found.sessions, found.repeats) == (1, 3, 1)


def test_a_summary_is_read_in_sentences(tmp_path: Path) -> None:
    """It has a bar for each period, and the plays of the bars add up."""
    rows = [("a", f"t{n}", n * 3 * 24 * 60 + 5, "complete", "") for n in range(30)]
    text = lines(summarise(log_of(tmp_path, *rows), NOW))

    assert text[0] == "30 events of 1 listener and 30 tracks, from 2026-01-01 to 2026-03-29"
    assert text[1].startswith("30 plays in 30 sessions; 0.0% were skipped, 0.0% were of a track")
    assert len(text) == 2 + 11
    assert sum(int(line.rpartition(" ")[2]) for line in text[2:]) == 30


def test_plays_that_carry_what_was_heard_are_told(tmp_path: Path) -> None:
    """A row that is a whole play must not have the type play, because a later skip of the track would be merged with it."""
    rows = [("a", "x", 1, "play", "180000"), ("a", "y", 5, "play", "180000"), ("a", "x", 9, "skip", "2000")]

    [warning] = [one for one in warnings(summarise(log_of(tmp_path, *rows), NOW)) if "played_ms" in one]

    assert warning.startswith("2 rows of type play carry played_ms, and 1 of them are followed by a skip of the same track")
    assert "its type must be complete or skip" in warning


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("a", "x", 1, "complete", "")], "no skips at all: is a column missing?"),
        ([("a", "x", n, "skip", "200") for n in range(11)], "100% of all plays are skips: is played_ms in seconds?"),
        ([("a", "x", n * 24 * 60, "play", "") for n in range(3)], "at midnight: does the log have days without times?"),
        ([("a", "x", 3 * 366 * 24 * 60, "play", "")], "1 event dated in the future"),
        ([("a", "x", 1, "play", "")], "only 1 listener:"),
        ([("a", f"t{n}", n, "play", "") for n in range(11)], "nearly every play is of another track"),
    ],
)
def test_what_seems_wrong_is_said(tmp_path: Path, rows: list[Row], words: str) -> None:
    """The warning is a sentence that says what to check."""
    assert any(words in warning for warning in warnings(summarise(log_of(tmp_path, *rows), NOW)))


def test_a_sound_log_has_no_warning(tmp_path: Path) -> None:
    """If a warning were always there, people would stop reading it."""
    rows = [
        (f"u{user}", f"t{(user * 3 + place) % 7}", 5 + place, "skip" if place % 3 == 0 else "complete", "")
        for user in range(25)
        for place in range(6)
    ]

    assert warnings(summarise(log_of(tmp_path, *rows), NOW)) == []


def test_the_log_keeps_its_figures(tmp_path: Path) -> None:
    """They are in log.json for later readers."""
    about = log_of(tmp_path, *MIXED).about

    assert about["summary"] == {"plays": 4, "sessions": 3, "skip_share": 0.25, "repeat_share": 0.25}
    assert any("only 2 listeners" in warning for warning in about["warnings"])
