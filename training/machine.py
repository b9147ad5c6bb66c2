"""Name the machine that a figure was measured on."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """Return one line with the processor, torch's threads of the machine's cores, and torch's version."""
    import torch  # noqa: PLC0415  # `processor` alone does not need torch

    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    return f"{processor()}, {threads}, torch {torch.__version__}"


def processor(about: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name and family. Virtual machines of one name can have fast or slow processors."""
    lines = about.read_text("utf-8").splitlines() if about.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    family = f" (family {fields['cpu family']}, model {fields.get('model', '?')})" if "cpu family" in fields else ""
    return f"{fields['model name']}{family}"
