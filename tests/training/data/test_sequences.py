"""From a log to everyone's histories, end to end."""

from pathlib import Path

import pytest

from model.events import HistoryRule, Outcome
from training.data import sequences as module
from training.data.import_log import import_log
from training.data.log import Log
from training.data.sequences import NO_PART, Sequences, build

MINUTE = 60_000
START = 1_700_000_000_000


def _log(folder: Path, *rows: str) -> Log:
    (folder / "log.csv").write_text("\n".join(["user_id,track_id,at_ms,type,played_ms,asked,part", *rows]) + "\n")
    return import_log("canonical", [str(folder / "log.csv")], folder / "log")


def _row(user: str, track: str, minute: int, type: str = "play", rest: str = ",,") -> str:
    return f"{user},{track},{START + minute * MINUTE},{type},{rest}"


def _lines(sequences: Sequences) -> list[tuple[str, list[str]]]:
    names = [sequences.tracks[track] for track in sequences.track]
    bounds = zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)
    users = [sequences.users[user] for user in sequences.user]
    return [(user, names[start:stop]) for user, (start, stop) in zip(users, bounds, strict=True)]


def test_a_listener_is_one_sequence(tmp_path: Path) -> None:
    """With the history of a listener, sessions follow each other in one sequence, in the order of time."""
    log = _log(tmp_path, _row("b", "x", 0), _row("a", "z", 500), _row("a", "x", 0), _row("a", "y", 5))

    assert _lines(build(log, HistoryRule())) == [("a", ["x", "y", "z"]), ("b", ["x"])]


def test_a_session_is_a_sequence_where_the_recipe_says_so(tmp_path: Path) -> None:
    """With the history of a session, a gap of more than 30 minutes cuts."""
    log = _log(tmp_path, _row("a", "x", 0), _row("a", "y", 30), _row("a", "z", 61))

    assert _lines(build(log, HistoryRule(scope="session"))) == [("a", ["x", "y"]), ("a", ["z"])]


def test_a_play_and_its_skip_are_one_entry(tmp_path: Path) -> None:
    """Events fold as they do in the service: the play's time, the skip's outcome."""
    log = _log(tmp_path, _row("a", "x", 0), _row("a", "x", 1, "skip", "9000,,"), _row("a", "y", 2, "complete"))

    sequences = build(log, HistoryRule())

    assert sequences.outcome.tolist() == [Outcome.SKIPPED, Outcome.PLAYED]
    assert sequences.at_ms.tolist() == [START, START + 2 * MINUTE]


def test_what_is_context_only_stays_so(tmp_path: Path) -> None:
    """`asked` and `part` of an event reach its entry, and no other; without them an entry is asked about and has no part."""
    log = _log(tmp_path, _row("a", "x", 0, "complete", ",false,train"), _row("a", "x", 1, "complete"))

    sequences = build(log, HistoryRule())

    assert sequences.asked.tolist() == [False, True]
    assert sequences.part.tolist() == [0, NO_PART]


def test_flags_do_not_pass_to_the_next_listener(tmp_path: Path) -> None:
    """Two listeners may meet the same track at the same moment: the flags are each one's own."""
    log = _log(tmp_path, _row("a", "x", 0, "complete", ",false,"), _row("b", "x", 0, "complete"))

    assert build(log, HistoryRule()).asked.tolist() == [False, True]


def test_each_entry_knows_its_sequence(tmp_path: Path) -> None:
    """`sequence` and `starts` are the offsets, spelled out entry by entry."""
    log = _log(tmp_path, _row("a", "x", 0), _row("a", "y", 5), _row("b", "x", 0))

    sequences = build(log, HistoryRule())

    assert len(sequences) == 2
    assert sequences.sequence.tolist() == [0, 0, 1]
    assert sequences.starts.tolist() == [0, 0, 2]


def test_reading_in_slices_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose events lie in several slices of the log is still one sequence."""
    log = _log(tmp_path, *(_row(user, f"t{minute}", minute) for user in "abc" for minute in range(10)))
    whole = _lines(build(log, HistoryRule()))
    monkeypatch.setattr(module, "_SLICE", 7)

    assert _lines(build(log, HistoryRule())) == whole
    assert [len(tracks) for _, tracks in whole] == [10, 10, 10]
