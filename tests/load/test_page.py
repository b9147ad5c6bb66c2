"""Plots and sums are made from the JSON lines only, whatever run wrote them."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.load.capacity import Audience, Carried, NotMeasuredError, carried, need, table
from tests.load.page import latest, write_page


def line(work: str, setting: str, *, at: str = "2026-01-01", **ours: float) -> dict[str, Any]:
    """Make a line like those of `report.keep`, with the fields that are read here."""
    rate = float(setting.rpartition("loop ")[2].split()[0]) if "open" in setting else None
    return {
        "work": work,
        "setting": setting,
        "tracks": int(setting.split(maxsplit=1)[0]),
        "connections": None if rate else int(setting.rpartition(", ")[2].split()[0]),
        "rate": rate,
        "ours": {figure: {"median": value, "least": value, "most": value} for figure, value in ours.items()},
        "rival": None,
        "at": at,
    }


def _write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Write results: two rates that were carried, one that was not, two sizes, and the rows that capacity needs."""
    return _write(
        tmp_path / "results.jsonl",
        [
            line("full", "100000 tracks, open loop 500 req/s", req_s=500.0, p50=99.0, p90=99.0, p99=99.0),
            line("full", "100000 tracks, open loop 500 req/s", req_s=499.0, p50=1.0, p90=2.0, p99=3.0),
            line("full", "100000 tracks, open loop 1000 req/s", req_s=1001.0, p50=1.0, p90=2.0, p99=3.0),
            line("full", "100000 tracks, open loop 2000 req/s", req_s=1500.0, p50=900.0, p90=950.0, p99=990.0),
            line("full", "10000 tracks, closed loop, 16 connections", cpu_s_per_1000=0.2, rss_mb=100.0),
            line("full", "100000 tracks, closed loop, 16 connections", cpu_s_per_1000=0.4, rss_mb=150.0),
            line("full", "100000 tracks, closed loop, 64 connections", req_s=2000.0),
            line("event", "100000 tracks, closed loop, 64 connections", req_s=4000.0),
            line("full, 1000 listeners", "100000 tracks, closed loop, 16 connections", bytes_a_listener=2000.0),
        ],
    )


def test_the_last_of_a_row_counts(results: Path) -> None:
    """A later run of a row replaces an earlier one."""
    [again] = [row for row in latest(results) if row["rate"] == 500.0]

    assert again["ours"]["p50"]["median"] == 1.0


def test_page_draws_what_was_carried_and_names_the_rest(results: Path) -> None:
    """Three lines have two points each. 2,000 a second is named and not drawn."""
    write_page(results)
    page = results.with_suffix(".html").read_text("utf-8")
    latency = ElementTree.parse(results.parent / "latency.svg").getroot()  # noqa: S314  # written above
    points = [shape.get("points", "").split() for shape in latency.iter("{http://www.w3.org/2000/svg}polyline")]

    assert [len(line) for line in points] == [2, 2, 2]
    assert "Not carried: 2000 a second" in page
    assert "10,000" in (results.parent / "memory.svg").read_text("utf-8")


def test_nothing_measured_is_an_empty_page(tmp_path: Path) -> None:
    """A run of a single row that no plot shows is no error."""
    write_page(tmp_path / "results.jsonl")

    assert "svg" not in (tmp_path / "results.html").read_text("utf-8").partition("</style>")[2]


def test_need_by_hand() -> None:
    """864,000 listeners with 10 plays make 100 requests a second on average, 300 at the peak, and 600 events."""
    audience = Audience(daily=864_000, plays=10, peak=3, busy=0.5, remembered=2)
    found = need(audience, Carried(asks_s=1000, events_s=2000, bytes_each=1000))

    assert (found.asks_s, found.events_s) == pytest.approx((300, 600))
    assert found.share == pytest.approx(0.6)
    assert found.machines == 2
    assert found.redis_gb == pytest.approx(1.728)


def test_capacity_reads_the_results(results: Path) -> None:
    """The command prints them as a table."""
    measured = carried(latest(results))

    assert measured == Carried(asks_s=2000.0, events_s=4000.0, bytes_each=2000.0)
    assert "| next | 2,000 a second, alone | 1,389 a second |" in table(measured, Audience())


def test_capacity_says_what_is_missing(tmp_path: Path) -> None:
    """A missing row is an error, not a table of zeros."""
    path = _write(tmp_path / "results.jsonl", [line("event", "100000 tracks, closed loop, 64 connections", req_s=1.0)])

    with pytest.raises(NotMeasuredError, match="'full'"):
        carried(latest(path))
