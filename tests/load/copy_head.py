"""`python -m tests.load.copy_head`: throughput with a copy head beside the same network without one, in turns.

Two services read the same listeners from one embedded Valkey. `--plays` has how many plays each listener has posted; 0 is one
session, as in the other measurements. Of 1,200 plays some 1,000 are packed, and 200 are in the window. Each line has medians
over the rounds: requests a second, and CPU microseconds a request of the event loop, of the model's thread and of Valkey.
"""

import argparse
import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple

from redis import Redis

from service.store import embedded_valkey
from tests.load import artifacts, listeners, systems
from tests.load.generator import Order
from tests.load.measure import generate
from tests.load.systems import System
from tests.load.traffic import World

USERS, LONG_HISTORY = 500, 1_000


class Run(NamedTuple):
    """Requests a second, and CPU microseconds a request."""

    per_second: float
    loop_us: float
    model_us: float
    valkey_us: float


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.copy_head", description=str(__doc__).partition("\n")[0])
    made.add_argument("--cache", type=Path, default=Path(".nexttrack/load"), help="folder of artifacts")
    made.add_argument("--tracks", type=int, default=100_000)
    made.add_argument("--plays", type=int, nargs="+", default=[0, 256, 1_200], help="plays of each listener; 0: one session")
    made.add_argument("--connections", type=int, nargs="+", default=[16, 64])
    made.add_argument("--users", type=int, default=USERS)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=float, default=2.0)
    return made


def main() -> None:
    """Measure all lengths of histories and numbers of connections."""
    given = parser().parse_args()
    folders = {
        "without": artifacts.of_size(given.cache, given.tracks),
        "with": artifacts.of_size(given.cache, given.tracks, long_history=LONG_HISTORY),
    }
    worlds = [
        World(tracks=given.tracks, users=given.users, name=f"plays{plays}-", plays=plays or None) for plays in given.plays
    ]
    measure(folders, worlds, given.connections, rounds=given.rounds, seconds=given.seconds)


def measure(
    folders: Mapping[str, Path], worlds: Sequence[World], connections: Sequence[int], *, rounds: int, seconds: float
) -> None:
    """Print two lines and a ratio for each world and number of connections. `folders` has the artifacts `without` and
    `with`.
    """
    with ExitStack() as stack:
        url = stack.enter_context(embedded_valkey.running(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        for world in worlds:
            listeners.remember(url, world)
        found = {name: stack.enter_context(systems.service(folder, url)) for name, folder in folders.items()}
        for world, count in itertools.product(worlds, connections):
            runs: dict[str, list[Run]] = {name: [] for name in found}
            for _ in range(rounds):
                for name, system in found.items():
                    runs[name].append(_once(system, url, world, count, seconds))
            _tell(f"{world.plays or 0:,} plays, {count} connections", runs)


def _once(system: System, url: str, world: World, connections: int, seconds: float) -> Run:
    order = Order(
        port=system.port,
        kind="next",
        world=world,
        connections=connections,
        seconds=seconds,
        run=os.urandom(4).hex(),
        watch=system.processes(),
    )
    with Redis.from_url(url) as redis:
        before_s, before = _valkey(redis)
        result = generate(order)
        after_s, after = _valkey(redis)
    assert not result.errors, result.errors
    requests = max(1, len(result.latencies))
    loop_us, all_us = result.main_cpu_s / requests * 1e6, result.cpu_s / requests * 1e6
    return Run(result.per_second, loop_us, all_us - loop_us, (after_s - before_s) / max(1, after - before) * 1e6)


def _valkey(redis: Redis) -> tuple[float, int]:
    """Return the CPU seconds that Valkey has used, and how many scripts it has run."""
    cpu = redis.info("cpu")
    scripts = redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]), int(scripts)


def _tell(what: str, runs: Mapping[str, Sequence[Run]]) -> None:
    for name, of in runs.items():
        rate, loop, model, valkey = (median(column) for column in zip(*of, strict=True))
        costs = f"event loop {loop:.0f} µs, model {model:.0f} µs, Valkey {valkey:.0f} µs"
        print(f"{what}, {name} a copy head: {rate:.0f} requests a second; {costs}")  # noqa: T201  # a terminal program
    ratio = median(copying.per_second / plain.per_second for copying, plain in zip(runs["with"], runs["without"], strict=True))
    print(f"{what}: with a copy head {ratio:.2f} times as many", flush=True)  # noqa: T201  # as above


if __name__ == "__main__":
    main()
