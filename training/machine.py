"""What a figure was measured on, in one line."""

import os
import platform
from pathlib import Path


def machine() -> str:
    """The processor, how many threads of how many cores, torch's version."""
    import torch  # noqa: PLC0415  # who asks for the processor alone need not load it

    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    return f"{processor()}, {threads}, torch {torch.__version__}"


def processor(about: Path = Path("/proc/cpuinfo")) -> str:
    """Its name and family: virtual machines of one name can be quick and slow ones."""
    lines = about.read_text("utf-8").splitlines() if about.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    family = f" (family {fields['cpu family']}, model {fields.get('model', '?')})" if "cpu family" in fields else ""
    return f"{fields['model name']}{family}"
