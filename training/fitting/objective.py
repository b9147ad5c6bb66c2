"""The loss of a batch: which states, targets and refused tracks go into which term of `model.nets.losses`.

Shapes: B windows, T places, M states that have a target, P pairs, N negatives, E entries.
"""

import torch
from torch import Tensor

from model.nets import losses
from model.nets.blocks import is_refused
from model.nets.network import Network
from model.vocabulary import FIRST, PADDING
from training.fitting.batches import Batch
from training.recipe import LossRule

FULL_SOFTMAX_ROWS = 20_000
"""Up to so many rows `main = "auto"` computes the full softmax: it learns more from a batch, at a bearable cost. Not where the
tables' gradients are to be sparse: it reaches every row."""

_PENALTY_STATES = 256  # of a batch: the penalty compares all pairs of them


def objective(network: Network, batch: Batch, rule: LossRule, *, half: bool = False) -> dict[str, Tensor]:
    """The weighted terms by name and their sum as `loss`. With `half` the network computes its states in bfloat16, and the full
    softmax its products with all items; weights, sums and losses stay float32.
    """
    with torch.autocast(batch.tracks.device.type, torch.bfloat16, enabled=half):
        states_BTD, asked_BT = network.training_states(batch.tracks, batch.outcomes, batch.gaps)
    states_BTD = states_BTD.float()
    asked_BT = asked_BT & (batch.tracks != PADDING)
    if network.reads_ahead:  # the entry itself is all there is to predict, and a refused one is no target
        refused_BT = is_refused(batch.outcomes) & (rule.targets != "all")
        batch = batch._replace(wanted=torch.where(refused_BT, PADDING, batch.tracks))
    terms = {"main": _main(network, states_BTD, asked_BT, batch, rule, half=half)}
    weighted = {"pair": _pair, "before": _before, "refused": _refused, "feedback": _feedback}
    for name, term in weighted.items():
        if weight := getattr(rule, name):
            terms[name] = weight * term(network, states_BTD, asked_BT, batch)
    if rule.contrast:
        terms["contrast"] = rule.contrast * _contrast(network, states_BTD, asked_BT, batch, rule.temperature)
    if rule.penalty:
        sample = torch.randperm(int(asked_BT.sum()), device=asked_BT.device)[:_PENALTY_STATES]
        terms["penalty"] = rule.penalty * network.penalty(states_BTD[asked_BT][sample])
    terms["loss"] = torch.stack(list(terms.values())).sum()
    return terms


def _main(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch, rule: LossRule, *, half: bool) -> Tensor:
    asked_BT = asked_BT & (batch.wanted != PADDING)
    if rule.targets == "kept":
        asked_BT = asked_BT & ~is_refused(batch.outcomes)
    queries_MQ = network.queries(states_BTD[asked_BT]).main
    targets_M = batch.wanted[asked_BT]
    if rule.main == "full" or (rule.main == "auto" and network.rows <= FULL_SOFTMAX_ROWS and not network.sparse):
        read_MT = None if network.repeats else _read_before(batch.tracks)[asked_BT]
        return losses.full_softmax(
            queries_MQ, network.items().main, targets_M, smoothing=rule.smoothing, read_MT=read_MT, half=half
        )
    if rule.main == "bpr":
        random_M = torch.randint(FIRST, network.rows, targets_M.shape, device=targets_M.device)
        target_scores_M, random_scores_M = (
            network.pair_scores(queries_MQ, network.items(rows_M).main) for rows_M in (targets_M, random_M)
        )
        return losses.pairwise(target_scores_M, random_scores_M)
    if rule.main == "bce" and not rule.negatives:
        return losses.kept(network.pair_scores(queries_MQ, network.items(targets_M).main))
    if rule.main == "bce":
        # Each state draws its own: shared ones would make one track the hardest for a whole batch, and sink it.
        random_MN = torch.randint(FIRST, network.rows, (len(targets_M), rule.negatives), device=targets_M.device)
        random_scores_MN = network.pair_scores(queries_MQ[:, None], network.items(random_MN).main)
        random_scores_MN = random_scores_MN.masked_fill(random_MN == targets_M[:, None], -torch.inf)
        return losses.hardest_negative(network.pair_scores(queries_MQ, network.items(targets_M).main), random_scores_MN)
    negatives_N = torch.randint(FIRST, network.rows, (rule.negatives,), device=targets_M.device)
    items = network.items(torch.cat([targets_M, negatives_N])).main
    target_items_MQ, negative_items_NQ = items[: len(targets_M)], items[len(targets_M) :]
    return losses.sampled_softmax(
        queries_MQ, target_items_MQ, negative_items_NQ, targets_M, negatives_N, population=network.rows - FIRST
    )


