"""Trains a copy head (`model.nets.copy_head`) on the validation part, next to a network that is already trained.

A network is far too confident on the plays that it was trained on, because it has memorised them. A head that is trained on
these plays gets too little weight. Trained on the training states of six listeners, the head gave the network's score a share
of .4, and HR@20 was .23 on validation plays. Trained on half of the validation plays, the share was .2, and HR@20 was .30 on
the other half. So the network stays as it is, and the head minimises the cross-entropy of the mixture on validation cases:

    L = log( Z_new + sum over own i of exp(T score(i)) ) - T score(target),   Z_new = sum of exp(T s(i)) over tracks not own

Targets that neither half can propose are left out. The temperature T is chosen before, by the likelihood of new tracks: their
part of L does not depend on the head.

Then the log decides whether there is a head. Training starts either from copying (`CopyHead`'s own weights) or from the network
(`CopyHead.start_from_network`), because L has a local minimum near each. For each start, one head is learned on every half of
the cases and ranks the other half. So no case measures a head that it has taught. Among the starts, the shifts of the gate, and
the network without a head, the best NDCG@10 is chosen of those that keep HR@20. Where nothing is better than the network alone,
the network stays alone. Of heads that are nearly as good as the best one, the one with the most hits among tracks that are new
to the listener is chosen. The chosen head learns from all cases.

Cost: the cases' features once, in half precision (4,000 cases of 1,000 plays: at most 200 MB), and three trainings.

Shapes: B batch, L distinct own tracks, F and G features of a track and of a case, N best other tracks, V rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.nets.copy_head import NOTHING, CopyHead, stands
from model.nets.network import Network
from model.vocabulary import FIRST, PADDING, UNKNOWN
from training.data.sequences import Int64s
from training.evaluation import metrics
from training.evaluation.cases import Cases
from training.evaluation.evaluate import LIST, at_a_time, shown_batches
from training.evaluation.metrics import MISS
from training.evaluation.own_history import targets_with_own
from training.fitting.checkpoint import RunError
from training.progress import progress
from training.recipe import CopyHeadRule
from training.run_folder import COPY_HEAD

Start = Literal["copying", "network"]
STARTS: tuple[Start, ...] = ("copying", "network")

BATCH, LEARNING_RATE, WEIGHT_DECAY = 64, 1e-2, 1e-3
TEMPERATURES = (1.0, 0.7, 0.5, 0.35, 0.25)
AT_LEAST = 200
"""Smallest number of cases to train a head on. With fewer there is no head."""
HIT_LOSS = 0.005
"""The share of the best HR@20 that a choice may lack, and of the best NDCG@10 if it hits more new tracks."""
_AT_A_TIME = 128
"""Number of cases whose features are computed together: 70 MB at 1,000 plays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyHeadChoice:
    """A way to score own tracks and its scores on the cases: hr@20, ndcg@10, and hr@20_new among targets that are new to the
    listener, 0 without such a target.

    `start` is the start of the training, and `shift` that of the gate. With `start` None there is no head. A chosen head has
    its weights, by name.
    """

    start: Start | None
    shift: float
    scores: Mapping[str, float]
    weights: Mapping[str, list[float]]


class _Case(NamedTuple):
    """The features, scores and target of a case, which stay constant while the head is trained."""

    features_LF: Tensor  # float16
    case_G: Tensor
    share_L: Tensor  # the network's scores of own tracks
    heard: bool  # whether the listener has heard the target before
    target: int  # the target's place among the own tracks, -1 if it is not one of them
    score: float  # the network's score of the target
    new: tuple[float, ...]  # log Z_new at each of `TEMPERATURES`
    best_N: Tensor  # the scores of the best tracks that are not own
    alone: int  # the rank of the target by the network alone


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


