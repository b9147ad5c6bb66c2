"""What a figure was measured on, in one line."""

import os
import platform
from pathlib import Path

import torch


def machine() -> str:
    """The processor, how many threads of how many cores, torch's version."""
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    return f"{_processor()}, {threads}, torch {torch.__version__}"


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text("utf-8").splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
