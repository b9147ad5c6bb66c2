"""`python -m tests.load.parts`: what it saves to run long histories apart from short ones, as `service.parts` cuts them.

A line a catalogue size: what was measured when the graphs were loaded, and for batches of 8, 16 and 32 histories of people's
lengths the CPU time of the parts over that of the whole batch, the median of forty, one thread.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from model.artifact import load
from model.encoding import RowHistory
from model.vocabulary import FIRST
from service.graphs import Graphs
from tests.load import artifacts
from tests.load.traffic import COUNT, LENGTH, World

BATCHES, ROUNDS, TRIES = (8, 16, 32), 40, 3


def main() -> None:
    """Measure all sizes, in the order given."""
    options = argparse.ArgumentParser(prog="python -m tests.load.parts", description=str(__doc__).partition("\n")[0])
    options.add_argument("--cache", type=Path, default=Path(".nexttrack/load"), help="folder of artifacts")
    options.add_argument("--tracks", type=int, nargs="+", default=[1_000, 10_000, 50_000, 100_000])
    given = options.parse_args()
    for tracks in given.tracks:
        graphs, world = Graphs(load(artifacts.of_size(given.cache, tracks)), threads=1), World(tracks=tracks)
        ratios = [f"{statistics.median(_ratios(graphs, world, batch)):.2f}" for batch in BATCHES]
        print(f"{tracks:>10,}  {graphs.cost}  {' '.join(ratios)}", flush=True)  # noqa: T201  # a terminal program


def _ratios(graphs: Graphs, world: World, batch: int) -> list[float]:
    """CPU time cut over uncut, of as many batches as there are rounds."""
    random = np.random.default_rng(batch)
    ratios = []
    for _ in range(ROUNDS):
        sessions = [world.session(random)[-LENGTH:] for _ in range(batch)]
        histories = [RowHistory([track + FIRST for track, _ in plays], [1] * len(plays)) for plays in sessions]

        def whole(histories: list[RowHistory] = histories) -> None:
            graphs.best(histories, [[]] * len(histories), [COUNT] * len(histories))

        def apart(histories: list[RowHistory] = histories) -> None:
            for part in graphs.parts(histories):
                whole([histories[place] for place in part])

        whole()
        uncut_s, cut_s = (min(_spent(work) for _ in range(TRIES)) for work in (whole, apart))
        ratios.append(cut_s / uncut_s)
    return ratios


def _spent(work: Callable[[], None]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


if __name__ == "__main__":
    main()
