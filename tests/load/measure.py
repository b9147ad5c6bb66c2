"""Measures one row: each system in turn, round after round, with a new generator process each time."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict

from tests.load.generator import Order, Result
from tests.load.latencies import Spread, spread, summarise
from tests.load.rows import OURS, Row
from tests.load.scrape import Scrape, overhead, scrape
from tests.load.systems import System
from tests.load.traffic import Kind

Measured = Mapping[str, Mapping[str, Spread]]
"""System -> figure -> median and range over the rounds.

Figures: req_s answered, p50 to max in ms, errors, rss_mb of the largest process, and cpu_s_per_1000 of all processes and of
their main threads alone. Our main thread is the event loop, and the rest is the model's thread. Some rows add figures of
their own.
"""


class GeneratorError(Exception):
    """The generator failed, so nothing was measured."""


def in_turns(row: Row, found: Mapping[str, System | str], *, rounds: int, seconds: float) -> Measured:
    """Measure our service and the systems beside it in turns (A B A B). Systems that could not be started are left out."""
    systems = {name: system for name in (OURS, *row.beside) if isinstance(system := found[name], System)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    for _ in range(1 if row.seconds else rounds):
        for name, system in systems.items():
            runs[name].append(_once(row, system, row.seconds or seconds))
    return {name: together(of) for name, of in runs.items()}


def together(runs: list[dict[str, float]]) -> Mapping[str, Spread]:
    """Compute median and range of each figure over the rounds."""
    return {figure: spread([run[figure] for run in runs]) for figure in runs[0]}


def _once(row: Row, system: System, seconds: float) -> dict[str, float]:
    assert row.kind != "start"
    kind: Kind = system.kind or row.kind
    before = scrape(system.port) if row.metrics else Scrape()
    result = generate(
        Order(
            port=system.port,
            kind=kind,
            world=row.world,
            connections=row.connections,
            seconds=seconds,
            rate=row.rate,
            run=_new_run(),
            watch=system.processes(),
        )
    )
    figures = {
        "req_s": result.per_second,
        **asdict(summarise(result.latencies)),
        "errors": float(sum(result.errors.values())),
        "rss_mb": system.memory_mb(),
        "cpu_s_per_1000": result.cpu_s / max(1, len(result.latencies)) * 1000,
        "main_cpu_s_per_1000": result.main_cpu_s / max(1, len(result.latencies)) * 1000,
    }
    if row.metrics:
        mean_ms = sum(result.latencies) / max(1, len(result.latencies)) * 1000
        figures |= overhead(before, scrape(system.port), end_to_end_ms=mean_ms)
    if row.seconds:
        tenth = max(1, len(result.latencies) // 10)
        first, last = summarise(result.latencies[:tenth]), summarise(result.latencies[-tenth:])
        figures |= {"p50_at_first": first.p50, "p50_at_last": last.p50, "p99_at_first": first.p99, "p99_at_last": last.p99}
    return figures


def generate(order: Order) -> Result:
    """Carry out an order in a process of its own. GeneratorError if it fails."""
    command = [sys.executable, "-m", "tests.load.generator"]
    done = subprocess.run(command, input=json.dumps(asdict(order)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise GeneratorError(done.stderr.strip()[-2000:])
    return Result(**json.loads(done.stdout))


def _new_run() -> str:
    return os.urandom(4).hex()
