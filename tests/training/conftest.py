"""An exported network that several tests share, because torch's exporter takes seconds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from model.encoding import RowHistory
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.network import Network
from model.nets.session_memory import SessionMemory
from model.versions import CURRENT
from model.vocabulary import FIRST, Vocabulary
from tests.training.worlds import small_recipe
from training.exporting.export import export
from training.fitting.session_memory import tables

TRACKS = [f"t{number}" for number in range(30)]
DROPPED = range(FIRST, FIRST + len(TRACKS), 3)
"""The rows that were taken down before the export."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """An exported network and the folder of its artifact."""

    network: Network
    folder: Path
    length: int


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Exported:
    """An untrained network with every optional part, whose weights are large enough that each part matters.

    The first worker that needs it exports it, for the others too.
    """
    torch.manual_seed(0)
    config = NetworkConfig(
        width=16,
        layers=2,
        heads=2,
        feed_forward=24,
        block="ligr",
        outcome_scaling=True,
        gaps=True,
        positions="distance",
        artist_transition=6,
        artists=True,
        wanted_head=True,
        wanted_width=4,
        wanted_weight=0.7,
    )
    recipe = small_recipe("everything", network=config, length=9)
    rows = len(TRACKS) + FIRST
    network = build(config, rows, recipe.history.length, torch.tensor([0, 0] + [number % 5 for number in range(len(TRACKS))]))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    ended_ms, number = np.arange(6)[::-1] * 86_400_000, np.repeat(np.arange(6), 10)
    heard = np.random.default_rng(0).integers(FIRST, rows, 60)
    network.session_memory = SessionMemory(tables(heard, number, ended_ms, rows), recent=20, weight=2.0)
    samples = []
    for size in range(20):
        read = [[first + place % kinds for place in range(size)] for first, kinds in ((FIRST, 20), (1, 4), (0, 9))]
        samples.append(RowHistory(read[0], read[1], read[2]))
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent  # of all workers; `master` runs the tests alone
    with FileLock(shared / "exported.lock"):
        if not (shared / "exported" / CURRENT).exists():
            export(
                network,
                recipe=recipe,
                vocabulary=Vocabulary(TRACKS),
                popular=list(range(FIRST, rows)),
                samples=samples,
                root=shared / "exported",
                origin={"source": "made up"},
                quality={"hr@20": 0.5},
                dropped=DROPPED,
            )
    network.merge_artist_embeddings()  # as the export does
    folder = (shared / "exported" / CURRENT).resolve()
    return Exported(network=network.eval(), folder=folder, length=recipe.history.length)
