"""The weights chosen after training agree with the evaluation's own figures."""

from itertools import product

import numpy as np
import pytest
import torch

from model.events import Outcome
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.network import Network
from tests.training.worlds import Play, rings_split, split_of
from training.data.split import TRAIN, VALID
from training.evaluation import evaluate as evaluation
from training.evaluation.baselines import item_rate
from training.evaluation.cases import select_cases
from training.evaluation.evaluate import SCORES, evaluate
from training.evaluation.rankers import NetworkRanker
from training.fitting.calibration import Calibration, apply_calibration, choose_calibration, fewest_refused, rate_prior
from training.recipe import CalibrationRule, Targets

P, S = Outcome.PLAYED, Outcome.SKIPPED
FIGURES = ("hr@20", "refused@20", "auc")


def tried(hits: float, refused: float) -> Calibration:
    """Make a calibration with these figures."""
    return Calibration(theta=0.0, wanted=0.0, scores={"hr@20": hits, "refused@20": refused})


def crowded() -> list[list[Play]]:
    """Make a split of thirty tracks, more than the first 20. Even tracks are mostly refused."""
    random = np.random.default_rng(3)
    rows = random.integers(2, 32, (12, 40))
    kept = random.random((12, 40)) < np.where(rows % 2, 0.9, 0.2)
    parts = [TRAIN] * 25 + [VALID] * 15
    return [
        [(int(row), P if held else S, part) for row, held, part in zip(line, held_line, parts, strict=True)]
        for line, held_line in zip(rows, kept, strict=True)
    ]


def network(*, repeats: bool = True) -> Network:
    """Make an untrained network with weights large enough to matter."""
    torch.manual_seed(0)
    config = NetworkConfig(width=8, layers=1, heads=2, feed_forward=8, wanted_head=True, wanted_width=4, repeats=repeats)
    made = build(config, 32, 10)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.eval()


def test_fewest_refused_of_those_that_keep_the_hits_is_taken() -> None:
    """Half a percent of the hits may be lost, not more. Of equal pairs the earlier one is chosen."""
    all_of_them = [tried(0.4, 0.3), tried(0.399, 0.2), tried(0.399, 0.2), tried(0.39, 0.1), tried(0.5, 0.25)]

    assert fewest_refused(all_of_them, 0.005) is all_of_them[1]
    assert fewest_refused(all_of_them, 0.0) is all_of_them[4]
    assert fewest_refused(all_of_them, 0.05) is all_of_them[3]


def test_rate_prior_by_hand() -> None:
    """log(max(p - theta, .01) / p), where p is the rate in the training part with 20 more plays at the mean rate."""
    split = split_of([[(2, P, TRAIN), (2, S, TRAIN), (3, S, TRAIN), (3, S, VALID)]], rows=4)
    mean = 1 / 3
    kept_rate = np.array([(1 + 20 * mean) / 22, 20 * mean / 21])

    assert rate_prior(split, 0.2)[2:] == pytest.approx(np.log((kept_rate - 0.2) / kept_rate), rel=1e-5)
    assert rate_prior(split, 0.9)[2:] == pytest.approx(np.log(0.01 / kept_rate), rel=1e-5)
    # the main head has not learned p
    assert rate_prior(split, 0.2, "all")[2:] == pytest.approx(np.log(kept_rate - 0.2), rel=1e-5)
    assert not rate_prior(split, 0.0).any()
    assert not rate_prior(split, 0.0, "all").any()
    assert item_rate(split).values_V[2:] == pytest.approx(kept_rate, rel=1e-6)


@pytest.mark.parametrize(("scores_held", "repeats", "targets"), [(SCORES, True, "wanted"), (1, False, "all")])
def test_scores_of_each_pair_are_those_of_a_network_that_was_given_the_pair(
    monkeypatch: pytest.MonkeyPatch, scores_held: int, repeats: bool, targets: Targets
) -> None:
    """The scores are the same in one batch and in many, and equal to the evaluation's own figures."""
    monkeypatch.setattr(evaluation, "SCORES", scores_held)
    split = split_of(crowded(), rows=32)
    cases = select_cases(split, VALID)
    rule = CalibrationRule(wanted=(0.0, 0.5, 2.0), theta=(0.0, 0.3), hit_loss=0.2)
    found = choose_calibration(network(repeats=repeats), split, cases, rule, length=10, targets=targets)

    assert {(one.theta, one.wanted) for one in found} == set(product((0.0, 0.3), (0.0, 0.5, 2.0)))
    for one in found:
        other = network(repeats=repeats)
        apply_calibration(other, split, one, targets)
        values = evaluate(NetworkRanker.of("other", other), cases, length=10).values
        assert one.scores == pytest.approx({name: values[name] for name in FIGURES}, rel=1e-6)
    assert found[0].scores["refused@20"] < next(one for one in found if one.theta == one.wanted == 0).scores["refused@20"]


def test_choosing_leaves_the_network_as_it_is_and_applying_adds_the_prior_once() -> None:
    """The prior becomes part of the biases. A function that both chose and applied it would let a caller add it twice."""
    split = split_of(crowded(), rows=32)
    chosen_for, plain = network(), network()
    rule = CalibrationRule(wanted=(0.5,), theta=(0.3,), hit_loss=0.9)
    chosen = choose_calibration(chosen_for, split, select_cases(split, VALID), rule, length=10)[0]
    before = {name: tensor.clone() for name, tensor in chosen_for.state_dict().items()}
    apply_calibration(chosen_for, split, chosen)
    after = chosen_for.state_dict()

    assert chosen.theta == 0.3
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in before.items())
    assert {name for name in after if not torch.equal(after[name], before[name])} == {"bias", "wanted_weight"}
    assert torch.equal(after["bias"], before["bias"] + torch.from_numpy(rate_prior(split, 0.3)))
    assert after["wanted_weight"] == 0.5


def test_nothing_to_choose_leaves_the_network_alone() -> None:
    """It holds for the default rule, and for a validation part without cases."""
    split = rings_split(4)
    small = build(NetworkConfig(kind="sine", width=8, heads=2), 14, 10)

    assert choose_calibration(small, split, select_cases(split, VALID), CalibrationRule(), length=10) == []
    with pytest.raises(ValueError, match="a SineNetwork takes no prior"):
        small.set_calibration(torch.zeros(14), 1.0)
