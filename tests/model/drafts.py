"""A small folder that could become an artifact, and its manifest. Its graphs are a few bytes of text, which no test here
opens.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from model import artifact, versions
from model.artifact import Artifact, Manifest, WeightRecord
from model.events import HistoryRule, SkipRule

TRACKS = ("a", "b", "ç")
ITEMS = np.arange(10, dtype=np.float32).reshape(5, 2)
FILES = (
    "manifest.json",
    "model.onnx",
    "rank.onnx",
    "weights.bin",
    "tracks.json",
    "popular.json",
    "golden.json",
    "catalogue.json",
)


def draft_of(root: Path, *, items: Any = ITEMS, tracks: Any = TRACKS, popular: Any = (3, 2, 4), titles: Any = TRACKS) -> Path:
    """Make a finished folder that is not an artifact yet."""
    draft = root / "draft"
    draft.mkdir(parents=True)
    (draft / artifact.MODEL).write_bytes(b"the model's graph")
    (draft / artifact.RANK).write_bytes(b"the ranker's graph")
    (draft / artifact.WEIGHTS).write_bytes(items.tobytes())
    versions.write_json(draft / artifact.TRACKS, tracks)
    versions.write_json(draft / artifact.POPULAR, popular)
    versions.write_json(
        draft / artifact.GOLDEN, [{"rows": [2], "outcomes": [1], "excluded": [2], "best": [3], "scores": [0.5]}]
    )
    durations_ms = [1, None, 3][: len(titles)]
    versions.write_json(draft / artifact.CATALOGUE, {"titles": titles, "artists": titles, "durations_ms": durations_ms})
    return draft


def manifest_of(version: str = "v1", **changes: Any) -> Manifest:
    """Make a manifest for `draft_of`."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "version": version,
        "created_at": datetime(2026, 11, 22, tzinfo=UTC),
        "tracks": len(TRACKS),
        "history": HistoryRule(length=7, scope="session", gap_ms=5, skip=SkipRule(limit_ms=9, end_share=0.3)),
        "recipe": {"name": "tiny", "fit": {"learning_rate": 1e-3, "stop": None}},
        "origin": {"source": "made by hand"},
        "quality": {"hr@20": 0.1},
        "weights": {"items": WeightRecord(dtype="float32", shape=(5, 2), offset=0)},
        "files": {},
    }
    return Manifest(**(fields | changes))


def save(
    root: Path,
    version: str = "v1",
    *,
    manifest: Manifest | None = None,
    check: Callable[[Artifact], object] = lambda _: None,
    **changes: Any,
) -> Path:
    """Save an artifact under `root`."""
    return versions.save(root, draft_of(root, **changes), manifest or manifest_of(version), check=check)
