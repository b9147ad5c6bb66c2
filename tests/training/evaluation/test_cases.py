"""Which cases the evaluation selects, and what each case may know."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np

from model.encoding import encode_histories, rows_of
from model.events import Entry
from model.vocabulary import UNKNOWN
from tests.training.logs import D, L, Late, Line, P, S, known_outcomes, late_lines, split_of
from training.data.sequences import ranges
from training.data.split import TEST
from training.evaluation.cases import select_cases


def test_history_is_what_came_before_in_all_parts_with_outcomes() -> None:
    """A case reads everything known before it, but neither itself nor later entries."""
    split = split_of([("u", "a", P, "train"), ("u", "b", S, "valid"), ("u", "a", L, "test"), ("u", "b", P, "test")])
    row = split.vocabulary.row

    cases = select_cases(split, TEST)
    encoded = cases.encode(length=2)

    assert row("b") == UNKNOWN  # b occurs in the validation part only
    assert encoded.tracks.tolist() == [[0, row("a")], [row("a"), row("a")]]
    assert encoded.outcomes.tolist() == [[0, P], [P, L]]
    assert cases.target.tolist() == [row("a"), UNKNOWN]


def test_history_does_not_reach_into_another_listener() -> None:
    """A listener's first case has an empty history, whichever listener comes before in the log."""
    split = split_of([("u", "a", P, "train"), ("v", "a", P, "test")])

    cases = select_cases(split, TEST)

    assert cases.lengths.tolist() == [0]
    assert cases.encode(length=5).tracks.tolist() == [[0]]


def test_entries_about_which_nothing_is_asked_are_context_only() -> None:
    """An entry with `asked` False is in later histories, but no case."""
    split = split_of([("u", "a", P, "train"), ("u", "a", P, "test"), ("u", "a", P, "test")], asked=[True, False, True])

    cases = select_cases(split, TEST)

    assert cases.entry.tolist() == [2]
    assert cases.lengths.tolist() == [2]


def test_repeat_says_whether_the_track_stands_earlier() -> None:
    """It also holds for a track that the vocabulary does not have."""
    lines = [("u", "a", P, "train"), ("u", "b", P, "test"), ("u", "b", S, "test"), ("u", "a", P, "test"), ("v", "a", P, "test")]

    cases = select_cases(split_of(lines), TEST)

    assert cases.repeat.tolist() == [False, True, True, False]


def test_disliked_until_a_later_like() -> None:
    """A dislike excludes the track from the next case on, until a later entry likes it. Dislikes of other listeners do not
    count.
    """
    lines = [
        ("u", "a", P, "train"),
        ("u", "b", D, "train"),
        ("u", "a", D, "test"),
        ("u", "b", L, "test"),
        ("u", "a", P, "test"),
        ("v", "a", P, "test"),
    ]
    split = split_of(lines)
    a, b = split.vocabulary.row("a"), split.vocabulary.row("b")

    excluded = select_cases(split, TEST).excluded()

    assert [sorted(set(rows) - {0}) for rows in excluded.tolist()] == [[b], [a, b], [a], []]


