"""Posts the newest events of every listener of a log to a running service, so that its listeners are no strangers there.

The service folds the events as the trainer does. A listener whom only the log knows gets the history that the evaluation would
read. If the service has heard from a listener itself, it keeps those events. The log's events take their places by time.

One request is in flight at a time, so the events of a listener arrive in the order of time. The service drops an event that is
older than those that have left the newest ones. After each request the progress file says which listeners are done. Posting
again is harmless, so a backfill that is stopped repeats the request that was in flight.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
from rich.console import Console

from model.events import AHEAD_MS
from training.backfilling.batches import Batch, batches, postable
from training.backfilling.newest_events import Wanted, newest_events
from training.backfilling.progress_file import ProgressFile, Sent
from training.counts import counted
from training.data.log import Log
from training.progress import Steps, in_words, progress
from training.running_service import ServiceError, connect, send


def backfill(
    log: Log,
    url: str,
    *,
    wanted: Wanted | None = None,
    key: str | None = None,
    console: Console | None = None,
) -> Sent:
    """Post the `wanted` events of every listener to the service at `url`. Return the counts.

    Goes on where a backfill of the same log to the same `url` has stopped. ServiceError if the service refuses or stops
    answering.
    """
    wanted = wanted or Wanted()
    file = ProgressFile(log, url, wanted)
    sent = file.read()
    if console is not None and sent.listeners:
        console.print(f"goes on after {counted(sent.listeners, 'listener')} sent before", markup=False, highlight=False)
    sound, started = postable(time.time_ns() // 1_000_000 + AHEAD_MS), time.monotonic()
    chosen = batches(newest_events(log.events(), wanted, sound=sound, after=sent.after))
    with progress("sending events", log.about["users"], console, done=sent.listeners, transient=True) as steps:
        sent = asyncio.run(_post(connect(url, key), chosen, sent, file, steps))
    file.delete()
    if console is not None:
        left_out = log.events().select((~sound).sum()).collect().item()
        _say(sent, left_out, url, time.monotonic() - started, console)
    return sent


async def _post(service: httpx.AsyncClient, chosen: Iterator[Batch], sent: Sent, file: ProgressFile, steps: Steps) -> Sent:
    async with service as client:
        await send(client, "GET", "/v1/model")  # a wrong address or key is said at once, and not tried again
        for batch in chosen:
            try:
                reply = await _record(client, batch)
            except ServiceError as error:
                told = f"Sent {counted(sent.listeners, 'listener')} so far; the same command goes on there"
                raise ServiceError(f"{error}. {told}") from error
            sent = replace(
                sent,
                after=sent.after if batch.last is None else batch.last,
                listeners=sent.listeners + batch.listeners,
                new=sent.new + reply["accepted"],
                known=sent.known + reply["duplicates"],
            )
            file.write(sent)
            for _ in range(batch.listeners):
                steps.advance()
            steps.note(counted(sent.events, "event"))
    return sent


async def _record(client: httpx.AsyncClient, batch: Batch) -> dict[str, int]:
    headers = {"content-type": "application/json"}
    return await send(client, "POST", "/v1/events", restarts=True, content=batch.body, headers=headers)


def _say(sent: Sent, left_out: int, url: str, seconds: float, console: Console) -> None:
    text = f"sent {counted(sent.events, 'event')} of {counted(sent.listeners, 'listener')} to {url} in {in_words(seconds)}: "
    text += f"{sent.new:,} new, {sent.known:,} that it knew"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if sent.after is not None:
        text = f"one of them is {sent.after}; type this id at {url} to see what comes next"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if left_out:
        text = f"left out {counted(left_out, 'event')} that no service takes: of the future, or with an odd session id"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
