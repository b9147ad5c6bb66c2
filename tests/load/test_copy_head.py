"""The measure of a copy head's throughput asks both services, and says what each request cost."""

from pathlib import Path

import pytest

from tests.load import artifacts
from tests.load.copy_head import measure
from tests.load.traffic import World


def test_both_services_are_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Listeners with 400 plays. A failed request would stop the measurement."""
    folders = {
        "without": artifacts.of_size(tmp_path, 500),
        "with": artifacts.of_size(tmp_path, 500, long_history=300),
    }
    measure(folders, [World(tracks=500, users=5, name="life", plays=400)], [2], rounds=1, seconds=0.2)
    *lines, ratio = capsys.readouterr().out.splitlines()

    for line, name in zip(lines, folders, strict=True):
        assert line.startswith(f"400 plays, 2 connections, {name} a copy head: ")
        assert float(line.split(": ")[1].split()[0]) > 0
    assert ratio.startswith("400 plays, 2 connections: with a copy head ")
