"""Swaps the model under load: `python -m tests.load.swaps [--tracks 100000] [--swaps 100] [--rate 500]`.

Two copies of one artifact take turns behind `current`. An open loop asks at a fixed rate for a while before, during and after
the swaps. Prints failures, p50 and p99 in ms, and the service's memory in MB.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from model.versions import switch
from service.store import embedded_valkey
from tests.load import artifacts, listeners
from tests.load.generator import Order
from tests.load.latencies import summarise
from tests.load.measure import generate
from tests.load.systems import System, service
from tests.load.traffic import World


def main() -> None:
    """Measure and print one line for each phase."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tracks", type=int, default=100_000)
    options.add_argument("--swaps", type=int, default=100)
    options.add_argument("--rate", type=float, default=500.0, help="requests a second")
    options.add_argument("--seconds", type=float, default=60.0, help="length of each phase")
    options.add_argument("--cache", type=Path, default=Path(".nexttrack/bench"))
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("a", "b"):
            shutil.copytree(artifacts.of_size(given.cache, given.tracks), root / name)
        switch(root, "a")
        world = World(tracks=given.tracks)
        with embedded_valkey.running(root / "valkey") as url:
            listeners.remember(url, world)
            with service(root / "current", url) as system:
                _phase("before", system, world, given)
                swapping = threading.Thread(target=_swap, args=(root, given.swaps, given.seconds))
                swapping.start()
                _phase("during", system, world, given)
                swapping.join()
                _phase("after", system, world, given)


def _phase(name: str, system: System, world: World, given: argparse.Namespace) -> None:
    order = Order(port=system.port, kind="next", world=world, connections=64, seconds=given.seconds, rate=given.rate, run=name)
    result = generate(order)
    found = summarise(result.latencies)
    print(  # noqa: T201  # the result
        f"{name:7} failures {sum(result.errors.values())}, req/s {result.per_second:.0f}, p50 {found.p50:.2f} ms, "
        f"p99 {found.p99:.2f} ms, memory {system.memory_mb():.0f} MB"
    )


def _swap(root: Path, swaps: int, seconds: float) -> None:
    """Let the copies take turns, evenly over the phase. A new time makes each turn a new artifact."""
    for number in range(swaps):
        name = "ba"[number % 2]
        os.utime(root / name / "manifest.json")
        switch(root, name)
        time.sleep(seconds / swaps)


if __name__ == "__main__":
    main()
