"""Trains a copy head (`model.nets.copy_head`) on the validation part, next to a network that is already trained.

A network is far too confident on the plays that it was trained on, because it has memorised them. A head that is trained on
these plays gets too little weight. Trained on the training states of six listeners, the head gave the network's score a share
of .4, and HR@20 was .23 on validation plays. Trained on half of the validation plays, the share was .2, and HR@20 was .30 on
the other half. So the network stays as it is, and the head minimises the cross-entropy of the mixture on validation cases:

    L = log( Z_new + sum over own i of exp(T score(i)) ) - T score(target),   Z_new = sum of exp(T s(i)) over tracks not own

Targets that neither half can propose are left out. The temperature T is chosen before, by the likelihood of new tracks: their
part of L does not depend on the head. `shift` is chosen after: the best NDCG@10 among the shifts that keep HR@20.

Cost: the cases' features once, in half precision (2,000 cases of 1,000 plays: at most 92 MB), and a few seconds of steps.

Shapes: B batch, L distinct own tracks, F and G features of a track and of a case, N best other tracks, V rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.nets.copy_head import NOTHING, CopyHead, stands
from model.nets.network import Network
from model.vocabulary import FIRST, PADDING, UNKNOWN
from training.data.sequences import Int64s
from training.evaluation import metrics
from training.evaluation.cases import Cases
from training.evaluation.evaluate import LIST, at_a_time
from training.evaluation.own_history import targets_with_own
from training.recipe import CopyHeadRule

BATCH, LEARNING_RATE, WEIGHT_DECAY = 64, 1e-2, 1e-3
TEMPERATURES = (1.0, 0.7, 0.5, 0.35, 0.25)
AT_LEAST = 200
"""Smallest number of cases to train a head on. With fewer there is no head."""
HIT_LOSS = 0.005
"""The share of HR@20 that a shift may cost."""
_AT_A_TIME = 128
"""Number of cases whose features are computed together: 70 MB at 1,000 plays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyHeadChoice:
    """A shift of the gate and its scores on the cases: hr@20, ndcg@10. The chosen one also has the head's weights, by name."""

    shift: float
    scores: Mapping[str, float]
    weights: Mapping[str, list[float]]


class _Case(NamedTuple):
    """The features, scores and target of a case, which stay constant while the head is trained."""

    features_LF: Tensor  # float16
    case_G: Tensor
    share_L: Tensor  # the network's scores of own tracks
    target: int  # the target's place among the own tracks, -1 if it is not one of them
    score: float  # the network's score of the target
    new: tuple[float, ...]  # log Z_new at each of `TEMPERATURES`
    best_N: Tensor  # the scores of the best tracks that are not own


class _Batch(NamedTuple):
    """Cases for one training step. The network's scores are multiplied by one temperature."""

    features_BLF: Tensor
    case_BG: Tensor
    share_BL: Tensor
    stands_BL: Tensor
    target_B: Tensor
    score_B: Tensor
    new_B: Tensor
    best_BN: Tensor


def fit_copy_head(network: Network, cases: Cases, rule: CopyHeadRule, *, length: int, seed: int = 1) -> list[CopyHeadChoice]:
    """Train a copy head on `cases` and attach it to the network. Returns the shifts that were tried, the chosen one first.

    Does nothing and returns an empty list if the rule has no length, or if fewer than `AT_LEAST` cases have a target that can
    be proposed.
    """
    if not rule.length:
        return []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = CopyHead(network.rows, rule.length)
        given = _given(network.eval(), head, _asked(cases, rule.cases, seed), length)
        if len(given) < AT_LEAST:
            return []
        head.temperature.fill_(likeliest_temperature(given))
        _learn(head, given, rule.steps)
    tried = {shift: _scores(_ranks(head, given, shift)) for shift in rule.shifts}
    least = (1 - HIT_LOSS) * max(scores["hr@20"] for scores in tried.values())
    taken = max((shift for shift in tried if tried[shift]["hr@20"] >= least), key=lambda shift: tried[shift]["ndcg@10"])
    head.shift.fill_(taken)
    weights = {name: value.flatten().tolist() for name, value in head.state_dict().items()}
    network.copy_head = head.eval()
    others = [CopyHeadChoice(shift=shift, scores=tried[shift], weights={}) for shift in tried if shift != taken]
    return [CopyHeadChoice(shift=taken, scores=tried[taken], weights=weights), *others]


def restored(choice: CopyHeadChoice, rows: int, length: int) -> CopyHead:
    """Make the copy head of an earlier choice from its stored weights."""
    head = CopyHead(rows, length)
    head.load_state_dict({name: torch.tensor(choice.weights[name]).view_as(value) for name, value in head.state_dict().items()})
    return head.eval()


def _asked(cases: Cases, count: int, seed: int) -> Cases:
    """Return the cases whose target was kept, at most `count` of them, drawn at random."""
    wanted = np.flatnonzero(cases.wanted)
    if len(wanted) > count:
        wanted = np.sort(np.random.default_rng(seed).choice(wanted, count, replace=False))
    return cases.take(wanted)


