"""How much an opinion of whether a track will be kept should weigh beside the guess of what comes next: chosen after training.

    score(i) = main(i) + g(i) + w * wanted(i),        g(i) = log( max(p(i) - theta, .01) / p(i) )

`wanted` is the second head's logit, p the item's own rate of being kept in the training part, drawn towards the mean
(`evaluation.baselines.item_rate`). To propose a track that would come and be kept is worth 1 - theta, one that would come and
be refused costs theta: P(i comes) * (p - theta) in all. A main head that learned from what was kept has p in it already, hence
the division; one that learned from all that came (`loss.targets = "all"`) has not: its g(i) is log max(p(i) - theta, .01).

Every pair (theta, w) of the recipe is tried on validation cases. Taken is the one that puts the fewest refused tracks among the
first 20, of those that keep the hit rate: HR@20 may fall short of that at (0, 0) by the rule's share at most. The test part is
not looked at, and nothing is trained, so it costs one pass over the cases.

Shapes: B batch, V rows, C cases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.nets.network import Heads, Network
from model.vocabulary import UNKNOWN
from training.data.sequences import Int64s
from training.data.split import Split
from training.evaluation import metrics
from training.evaluation.baselines import item_rate
from training.evaluation.cases import Cases
from training.evaluation.evaluate import at_a_time, masked
from training.evaluation.metrics import Floats
from training.recipe import CalibrationRule, Targets

_LEAST = 0.01  # of p - theta: what nearly everybody refuses keeps a finite score


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """A pair of weights and what came of it on the validation part: hr@20, refused@20, auc."""

    theta: float
    wanted: float
    scores: Mapping[str, float]


def calibrate(
    network: Network, split: Split, cases: Cases, rule: CalibrationRule, *, length: int, targets: Targets = "wanted"
) -> list[Calibration]:
    """Give the network the weights that the rule prefers on `cases`; returns all that were tried, the one taken first.

    `targets` are those that the main head learned from, as `training.recipe.LossRule` has them. Empty, and nothing done, where
    the rule leaves nothing to choose or there are no cases.
    """
    pairs = [(0.0, 0.0), *((theta, wanted) for theta in rule.theta for wanted in rule.wanted if theta or wanted)]
    if len(pairs) == 1 or not len(cases):
        return []
    priors = {theta: torch.from_numpy(rate_prior(split, theta, targets)) for theta, _ in pairs}
    tried = _tried(network, cases, pairs, priors, length)
    taken = choose(tried, rule.hit_loss)
    network.set_calibration(priors[taken.theta], taken.wanted)
    return [taken, *(one for one in tried if one is not taken)]


def apply(network: Network, split: Split, taken: Calibration, targets: Targets = "wanted") -> None:
    """Give the network the weights of a choice that was made, the prior from the rates in the split's training part."""
    network.set_calibration(torch.from_numpy(rate_prior(split, taken.theta, targets)), taken.wanted)


def rate_prior(split: Split, theta: float, targets: Targets = "wanted") -> Floats:
    """G of every row, [V], for a main head that learned from `targets`; 0 everywhere where `theta` is 0, which is no prior."""
    rate_V = item_rate(split).values_V
    if not theta:
        return np.zeros_like(rate_V)
    known_V = np.ones_like(rate_V) if targets == "all" else rate_V
    prior_V: Floats = np.log(np.maximum(rate_V - theta, np.minimum(_LEAST, rate_V)) / known_V).astype(np.float32)
    return prior_V


def choose(tried: Sequence[Calibration], hit_loss: float) -> Calibration:
    """The fewest refused of those whose hit rate is at least the first one's less the share `hit_loss`; of equals the first."""
    least = tried[0].scores["hr@20"] * (1 - hit_loss)
    return min((one for one in tried if one.scores["hr@20"] >= least), key=lambda one: one.scores["refused@20"])


def _tried(
    network: Network, cases: Cases, pairs: Sequence[tuple[float, float]], priors: Mapping[float, Tensor], length: int
) -> list[Calibration]:
    ranks: list[list[Int64s]] = [[] for _ in pairs]
    own: list[list[Floats]] = [[] for _ in pairs]
    with torch.no_grad():
        items = network.items()
    size = at_a_time(cases)
    for start in range(0, len(cases), size):
        some = cases.take(slice(start, start + size))
        main_BV, wanted_BV = _opinions(network, items, some, length)
        for place, (theta, weight) in enumerate(pairs):
            scores_BV = masked((main_BV + priors[theta] + weight * wanted_BV).numpy(), some)
            ranks[place].append(metrics.ranks(scores_BV, some.target))
            own[place].append(scores_BV[np.arange(len(some)), some.target])
    return [
        Calibration(theta=theta, wanted=weight, scores=_scores(cases, np.concatenate(rank), np.concatenate(score)))
        for (theta, weight), rank, score in zip(pairs, ranks, own, strict=True)
    ]


def _opinions(network: Network, items: Heads, cases: Cases, length: int) -> tuple[Tensor, Tensor]:
    """Scores [B, V] of both heads; 0 [1, 1] where there is no second one."""
    with torch.no_grad():
        tracks_BT, outcomes_BT, gaps_BT = map(torch.from_numpy, cases.encode(length))
        query = network.queries(network.states(tracks_BT, outcomes_BT, gaps_BT, last=True)[:, -1])
        main_BV = network.proposable(network.all_scores(query.main, items.main), tracks_BT)
        if query.wanted is None or items.wanted is None:
            return main_BV, torch.zeros(1, 1)
        return main_BV, query.wanted @ items.wanted.T


def _scores(cases: Cases, rank: Int64s, score: Floats) -> dict[str, float]:
    known = cases.target != UNKNOWN
    wanted = cases.wanted
    return {
        "hr@20": metrics.hit_rate(rank[wanted], 20),
        "refused@20": metrics.hit_rate(rank[~wanted], 20),
        "auc": metrics.auc_within_users(score[known], wanted[known], cases.user[known])[0],
    }
