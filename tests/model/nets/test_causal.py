"""The network reads only the past, ignores padding, and answers an empty history.

Shapes: B batch, T time, S states, D width, V rows.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.encoding import GAP_CODES
from model.events import Outcome
from model.nets import build
from model.nets.causal import CausalNetwork
from model.nets.config import NetworkConfig
from model.nets.network import Network

ROWS, LENGTH = 12, 6
ARTISTS = torch.tensor([0, 0, 1, 1, 2, 2, 0, 3, 3, 3, 1, 1])
CONFIGS = {
    "plain": NetworkConfig(width=8, layers=2, heads=2, feed_forward=16),
    "blind": NetworkConfig(width=8, layers=2, heads=2, feed_forward=16, outcomes=False),
    "two heads": NetworkConfig(
        width=8, layers=1, heads=4, feed_forward=16, wanted_head=True, wanted_width=3, wanted_weight=0.5
    ),
    "artists": NetworkConfig(width=8, layers=1, heads=1, feed_forward=16, artists=True),
    "distances": NetworkConfig(
        width=8, layers=2, heads=2, feed_forward=16, positions="distance", outcome_scaling=True, gaps=True
    ),
    "artist transition": NetworkConfig(width=8, layers=1, heads=2, feed_forward=16, artist_transition=4),
}


def network_of(name: str = "plain") -> Network:
    """Make a network whose every weight matters: fresh weights are near zero, where mistakes would hide in the tolerance."""
    torch.manual_seed(0)
    network = build(CONFIGS[name], ROWS, LENGTH, ARTISTS if name in ("artists", "artist transition") else None).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def histories(*lengths: int, width: int = LENGTH) -> tuple[Tensor, Tensor]:
    """Make random histories of the given lengths, padded on the left to `width`."""
    generator = torch.Generator().manual_seed(1)
    tracks_BT = torch.randint(2, ROWS, (len(lengths), width), generator=generator)
    outcomes_BT = torch.randint(1, 5, (len(lengths), width), generator=generator)
    padding_BT = torch.arange(width) < width - torch.tensor(lengths)[:, None]
    return tracks_BT.masked_fill(padding_BT, 0), outcomes_BT.masked_fill(padding_BT, 0)


def scores(network: Network, tracks_BT: Tensor, outcomes_BT: Tensor) -> Tensor:
    """Return the network's scores of every row."""
    with torch.no_grad():
        query_BQ: Tensor = network(tracks_BT, outcomes_BT)
    return query_BQ @ network.item_matrix().detach().T


each_network = pytest.mark.parametrize("name", CONFIGS)


@each_network
@pytest.mark.parametrize("place", range(LENGTH))
def test_later_entry_changes_no_earlier_state(name: str, place: int) -> None:
    """State t has read the entries before t. Up to the changed entry states are equal bit for bit, after it they differ."""
    network = network_of(name)
    tracks, outcomes = histories(LENGTH)
    other_tracks, other_outcomes = tracks.clone(), outcomes.clone()
    other_tracks[0, place] = 2 + (tracks[0, place] - 1) % (ROWS - 2)
    other_outcomes[0, place] = 1 + outcomes[0, place] % 4

    before, after = network.states(tracks, outcomes)[0], network.states(other_tracks, other_outcomes)[0]

    assert torch.equal(before[: place + 1], after[: place + 1])
    assert not torch.isclose(before[place + 1 :], after[place + 1 :]).all(dim=-1).any()


@each_network
@pytest.mark.parametrize("length", range(LENGTH + 1))
def test_more_padding_changes_nothing(name: str, length: int) -> None:
    """The answer is the same in every batch, from no padding to far more than a history's length."""
    network = network_of(name)
    tracks, outcomes = histories(length)
    answers = [
        scores(network, torch.nn.functional.pad(tracks, (pad, 0)), torch.nn.functional.pad(outcomes, (pad, 0)))
        for pad in (length - LENGTH + (length == 0), 0, 1, 20)  # the first cuts all padding off (an empty history keeps one)
    ]

    assert all(torch.allclose(answer, answers[0], atol=1e-5) for answer in answers)


@each_network
def test_batch_gives_the_answers_of_its_lines(name: str) -> None:
    """Histories of all lengths give the same answers together and one by one."""
    network = network_of(name)
    tracks, outcomes = histories(*range(LENGTH + 1))
    alone = torch.cat([scores(network, tracks[[line]], outcomes[[line]]) for line in range(LENGTH + 1)])

    assert torch.allclose(scores(network, tracks, outcomes), alone, atol=1e-5)


