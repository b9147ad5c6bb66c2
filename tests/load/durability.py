"""`python -m tests.load.durability`: measures the cost of each `appendfsync` setting, in turns, on an idle and on a busy disk.

The service runs on its embedded Valkey, and the setting is changed between turns. The service itself uses `no` together with
its flusher. On a busy disk, other processes write and flush files without a pause, as on a machine with a shared disk.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from service.store import embedded_valkey
from tests.load import systems
from tests.load.generator import Order, Result
from tests.load.latencies import Spread, spread, summarise
from tests.load.measure import generate
from tests.load.traffic import Kind, World

SETTINGS = ("everysec", "no", "always")
CASES: tuple[tuple[Kind, int], ...] = (("event", 16), ("event", 64), ("batch", 16))
"""The kinds of request, for one event or a hundred, and the number of connections."""
WRITERS = 3
_WRITER = """
import os, sys
block = os.urandom(1 << 20)
while True:
    file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for _ in range(256):
        os.write(file, block)
    os.fsync(file)
    os.close(file)
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.durability", description=str(__doc__).partition("\n")[0])
    made.add_argument("--artifact", type=Path, default=Path("artifacts/current"), help="folder of the model")
    made.add_argument("--folder", type=Path, default=Path(".nexttrack"), help="where Valkey and the writers keep their files")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    return made


def main() -> None:
    """Measure each case on both disks. Prints medians and ranges over the rounds."""
    options = parser().parse_args()
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        embedded_valkey.running(Path(folder)) as url,
        systems.service(options.artifact, url) as service,
    ):
        _measure(options, url, service.port, "idle")
        with busy_disk(Path(folder)):
            _measure(options, url, service.port, "busy")


def _measure(options: argparse.Namespace, url: str, port: int, disk: str) -> None:
    for kind, connections in CASES:
        runs: dict[str, list[dict[str, float]]] = {setting: [] for setting in SETTINGS}
        for number, setting in itertools.product(range(options.rounds), SETTINGS):
            with Redis.from_url(url) as redis:
                redis.config_set("appendfsync", setting)
            order = Order(
                port=port,
                kind=kind,
                world=World(tracks=2_000),
                connections=connections,
                seconds=options.seconds,
                run=f"{disk}{connections}{setting}{number}",
            )
            runs[setting].append(_figures(generate(order)))
        for setting, found in runs.items():
            ratio = spread([run["req/s"] / base["req/s"] for run, base in zip(found, runs["everysec"], strict=True)])
            told = ", ".join(f"{name} {_told(spread([run[name] for run in found]))}" for name in found[0])
            line = f"{disk} disk, {kind}, {connections} connections, {setting}: {told}, of everysec {ratio.median:.2f}"
            print(line, flush=True)  # noqa: T201  # a terminal program


def _figures(result: Result) -> dict[str, float]:
    summary = summarise(result.latencies)
    errors = float(sum(result.errors.values()))
    return {"req/s": result.per_second, "p50 ms": summary.p50, "p99 ms": summary.p99, "errors": errors}


def _told(figure: Spread) -> str:
    return f"{figure.median:.1f} ({figure.least:.1f} to {figure.most:.1f})"


@contextmanager
def busy_disk(folder: Path) -> Iterator[None]:
    """Keep the disk of a folder busy: processes write and flush files there without a pause."""
    commands = [[sys.executable, "-c", _WRITER, str(folder / f"writer{number}")] for number in range(WRITERS)]
    writers = [subprocess.Popen(command) for command in commands]
    try:
        yield
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


if __name__ == "__main__":
    main()
