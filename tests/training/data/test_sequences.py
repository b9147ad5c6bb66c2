"""A log's events are folded into the histories of all listeners."""

from itertools import groupby
from operator import itemgetter
from pathlib import Path
from random import Random

import pytest

from model.events import Event, EventType, HistoryRule, Outcome, fold
from training.data import sequences as module
from training.data.import_log import import_log
from training.data.log import PARTS, TYPES, Log
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
    """With the listener's whole history, sessions follow each other in one sequence, in order of time."""
    log = _log(tmp_path, _row("b", "x", 0), _row("a", "z", 500), _row("a", "x", 0), _row("a", "y", 5))

    assert _lines(build(log, HistoryRule())) == [("a", ["x", "y", "z"]), ("b", ["x"])]


def test_a_session_is_a_sequence_where_the_recipe_says_so(tmp_path: Path) -> None:
    """With the session as history, a gap of more than 30 minutes begins a new sequence."""
    log = _log(tmp_path, _row("a", "x", 0), _row("a", "y", 30), _row("a", "z", 61))

    assert _lines(build(log, HistoryRule(scope="session"))) == [("a", ["x", "y"]), ("a", ["z"])]


def test_a_play_and_its_skip_are_one_entry(tmp_path: Path) -> None:
    """Events fold as in the service: the entry has the play's time and the skip's outcome."""
    log = _log(tmp_path, _row("a", "x", 0), _row("a", "x", 1, "skip", "9000,,"), _row("a", "y", 2, "complete"))

    sequences = build(log, HistoryRule())

    assert sequences.outcome.tolist() == [Outcome.SKIPPED, Outcome.PLAYED]
    assert sequences.at_ms.tolist() == [START, START + 2 * MINUTE]


def test_what_is_context_only_stays_so(tmp_path: Path) -> None:
    """`asked` and `part` of an event reach its entry and no other. Without them an entry is asked about and has no part."""
    log = _log(tmp_path, _row("a", "x", 0, "complete", ",false,train"), _row("a", "x", 1, "complete"))

    sequences = build(log, HistoryRule())

    assert sequences.asked.tolist() == [False, True]
    assert sequences.part.tolist() == [0, NO_PART]


def test_flags_do_not_pass_to_the_next_listener(tmp_path: Path) -> None:
    """Two listeners may play the same track at the same moment. Each keeps its own flags."""
    log = _log(tmp_path, _row("a", "x", 0, "complete", ",false,"), _row("b", "x", 0, "complete"))

    assert build(log, HistoryRule()).asked.tolist() == [False, True]


def test_each_entry_knows_its_sequence(tmp_path: Path) -> None:
    """`sequence` and `starts` equal a loop over the offsets."""
    log = _log(tmp_path, _row("a", "x", 0), _row("a", "y", 5), _row("b", "x", 0))

    sequences = build(log, HistoryRule())

    assert len(sequences) == 2
    assert sequences.sequence.tolist() == [0, 0, 1]
    assert sequences.starts.tolist() == [0, 0, 2]


