"""Reports of a comparison, for people and for programs."""

import io
import json
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from training.evaluation.evaluate import Measured
from training.reporting import plots
from training.reporting.examples import Example, Play
from training.reporting.page import page, write_page
from training.reporting.report import GROUPS, METRICS, Report, print_table, write_report_json


@dataclass
class Passed:
    """A finished epoch."""

    number: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds: float = 1.0


def _measured(name: str, hr: float, skipped: float) -> Measured:
    buckets = [{"from": 0, "cases": 30, "hr@20": hr, "ndcg@10": 0.1}, {"from": 5, "cases": 40, "hr@20": hr / 2, "ndcg@10": 0.2}]
    thirds = [{"tracks": 2, "cases": 3, "hr@20": hr / part, "ndcg@10": 0.1} for part in (1, 2, 3)]
    values = {"hr@20": hr, "ndcg@10": hr / 2, "skipped_hits@20": skipped, "refused@20": 0.5}
    counts = {"cases": 8, "refused": 2}
    return Measured(name=name, values=values, counts=counts, by_length=buckets, by_popularity=thirds)


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
    assert METRICS["skipped_hits@20"].meaning in text
    assert METRICS["hr@20_new"].label not in text  # no ranker has it
    assert METRICS["refused@20"].label not in text  # it is in a folded table


def test_narrow_terminal_cuts_no_figure() -> None:
    """Spreads make a table wide. A wrapped line can be read, a cut one cannot."""
    out = io.StringIO()
    report = replace(_report(), spreads={"popular": {"hr@20": 0.0123, "skipped_hits@20": 0.0456}})

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
    """More hits are better, and fewer refused tracks are better. A single ranker is not marked as best."""
    report = _report()

    assert report.best("hr@20") == 0.4
    assert report.best("skipped_hits@20") == 0.3
    assert Report(title="", rankers=report.rankers[:1]).best("hr@20") is None


def test_json_has_everything(tmp_path: Path) -> None:
    """A program can draw the same page from the JSON."""
    write_report_json(_report(), tmp_path / "report.json")

    found = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert found["schema_version"] == 2
    assert found["rankers"][1]["values"]["hr@20"] == 0.4
    assert found["rankers"][0]["by_length"][1]["cases"] == 40
    assert found["curves"]["popular"][1] == {"number": 2, "losses": {"main": 2.0}, "scores": {"ndcg@10": 0.2}, "seconds": 1.0}


def test_verdict_stands_first_in_the_terminal_on_the_page_and_in_the_json(tmp_path: Path) -> None:
    """A product manager reads two sentences. The report is about one of the rankers."""
    report = replace(_report(), model="<script>", title="Mine")
    sentence = (
        "<script> finds the next kept track among its first 20 proposals in 40 % of cases: 4.0 times as often as popularity."
    )
    out = io.StringIO()
    print_table(report, Console(file=out, width=200))
    text = page("", [report])
    write_report_json(report, tmp_path / "report.json")

    assert out.getvalue().startswith(sentence)
    assert text.index("<h1>Mine</h1>") < text.index(escape(sentence)) < text.index("<table>")
    assert json.loads((tmp_path / "report.json").read_text())["verdict"][0].startswith(sentence)
    assert '<tr class="model"><td>&lt;script&gt;</td>' in text


def test_model_that_is_worse_than_popularity_is_marked_on_the_page() -> None:
    """The mark is a sentence in the colour of a warning, below the verdict."""
    report = replace(_report(), rankers=[_measured("mine", 0.05, 0.1), _measured("popular", 0.1, 0.3)], model="mine")

    assert '<p class="warning">Mine is worse than popularity on its own test part' in page("", [report])
    assert 'class="warning"' not in page("", [replace(report, model="popular")])
    assert 'class="warning"' not in page("", [replace(report, model="")])


def test_page_shows_six_columns_first_and_folds_the_rest_away() -> None:
    """The first is the model's name. The other headings describe their metrics. The raw Refused@20 is in a folded table."""
    values = dict.fromkeys([key for keys in GROUPS.values() for key in keys], 0.5)
    text = page("", [replace(_report(), rankers=[replace(_measured("a", 0.1, 0.2), values=values)], curves={})])
    first, rest = text.split("</table>", 1)

    assert first.count("<th ") == 6
    assert first.count(" title=") == 5
    assert METRICS["skipped_hits@20"].meaning in first
    assert "HR@10" not in first  # a metric that the table does not have explains nothing
    assert METRICS["refused@20"].label not in first
    assert '<details><summary>What is refused</summary><div class="wide"><table>' in rest
    assert rest.count("<details>") == len(GROUPS)


def test_every_metric_is_in_one_of_the_folded_tables() -> None:
    """A new metric must not be forgotten, and no table may be too wide for the page."""
    assert sorted(key for keys in GROUPS.values() for key in keys) == sorted(METRICS)
    assert max(map(len, GROUPS.values())) <= 8


