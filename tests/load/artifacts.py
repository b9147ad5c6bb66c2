"""Artifacts for measuring speed: our network with made-up weights, exported like a trained one, once for each size.

Track vectors lie in clusters, and later dimensions carry less, as in trained embeddings; an index finds nothing in a cloud
without structure. Popular tracks have higher biases. The blocks change their input little, so a query resembles the newest
track. The artifacts cost as much as learned ones and say nothing about quality. They are the harder case for an index: the
same share of blocks finds .99 of the best here, and all of them among 121,206 tracks trained on sessions of music. torch is
loaded only to make an artifact.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.artifact import SCHEMA
from model.encoding import RowHistory
from model.long_history import MINUTE_MS, Plays, encode_long
from model.vocabulary import FIRST, Vocabulary

if TYPE_CHECKING:
    from torch import nn

LENGTH, WIDTH = 50, 64
_AT_A_TIME = 1_000_000


def of_size(cache: Path, tracks: int, *, long_history: int = 0) -> Path:
    """Return the folder of an artifact of this size under `cache`, and make it if it does not exist.

    With `long_history`, the same network has an untrained copy head, which reads so many plays.
    """
    if not is_made(cache, tracks, long_history=long_history):
        _make(_root(cache, tracks, long_history), tracks, long_history)
    return (_root(cache, tracks, long_history) / "current").resolve()


def is_made(cache: Path, tracks: int, *, long_history: int = 0) -> bool:
    """Say whether the artifact exists."""
    return (_root(cache, tracks, long_history) / "current" / "manifest.json").exists()


def _root(cache: Path, tracks: int, long_history: int) -> Path:
    head = f"-copying-{long_history}" if long_history else ""
    return cache / f"clustered-{tracks}{head}-schema-{SCHEMA}"  # an artifact that this version would refuse is made again


def clustered(rows: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Draw vectors [rows, WIDTH] in clusters, as many as the square root of their number and half as wide as their distance."""
    random = np.random.default_rng(seed)
    shares = np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.5
    centres = random.standard_normal((max(16, round(rows**0.5)), WIDTH), dtype=np.float32)
    vectors = centres[random.integers(0, len(centres), rows)]
    for start in range(0, rows, _AT_A_TIME):  # in slices, so that ten million vectors need little more than their own memory
        some = vectors[start : start + _AT_A_TIME]
        some += 0.5 * random.standard_normal(some.shape, dtype=np.float32)
        some *= 0.4 * shares / np.sqrt((shares**2).mean())
    return vectors


def _make(root: Path, tracks: int, long_history: int) -> None:
    import torch

    from model.nets import build
    from model.nets.config import NetworkConfig
    from model.nets.copy_head import CopyHead
    from training.exporting.export import export
    from training.recipe import Recipe

    torch.manual_seed(0)
    recipe = Recipe(name="load", network=NetworkConfig(width=WIDTH, layers=2))
    network = build(recipe.network, tracks + FIRST, recipe.history.length)
    _fill(network, tracks + FIRST)
    if long_history:
        network.copy_head = CopyHead(tracks + FIRST, long_history)
    random = np.random.default_rng(0)
    samples = [_sample(random, length, tracks, long_history) for length in random.integers(1, LENGTH, 1024).tolist()]
    export(
        network,
        recipe=recipe,
        vocabulary=Vocabulary([f"t{number}" for number in range(tracks)]),
        popular=list(range(FIRST, min(tracks, 2_000) + FIRST)),
        samples=samples,
        root=root,
        origin={"source": "made-up weights, for measuring speed alone"},
        quality={},
    )


def _sample(random: np.random.Generator, length: int, tracks: int, long_history: int) -> RowHistory:
    """Draw a history of `length` plays, with a hundred times as many in its long history, if one is read."""
    history = RowHistory(random.integers(FIRST, tracks + FIRST, length).tolist(), random.integers(1, 3, length).tolist())
    if not long_history:
        return history
    plays = min(long_history, 100 * length)
    own = random.integers(FIRST, tracks + FIRST, max(1, plays // 2))[random.integers(0, max(1, plays // 2), plays)]
    log = Plays(own, own, random.integers(1, 3, plays), np.arange(plays) * MINUTE_MS, np.zeros(plays, np.int64))
    asked_ms, size = np.full(1, plays * MINUTE_MS), tracks + FIRST
    span = np.zeros(1, np.int64), np.full(1, plays)
    return history._replace(
        own=encode_long(log, *span, asked_ms=asked_ms, going_on=span[0] - 1, size=size, length=long_history)
    )


def _fill(network: "nn.Module", rows: int) -> None:
    """Set the network's weights as the module's docstring describes."""
    import torch

    popularity = -0.5 * np.log1p(np.random.default_rng(1).permutation(rows) / 200, dtype=np.float32)
    with torch.no_grad():
        network.get_parameter("track.weight").copy_(torch.from_numpy(clustered(rows)))
        network.get_parameter("bias").copy_(torch.from_numpy(popularity))
        for name, parameter in network.named_parameters():
            if name.startswith("blocks.each."):
                parameter.mul_(0.3)