@each_network
def test_no_length_gives_nan(name: str) -> None:
    """The forward and backward pass give none, from the empty to the full history, in padded states too."""
    network = network_of(name).train()
    tracks, outcomes = histories(*range(LENGTH + 1))
    states = network.states(tracks, outcomes)
    (network.queries(states).main @ network.items().main.T).logsumexp(-1).sum().backward()  # type: ignore[no-untyped-call]

    assert states.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@each_network
def test_gradient_reaches_the_start_token(name: str) -> None:
    """So the answer to an empty history is learned."""
    network = network_of(name)
    network(*histories(0)).sum().backward()
    start = network.get_parameter("start").grad

    assert start is not None
    assert start.abs().max() > 0


@each_network
def test_start_token_is_read_by_every_entry(name: str) -> None:
    """It stands at the same place in each history, in full ones too."""
    network = network_of(name)
    inputs = histories(0, 1, LENGTH)
    before = scores(network, *inputs)
    with torch.no_grad():
        network.get_parameter("start").add_(torch.linspace(-1, 1, 8))

    assert not torch.isclose(scores(network, *inputs), before).all(dim=-1).any()


@each_network
def test_order_of_entries_matters(name: str) -> None:
    """Positions are read: the same tracks in reverse are another history."""
    network = network_of(name)
    tracks, outcomes = histories(LENGTH)
    last_same = [4, 3, 2, 1, 0, 5]

    assert not torch.allclose(scores(network, tracks, outcomes), scores(network, tracks[:, last_same], outcomes[:, last_same]))


def test_blind_network_does_not_see_outcomes() -> None:
    """The SASRec of the comparison is really blind."""
    tracks, outcomes = histories(0, 3, LENGTH)
    network = network_of("blind")

    assert torch.equal(scores(network, tracks, outcomes), scores(network, tracks, (tracks > 0).long()))


def test_other_networks_see_outcomes() -> None:
    """The same tracks, played or skipped, are different histories."""
    tracks, outcomes = histories(1, LENGTH)
    network = network_of()

    assert not torch.allclose(scores(network, tracks, 1 + outcomes % 4), scores(network, tracks, outcomes))


@each_network
def test_items_of_some_rows_are_those_of_all(name: str) -> None:
    """Training looks up rows in any shape; serving takes the whole matrix."""
    network = network_of(name)
    rows = torch.tensor([[3, 1], [11, 3]])
    some, every = network.items(rows), network.items()

    assert torch.equal(some.main, every.main[rows])
    assert (some.wanted is None) == (every.wanted is None) == (name != "two heads")
    if some.wanted is not None and every.wanted is not None:
        assert torch.equal(some.wanted, every.wanted[rows])


def test_second_head_adds_its_weighted_logit_to_the_score() -> None:
    """The sum main + 0.5 * wanted is computed as one dot product."""
    network = network_of("two heads")
    inputs = histories(4)
    with torch.no_grad():
        query, items = network.queries(network.states(*inputs)[:, -1]), network.items()
        assert query.wanted is not None
        assert items.wanted is not None
        by_hand = query.main @ items.main.T + 0.5 * query.wanted @ items.wanted.T

    assert torch.allclose(scores(network, *inputs), by_hand, atol=1e-5)


def test_tracks_bias_is_added_to_its_score() -> None:
    """The bias is a part of the score that does not depend on the history."""
    network = network_of()
    inputs = histories(0, 3)
    before = scores(network, *inputs)
    with torch.no_grad():
        network.get_parameter("bias")[5] += 2

    assert torch.allclose(
        scores(network, *inputs) - before, 2.0 * torch.nn.functional.one_hot(torch.tensor(5), ROWS), atol=1e-5
    )


def test_tracks_of_one_artist_share_a_part() -> None:
    """Changing an artist's embedding changes that artist's tracks and no others."""
    network = network_of("artists")
    before = network.items().main.clone()
    with torch.no_grad():
        network.get_parameter("artist.weight")[1] += 1
    moved = (network.items().main != before).any(dim=-1)

    assert moved.nonzero().flatten().tolist() == [2, 3, 10, 11]


