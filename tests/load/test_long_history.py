"""The measure of a long history's cost prints and draws a line for each length."""

from xml.etree import ElementTree

import pytest

from tests.load.long_history import Cost, main, plot


def test_each_length_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """All four figures of a listener without a past and of one with 300 plays."""
    found = main([0, 300], catalogue=500, requests=1)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["0", "300"]
    assert all(min(cost) > 0 for cost in found.values())


def test_the_plot_has_a_named_line_for_each_column() -> None:
    """Four lines with a point for each length. Their names stand in the file itself."""
    drawn = ElementTree.fromstring(plot({0: Cost(1, 2, 3, 4), 256: Cost(2, 3, 4, 5), 1_000: Cost(3, 4, 5, 6)}))  # noqa: S314  # drawn above
    tag = "{http://www.w3.org/2000/svg}"
    points = [shape.get("points", "").split() for shape in drawn.iter(f"{tag}polyline")]
    words = [text.text for text in drawn.iter(f"{tag}text")]

    assert [len(line) for line in points] == [3, 3, 3, 3]
    assert words[-4:] == ["window alone", "with the past", "encoding", "Valkey's part"]
