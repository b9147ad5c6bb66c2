"""`python -m tests.load.capacity [RESULTS]`: computes what one machine carries and what a million daily listeners need.

It reads the benchmark's JSON lines and prints a Markdown table with the assumptions. The service, Redis and the generator
shared the machine's cores during the measurement, so the figures are on the safe side.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from tests.load.page import Line, latest


class NotMeasuredError(Exception):
    """The results lack a row that is needed here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audience:
    """Assumptions about listeners."""

    daily: int = 1_000_000
    plays: float = 40.0  # in a day: about two and a half hours of music
    events_a_play: float = 2.0  # a start, and an end or skip
    asks_a_play: float = 1.0  # as if a player asked for each track; most ask for several at once
    peak: float = 3.0  # ratio of the busiest minutes to the mean of the day
    busy: float = 0.5  # share of a machine's capacity in use, so that one machine may fail and p99 stays low
    remembered: float = 2.0  # number of listeners in Redis (30 days) for each daily one


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """The measured capacity of one machine: requests and events a second, and bytes of Redis for a listener."""

    asks_s: float
    events_s: float
    bytes_each: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """The load of an audience at its peak, and the machines and memory that it needs."""

    asks_s: float
    events_s: float
    share: float  # share of one machine's time
    machines: int
    redis_gb: float


def need(audience: Audience, carried: Carried) -> Need:
    """Compute an audience's needs. Requests and events share a machine's time; Redis needs memory for every remembered
    listener.
    """
    plays_s = audience.daily * audience.plays / 86_400 * audience.peak
    asks_s, events_s = plays_s * audience.asks_a_play, plays_s * audience.events_a_play
    share = asks_s / carried.asks_s + events_s / carried.events_s
    redis_gb = audience.daily * audience.remembered * carried.bytes_each / 1e9
    return Need(asks_s=asks_s, events_s=events_s, share=share, machines=ceil(share / audience.busy), redis_gb=redis_gb)


def carried(rows: Sequence[Line]) -> Carried:
    """Read the capacity from the results. NotMeasuredError if a row is missing."""
    return Carried(
        asks_s=_figure(rows, "full", "closed loop, 64 connections", "req_s"),
        events_s=_figure(rows, "event", "closed loop, 64 connections", "req_s"),
        bytes_each=_figure(rows, "full, ", "listeners", "bytes_a_listener"),
    )


def table(measured: Carried, audience: Audience) -> str:
    """Return the Markdown: assumptions, the capacity of one machine, the needs of the audience."""
    needed = need(audience, measured)
    alone = audience.daily / needed.share * audience.busy
    return f"""\
Assumed: {audience.plays:g} plays a listener-day, {audience.events_a_play:g} events and {audience.asks_a_play:g} request for \
the next track a play, a peak of {audience.peak:g} times the mean, machines {audience.busy:.0%} busy, \
{audience.remembered:g} listeners remembered for each daily one.

| | one machine | {audience.daily:,} daily listeners, at the peak |
|---|---|---|
| next | {measured.asks_s:,.0f} a second, alone | {needed.asks_s:,.0f} a second |
| events | {measured.events_s:,.0f} a second, alone | {needed.events_s:,.0f} a second |
| Redis | {measured.bytes_each:,.0f} bytes a listener | {needed.redis_gb:.1f} GB |
| machines | {alone:,.0f} daily listeners | {needed.machines} |"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.capacity", description=str(__doc__).partition("\n")[0])
    made.add_argument(
        "results",
        type=Path,
        nargs="?",
        default=Path(".nexttrack/load/results.jsonl"),
        help="the benchmark's lines (%(default)s)",
    )
    return made


def main() -> None:
    """Print the table."""
    results = parser().parse_args().results
    try:
        sys.stdout.write(table(carried(latest(results)), Audience()) + "\n")
    except NotMeasuredError as error:
        sys.exit(f"{results}: {error}")


def _figure(rows: Sequence[Line], work: str, part: str, figure: str) -> float:
    """Find our median in the newest row of 100,000 tracks whose work starts with `work` and whose name contains `part`."""
    found = [
        line
        for line in rows
        if line["tracks"] == 100_000
        and (line["work"] == work or (work.endswith(" ") and line["work"].startswith(work)))
        and part in f"{line['work']}, {line['setting']}"
        and figure in line["ours"]
    ]
    if not found:
        raise NotMeasuredError(f"no row {work.strip(', ')!r} with {figure}; `make bench` measures it")
    newest: float = max(found, key=lambda line: str(line["at"]))["ours"][figure]["median"]
    return newest


if __name__ == "__main__":
    main()