def test_folding_leaves_the_scores_as_they_are() -> None:
    """The exported network needs no artist table and gives the same scores."""
    network = network_of("artists")
    inputs = histories(0, 3, LENGTH)
    before = scores(network, *inputs)
    network.merge_artist_embeddings()
    network.merge_artist_embeddings()

    assert torch.equal(scores(network, *inputs), before)
    assert not [key for key in network.state_dict() if "artist" in key]


def test_network_without_a_catalogue_does_without_artists() -> None:
    """The same recipe serves logs with and without a catalogue."""
    network = build(CONFIGS["artists"], ROWS, LENGTH)

    assert not [name for name in network.state_dict() if "artist" in name]
    assert scores(network, *histories(0, 3)).isfinite().all()


@each_network
def test_fresh_padding_and_absent_artists_are_zero(name: str) -> None:
    """Embeddings that are never trained must not be noise."""
    network = build(CONFIGS[name], ROWS, LENGTH, ARTISTS if name == "artists" else None)
    tables = [module for module in network.modules() if isinstance(module, torch.nn.Embedding) and module.padding_idx == 0]

    assert len(tables) >= 2
    assert all(table.weight[0].eq(0).all() for table in tables)


def test_before_training_a_new_listener_gets_the_popular_tracks() -> None:
    """Biases start at the log of popularity. A track that nobody wanted comes last."""
    torch.manual_seed(0)
    network = build(NetworkConfig(width=8, heads=2), 6, 4).eval()
    network.start_from_popularity(torch.tensor([0.0, 0.0, 3.0, 50.0, 0.0, 9.0]))
    with torch.no_grad():
        scores = network(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64)) @ network.item_matrix().T

    assert scores[0, 2:].argsort(descending=True).tolist() == [1, 3, 0, 2]


def test_network_without_skips_reads_a_history_as_if_they_had_never_been_in_it() -> None:
    """The scores equal those without the refused tracks, also if all tracks were refused."""
    torch.manual_seed(0)
    config = NetworkConfig(width=8, layers=2, heads=2, feed_forward=16, skips=False)
    network = build(config, ROWS, LENGTH).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    tracks, outcomes = torch.tensor([[0, 2, 3, 4, 5], [0, 0, 6, 7, 0]]), torch.tensor([[0, 2, 1, 4, 3], [0, 0, 2, 4, 0]])
    without = scores(network, torch.tensor([[3, 5]]), torch.tensor([[1, 3]]))

    assert torch.allclose(scores(network, tracks[:1], outcomes[:1]), without, atol=1e-5)
    assert torch.allclose(
        scores(network, tracks[1:, :4], outcomes[1:, :4]),
        scores(network, torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.int64)),
        atol=1e-5,
    )


def test_gap_is_added_to_what_is_read_of_an_entry() -> None:
    """Track, outcome and gap each add an embedding. Unknown gaps add nothing, and each state reads only the past."""
    torch.manual_seed(0)
    network = build(NetworkConfig(width=8, layers=1, heads=2, feed_forward=16, gaps=True), ROWS, LENGTH).eval()
    assert isinstance(network, CausalNetwork)
    tracks, outcomes = histories(2, 6)
    gaps = torch.where(tracks > 0, torch.arange(LENGTH) % GAP_CODES, 0)
    by_hand = network.track.weight[tracks] + network.outcome.weight[outcomes] + network.gap.weight[gaps]
    later = gaps.clone()
    later[:, -1] = GAP_CODES - 1

    assert network.further_inputs == ("gaps",)
    assert torch.equal(network.entries(tracks, outcomes, gaps), by_hand)
    assert torch.equal(network.states(tracks, outcomes, torch.zeros_like(gaps)), network.states(tracks, outcomes))
    assert torch.equal(network.states(tracks, outcomes, later)[:, :-1], network.states(tracks, outcomes, gaps)[:, :-1])
    assert not torch.allclose(network.states(tracks, outcomes, later)[:, -1], network.states(tracks, outcomes, gaps)[:, -1])


def test_training_states_have_not_read_their_own_entrys_gap() -> None:
    """That gap is known only when the next entry comes. The gap of the entry before says how long the listener was away."""
    torch.manual_seed(0)
    network = build(NetworkConfig(width=8, layers=1, heads=2, feed_forward=16, gaps=True), ROWS, LENGTH).eval()
    tracks, outcomes = histories(6)
    one, other, back = torch.full_like(tracks, 3), torch.full_like(tracks, 3), torch.full_like(tracks, 3)
    other[:, -1] = 9
    back[:, -2] = 9
    before = network.training_states(tracks, outcomes, one)[0]

    assert torch.equal(before, network.training_states(tracks, outcomes, other)[0])
    assert not torch.allclose(before[:, -1], network.training_states(tracks, outcomes, back)[0][:, -1])


