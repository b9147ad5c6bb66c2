"""Windows and targets agree with a search by brute force.

Every entry of these logs has a row of its own, so a row in a batch identifies its entry.
"""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.events import Outcome
from model.vocabulary import FIRST, PADDING, UNKNOWN
from tests.training.logs import known_outcomes, late_lines
from tests.training.logs import split_of as split_with_lates
from tests.training.worlds import Play, split_of
from training.data.split import TEST, TRAIN, VALID, Split
from training.fitting.batches import Batch, Windows
from training.recipe import Targets

PLAYED, SKIPPED = Outcome.PLAYED, Outcome.SKIPPED

listeners_of_any_kind = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(Outcome), st.sampled_from([TRAIN, TRAIN, TRAIN, VALID, TEST]), st.sampled_from([True, True, False])
        ),
        max_size=14,
    ),
    max_size=6,
)


def numbered(listeners: list[list[tuple[Outcome, int, bool]]]) -> list[list[Play]]:
    """Number the listeners' entries so that every known entry has a row of its own."""
    rows = iter(range(FIRST, 1000))
    return [[(next(rows) if known else UNKNOWN, outcome, part) for outcome, part, known in mine] for mine in listeners]


def split_into(listeners: list[list[Play]]) -> Split:
    """Make the split of listeners."""
    return split_of(listeners, rows=FIRST + sum(len(mine) for mine in listeners))


def trained_on(listeners: list[list[Play]]) -> list[list[Play]]:
    """Return what the trainer may see of each listener: known tracks of the training part."""
    return [[play for play in mine if play[0] != UNKNOWN and play[2] == TRAIN] for mine in listeners]


def lines(batch: Batch) -> list[tuple[list[int], list[int], list[int]]]:
    """Return the windows of a batch without padding: rows, outcomes, targets."""
    real = batch.tracks != 0
    return [
        (
            batch.tracks[line][real[line]].tolist(),
            batch.outcomes[line][real[line]].tolist(),
            batch.wanted[line][real[line]].tolist(),
        )
        for line in range(len(batch.tracks))
    ]


@pytest.mark.parametrize("targets", ["wanted", "all"])
@settings(deadline=None)  # a busy machine is no failure
@given(listeners=listeners_of_any_kind, length=st.integers(1, 6), size=st.integers(1, 4), epoch=st.integers(0, 3))
def test_windows_are_the_training_part_and_its_next_kept_tracks(
    targets: Targets, listeners: list[list[tuple[Outcome, int, bool]]], length: int, size: int, epoch: int
) -> None:
    """Each window is a run of known training entries of one listener, and each target the first kept entry from there on.

    Together the windows hold every entry at least once, and nothing of validation or test.
    """
    world = numbered(listeners)
    mine_of = {play[0]: mine for mine in trained_on(world) for play in mine}
    met = set()
    for batch in Windows(split_into(world), length=length, targets=targets).batches(size, seed=1, epoch=epoch):
        for rows, outcomes, wanted in lines(batch):
            mine = mine_of[rows[0]]
            start = [row for row, _, _ in mine].index(rows[0])
            run = mine[start : start + len(rows)]
            kept = [
                next((row for row, outcome, _ in mine[place:] if targets == "all" or outcome.wanted), 0)
                for place in range(start, start + len(rows))
            ]

            assert len(rows) <= length + 1
            assert (rows, outcomes) == ([row for row, _, _ in run], [outcome for _, outcome, _ in run])
            assert wanted == kept
            met.update(rows)

    assert met == set(mine_of)


@settings(deadline=None)  # a busy machine is no failure
@given(listeners=listeners_of_any_kind, length=st.integers(1, 6))
def test_every_kept_entry_is_a_target_in_each_epoch(listeners: list[list[tuple[Outcome, int, bool]]], length: int) -> None:
    """The first entry of a sequence is a target too: the start token predicts it."""
    world = numbered(listeners)
    batches = Windows(split_into(world), length=length, targets="wanted").batches(3, seed=1, epoch=0)
    targets = {row for batch in batches for row in batch.wanted.flatten().tolist()} - {0}

    assert targets == {row for mine in trained_on(world) for row, outcome, _ in mine if outcome.wanted}


