"""`python -m tests.load`: start what is measured, measure it in turns, print medians with ranges, keep a JSON line a row.

Everything runs on this machine, over loopback, the generator and Redis beside the service on the same cores: so a row is a
ratio first and a figure second. In each round a row measures us, then who stands beside us, so that what else the machine
does falls on all alike. Counts and times are bounded by the options.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from service import embedded
from tests.load import artifacts, systems
from tests.load.measure import in_turns, seed
from tests.load.report import keep, show
from tests.load.rows import CEILING, OURS, Row, plan
from tests.load.systems import System, SystemSkippedError
from tests.load.traffic import World


def main() -> None:
    """Measure, and end with code 1 where a request of ours failed."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started here is stopped, however this ends
    rivals = () if options.quick else tuple(systems.RIVALS)
    rows = [row for row in plan(sizes=options.tracks, rivals=rivals) if options.only in f"{row.work}, {row.setting}"]
    failed = False
    for size in dict.fromkeys(row.tracks for row in rows):
        with ExitStack() as stack:
            found = _start(stack, options, size, [row for row in rows if row.tracks == size])
            for row in rows:
                if row.tracks == size:
                    measured = in_turns(row, found, rounds=options.rounds, seconds=options.seconds)
                    show(row, measured, found)
                    keep(options.out, row, measured)
                    failed |= measured[OURS]["errors"].most > 0
    sys.exit(1 if failed else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path(".nexttrack/load"), help="folder of artifacts and rivals")
    parser.add_argument("--out", type=Path, help="file for the JSON lines; default: results.jsonl in the cache")
    parser.add_argument("--tracks", type=int, nargs="+", default=[100_000, 10_000, 1_000_000], help="catalogue sizes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--workers", type=int, default=1, help="processes of our service")
    parser.add_argument("--only", default="", help="rows whose work or setting contains this")
    parser.add_argument("--quick", action="store_true", help="one round, no rivals, five minutes")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 5.0)
    options.out = options.out or options.cache / "results.jsonl"
    options.cache.mkdir(parents=True, exist_ok=True)
    return options


def _start(stack: ExitStack, options: argparse.Namespace, size: int, rows: Sequence[Row]) -> dict[str, System | str]:
    """Systems by name; the reason in place of one that cannot be had."""
    folder = artifacts.of_size(options.cache, size)
    url = stack.enter_context(embedded.running(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
    starts = {OURS: partial(systems.service, folder, url, workers=options.workers), CEILING: partial(systems.ceiling, url)}
    starts |= {name: partial(systems.rival, name, folder, options.cache) for name in systems.RIVALS}
    found: dict[str, System | str] = {}
    for name in dict.fromkeys([OURS, *(name for row in rows for name in row.beside)]):
        try:
            found[name] = system = stack.enter_context(starts[name]())
            print(f"{name} with {size:,} tracks listens after {system.ready_s:.1f} s")  # noqa: T201  # a terminal program
        except SystemSkippedError as error:
            found[name] = str(error)
            print(f"skipped: {error}")  # noqa: T201  # as above
    ours = found[OURS]
    if isinstance(ours, str):
        sys.exit(ours)
    seed(ours, World(tracks=size))
    return found


if __name__ == "__main__":
    main()
