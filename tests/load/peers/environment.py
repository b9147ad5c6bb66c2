"""RecTools' environment. RecTools needs another numpy than we do, so it has its own environment with the same torch."""

import shutil
import subprocess
import sys
from pathlib import Path

import torch

from tests.load.systems import SystemSkippedError

NEEDS = ("rectools[torch]>=0.19,<0.20", f"torch=={torch.__version__.partition('+')[0]}")


def rectools_python(cache: Path) -> Path:
    """Return the environment's interpreter. It is made at the first use from pip's package index.

    SystemSkippedError with pip's reason if that fails.
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
