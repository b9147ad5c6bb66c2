"""Records what a run's artifact was made from, so that `run` on an unchanged log has nothing to do.

`published.json` in the run's folder has the artifact's name. It also has what the artifact depends on beside the run's recipe
and events: the log's catalogue, the number of test cases, and the code.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import model
import training
from model.versions import in_use
from training.data.log import CATALOGUE, Log
from training.run_folder import PUBLISHED, write_json

_CODE = (Path(model.__path__[0]), Path(training.__path__[0]))


def made_from(log: Log, cases: int | None, code: Sequence[Path] = _CODE) -> Mapping[str, Any]:
    """Return what an artifact depends on beside its run, as plain JSON. `code` are folders of source files."""
    catalogue = log.folder / CATALOGUE
    named = hashlib.sha256(catalogue.read_bytes()).hexdigest() if catalogue.exists() else None
    return {"catalogue": named, "cases": cases, "code": _digest(code)}


def record(folder: Path, artifact: str, made: Mapping[str, Any]) -> None:
    """Write down that the run in `folder` published an artifact."""
    write_json(folder / PUBLISHED, {"artifact": artifact, **made})


def still_current(folder: Path, made: Mapping[str, Any], root: Path) -> str | None:
    """Return the name of the artifact that `root/current` names, if the run in `folder` published it, from what `made` says.
    Otherwise return None.
    """
    name, path = in_use(root), folder / PUBLISHED
    try:
        same = json.loads(path.read_text("utf-8")) == {"artifact": name, **made}
    except (OSError, ValueError):  # not published yet, or damaged: publishing again is always right
        return None
    return name if same else None


def _digest(folders: Sequence[Path]) -> str:
    """Return the SHA-256 of the source files below some folders, recipes included."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".toml", ".css")):
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
