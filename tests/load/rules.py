"""Measures what the rules of a request cost: `python -m tests.load.rules ARTIFACT LOG`.

A listener of the log with at least `EVENTS` plays asks an artifact in this process, without HTTP and Redis. Rules take turns,
so that a busy machine costs all of them alike. Then others ask without rules, alone and while replies are explained without a
pause, with slices of several sizes (`service.scoring.batches.BEHIND_AT_ONCE`) that take turns too.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np

from model.artifact import Artifact, load
from model.events import Event, EventType
from model.graphs import Graphs
from service.observing.metrics import Metrics
from service.recommender import Query, Recommendation, Recommender
from service.rules import AskedRules, Rules
from service.scoring import batches
from service.scoring.batcher import BatchingScorer
from service.settings import Settings
from service.store.recent_masks import RecentMasks
from service.take_downs import TakeDowns
from tests.service.fakes import MemorySessions, MemoryTakeDowns
from training.data.log import open_log

EVENTS, ROUNDS, TURNS = 256, 100, 5
MOST = 1_000
SLICES = (1, 4, 8, 16, MOST)
"""Histories of explanations that run at once; `MOST` means all of a reply."""
RULES: dict[str, AskedRules] = {
    "none": {},
    "replay=true": {"replay": True},
    "not_heard_days=7": {"not_heard_days": 7},
    "artist_gap=3": {"artist_gap": 3},
    "artist_gap=10": {"artist_gap": 10},
    "album_gap=3": {"album_gap": 3},
    "album_gap=10": {"album_gap": 10},
    "novelty=0.5": {"novelty": 0.5},
    "novelty=-0.5": {"novelty": -0.5},
    "explore=0.2": {"explore": 0.2},
    "explain=true": {"explain": True},
}
Ask = Callable[[AskedRules], Awaitable[Recommendation]]


async def main(folder: Path, log: Path) -> None:
    """Print both tables."""
    artifact = load(folder)
    events = newest_events(log)
    store = MemorySessions(artifact.manifest.history)
    await store.record({"u": events})
    metrics = Metrics().of_model("m", "1", "current")
    async with BatchingScorer(Graphs(artifact, threads=1), Settings(queue_patience=timedelta(seconds=60)), metrics) as scorer:
        masks = RecentMasks(artifact.manifest.history.skip, timedelta(seconds=1))
        take_downs = TakeDowns(MemoryTakeDowns(), lambda: 1)
        recommender = Recommender(artifact, scorer, store, masks, take_downs, rules=Rules(), degraded=lambda _: None)
        now_ms = events[-1].at_ms + 60_000

        async def ask(rules: AskedRules) -> Recommendation:
            return await recommender.for_listener("u", Query(count=10, rules=rules, seed="1"), now_ms)

        sys.stdout.write(f"{artifact.manifest.tracks:,} tracks, {heads(artifact)}, {len(events)} events of the listener\n")
        print_times("rule", await turns(ask))
        plain, explained = await in_slices(ask)
        print_times("a request without rules", plain)
        print_times("an explained reply", explained)


def newest_events(log: Path) -> Sequence[Event]:
    """The newest events of the first listener who has enough."""
    frame = open_log(log).events().collect()
    for (_,), mine in frame.group_by("user_id", maintain_order=True):
        if len(mine) >= EVENTS:
            rows = mine.sort("at_ms").tail(EVENTS).select("at_ms", "type", "track_id").rows()
            return [
                Event(at_ms, EventType[type.upper()], f"e{place}", track) for place, (at_ms, type, track) in enumerate(rows)
            ]
    raise SystemExit(f"no listener of {log} has {EVENTS} events")


def heads(artifact: Artifact) -> str:
    """Whether the artifact copies from the listener's own past."""
    length = artifact.manifest.long_history
    return f"a copy head over {length} plays" if length else "no copy head"


async def turns(ask: Ask) -> dict[str, list[float]]:
    """Seconds of each reply, by rule. The first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in RULES}
    for number in range(ROUNDS + 1):
        for name, rules in RULES.items():
            started = time.perf_counter()
            await ask(rules)
            if number:
                found[name].append(time.perf_counter() - started)
    return found


async def in_slices(ask: Ask) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of replies without rules, alone and beside a client that asks for one explained reply after the other, and
    seconds of the explained replies. The sizes of slices take turns.
    """
    plain: dict[str, list[float]] = {"alone": []}
    explained: dict[str, list[float]] = {}
    usual = batches.BEHIND_AT_ONCE
    for _ in range(TURNS):
        plain["alone"] += await alone(ask)
        for size in SLICES:
            name = f"beside explanations in slices of {size}" if size < MOST else "beside explanations in one batch"
            batches.BEHIND_AT_ONCE = size
            others, own = await beside(ask)
            plain.setdefault(name, []).extend(others)
            explained.setdefault(name, []).extend(own)
    batches.BEHIND_AT_ONCE = usual
    return plain, explained


async def alone(ask: Ask) -> list[float]:
    """Seconds of replies without rules, one every 20 ms."""
    found = []
    for _ in range(ROUNDS):
        await asyncio.sleep(0.02)
        started = time.perf_counter()
        await ask({})
        found.append(time.perf_counter() - started)
    return found


async def beside(ask: Ask) -> tuple[list[float], list[float]]:
    """The same while another client asks for one explained reply after the other, and the seconds of these."""
    own: list[float] = []

    async def explained() -> None:
        while True:
            started = time.perf_counter()
            await ask({"explain": True})
            own.append(time.perf_counter() - started)

    task = asyncio.create_task(explained())
    try:
        return await alone(ask), own
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def print_times(title: str, found: dict[str, list[float]]) -> None:
    """Print percentiles in milliseconds."""
    sys.stdout.write(f"\n| {title} | least ms | p50 ms | p90 ms | p99 ms |\n|---|---|---|---|---|\n")
    for name, seconds in found.items():
        shown = " | ".join(f"{ms:.2f}" for ms in np.percentile(np.array(seconds) * 1000, [0, 50, 90, 99]))
        sys.stdout.write(f"| {name} | {shown} |\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.rules", description="Measure what the rules of a request cost.")
    made.add_argument("artifact", type=Path, help="folder of a model")
    made.add_argument("log", type=Path, help="the log that it was trained on")
    return made


if __name__ == "__main__":
    given = parser().parse_args()
    asyncio.run(main(given.artifact, given.log))
