"""Swaps the model under load: `python -m tests.load.swaps [--tracks 100000] [--swaps 100] [--rate 500]`.

Two copies of one artifact take turns behind `current`, and `POST /v1/model/reload` makes the service use the other one. An open
loop asks at a fixed rate before, during and after the swaps. Prints failures, p50 and p99 in ms, and the service's memory.
"""

import argparse
import http.client
import os
import shutil
import tempfile
import threading
import time
from http import HTTPStatus
from pathlib import Path

from model.versions import switch
from service.store import embedded_valkey
from tests.load import artifacts, listeners
from tests.load.generator import Order
from tests.load.latencies import summarise
from tests.load.measure import generate
from tests.load.systems import System, service
from tests.load.traffic import World


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.swaps", description=str(__doc__).partition("\n")[0])
    made.add_argument("--tracks", type=int, default=100_000)
    made.add_argument("--swaps", type=int, default=100)
    made.add_argument("--rate", type=float, default=500.0, help="requests a second")
    made.add_argument("--seconds", type=float, default=60.0, help="length of the phases before and after")
    made.add_argument("--every", type=float, default=1.5, help="seconds from a swap to the next one")
    made.add_argument("--cache", type=Path, default=Path(".nexttrack/load"), help="folder of artifacts")
    return made


def main() -> None:
    """Measure and print one line for each phase."""
    given = parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ("a", "b"):
            shutil.copytree(artifacts.of_size(given.cache, given.tracks), root / name)
        switch(root, "a")
        world = World(tracks=given.tracks)
        with embedded_valkey.running(root / "valkey") as url:
            listeners.remember(url, world)
            with service(root / "current", url) as system:
                _phase("before", system, world, given.rate, given.seconds)
                swaps = Swaps(root, system.port, given.swaps, given.every)
                swaps.start()
                _phase("during", system, world, given.rate, given.swaps * given.every)
                swaps.join()
                print(f"swaps   {swaps.done} of {given.swaps}")  # noqa: T201  # the result
                _phase("after", system, world, given.rate, given.seconds)


def _phase(name: str, system: System, world: World, rate: float, seconds: float) -> None:
    order = Order(port=system.port, kind="next", world=world, connections=64, seconds=seconds, rate=rate, run=name)
    result = generate(order)
    found = summarise(result.latencies)
    print(  # noqa: T201  # the result
        f"{name:7} failures {sum(result.errors.values())}, req/s {result.per_second:.0f}, p50 {found.p50:.2f} ms, "
        f"p99 {found.p99:.2f} ms, memory {system.memory_mb():.0f} MB"
    )


class Swaps(threading.Thread):
    """Lets the copies take turns. A new time makes each turn a new artifact. `done` counts the swaps that the service made."""

    def __init__(self, root: Path, port: int, swaps: int, every_s: float) -> None:
        super().__init__()
        self._root, self._port, self._swaps, self._every_s = root, port, swaps, every_s
        self.done = 0

    def run(self) -> None:
        """Swap at even times, or as fast as the service loads."""
        start = time.monotonic()
        for number in range(self._swaps):
            name = "ba"[number % 2]
            os.utime(self._root / name / "manifest.json")
            switch(self._root, name)
            service = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            service.request("POST", "/v1/model/reload")
            self.done += service.getresponse().status == HTTPStatus.OK
            service.close()
            time.sleep(max(0.0, start + (number + 1) * self._every_s - time.monotonic()))


if __name__ == "__main__":
    main()
