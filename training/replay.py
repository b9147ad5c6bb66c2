"""Send the held-out part of a log through the running service, and hold its lists against the trainer's own.

Listener by listener, several at once, in time order: everything before the first case is posted, then before each case the
service is asked what comes next and how it scores the target, then the entry itself is posted (`training.player`). What it
should have said comes from the same artifact and the evaluation's own cases (`training.served`).

The events' times lie in the past. So no session is going on, the service masks nothing but disliked tracks, and it
reads what the evaluation reads. For the same reason a model whose history is the session alone cannot be replayed: the
service would find every session over. Rules of the reply that the evaluation does not know (`artist_gap`) must be off.
"""

import asyncio
from pathlib import Path

import httpx
import numpy as np
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import Progress

from model import artifact
from training.agreement import Replayed, compare, print_replay
from training.cases import Cases, select_cases
from training.evaluate import summarise
from training.log import Log
from training.player import Online, ReplayError, ask_service, send
from training.recipe import Recipe
from training.sequences import build
from training.served import answer_with
from training.split import TEST, Split, split


def replay(
    log: Log,
    folder: Path,
    url: str,
    *,
    listeners: int = 0,
    at_once: int = 8,
    prefix: str = "replay-",
    console: Console | None = None,
) -> Replayed:
    """Replay the test part of `log` against the service at `url`, which serves the artifact in `folder`; print what came of it.

    `listeners` of those who have cases are drawn evenly, 0 takes all; `at_once` are in flight together. `prefix` stands before
    their ids and those of their events. ReplayError where the artifact's tracks are not the log's, its history is the
    session, or the service serves another version or stops answering.
    """
    found = artifact.load(folder)
    if found.manifest.history.scope != "user":
        raise ReplayError("found a history of scope 'session'; replay wants 'user', since events of the past are in no session")
    recipe = TypeAdapter(Recipe).validate_python(found.manifest.recipe)
    cut = split(build(log, recipe.history), recipe.split)
    if list(found.vocabulary.tracks) != list(cut.vocabulary.tracks):
        raise ReplayError(f"the artifact knows other tracks than {log.folder}; replay wants the log that it was trained on")
    cases = draw_listeners(select_cases(cut, TEST), listeners)
    online = asyncio.run(_run(found.manifest.version, cut, cases, url, at_once=at_once, prefix=prefix, console=console))
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
    """The cases of so many listeners, evenly from first to last; all of them where `listeners` is 0."""
    users = np.unique(cases.user)
    if not 0 < listeners < len(users):
        return cases
    drawn = users[np.linspace(0, len(users) - 1, listeners).astype(np.int64)]
    return cases.take(np.flatnonzero(np.isin(cases.user, drawn)))


async def _run(
    version: str, cut: Split, cases: Cases, url: str, *, at_once: int, prefix: str, console: Console | None
) -> Online:
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    with Progress(console=console, transient=True, disable=console is None) as progress:
        task = progress.add_task("replay", total=len(cases))
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
            serving = (await send(client, "GET", "/v1/model"))["version"]
            if serving != version:
                raise ReplayError(f"the service at {url} serves {serving}; replay wants {version}")
            return await ask_service(client, cut, cases, prefix=prefix, at_once=at_once, tick=lambda: progress.advance(task))
