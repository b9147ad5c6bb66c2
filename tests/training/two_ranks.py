"""What `test_ranks` starts twice: reduce gradients of known numbers, write down what came out, then let one rank die."""

import json
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from training.fitting.ranks import joined


def main(out: Path) -> None:
    """Rank 0 has twice the share of rank 1, which meets other rows and has no gradient for one parameter."""
    with joined() as ranks:
        plain, unused, table = (nn.Parameter(torch.zeros(size)) for size in ((2,), (1,), (5, 2)))
        one, rows = float(ranks.number + 1), [[0, 3, 3], [3, 4]][ranks.number]
        plain.grad = torch.tensor([one, 10 * one])
        if ranks.first:
            unused.grad = torch.tensor([3.0])
        places = torch.tensor([rows])
        table.grad = torch.sparse_coo_tensor(places, torch.full((len(rows), 2), one), (5, 2), check_invariants=True)
        ranks.reduce([plain, unused], [table], share=2.0 if ranks.first else 1.0)
        grads = [parameter.grad for parameter in (plain, unused, table)]
        found = [grad.to_dense().flatten().tolist() for grad in grads if grad is not None]
        (out / f"rank-{ranks.number}.json").write_text(json.dumps([found, ranks.said_by_first(f"from {ranks.number}")]))
        if not ranks.first:
            raise SystemExit(3)
        signal.pause()  # until it is ended: a collective would fail by itself, sometimes before the other's death is noticed


if __name__ == "__main__":
    main(Path(sys.argv[1]))
