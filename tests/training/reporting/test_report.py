"""Reports of a comparison for people and programs."""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from training.evaluation.evaluate import Measured
from training.reporting import plots
from training.reporting.page import page, write_page
from training.reporting.report import METRICS, Report, print_table, write_report_json


@dataclass
class Passed:
    """An epoch."""

    number: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds: float = 1.0


def _measured(name: str, hr: float, refused: float) -> Measured:
    buckets = [{"from": 0, "cases": 3, "hr@20": hr, "ndcg@10": 0.1}, {"from": 5, "cases": 4, "hr@20": hr / 2, "ndcg@10": 0.2}]
    return Measured(name=name, values={"hr@20": hr, "refused@20": refused}, counts={"cases": 7}, by_length=buckets)


def _report() -> Report:
    return Report(
        title="A <b> & c",
        rankers=[_measured("popular", 0.1, 0.3), _measured("<script>", 0.4, 0.5)],
        facts={"data": "a & b"},
        curves={"popular": [Passed(1, {"main": 3.0}, {"ndcg@10": 0.1}), Passed(2, {"main": 2.0}, {"ndcg@10": 0.2})]},
    )


def test_table_shows_each_ranker_and_explains_its_columns() -> None:
    """The meaning of HR@20 and Refused@20 stands below the figures."""
    out = io.StringIO()

    print_table(_report(), Console(file=out, width=120))

    text = out.getvalue()
    assert "popular" in text
    assert "0.4000" in text
    assert METRICS["refused@20"].meaning in text
    assert METRICS["auc"].label not in text  # nobody has it


def test_narrow_terminal_cuts_no_figure() -> None:
    """Spreads make a table wide. A wrapped line can be read, a cut one cannot."""
    out = io.StringIO()
    report = replace(_report(), spreads={"popular": {"hr@20": 0.0123, "refused@20": 0.0456}})

    print_table(report, Console(file=out, width=30))

    assert "0.1000 ±0.0123" in out.getvalue()
    assert "0.3000 ±0.0456" in out.getvalue()
    assert "…" not in out.getvalue()


def test_a_title_is_printed_as_it_is() -> None:
    """The title contains a folder's name, which may look like markup for bold letters."""
    out = io.StringIO()

    print_table(replace(_report(), title="on [b] and [/b]"), Console(file=out, width=120))

    assert "on [b] and [/b]" in out.getvalue()


def test_best_goes_the_way_of_the_metric() -> None:
    """More hits are better, and fewer refused tracks are. A single ranker is not marked as best."""
    report = _report()

    assert report.best("hr@20") == 0.4
    assert report.best("refused@20") == 0.3
    assert Report(title="", rankers=report.rankers[:1]).best("hr@20") is None


def test_json_has_everything(tmp_path: Path) -> None:
    """A program can draw the same page from the JSON."""
    write_report_json(_report(), tmp_path / "report.json")

    found = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert found["schema_version"] == 1
    assert found["rankers"][1]["values"]["hr@20"] == 0.4
    assert found["rankers"][0]["by_length"][1]["cases"] == 4
    assert found["curves"]["popular"][1] == {"number": 2, "losses": {"main": 2.0}, "scores": {"ndcg@10": 0.2}, "seconds": 1.0}


def test_json_refuses_what_is_no_number(tmp_path: Path) -> None:
    """NaN is not JSON, so other programs could not read it."""
    with pytest.raises(ValueError, match="JSON"):
        write_report_json(Report(title="", rankers=[_measured("", float("nan"), 0)]), tmp_path / "report.json")


def test_page_needs_nothing_else_and_escapes_names(tmp_path: Path) -> None:
    """No script and no address of another file. A name from a log cannot become markup."""
    write_page("A page", [_report()], tmp_path / "report.html")

    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in text
    assert "http" not in text
    assert "src=" not in text
    assert "&lt;script&gt;" in text
    assert "A &lt;b&gt; &amp; c" in text


def test_page_leaves_out_what_there_is_nothing_to_show_of() -> None:
    """A comparison of baselines has no training curves."""
    assert "Training" in page("", [_report()])
    assert "Training" not in page("", [Report(title="", rankers=_report().rankers)])


def test_page_has_a_section_a_report_and_explains_each_column_once() -> None:
    """A comparison of several logs is one page."""
    text = page("Both", [_report(), replace(_report(), title="Another")])

    assert text.count("<h1>") == 2
    assert "<h1>Another</h1>" in text
    assert text.count(f"<dd>{METRICS['hr@20'].meaning}</dd>") == 1


def test_means_are_shown_with_their_spread() -> None:
    """On the terminal and on the page. With one seed the value stands alone."""
    report = replace(_report(), spreads={"popular": {"hr@20": 0.0123}})
    out = io.StringIO()
    print_table(report, Console(file=out, width=120))

    assert "0.1000 ±0.0123" in out.getvalue()
    assert "0.1000 ±0.0123" in page("", [report])
    assert "0.4000 ±" not in page("", [report])


def test_line_stands_where_its_values_are() -> None:
    """A higher value is higher on the page (a smaller y), a later one further right, and both are inside."""
    text = plots.lines({"a": [(1.0, 0.2), (2.0, 0.8)]}, x_label="epoch")
    line = ET.fromstring(text.split("<ul")[0]).find(".//polyline")  # noqa: S314 (our own text)

    assert line is not None
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in line.attrib["points"].split())
    assert 0 < x1 < x2 < plots.WIDTH
    assert 0 < y2 < y1 < plots.HEIGHT


def test_bars_are_as_long_as_their_values() -> None:
    """Twice the value, twice the length."""
    root = ET.fromstring(plots.bars({"a": 0.2, "b": 0.4}, {"b": 0.1}))  # noqa: S314 (our own text)
    short, long = (float(bar.attrib["width"]) for bar in root.iter("rect"))
    (spread,) = root.iter("line")

    assert long == pytest.approx(2 * short)
    assert float(spread.attrib["x2"]) - float(spread.attrib["x1"]) == pytest.approx(short, abs=0.2)


def test_dots_stand_where_their_values_are() -> None:
    """Larger values are further right and higher up, and all dots are inside, also if one value is shared."""
    text = plots.dots({"a": (0.1, 0.5), "b": (0.3, 0.5), "c": (0.2, 0.7)}, x_label="x", y_label="y")
    root = ET.fromstring(text.split("<ul")[0])  # noqa: S314 (our own text)
    a, b, c = ((float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter("circle"))

    assert 0 < a[0] < c[0] < b[0] < plots.WIDTH
    assert 0 < c[1] < a[1] == b[1] < plots.HEIGHT


def test_axis_of_seconds_starts_at_zero_and_has_round_marks() -> None:
    """Epochs end at odd moments, but marks should not read 0.343614 s."""
    text = plots.lines({"a": [(0.343614, 0.2), (1.9, 0.8)]}, x_label="seconds")

    assert ">0<" in text
    assert ">2<" in text
    assert "0.343614" not in text


def test_series_without_points_keeps_its_colour() -> None:
    """A recipe has the same colour in every plot of a page."""
    text = plots.lines({"a": [], "b": [(0.0, 1.0), (1.0, 2.0)]}, x_label="x")

    assert '<li class="c1 s0">b</li>' in text
    assert ">a<" not in text


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.37), (5.2, 5.9), (0.0, 0.0), (3.0, 3.0), (-0.2, 0.1), (0.0, 12_345.0)])
def test_ticks_are_round_and_hold_the_values(low: float, high: float) -> None:
    """Also if all values are equal."""
    ticks = plots.nice_ticks(low, high)

    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 8
