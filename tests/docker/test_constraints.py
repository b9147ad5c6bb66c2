"""constraints.txt: every package of an installation is pinned, to the release that these tests run with."""

import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PINS = {
    canonicalize_name(pin.name): pin.specifier
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
    for pin in [Requirement(line)]
}
EXTRAS = ("service", "training", "dev")


def needed(extra: str) -> set[NormalizedName]:
    """Return all packages of `pip install '.[extra]'` on this machine, with build packages and indirect dependencies."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = described["project"]
    wanted = [*described["build-system"]["requires"], *project["dependencies"], *project["optional-dependencies"][extra]]
    todo = [one for one in map(Requirement, wanted) if one.marker is None or one.marker.evaluate()]
    found: dict[tuple[NormalizedName, frozenset[str]], None] = {}
    while todo:
        one = todo.pop()
        key = canonicalize_name(one.name), frozenset(one.extras)
        if key in found:
            continue
        found[key] = None
        for text in distribution(one.name).requires or ():
            more = Requirement(text)
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                todo.append(more)
    return {name for name, _ in found}


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_package_that_is_installed_is_pinned(extra: str) -> None:
    """It includes indirect dependencies. An unpinned one would change in an image that nobody touched."""
    names = needed(extra)

    assert len(names) > 10
    assert names - PINS.keys() == set()


def test_each_pin_is_one_release_and_the_one_that_the_tests_run_with() -> None:
    """A pin has `==` and one release. A local build, such as torch's for CPUs, counts as the same release."""
    names = set[NormalizedName]().union(*map(needed, EXTRAS))
    installed = {name: Version(distribution(name).version).public for name in names}

    assert {name: str(PINS[name]) for name in names} == {name: f"=={version}" for name, version in installed.items()}


def test_nothing_else_is_pinned() -> None:
    """A pin of a package that nothing needs is a leftover."""
    assert PINS.keys() - set[NormalizedName]().union(*map(needed, EXTRAS)) == set()


@pytest.mark.parametrize("name", ["service", "trainer"])
def test_image_is_built_with_the_pins(name: str) -> None:
    """Each installation in a Dockerfile, also of build packages, uses the releases of constraints.txt."""
    lines = (ROOT / "docker" / f"{name}.Dockerfile").read_text(encoding="utf-8").splitlines()
    pins = lines.index("ENV PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt")
    installs = [number for number, line in enumerate(lines) if "pip install" in line]

    assert installs
    assert min(installs) > pins
