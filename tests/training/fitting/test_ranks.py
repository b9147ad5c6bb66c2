"""Two real processes, as torchrun starts them, beside one: the same network, one run folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed

from tests.training.worlds import rings_split
from training.__main__ import main
from training.fitting.batches import Windows
from training.fitting.checkpoint import CHECKPOINT
from training.fitting.ranks import backend

RECIPE = """
name = "small"
history = { length = 10 }
network = { width = 16, layers = 1, heads = 2, feed_forward = 32, dropout = 0.0 }
loss = { main = "full" }
fit = { epochs = 2, batch = 33, warmup = 5 }
"""


def on_two_ranks(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """A Python program in two processes, one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_two_ranks_train_the_network_that_one_trains(tmp_path: Path) -> None:
    """Nothing is drawn in a step here (no dropout, all tracks as negatives), so weights may differ by rounding alone: sums in
    another order. Adam blows them up where a gradient is nothing but rounding (the keys' bias, which softmax cancels): up to
    2e-4 was seen after 16 steps that move a weight by 1e-2. Batches of odd size make the ranks' shares differ.
    """
    log, recipe = str(tmp_path / "log"), tmp_path / "small.toml"
    recipe.write_text(RECIPE)
    assert main(["simulate", "--out", log, "--listeners", "50", "--tracks", "60", "--artists", "24", "--sessions", "3"]) == 0
    train = ["train", log, "--recipe", str(recipe), "--threads", "1", "--run"]
    assert main([*train, str(tmp_path / "one")]) == 0
    found = on_two_ranks("-m", "--", "training", *train, tmp_path / "two")
    assert found.returncode == 0, found.stderr
    one, two = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("one", "two"))

    assert found.stderr.count("was the best") == 1
    assert two["counters"] == one["counters"]
    for epoch, wanted in zip(two["epochs"], one["epochs"], strict=True):
        assert epoch["scores"] == pytest.approx(wanted["scores"], abs=2e-3)
    for name, tensor in one["parts"]["network"].items():
        torch.testing.assert_close(two["parts"]["network"][name], tensor, rtol=1e-3, atol=1e-3)
    assert main(["evaluate", str(tmp_path / "two"), "--cases", "50", "--threads", "1"]) == 0


def test_gradients_are_a_mean_by_share_and_a_rank_that_dies_ends_the_others(tmp_path: Path) -> None:
    """By hand, shares two to one: dense ones, one that only rank 0 has, and rows that one rank, the other or both met."""
    found = on_two_ranks("-m", "tests.training.two_ranks", tmp_path)
    said = [json.loads((tmp_path / f"rank-{number}.json").read_text()) for number in range(2)]
    plain, unused, table = said[0][0]

    assert said[0] == said[1]
    assert plain == pytest.approx([(2 * 1 + 1 * 2) / 3, (2 * 10 + 1 * 20) / 3])
    assert unused == pytest.approx([2.0])
    assert table[::2] == table[1::2] == pytest.approx([2 / 3, 0, 0, 2 * 2 / 3 + 2 / 3, 2 / 3])
    assert said[1][1] == "from 0"
    assert found.returncode != 0
    assert re.search(r"exitcode *: 3", found.stderr)


def test_ranks_share_each_batch_among_them() -> None:
    """Together they read the very windows that one process reads, batch by batch."""
    windows = Windows(rings_split(), length=8, targets="wanted")
    whole = list(windows.batches(5, seed=1, epoch=0))
    parts = [list(windows.batches(5, seed=1, epoch=0, rank=rank, ranks=3)) for rank in range(3)]

    assert len(whole) == len(parts[0]) == len(parts[2])
    for batch, *shares in zip(whole, *parts, strict=True):
        lines = [line[line > 0].tolist() for share in shares for line in share.tracks]
        assert sorted(lines) == sorted(line[line > 0].tolist() for line in batch.tracks)


@pytest.mark.parametrize(("place", "carries"), [("cpu", {"cpu": "gloo"}), ("cuda:1", {"cpu": "gloo", "cuda": "nccl"})])
def test_numbers_on_the_cpu_travel_where_gradients_are_on_gpus(place: str, carries: dict[str, str]) -> None:
    """As torch itself reads the name that the group is opened by: an epoch's sums never see a GPU, which NCCL alone wants."""
    group = distributed.distributed_c10d.BackendConfig(distributed.Backend(backend(torch.device(place))))

    assert carries.items() <= {str(kind): str(by) for kind, by in group.get_device_backend_map().items()}.items()
