"""Shows results on the terminal, and saves them as JSON lines for later comparison."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.load.latencies import Spread
from tests.load.measure import Measured
from tests.load.rows import OURS, Row
from tests.load.systems import System
from training.machine import processor


def show(row: Row, measured: Measured, systems: Mapping[str, System | str]) -> None:
    """Print a row: a line for each system with medians and ranges, and the ratio of our requests a second to theirs."""
    _say(f"\n{row.work}: {row.setting}")
    for name in (OURS, *row.beside):
        if name not in measured:
            _say(f"  {name:<14} skipped: {systems[name]}")
            continue
        figures = measured[name]
        shown = "  ".join(f"{figure} {_ranged(found)}" for figure, found in figures.items())
        ratio = None if name == OURS else _ratio(measured, name)
        times = "" if ratio is None else f"  (we: {ratio:.2f} times)"
        _say(f"  {name:<14} {shown}{times}")
    if row.each > 1:
        _say(f"  {'':<14} {measured[OURS]['req_s'].median * row.each:,.0f} events a second")


def keep(path: Path, row: Row, measured: Measured) -> None:
    """Append the row to a file: a line for each system beside ours, or one line if there is none."""
    beside: list[str | None] = [name for name in row.beside if name in measured]
    with path.open("a", encoding="utf-8") as file:
        for name in beside or [None]:
            line: dict[str, Any] = {
                "work": row.work,
                "setting": row.setting,
                "tracks": row.tracks,
                "connections": None if row.rate else row.connections,
                "rate": row.rate,
                "ours": {figure: asdict(found) for figure, found in measured[OURS].items()},
                "rival": name,
                "rivals": {figure: found.median for figure, found in measured[name].items()} if name else None,
                "ratio": _ratio(measured, name) if name else None,
                "command": " ".join(["python -m tests.load", *sys.argv[1:]]),
                "machine": _machine(),
                "commit": _commit(),
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            file.write(json.dumps(line) + "\n")


def _ratio(measured: Measured, name: str) -> float | None:
    """Return our requests a second over theirs; None if one of both answered none."""
    ours, theirs = (measured[system]["req_s"].median for system in (OURS, name))
    return ours / theirs if theirs else None


def _ranged(found: Spread) -> str:
    if found.least == found.most:
        return f"{found.median:.4g}"
    return f"{found.median:.4g} [{found.least:.4g} to {found.most:.4g}]"


def _machine() -> str:
    return f"{os.cpu_count() or '?'} x {processor()}, Python {platform.python_version()}"


def _commit() -> str:
    asked = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a terminal program prints
