"""Artifacts to measure with: the house's network with random weights, exported as a trained one is, once for each size.

Random weights cost what learned ones do; they say nothing of quality. torch is loaded only when one has to be made.
"""

from pathlib import Path

from model.encoding import RowHistory
from model.vocabulary import FIRST, Vocabulary


def of_size(cache: Path, tracks: int) -> Path:
    """The folder of an artifact of so many tracks under `cache`, made where there is none."""
    if not is_made(cache, tracks):
        _make(_root(cache, tracks), tracks)
    return (_root(cache, tracks) / "current").resolve()


def is_made(cache: Path, tracks: int) -> bool:
    """Whether the artifact is there already."""
    return (_root(cache, tracks) / "current" / "manifest.json").exists()


def _root(cache: Path, tracks: int) -> Path:
    return cache / f"tracks-{tracks}"


def _make(root: Path, tracks: int) -> None:
    import numpy as np
    import torch

    from model.nets import build
    from model.nets.config import NetworkConfig
    from training.export import export
    from training.recipe import Recipe

    torch.manual_seed(0)
    recipe = Recipe(name="load", network=NetworkConfig(width=64, layers=2))
    random = np.random.default_rng(0)
    samples = [
        RowHistory(random.integers(FIRST, tracks + FIRST, length).tolist(), random.integers(1, 3, length).tolist())
        for length in random.integers(1, recipe.history.length, 200).tolist()
    ]
    export(
        build(recipe.network, tracks + FIRST, recipe.history.length),
        recipe=recipe,
        vocabulary=Vocabulary([f"t{number}" for number in range(tracks)]),
        popular=list(range(FIRST, min(tracks, 2_000) + FIRST)),
        samples=samples,
        root=root,
        origin={"source": "random weights, for measuring speed alone"},
        quality={},
    )
