"""Figures in words, by hand."""

import pytest

from training.evaluation.evaluate import Measured
from training.reporting.verdict import worse_than_popularity


def measured(name: str, **values: float) -> Measured:
    """A row of a report."""
    return Measured(name=name, values={key.replace("_", "@"): value for key, value in values.items()}, counts={}, by_length=[])


POPULAR = measured("popular", hr_20=0.2, ndcg_10=0.1)


@pytest.mark.parametrize(("hits", "gain"), [(0.19, 0.2), (0.3, 0.09), (0.0, 0.0)])
def test_model_that_finds_less_than_popularity_is_said_with_both_figures(hits: float, gain: float) -> None:
    """In either of the two figures."""
    said = worse_than_popularity([measured("mine", hr_20=hits, ndcg_10=gain), POPULAR], "mine")

    assert said == (
        f"mine is worse than popularity on its own test part: HR@20 {hits:.4f} and NDCG@10 {gain:.4f}, "
        "where the most popular tracks have 0.2000 and 0.1000"
    )


def test_model_that_finds_as_much_as_popularity_is_not_worse() -> None:
    """A catalogue of one track has one ranking."""
    assert worse_than_popularity([measured("mine", hr_20=0.2, ndcg_10=0.1), POPULAR], "mine") is None


@pytest.mark.parametrize("rankers", [[measured("mine"), POPULAR], [POPULAR], [measured("mine", hr_20=0.2, ndcg_10=0.1)]])
def test_report_without_figures_says_nothing_for_a_model(rankers: list[Measured]) -> None:
    """A test part without a kept track, or a report of another model."""
    said = worse_than_popularity(rankers, "mine")

    assert said == "nothing says whether mine is better than popularity: the test part has no kept track to find"
