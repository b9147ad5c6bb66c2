"""`python -m tests.load.former_version CHECKOUT`: throughput of this version beside a former one, in turns.

CHECKOUT is a checkout of the former version in which `make test` has made the environment. Each version serves its own artifact
of the same size, and has listeners of its own in a Redis of its own, because formats change between versions. `--key` lets our
service ask for an API key with each request, and not the former one.
"""

import argparse
import itertools
import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from service.store import embedded_valkey
from tests.load import artifacts, listeners, systems
from tests.load.generator import Order, Result
from tests.load.measure import generate
from tests.load.systems import System
from tests.load.traffic import Kind, World

KINDS: tuple[Kind, ...] = ("next", "history", "event")
KEY = "a-secret-as-long-as-token_urlsafe-makes-one"  # of this measurement alone
CACHE = Path(".nexttrack/load")
PREPARE = """
from pathlib import Path
from tests.load import artifacts, listeners
from tests.load.traffic import World
listeners.remember({url!r}, World(tracks={tracks}))
print(artifacts.of_size(Path({cache!r}), {tracks}).resolve())
"""
"""Run in the former version, so that listeners and artifact have its formats."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.former_version", description=str(__doc__).partition("\n")[0])
    made.add_argument("checkout", type=Path, help="a checkout of the former version, with its environment in .venv")
    made.add_argument("--key", action="store_true", help="our service asks for an API key with each request")
    made.add_argument("--tracks", type=int, default=100_000)
    made.add_argument("--connections", type=int, nargs="+", default=[16, 64])
    made.add_argument("--rounds", type=int, default=7)
    made.add_argument("--seconds", type=float, default=2.0)
    return made


def main() -> None:
    """Print a line for each kind of request and number of connections."""
    given = parser().parse_args()
    world = World(tracks=given.tracks)
    with ExitStack() as stack:
        ours, former = (
            stack.enter_context(embedded_valkey.running(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
            for _ in range(2)
        )
        listeners.remember(ours, world)
        artifact = artifacts.of_size(CACHE, given.tracks)
        new = stack.enter_context(systems.service(artifact, ours, key=KEY if given.key else ""))
        old = stack.enter_context(
            systems.service(_prepared(given.checkout, former, given.tracks), former, checkout=given.checkout.resolve())
        )
        for kind, connections in itertools.product(KINDS, given.connections):
            runs: dict[str, list[Result]] = {"this": [], "former": []}
            for _ in range(given.rounds):
                runs["this"].append(_once(new, kind, world, connections, seconds=given.seconds, key=KEY if given.key else ""))
                runs["former"].append(_once(old, kind, world, connections, seconds=given.seconds))
            _tell(f"{kind}, {connections} connections", runs)


def _prepared(checkout: Path, url: str, tracks: int) -> Path:
    """Write listeners to the former version's Redis. Returns its artifact."""
    code = PREPARE.format(url=url, tracks=tracks, cache=str(CACHE))
    command = [str(checkout.resolve() / ".venv" / "bin" / "python"), "-c", code]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    return Path(done.stdout.splitlines()[-1])


def _once(system: System, kind: Kind, world: World, connections: int, *, seconds: float, key: str = "") -> Result:
    order = Order(
        port=system.port,
        kind=kind,
        world=world,
        connections=connections,
        seconds=seconds,
        run=os.urandom(4).hex(),
        watch=system.processes(),
        key=key,
    )
    result = generate(order)
    assert not result.errors, result.errors
    return result


def _tell(what: str, runs: dict[str, list[Result]]) -> None:
    for name, results in runs.items():
        rate = median(result.per_second for result in results)
        cpu_ms = median(result.cpu_s / max(1, len(result.latencies)) * 1000 for result in results)
        print(f"{what}: {name} version {rate:.0f} req/s, {cpu_ms:.3f} ms CPU each")  # noqa: T201  # a terminal program
    pairs = zip(runs["this"], runs["former"], strict=True)
    ratio = median(new.per_second / old.per_second for new, old in pairs)
    print(f"{what}: this version answers {ratio:.2f} times as many", flush=True)  # noqa: T201  # as above


if __name__ == "__main__":
    main()
