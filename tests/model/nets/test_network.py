"""Properties of every network."""

from typing import Literal

import pytest
import torch

from model.nets import build
from model.nets.blocks import held_of, slots_of
from model.nets.config import NetworkConfig


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("kind", ["causal", "cloze", "sine"])
def test_last_state_alone_is_the_last_of_all(kind: Literal["causal", "cloze", "sine"], skips: bool) -> None:
    """Serving skips the work on other states and gives the same answer, for empty, short and full histories."""
    torch.manual_seed(0)
    network = build(NetworkConfig(kind=kind, skips=skips or kind == "sine", width=8, layers=2, feed_forward=16), 30, 5).eval()
    tracks = torch.tensor([[0, 0, 0, 0], [0, 0, 4, 5], [6, 7, 8, 9]])
    outcomes = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 2], [2, 1, 1, 2]])
    with torch.no_grad():
        every, last = (network.states(tracks, outcomes, last=last) for last in (False, True))

    assert last.shape == (3, 1, every.shape[2])
    assert torch.allclose(last[:, 0], every[:, -1], atol=1e-6)


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("kind", ["causal", "cloze", "sine"])
def test_padding_left_out_changes_no_state(kind: Literal["causal", "cloze", "sine"], skips: bool) -> None:
    """Serving leaves out slots without an entry, training computes them. The states of the start and of each entry agree."""
    torch.manual_seed(0)
    config = NetworkConfig(kind=kind, skips=skips or kind == "sine", width=8, layers=2, feed_forward=16, dropout=0.0)
    network = build(config, 30, 5)
    tracks = torch.tensor([[0, 0, 0, 0], [0, 0, 4, 5], [6, 7, 8, 9]])
    outcomes = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 2], [2, 1, 1, 2]])
    with torch.no_grad():
        whole, packed = (network.train(mode).states(tracks, outcomes) for mode in (True, False))
    read = held_of(slots_of(tracks))
    if kind == "cloze":  # whose other states are not used
        read = torch.tensor([[False] * 4 + [True]] * 3)

    assert torch.allclose(whole[read], packed[read], atol=1e-6)


@pytest.mark.parametrize("kind", ["causal", "cloze", "sine"])
def test_without_repeats_what_was_read_is_not_proposable(kind: Literal["causal", "cloze", "sine"]) -> None:
    """Each history masks its own tracks. With repeats, the default, scores are unchanged."""
    tracks, scores = torch.tensor([[0, 4, 5], [0, 0, 0]]), torch.arange(12.0).view(2, 6)
    plain, fresh = (build(NetworkConfig(kind=kind, width=8, repeats=repeats), 6, 3) for repeats in (True, False))

    assert torch.equal(plain.proposable(scores, tracks), scores)
    assert fresh.proposable(scores, tracks)[:, 1:].tolist() == [[1, 2, 3, -torch.inf, -torch.inf], [7, 8, 9, 10, 11]]
