"""The plan has every row that the documented aims need, and a run without rivals needs none of them."""

from tests.load.rows import CEILING, REDIS_PY, ROUTED, THREADS, TWO, Row, plan
from tests.load.systems import RIVALS

SIZES = (100_000, 10_000, 1_000_000, 10_000_000)


def _all() -> list[Row]:
    return plan(sizes=SIZES, rivals=tuple(RIVALS), users=1_000_000, long=True)


def test_names_of_rows_are_unique() -> None:
    """Names are unique: later runs and plots find a row by work and setting."""
    names = [(row.work, row.setting) for row in _all()]

    assert len(set(names)) == len(names)


def test_without_rivals_nobody_needs_an_environment_of_its_own() -> None:
    """The quick run needs nothing beyond the development environment."""
    rows = plan(sizes=SIZES, rivals=(), users=1)

    assert {name for row in rows for name in row.beside} == {CEILING, TWO, THREADS, ROUTED, REDIS_PY}


def test_tiers_are_named() -> None:
    """Rivals stand beside the bare call. Where two stand beside the whole job, the row says that they do less."""
    for row in _all():
        if set(row.beside) & set(RIVALS):
            assert row.work == "model" or "do less" in row.work


def test_large_catalogues_have_their_rates() -> None:
    """2,000 requests a second at a million tracks, 800 at ten million."""
    rates = {(row.tracks, row.rate) for row in _all() if row.work == "full"}

    assert {(1_000_000, 2000.0), (10_000_000, 800.0)} <= rates


def test_rows_with_listeners_of_their_own_share_none() -> None:
    """Rows that post events or have long lives use listeners of their own, so that sessions of the others stay short."""
    names = [row.listeners.name for row in _all() if row.listeners]

    assert len(names) == 8
    assert not any(one != other and one.startswith(other) for one in names for other in names)
