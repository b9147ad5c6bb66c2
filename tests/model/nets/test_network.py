"""What holds for every network alike."""

from typing import Literal

import pytest
import torch

from model.nets import build
from model.nets.config import NetworkConfig


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("kind", ["causal", "cloze", "sine"])
def test_last_state_alone_is_the_last_of_all(kind: Literal["causal", "cloze", "sine"], skips: bool) -> None:
    """What is served leaves out the others' work, and nothing else; empty, short and full histories."""
    torch.manual_seed(0)
    network = build(NetworkConfig(kind=kind, skips=skips or kind == "sine", width=8, layers=2, feed_forward=16), 30, 5).eval()
    tracks = torch.tensor([[0, 0, 0, 0], [0, 0, 4, 5], [6, 7, 8, 9]])
    outcomes = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 2], [2, 1, 1, 2]])
    with torch.no_grad():
        every, last = (network.states(tracks, outcomes, last=last) for last in (False, True))

    assert last.shape == (3, 1, every.shape[2])
    assert torch.allclose(last[:, 0], every[:, -1], atol=1e-6)