def long_listeners() -> list[list[Play]]:
    """Make twenty listeners with forty plays each."""
    return numbered([[(PLAYED if place % 3 else SKIPPED, TRAIN, True) for place in range(40)] for _ in range(20)])


def all_tracks(windows: Windows, *, seed: int, epoch: int) -> list[list[list[int]]]:
    """Return the tracks of each batch."""
    return [batch.tracks.tolist() for batch in windows.batches(8, seed=seed, epoch=epoch)]


def test_same_seed_and_epoch_give_the_same_batches() -> None:
    """Also from another `Windows` over the same split, because a resumed run relies on it."""
    split = split_into(long_listeners())
    first, second = (all_tracks(Windows(split, length=9, targets="wanted"), seed=4, epoch=2) for _ in range(2))

    assert first == second


@pytest.mark.parametrize(("seed", "epoch"), [(4, 3), (5, 2)])
def test_another_epoch_or_seed_cuts_elsewhere(seed: int, epoch: int) -> None:
    """The windows begin at other entries; they are not only in another order."""
    windows = Windows(split_into(long_listeners()), length=9, targets="wanted")
    cuts = [
        {line[0] for batch in all_tracks(windows, seed=s, epoch=e) for line in batch} - {0} for s, e in ((4, 2), (seed, epoch))
    ]

    assert len(cuts[0] - cuts[1]) > 20


def test_entry_is_met_at_many_places_over_the_epochs() -> None:
    """One entry in the middle of a long sequence stands at the start, in the middle and at the end of windows."""
    windows = Windows(split_into(long_listeners()[:1]), length=9, targets="wanted")
    places = {
        line.index(FIRST + 20)
        for epoch in range(60)
        for batch in all_tracks(windows, seed=1, epoch=epoch)
        for line in batch
        if FIRST + 20 in line
    }

    assert places == set(range(10))


@given(listeners_of_any_kind)
@settings(max_examples=50, deadline=None)
def test_newest_windows_are_the_ends_of_the_training_part_the_same_in_each_epoch(
    listeners: list[list[tuple[Outcome, int, bool]]],
) -> None:
    """Each listener with training entries has one window, of the usual length or shorter."""
    world = numbered(listeners)
    windows = Windows(split_into(world), length=3, targets="wanted", newest=True)
    ends = sorted([play[0] for play in mine[-4:]] for mine in trained_on(world) if mine)

    for epoch in (0, 1):
        found = [line[0] for batch in windows.batches(2, seed=1, epoch=epoch) for line in lines(batch)]
        assert sorted(found) == ends
    assert windows.count(1) == max(1, len(ends))


def test_windows_of_like_length_share_a_batch() -> None:
    """Little of a batch is padding. With lengths from 1 to 9 in random order, unsorted batches would be almost half padding."""
    world = numbered([[(PLAYED, TRAIN, True)] * (1 + number % 9) for number in range(160)])
    batches = list(Windows(split_into(world), length=9, targets="wanted").batches(8, seed=1, epoch=0))
    padding = sum(int((batch.tracks == 0).sum()) for batch in batches) / sum(batch.tracks.numel() for batch in batches)

    assert padding < 0.1


def test_batches_do_not_come_sorted_by_length() -> None:
    """Batches from short to long would change the order of training, which nobody asked for."""
    world = numbered([[(PLAYED, TRAIN, True)] * (1 + number % 9) for number in range(160)])
    batches = Windows(split_into(world), length=9, targets="wanted").batches(8, seed=1, epoch=0)
    widths = [batch.tracks.shape[1] for batch in batches]

    assert widths != sorted(widths)


