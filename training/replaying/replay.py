"""Sends the held-out part of a log through the running service, and compares its lists with the trainer's own.

Several listeners are replayed at once, each in time order. First everything before the first case is posted. Then, for each
case, the service is asked for the next tracks and for the target's score, and the entry itself is posted (`replaying.player`).
The expected answers come from the same artifact and the evaluation's own cases (`training.replaying.served`).

A history of scope `user` is replayed at the log's own times, moved back if the log is of today (`moved_back`). So no session is
going on: the service masks only disliked tracks, and reads what the evaluation reads. For a model that reads gaps, every
listener then returns after a long pause, so the expected answers have the same time of request (`asked_at`).

A history of scope `session` is replayed as if it were heard just now (`replaying.player`). Each run has ids of its own, since a
session ends by the clock. The service masks the tracks skipped in the session, so the expected answers are masked alike
(`without_skipped`). A model that reads gaps then reads short ones only, so the expected answers are computed with short gaps
(`going_on`). Played tracks may repeat (`NEXTTRACK_EXCLUDE_PLAYED=false`), as in the evaluation. Rules of the reply that the
evaluation does not know (`artist_gap`) must be off.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from time import time_ns

import numpy as np
from rich.console import Console

from model import artifact
from model.encoding import GOING_ON
from model.events import LATE_MS
from training.data.catalogue import with_new_tracks
from training.data.log import Log
from training.data.sequences import build, is_wanted
from training.data.split import TEST, Asked, Split, split
from training.evaluation.cases import Cases, select_cases
from training.evaluation.dislikes import Lists
from training.evaluation.evaluate import summarise
from training.progress import progress
from training.recipe import RecipeError, recipe_of
from training.replaying.agreement import Replayed, compare, print_replay
from training.replaying.player import Online, ReplayError, ask_service
from training.replaying.served import answer_with
from training.running_service import connect, send


def replay(
    log: Log,
    folder: Path,
    url: str,
    *,
    listeners: int = 0,
    at_once: int = 8,
    prefix: str = "replay-",
    key: str | None = None,
    console: Console | None = None,
) -> Replayed:
    """Replay the test part of `log` against the service at `url`, which serves the artifact in `folder`; print the result.

    `listeners` is how many listeners to replay (0: all), and `at_once` how many of them at the same time. Ids of listeners and
    events begin with `prefix`. `key` is an API key of the service. ReplayError if the artifact's recipe cannot be read, if its
    tracks are not the log's, or if the service serves another version; ServiceError if it stops answering.
    """
    found = artifact.load(folder)
    try:
        recipe = recipe_of(found.manifest.recipe, f"the manifest in {folder}")
    except RecipeError as error:
        raise ReplayError(f"found a recipe of another version, which cannot be compared: {error}") from error
    if found.manifest.long_history and recipe.history.scope == "session":
        raise ReplayError(
            f"found a copy head and history.scope = session in {folder}; replay compares a copy head where scope is user"
        )
    cut = split(build(log, recipe.history, console=console), recipe.split)
    if recipe.new_tracks:
        cut = with_new_tracks(cut, log)
    if list(found.vocabulary.tracks) != list(cut.vocabulary.tracks):
        raise ReplayError(f"the artifact knows other tracks than {log.folder}; replay wants the log that it was trained on")
    cases = draw_listeners(select_cases(cut, TEST), listeners)
    now_ms = time_ns() // 1_000_000
    just_now = recipe.history.scope == "session"
    if just_now or found.manifest.long_history:  # what an earlier replay posted has other times
        prefix = f"{prefix}{now_ms}-"
    if just_now:
        cases = without_skipped(going_on(cases))
    else:
        cut = moved_back(cut, now_ms, LONG_AGO_MS if found.manifest.long_history else LATE_MS)
        cases = asked_at(cases, cut, now_ms)
    version = found.manifest.version
    asked = _run(version, cut, cases, url, key, at_once=at_once, prefix=prefix, just_now=just_now, console=console)
    online = asyncio.run(asked)
    answers, offline = online.answers(cases), answer_with(found, cases)
    same, differences = compare(cut.vocabulary, cases, online=answers, offline=offline)
    replayed = Replayed(
        online=summarise("online", cases, answers),
        offline=summarise("offline", cases, offline),
        same=same,
        degraded=online.degraded,
        differences=differences,
    )
    if console is not None:
        print_replay(replayed, console)
    return replayed


def draw_listeners(cases: Cases, listeners: int) -> Cases:
    """Return the cases of `listeners` listeners, picked at even distances; all cases if `listeners` is 0."""
    users = np.unique(cases.user)
    if not 0 < listeners < len(users):
        return cases
    drawn = users[np.linspace(0, len(users) - 1, listeners).astype(np.int64)]
    return cases.take(np.flatnonzero(np.isin(cases.user, drawn)))


def moved_back(cut: Split, now_ms: int, age_ms: int = LATE_MS) -> Split:
    """Move all entries back in time if the newest is younger than `age_ms`. Otherwise the service would still count a session
    as current.

    A copy head reads ages. The run takes minutes, and each case is asked at another time. For entries of two years ago that
    makes no difference.
    """
    at_ms = cut.sequences.at_ms
    late_ms = max(0, int(at_ms.max()) + age_ms + 1 - now_ms)
    return replace(cut, sequences=replace(cut.sequences, at_ms=at_ms - late_ms)) if late_ms else cut


def asked_at(cases: Cases, cut: Split, now_ms: int) -> Cases:
    """Set one time of request for all cases, after all sessions. A model that reads gaps then reads the gap from the newest
    entry to this time.

    During a run of some minutes a pause of hours or of a few days can get the next higher gap code.
    """
    away_ms = np.where(cases.lengths > 0, cases.away_ms + now_ms - cut.sequences.at_ms[cases.entry], 0)
    return replace(cases, away_ms=away_ms, asked=Asked(now_ms, in_session=False), split=cut)


def going_on(cases: Cases) -> Cases:
    """Set all gaps to short ones, and the time of the request to the end of the history, as in a session heard just now."""
    return replace(cases, gaps=np.full_like(cases.gaps, GOING_ON), away_ms=np.zeros_like(cases.away_ms))


def without_skipped(cases: Cases) -> Cases:
    """Add to each case's excluded tracks those that the listener skipped in the history, as the service does within a
    session.
    """
    excluded = []
    for case, (start, stop) in enumerate(zip(cases.starts.tolist(), cases.stops.tolist(), strict=True)):
        left = ~is_wanted(cases.outcomes_of(case))
        late = slice(*np.searchsorted(cases.late_place, (start, stop)))
        told = (cases.late_from[late] <= cases.entry[case]) & ~is_wanted(cases.late_before[late])
        left[cases.late_place[late][told] - start] = True  # left, and liked later
        excluded.append(np.union1d(cases.disliked[case], cases.rows[start:stop][left]))
    return replace(cases, disliked=Lists.of(excluded))


LONG_AGO_MS = 2 * 365 * 24 * 60 * 60 * 1000


async def _run(
    version: str,
    cut: Split,
    cases: Cases,
    url: str,
    key: str | None,
    *,
    at_once: int,
    prefix: str,
    just_now: bool,
    console: Console | None,
) -> Online:
    async with connect(url, key, at_once) as client:
        serving = (await send(client, "GET", "/v1/model"))["version"]
        if serving != version:
            raise ReplayError(f"the service at {url} serves {serving}; replay wants {version}")
        with progress("replaying", len(cases), console, transient=True) as steps:
            return await ask_service(client, cut, cases, prefix=prefix, at_once=at_once, just_now=just_now, tick=steps.advance)
