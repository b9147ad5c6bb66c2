"""The entries in each term of the loss agree with plain loops over the same batch.

Shapes: B windows, T places.
"""

import pytest
import torch
from torch import Tensor

from model.events import Outcome
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.network import Network
from training.fitting.batches import Batch
from training.fitting.objective import FULL_SOFTMAX_ROWS, objective, reads_few_rows, term_names
from training.recipe import LossRule

PLAYED, SKIPPED, LIKED, DISLIKED = Outcome
ROWS = 9


def network_of(*, wanted_head: bool = False, repeats: bool = True) -> Network:
    """Make a small network with weights large enough that each entry matters."""
    torch.manual_seed(0)
    config = NetworkConfig(
        width=8, layers=1, heads=2, feed_forward=8, dropout=0.0, wanted_head=wanted_head, wanted_width=4, repeats=repeats
    )
    network = build(config, ROWS, 6).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def batch_of(tracks: list[list[int]], outcomes: list[list[int]], wanted: list[list[int]]) -> Batch:
    """Make a batch by hand."""
    session, gaps = ([[number] * len(tracks[0])] * len(tracks) for number in (1, 0))
    return Batch(*(torch.tensor(lines) for lines in (tracks, outcomes, wanted, session, gaps, outcomes)))


BATCH = batch_of(
    [[0, 2, 3, 4], [5, 6, 6, 7]],
    [[0, PLAYED, SKIPPED, PLAYED], [DISLIKED, SKIPPED, LIKED, SKIPPED]],
    [[0, 2, 4, 4], [6, 6, 6, 0]],
)


def scores_at(network: Network, batch: Batch, line: int, place: int) -> Tensor:
    """Return the network's scores after the entries before a place, computed as in the service."""
    real = batch.tracks[line, :place] != 0
    tracks, outcomes = (array[line, :place][real][None] for array in (batch.tracks, batch.outcomes))
    heads = network.queries(network.states(tracks, outcomes)[0, -1])
    return network.items().main @ heads.main


def places(chosen: Tensor) -> list[tuple[int, int]]:
    """Return line and place of each true entry."""
    return [(line, place) for line, place in chosen.nonzero().tolist()]


def test_main_term_asks_every_state_for_the_next_kept_track() -> None:
    """Every target adds a loss, also the target of the start. Padding and places without a later kept track add none."""
    network = network_of()
    each = [
        -scores_at(network, BATCH, line, place)[1:].log_softmax(0)[BATCH.wanted[line, place] - 1]
        for line, place in places(BATCH.wanted != 0)
    ]

    assert len(each) == 6
    assert objective(network, BATCH, LossRule())["main"].mean.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)


def test_without_repeats_each_state_chooses_among_tracks_that_it_has_not_read() -> None:
    """The tracks of the same line before the place are left out. The target itself stays even if it was read, like track 6,
    which follows itself.
    """
    network = network_of(repeats=False)
    each = []
    for line, place in places(BATCH.wanted != 0):
        target = int(BATCH.wanted[line, place])
        left = [row for row in range(1, ROWS) if row == target or row not in BATCH.tracks[line, :place].tolist()]
        each.append(-scores_at(network, BATCH, line, place)[left].log_softmax(0)[left.index(target)])
    found = objective(network, BATCH, LossRule())["main"].mean.item()

    assert found == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)
    assert found < objective(network_of(), BATCH, LossRule())["main"].mean.item()


def test_pair_term_sets_each_refused_track_below_the_kept_one_that_followed() -> None:
    """The pair is scored in the state before the refused track. There is no pair without a later kept track, or if it is the
    same track.
    """
    network = network_of()
    pairs = [(0, 2, 4, 3), (1, 0, 6, 5)]  # line, place, wanted, refused; (1, 1) wants the same track, (1, 3) has no wanted one
    scores = [scores_at(network, BATCH, line, place) for line, place, _, _ in pairs]
    each = [
        -torch.nn.functional.logsigmoid(score[wanted] - score[refused])
        for score, (_, _, wanted, refused) in zip(scores, pairs, strict=True)
    ]
    found = objective(network, BATCH, LossRule(pair=0.5))["pair"].mean.item()

    assert found == pytest.approx(0.5 * torch.stack(each).mean().item(), rel=1e-5)


