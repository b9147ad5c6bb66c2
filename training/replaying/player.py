"""The player's side of a replay: posts a listener's entries and asks the service for the next tracks.

It speaks the HTTP contract and does not know what the answers should be. Event ids are made from the entry's number. So a
second run posts duplicates, which change nothing, and ids sort as the entries do, which decides within a millisecond. An
outcome that was reported late is posted when it was reported.

Events have the log's own times. For a model whose history is the session they have times of just now, a millisecond for each
entry, so that the session is still going on when the service is asked. Then each session is a listener of its own. This
listener has the opinions of the earlier sessions, since a new session would begin only a gap after the last.

Shapes: C cases, L places of a list.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from urllib.parse import quote

import httpx
import numpy as np

from model.events import Outcome
from model.vocabulary import UNKNOWN
from training.data.split import Split
from training.errors import TrainingError
from training.evaluation.cases import Cases
from training.evaluation.evaluate import LIST, Answers
from training.evaluation.metrics import ranks_in_lists
from training.evaluation.own_history import own_unknown_names, targets_with_own
from training.running_service import send

EVENTS_A_POST = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {
    Outcome.PLAYED: ("play", "complete"),
    Outcome.SKIPPED: ("play", "skip"),
    Outcome.LIKED: ("play", "complete", "like"),
    Outcome.DISLIKED: ("play", "skip", "dislike"),
}


class ReplayError(TrainingError):
    """A replay that cannot be compared. The text says why."""


@dataclass(kw_only=True, slots=True)
class Online:
    """The service's replies to all cases, filled case by case. `degraded` counts replies that did not come from the model."""

    rows: list[list[int]] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    degraded: int = 0

    def answers(self, cases: Cases) -> Answers:
        """Convert the replies to the evaluation's `Answers`."""
        lists = np.zeros((len(cases), LIST), np.int32)
        scores = np.full((len(cases), LIST), -np.inf, np.float32)
        for case, (rows, values) in enumerate(zip(self.rows, self.scores, strict=True)):
            lists[case, : len(rows)], scores[case, : len(rows)] = rows, values
        return Answers(ranks_in_lists(lists, scores, targets_with_own(cases)), np.array(self.own, np.float32), lists, scores)


async def ask_service(
    client: httpx.AsyncClient,
    split: Split,
    cases: Cases,
    *,
    prefix: str,
    at_once: int,
    just_now: bool = False,
    tick: Callable[[], None] = lambda: None,
) -> Online:
    """Post the entries of all listeners with cases, and ask the service at each case. With `just_now` events have times of now,
    not the log's. `tick` is called after each case.
    """
    count = len(cases)
    online = Online(rows=[[]] * count, scores=[[]] * count, own=[float("nan")] * count)
    sequence = np.searchsorted(split.sequences.offsets, cases.entry, side="right") - 1
    listeners = iter([(number, list(mine)) for number, mine in groupby(range(count), key=sequence.tolist().__getitem__)])

    async def work() -> None:
        for number, mine in listeners:  # shared: each worker takes the next listener that is left
            listener = _Listener(client, split, cases, number, prefix, just_now=just_now)
            for case in mine:
                await listener.catch_up(int(cases.entry[case]))
                await listener.ask(case, online)
                tick()
            await listener.catch_up(int(cases.entry[mine[-1]]) + 1)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return online


