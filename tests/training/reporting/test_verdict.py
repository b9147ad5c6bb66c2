"""The sentences about a report's figures are right for figures by hand."""

import pytest

from training.evaluation.evaluate import Measured
from training.reporting.verdict import percent, verdict, worse_than_popularity


def measured(name: str, *, refused: int = 27, **values: float) -> Measured:
    """Make a row of a report over 100 cases; `hr_20` means `hr@20`."""
    named = {key.replace("_20", "@20").replace("_10", "@10"): value for key, value in values.items()}
    return Measured(name=name, values=named, counts={"cases": 100, "refused": refused}, by_length=[])


POPULAR = measured("popular", hr_20=0.2, ndcg_10=0.1)


@pytest.mark.parametrize(("hits", "gain"), [(0.19, 0.2), (0.3, 0.09), (0.0, 0.0)])
def test_model_that_finds_less_than_popularity_is_said_with_both_figures(hits: float, gain: float) -> None:
    """It may be worse in either of the two figures."""
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
    """The test part has no kept track, or the report is about another model."""
    said = worse_than_popularity(rankers, "mine")

    assert said == "nothing says whether mine is better than popularity: the test part has no kept track to find"


def test_verdict_says_what_is_found_and_what_is_skipped() -> None:
    """The figures stand beside popularity's and session-kNN's, and beside the share of skips among all plays."""
    rankers = [
        measured("mine", hr_20=0.19, skipped_hits_20=0.234),
        measured("popular", hr_20=0.056, skipped_hits_20=0.27),
        measured("session-kNN", hr_20=0.16),
    ]

    assert verdict(rankers, "mine") == [
        "mine finds the next kept track among its first 20 proposals in 19 % of cases: 3.4 times as often as popularity and "
        "1.2 times as often as session-kNN.",
        "Of its proposals that were then played, 23 % were skipped, beside 27 % for popularity and 27 % of all plays.",
    ]


@pytest.mark.parametrize(
    ("share", "end"),
    [
        (0.416, " The baseline own back-off finds more: 42 %."),
        (0.19, " The baseline own back-off finds as many."),
        (0.18, ""),
    ],
)
def test_verdict_names_another_baseline_that_is_as_good(share: float, end: str) -> None:
    """The best of them is named. The best possible ranking is no baseline."""
    rankers = [
        measured("mine", hr_20=0.19),
        measured("popular", hr_20=0.095),
        measured("best possible", hr_20=0.9),
        measured("most recent", hr_20=share / 2),
        measured("own back-off", hr_20=share),
    ]

    first = "mine finds the next kept track among its first 20 proposals in 19 % of cases: 2.0 times as often as popularity."
    assert verdict(rankers, "mine")[0] == first + end


def test_verdict_leaves_out_what_cannot_be_compared() -> None:
    """Popularity may find nothing, nobody may have skipped, or nobody may have played a proposal."""
    alone = [measured("mine", hr_20=0.042, refused=0), measured("popular", hr_20=0.0, refused=0)]
    unheard = [measured("mine", hr_20=0.0, refused=5)]

    assert verdict(alone, "mine") == [
        "mine finds the next kept track among its first 20 proposals in 4.2 % of cases.",
        "Nobody skipped anything in the test part, so it does not say what listeners refuse.",
    ]
    assert verdict(unheard, "mine")[1] == "None of its proposals was played; 5.0 % of all plays were skipped."
    assert verdict(alone, "another") == []
    assert verdict([measured("mine", ndcg_10=0.1)], "mine") == []


@pytest.mark.parametrize(
    ("share", "said"), [(1.0, "100 %"), (0.195, "20 %"), (0.0996, "10 %"), (0.0994, "9.9 %"), (0.004, "0.4 %"), (0.0, "0.0 %")]
)
def test_shares_read_as_people_say_them(share: float, said: str) -> None:
    """They have two digits."""
    assert percent(share) == said