def test_feedback_term_asks_of_each_entry_whether_it_was_kept() -> None:
    """It uses the state before the entry, so that the network cannot read the answer."""
    network = network_of(wanted_head=True)
    logits, kept = [], []
    for line, place in places(BATCH.tracks != 0):
        real = BATCH.tracks[line, :place] != 0
        state = network.states(BATCH.tracks[line, :place][real][None], BATCH.outcomes[line, :place][real][None])[0, -1]
        query, item = network.queries(state).wanted, network.items(BATCH.tracks[line, place]).wanted
        assert query is not None
        assert item is not None
        logits.append(query @ item)
        kept.append(Outcome(int(BATCH.outcomes[line, place])).wanted)
    by_hand = torch.nn.functional.binary_cross_entropy_with_logits(torch.stack(logits), torch.tensor(kept).float())

    assert objective(network, BATCH, LossRule(feedback=0.25))["feedback"].mean.item() == pytest.approx(
        0.25 * by_hand.item(), rel=1e-5
    )


def test_last_entrys_outcome_is_never_read() -> None:
    """The last entry's outcome would be the answer to the last prediction. So changing it must not change the main term."""
    network = network_of()
    other = BATCH._replace(outcomes=BATCH.outcomes.clone())
    other.outcomes[:, -1] = LIKED

    assert objective(network, other, LossRule())["main"] == objective(network, BATCH, LossRule())["main"]


def test_sampled_main_term_draws_other_negatives_each_time_and_the_same_by_seed() -> None:
    """A resumed run draws the negatives that it would have drawn."""
    network, rule = network_of(), LossRule(main="sampled", negatives=3)
    torch.manual_seed(5)
    first, second = (objective(network, BATCH, rule)["main"].mean.item() for _ in range(2))
    torch.manual_seed(5)

    assert objective(network, BATCH, rule)["main"].mean.item() == first != second


def test_sampled_main_term_nears_the_full_one_with_many_negatives() -> None:
    """Each negative stands for its share of the catalogue, so the estimate has the size of the full loss."""
    network = network_of()
    with torch.no_grad():
        network.get_parameter("bias")[1] = -100  # the unknown row is a negative of the full loss only
    torch.manual_seed(0)
    count = 200_000
    found = objective(network, BATCH, LossRule(main="sampled", negatives=count))["main"].mean
    each = []
    for line, place in places(BATCH.wanted != 0):
        scores, target = scores_at(network, BATCH, line, place), BATCH.wanted[line, place]
        others = torch.tensor([row for row in range(2, ROWS) if row != target])
        each.append(torch.logaddexp(scores[target], scores[others].logsumexp(0)) - scores[target])

    assert found.item() == pytest.approx(torch.stack(each).mean().item(), rel=0.01)


@pytest.mark.parametrize(("main", "few"), [("auto", True), ("sampled", True), ("bpr", True), ("full", False)])
def test_a_sampled_loss_reads_few_rows_of_a_large_catalogue(main: str, few: bool) -> None:
    """In a small one every loss may as well have dense gradients."""
    rule = LossRule(main=main)  # type: ignore[arg-type] # one of the names

    assert reads_few_rows(rule, FULL_SOFTMAX_ROWS + 1) == few
    assert not reads_few_rows(rule, FULL_SOFTMAX_ROWS)


def test_only_terms_that_have_a_weight_are_computed() -> None:
    """It also holds if a process has no window, because processes exchange numbers by these names."""
    network, rule = network_of(wanted_head=True), LossRule(pair=0.5, feedback=0.1)
    nothing = objective(network, Batch(*(part[:0] for part in BATCH)), rule)

    assert set(objective(network, BATCH, LossRule())) == {"main"}
    assert list(objective(network, BATCH, rule)) == list(nothing) == term_names(rule) == ["main", "pair", "feedback"]
    assert all(mean.item() == count == 0 for mean, count in nothing.values())


@pytest.mark.parametrize("main", ["full", "sampled"])
def test_batch_in_which_nothing_was_kept_costs_nothing(main: str) -> None:
    """A batch may hold one listener who skipped everything. It gives no target, no NaN and no gradient."""
    network = network_of()
    nothing = batch_of([[2, 3]], [[SKIPPED, SKIPPED]], [[0, 0]])
    terms = objective(network, nothing, LossRule(main="full" if main == "full" else "sampled", pair=0.5))
    loss = torch.stack([mean for mean, _ in terms.values()]).sum()
    loss.backward()  # type: ignore[no-untyped-call] # torch ships it without types

    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_feedback_without_a_head_for_it_is_refused() -> None:
    """The error is a sentence instead of one about shapes."""
    with pytest.raises(ValueError, match="no wanted head"):
        objective(network_of(), BATCH, LossRule(feedback=0.1))


