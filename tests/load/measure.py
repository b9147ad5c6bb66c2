"""Measuring one row: each system in turn, round after round, by a generator process each time."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict

from tests.load.generator import Order, Result
from tests.load.latencies import Spread, spread, summarise
from tests.load.rows import OURS, Row
from tests.load.systems import System
from tests.load.traffic import Kind, World

FIGURES = ("req_s", "p50", "p90", "p99", "max", "errors", "rss_mb", "cpu_s_per_1000")
"""Requests answered a second, latencies in ms, requests failed, MB resident of the largest process, CPU time of all."""
Measured = Mapping[str, Mapping[str, Spread]]
"""System -> figure -> its median and range over the rounds."""


class GeneratorError(Exception):
    """The generator failed, so nothing was measured."""


def in_turns(row: Row, found: Mapping[str, System | str], *, rounds: int, seconds: float) -> Measured:
    """Measure us and who stands beside us, A B A B; who could not be started is left out."""
    systems = {name: system for name in (OURS, *row.beside) if isinstance(system := found[name], System)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, system in systems.items():
            runs[name].append(_once(row, system, seconds))
    return {name: {key: spread([run[key] for run in of]) for key in FIGURES} for name, of in runs.items()}


def seed(system: System, world: World) -> None:
    """Give every user of a world a session, by posting its events. Ends at once where they are all there."""
    order = Order(port=system.port, kind="seed", world=world, connections=2, seconds=120.0, warm_s=0.0, run=_new_run())
    result = _generate(order)
    if result.errors:
        raise GeneratorError(f"seeding failed: {result.errors}")


def _once(row: Row, system: System, seconds: float) -> dict[str, float]:
    kind: Kind = "rows" if row.kind == "history" and system.name != OURS else row.kind
    result = _generate(
        Order(
            port=system.port,
            kind=kind,
            world=World(tracks=row.tracks),
            connections=row.connections,
            seconds=seconds,
            rate=row.rate,
            run=_new_run(),
            watch=system.processes(),
        )
    )
    return {
        **asdict(summarise(result.latencies)),
        "req_s": result.per_second,
        "errors": float(sum(result.errors.values())),
        "rss_mb": system.memory_mb(),
        "cpu_s_per_1000": result.cpu_s / max(1, len(result.latencies)) * 1000,
    }


def _generate(order: Order) -> Result:
    command = [sys.executable, "-m", "tests.load.generator"]
    done = subprocess.run(command, input=json.dumps(asdict(order)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise GeneratorError(done.stderr.strip()[-2000:])
    return Result(**json.loads(done.stdout))


def _new_run() -> str:
    return os.urandom(4).hex()
