"""`python -m tests.load.long_history`: the processor time that a long history costs the service, by its length.

For each length a listener is recorded in an embedded Valkey: so many packed plays, and behind them a full window of 256 events.
The service's store then reads the listener again and again. Three columns have this process's processor time for a request. The
first reads the window alone, as for a model without a copy head. The second reads and unpacks the past too. The third encodes
both for the copy head. The last column is Valkey's own time for the read. Each figure is the least of several rounds.
`--plot FILE` draws the figures as an SVG.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from redis import Redis

from model.events import Event, EventType, HistoryRule
from model.long_history import long_history_of
from model.vocabulary import Vocabulary
from service.settings import Settings
from service.store import embedded_valkey
from service.store.connections import connect
from service.store.sessions import HistoryReader, RedisSessions
from tests.load.page import standalone
from training.reporting.plots import lines

LENGTHS = (0, 256, 1_000, 2_500, 5_000, 7_500, 10_000)
CATALOGUE = 200_000
ROUNDS = 15
_RULE = HistoryRule()
_WINDOW = 256


class Cost(NamedTuple):
    """Microseconds a request."""

    window: float
    with_past: float
    encode: float
    redis: float


def main(lengths: Sequence[int] = LENGTHS, *, catalogue: int = CATALOGUE, requests: int = 100) -> dict[int, Cost]:
    """Print a line for each length of the past, and return the figures."""
    names = [uuid4().hex[:22] for _ in range(catalogue)]
    vocabulary, found = Vocabulary(names), dict[int, Cost]()
    print("| plays in the past | window alone | with the past | encoding | Valkey's part |\n|---|---|---|---|---|")  # noqa: T201  # a terminal program
    with tempfile.TemporaryDirectory() as folder, embedded_valkey.running(Path(folder)) as url:
        for length in lengths:
            cost = found[length] = asyncio.run(_measure(url, length, names, vocabulary, requests))
            cells = (f"{microseconds:.0f} µs" for microseconds in cost)
            print(f"| {length:,} | {' | '.join(cells)} |", flush=True)  # noqa: T201  # as above
    return found


def plot(found: Mapping[int, Cost]) -> str:
    """Draw a line for each column of the table, as the text of an SVG file."""
    names = ("window alone", "with the past", "encoding", "Valkey's part")
    series = {name: [(float(length), cost[column]) for length, cost in found.items()] for column, name in enumerate(names)}
    return standalone(lines(series, x_label="plays in the past (across), µs of processor time a request (up)"))


async def _measure(url: str, length: int, names: Sequence[str], vocabulary: Vocabulary, requests: int) -> Cost:
    client = connect(url, timedelta(seconds=30))
    store = RedisSessions(client, Settings(long_history=length), _RULE, lambda _: nullcontext())
    listener, now_ms = uuid4().hex, 10**12
    events = _events(length, names, now_ms)
    for start in range(0, len(events), 500):
        await store.record({listener: events[start : start + 500]})
    plain, whole = HistoryReader(_RULE, vocabulary.knows), HistoryReader(_RULE, vocabulary.knows, reads_past=True)
    remembered = await store.read(listener, now_ms, whole)
    entries = remembered.history.entries

    async def read(reader: HistoryReader) -> None:
        for _ in range(requests):
            await store.read(listener, now_ms, reader)

    def encode() -> None:
        for _ in range(requests):
            long_history_of(entries, vocabulary, length=length + len(entries), now_ms=now_ms, going_on=(), past=remembered.past)

    times = []
    for _ in range(ROUNDS):
        marks = [time.process_time()]
        await read(plain)
        marks.append(time.process_time())
        await read(whole)
        marks.append(time.process_time())
        encode()
        marks.append(time.process_time())
        times.append(np.diff(marks))
    with Redis.from_url(url) as redis:
        redis.config_resetstat()
        await read(whole)
        valkey = float(redis.info("commandstats")["cmdstat_evalsha"]["usec_per_call"])
    await client.close()
    window, with_past, encoding = (min(column) * 1e6 / requests for column in np.transpose(times).tolist())
    return Cost(window, with_past, encoding, valkey)


def _events(length: int, names: Sequence[str], now_ms: int) -> list[Event]:
    """Plays of the past and of the window, oldest first. They are drawn from 0.6 tracks a play."""
    chance = np.random.default_rng(1)
    own = chance.choice(len(names), max(1, round(0.6 * (length + _WINDOW))), replace=False)
    heard = own[chance.integers(0, len(own), length + _WINDOW // 2)]
    return [event for place, track in enumerate(heard.tolist()) for event in _play(place - len(heard), names[track], now_ms)]


def _play(place: int, track: str, now_ms: int) -> Iterator[Event]:
    """A play and its end, an hour after the one before."""
    play = Event(now_ms + 3_600_000 * place, EventType.PLAY, uuid4().hex, track, 180)
    yield play
    yield play._replace(type=EventType.COMPLETE, event_id=uuid4().hex, played_ms=201_000, track_ms=203_000)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.long_history", description=str(__doc__).partition("\n")[0])
    made.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="plays in the past")
    made.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures as an SVG")
    return made


if __name__ == "__main__":
    options = parser().parse_args()
    figures = main(options.lengths)
    if options.plot:
        options.plot.write_text(plot(figures), encoding="utf-8")
