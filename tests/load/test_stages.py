"""The measurement of a run's stages names each of them, and counts nothing twice."""

import json
from pathlib import Path

import pytest

from tests.load.stages import measure
from training.simulator.simulate import simulate

RECIPE = """
name = "small"
[history]
length = 10
[network]
width = 16
layers = 1
heads = 2
feed_forward = 32
[fit]
epochs = 2
refit = true
start = "cooccurrence"
[calibration]
theta = [0.2]
[session_memory]
weights = [1.0]
"""


def test_every_stage_is_named_with_its_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There are two validations and a training for the refit. No stage costs more than the whole, and memory never shrinks."""
    simulate(tmp_path / "log", listeners=50, tracks=60, artists=24, sessions=3)
    (tmp_path / "small.toml").write_text(RECIPE)

    assert measure(tmp_path / "log", str(tmp_path / "small.toml"), 1) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [line["stage"] for line in lines]
    assert names[0] == "read the log"
    assert names.count("of it a validation") == names.count("training, validation included") == 2
    assert {"calibration", "copy head", "session memory", "evaluation of small", "evaluation of own back-off"} <= {*names}
    assert names[-2:] == ["export", "the whole run"]
    assert all(line["cpu_s"] <= lines[-1]["cpu_s"] for line in lines)
    assert [line["peak_mb"] for line in lines] == sorted(line["peak_mb"] for line in lines)
