"""The commands `artifacts` and `rollback`, on artifacts that load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model.artifact import MANIFEST, WEIGHTS
from model.artifact_files import digest
from model.versions import CURRENT, switch
from tests.service import artifacts
from training.__main__ import main


def made(root: Path, day: int, *, error: float = 0.0) -> Path:
    """Save a version that was made on this day of November, with a measured quality. `error` is added to its golden scores."""
    folder = artifacts.build(root, version=f"tiny-2026110{day}", golden_error=error)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest |= {"created_at": f"2026-11-0{day}T12:30:00Z", "quality": {"values": {"hr@20": day / 10, "ndcg@10": 0.5}}}
    (folder / MANIFEST).write_text(json.dumps(manifest | {"sha256": digest(manifest)}))
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """Run a command and return its output."""
    capsys.readouterr()
    assert main(words) == code
    return capsys.readouterr().err


def in_use(root: Path) -> str:
    """Return the name of the current version."""
    return (root / CURRENT).resolve().name


def test_versions_are_listed_with_date_quality_size_and_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest comes first. A damaged version is listed too, with its fault. An unfinished draft is not listed."""
    for day in (1, 3, 2):
        made(tmp_path, day)
    (tmp_path / "challenger").symlink_to("tiny-20261103")
    (tmp_path / "broken").mkdir()
    (tmp_path / ".draft-x").mkdir()
    text = said(capsys, "artifacts", "--out", str(tmp_path))
    size = sum(path.stat().st_size for path in (tmp_path / "tiny-20261103").iterdir() if path.name != MANIFEST)
    lines = [line.split() for line in text.splitlines() if "tiny-2026" in line]

    assert [line[0] for line in lines] == ["tiny-20261103", "tiny-20261102", "tiny-20261101"]
    assert lines[0][1:] == ["2026-11-03", "12:30", "0.3000", "0.5000", "40", f"{size / 1000:.3g}", "kB", "challenger"]
    assert lines[1][-1] == "current"
    assert f"no artifact at {tmp_path / 'broken'}" in text
    assert ".draft" not in text


def test_rollback_goes_to_the_version_before_and_on_to_the_one_before_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Versions are ordered by date, whichever were current in between. Before the oldest one there is none."""
    for day in (1, 2, 3):
        made(tmp_path, day)
    for wanted in ("tiny-20261102", "tiny-20261101"):
        text = said(capsys, "rollback", "--out", str(tmp_path))
        assert text.endswith(f"now points to {wanted}\n")
        assert in_use(tmp_path) == wanted

    assert "is the oldest version" in said(capsys, "rollback", "--out", str(tmp_path), code=1)
    assert "now points to tiny-20261103" in said(capsys, "rollback", "tiny-20261103", "--out", str(tmp_path))
    assert in_use(tmp_path) == "tiny-20261103"


@pytest.mark.parametrize("fault", ["answers", "weights"])
def test_rollback_to_a_version_that_does_not_work_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """The version is opened as the service would open it. `current` stays as it was."""
    old = made(tmp_path, 1, error=0.1 if fault == "answers" else 0.0)
    made(tmp_path, 2)
    if fault == "weights":
        (old / WEIGHTS).write_bytes(b"\xff" * (old / WEIGHTS).stat().st_size)

    assert "error: " in said(capsys, "rollback", "--out", str(tmp_path), code=1)
    assert in_use(tmp_path) == "tiny-20261102"


def test_version_that_is_not_there_is_said_with_those_that_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The name may be mistyped, no version may exist, or the link may lead elsewhere."""
    assert "found no artifacts in" in said(capsys, "artifacts", "--out", str(tmp_path / "nowhere"), code=1)
    made(tmp_path / "here", 1)
    text = said(capsys, "rollback", "tiny-3", "--out", str(tmp_path / "here"), code=1)
    assert "found no version tiny-3" in text
    assert "the versions are tiny-20261101" in text
    switch(tmp_path / "here", "../elsewhere")
    assert "names no version" in said(capsys, "rollback", "--out", str(tmp_path / "here"), code=1)


def test_listing_and_rollback_load_no_torch(tmp_path: Path) -> None:
    """They are needed on the machine that serves, where torch may not be installed, and they must be quick."""
    made(tmp_path, 1)
    made(tmp_path, 2)
    program = (
        "import sys\n"
        "from training.__main__ import main\n"
        f"codes = [main([command, '--out', {str(tmp_path)!r}]) for command in ('artifacts', 'rollback')]\n"
        "sys.exit(any(codes) or bool({'torch', 'polars'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert in_use(tmp_path) == "tiny-20261101"