@pytest.mark.parametrize("slice_rows", [7, 1000])
def test_any_log_is_folded_as_the_service_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_rows: int) -> None:
    """The events are random: all types, many at one moment, some in named sessions. Each listener's entries equal the entries
    of `fold`. An entry has the flags of the first event of its time and track that has flags.
    """
    monkeypatch.setattr(module, "_SLICE", slice_rows)
    random = Random(1)
    lines = [
        f"{random.choice('abc')},{random.choice('xyz')},{START + random.randrange(40) * 5 * MINUTE},{random.choice(TYPES)},"
        f"{random.choice(['', '2000', '90000'])},{random.choice(['', '', 's1', 's2'])},{random.choice(['', 'false'])},"
        f"{random.choice(['', 'train', 'test'])}"
        for _ in range(400)
    ]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,track_id,at_ms,type,played_ms,session_id,asked,part", *lines]) + "\n")
    log = import_log("canonical", [str(tmp_path / "log.csv")], tmp_path / "log")
    wanted: list[tuple[object, ...]] = []
    for user, rows in groupby(log.events().collect().iter_rows(named=True), key=itemgetter("user_id")):
        events, flags = [], dict[tuple[int, str], tuple[bool, int]]()
        for row in rows:
            kind = EventType[row["type"].upper()]
            told = {"played_ms": row["played_ms"], "session_id": row["session_id"]}
            events.append(Event(row["at_ms"], kind, "", row["track_id"], **told))
            part = NO_PART if row["part"] is None else PARTS.index(row["part"])
            if (row["asked"], part) != (True, NO_PART):
                flags.setdefault((row["at_ms"], row["track_id"]), (row["asked"], part))
        wanted += [
            (user, one.track_id, one.outcome, one.at_ms, one.session, *flags.get((one.at_ms, one.track_id), (True, NO_PART)))
            for one in fold(events, HistoryRule()).entries
        ]

    found = build(log, HistoryRule())

    names = [found.tracks[track] for track in found.track]
    users = [found.users[found.user[sequence]] for sequence in found.sequence]
    columns = (users, names, *(getattr(found, name).tolist() for name in ("outcome", "at_ms", "session", "asked", "part")))
    assert list(zip(*columns, strict=True)) == wanted
    assert len({line[2:3] + line[5:] for line in wanted}) > 12


def test_reading_in_slices_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose events lie in several slices of the log is still one sequence."""
    log = _log(tmp_path, *(_row(user, f"t{minute}", minute) for user in "abc" for minute in range(10)))
    whole = _lines(build(log, HistoryRule()))
    monkeypatch.setattr(module, "_SLICE", 7)

    assert _lines(build(log, HistoryRule())) == whole
    assert [len(tracks) for _, tracks in whole] == [10, 10, 10]


def test_outcomes_reported_late_are_known_from_the_next_entry_on(tmp_path: Path) -> None:
    """A skip arrives some milliseconds after the next play, and a like two tracks later. The second listener has no late
    report.
    """
    rows = [_row("a", "x", 0), _row("a", "y", 1), _row("a", "x", 2, "skip"), _row("a", "z", 3), _row("a", "x", 4, "like")]
    log = _log(tmp_path, *rows, _row("b", "x", 0), _row("b", "x", 1, "skip"), _row("b", "y", 2))

    sequences = build(log, HistoryRule())

    assert sequences.outcome.tolist() == [Outcome.LIKED, *[Outcome.PLAYED] * 2, Outcome.SKIPPED, Outcome.PLAYED]
    assert sequences.late_entry.tolist() == [0, 0]
    assert sequences.late_from.tolist() == [2, 3]
    assert sequences.late_before.tolist() == [Outcome.PLAYED, Outcome.SKIPPED]
    assert [sequences.outcomes_at(0, entry).tolist()[:1] for entry in (1, 2, 3)] == [[1], [2], [3]]
    assert sequences.outcomes_at(3, 4).tolist() == [Outcome.SKIPPED]


def test_a_sessions_late_reports_stand_among_its_own_entries(tmp_path: Path) -> None:
    """Two sessions alternate. A report after the other session's play is not late; only later plays of its own session
    count.
    """
    (tmp_path / "log.csv").write_text(
        "user_id,track_id,at_ms,type,session_id\n"
        + "".join(
            f"a,{track},{START + minute * MINUTE},{type},{session}\n"
            for minute, (track, type, session) in enumerate(
                [
                    *(("x", "play", "s"), ("y", "play", "t"), ("x", "skip", "s"), ("z", "play", "s")),
                    *(("w", "play", "t"), ("y", "like", "t"), ("x", "dislike", "s")),
                ]
            )
        )
    )
    log = import_log("canonical", [str(tmp_path / "log.csv")], tmp_path / "log")

    sequences = build(log, HistoryRule(scope="session"))

    assert [sequences.tracks[track] for track in sequences.track] == ["x", "z", "y", "w"]
    assert sequences.outcome.tolist() == [Outcome.DISLIKED, Outcome.PLAYED, Outcome.LIKED, Outcome.PLAYED]
    assert list(zip(sequences.late_entry, sequences.late_from, sequences.late_before, strict=True)) == [
        (0, 2, Outcome.SKIPPED),
        (2, 4, Outcome.PLAYED),
    ]
