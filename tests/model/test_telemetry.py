import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("modules", ["service.command", "training.__main__, training.exporting.export"])
def test_importing_onnx_runtime_prepares_no_telemetry(modules: str, tmp_path: Path) -> None:
    """With telemetry on, ONNX Runtime keeps an id of the machine and unsent messages in the home folder."""
    bare = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    program = f"import sys, {modules}; sys.exit('onnxruntime' not in sys.modules)"
    subprocess.run([sys.executable, "-c", program], env={**bare, "HOME": str(tmp_path)}, check=True)

    assert not list(tmp_path.rglob("*"))