def fit_copy_head(
    network: Network, cases: Cases, rule: CopyHeadRule, *, length: int, seed: int = 1, console: Console | None = None
) -> list[CopyHeadChoice]:
    """Train a copy head on `cases`, and attach it to the network if it ranks better than the network alone.

    Progress is shown on `console`. Returns everything that was tried, the chosen way first. Does nothing and returns an empty
    list if the rule has no length, if the network proposes no repeats, or if fewer than `AT_LEAST` cases have a target that can
    be proposed.
    """
    if not (rule.length and network.repeats):
        return []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        given = _given(network.eval(), CopyHead(network.rows, rule.length), _asked(cases, rule.cases, seed), length, console)
        if len(given) < AT_LEAST:
            return []
        tried = _tried(given, rule, network.rows, console)
        best = choose(tried)
        others = [one for one in tried if one is not best]
        if best.start is None:
            return [best, *others]
        with progress("learning the copy head", 1, console, transient=True):
            head = _learned(given, given, rule.steps, best.start, CopyHead(network.rows, rule.length))
    head.shift.fill_(best.shift)
    network.copy_head = head.eval()
    weights = {name: value.flatten().tolist() for name, value in head.state_dict().items()}
    return [replace(best, weights=weights), *others]


def choose(tried: Sequence[CopyHeadChoice]) -> CopyHeadChoice:
    """Return the choice with the best NDCG@10 of those that keep HR@20.

    If it is a head, a head with nearly its NDCG@10 and more hits among new tracks is preferred.
    """
    least = (1 - HIT_LOSS) * max(one.scores["hr@20"] for one in tried)
    kept = [one for one in tried if one.scores["hr@20"] >= least]
    best = max(kept, key=lambda one: one.scores["ndcg@10"])
    if best.start is None:
        return best
    near = (1 - HIT_LOSS) * best.scores["ndcg@10"]
    heads = [one for one in kept if one.start is not None and one.scores["ndcg@10"] >= near]
    return max(heads, key=lambda one: (one.scores["hr@20_new"], one.scores["ndcg@10"]))


def restored(choice: CopyHeadChoice, rows: int, length: int) -> CopyHead:
    """Make the copy head of an earlier choice from its stored weights. The choice must have a head.

    RunError if a version with other features stored them.
    """
    head = CopyHead(rows, length)
    shapes = head.state_dict()
    wrong = [name for name, value in shapes.items() if len(choice.weights.get(name, ())) != value.numel()]
    if wrong:
        raise RunError(
            f"found a copy head of another version in {COPY_HEAD}: its {', '.join(wrong)} differ in size; delete the file, and "
            "the head is learned anew"
        )
    head.load_state_dict({name: torch.tensor(choice.weights[name]).view_as(value) for name, value in shapes.items()})
    return head.eval()


def _asked(cases: Cases, count: int, seed: int) -> Cases:
    """Return the cases whose target was kept, at most `count` of them, drawn at random."""
    wanted = np.flatnonzero(cases.wanted)
    if len(wanted) > count:
        wanted = np.sort(np.random.default_rng(seed).choice(wanted, count, replace=False))
    return cases.take(wanted)


def _given(network: Network, head: CopyHead, cases: Cases, length: int, console: Console | None) -> list[_Case]:
    """Compute the features and scores of all cases whose target can be proposed: an own track, or a track with a row."""
    found: list[_Case] = []
    with torch.no_grad():
        items_VQ = network.item_matrix()
        size = min(_AT_A_TIME, at_a_time(cases))
        for some in shown_batches(cases, size, "reading listeners' own pasts", console):
            read = [torch.from_numpy(array) for array in some.encode(length)]
            scores_BV = network.all_scores(network.query(*read), items_VQ)
            scores_BV[:, :FIRST] = NOTHING
            own = tuple(torch.from_numpy(array) for array in some.long_histories(head.length))
            stands_BL = stands(own[0], own[4])
            features_MF, case_BG = head.features(own)
            tracks = zip(torch.split(features_MF, stands_BL.sum(1).tolist()), case_BG, own[0], stands_BL, strict=True)
            targets = zip(targets_with_own(some).tolist(), some.repeat.tolist(), strict=True)
            for mine, scores_V, (target, heard) in zip(tracks, scores_BV, targets, strict=True):
                if target != UNKNOWN:
                    case = _case(mine, scores_V, target, heard=heard)
                    found += [] if case is None else [case]
    return found