def refused_in_session(batch: Batch, line: int, place: int, *, besides: int) -> list[int]:
    """Return the tracks refused in the session of one entry, chosen by hand, without the track `besides`."""
    return [
        int(batch.tracks[line, other])
        for other in range(batch.tracks.shape[1])
        if batch.outcomes[line, other] in (SKIPPED, DISLIKED)
        and batch.session[line, other] == batch.session[line, place]
        and batch.tracks[line, other] != besides
    ]


def contrast_by_loop(network: Network, batch: Batch, temperature: float, *, flags: Tensor | None = None) -> float:
    """Compute equation 3 of Seshadri & Knees 2023 state by state, with queries and negatives chosen by hand.

    `flags` are other outcomes to choose negatives by.
    """
    terms = []
    flagged = batch if flags is None else batch._replace(outcomes=flags)
    for line, place in places(batch.wanted != 0):
        if place == 0 or batch.outcomes[line, place - 1] not in (PLAYED, LIKED):
            continue
        real = batch.tracks[line, :place] != 0
        tracks, outcomes = (array[line, :place][real][None] for array in (batch.tracks, batch.outcomes))
        state = network.queries(network.states(tracks, outcomes)[0, -1]).main[:-1]
        target = int(batch.wanted[line, place])
        negatives = refused_in_session(flagged, line, place, besides=target)
        vectors = network.items(torch.tensor([target, *negatives])).main[:, :-1]
        cosines = torch.cosine_similarity(state[None], vectors) / temperature
        if negatives:
            terms.append(-torch.log(cosines[0].exp() / cosines.exp().sum()))
    return torch.stack(terms).mean().item()


TWO_SESSIONS = batch_of(
    [[0, 0, 2, 3, 4], [5, 6, 6, 7, 2]],
    [[0, 0, PLAYED, SKIPPED, PLAYED], [DISLIKED, PLAYED, LIKED, SKIPPED, PLAYED]],
    [[0, 0, 2, 4, 4], [6, 6, 6, 2, 2]],
)._replace(session=torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 2, 2]]))


def contrast_of(network: Network, batch: Batch) -> float:
    """Return the contrastive term alone."""
    return objective(network, batch, LossRule(contrast=1.0, temperature=0.5))["contrast"].mean.item()


def test_contrastive_term_is_that_of_the_paper() -> None:
    """States after a kept entry are compared with exactly the skips of their session. Padding adds no exp(0)."""
    network = network_of()

    assert contrast_of(network, TWO_SESSIONS) == pytest.approx(contrast_by_loop(network, TWO_SESSIONS, 0.5), rel=1e-5)


def test_only_states_after_a_kept_entry_are_compared() -> None:
    """As in the paper: the target of the start or of a state after a refused track does not matter."""
    network = network_of()
    wanted = TWO_SESSIONS.wanted.clone()
    wanted[0, 2], wanted[0, 4], wanted[1, 1], wanted[1, 4] = 8, 8, 8, 8

    assert contrast_of(network, TWO_SESSIONS._replace(wanted=wanted)) == contrast_of(network, TWO_SESSIONS)


def test_skips_of_another_session_are_no_negatives() -> None:
    """The skipped track 5 is in a session of its own. No other state sees it, so replacing it changes nothing."""
    network = network_of()
    apart = TWO_SESSIONS._replace(session=torch.tensor([[0, 0, 1, 1, 1], [3, 1, 1, 2, 2]]))
    other = apart._replace(tracks=torch.tensor([[0, 0, 2, 3, 4], [8, 6, 6, 7, 2]]))
    with torch.no_grad():
        network.get_parameter("track.weight")[8] = network.get_parameter("track.weight")[5]  # so that both give the same input

    assert contrast_of(network, apart) == pytest.approx(contrast_of(network, other), rel=1e-6)
    assert contrast_of(network, apart) != pytest.approx(contrast_of(network, TWO_SESSIONS), rel=1e-3)


def test_padding_is_in_no_denominator() -> None:
    """More padding on the left does not change the loss."""
    network = network_of()
    wider = Batch(*(torch.nn.functional.pad(lines, (2, 0)) for lines in TWO_SESSIONS))

    assert contrast_of(network, wider) == pytest.approx(contrast_of(network, TWO_SESSIONS), rel=1e-5)