class _Listener:
    """Plays one sequence of the log to the service, as a listener: all entries of a user, or those of one session."""

    def __init__(
        self, client: httpx.AsyncClient, split: Split, cases: Cases, sequence: int, prefix: str, *, just_now: bool
    ) -> None:
        self._client, self._split, self._cases, self._prefix = client, split, cases, prefix
        sequences = split.sequences
        user = int(sequences.user[sequence])
        self._id = f"{prefix}{sequences.users[user]}"
        self._first, stop = sequences.offsets[sequence : sequence + 2].tolist()
        self._late = self._late_reports(stop)
        self._next = self._first
        self._entry_zero: datetime | None = None
        if just_now:
            self._id += f"-{sequence}"
            self._next = int(sequences.offsets[np.searchsorted(sequences.user, user)])
            self._entry_zero = datetime.now(UTC) - timedelta(milliseconds=stop)

    async def catch_up(self, stop: int) -> None:
        """Post all entries before `stop` that were not posted before, with the outcomes reported by then."""
        events = [event for entry in range(self._next, stop) for event in self._events(entry)]
        self._next = stop
        for start in range(0, len(events), EVENTS_A_POST):
            await send(self._client, "POST", "/v1/events", json={"events": events[start : start + EVENTS_A_POST]})

    async def ask(self, case: int, online: Online) -> None:
        """Request the list for a case and, if the vocabulary has the target, the target's score."""
        path = f"/v1/users/{quote(self._id, safe='')}/next"
        reply = await send(self._client, "GET", path, params={"count": LIST})
        online.degraded += reply["degraded"]
        online.rows[case] = self._rows(case, [track["track_id"] for track in reply["tracks"]])
        online.scores[case] = [track["score"] for track in reply["tracks"]]
        target = int(self._cases.target[case])
        if target != UNKNOWN:
            wish = {"user_id": self._id, "candidates": [self._split.vocabulary.track(target)]}
            tracks = (await send(self._client, "POST", "/v1/next", json=wish))["tracks"]
            online.own[case] = tracks[0]["score"] if tracks else -np.inf

    def _rows(self, case: int, track_ids: Sequence[str]) -> list[int]:
        """Return the rows of proposed tracks. Tracks without a row, which a copy head proposes, have request-local rows."""
        rows = [self._split.vocabulary.row(track_id) for track_id in track_ids]
        if UNKNOWN not in rows:
            return rows
        own = {name: self._cases.size + place for place, name in enumerate(own_unknown_names(self._cases, case))}
        return [own.get(track_id, UNKNOWN) if row == UNKNOWN else row for row, track_id in zip(rows, track_ids, strict=True)]

    def _events(self, entry: int) -> Iterator[dict[str, str]]:
        """Yield the events that a player sends between this entry and the next. All have the entry's time: by their type, the
        service reads a play before its end.
        """
        outcome, *later = self._outcomes(entry)
        if entry < self._first and outcome not in (Outcome.LIKED, Outcome.DISLIKED):
            return
        kinds = (
            ["play"] if Outcome.SKIPPED in later else _KINDS[outcome]
        )  # the play stays open for a skip that is reported late
        for kind in kinds:
            yield self._event(entry, kind, at=entry, number=f"{entry:012d}")
        for other, outcome in self._late[entry + 1]:
            yield self._event(other, _KINDS[outcome][-1], at=entry, number=f"{other:012d}-{entry + 1:012d}")

    def _late_reports(self, stop: int) -> defaultdict[int, list[tuple[int, Outcome]]]:
        """Return the outcomes of entries before `stop` that were reported late, by the first entry that knows them."""
        reports = defaultdict[int, list[tuple[int, Outcome]]](list)
        sequences = self._split.sequences
        for late in range(*np.searchsorted(sequences.late_entry, (self._first, stop)).tolist()):
            entry = int(sequences.late_entry[late])
            place = late - int(np.searchsorted(sequences.late_entry, entry))
            reports[int(sequences.late_from[late])].append((entry, self._outcomes(entry)[place + 1]))
        return reports

    def _outcomes(self, entry: int) -> list[Outcome]:
        """Return all outcomes that an entry had, the newest last. Entries before this sequence have only the newest."""
        sequences = self._split.sequences
        late = slice(*np.searchsorted(sequences.late_entry, (entry, entry + 1))) if entry >= self._first else slice(0)
        return [*map(Outcome, sequences.late_before[late].tolist()), Outcome(int(sequences.outcome[entry]))]

    def _event(self, entry: int, kind: str, *, at: int, number: str) -> dict[str, str]:
        """Make an event about `entry` that happens at the time of the entry `at`."""
        sequences = self._split.sequences
        if self._entry_zero is None or at < self._first:
            moment = _EPOCH + timedelta(milliseconds=int(sequences.at_ms[at]))
        else:
            moment = self._entry_zero + timedelta(milliseconds=at)
        return {
            "event_id": f"{self._prefix}{number}-{kind}",
            "user_id": self._id,
            "track_id": sequences.tracks[sequences.track[entry]],
            "type": kind,
            "at": moment.isoformat(timespec="milliseconds"),
            "session_id": f"session {sequences.session[entry]}",
        }
