"""The loss of a batch: it selects states, targets and refused tracks for each term of `model.nets.losses`.

A term is a mean over places or over pairs. If several processes share a batch, each multiplies its mean by its share of the
count. The sum over processes is then the mean over the whole batch.

Shapes: B windows, T places, M states that have a target, P pairs, N negatives, E entries.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.nets import losses
from model.nets.blocks import is_refused
from model.nets.network import Network
from model.vocabulary import FIRST, PADDING
from training.fitting.batches import Batch
from training.recipe import LossRule

FULL_SOFTMAX_ROWS = 20_000
"""Largest number of rows for which `main = "auto"` computes the full softmax.

It learns more from a batch than a sampled softmax, at an acceptable cost. It is not used with sparse tables, because its
gradient reaches every row.
"""

_PENALTY_STATES = 256  # states of a batch that the penalty uses: it compares all pairs of them


_FURTHER = ("pair", "before", "refused", "feedback", "contrast", "penalty")
"""The names of the optional terms, which are the names of their weights in the recipe."""


class Term(NamedTuple):
    """A term of the loss: its mean times its weight, and the number of places or pairs in the mean."""

    mean: Tensor
    counted: int


def objective(network: Network, batch: Batch, rule: LossRule, *, half: bool = False) -> dict[str, Term]:
    """Compute the terms of `term_names`, whose sum is the loss. For a batch without windows all are 0.

    With `half` the network computes its states in bfloat16, and the full softmax its products with all items. Weights, sums and
    losses stay float32.
    """
    if not len(batch.tracks):
        return {name: Term(torch.zeros(()), 0) for name in term_names(rule)}
    with torch.autocast(batch.tracks.device.type, torch.bfloat16, enabled=half):
        states_BTD, asked_BT = network.training_states(batch.tracks, batch.known_outcomes, batch.gaps)
    states_BTD = states_BTD.float()
    asked_BT = asked_BT & (batch.tracks != PADDING)
    if network.reads_ahead:  # only the hidden entry itself can be the target, and not if it was refused
        refused_BT = is_refused(batch.outcomes) & (rule.targets != "all")
        batch = batch._replace(wanted=torch.where(refused_BT, PADDING, batch.tracks))
    terms = {
        "main": lambda: _main(network, states_BTD, asked_BT, batch, rule, half=half),
        "pair": lambda: _pair(network, states_BTD, asked_BT, batch),
        "before": lambda: _before(network, states_BTD, asked_BT, batch),
        "refused": lambda: _refused(network, states_BTD, asked_BT, batch),
        "feedback": lambda: _feedback(network, states_BTD, asked_BT, batch),
        "contrast": lambda: _contrast(network, states_BTD, asked_BT, batch, rule.temperature),
        "penalty": lambda: _penalty(network, states_BTD, asked_BT),
    }
    found = {name: terms[name]() for name in term_names(rule)}
    return {
        name: Term(getattr(rule, name) * mean if name in _FURTHER else mean, count) for name, (mean, count) in found.items()
    }


def reads_few_rows(rule: LossRule, rows: int) -> bool:
    """Return whether the loss of a batch reads few of the network's rows: it is sampled, and the catalogue is large."""
    return rule.main != "full" and rows > FULL_SOFTMAX_ROWS


def term_names(rule: LossRule) -> list[str]:
    """Return the names of the terms that a rule uses: the main term, and each optional term with a weight. They do not depend
    on the batch.
    """
    return ["main", *(name for name in _FURTHER if getattr(rule, name))]


def _main(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch, rule: LossRule, *, half: bool) -> Term:
    asked_BT = asked_BT & (batch.wanted != PADDING)
    if rule.targets == "kept":
        asked_BT = asked_BT & ~is_refused(batch.outcomes)
    queries_MQ = network.queries(states_BTD[asked_BT]).main
    targets_M = batch.wanted[asked_BT]
    if rule.main == "full" or (rule.main == "auto" and network.rows <= FULL_SOFTMAX_ROWS and not network.sparse):
        read_MT = None if network.repeats else _read_before(batch.tracks)[asked_BT]
        mean = losses.full_softmax(
            queries_MQ, network.items().main, targets_M, smoothing=rule.smoothing, read_MT=read_MT, half=half
        )
    else:
        mean = _against_random(network, queries_MQ, targets_M, rule)
    return Term(mean, len(targets_M))


def _against_random(network: Network, queries_MQ: Tensor, targets_M: Tensor, rule: LossRule) -> Tensor:
    """Compute the main term with sampled negatives, or without negatives. Samples are drawn from torch's random state."""
    if rule.main == "bpr":
        random_M = torch.randint(FIRST, network.rows, targets_M.shape, device=targets_M.device)
        target_scores_M, random_scores_M = (
            network.pair_scores(queries_MQ, network.items(rows_M).main) for rows_M in (targets_M, random_M)
        )
        return losses.pairwise(target_scores_M, random_scores_M)
    if rule.main == "bce" and not rule.negatives:
        return losses.kept(network.pair_scores(queries_MQ, network.items(targets_M).main))
    if rule.main == "bce":
        # Each state draws its own: if all shared them, one track would be the hardest for a whole batch, and its score would
        # collapse.
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
    """Return for each place the tracks of its window before it, which its state has read, `[B, T, T]`; 0 for none."""
    places_T = torch.arange(tracks_BT.shape[1], device=tracks_BT.device)
    return torch.where(places_T[None, :] < places_T[:, None], tracks_BT[:, None, :], PADDING)