def test_real_cases_say_what_was_heard_proposed_and_done() -> None:
    """Tracks have title and artist, outcomes are words, and the track played next has its rank."""
    heard, proposed = [Play(title="One", artist="Ann", outcome="skipped")], [Play(title="Two & 3"), Play(title="Four")]
    hit = Example(heard=heard, proposed=proposed, then=Play(title="Four", outcome="liked"), rank=2)
    miss = Example(heard=heard, proposed=proposed, then=Play(title="Five", outcome="played"), rank=None)
    text = page("", [replace(_report(), examples=[hit, miss])])

    assert "In 1 of 2 the track that was played next is among the first 20 proposals." in text
    assert 'One <small>Ann</small> <b class="skipped">skipped</b>' in text
    assert '<ol><li>Two &amp; 3</li><li class="hit">Four</li></ol>' in text
    assert "<small>proposal 2</small>" in text
    assert "<small>not among the first 20 proposals</small>" in text
    assert "Real cases" not in page("", [_report()])


def test_lines_show_the_model_and_what_it_is_compared_with() -> None:
    """There are a dozen rankers. Shown are the model, popularity, session-kNN, the best possible, and the best of the
    others.
    """
    names = ("best possible", "mine", "popular", "popular, 2 days", "session-kNN", "markov")
    rankers = [_measured(name, 0.6 - 0.1 * place, 0.2) for place, name in enumerate(names)]
    text = page("", [Report(title="", rankers=rankers, model="mine")])
    plots_text = text[text.index("By length of history") : text.index("By popularity of the track")]

    assert all(f"<title>{name}</title>" in plots_text for name in names if name != "markov")
    assert "<title>markov</title>" not in plots_text
    assert "2 most played" in text


def test_json_refuses_what_is_no_number(tmp_path: Path) -> None:
    """NaN is not JSON, so other programs could not read it."""
    with pytest.raises(ValueError, match="JSON"):
        write_report_json(Report(title="", rankers=[_measured("", float("nan"), 0)]), tmp_path / "report.json")


def test_page_needs_nothing_else_and_escapes_names(tmp_path: Path) -> None:
    """It has no script and no address of another file. A name from a log cannot become markup."""
    write_page("A page", [_report()], tmp_path / "report.html")

    text = (tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in text
    assert "http" not in text
    assert "src=" not in text
    assert "&lt;script&gt;" in text
    assert "A &lt;b&gt; &amp; c" in text


def test_page_leaves_out_what_there_is_nothing_to_show_of() -> None:
    """A comparison of baselines has no training curves."""
    assert "Training, epoch by epoch" in page("", [_report()])
    assert "Training, epoch by epoch" not in page("", [Report(title="", rankers=_report().rankers)])


def test_page_has_a_section_a_report_and_explains_each_column_once() -> None:
    """A comparison of several logs is one page."""
    text = page("Both", [_report(), replace(_report(), title="Another")])

    assert text.count("<h1>") == 2
    assert "<h1>Another</h1>" in text
    assert text.count(f"<dd>{METRICS['hr@20'].meaning}</dd>") == 1


def test_means_are_shown_with_their_spread() -> None:
    """The spread is on the terminal and on the page. With one seed there is none."""
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
    """Twice the value gives twice the length."""
    root = ET.fromstring(plots.bars({"a": 0.2, "b": 0.4}, {"b": 0.1}))  # noqa: S314 (our own text)
    short, long = (float(bar.attrib["width"]) for bar in root.iter("rect"))
    (spread,) = root.iter("line")

    assert long == pytest.approx(2 * short)
    assert float(spread.attrib["x2"]) - float(spread.attrib["x1"]) == pytest.approx(short, abs=0.2)


def test_dots_stand_where_their_values_are() -> None:
    """Larger values are further right and higher up. All dots are inside, even if one value is shared."""
    text = plots.dots({"a": (0.1, 0.5), "b": (0.3, 0.5), "c": (0.2, 0.7)}, x_label="x", y_label="y")
    root = ET.fromstring(text.split("<ul")[0])  # noqa: S314 (our own text)
    a, b, c = ((float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter("circle"))

    assert 0 < a[0] < c[0] < b[0] < plots.WIDTH
    assert 0 < c[1] < a[1] == b[1] < plots.HEIGHT


def test_labels_at_the_edges_of_a_plot_are_not_cut() -> None:
    """The first label begins at its place, and the last one ends there."""
    text = plots.lines(
        {"a": [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]}, x_label="x", ticks=["a long first", "middle", "a long last"]
    )
    labels = ET.fromstring(text.split("<ul")[0]).iter("text")  # noqa: S314 (our own text)
    anchors = {label.text: label.attrib["text-anchor"] for label in labels}

    assert (anchors["a long first"], anchors["middle"], anchors["a long last"]) == ("start", "middle", "end")


def test_lengths_with_few_cases_are_not_drawn() -> None:
    """A handful of cases proves little but would look important."""
    few = replace(_measured("a", 0.1, 0.2), by_length=[{"from": 0, "cases": 3, "hr@20": 1.0, "ndcg@10": 1.0}])
    text = page("", [replace(_report(), rankers=[few, *_report().rankers])])

    assert "<title>a</title>" not in text[text.index("By length of history") : text.index("By popularity of the track")]


def test_axis_of_seconds_starts_at_zero_and_has_round_marks() -> None:
    """Epochs end at odd times, but the axis should not have a mark at 0.343614 s."""
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
    """It holds even if all values are equal."""
    ticks = plots.nice_ticks(low, high)

    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 8
