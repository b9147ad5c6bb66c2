"""Choose, after training, how much the second head and the items' own rates of being kept count in a score.

    score(i) = main(i) + g(i) + w * wanted(i),        g(i) = log( max(p(i) - theta, .01) / p(i) )

`wanted(i)` is the logit of the second head, which predicts whether track i would be kept. p(i) is the rate at which track i was
kept in the training part, shrunk towards the mean (`evaluation.baselines.item_rate`). A proposal that would be played and kept
is worth 1 - theta. One that would be played and refused costs theta. The expected value is P(i comes) * (p(i) - theta).
A main head that learned from kept tracks already contains p, hence the division. A main head that learned from all tracks
(`loss.targets = "all"`) does not: its g(i) is log max(p(i) - theta, .01).

Every pair (theta, w) of the recipe is tried on validation cases. Only pairs whose HR@20 is at most the share `hit_loss` below
the pair (0, 0) are considered. The one with the fewest refused tracks among the first 20 is chosen. The test part is not read
and nothing is trained, so the choice costs one pass over the cases.

`choose_calibration` chooses and leaves the network as it is. `apply_calibration` changes the network, and is called once.

Shapes: B batch, V rows, C cases, P pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from model.nets.network import Heads, Network
from model.vocabulary import UNKNOWN
from training.data.sequences import Int64s
from training.data.split import Split
from training.evaluation import metrics
from training.evaluation.baselines import item_rate
from training.evaluation.cases import Cases
from training.evaluation.evaluate import at_a_time, masked, shown_batches
from training.evaluation.metrics import Floats
from training.recipe import CalibrationRule, Targets

_LEAST = 0.01  # lower bound of p - theta, so that a track that nearly everybody refuses keeps a finite score


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """A pair (theta, wanted) and its scores on the validation part: hr@20, refused@20, auc."""

    theta: float
    wanted: float
    scores: Mapping[str, float]


def choose_calibration(
    network: Network,
    split: Split,
    cases: Cases,
    rule: CalibrationRule,
    *,
    length: int,
    targets: Targets = "wanted",
    console: Console | None = None,
) -> list[Calibration]:
    """Try all pairs of the rule on `cases`. Returns all of them with their scores, the chosen one first. The network does not
    change. Progress is shown on `console`.

    The network must not be calibrated yet. `targets` is the recipe's `loss.targets`, with which the main head was trained.
    Returns an empty list if the rule has no pairs to choose from or if there are no cases.
    """
    pairs = [(0.0, 0.0), *((theta, wanted) for theta in rule.theta for wanted in rule.wanted if theta or wanted)]
    if len(pairs) == 1 or not len(cases):
        return []
    priors = {theta: torch.from_numpy(rate_prior(split, theta, targets)) for theta in {theta for theta, _ in pairs}}
    tried = _tried(network, cases, pairs, priors, length=length, console=console)
    chosen = fewest_refused(tried, rule.hit_loss)
    return [chosen, *(one for one in tried if one is not chosen)]


def apply_calibration(network: Network, split: Split, chosen: Calibration, targets: Targets = "wanted") -> None:
    """Add the chosen prior to the network's biases and set the weight of its second head.

    The prior is computed from the rates in the training part of `split`. Call it once for each network, because a second call
    would add the prior again.
    """
    network.set_calibration(torch.from_numpy(rate_prior(split, chosen.theta, targets)), chosen.wanted)


def rate_prior(split: Split, theta: float, targets: Targets = "wanted") -> Floats:
    """Return the prior g(i) of every row, float32 [V], for a main head that was trained with `targets`; all 0 if `theta` is
    0.
    """
    rate_V = item_rate(split).values_V
    if not theta:
        return np.zeros_like(rate_V)
    known_V = np.ones_like(rate_V) if targets == "all" else rate_V
    prior_V: Floats = np.log(np.maximum(rate_V - theta, np.minimum(_LEAST, rate_V)) / known_V).astype(np.float32)
    return prior_V


def fewest_refused(tried: Sequence[Calibration], hit_loss: float) -> Calibration:
    """Return the pair with the lowest refused@20 among those whose hr@20 is high enough. Of equal pairs the first one wins.

    It is high enough if it is at most the share `hit_loss` below the hr@20 of the first pair.
    """
    least = tried[0].scores["hr@20"] * (1 - hit_loss)
    return min((one for one in tried if one.scores["hr@20"] >= least), key=lambda one: one.scores["refused@20"])


def _tried(
    network: Network,
    cases: Cases,
    pairs: Sequence[tuple[float, float]],
    priors: Mapping[float, Tensor],
    *,
    length: int,
    console: Console | None,
) -> list[Calibration]:
    # allocated before the loop: small arrays between those of the batches would keep the memory of these from being used again
    rank_PC, own_PC = np.zeros((len(pairs), len(cases)), np.int64), np.zeros((len(pairs), len(cases)), np.float32)
    with torch.no_grad():
        items = network.items()
    stop = 0
    for some in shown_batches(cases, at_a_time(cases), "choosing weights", console):
        start, stop = stop, stop + len(some)
        main_BV, wanted_BV = _head_scores(network, items, some, length)
        sum_BV = torch.empty_like(main_BV)  # for all pairs, because new memory costs more than the sum
        for place, (theta, weight) in enumerate(pairs):
            torch.add(main_BV, priors[theta], out=sum_BV).add_(wanted_BV, alpha=weight)
            scores_BV = masked(sum_BV.numpy(), some)
            rank_PC[place, start:stop] = metrics.ranks(scores_BV, some.target)
            own_PC[place, start:stop] = scores_BV[np.arange(len(some)), some.target]
    return [
        Calibration(theta=theta, wanted=weight, scores=_scores(cases, rank_C, own_C))
        for (theta, weight), rank_C, own_C in zip(pairs, rank_PC, own_PC, strict=True)
    ]


def _head_scores(network: Network, items: Heads, cases: Cases, length: int) -> tuple[Tensor, Tensor]:
    """Return the scores [B, V] of both heads; without a second head its scores are one 0, [1, 1]."""
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
