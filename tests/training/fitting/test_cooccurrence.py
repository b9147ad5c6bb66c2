"""Track embeddings that start near each other if their tracks were kept near each other."""

from itertools import combinations
from typing import Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

from model.nets import build
from model.nets.config import NetworkConfig
from model.vocabulary import PADDING
from tests.training.logs import L, P, S, split_of
from tests.training.worlds import rings_split
from training.data.split import TRAIN, Split
from training.fitting.cooccurrence import REACH, STEPS, smoothed_vectors


def test_vectors_agree_with_the_formula_read_literally() -> None:
    """Vectors of random sessions with skips and repeats equal those of loops over pairs and a dense matrix."""
    rng = np.random.default_rng(3)
    lines = [
        (f"u{user}", f"t{rng.integers(9)}", (P, P, S, L)[rng.integers(4)], "train") for user in range(6) for _ in range(14)
    ]
    split = split_of([*lines, ("z", "t0", P, "test"), ("z", "t1", P, "test")])

    found = smoothed_vectors(split, 8, seed=5)

    start = torch.randn(len(split.vocabulary), 8, generator=torch.Generator().manual_seed(5))
    vectors = functional.normalize(start, dim=1)
    near = _literally(split)
    for _ in range(STEPS):
        vectors = functional.normalize(near @ vectors + vectors, dim=1)
    assert torch.allclose(found, vectors, atol=1e-5)


def _literally(split: Split) -> torch.Tensor:
    size = len(split.vocabulary)
    weight = torch.zeros(size, size)
    sequences = split.sequences
    for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        kept = [e for e in range(start, stop) if split.part[e] == TRAIN and sequences.outcome[e] in (P, L)]
        for one, other in combinations(range(len(kept)), 2):
            a, b = int(split.row[kept[one]]), int(split.row[kept[other]])
            if other - one <= REACH and a != b:
                weight[a, b] += (other - one) ** -0.5
                weight[b, a] += (other - one) ** -0.5
    degree = weight.sum(0)
    weight = weight / degree.clamp(min=1e-9).sqrt()
    return weight / weight.sum(1, keepdim=True).clamp(min=1e-9)


def test_a_track_without_company_keeps_its_random_vector() -> None:
    """Its vector is the same with and without the other tracks."""
    alone = smoothed_vectors(split_of([("u", "a", P, "train"), ("z", "a", P, "test")]), 4, seed=1)

    vectors = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(alone, functional.normalize(vectors, dim=1))


@pytest.mark.parametrize("block", ["plain", "ligr"])
def test_a_network_that_starts_near_ranks_by_nearness_to_the_last_track(block: Literal["plain", "ligr"]) -> None:
    """Before any training the scores are cosines with the last track's vector, times the root of the width."""
    vectors = smoothed_vectors(rings_split(), 16, seed=1)
    config = NetworkConfig(width=16, layers=2, heads=2, block=block, outcomes=False, item_bias=False)
    network = build(config, len(vectors), 8).eval()

    network.start_from_vectors(vectors)

    query = network(torch.tensor([[3, 5, 4]]), torch.tensor([[1, 1, 1]]))
    scores = network.all_scores(query, network.item_matrix())[0]
    centred = vectors[4] - vectors[4].mean()
    assert torch.allclose(scores[1:], vectors[1:] @ centred / centred.std(correction=0), atol=1e-3)
    assert not network.item_matrix()[PADDING].any()
