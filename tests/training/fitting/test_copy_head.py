"""A copy head learns from the validation part which tracks of a listener's past are played next, and does not change the
network. Where it does not help, there is none.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.events import Outcome
from model.nets import build
from model.nets.config import NetworkConfig
from model.nets.network import Network
from model.vocabulary import FIRST
from tests.training.worlds import split_of
from training.data.split import TEST, TRAIN, VALID, Split
from training.evaluation.cases import select_cases
from training.evaluation.evaluate import answer, summarise
from training.evaluation.rankers import NetworkRanker
from training.fitting.checkpoint import RunError
from training.fitting.copy_head import (
    AT_LEAST,
    CopyHeadChoice,
    Start,
    choose,
    cross_entropy,
    fit_copy_head,
    restored,
)
from training.recipe import CopyHeadRule

ROWS = FIRST + 60
RULE = CopyHeadRule(length=100, steps=120, shifts=(0.0, -1.0))


def _habits(listeners: int = 30) -> Split:
    """Make listeners who each repeat an order of their own; one play of six is any other track."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(listeners):
        order = random.permutation(ROWS - FIRST)[:8] + FIRST
        rows = [int(order[place % 8]) if random.random() < 5 / 6 else int(random.integers(FIRST, ROWS)) for place in range(60)]
        parts = [TRAIN] * 36 + [VALID] * 14 + [TEST] * 10
        made.append([(row, Outcome.PLAYED, part) for row, part in zip(rows, parts, strict=True)])
    return split_of(made, rows=ROWS)


def _fresh() -> Network:
    torch.manual_seed(0)
    return build(NetworkConfig(width=16, layers=1, heads=2, feed_forward=32), ROWS, 10).eval()


def _first_hits(network: Network, split: Split) -> float:
    cases = select_cases(split, TEST)
    return summarise("one", cases, answer(NetworkRanker.of("one", network), cases, length=10)).values["hr@1"]


def test_habits_are_found_beside_a_network_that_knows_nothing() -> None:
    """A fresh network is right once in sixty. The listener's own order decides five cases of six; one track before it is
    random.
    """
    split, network = _habits(), _fresh()
    before = _first_hits(network, split)
    weights = {name: value.clone() for name, value in network.state_dict().items()}

    tried = fit_copy_head(network, select_cases(split, VALID), RULE, length=10)

    assert before < 0.1
    assert _first_hits(network, split) > 0.6
    assert {(one.start, one.shift) for one in tried} == {
        (None, 0.0),
        *((start, shift) for start in ("copying", "network") for shift in RULE.shifts),
    }
    assert all(torch.equal(network.state_dict()[name], value) for name, value in weights.items())


def test_there_is_no_head_where_the_network_alone_is_better() -> None:
    """Every listener draws every play from one popularity, which the network ranks by. So a listener's past says nothing."""
    random = np.random.default_rng(1)
    popularity = 1 / np.arange(1, ROWS - FIRST + 1)
    parts = [TRAIN] * 36 + [VALID] * 14 + [TEST] * 10
    drawn = FIRST + random.choice(ROWS - FIRST, (60, 60), p=popularity / popularity.sum())
    split = split_of(
        [[(row, Outcome.PLAYED, part) for row, part in zip(line, parts, strict=True)] for line in drawn.tolist()], rows=ROWS
    )
    network = _fresh()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    network.start_from_popularity(torch.tensor([0, 0, *popularity], dtype=torch.float32))

    tried = fit_copy_head(network, select_cases(split, VALID), RULE, length=10)

    assert tried[0].start is None
    assert tried[0].scores["hr@20"] > max(one.scores["hr@20"] for one in tried[1:])
    assert network.copy_head is None


