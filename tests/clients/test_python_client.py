"""openapi-python-client makes a client from /openapi.json that passes mypy and works against the service."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.clients import documented
from tests.clients.conftest import SECRET

CONFIG = "post_hooks: []\n"
"""The generated code is not formatted: nobody reads it here."""


def run(*command: str, folder: Path) -> str:
    """Run a command of Python in a folder, and return its output."""
    ended = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


WRONG_KEY = """
from nexttrack_client import AuthenticatedClient
from nexttrack_client.api.proposals import get_next_tracks

print(get_next_tracks.sync("ann", client=AuthenticatedClient("{address}", token="wrong")))
"""
pytestmark = pytest.mark.timeout(300)  # mypy is slow where the other tests take all processors


def test_documented_program_passes_mypy_and_works(address: str, tmp_path: Path) -> None:
    """It proposes, reports a skip, reads the session, asks for two listeners at once, and reads an error.

    The generator finds nothing to complain about, and strict mypy neither: names that clash or untyped bodies would show there.
    """
    (tmp_path / "config.yml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "program.py").write_text(documented.code("python", "python", address), encoding="utf-8")
    arguments = documented.generator("python", "openapi-python-client", address)
    said = run("-m", "openapi_python_client", *arguments, "--config", "config.yml", folder=tmp_path)
    run("-m", "mypy", "--strict", "--cache-dir", "cache", "program.py", "nexttrack_client", folder=tmp_path)
    printed = documented.lines(run("program.py", folder=tmp_path))
    refused = run("-c", WRONG_KEY.format(address=address), folder=tmp_path)
    api = tmp_path / "nexttrack_client" / "api"

    assert "arning" not in said
    assert {str(path.relative_to(api)) for path in api.glob("*/*.py") if path.name != "__init__.py"} == functions(address)
    assert printed["play"] == "title t0 by artist 0"
    assert printed["reported"].startswith("Recorded(accepted=1, duplicates=0")
    assert printed["skipped"] == "['t0']"
    assert "'t0']" in printed["next"]  # of bob, who has skipped nothing
    assert not printed["next"].startswith("['t0'")
    assert printed["refused"] == "['query', 'count'] Input should be less than or equal to 100"
    assert "Problem(" in refused
    assert "status=401" in refused


def functions(address: str) -> set[str]:
    """The modules that operations of the document are wanted in: each in the folder of its tag, by its name."""
    document = httpx.get(f"{address}/openapi.json", headers={"Authorization": f"Bearer {SECRET}"}).json()
    return {
        f"{operation['tags'][0]}/{operation['operationId']}.py"
        for methods in document["paths"].values()
        for operation in methods.values()
    }
