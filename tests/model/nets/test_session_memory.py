"""The session memory agrees with its formula, by hand and by loops."""

from collections.abc import Iterator, Sequence
from math import exp, log

import numpy as np
import pytest
import torch
from torch import Tensor

from model.encoding import RowHistory, encode_histories
from model.events import Outcome
from model.nets import session_memory as module
from model.nets.session_memory import AROUND, MATCHES, REACH, SessionMemory, newest_distinct
from training.fitting.session_memory import tables

ROWS, RECENT = 40, 30
P, S, L, D = Outcome.PLAYED, Outcome.SKIPPED, Outcome.LIKED, Outcome.DISLIKED


def memory_of(sessions: Sequence[Sequence[int]], *, recent: int = RECENT, weight: float = 1.0) -> SessionMemory:
    """Make a memory of sessions, oldest first, that ended a day apart."""
    number = [len(sessions) - 1 - place for place, session in enumerate(sessions) for _ in session]
    ended_ms = np.arange(len(sessions))[::-1] * 86_400_000
    rows = np.array([row for session in sessions for row in session], np.int64)
    return SessionMemory(tables(rows, np.array(number, np.int64), ended_ms, ROWS), recent=recent, weight=weight)


def history(*rows: int, outcomes: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """Make tracks and outcomes of one history; the default outcome is played."""
    batch = encode_histories([RowHistory(rows, outcomes or [P] * len(rows))], length=max(1, len(rows)))
    return torch.from_numpy(batch.tracks), torch.from_numpy(batch.outcomes)


def remembered(memory: SessionMemory, *rows: int, outcomes: Sequence[int] | None = None) -> dict[int, float]:
    """Return the rows that get a bonus after a history, with the bonus."""
    zeros = torch.zeros(1, memory.height)
    [more_V] = memory.add(zeros, *history(*rows, outcomes=outcomes)).tolist()
    return {row: more for row, more in enumerate(more_V) if more}


def by_the_formula(sessions: Sequence[Sequence[int]], rows: Sequence[int]) -> dict[int, float]:
    """Compute the module's formula in loops, for sessions as in `memory_of` and a history of kept tracks, with weight 1."""
    heard = distinct(rows)[::-1][:REACH]
    newest_first = [distinct(session) for session in sessions[::-1]]
    with_row = {row: [number for number, session in enumerate(newest_first) if row in session] for row in heard}
    fade = [exp(-lag / module.FADE) for lag in range(REACH)]
    rare = {row: log(len(sessions) / max(1, len(numbers))) ** module.RARE for row, numbers in with_row.items()}
    looked_at = [(lag, row, number) for lag, row in enumerate(heard) for number in with_row[row][:RECENT]]
    found = []
    for lag, row, number in looked_at:
        shared = sum(fade[other] * rare[its] for other, its, same in looked_at if same == number)
        lasting = len(newest_first[number]) ** -module.LENGTH * (1 + number) ** -module.AGE
        found.append(((shared * lasting) ** module.SHARP * by_lag(lag), row, number))
    least = sorted((strength for strength, _, _ in found), reverse=True)[MATCHES - 1] if len(found) >= MATCHES else 0.0
    evidence: dict[int, float] = {}
    for strength, row, number in found:
        session = newest_first[number]
        for place, other in enumerate(session):
            away = place - session.index(row)
            if abs(away) <= AROUND:
                said = max(0.0, strength - least) * near(away) * discount(other, heard)
                evidence[other] = evidence.get(other, 0.0) + said
    total = sum(evidence.values())
    return {row: log(1 + module.STEEP * said / total) for row, said in evidence.items() if said}


def distinct(rows: Sequence[int]) -> list[int]:
    """Return each row once, at its last place."""
    return [row for place, row in enumerate(rows) if row not in rows[place + 1 :]]


def by_lag(lag: int) -> float:
    """Return the weight of a match by its track's place in the history."""
    return 1.0 if not lag else module.LATER * exp(-(lag - 1) / module.LATER_FADE)


def near(away: int) -> float:
    """Return the weight of a track by its place beside the match."""
    if away > 0:
        return float(away**-module.AFTER)
    return float(module.BEFORE * abs(away) ** -module.BEFORE_FADE) if away else module.SELF


def discount(row: int, heard: Sequence[int]) -> float:
    """Return the factor for a track that was just heard."""
    if row not in heard:
        return 1.0
    return module.HEARD_LAST if row == heard[0] else module.HEARD


def listening(*, sessions: int, seed: int) -> Iterator[list[int]]:
    """Make random sessions of 1 to 40 entries over a few favourites and many others."""
    random = np.random.default_rng(seed)
    for length in random.integers(1, 41, sessions):
        yield np.minimum(2 + random.geometric(0.08, int(length)), ROWS - 1).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_the_formulas(seed: int) -> None:
    """Sessions are longer than the look-up's range, with repeats and more matches than count, in all lengths."""
    sessions = list(listening(sessions=60, seed=seed))
    memory = memory_of(sessions)
    for rows in listening(sessions=6, seed=seed + 100):
        wanted = by_the_formula(sessions, rows)
        found = remembered(memory, *rows)

        assert found.keys() == wanted.keys()
        assert [found[row] for row in wanted] == pytest.approx(list(wanted.values()), rel=1e-4, abs=1e-4)


def test_what_followed_stands_before_what_came_before() -> None:
    """With one session in memory, the next track is best, and the heard track itself is the last of the near ones."""
    found = remembered(memory_of([[5, 6, 7, 8], [20, 21]]), 6)

    assert max(found, key=lambda row: found[row]) == 7
    assert found[8] > found[5]
    assert found.keys() == {5, 6, 7, 8}


def test_a_session_that_has_more_of_the_history_counts_more() -> None:
    """Of two sessions with the last track, the one that also has the track before counts more."""
    found = remembered(memory_of([[5, 6, 7], [15, 6, 17], [20, 21], [22, 23]]), 5, 6)

    assert found[7] > found[17]


@pytest.mark.parametrize("rows", [(), (30,)], ids=["nothing heard", "a track that no session has"])
def test_nothing_remembered_changes_nothing(rows: tuple[int, ...]) -> None:
    """There is no NaN and no bonus, so the scores are the network's."""
    memory, scores = memory_of([[5, 6], [7, 8]]), torch.randn(1, ROWS)

    assert torch.equal(memory.add(scores, *history(*rows)), scores)


def test_refused_tracks_are_not_followed() -> None:
    """A skipped or disliked track recalls no session; a liked one does."""
    memory = memory_of([[5, 6], [7, 8], [9, 10]])

    assert remembered(memory, 5, 7, 9, outcomes=[S, L, D]) == remembered(memory, 7)


def test_a_batch_is_answered_line_by_line() -> None:
    """Other histories in the batch, and their padding, change no score."""
    sessions = list(listening(sessions=40, seed=1))
    memory, heard = memory_of(sessions), [[4, 5, 6], [], [7], list(range(2, 22))]
    batch = encode_histories([RowHistory(rows, [P] * len(rows)) for rows in heard], length=30)
    together = memory.add(torch.zeros(4, ROWS), torch.from_numpy(batch.tracks), torch.from_numpy(batch.outcomes))
    alone = torch.cat([memory.add(torch.zeros(1, ROWS), *history(*rows)) for rows in heard])

    assert torch.allclose(together, alone, atol=1e-5)


def test_only_the_newest_sessions_of_a_track_are_looked_at() -> None:
    """With room for one session, the older one does not count."""
    found = remembered(memory_of([[5, 6], [5, 7], [20]], recent=1), 5)

    assert found.keys() == {5, 7}


def test_newest_distinct_rows_come_newest_first() -> None:
    """Each track has its latest place. Refused and missing tracks are left out."""
    [rows] = newest_distinct(*history(5, 6, 5, 7, 8, outcomes=[P, P, P, P, S])).tolist()

    assert rows == [7, 5, 6] + [0] * (REACH - 3)