def test_of_heads_that_are_nearly_equal_the_one_that_finds_new_tracks_is_chosen() -> None:
    """A choice may lack half a percent of HR@20 and of NDCG@10. The network alone is no head, whatever new tracks it finds."""

    def tried(start: Start | None, hits: float, ndcg: float, new: float) -> CopyHeadChoice:
        return CopyHeadChoice(start=start, shift=0.0, scores={"hr@20": hits, "ndcg@10": ndcg, "hr@20_new": new}, weights={})

    alone, best, near = tried(None, 0.4, 0.199, 0.2), tried("copying", 0.4, 0.2, 0.0), tried("copying", 0.399, 0.1995, 0.02)
    far, fewer_hits = tried("network", 0.4, 0.198, 0.1), tried("network", 0.39, 0.2, 0.1)

    assert choose([alone, best, far, near, fewer_hits]) is near
    assert choose([alone, best, far]) is best
    assert choose([best, tried(None, 0.4, 0.21, 0.0)]).start is None


def test_no_case_measures_a_head_that_it_has_taught() -> None:
    """Every target is another track, drawn at random. A head that remembered its own cases would find more than chance."""
    random = np.random.default_rng(2)
    parts = [TRAIN] * 36 + [VALID] * 14 + [TEST] * 10
    drawn = random.integers(FIRST, ROWS, (30, 60)).tolist()
    split = split_of(
        [[(row, Outcome.PLAYED, part) for row, part in zip(line, parts, strict=True)] for line in drawn], rows=ROWS
    )

    tried = fit_copy_head(_fresh(), select_cases(split, VALID), RULE, length=10)

    assert max(one.scores["hr@20"] for one in tried) < 0.42  # chance is a third; the standard error of 420 cases is .023


def test_a_choice_that_was_made_is_the_same_head() -> None:
    """A head that a later command reads from the run's folder gives the same scores."""
    split, network = _habits(), _fresh()
    tried = fit_copy_head(network, select_cases(split, VALID), RULE, length=10)
    learned = _first_hits(network, split)
    network.copy_head = restored(tried[0], ROWS, RULE.length)

    assert _first_hits(network, split) == learned


def test_a_choice_of_a_version_with_other_features_is_refused() -> None:
    """A run's folder may have a head from before an update. The message says what to delete."""
    tried = fit_copy_head(_fresh(), select_cases(_habits(), VALID), RULE, length=10)
    weights = {**tried[0].weights, "linear.weight": tried[0].weights["linear.weight"][:-2]}

    with pytest.raises(RunError, match=r"another version in copy_head\.json: its linear\.weight .* delete the file"):
        restored(replace(tried[0], weights=weights), ROWS, RULE.length)


def test_the_same_seed_gives_the_same_head() -> None:
    """Training a head does not change torch's global random state."""
    split, network = _habits(), _fresh()
    torch.manual_seed(5)
    wanted = torch.rand(1).item()
    torch.manual_seed(5)
    first, second = (fit_copy_head(network, select_cases(split, VALID), RULE, length=10)[0].weights for _ in range(2))

    assert first == second
    assert torch.rand(1).item() == wanted


def test_too_few_cases_teach_no_head() -> None:
    """With a recipe without a length, no head is trained either."""
    split, network = _habits(), _fresh()
    cases = select_cases(split, VALID)

    assert fit_copy_head(network, cases.take(slice(AT_LEAST - 1)), RULE, length=10) == []
    assert fit_copy_head(network, cases, CopyHeadRule(), length=10) == []
    assert network.copy_head is None


def test_cross_entropy_by_hand() -> None:
    """One target is an own track at place 1, the other is a new track."""
    own = torch.tensor([[0.0, 1.0], [2.0, -1e4]])
    new, score = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.5])

    found = cross_entropy(own, new, torch.tensor([1, -1]), score)

    first = np.log(np.exp(0) + np.exp(1) + np.exp(1)) - 1
    second = np.log(np.exp(2) + np.exp(3)) - 2.5
    assert found.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_a_network_that_proposes_no_repeats_has_no_head() -> None:
    """The recipe may still ask for one: the default recipe with `network.repeats = false` does."""
    network = _fresh()
    network.repeats = False

    assert fit_copy_head(network, select_cases(_habits(), VALID), RULE, length=10) == []
