"""The peer's environment: RecTools wants another numpy than we do, so it lives apart, beside the same release of torch."""

import shutil
import subprocess
import sys
from pathlib import Path

import torch

from tests.load.systems import SystemSkippedError

NEEDS = ("rectools[torch]>=0.19,<0.20", f"torch=={torch.__version__.partition('+')[0]}")


def rectools_python(cache: Path) -> Path:
    """Its interpreter, made at the first use from the package index that pip is set up with; SystemSkippedError where that
    fails, with pip's reason.
    """
    folder = cache.resolve() / "peers" / "rectools"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, capture_output=True)
        subprocess.run([*pip, "install", "--quiet", *NEEDS], check=True, capture_output=True, timeout=1200)
    except (subprocess.SubprocessError, OSError) as error:
        output = getattr(error, "stderr", None) or b""
        errors = [line for line in output.decode(errors="replace").splitlines() if line.startswith("ERROR")]
        raise SystemSkippedError(f"RecTools does not install here: {errors[-1] if errors else error}") from error
    (folder / "complete").touch()
    return python