def test_the_flag_that_makes_a_negative_is_that_of_the_track_itself() -> None:
    """If the flags are shifted by one place, so that a track has its successor's flag, the loss differs."""
    network = network_of()
    by_successor = contrast_by_loop(network, TWO_SESSIONS, 0.5, flags=TWO_SESSIONS.outcomes.roll(-1, dims=1))

    assert contrast_of(network, TWO_SESSIONS) != pytest.approx(by_successor, rel=1e-3)


def test_a_batch_without_skips_has_no_contrast() -> None:
    """The term is zero and not NaN."""
    kept = BATCH._replace(outcomes=(BATCH.tracks != 0).to(torch.int64))

    assert contrast_of(network_of(), kept) == 0.0


def cloze_network() -> Network:
    """Make a masked network that hides all entries or the last one."""
    torch.manual_seed(0)
    config = NetworkConfig(kind="cloze", width=8, layers=1, heads=2, feed_forward=8, dropout=0.0, hidden_share=1.0)
    return build(config, ROWS, 6).eval()


def test_masked_network_is_asked_for_hidden_kept_entries_and_taught_hidden_refused_ones() -> None:
    """Its states have read the later entries, so the next kept track is no target.

    The target is the hidden entry itself; a refused entry is a negative target.
    """
    network = cloze_network()
    rule = LossRule(main="full", refused=1.0)
    torch.manual_seed(1)
    states, hidden = network.training_states(BATCH.tracks, BATCH.outcomes)
    torch.manual_seed(1)
    terms = objective(network, BATCH, rule)
    matrix = network.items().main
    main, refused = [], []
    for line, place in places(hidden):
        scores = matrix @ network.queries(states[line, place]).main
        track, outcome = int(BATCH.tracks[line, place]), int(BATCH.outcomes[line, place])
        if outcome in (PLAYED, LIKED):
            main.append(scores[1:].logsumexp(0) - scores[track])
        else:
            refused.append(torch.nn.functional.softplus(scores[track]))

    assert main
    assert refused
    assert terms["main"].mean.item() == pytest.approx(torch.stack(main).mean().item(), rel=1e-5)
    assert terms["refused"].mean.item() == pytest.approx(torch.stack(refused).mean().item(), rel=1e-5)


def sine_network() -> Network:
    """Make a network with sub-interests and weights large enough that each entry matters."""
    torch.manual_seed(0)
    network = build(NetworkConfig(kind="sine", width=4, layers=1, heads=1, feed_forward=8, dropout=0.0), ROWS, 6).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def pair_by_loop(network: Network, line: int, place: int, other: int) -> Tensor:
    """Compute -log sigmoid(s(track at the place) - s(other)) in the state before the place, as in the service."""
    real = BATCH.tracks[line, :place] != 0
    tracks, outcomes = (array[line, :place][real][None] for array in (BATCH.tracks, BATCH.outcomes))
    query = network.queries(network.states(tracks, outcomes)[:, -1]).main
    scores = network.all_scores(query, network.items().main)[0]
    return torch.nn.functional.softplus(scores[other] - scores[BATCH.tracks[line, place]])


def test_before_term_sets_kept_tracks_above_the_skip_just_before() -> None:
    """In one line the kept 4 follows the skipped 3. In the other the liked 6 follows itself, so there is no pair.

    The mean is over all three kept tracks.
    """
    network = sine_network()
    found = objective(network, BATCH, LossRule(main="bpr", before=2.0))["before"].mean.item()

    assert found == pytest.approx(2 * pair_by_loop(network, 0, 3, 3).item() / 3, rel=1e-5)


def test_bpr_sets_targets_above_random_tracks() -> None:
    """In a catalogue whose tracks share one vector and have no bias, every pair ties: -log sigmoid(0)."""
    network = sine_network()
    with torch.no_grad():
        table = network.get_parameter("track.weight")
        table.copy_(table[2].expand_as(table))
        network.get_parameter("bias").zero_()

    assert objective(network, BATCH, LossRule(main="bpr"))["main"].mean.item() == pytest.approx(0.693147, rel=1e-5)


