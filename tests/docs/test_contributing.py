"""The examples of CONTRIBUTING.md work: a source imports, a loss and a metric compute, a route answers."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import model.nets.losses
from service.http.routes import ROUTERS
from tests.docs.pages import page
from tests.service import artifacts
from tests.service.applications import running
from training.data.import_log import import_log
from training.data.log import CATALOGUE
from training.fitting.objective import Term
from training.sources import SOURCES


def example(title: str) -> dict[str, Any]:
    """Execute the Python blocks under a heading in order, and return the names that they define."""
    found = page("CONTRIBUTING.md")
    lines = found.text.splitlines()
    start = lines.index(f"## {title}") + 1
    end = next(place for place, line in enumerate([*lines[start:], "## "], start) if line.startswith("## "))
    names: dict[str, Any] = {"__name__": "example"}
    for block in found.blocks:
        if block.language == "python" and start < block.line <= end + 1:
            exec(compile(block.text, f"CONTRIBUTING.md:{block.line}", "exec"), names)  # noqa: S102  # our own page
    return names


def test_example_of_a_source_imports_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sound lines and their catalogue are imported. The line without a time is counted as broken."""
    names = example("Add a log source")
    module = ModuleType("training.sources.lfm1b")
    module.__dict__.update(names)
    monkeypatch.setitem(sys.modules, "training.sources.lfm1b", module)
    monkeypatch.setitem(SOURCES, "lfm1b", names["SOURCES"]["lfm1b"])
    path = tmp_path / "LFM-1b_LEs.txt"
    path.write_text("1\t7\t8\t9\t1767254400\n1\t7\t8\t10\t1767254640\n1\t7\t8\t11\t\n", "utf-8")
    log = import_log("lfm1b", [str(path)], tmp_path / "log", max_broken=0.5)

    assert (log.about["events"], log.about["types"]["complete"], log.about["rows"]["read"]) == (2, 2, 3)
    assert (log.folder / CATALOGUE).exists()


def test_example_of_a_loss_is_computed_over_the_asked_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is (3² + 4²) and (1² + 0²), halved; without states it is 0. The term counts its states."""
    loss = example_of_loss(monkeypatch)
    states_BTD = torch.tensor([[[3.0, 4.0], [9.0, 9.0], [1.0, 0.0]]])
    term: Term = loss["_norm"](states_BTD, torch.tensor([[True, False, True]]))

    assert (term.mean.item(), term.counted) == (13.0, 2)
    assert loss["state_norm"](torch.zeros(0, 2)).item() == 0


def example_of_loss(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the example's names. Its first block is added to `model.nets.losses`, as the page says."""
    [first, *_] = [block for block in page("CONTRIBUTING.md").blocks if "def state_norm" in block.text]
    names: dict[str, Any] = {}
    exec(first.text, names)  # noqa: S102  # our own page
    monkeypatch.setattr(model.nets.losses, "state_norm", names["state_norm"], raising=False)
    return example("Add a loss")


def test_example_of_a_metric_is_what_its_docstring_says() -> None:
    """The ranks are 1 and 3 of 4 tracks, and a miss. The mean over no targets is NaN."""
    metric = example("Add a metric")["mean_percentile"]

    assert metric(np.array([1, 3, np.iinfo(np.int64).max]), 4) == pytest.approx((0.25 + 0.75 + 1) / 3)
    assert np.isnan(metric(np.array([], np.int64), 4))


def test_example_of_a_route_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers in a running application, and is in its OpenAPI document."""
    monkeypatch.setattr("service.app.ROUTERS", (*ROUTERS, example("Add a route")["router"]))
    with running(artifacts.load(tmp_path)) as client:
        replies = [client.get(f"/v1/tracks/{track}").json()["known"] for track in ("t1", "unheard")]
        paths = client.get("/openapi.json").json()["paths"]

    assert replies == [True, False]
    assert "/v1/tracks/{track_id}" in paths