def _read_before(tracks_BT: Tensor) -> Tensor:
    """The tracks before each place, which stand in the history that is read there: [B, T, T], 0 for none."""
    places_T = torch.arange(tracks_BT.shape[1], device=tracks_BT.device)
    return torch.where(places_T[None, :] < places_T[:, None], tracks_BT[:, None, :], PADDING)


def _pair(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch) -> Tensor:
    """Each refused track against the wanted one that followed, in the state in which it was refused."""
    chosen_BT = asked_BT & is_refused(batch.outcomes) & (batch.wanted != PADDING) & (batch.wanted != batch.tracks)
    queries_PQ = network.queries(states_BTD[chosen_BT]).main
    wanted_P = network.pair_scores(queries_PQ, network.items(batch.wanted[chosen_BT]).main)
    refused_P = network.pair_scores(queries_PQ, network.items(batch.tracks[chosen_BT]).main)
    return losses.pairwise(wanted_P, refused_P)


def _before(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch) -> Tensor:
    """Each kept track against the one that was refused just before it, in the state in which it was kept: a mean over all kept
    tracks, those with none before them adding 0, as the random one of `bpr` weighs the same at each (Pan et al. 2023).
    """
    kept_BT = asked_BT & ~is_refused(batch.outcomes)
    chosen_BT = kept_BT[:, 1:] & is_refused(batch.outcomes[:, :-1]) & (batch.tracks[:, 1:] != batch.tracks[:, :-1])
    queries_PQ = network.queries(states_BTD[:, 1:][chosen_BT]).main
    kept_P = network.pair_scores(queries_PQ, network.items(batch.tracks[:, 1:][chosen_BT]).main)
    refused_P = network.pair_scores(queries_PQ, network.items(batch.tracks[:, :-1][chosen_BT]).main)
    return losses.pairwise(kept_P, refused_P) * len(kept_P) / kept_BT.sum().clamp(min=1)


def _refused(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch) -> Tensor:
    """Each refused track as a negative target of its own, in the state in which it was refused."""
    chosen_BT = asked_BT & is_refused(batch.outcomes)
    queries_PQ = network.queries(states_BTD[chosen_BT]).main
    return losses.refused(network.pair_scores(queries_PQ, network.items(batch.tracks[chosen_BT]).main))


def _feedback(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch) -> Tensor:
    """The wanted head's word on each track that came, in the state before it, against what became of it."""
    queries = network.queries(states_BTD[asked_BT]).wanted
    items = network.items(batch.tracks[asked_BT]).wanted
    if queries is None or items is None:
        raise ValueError("the recipe weighs the feedback loss, but its network has no wanted head")
    return losses.feedback((queries * items).sum(-1), ~is_refused(batch.outcomes[asked_BT]))


def _contrast(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch, temperature: float) -> Tensor:
    """Each state against the tracks that were skipped in the session of the entry it is to predict, earlier or later.

    Cosines are between vectors, so the bias, which is the main head's last dimension, is left out.
    """
    skipped_BTT = (batch.session[:, :, None] == batch.session[:, None, :]) & is_refused(batch.outcomes)[:, None, :]
    skipped_BTT = skipped_BTT & (batch.tracks[:, None, :] != batch.wanted[:, :, None])
    skipped_BTT = skipped_BTT & (asked_BT & (batch.wanted != PADDING))[:, :, None]
    return losses.skip_contrastive(
        network.queries(states_BTD).main[..., :-1],
        network.items(batch.wanted).main[..., :-1],
        network.items(batch.tracks).main[..., :-1],
        skipped_BTT,
        temperature=temperature,
    )
