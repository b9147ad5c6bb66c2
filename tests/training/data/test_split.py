"""Which entries train a model, which choose its settings, and which measure it."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from model.vocabulary import FIRST, UNKNOWN, Vocabulary
from training.data.log import LogError
from training.data.sequences import NO_PART, Sequences
from training.data.split import TEST, TRAIN, UNUSED, VALID, doubts, kept_apart, moment_after, numbered, split, with_valid
from training.recipe import SplitRule


def _sequences(track: list[int], at_ms: list[int], part: list[int] | None = None) -> Sequences:
    count = len(track)
    return Sequences(
        tracks=[f"t{number}" for number in range(max(track) + 1)],
        users=["u"],
        offsets=np.array([0, count]),
        user=np.zeros(1, np.int32),
        track=np.array(track, np.int32),
        outcome=np.ones(count, np.int8),
        at_ms=np.array(at_ms, np.int64),
        session=np.zeros(count, np.int32),
        asked=np.ones(count, np.bool_),
        part=np.array(part or [NO_PART] * count, np.int8),
    )


def test_the_last_shares_by_time_are_held_out() -> None:
    """Of ten entries in no order, the newest is the test part and the one before it the validation part."""
    at_ms = [50, 10, 90, 20, 30, 100, 40, 60, 80, 70]

    part = split(_sequences([0] * 10, at_ms), SplitRule(valid=0.1, test=0.1)).part

    assert part.tolist() == [VALID if at == 90 else TEST if at == 100 else TRAIN for at in at_ms]


def test_moments_cut_where_they_say() -> None:
    """An entry at exactly the moment belongs to the part that begins there."""
    rule = SplitRule(valid_from=datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC), test_from=datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC))

    part = split(_sequences([0] * 4, [1_999, 2_000, 2_999, 3_000]), rule).part

    assert part.tolist() == [TRAIN, VALID, VALID, TEST]


def test_a_published_split_goes_before_shares() -> None:
    """If a log has its own split, figures are comparable with published ones only if it is kept."""
    part = [TEST, TRAIN, VALID, TRAIN]

    assert split(_sequences([0] * 4, [1, 2, 3, 4], part), SplitRule()).part.tolist() == part


def test_a_published_split_with_a_gap_is_refused_and_not_passed_over() -> None:
    """One entry has no part. Using shares by time instead would make figures incomparable without notice."""
    with pytest.raises(LogError, match="found 1 of 4 entries without a part"):
        split(_sequences([0] * 4, [1, 2, 3, 4], [TEST, TRAIN, NO_PART, TRAIN]), SplitRule())


def test_moments_of_the_recipe_go_before_a_published_split() -> None:
    """Moments in a recipe are deliberate, so they take precedence."""
    rule = SplitRule(valid_from=datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC), test_from=datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC))

    assert split(_sequences([0] * 3, [1_000, 2_000, 3_000], [TEST, TEST, TRAIN]), rule).part.tolist() == [TRAIN, VALID, TEST]


def test_the_vocabulary_sees_the_training_part_only() -> None:
    """A track that was released after the training part is unknown. It counts as a miss and is not left out."""
    parts = split(_sequences([0, 1, 0, 2], [1, 2, 3, 4], [TRAIN, TRAIN, VALID, TEST]), SplitRule())

    assert list(parts.vocabulary.tracks) == ["t0", "t1"]
    assert parts.row.tolist() == [FIRST, FIRST + 1, FIRST, UNKNOWN]


def test_a_rare_track_is_unknown() -> None:
    """If a track occurs too rarely in the training part, its own row would be noise."""
    rule = SplitRule(min_count=2)

    parts = split(_sequences([0, 0, 1, 1], [1, 2, 3, 4], [TRAIN, TRAIN, TRAIN, TEST]), rule)

    assert list(parts.vocabulary.tracks) == ["t0"]


def test_counts_are_of_the_training_part() -> None:
    """Counts are by row, padding and unknown included, and contain nothing of the other parts."""
    parts = split(_sequences([0, 1, 1, 0], [1, 2, 3, 4], [TRAIN, TRAIN, TRAIN, TEST]), SplitRule())

    assert parts.counts.tolist() == [0, 0, 1, 2]


def test_the_validation_part_can_be_learned_from_as_well() -> None:
    """Test entries are not added, and rows stay the same. A track that is new in the validation part stays unknown."""
    parts = split(_sequences([0, 1, 0, 2], [1, 2, 3, 4], [TRAIN, VALID, VALID, TEST]), SplitRule())
    known = with_valid(parts)

    assert known.part.tolist() == [TRAIN, TRAIN, TRAIN, TEST]
    assert known.row.tolist() == parts.row.tolist() == [FIRST, UNKNOWN, FIRST, UNKNOWN]
    assert parts.part.tolist() == [TRAIN, VALID, VALID, TEST]


def test_a_split_without_a_test_part_is_refused() -> None:
    """A moment after the log's end leaves nothing to measure. The error counts the entries of each part."""
    rule = SplitRule(valid_from=datetime(2030, 1, 1, tzinfo=UTC), test_from=datetime(2030, 1, 2, tzinfo=UTC))

    with pytest.raises(LogError, match="4 entries in the training part and 0 in the test part"):
        split(_sequences([0] * 4, [1, 2, 3, 4]), rule)


def test_a_min_count_that_nothing_reaches_is_refused() -> None:
    """An empty vocabulary is a mistake of the recipe. The error says which value would do."""
    sequences = _sequences([0] * 8 + [1] * 2, list(range(10)))

    with pytest.raises(LogError, match=r"min_count = 99 times in the training part; the most is 8"):
        split(sequences, SplitRule(min_count=99))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1 - 0.1 - 0.1, 0.9, 1.0])
