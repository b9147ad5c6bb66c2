"""`python -m tests.load.batching`: compares the measured pace of batches with fixed rules, a former version and mosec.

The systems are measured in turns over several rounds: bare model calls, and the whole job with sessions in Redis. `--model`
multiplies the duration of each model run, and `--loop-ms` adds work to the event loop for each request, as slower processors
would. Ratios are medians over the rounds, each of a system to the first one in the same round.

`python -m tests.load.batching --serve RULE` is one of those services.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from model.encoding import RowHistory
from model.graphs import Graphs, Scores
from service.command import main as serve
from service.http.fast_path import Asked, FastPath, Make, Write
from service.scoring.pace import Pace
from service.store import embedded_valkey
from tests.load import artifacts, listeners, systems
from tests.load.generator import Order, Result
from tests.load.measure import generate
from tests.load.traffic import Kind, World

RULES = ("measured", "whole", "halves")
KINDS: tuple[Kind, ...] = ("history", "next")


def main() -> None:
    """Measure, or serve by one of the rules."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.batching", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--serve", choices=RULES, help="serve by this rule instead of measuring")
    parser.add_argument("--model", type=float, default=1.0, help="how many times as long a run of the model takes")
    parser.add_argument("--loop-ms", type=float, default=0.0, help="how much longer the loop works on a request")
    parser.add_argument("--cache", type=Path, default=Path(".nexttrack/load"), help="folder of artifacts and rivals")
    parser.add_argument("--before", type=Path, help="a checkout of a former version, measured as well")
    parser.add_argument("--mosec", action="store_true", help="measure mosec's bare call as well")
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    if options.serve:
        sys.argv[1:] = []
        _slow(options.model, options.loop_ms)
        _rule(options.serve)
        serve()
    else:
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    artifact = artifacts.of_size(options.cache, options.tracks)
    slowed = ("--model", str(options.model), "--loop-ms", str(options.loop_ms))
    with ExitStack() as stack:
        url = stack.enter_context(embedded_valkey.running(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        world = World(tracks=options.tracks)
        listeners.remember(url, world)
        found = {}
        for rule in RULES:
            arguments = ("--serve", rule, *slowed)
            service = systems.service(artifact, url, module="tests.load.batching", arguments=arguments)
            found[rule] = stack.enter_context(service)
        if options.before is not None:
            found["before"] = stack.enter_context(systems.service(artifact, url, checkout=options.before))
        if options.mosec:
            found["mosec"] = stack.enter_context(systems.rival("with_mosec", artifact, options.cache))
        for kind, connections in itertools.product(KINDS, options.connections):
            runs: dict[str, list[Result]] = {name: [] for name in found if name != "mosec" or kind == "history"}
            for _, name in itertools.product(range(options.rounds), runs):
                system = found[name]
                order = Order(
                    port=system.port,
                    kind=system.kind or kind,
                    world=world,
                    connections=connections,
                    seconds=options.seconds,
                    run=os.urandom(4).hex(),
                    watch=system.processes(),
                )
                runs[name].append(generate(order))
            _tell(f"{kind}, {connections} connections", runs)


def _tell(what: str, runs: dict[str, list[Result]]) -> None:
    first = runs[RULES[0]]
    for name, results in runs.items():
        ratio = median(one.per_second / other.per_second for one, other in zip(first, results, strict=True))
        cpu_ms = median(result.cpu_s / max(1, len(result.latencies)) * 1000 for result in results)
        rate = median(result.per_second for result in results)
        print(  # noqa: T201  # a terminal program
            f"{what}: {name} {rate:.0f} req/s, {cpu_ms:.3f} ms CPU each; {RULES[0]} answers {ratio:.2f} times as many",
            flush=True,
        )


def _rule(name: str) -> None:
    """Replace the measured pace by a fixed rule."""

    def most(_: Pace, under_way: int, *, waited: bool) -> int | None:  # noqa: ARG001  # as the method that it replaces
        return None if name == "whole" else -(-under_way // 2)

    if name != RULES[0]:
        Pace.most = most  # type: ignore[assignment, method-assign]  # in this process, which serves to be measured


def _slow(model: float, loop_ms: float) -> None:
    """Slow the model's runs and the loop down in this process."""
    best, answer = Graphs.best, FastPath.answer

    def slower_best(
        self: Graphs, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]
    ) -> list[Scores]:
        for _ in range(round(model) - 1):
            best(self, histories, excluded, counts)
        return best(self, histories, excluded, counts)

    async def slower_answer(self: FastPath, asked: Asked, make: Make, write: Write) -> None:
        until = time.thread_time() + loop_ms / 1000
        while time.thread_time() < until:
            pass
        await answer(self, asked, make, write)

    if model > 1:
        Graphs.best = slower_best  # type: ignore[method-assign]  # in this process, which serves to be measured
    if loop_ms:
        FastPath.answer = slower_answer  # type: ignore[method-assign]  # as above


if __name__ == "__main__":
    main()