def test_penalty_is_that_of_the_states_that_are_asked() -> None:
    """Padding does not count, and a network without sub-interests has no penalty."""
    network = sine_network()
    states = network.training_states(BATCH.tracks, BATCH.outcomes)[0][BATCH.tracks != 0]
    rule = LossRule(main="bpr", penalty=0.5)

    assert objective(network, BATCH, rule)["penalty"].mean.item() == pytest.approx(
        0.5 * network.penalty(states).item(), rel=1e-4
    )
    assert objective(network_of(), BATCH, LossRule(penalty=0.5))["penalty"].mean.item() == 0.0


def test_bce_keeps_each_states_hardest_random_track_but_never_its_target() -> None:
    """With thousands of random tracks, the hardest one of each state is the best of all rows except the target."""
    network = network_of()
    torch.manual_seed(0)
    found = objective(network, BATCH, LossRule(main="bce", negatives=1_000))["main"].mean.item()
    each = []
    for line, place in places(BATCH.wanted != 0):
        scores, target = scores_at(network, BATCH, line, place), int(BATCH.wanted[line, place])
        hardest = torch.stack([scores[row] for row in range(2, ROWS) if row != target]).max()
        each.append(torch.nn.functional.softplus(-scores[target]) + torch.nn.functional.softplus(hardest))

    assert found == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)


def masked_contrast_by_loop(network: Network, batch: Batch, temperature: float, *, seed: int) -> float:
    """Compute the same term for the masked variant: each hidden kept entry against the skips of its own session."""
    torch.manual_seed(seed)
    states, hidden = network.training_states(batch.tracks, batch.outcomes)
    terms = []
    for line, place in places(hidden & (batch.outcomes != SKIPPED) & (batch.outcomes != DISLIKED)):
        target = int(batch.tracks[line, place])
        negatives = refused_in_session(batch, line, place, besides=target)
        vectors = network.items(torch.tensor([target, *negatives])).main[:, :-1]
        cosines = torch.cosine_similarity(network.queries(states[line, place]).main[None, :-1], vectors) / temperature
        if negatives:
            terms.append(-torch.log(cosines[0].exp() / cosines.exp().sum()))
    return torch.stack(terms).mean().item()


def masked_contrast_of(network: Network, batch: Batch, *, seed: int) -> float:
    """Return the contrastive term of the masked variant alone."""
    torch.manual_seed(seed)
    return objective(network, batch, LossRule(contrast=1.0, temperature=0.5))["contrast"].mean.item()


def test_masked_contrastive_term_is_that_of_the_paper() -> None:
    """It differs from a term with skips of other sessions, with the neighbour's flags, or with exp(0) for padding."""
    network, seed = cloze_network(), 1  # this seed hides every entry
    found = masked_contrast_of(network, TWO_SESSIONS, seed=seed)
    one_session = TWO_SESSIONS._replace(session=(TWO_SESSIONS.tracks != 0).to(torch.int64))
    shifted = TWO_SESSIONS._replace(outcomes=TWO_SESSIONS.outcomes.roll(1, dims=1))

    assert found == pytest.approx(masked_contrast_by_loop(network, TWO_SESSIONS, 0.5, seed=seed), rel=1e-5)
    assert found != pytest.approx(masked_contrast_by_loop(network, one_session, 0.5, seed=seed), rel=1e-3)
    assert found != pytest.approx(masked_contrast_by_loop(network, shifted, 0.5, seed=seed), rel=1e-3)


def test_targets_kept_asks_only_where_a_track_was_kept() -> None:
    """Places of refused tracks have no target: three targets instead of six."""
    network = network_of()
    each = [
        -scores_at(network, BATCH, line, place)[1:].log_softmax(0)[BATCH.tracks[line, place] - 1]
        for line, place in places((BATCH.outcomes == PLAYED) | (BATCH.outcomes == LIKED))
    ]
    found = objective(network, BATCH, LossRule(targets="kept"))["main"].mean.item()

    assert len(each) == 3
    assert found == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)


def test_bce_without_random_tracks_is_of_the_targets_alone() -> None:
    """All of its negatives are real refusals, which have a term of their own."""
    network = network_of()
    each = [
        torch.nn.functional.softplus(-scores_at(network, BATCH, line, place)[BATCH.wanted[line, place]])
        for line, place in places(BATCH.wanted != 0)
    ]

    assert objective(network, BATCH, LossRule(main="bce", negatives=0))["main"].mean.item() == pytest.approx(
        torch.stack(each).mean().item(), rel=1e-5
    )
