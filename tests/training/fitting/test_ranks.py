"""Two real processes, started like by torchrun, train the same network as one, in one run folder."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from tests.training.two_ranks import LOSSES, gradients, losses_of_one_window
from tests.training.worlds import rings_split
from training.__main__ import main
from training.fitting.batches import Windows
from training.fitting.checkpoint import CHECKPOINT
from training.fitting.ranks import Ranks, backend
from training.run_folder import REFIT

RECIPE = """
name = "small"
history = { length = 10 }
network = { width = 16, layers = 1, heads = 2, feed_forward = 32, dropout = 0.0 }
loss = { main = "full" }
fit = { epochs = 2, batch = 33, warmup = 5, refit = true }
calibration = { theta = [0.0, 0.3] }
session_memory = { weights = [1, 5] }
"""


def on_two_ranks(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a Python program in two processes with one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """The results that two ranks of `tests.training.two_ranks` wrote, by rank, and how they ended."""

    plain: list[Any]
    gradients: list[dict[str, dict[int, Tensor]]]
    ended: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """Start the ranks once, because a process takes seconds to import torch."""
    folder = tmp_path_factory.mktemp("ranks")
    ended = on_two_ranks("-m", "tests.training.two_ranks", folder)
    return Said(
        plain=[json.loads((folder / f"rank-{number}.json").read_text()) for number in range(2)],
        gradients=[torch.load(folder / f"rank-{number}.pt", weights_only=True) for number in range(2)],
        ended=ended,
    )


def test_two_ranks_train_the_network_that_one_trains(tmp_path: Path) -> None:
    """A step draws nothing here (no dropout, all tracks as negatives), so weights may differ by rounding alone.

    Adam amplifies rounding where a gradient is nothing but rounding (the keys' bias, which softmax cancels): up to 2e-4 was
    seen after 16 steps that move a weight by 1e-2. Batches of odd size make the ranks' shares differ. Weights and memory are
    chosen once, and both ranks refit with them.
    """
    log, recipe = str(tmp_path / "log"), tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    assert main(["simulate", "--out", log, "--listeners", "50", "--tracks", "60", "--artists", "24", "--sessions", "3"]) == 0
    train = ["train", log, "--recipe", str(recipe), "--threads", "1", "--run"]
    assert main([*train, str(tmp_path / "one")]) == 0
    found = on_two_ranks("-m", "--", "training", *train, tmp_path / "two")
    assert found.returncode == 0, found.stderr
    said = ("was the best", "chosen on validation: weight", "session memory: ")

    assert [found.stderr.count(words) for words in said] == [1, 1, 1]
    for part in (".", REFIT):
        one, two = (torch.load(tmp_path / name / part / CHECKPOINT, weights_only=True) for name in ("one", "two"))
        assert two["counters"] == one["counters"]
        for epoch, wanted in zip(two["epochs"], one["epochs"], strict=True):
            assert epoch["scores"] == pytest.approx(wanted["scores"], abs=2e-3)
            assert epoch["losses"] == pytest.approx(wanted["losses"], rel=1e-3)
        for name, tensor in one["parts"]["network"].items():
            torch.testing.assert_close(two["parts"]["network"][name], tensor, rtol=1e-3, atol=1e-3)
    assert main(["evaluate", str(tmp_path / "two"), "--cases", "50", "--threads", "1"]) == 0


def test_gradients_add_up_and_a_rank_that_dies_ends_the_others(said: Said) -> None:
    """Computed by hand: dense gradients, one that only rank 0 has, and rows that one rank, the other or both have.

    For the counts 2 and 1, 0 and 5, 0 and 0, each rank gets its share.
    """
    (found, shares, word, _), (others, other_shares, other_word, _) = said.plain
    plain, unused, table = found

    assert found == others
    assert plain == [1 + 2, 10 + 20]
    assert unused == [3]
    assert table[::2] == table[1::2] == [1, 0, 0, 2 * 1 + 2, 2]
    assert shares == pytest.approx([2 / 3, 0, 0])
    assert other_shares == pytest.approx([1 / 3, 1, 0])
    assert word == other_word == "from 0"
    assert said.ended.returncode != 0
    assert re.search(r"exitcode *: 3", said.ended.stderr)


@pytest.mark.parametrize("windows", [9, 1])
@pytest.mark.parametrize("name", LOSSES)
def test_a_step_of_two_ranks_is_that_of_one(said: Said, name: str, windows: int) -> None:
    """Each term is weighted by its count, and each term has another count. With equal weights the result would be wrong by a
    tenth.

    The reported losses equal those of a single process. A batch of one window gives rank 1 none.
    """
    one = gradients(name, Ranks(), windows=windows)

    for found in said.gradients:
        assert (found[name][windows] - one).norm() < 2e-6 * one.norm()


def test_a_rank_without_a_window_all_epoch_long_takes_part(said: Said, tmp_path: Path) -> None:
    """A small log can leave a rank without windows. Both ranks report the epoch's losses, which equal a single process's."""
    alone = losses_of_one_window(tmp_path)

    for *_, losses in said.plain:
        assert [pytest.approx(epoch, rel=1e-4) for epoch in alone] == losses


def test_ranks_share_each_batch_among_them() -> None:
    """Together they read exactly the windows that one process reads, batch by batch."""
    windows = Windows(rings_split(), length=8, targets="wanted")
    whole = list(windows.batches(5, seed=1, epoch=0))
    parts = [list(windows.batches(5, seed=1, epoch=0, rank=rank, ranks=3)) for rank in range(3)]

    assert len(whole) == len(parts[0]) == len(parts[2])
    for batch, *shares in zip(whole, *parts, strict=True):
        lines = [line[line > 0].tolist() for share in shares for line in share.tracks]
        assert sorted(lines) == sorted(line[line > 0].tolist() for line in batch.tracks)


@pytest.mark.parametrize(("place", "carries"), [("cpu", {"cpu": "gloo"}), ("cuda:1", {"cpu": "gloo", "cuda": "nccl"})])
def test_numbers_on_the_cpu_travel_where_gradients_are_on_gpus(place: str, carries: dict[str, str]) -> None:
    """Torch itself parses the name of the group's backend. An epoch's sums are on the CPU, and NCCL alone would refuse them."""
    group = distributed.distributed_c10d.BackendConfig(distributed.Backend(backend(torch.device(place))))

    assert carries.items() <= {str(kind): str(by) for kind, by in group.get_device_backend_map().items()}.items()