def test_outcome_scales_what_is_read_of_a_track() -> None:
    """Each dimension has its own factor, applied before the outcome's embedding is added. The output table is not scaled."""
    torch.manual_seed(0)
    network = build(replace(CONFIGS["plain"], outcome_scaling=True), ROWS, LENGTH).eval()
    assert isinstance(network, CausalNetwork)
    tracks, outcomes = histories(2, 6)
    with torch.no_grad():
        network.outcome_scale.weight[1:].normal_()
    by_hand = network.track.weight[tracks] * (1 + network.outcome_scale.weight[outcomes]) + network.outcome.weight[outcomes]

    assert torch.equal(network.entries(tracks, outcomes, None), by_hand)
    assert torch.equal(network.items().main[:, :-1], network.track.weight)


def test_distances_lean_the_same_way_at_every_place() -> None:
    """Attention here sees two entries back, so two blocks see four.

    One more entry beyond these changes nothing, while the furthest visible entry still counts.
    """
    network = network_of("distances")
    assert isinstance(network, CausalNetwork)
    with torch.no_grad():
        network.distances.apart[:, 3:] = -1e4
        network.start.zero_()
    tracks, outcomes = torch.tensor([[2, 5, 7, 3, 4, 6]]), torch.ones(1, 6, dtype=torch.int64)

    assert torch.allclose(
        scores(network, tracks, outcomes), scores(network, tracks[:, 1:], outcomes[:, 1:]), atol=1e-5
    )  # two blocks that see two entries back each
    assert not torch.allclose(scores(network, tracks, outcomes), scores(network, tracks[:, 2:], outcomes[:, 2:]), atol=1e-3)


def test_pause_leans_on_whatever_came_before_it() -> None:
    """A pause between two entries changes the weight of the entries before it.

    Just after a pause, all entries are before it; without a pause none is. In both cases all entries get the same weight.
    """
    network = network_of("distances")
    assert isinstance(network, CausalNetwork)
    tracks, outcomes = torch.tensor([[2, 5, 7]]), torch.ones(1, 3, dtype=torch.int64)

    def states(*gaps: int) -> Tensor:
        with torch.no_grad():
            return network.states(tracks, outcomes, torch.tensor([gaps]))[0, -1]

    with torch.no_grad():
        network.gap.weight.zero_()
    before = {gaps: states(*gaps) for gaps in ((1, 1, 1), (5, 1, 1), (1, 5, 1), (1, 1, 5))}
    with torch.no_grad():
        network.distances.away.zero_()

    alike = {gaps: torch.allclose(states(1, 1, 1), found, atol=1e-6) for gaps, found in before.items()}
    assert alike == {(1, 1, 1): True, (5, 1, 1): False, (1, 5, 1): False, (1, 1, 5): True}


def test_artist_of_the_newest_kept_track_echoes() -> None:
    """Its extra dimensions raise tracks of similar artists. A refused track's artist raises none, and a missing artist raises
    none.
    """
    network = network_of("artist transition")
    assert isinstance(network, CausalNetwork)
    tracks, outcomes = torch.tensor([[0, 2, 4, 7]]), torch.tensor([[0, int(Outcome.PLAYED), 3, int(Outcome.SKIPPED)]])
    with torch.no_grad():
        states = network.states(tracks, outcomes)[0]
        loud = functional.softplus(network.transition_gate(states[:, :8]))
        newest = torch.tensor([0, 0, 2, 4, 4])  # before each entry, and after the last; 0 means no artist
        by_hand = loud * network.artist.weight[ARTISTS[newest], 8:] * (newest > 0)[:, None]

    assert torch.allclose(states[:, 8:], by_hand, atol=1e-6)
    assert torch.equal(network.items().main[:, 8:12], network.artist.weight[ARTISTS, 8:])


def test_without_a_catalogue_nothing_echoes() -> None:
    """There is no artist, and a transition of the track itself would only be memorised."""
    torch.manual_seed(0)
    network = build(CONFIGS["artist transition"], ROWS, LENGTH)

    assert network.items().main.shape == (ROWS, 8 + 1)
    assert network.states(*histories(3)).shape == (1, LENGTH + 1, 8)
