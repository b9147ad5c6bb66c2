"""SINE agrees with its formulas, computed entry by entry.

Shapes: B batch, T time, D width, K sub-interests, V rows.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.events import Outcome
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.network import Network
from model.nets.sine import SineNetwork, distance_correlation

ROWS, LENGTH, KEPT, SKIPPED = 9, 6, int(Outcome.PLAYED), int(Outcome.SKIPPED)


def network_of() -> SineNetwork:
    """Make a tiny network whose every weight matters."""
    torch.manual_seed(0)
    config = NetworkConfig(kind="sine", width=4, layers=1, heads=1, feed_forward=8, dropout=0.0, interests=2)
    network = build(config, ROWS, LENGTH).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    assert isinstance(network, SineNetwork)
    return network


def answer(network: Network, tracks: list[int], outcomes: list[int], padding: int = 0) -> Tensor:
    """Return the scores of all rows after one history."""
    with torch.no_grad():
        query = network(torch.tensor([[0] * padding + tracks]), torch.tensor([[0] * padding + outcomes]))
        return network.all_scores(query, network.item_matrix())[0]


def test_scores_are_those_of_the_formulas() -> None:
    """h_k = h + sigmoid(h * g_k) * h, a_k(i) = softmax(w_k . [h_k ; e_i] + b_k), s(i) = sum a_k (h_k . e_i) + bias_i."""
    network = network_of()
    tracks, outcomes = [2, 3, 4, 5], [KEPT, SKIPPED, KEPT, SKIPPED]
    with torch.no_grad():
        state = network.states(torch.tensor([tracks]), torch.tensor([outcomes]))[0, -1].reshape(3, 4)
        table, refused = network.track.weight, network.track.weight[[3, 5]]
        wanted = []
        for row in range(ROWS):
            logits, scores = [], []
            for k in range(2):
                attention = torch.softmax(network.refused_key(refused) @ network.interest_query[k], dim=0)
                interest = sum((attention[j] * refused[j] for j in range(2)), torch.zeros(4))
                assert torch.allclose(state[1 + k], interest, atol=1e-6)
                fused = state[0] + torch.sigmoid(state[0] * interest) * state[0]
                weights = torch.cat([network.fuse_state[k], network.fuse_item[k]])
                logits.append(weights @ torch.cat([fused, table[row]]) + network.fuse_bias[k])
                scores.append(fused @ table[row])
            shares = torch.softmax(torch.stack(logits), dim=0)
            wanted.append(shares @ torch.stack(scores) + network.bias[row])

    assert torch.allclose(answer(network, tracks, outcomes), torch.stack(wanted), atol=1e-5)


def test_before_training_a_new_listener_gets_the_popular_tracks() -> None:
    """Biases start from popularity. If the recipe leaves them out, as the paper does, they stay 0."""
    config = NetworkConfig(kind="sine", width=4, layers=1, heads=1, feed_forward=8, interests=2)
    with_biases, without = (build(replace(config, item_bias=biased), ROWS, LENGTH).eval() for biased in (True, False))
    popularity = torch.tensor([0.0, 0, 5, 1, 9, 2, 7, 3, 8])
    for network in (with_biases, without):
        network.start_from_popularity(popularity)

    assert answer(with_biases, [], [], padding=1)[2:].argsort(descending=True).tolist() == [2, 6, 4, 0, 5, 3, 1]
    assert not without.get_parameter("bias").any()
    assert not without.get_parameter("bias").requires_grad


def test_encoder_reads_kept_entries_alone() -> None:
    """Without the refused entries, h is the same at every place after which nothing was refused."""
    network = network_of()
    mixed = network.states(torch.tensor([[2, 3, 4, 5]]), torch.tensor([[KEPT, SKIPPED, KEPT, SKIPPED]]))
    alone = network.states(torch.tensor([[2, 4]]), torch.tensor([[KEPT, KEPT]]))

    assert torch.allclose(mixed[0, [0, 1, 3], :4], alone[0, :, :4], atol=1e-6)
    assert torch.allclose(mixed[0, [2, 4], :4], alone[0, [1, 2], :4], atol=1e-6)


def test_state_has_read_nothing_of_what_it_predicts() -> None:
    """Changing an entry or its outcome changes no state up to its own place."""
    network = network_of()
    tracks, outcomes = torch.tensor([[2, 3, 4, 5]]), torch.tensor([[KEPT, SKIPPED, KEPT, SKIPPED]])
    before = network.states(tracks, outcomes)
    for place in range(4):
        for changed in (
            network.states(tracks.index_fill(1, torch.tensor([place]), 8), outcomes),
            network.states(tracks, outcomes.index_fill(1, torch.tensor([place]), 3 - int(outcomes[0, place]))),
        ):
            assert torch.allclose(before[0, : place + 1], changed[0, : place + 1], atol=1e-6)
            assert not torch.allclose(before[0, place + 1 :], changed[0, place + 1 :])


@pytest.mark.parametrize("outcomes", [[], [KEPT], [SKIPPED], [SKIPPED, SKIPPED, KEPT]])
def test_padding_changes_nothing_and_nothing_is_nan(outcomes: list[int]) -> None:
    """An empty history and one with skips only get an answer, whatever the padding."""
    network = network_of()
    tracks = [2, 3, 4][: len(outcomes)]
    plain = answer(network, tracks, outcomes, padding=1)

    assert torch.isfinite(plain).all()
    assert torch.allclose(plain, answer(network, tracks, outcomes, padding=3), atol=1e-6)


def test_fusion_depends_on_the_item() -> None:
    """After two different skips the shares of the sub-interests differ by item: no single vector gives these scores."""
    network = network_of()
    with torch.no_grad():
        network.fuse_item.mul_(20)
        query = network(torch.tensor([[2, 3, 5]]), torch.tensor([[KEPT, SKIPPED, SKIPPED]]))
        scores = network.all_scores(query, network.item_matrix())[0]
        table = network.track.weight
        scores = scores - network.bias
        residual = scores - table @ torch.linalg.lstsq(table, scores[:, None]).solution[:, 0]

    assert residual.abs().max() > 1e-3


def test_pair_scores_are_the_columns_of_all_scores() -> None:
    """Both ways to score agree."""
    network = network_of()
    with torch.no_grad():
        queries = network.queries(network.states(torch.tensor([[2, 3, 4]]), torch.tensor([[KEPT, SKIPPED, KEPT]]))[0]).main
        rows = torch.tensor([2, 5, 7, 8])
        pairs = network.pair_scores(queries, network.items(rows).main)
        table = network.all_scores(queries, network.items().main)

    assert torch.allclose(pairs, table[torch.arange(4), rows], atol=1e-6)


def test_distance_correlation_by_hand() -> None:
    """Samples at distances 3 and 5 are perfectly dependent. A line against itself gives 1, against a constant 0."""
    one, other = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    line = torch.arange(6.0)[:, None]

    assert distance_correlation(one, other).item() == pytest.approx(1.0, abs=1e-3)
    assert distance_correlation(line, 2 * line + 1).item() == pytest.approx(1.0, abs=1e-3)
    assert distance_correlation(line, torch.ones(6, 1)).item() == pytest.approx(0.0, abs=1e-3)


def test_distance_correlation_of_what_does_not_vary_can_be_trained_through() -> None:
    """If nobody refuses anything, all sub-interests are zero. The penalty is then 0, and its gradient is not NaN."""
    one, other = torch.zeros(4, 3, requires_grad=True), torch.zeros(4, 3, requires_grad=True)
    distance_correlation(one, other).backward()  # type: ignore[no-untyped-call] # torch ships it without types

    assert one.grad is not None
    assert one.grad.abs().max() == 0


def test_distance_correlation_against_its_definition() -> None:
    """dCov^2 / sqrt(dVar dVar) from doubly centred distances, summed by loops (Székely et al. 2007)."""
    torch.manual_seed(1)
    samples = (torch.randn(5, 2), torch.randn(5, 3))
    centred = []
    for sample in samples:
        distance = [[math.dist(a, b) for b in sample.tolist()] for a in sample.tolist()]
        row = [sum(line) / 5 for line in distance]
        whole = sum(row) / 5
        centred.append([[distance[i][j] - row[i] - row[j] + whole for j in range(5)] for i in range(5)])

    def product(one: int, other: int) -> float:
        return sum(centred[one][i][j] * centred[other][i][j] for i in range(5) for j in range(5))

    wanted = math.sqrt(product(0, 1) / math.sqrt(product(0, 0) * product(1, 1)))

    assert distance_correlation(*samples).item() == pytest.approx(wanted, rel=1e-4)
