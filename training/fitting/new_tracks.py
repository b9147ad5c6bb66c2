"""Vectors and biases for tracks that no training has seen, from the trained tracks of the same artist.

    vector(new) = mean of the vectors of the artist's trained tracks
    bias(new)   = the `LOW` quantile of their biases, rounded down to one of them

A track whose artist is unknown or has no trained track takes the tracks of its album, and without these all tracks. Biases
follow popularity, so a mean would put new tracks before half of the artist's own. Both rules hold for every table of the
network: means for vectors, quantiles for single numbers.

Shapes: V rows that were trained, T trained tracks, N new tracks, D width of a table, G names.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from model.catalogue import Catalogue
from model.nets.network import Network
from model.vocabulary import FIRST
from training.data.catalogue import numbers_of

LOW = 0.1
"""The quantile. On simulated listeners a higher one raised the ranks of new tracks, but not their hits among the first 20: see
docs/measurements/new-tracks.md.
"""


class _Names(NamedTuple):
    """The number of each track's artist or album: of trained tracks [T] and of new tracks [N]. 0 is no name."""

    trained: Tensor
    new: Tensor


def add_new_tracks(network: Network, catalogue: Catalogue, *, low: float = LOW) -> None:
    """Append rows to a trained network for the tracks at the end of the catalogue that it has no row for.

    Artist embeddings are merged first. A session memory must be built anew afterwards, because it has its own height.
    """
    trained = network.rows - FIRST
    if len(catalogue.artists) == trained:
        return
    network.merge_artist_embeddings()
    numbers = (
        numbers_of(catalogue.artists),
        numbers_of(catalogue.albums or [None] * len(catalogue.artists)),
        torch.ones(len(catalogue.artists), dtype=torch.int64),  # all tracks as one group
    )
    names = [_Names(one[:trained], one[trained:]) for one in numbers]
    first_N = _first_with_tracks(names)
    with torch.no_grad():
        network.append_rows({name: _lines(table, names, first_N, low) for name, table in network.row_tables().items()})


def _first_with_tracks(names: list[_Names]) -> Tensor:
    """Return for each new track the place of the first of `names` under which it has a trained track, [N]."""
    found = [torch.isin(one.new, one.trained) & (one.new > 0) for one in names]
    return torch.stack(found).int().argmax(dim=0)


def _lines(table: Tensor, names: list[_Names], first_N: Tensor, low: float) -> Tensor:
    """Return the new tracks' lines of a table of vectors [V, D] or of numbers [V]."""
    lines = table.new_zeros(len(first_N), *table.shape[1:])
    for place, (trained, new) in enumerate(names):
        mine = first_N == place
        values_G = _quantiles(table[FIRST:], trained, low) if table.dim() == 1 else _means(table[FIRST:], trained)
        lines[mine] = values_G[new[mine]]
    return lines


def _means(vectors_TD: Tensor, number_T: Tensor) -> Tensor:
    """Return the mean vector of each number, [G, D]."""
    counts_G = torch.bincount(number_T)
    sums_GD = vectors_TD.new_zeros(len(counts_G), vectors_TD.shape[1]).index_add_(0, number_T, vectors_TD)
    return sums_GD / counts_G.clamp(min=1)[:, None]


def _quantiles(values_T: Tensor, number_T: Tensor, low: float) -> Tensor:
    """Return the quantile `low` of the values of each number, rounded down to one of them, [G]."""
    by_value_T = values_T.argsort(stable=True)
    order_T = by_value_T[number_T[by_value_T].argsort(stable=True)]
    counts_G = torch.bincount(number_T)
    place_G = counts_G.cumsum(0) - counts_G + (low * (counts_G - 1).clamp(min=0)).long()
    return values_T[order_T[place_G.clamp(max=len(values_T) - 1)]]
