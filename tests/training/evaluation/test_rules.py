"""Rules on a ranker's lists, on a log so small that every list is known."""

from dataclasses import dataclass, replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from model.catalogue import Catalogue
from model.catalogue_index import CatalogueIndex
from model.encoding import Encoded
from tests.training.logs import P, S, split_of
from training.data.split import TEST
from training.evaluation.cases import Cases, select_cases
from training.evaluation.evaluate import evaluate
from training.evaluation.metrics import Floats
from training.evaluation.rules import RULES, Effect, Rule, describe, effects, print_effects

TRACKS = [f"t{number:02}" for number in range(30)]


@dataclass(frozen=True)
class Descending:
    """A ranker that scores t00 best and each track .2 less than the one before."""

    name: str = "descending"

    def scores(self, batch: Encoded, cases: Cases) -> Floats:
        order = [int(track[1:]) for track in cases.split.vocabulary.tracks]
        scores = np.concatenate([[0.0, 0.0], 10 - 0.2 * np.array(order)])
        return np.tile(scores.astype(np.float32), (len(batch.tracks), 1))


def asked() -> Cases:
    """Two cases of one listener who heard t00 and t29 long ago, and skipped t01 in the session. They keep t20 and skip t02."""
    lines = [("u", track, P, "train") for track in TRACKS]
    lines += [("v", "t00", P, "train"), ("v", "t29", P, "train"), ("v", "t01", S, "valid")]
    split = split_of([*lines, ("v", "t20", P, "test"), ("v", "t02", S, "test")])
    session = np.zeros(len(split.row), np.int32)
    session[-3:] = 1
    at_ms = split.sequences.at_ms.copy()
    at_ms[-3:] += 3 * 24 * 60 * 60 * 1000
    return select_cases(replace(split, sequences=replace(split.sequences, session=session, at_ms=at_ms)), TEST)


def names(cases: Cases, artists: int = 30) -> CatalogueIndex:
    """Each track has the artist of its number, modulo `artists`."""
    tracks = cases.split.vocabulary.tracks
    nothing = [None] * len(tracks)
    by = [f"artist {int(track[1:]) % artists}" for track in tracks]
    return CatalogueIndex.of(Catalogue(titles=nothing, artists=by, durations_ms=nothing))


def measured(rule: Rule, artists: int = 30) -> Effect:
    """The effect of one rule."""
    cases = asked()
    [found] = effects(Descending(), cases, names(cases, artists), length=5, rules=[rule])
    return found


def test_without_rules_the_session_is_masked() -> None:
    """The first list is t00, t02, … t20: the kept t20 is its last. In the second t20 is masked and t02 is refused."""
    found = measured(Rule())

    assert (found.hr20, found.refused20, found.length) == (1, 1, 20)
    assert found.coverage20 == pytest.approx(21 / 30)  # t00, t02 to t20, and t21 in the second list
    assert found.heard == pytest.approx(2 / 40)


def test_hits_are_those_of_the_evaluation_if_replays_are_allowed() -> None:
    """Without a skip in the session, `replay` is the plain list of the ranker."""
    cases = asked().take(slice(0, 1))
    cases = replace(
        cases, split=replace(cases.split, sequences=replace(cases.split.sequences, outcome=np.full(35, P, np.int8)))
    )
    [found] = effects(Descending(), cases, names(cases), length=5, rules=[Rule(replay=True)])

    assert found.hr20 == evaluate(Descending(), cases, length=5).values["hr@20"] == 0  # t20 stands at place 21


@pytest.mark.parametrize(
    ("rule", "heard", "length", "hits"),
    [
        (Rule(novelty=1), 0, 20, 1),
        (Rule(novelty=-1), 1, 2, 0),  # t00 and t29; the session is masked
        (Rule(novelty=-0.9), 4 / 40, 20, 0),  # t29 is raised above t20
        (Rule(novelty=0.9), 0, 20, 1),
        (Rule(not_heard_days=1), 2 / 40, 20, 1),  # t00 and t29 were heard three days ago
        (Rule(not_heard_days=4), 0, 20, 1),
    ],
)
def test_novelty_and_days_decide_how_much_was_heard(rule: Rule, heard: float, length: float, hits: float) -> None:
    found = measured(rule)

    assert found.heard == pytest.approx(heard)
    assert (found.length, found.hr20) == (length, hits)


def test_a_gap_of_an_artist_counts_the_tracks_just_played() -> None:
    """Two artists take turns, and the first is not that of t01, which was just skipped: t00, t03, t02, t05, …, t18, t21."""
    found = measured(Rule(artist_gap=2), artists=2)

    assert (found.hr20, found.refused20, found.length) == (0, 1, 20)
    assert measured(Rule(artist_gap=30), artists=10).length == 8.5  # t01's artist is left out, and in the second list t20's too


def with_releases(cases: Cases) -> CatalogueIndex:
    """Two tracks in a row are releases of one recording: t00 and t01, t02 and t03, and so on."""
    tracks = cases.split.vocabulary.tracks
    nothing = [None] * len(tracks)
    groups = [f"recording {int(track[1:]) // 2}" for track in tracks]
    return CatalogueIndex.of(Catalogue(titles=nothing, artists=nothing, durations_ms=nothing, groups=groups))


def test_a_list_has_one_release_of_a_recording_and_masks_reach_all() -> None:
    """t01 was skipped in the session, so t00 is left out as well. The first list is t02, t04, … t28, and so is the second
    without t20. The kept t20 is found, and the refused t02 too.
    """
    cases = asked()

    one, each = effects(Descending(), cases, with_releases(cases), length=5, rules=[Rule(), Rule(every_release=True)])

    assert (one.hr20, one.refused20, one.length) == (1, 1, 13.5)
    assert one.coverage20 == pytest.approx(14 / 30)
    assert each.length == 20
    assert each.coverage20 == pytest.approx(21 / 30)


def test_another_release_of_the_kept_track_is_a_hit() -> None:
    """The listener keeps t21. Its recording's better release, t20, is in the list."""
    split = split_of([*(("u", track, P, "train") for track in TRACKS), ("v", "t21", P, "test")])
    cases = select_cases(split, TEST)

    one, each = effects(Descending(), cases, with_releases(cases), length=5, rules=[Rule(), Rule(every_release=True)])

    assert one.hr20 == 1
    assert each.hr20 == 0  # t00 to t19


def test_exploration_takes_places_from_the_best() -> None:
    """Ten places are drawn from the nine tracks below the list. So the list has all of these, t29 among them, for any seed."""
    found = measured(Rule(explore=0.5))

    assert (found.hr20, found.length, found.heard) == (0, 20, 4 / 40)
    assert found.coverage20 == pytest.approx(21 / 30)  # t00, t02 to t12, t21 to t29


def test_the_table_has_a_line_for_each_rule() -> None:
    """Named like the parameters of a request."""
    console = Console(file=StringIO(), width=120)
    cases = asked()
    print_effects("descending", effects(Descending(), cases, names(cases), length=5), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above

    assert describe(Rule(artist_gap=3, replay=True)) == "artist_gap=3&replay=true"
    assert all(describe(rule) in shown for rule in RULES if not rule.every_release)
    assert "every_release" not in shown  # the catalogue knows no recordings