def _case(own: tuple[Tensor, Tensor, Tensor, Tensor], scores_V: Tensor, target: int, *, heard: bool) -> _Case | None:
    """Compute the features and scores of one case. None if its target has no row and is older than the long history."""
    features_MF, case_G, rows_L, stands_L = own
    rows = rows_L[stands_L]
    known = torch.where(rows < len(scores_V), rows, PADDING)
    other_V = scores_V.index_fill(0, known, NOTHING)
    place = (rows == target).nonzero().flatten().tolist()
    if not place and target >= len(scores_V):
        return None
    return _Case(
        features_LF=features_MF.half(),
        case_G=case_G,
        share_L=torch.where(known == PADDING, 0.0, scores_V[known]),
        heard=heard,
        target=place[0] if place else -1,
        score=0.0 if place else scores_V[target].item(),
        new=tuple(torch.logsumexp(other_V * temperature, 0).item() for temperature in TEMPERATURES),
        best_N=other_V.topk(min(LIST, len(other_V))).values,
        alone=int((scores_V >= scores_V[target]).sum()) if target < len(scores_V) else MISS,
    )


def likeliest_temperature(given: Sequence[_Case]) -> float:
    """Return the temperature with the highest likelihood of targets that are new to their listeners, among all new tracks."""
    new = [case for case in given if case.target < 0]
    likelihood = [sum(one * case.score - case.new[at] for case in new) for at, one in enumerate(TEMPERATURES)]
    return TEMPERATURES[int(np.argmax(likelihood))]


def _place(temperature: Tensor) -> int:
    """Return the index of a head's temperature in `TEMPERATURES`."""
    return int(np.argmin(np.abs(np.array(TEMPERATURES) - temperature.item())))


def _tried(given: Sequence[_Case], rule: CopyHeadRule, rows: int, console: Console | None) -> list[CopyHeadChoice]:
    """Measure the network alone, and each start and shift by heads that have not seen the case. The network comes first."""
    tried = [CopyHeadChoice(start=None, shift=0.0, scores=_scores(np.array([case.alone for case in given]), given), weights={})]
    halves = given[::2], given[1::2]
    with progress("trying copy heads", len(STARTS) * len(rule.shifts), console, transient=True) as done:
        for start in STARTS:
            heads = [_learned(given, half, max(1, rule.steps // 2), start, CopyHead(rows, rule.length)) for half in halves]
            for shift in rule.shifts:
                asked = zip(heads, reversed(halves), strict=True)
                rank = np.concatenate([_ranks(head, others, shift) for head, others in asked])
                tried.append(
                    CopyHeadChoice(start=start, shift=shift, scores=_scores(rank, [*halves[1], *halves[0]]), weights={})
                )
                done.advance()
    return tried


def _learned(whole: Sequence[_Case], given: Sequence[_Case], steps: int, start: Start, head: CopyHead) -> CopyHead:
    """Train the `head` on `given`. Its temperature and the start of its gate come from the `whole`."""
    head.temperature.fill_(likeliest_temperature(whole))
    at = _place(head.temperature)
    if start == "network":
        head.start_from_network()
    else:
        with torch.no_grad():  # half for own tracks and half for others
            head.gate.bias.fill_(float(np.median([case.new[at] for case in whole])))
    optimiser = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 1 / steps, total_iters=steps)
    for _ in range(steps):
        batch = _batch([given[place] for place in torch.randint(len(given), (BATCH,)).tolist()], at)
        own_BL = _own_scores(head, batch)
        optimiser.zero_grad()
        cross_entropy(own_BL, batch.new_B, batch.target_B, batch.score_B).backward()  # type: ignore[no-untyped-call] # torch's
        optimiser.step()
        falling.step()
    return head


def cross_entropy(own_BL: Tensor, new_B: Tensor, target_B: Tensor, score_B: Tensor) -> Tensor:
    """Return the mean of L (see the module). `new_B` is log Z_new, `target_B` the target's place among the own tracks or -1,
    and `score_B` its score then.
    """
    total_B = torch.logsumexp(torch.cat([own_BL, new_B[:, None]], dim=1), dim=1)
    return (total_B - _target_scores(own_BL, target_B, score_B)).mean()


def _own_scores(head: CopyHead, batch: _Batch) -> Tensor:
    own_BL = head.weigh(head.rate(batch.features_BLF), batch.case_BG, batch.stands_BL)
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


def _scores(rank: Int64s, given: Sequence[_Case]) -> dict[str, float]:
    new = rank[[not case.heard for case in given]]
    return {
        "hr@20": metrics.hit_rate(rank, 20),
        "ndcg@10": metrics.ndcg(rank, 10),
        "hr@20_new": metrics.hit_rate(new, 20) if len(new) else 0.0,
    }
