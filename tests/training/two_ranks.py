"""The program that `test_ranks` starts as two processes. They write gradients and losses to files, and then one rank dies."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from model.nets import build
from model.nets.cloze import ClozeNetwork
from model.nets.config import NetworkConfig
from model.vocabulary import FIRST
from tests.training.worlds import RING, rings_split, small_recipe, split_of, two_rings
from training.fitting.batches import Windows
from training.fitting.fit import fit, learn
from training.fitting.ranks import Ranks, joined
from training.recipe import FitRule, LossRule

LOSSES = {
    "wanted": LossRule(main="full"),
    "smoothed": LossRule(main="full", smoothing=0.1),
    "kept": LossRule(main="full", targets="kept"),
    "all": LossRule(main="full", targets="all"),
    "with feedback": LossRule(main="full", targets="kept", feedback=0.5),
    "with pairs": LossRule(main="full", pair=0.5),
    "with everything": LossRule(main="full", pair=0.5, before=0.5, refused=0.5, contrast=0.5, feedback=0.5),
    "sparse": LossRule(main="bce", negatives=0, refused=0.5, pair=0.5),
    "sine": LossRule(main="bce", negatives=0, before=0.5),
    "cloze": LossRule(main="full", refused=0.5, contrast=0.5),
}
"""Losses without random choices."""


class EveryOtherHidden(ClozeNetwork):
    """A masked network without random choices."""

    def _hide(self, filled_BT: Tensor) -> Tensor:
        return filled_BT & (torch.arange(filled_BT.shape[1]) % 2 == 1)


def gradients(name: str, me: Ranks, *, windows: int) -> Tensor:
    """Return the gradients of all parameters, in one row, followed by the losses.

    `name` is a loss of `LOSSES`, and the batch has this many windows.
    """
    torch.manual_seed(2)
    split, rule = rings_split(), LOSSES[name]
    config = NetworkConfig(width=8, layers=1, feed_forward=16, dropout=0.0, wanted_head=True)
    if name == "sine":
        config = replace(config, kind="sine", wanted_head=False)
    rows = len(split.vocabulary)
    network = EveryOtherHidden(config, rows, 8) if name == "cloze" else build(config, rows, 8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    if name == "sparse":
        network.make_sparse()
    tables = [network.get_parameter(table) for table in network.tables if name == "sparse" and table in network.state_dict()]
    dense = [one for one in network.parameters() if one.requires_grad and all(one is not table for table in tables)]
    cut = Windows(split, length=8, targets=rule.targets)
    batch = next(cut.batches(windows, seed=1, epoch=0, rank=me.number, ranks=me.count))
    losses = me.sum(torch.stack([one.detach() for one in learn(network, batch, rule, me).values()]))
    me.add_up(dense, tables)
    grads = [torch.zeros_like(one) if one.grad is None else one.grad.to_dense() for one in (*dense, *tables)]
    return torch.cat([*(grad.flatten() for grad in grads), losses])


def losses_of_one_window(folder: Path) -> list[dict[str, float]]:
    """Train on a single listener, so that one of two ranks never has anything to learn from. Returns losses by epoch."""
    network = NetworkConfig(width=8, layers=1, feed_forward=16, dropout=0.0)
    recipe = small_recipe(network=network, loss=LossRule(main="full", pair=0.5), fit=FitRule(epochs=2))
    split = split_of(two_rings(1, plays=8), rows=FIRST + 2 * RING)
    return [epoch.losses for epoch in fit(recipe, split, None, folder=folder).epochs]


def main(out: Path) -> None:
    """Run all checks on this rank. Rank 1 sees other rows and has no gradient for one parameter."""
    with joined() as ranks:
        plain, unused, table = (nn.Parameter(torch.zeros(size)) for size in ((2,), (1,), (5, 2)))
        one, rows = float(ranks.number + 1), [[0, 3, 3], [3, 4]][ranks.number]
        plain.grad = torch.tensor([one, 10 * one])
        if ranks.first:
            unused.grad = torch.tensor([3.0])
        places = torch.tensor([rows])
        table.grad = torch.sparse_coo_tensor(places, torch.full((len(rows), 2), one), (5, 2), check_invariants=True)
        ranks.add_up([plain, unused], [table])
        grads = [parameter.grad for parameter in (plain, unused, table)]
        found = [grad.to_dense().flatten().tolist() for grad in grads if grad is not None]
        shares = ranks.shares([2 - ranks.number, 5 * ranks.number, 0])
        said = [found, shares, ranks.said_by_first(f"from {ranks.number}"), losses_of_one_window(out / "run")]
        (out / f"rank-{ranks.number}.json").write_text(json.dumps(said))
        of_losses = {name: {size: gradients(name, ranks, windows=size) for size in (9, 1)} for name in LOSSES}
        torch.save(of_losses, out / f"rank-{ranks.number}.pt")
        if not ranks.first:
            os._exit(3)  # ends like a killed process; destroying the group sometimes aborts while the other rank still sends
        signal.pause()  # waits to be ended; a collective could fail by itself before the other rank's death is noticed


if __name__ == "__main__":
    main(Path(sys.argv[1]))
