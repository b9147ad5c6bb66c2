"""Initial track embeddings: tracks that were kept near each other start near each other, so training need not discover this.

Random unit vectors are smoothed over the graph of tracks kept near each other in one sequence (Cleora, Rychalska et al.
2021):

    E <- normalise(A E + E), `STEPS` times,        A[i, j] = w_ij / d_j^.5, each row scaled to sum 1

w_ij is the sum of 1 / sqrt(k) over all times at which i and j were k <= `REACH` kept places apart. d_j is the sum of j's
weights; its root keeps popular tracks from attracting all others. A catalogue of 100,000 tracks takes seconds. A track that
was never kept near another stays random. Only the training part is read.

Shapes: V rows, D width, E pairs that occur.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.data.sequences import is_wanted
from training.data.split import Split

REACH, STEPS = 8, 3


def smoothed_vectors(split: Split, width: int, *, seed: int) -> Tensor:
    """Compute initial track embeddings, float32 [V, D]: random unit vectors, smoothed over the graph of tracks kept near each
    other. The same `seed` gives the same vectors.
    """
    size = len(split.vocabulary)
    generator = torch.Generator().manual_seed(seed)
    vectors_VD = functional.normalize(torch.randn(size, width, generator=generator), dim=1)
    near_VV = _graph(split)
    for _ in range(STEPS):
        vectors_VD = (near_VV @ vectors_VD).add_(vectors_VD)
        vectors_VD.div_(vectors_VD.norm(dim=1, keepdim=True))  # in place, because a table of millions is large
    return vectors_VD


def _graph(split: Split) -> Tensor:
    """Return the matrix A of the module's formula, sparse [V, V]."""
    kept = split.known() & is_wanted(split.sequences.outcome)
    row, sequence, size = split.row[kept].astype(np.int64), split.sequences.sequence[kept], len(split.vocabulary)
    pairs, weights = [np.zeros(0, np.int64)], [np.zeros(0)]
    for apart in range(1, REACH + 1):
        one, other = row[:-apart], row[apart:]
        both = (sequence[:-apart] == sequence[apart:]) & (one != other)
        one, other = one[both], other[both]
        pairs += [one * size + other, other * size + one]
        weights.append(np.full(2 * len(one), apart**-0.5))
    pair_E, place = np.unique(np.concatenate(pairs), return_inverse=True)
    count_E = np.bincount(place, np.concatenate(weights), len(pair_E))
    one_E, other_E = pair_E // size, pair_E % size
    weight_E = count_E / np.bincount(one_E, count_E, size)[other_E] ** 0.5
    weight_E = weight_E / np.bincount(one_E, weight_E, size)[one_E]
    indices = torch.from_numpy(np.stack([one_E, other_E]))
    return torch.sparse_coo_tensor(
        indices, torch.from_numpy(weight_E.astype(np.float32)), (size, size), is_coalesced=True, check_invariants=False
    )
