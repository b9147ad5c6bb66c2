"""The description of a machine tells different machines apart."""

import platform
from pathlib import Path

from training.machine import machine, processor

CPUINFO = """\
processor\t: 0
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC

processor\t: 1
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
"""


def test_processors_of_one_name_are_told_apart_by_their_family(tmp_path: Path) -> None:
    """Virtual machines of one name can run on different processors."""
    about = tmp_path / "cpuinfo"
    about.write_text(CPUINFO)

    assert processor(about) == "AMD EPYC (family 26, model 2)"


def test_processor_without_a_name_is_what_the_platform_says(tmp_path: Path) -> None:
    """On ARM /proc/cpuinfo has no name, and elsewhere there is no such file."""
    about = tmp_path / "cpuinfo"
    about.write_text("processor\t: 0\nCPU implementer\t: 0x41\n")

    assert processor(about) == processor(tmp_path / "none") == (platform.processor() or platform.machine())


def test_machine_says_how_many_cores_were_used() -> None:
    """It also names the release of torch."""
    assert " cores, torch " in machine()
    assert machine().startswith(processor())