def test_sessions_are_told_apart_and_numbered_from_one() -> None:
    """Session 0 is padding."""
    split = split_into(numbered([[(PLAYED, TRAIN, True)] * 4]))
    split.sequences.session[:] = [0, 0, 1, 1]
    [batch] = Windows(split, length=9, targets="wanted").batches(8, seed=1, epoch=0)

    assert batch.session.tolist() == [[1, 1, 2, 2]]


def test_count_is_about_right() -> None:
    """The count drives a progress bar; it is within a tenth of the true number."""
    windows = Windows(split_into(long_listeners()), length=9, targets="wanted")
    batches = np.mean([len(all_tracks(windows, seed=1, epoch=epoch)) for epoch in range(10)])

    assert windows.count(8) == pytest.approx(batches, rel=0.1)


def test_batch_is_no_larger_than_asked_for() -> None:
    """Only the last batch of a group is smaller."""
    windows = Windows(split_into(long_listeners()), length=9, targets="wanted")
    sizes = Counter(len(batch.tracks) for batch in windows.batches(8, seed=1, epoch=0))

    assert max(sizes) == 8
    assert sum(count for size, count in sizes.items() if size < 8) <= 1


def test_windows_tell_how_long_after_each_entry_the_next_one_came() -> None:
    """The pauses are 0 to 6 half hours in turns.

    An unknown track between two entries is skipped. A listener's last entry and padding have no gap.
    """
    listeners = numbered([[(PLAYED, TRAIN, place % 5 != 4) for place in range(40)] for _ in range(20)])
    split = split_into(listeners)
    at = np.cumsum(np.arange(len(split.row)) % 7)  # in half hours
    split = replace(split, sequences=replace(split.sequences, at_ms=at * 30 * 60_000))
    code = {0: 1, 1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 4, 7: 4, 8: 4, 9: 5, 10: 5, 11: 5}
    expected = {PADDING: 0}
    for start, stop in pairwise(split.sequences.offsets.tolist()):
        known = [place for place in range(start, stop) if split.row[place] != UNKNOWN]
        for place, following in pairwise(known):
            expected[int(split.row[place])] = code[int(at[following] - at[place])]
        expected[int(split.row[known[-1]])] = 0

    batches = list(Windows(split, length=9, targets="wanted").batches(8, seed=1, epoch=0))

    assert set(code.values()) < set(expected.values())
    for batch in batches:
        assert batch.gaps.tolist() == [[expected[row] for row in line] for line in batch.tracks.tolist()]


def test_a_network_reads_outcomes_as_they_were_known_when_the_next_entry_began() -> None:
    """Outcomes agree with the plain definition, on random logs with many late reports, unknown tracks and entries of other
    parts.

    This is not luck: in these logs a third of all outcomes differ from the final ones.
    """
    random, differ = Random(3), 0
    for _ in range(20):
        written, late = late_lines(random)
        split = split_with_lates(written, min_count=2, late=late)
        trained = [line for line in range(len(written)) if split.part[line] == TRAIN and split.row[line] != UNKNOWN]
        expected = []
        for line, following in zip(trained, [*trained[1:], -1], strict=True):
            same = following >= 0 and written[following][0] == written[line][0]
            place = [other for other in range(line + 1) if written[other][0] == written[line][0]].index(line)
            expected.append(known_outcomes(written, late, following)[place] if same else written[line][2])

        [batch] = Windows(split, length=50, targets="all").batches(50, seed=1, epoch=0)
        found = {
            tuple(rows[rows > 0].tolist()): known[rows > 0].tolist()
            for rows, known in zip(batch.tracks, batch.known_outcomes, strict=True)
        }
        assert sorted(outcome for known in found.values() for outcome in known) == sorted(expected)
        for user in {line[0] for line in written}:
            mine = [place for place, line in enumerate(trained) if written[line][0] == user]
            rows = tuple(split.row[[trained[place] for place in mine]].tolist())
            assert found[rows] == [expected[place] for place in mine]
        differ += sum(int(written[line][2]) != outcome for line, outcome in zip(trained, expected, strict=True))

    assert differ > 100