def test_disliked_agrees_with_going_through_the_log_entry_by_entry() -> None:
    """The vectorised intervals equal the plain definition, on 40 random logs with many opinions."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        lines = [
            (f"u{user}", f"t{rng.integers(4)}", (P, S, L, D)[rng.integers(4)], "test") for user in range(3) for _ in range(12)
        ]
        split = split_of([("u0", f"t{track}", P, "train") for track in range(4)] + lines)
        cases = select_cases(split, TEST)
        disliked: dict[str, set[int]] = {}
        expected = []
        for user, track, outcome, part in [("u0", f"t{track}", P, "train") for track in range(4)] + lines:
            mine = disliked.setdefault(user, set())
            if part == "test":
                expected.append(set(mine))
            if outcome is D:
                mine.add(split.vocabulary.row(track))
            if outcome is L:
                mine.discard(split.vocabulary.row(track))

        found = [set(rows) - {0} for rows in cases.excluded().tolist()]

        assert found == expected


def test_cap_takes_the_same_cases_each_time() -> None:
    """So epochs are compared on the same sample. Another seed draws another sample."""
    split = split_of([("u", "a", P, "train")] + [("u", "a", P, "test")] * 200)

    first, again, other = (select_cases(split, TEST, cap=20, seed=seed).entry.tolist() for seed in (1, 1, 2))

    assert len(first) == 20
    assert first == again
    assert first != other


def test_taking_some_keeps_what_belongs_to_each() -> None:
    """A subset has the same cases, with their exclusions."""
    lines = [("u", "a", D, "train"), ("u", "b", D, "train"), ("v", "a", P, "test"), ("v", "b", P, "test")]
    split = split_of([*lines[:2], ("u", "new", D, "valid"), ("u", "a", P, "test"), *lines[2:]])
    cases = select_cases(split, TEST)

    some = cases.take(np.array([2, 0]))

    assert some.entry.tolist() == cases.entry[[2, 0]].tolist()
    assert [set(rows) - {0} for rows in some.excluded().tolist()] == [
        set(),
        {split.vocabulary.row("a"), split.vocabulary.row("b")},
    ]
    assert [some.disliked_unknown[case].tolist() for case in (0, 1)] == [[], [split.sequences.tracks.index("new")]]


def test_ranges_stand_end_to_end() -> None:
    """Some ranges are empty."""
    assert ranges(np.array([5, 9, 1]), np.array([2, 0, 3])).tolist() == [5, 6, 1, 2, 3]


def test_gaps_of_a_case_are_what_the_service_would_count() -> None:
    """`rows_of` over the entries before a case, with the case's time, gives the same rows, outcomes and gaps. The histories
    have pauses and unknown tracks, and one is empty.
    """
    lines = [
        ("v", "a", P, "train"),
        ("u", "a", P, "test"),
        ("u", "b", S, "train"),
        ("u", "new", P, "test"),
        ("u", "a", L, "test"),
        ("u", "a", P, "test"),
        ("u", "new", P, "test"),
    ]
    minutes = np.array([0, 0, 50, 51, 300, 303, 9_000])
    split = split_of(lines)
    split = replace(split, sequences=replace(split.sequences, at_ms=minutes * 60_000))
    mine = [
        Entry(track, outcome, minute * 60_000, skipped=False, session=0)
        for (_, track, outcome, _), minute in zip(lines[1:], minutes[1:].tolist(), strict=True)
    ]
    places = [0, 2, 3, 4, 5]
    wanted = encode_histories(
        [rows_of(mine[:place], split.vocabulary, length=5, now_ms=mine[place].at_ms) for place in places], length=5
    )
    found = select_cases(split, TEST).encode(length=5)

    assert [array.tolist() for array in found] == [array.tolist() for array in wanted]
    assert found.gaps.tolist() == [[0] * 4, [0, 0, 2, 1], [0, 0, 2, 5], [0, 2, 5, 1], [2, 5, 1, 10]]


def test_outcome_reported_late_is_not_known_before() -> None:
    """A skip and a dislike were reported two tracks later. The case in between reads a play, and excludes nothing."""
    lines = [("u", "a", D, "train"), ("u", "b", S, "train"), *[("u", track, P, "test") for track in "bab"]]
    split = split_of(lines, late=[(0, 3, P), (1, 4, P)])
    row = split.vocabulary.row("a")

    cases = select_cases(split, TEST)

    assert cases.encode(9).outcomes.tolist() == [[0, 0, P, P], [0, D, P, P], [D, S, P, P]]
    assert cases.encode(2).outcomes.tolist() == [[P, P], [P, P], [P, P]]
    assert [sorted(set(rows) - {0}) for rows in cases.excluded().tolist()] == [[], [row], [row]]
    assert cases.kept.tolist() == [2, 2, 2]
    assert cases.outcome.tolist() == [P, P, P]


def test_what_cases_know_agrees_with_going_through_the_log_entry_by_entry() -> None:
    """Histories, kept entries and dislikes equal the plain definition, on 30 random logs with many late reports. In every
    second log, rare tracks have no row.
    """
    random, without_row = Random(5), 0
    for number in range(30):
        lines, late = late_lines(random)
        split = split_of(lines, late=late, min_count=(1, 6)[number % 2])
        cases = select_cases(split, TEST)
        known = [known_outcomes(lines, late, entry) for entry in cases.entry.tolist()]
        read = [
            [outcome for outcome, row in zip(outcomes, split.row[first:], strict=False) if row != UNKNOWN]
            for outcomes, first in zip(known, cases.first.tolist(), strict=True)
        ]

        for length in (3, 20):
            found = cases.encode(length)
            assert [line[tracks > 0].tolist() for tracks, line in zip(found.tracks, found.outcomes, strict=True)] == [
                outcomes[-length:] for outcomes in read
            ]
        assert [cases.outcomes_of(case).tolist() for case in range(len(cases))] == read
        assert cases.kept.tolist() == [sum(outcome.wanted for outcome in outcomes) for outcomes in read]
        assert [
            split.sequences.outcomes_at(int(first), int(entry)).tolist()
            for first, entry in zip(cases.first, cases.entry, strict=True)
        ] == known
        for length in (4, 30):
            own = cases.long_histories(length)
            assert [line[line > 0].tolist() for line in own.own_outcomes] == [outcomes[-length:] for outcomes in known]
        disliked = [disliked_before(lines, late, entry) for entry in cases.entry.tolist()]
        assert [set(rows) - {0} for rows in cases.excluded().tolist()] == [
            {split.vocabulary.row(track) for track in tracks} - {UNKNOWN} for tracks in disliked
        ]
        assert [{split.sequences.tracks[track] for track in cases.disliked_unknown[case]} for case in range(len(cases))] == [
            {track for track in tracks if not split.vocabulary.knows(track)} for tracks in disliked
        ]
        without_row += len(cases.disliked_unknown.values)
        some = np.array([7, 2, 11])
        assert cases.take(some).encode(20).outcomes[:, -1].tolist() == [read[case][-1] if read[case] else 0 for case in some]
    assert without_row > 100


def disliked_before(lines: Sequence[Line], late: Sequence[Late], line: int) -> set[str]:
    """Return the tracks that a listener dislikes when `line` begins. Each opinion counts from the time of its report."""
    said = []
    for place, (user, track, outcome, _) in enumerate(lines):
        if user != lines[line][0]:
            continue
        stages = [*[(known_from, before) for entry, known_from, before in late if entry == place], (len(lines), outcome)]
        said.append((place + 1, 0, place, track, stages[0][1]))
        said += [(known_from, 1, place, track, after) for (known_from, _), (_, after) in pairwise(stages)]
    opinions = {track: outcome for known_from, _, _, track, outcome in sorted(said) if known_from <= line and outcome in (L, D)}
    return {track for track, outcome in opinions.items() if outcome is D}
