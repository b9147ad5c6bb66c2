"""The masked network never reads a hidden entry, hides entries fairly, and its answer does not depend on padding.

Shapes: B batch, T time.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.nets import build
from model.nets.cloze import ClozeNetwork
from model.nets.config import NetworkConfig

ROWS, LENGTH = 12, 6
CONFIG = NetworkConfig(kind="cloze", width=8, layers=2, heads=2, feed_forward=16, hidden_share=0.5)


def network_of() -> ClozeNetwork:
    """Make a network whose every weight matters."""
    torch.manual_seed(0)
    network = build(CONFIG, ROWS, LENGTH).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert isinstance(network, ClozeNetwork)
    return network


def history_of(*rows: int, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Make one history with every other entry skipped, after some padding."""
    tracks = torch.tensor([[0] * padding + list(rows)])
    outcomes = torch.tensor([[0] * padding + [1 + place % 2 for place in range(len(rows))]])
    return tracks, outcomes


def test_what_is_hidden_is_not_read() -> None:
    """Neither the hidden track nor its outcome changes any state, its own included."""
    network = network_of()
    tracks, outcomes = history_of(2, 3, 4, 5, 6, 7, 8)
    torch.manual_seed(3)
    states, hidden = network.training_states(tracks, outcomes)
    torch.manual_seed(3)
    again, _ = network.training_states(torch.where(hidden, 11, tracks), torch.where(hidden, 4, outcomes))

    assert hidden.any()
    assert torch.equal(states, again)


def test_what_is_not_hidden_is_read_from_both_sides() -> None:
    """The state of the first place depends on the last entry."""
    network = network_of()
    tracks, outcomes = history_of(2, 3, 4, 5, 6, 7, 8)
    for seed in range(50):
        torch.manual_seed(seed)
        states, hidden = network.training_states(tracks, outcomes)
        if hidden[0, 0] and not hidden[0, -1]:
            break
    torch.manual_seed(seed)
    other, _ = network.training_states(torch.tensor([[2, 3, 4, 5, 6, 7, 9]]), outcomes)

    assert not torch.allclose(states[0, 0], other[0, 0])


def test_hidden_entries_are_real_and_every_history_has_one() -> None:
    """Half of the histories hide only their last entry, the others about the given share. Padding is never hidden."""
    network = network_of()
    tracks = torch.cat([history_of(2, 3, 4, 5, padding=3)[0]] * 4_000)
    torch.manual_seed(0)
    _, hidden = network.training_states(tracks, (tracks > 0).to(torch.int64))
    only_last = (hidden.sum(dim=1) == 1) & hidden[:, -1]

    assert not hidden[:, :3].any()
    assert hidden.any(dim=1).all()
    # Half hide the last by design. Of the rest, 1 of 16 draws hides only the last, and 1 of 16 hides nothing and so gets the
    # last.
    assert only_last.float().mean().item() == pytest.approx(0.5 + 0.5 * 2 / 16, abs=0.03)
    assert hidden[~only_last].float()[:, 3:].mean().item() == pytest.approx((0.5 * 16 - 0.25) / 14, abs=0.03)


def test_padding_changes_no_answer() -> None:
    """The same history with more padding gives the same answer, an empty one too."""
    network = network_of()
    for rows in ((), (2,), (2, 3, 4)):
        plain = network(*history_of(*rows, padding=1))

        assert torch.allclose(plain, network(*history_of(*rows, padding=3)), atol=1e-6)
        assert torch.isfinite(plain).all()


def test_answer_depends_on_how_the_last_play_ended() -> None:
    """Played and skipped have different embeddings."""
    network = network_of()
    tracks = torch.tensor([[2, 3]])

    assert not torch.allclose(network(tracks, torch.tensor([[1, 1]])), network(tracks, torch.tensor([[1, 2]])))


def test_network_is_used_as_it_was_trained() -> None:
    """A history followed by a hidden entry is the same input as training with the last entry hidden."""
    network = network_of()
    tracks, outcomes = history_of(2, 3, 4, 5)
    for seed in range(50):
        torch.manual_seed(seed)
        states, hidden = network.training_states(tracks, outcomes)
        if hidden[0].tolist() == [False, False, False, True]:
            break
    trained = network.queries(states[:, -1]).main

    assert torch.allclose(trained, network(tracks[:, :-1], outcomes[:, :-1]), atol=1e-6)


def test_network_without_skips_reads_a_history_as_if_they_had_never_been_in_it() -> None:
    """The scores equal those without the refused tracks."""
    torch.manual_seed(0)
    network = build(replace(CONFIG, skips=False), ROWS, LENGTH).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        found = network(torch.tensor([[0, 2, 3, 4, 5]]), torch.tensor([[0, 2, 1, 4, 3]]))
        without = network(torch.tensor([[3, 5]]), torch.tensor([[1, 3]]))

    assert torch.allclose(found, without, atol=1e-5)


def test_gap_of_a_hidden_entry_is_not_read() -> None:
    """The gap of any other entry is read."""
    torch.manual_seed(0)
    network = build(replace(CONFIG, gaps=True), ROWS, LENGTH).eval()
    tracks, outcomes = history_of(2, 3, 4, 5, 6, 7, 8)
    gaps = torch.arange(1, 8)[None]

    def states(gaps_BT: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        return network.training_states(tracks, outcomes, gaps_BT)

    before, hidden = states(gaps)

    assert hidden.any()
    assert not hidden.all()
    assert torch.equal(before, states(torch.where(hidden, 9, gaps))[0])
    assert not torch.allclose(before, states(torch.where(hidden, gaps, 9))[0])
    assert torch.isfinite(network.states(tracks[:, 1:], outcomes[:, 1:], gaps[:, 1:])).all()