def test_moment_is_numpys_quantile(share: float) -> None:
    """Ties are included, with sizes around a lot's and very small ones."""
    random = np.random.default_rng(0)
    for size in (1, 2, 11, 1000):
        at_ms = random.integers(1_700_000_000_000, 1_700_000_000_000 + 5 * size, size)

        assert moment_after(at_ms, share) == np.quantile(at_ms, share, method="higher")


def test_another_log_takes_the_rows_that_are_there() -> None:
    """Tracks are matched by their ids, in any order. A track without a row is unknown, and nothing is held out."""
    found = numbered(_sequences([2, 0, 1, 2], [1, 2, 3, 4]), Vocabulary(["t1", "t9", "t2"]))

    assert found.row.tolist() == [FIRST + 2, UNKNOWN, FIRST, FIRST + 2]
    assert found.part.tolist() == [TRAIN] * 4
    assert len(found.vocabulary) == FIRST + 3


def _of_users(lengths: list[int]) -> Sequences:
    """Make listeners u0, u1, … with these numbers of entries, in time order, one listener after the other."""
    count = sum(lengths)
    whole = _sequences([0] * count, list(range(count)))
    return replace(
        whole,
        users=[f"u{number}" for number in range(len(lengths))],
        offsets=np.cumsum([0, *lengths]),
        user=np.arange(len(lengths), dtype=np.int32),
    )


def test_each_listener_can_be_cut_by_their_own_times() -> None:
    """The newest tenth of each listener is the test part, also for one who stopped before the other began."""
    parts = split(_of_users([10, 20]), SplitRule(shares_of="listener")).part

    assert parts[:10].tolist() == [TRAIN] * 8 + [VALID, TEST]
    assert parts[10:].tolist() == [TRAIN] * 16 + [VALID] * 2 + [TEST] * 2


def test_cutting_by_listener_agrees_with_cutting_each_alone() -> None:
    """It does not matter which listeners are processed together, or in which order their entries are."""
    random = np.random.default_rng(2)
    sequences = _of_users(random.integers(1, 40, 12).tolist())
    sequences = replace(sequences, at_ms=random.integers(0, 500, len(sequences.track)))
    found = split(sequences, SplitRule(shares_of="listener", valid=0.2, test=0.3)).part
    for start, stop in pairwise(sequences.offsets.tolist()):
        at_ms = sequences.at_ms[start:stop]
        moments = [moment_after(at_ms, share) for share in (1 - 0.2 - 0.3, 1 - 0.3)]

        assert found[start:stop].tolist() == [sum(at >= moment for moment in moments) for at in at_ms.tolist()]


def test_a_share_of_the_listeners_is_tested_and_never_trained_on() -> None:
    """Their newest entries are the whole test part. The newest entries of the other listeners are unused."""
    sequences = _of_users([10] * 5)
    found = split(sequences, SplitRule(shares_of="listener", listeners=0.4)).part.reshape(5, 10)
    apart = kept_apart(sequences.users, 0.4)

    assert apart.sum() == 2
    for mine, tested in zip(found.tolist(), apart.tolist(), strict=True):
        assert mine == ([UNUSED] * 9 + [TEST] if tested else [TRAIN] * 8 + [VALID, UNUSED])


def test_listeners_who_stopped_early_are_tested_by_their_own_times() -> None:
    """u0 is kept apart and stopped before u1 began. The error says which setting tests u0's newest plays."""
    sequences = _of_users([10, 10])

    with pytest.raises(LogError, match='shares_of = "listener" tests the newest plays'):
        split(sequences, SplitRule(listeners=0.5))
    assert split(sequences, SplitRule(listeners=0.5, shares_of="listener")).part.tolist().index(TEST) == 9


def test_who_is_kept_apart_depends_on_the_id_alone() -> None:
    """In another order, the same listeners are kept apart."""
    users = [f"listener {number}" for number in range(20)]

    assert kept_apart(users, 0.25).tolist() == kept_apart(users[::-1], 0.25)[::-1].tolist()


@pytest.mark.parametrize("share", [0.05, 0.99])
def test_keeping_nobody_or_everybody_apart_is_refused(share: float) -> None:
    """One twentieth of two listeners is nobody."""
    with pytest.raises(LogError, match=r"keeps \d of 2 listeners apart"):
        split(_of_users([10, 10]), SplitRule(listeners=share))


def test_moments_and_shares_of_listeners_are_refused_together() -> None:
    """Otherwise one rule would silently win over the other."""
    with pytest.raises(ValueError, match="one or the other"):
        SplitRule(valid_from=datetime(2030, 1, 1, tzinfo=UTC), test_from=datetime(2030, 1, 2, tzinfo=UTC), shares_of="listener")


def test_a_small_or_unknown_test_part_is_doubtful() -> None:
    """It warns about one listener with half of the tested tracks unknown, and not about many listeners with known tracks."""
    few = split(_sequences([0, 0, 0, 1], [1, 2, 3, 4], [TRAIN, VALID, TEST, TEST]), SplitRule())
    many = split(_of_users([10] * 100), SplitRule(shares_of="listener"))

    few_listeners, unknown = doubts(few)
    [apart] = doubts(split(_of_users([10] * 100), SplitRule(shares_of="listener", listeners=0.2)))

    assert "1 of 1 listener;" in few_listeners
    assert "shares_of" in few_listeners
    assert "20 of 100 listeners;" in apart
    assert apart.endswith("A larger split.listeners tests more")
    assert "50% of the test part's entries" in unknown
    assert doubts(many) == []
