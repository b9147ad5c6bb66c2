"""openapi-typescript makes types from /openapi.json with which a program compiles strictly and works against the service.

It needs Node.js and the packages of `package-lock.json`: `npm ci --prefix tests/clients/typescript`. Without them the test is
skipped.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients import documented

HERE = Path(__file__).parent / "typescript"
MODULES = HERE / "node_modules"
MISTAKES = """
// @ts-expect-error: there is no such path
await client.GET("/v1/users/{user_id}/nxt", { params: listener });
// @ts-expect-error: there is no such type of event
await client.POST("/v1/events", { body: { ...skip, type: "hum" } });
// @ts-expect-error: tracks have no such field
next.data.tracks[0]?.track;
"""
"""Behind the documented program. The compiler complains about a line that it takes after all, so the types are not `any`."""

pytestmark = pytest.mark.timeout(300)  # the compiler is slow where the other tests take all processors


def run(*command: str, folder: Path) -> str:
    """Run a command in a folder, and return its output."""
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_documented_program_compiles_and_works(address: str, tmp_path: Path) -> None:
    """It proposes, reports a skip, reads the session, asks for two listeners at once, and reads an error."""
    if shutil.which("node") is None or not MODULES.exists():
        pytest.skip("needs Node.js and npm ci --prefix tests/clients/typescript")
    for name in ("package.json", "tsconfig.json"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    program, tools = documented.code("typescript", "ts", address), MODULES / ".bin"
    (tmp_path / "program.ts").write_text(program, encoding="utf-8")
    (tmp_path / "mistaken.ts").write_text(program + MISTAKES, encoding="utf-8")
    arguments = documented.generator("typescript", "openapi-typescript", address)
    run(str(tools / "openapi-typescript"), *arguments, folder=tmp_path)
    run(str(tools / "tsc"), folder=tmp_path)
    printed = documented.lines(run("node", "out/program.js", folder=tmp_path))

    assert printed["play"] == "title t0 by artist 0"
    assert printed["reported"] == "{ accepted: 1, duplicates: 0 }"
    assert printed["skipped"] == "[ 't0' ]"
    assert printed["next"].endswith("'t0' ]")  # of bob, who has skipped nothing
    assert not printed["next"].startswith("[ 't0'")
    assert printed["refused"] == "[ 'query', 'count' ] Input should be less than or equal to 100"
