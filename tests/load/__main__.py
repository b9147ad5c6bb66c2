"""`python -m tests.load`: the benchmark. Starts the systems, measures them in turns, prints medians with ranges, and writes a
JSON line for each row.

Everything runs on this machine over loopback. The generator and Redis share the cores with the service, so ratios of one run
mean more than absolute figures. Each round of a row measures our service and then the systems beside it. Other work on the
machine therefore affects all of them alike. Options bound all counts and times.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from service.store import embedded_valkey
from tests.load import artifacts, listeners, systems
from tests.load.latencies import spread
from tests.load.measure import Measured, in_turns, together
from tests.load.page import write_page
from tests.load.report import keep, show
from tests.load.rows import CEILING, OURS, REDIS_PY, ROUTED, THREADS, TWO, Row, plan
from tests.load.systems import System, SystemSkippedError
from tests.load.traffic import World

GB_A_MILLION = 2.0
"""Memory that an artifact of a million tracks needs while it is made and served, with some to spare."""


def main() -> None:
    """Run the benchmark. Ends with code 1 if a closed loop had errors; an open loop may ask for more than a system can
    answer.
    """
    options = _options()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(1)
    )  # so that everything started here is stopped, however this process ends
    rivals = () if options.quick else tuple(systems.RIVALS)
    planned = plan(sizes=options.tracks, rivals=rivals, users=options.users, long=options.long)
    rows = [row for row in planned if options.only in f"{row.work}, {row.setting}"]
    failed = False
    for size in dict.fromkeys(row.tracks for row in rows):
        if reason := _too_large(options, size):
            print(f"\n{size:,} tracks skipped: {reason}")  # noqa: T201  # a terminal program
            continue
        with ExitStack() as stack:
            failed |= _measure(stack, options, size, [row for row in rows if row.tracks == size])
    write_page(options.out)
    sys.exit(1 if failed else 0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load", description=str(__doc__).partition("\n")[0])
    made.add_argument("--cache", type=Path, default=Path(".nexttrack/load"), help="folder of artifacts and rivals")
    made.add_argument("--out", type=Path, help="file for the JSON lines, plots beside it; default: results.jsonl in the cache")
    made.add_argument("--tracks", type=int, nargs="+", default=[100_000, 10_000, 1_000_000, 10_000_000], help="catalogue sizes")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seconds", type=float, default=8.0, help="length of each measurement")
    made.add_argument("--users", type=int, default=1_000_000, help="listeners of the row with many listeners")
    made.add_argument("--only", default="", help="only rows whose work or setting contains this text")
    made.add_argument("--long", action="store_true", help="also run the rows that last ten minutes and an hour")
    made.add_argument("--quick", action="store_true", help="one round, no rivals, no size whose artifact takes minutes")
    return made


def _options() -> argparse.Namespace:
    options = parser().parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 3.0)
        options.users = min(options.users, 100_000)
    options.out = options.out or options.cache / "results.jsonl"
    options.cache.mkdir(parents=True, exist_ok=True)
    return options


def _too_large(options: argparse.Namespace, size: int) -> str | None:
    """Return the reason to leave out a size, None if there is none."""
    if options.quick and size > 100_000 and not artifacts.is_made(options.cache, size):
        return "making its artifact takes minutes; a run without --quick does"
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    wanted_gb = GB_A_MILLION * size / 1e6
    return f"it may need {wanted_gb:.0f} GB of memory; this machine has {memory_gb:.0f}" if wanted_gb > memory_gb else None


def _measure(stack: ExitStack, options: argparse.Namespace, size: int, rows: Sequence[Row]) -> bool:
    """Measure all rows of one size; print and save each row when it is done. Returns whether a request of ours failed."""
    folder = artifacts.of_size(options.cache, size)
    url = stack.enter_context(embedded_valkey.running(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
    listeners.remember(url, World(tracks=size))
    start = partial(systems.service, folder, url)
    found: dict[str, System | str] | None = None
    failed = False
    for row in rows:
        measured: Measured
        if row.kind == "start":
            measured = {OURS: together([_started(start) for _ in range(options.rounds)])}
        else:
            found = found or _start(stack, options, folder, url, rows)
            remembered = _remember(url, row.listeners) if row.listeners else {}
            measured = in_turns(row, found, rounds=options.rounds, seconds=options.seconds)
            measured = {**measured, OURS: {**measured[OURS], **{key: spread([value]) for key, value in remembered.items()}}}
            failed |= row.rate is None and measured[OURS]["errors"].most > 0
        show(row, measured, found or {})
        keep(options.out, row, measured)
    return failed


def _remember(url: str, world: World) -> dict[str, float]:
    listeners.remember(url, world)
    return {"listeners": float(world.users), "bytes_a_listener": listeners.bytes_each(url, world)}


def _started(start: Callable[[], AbstractContextManager[System]]) -> dict[str, float]:
    with start() as system:
        return {"ready_s": system.ready_s, "rss_mb": system.memory_mb()}


def _start(
    stack: ExitStack, options: argparse.Namespace, folder: Path, url: str, rows: Sequence[Row]
) -> dict[str, System | str]:
    """Start the systems that the rows need. Returns them by name, with the reason in place of a system that cannot run."""
    starts: dict[str, Callable[[], AbstractContextManager[System]]] = {
        OURS: partial(systems.service, folder, url),
        TWO: partial(systems.service, folder, url, workers=2),
        THREADS: partial(systems.service, folder, url, threads=2),
        CEILING: partial(systems.ceiling, url),
        ROUTED: partial(systems.service, folder, url, fast_path=False),
        REDIS_PY: partial(systems.service, folder, url, module="tests.load.with_redis_py"),
    }
    starts |= {name: partial(systems.rival, name, folder, options.cache) for name in systems.RIVALS}
    found: dict[str, System | str] = {}
    for name in dict.fromkeys([OURS, *(name for row in rows for name in row.beside)]):
        try:
            found[name] = stack.enter_context(starts[name]())
        except SystemSkippedError as error:
            found[name] = str(error)
            print(f"skipped: {error}")  # noqa: T201  # as above
    ours = found[OURS]
    if isinstance(ours, str):
        sys.exit(ours)
    return found


if __name__ == "__main__":
    main()