def _pair(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch) -> Term:
    """Compute the term that compares each refused track with the next kept one, by the state before the refused track."""
    chosen_BT = asked_BT & is_refused(batch.outcomes) & (batch.wanted != PADDING) & (batch.wanted != batch.tracks)
    queries_PQ = network.queries(states_BTD[chosen_BT]).main
    wanted_P = network.pair_scores(queries_PQ, network.items(batch.wanted[chosen_BT]).main)
    refused_P = network.pair_scores(queries_PQ, network.items(batch.tracks[chosen_BT]).main)
    return Term(losses.pairwise(wanted_P, refused_P), len(wanted_P))


def _before(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch) -> Term:
    """Compute the term that compares each kept track with the track refused just before it, by the state before the kept track.

    The mean is over all kept tracks. Those without a refused track before them add 0. This departs from the code that Pan et
    al. (2023) released, which averages only over kept tracks with a refused one before them. The term then weighs more, and
    HR@20 falls (`docs/measurements/simulated.md`).
    """
    kept_BT = asked_BT & ~is_refused(batch.outcomes)
    chosen_BT = kept_BT[:, 1:] & is_refused(batch.outcomes[:, :-1]) & (batch.tracks[:, 1:] != batch.tracks[:, :-1])
    queries_PQ = network.queries(states_BTD[:, 1:][chosen_BT]).main
    kept_P = network.pair_scores(queries_PQ, network.items(batch.tracks[:, 1:][chosen_BT]).main)
    refused_P = network.pair_scores(queries_PQ, network.items(batch.tracks[:, :-1][chosen_BT]).main)
    kept = int(kept_BT.sum())
    return Term(losses.pairwise(kept_P, refused_P) * len(kept_P) / max(1, kept), kept)


def _refused(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch) -> Term:
    """Compute the term that uses each refused track as a negative target of the state before it."""
    chosen_BT = asked_BT & is_refused(batch.outcomes)
    queries_PQ = network.queries(states_BTD[chosen_BT]).main
    scores_P = network.pair_scores(queries_PQ, network.items(batch.tracks[chosen_BT]).main)
    return Term(losses.refused(scores_P), len(scores_P))


def _feedback(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch) -> Term:
    """Compute the term that compares the second head's prediction for each track, by the state before it, with the track's
    outcome.
    """
    queries = network.queries(states_BTD[asked_BT]).wanted
    items = network.items(batch.tracks[asked_BT]).wanted
    if queries is None or items is None:
        raise ValueError("the recipe weighs the feedback loss, but its network has no wanted head")
    return Term(losses.feedback((queries * items).sum(-1), ~is_refused(batch.outcomes[asked_BT])), len(queries))


def _contrast(network: Network, states_BTD: Tensor, asked_BT: Tensor, batch: Batch, temperature: float) -> Term:
    """Compute the term that pulls each state away from the tracks skipped in the session of the entry that it predicts, before
    or after it.

    As in Seshadri & Knees (2023), the queries are the states after an entry that was kept. In a masked network they are the
    states of hidden kept entries. Cosines are between vectors without the bias, the main head's last dimension.
    """
    if not network.reads_ahead:
        kept_BT = (batch.tracks != PADDING) & ~is_refused(batch.outcomes)
        asked_BT = asked_BT & functional.pad(kept_BT[:, :-1], (1, 0))
    skipped_BTT = (batch.session[:, :, None] == batch.session[:, None, :]) & is_refused(batch.outcomes)[:, None, :]
    skipped_BTT = skipped_BTT & (batch.tracks[:, None, :] != batch.wanted[:, :, None])
    skipped_BTT = skipped_BTT & (asked_BT & (batch.wanted != PADDING))[:, :, None]
    mean = losses.skip_contrastive(
        network.queries(states_BTD).main[..., :-1],
        network.items(batch.wanted).main[..., :-1],
        network.items(batch.tracks).main[..., :-1],
        skipped_BTT,
        temperature=temperature,
    )
    return Term(mean, int(skipped_BTT.any(dim=-1).sum()))


def _penalty(network: Network, states_BTD: Tensor, asked_BT: Tensor) -> Term:
    """Compute the network's own regularisation term from a sample of the states.

    This term is not a mean over states. So the terms of several processes only approximate the term of a single process.
    """
    asked = int(asked_BT.sum())
    sample = torch.randperm(asked, device=asked_BT.device)[:_PENALTY_STATES]
    return Term(network.penalty(states_BTD[asked_BT][sample]), len(sample))