def _given(network: Network, head: CopyHead, cases: Cases, length: int) -> list[_Case]:
    """Compute the features and scores of all cases whose target can be proposed: an own track, or a track with a row."""
    found: list[_Case] = []
    with torch.no_grad():
        items_VQ = network.item_matrix()
        size = min(_AT_A_TIME, at_a_time(cases))
        for start in range(0, len(cases), size):
            some = cases.take(slice(start, start + size))
            read = [torch.from_numpy(array) for array in some.encode(length)]
            scores_BV = network.all_scores(network.query(*read), items_VQ)
            scores_BV[:, :FIRST] = NOTHING
            own = tuple(torch.from_numpy(array) for array in some.long_histories(head.length))
            tracks = zip(*head.features(own), own[0], stands(own[0], own[4]), strict=True)
            for mine, scores_V, target in zip(tracks, scores_BV, targets_with_own(some).tolist(), strict=True):
                if target != UNKNOWN:
                    case = _case(mine, scores_V, target)
                    found += [] if case is None else [case]
    return found


def _case(own: tuple[Tensor, Tensor, Tensor, Tensor], scores_V: Tensor, target: int) -> _Case | None:
    """Compute the features and scores of one case. None if its target has no row and is older than the long history."""
    features_LF, case_G, rows_L, stands_L = own
    rows = rows_L[stands_L]
    known = torch.where(rows < len(scores_V), rows, PADDING)
    other_V = scores_V.index_fill(0, known, NOTHING)
    place = (rows == target).nonzero().flatten().tolist()
    if not place and target >= len(scores_V):
        return None
    return _Case(
        features_LF=features_LF[stands_L].half(),
        case_G=case_G,
        share_L=torch.where(known == PADDING, 0.0, scores_V[known]),
        target=place[0] if place else -1,
        score=0.0 if place else scores_V[target].item(),
        new=tuple(torch.logsumexp(other_V * temperature, 0).item() for temperature in TEMPERATURES),
        best_N=other_V.topk(min(LIST, len(other_V))).values,
    )


def likeliest_temperature(given: Sequence[_Case]) -> float:
    """Return the temperature with the highest likelihood of targets that are new to their listeners, among all new tracks."""
    new = [case for case in given if case.target < 0]
    likelihood = [sum(one * case.score - case.new[at] for case in new) for at, one in enumerate(TEMPERATURES)]
    return TEMPERATURES[int(np.argmax(likelihood))]


def _place(temperature: Tensor) -> int:
    """Return the index of a head's temperature in `TEMPERATURES`."""
    return int(np.argmin(np.abs(np.array(TEMPERATURES) - temperature.item())))


def _learn(head: CopyHead, given: Sequence[_Case], steps: int) -> None:
    at = _place(head.temperature)
    with torch.no_grad():  # start with half for own tracks and half for others
        head.gate.bias.fill_(float(np.median([case.new[at] for case in given])))
    optimiser = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1 / steps, total_iters=steps)
    for _ in range(steps):
        batch = _batch([given[place] for place in torch.randint(len(given), (BATCH,)).tolist()], at)
        own_BL = _own_scores(head, batch)
        optimiser.zero_grad()
        cross_entropy(own_BL, batch.new_B, batch.target_B, batch.score_B).backward()  # type: ignore[no-untyped-call] # torch's
        optimiser.step()
        falling.step()


def cross_entropy(own_BL: Tensor, new_B: Tensor, target_B: Tensor, score_B: Tensor) -> Tensor:
    """Return the mean of L (see the module). `new_B` is log Z_new, `target_B` the target's place among the own tracks or -1,
    and `score_B` its score then.
    """
    total_B = torch.logsumexp(torch.cat([own_BL, new_B[:, None]], dim=1), dim=1)
    return (total_B - _target_scores(own_BL, target_B, score_B)).mean()


def _own_scores(head: CopyHead, batch: _Batch) -> Tensor:
    own_BL = head.weigh(batch.features_BLF, batch.case_BG, batch.stands_BL)
    return own_BL + head.share * batch.share_BL


def _target_scores(own_BL: Tensor, target_B: Tensor, score_B: Tensor) -> Tensor:
    return torch.where(target_B >= 0, own_BL.gather(1, target_B.clamp(min=0)[:, None]).squeeze(1), score_B)


def _batch(cases: Sequence[_Case], at: int) -> _Batch:
    temperature = TEMPERATURES[at]
    lengths_B = torch.tensor([len(case.share_L) for case in cases])
    share_BL = pad_sequence([case.share_L for case in cases], batch_first=True)
    return _Batch(
        features_BLF=pad_sequence([case.features_LF for case in cases], batch_first=True).float(),
        case_BG=torch.stack([case.case_G for case in cases]),
        share_BL=share_BL * temperature,
        stands_BL=torch.arange(share_BL.shape[1]) < lengths_B[:, None],
        target_B=torch.tensor([case.target for case in cases]),
        score_B=torch.tensor([case.score for case in cases]) * temperature,
        new_B=torch.tensor([case.new[at] for case in cases]),
        best_BN=torch.stack([case.best_N for case in cases]) * temperature,
    )


def _ranks(head: CopyHead, given: Sequence[_Case], shift: float) -> Int64s:
    """Return the rank of each target among own tracks and the best other tracks. Ranks up to `LIST` are exact."""
    found, at = [], _place(head.temperature)
    with torch.no_grad():
        for start in range(0, len(given), _AT_A_TIME):
            batch = _batch(given[start : start + _AT_A_TIME], at)
            own_BL = torch.where(batch.stands_BL, _own_scores(head, batch) - shift, NOTHING)
            target_B1 = _target_scores(own_BL, batch.target_B, batch.score_B)[:, None]
            found.append((own_BL >= target_B1).sum(1) + (batch.best_BN >= target_B1).sum(1))
    return torch.cat(found).numpy()


def _scores(rank: Int64s) -> dict[str, float]:
    return {"hr@20": metrics.hit_rate(rank, 20), "ndcg@10": metrics.ndcg(rank, 10)}
