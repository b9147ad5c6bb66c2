"""Requests, replies and client code of the documentation, tried on a running service."""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import httpx
import jsonschema
import pytest

from tests.docs.commands import commands
from tests.docs.pages import Block, page, pages
from tests.service import artifacts
from tests.service.processes import free_port, process

DOCUMENTED = "http://127.0.0.1:8000"
BLOCKS = [block for found in pages() for block in found.blocks]
CURLS = [
    (f"{block.page}:{block.line}", command)
    for block in BLOCKS
    if block.language == "sh"
    for command in commands(block.text)
    if command.startswith("curl ")
]
PYTHON = [
    block
    for block in BLOCKS
    if block.language == "python" and DOCUMENTED in block.text and not block.note.startswith("client: ")  # by tests/clients
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real service with an embedded Valkey and an artifact that has a catalogue, and yield its address."""
    root, port = tmp_path_factory.mktemp("documented"), free_port()
    folder = artifacts.build(root, catalogue=True)
    with process("-m", "service", port=port, log=root / "log", artifact=folder, state_dir=root / "state"):
        yield f"http://127.0.0.1:{port}"


def ask(command: str, url: str) -> httpx.Response:
    """Send the request of a documented curl command."""
    curl = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    curl.add_argument("url")
    curl.add_argument("-X", "--request")
    curl.add_argument("-H", "--header", action="append", default=[])
    curl.add_argument("-d", "--data")
    curl.add_argument("-s", "--silent", action="store_true")
    curl.add_argument("-i", "--include", action="store_true")
    options = curl.parse_args(shlex.split(command)[1:])
    headers = dict(header.split(": ", 1) for header in options.header)
    method = options.request or ("POST" if options.data else "GET")
    address = options.url.replace(DOCUMENTED, url)
    return httpx.request(method, address, headers=headers, content=options.data, timeout=30)


@pytest.mark.parametrize(("place", "command"), CURLS)
def test_curl_command_succeeds(url: str, place: str, command: str) -> None:
    """Each documented request is answered with success."""
    reply = ask(command, url)

    assert reply.is_success, f"{place}: {reply.status_code} {reply.text}"


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_client_code_runs(url: str, block: Block) -> None:
    """The Python snippets run against the service. Tracks that they skip or play are not proposed again."""
    listener = f"client-{block.line}"
    text = re.sub(r'"(ann|bob)"', f'"{listener}"', block.text.replace(DOCUMENTED, url))
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    session = httpx.get(f"{url}/v1/users/{listener}/session").json()
    heard, proposed = {entry["track_id"] for entry in session["session"]}, set(re.findall(r"\bt\d+\b", ended.stdout))

    assert ended.returncode == 0, ended.stderr
    assert session["skipped"]
    assert proposed
    assert not heard & proposed


AFTER_CURL = [
    (block, list(commands(before.text))[-1])
    for before, block in pairwise(BLOCKS)
    if block.language == "json" and not block.note and before.page == block.page
]
"""JSON blocks that show the reply to the curl command in the block before."""


@pytest.mark.parametrize(("block", "command"), AFTER_CURL, ids=str)
def test_reply_example_is_described_and_has_the_fields_of_the_real_reply(url: str, block: Block, command: str) -> None:
    """The test fails for an example with a field too many or too few, or with another type."""
    for _, posts in CURLS:
        if "/v1/events" in posts:
            ask(posts, url)  # so that the documented listener has a session, whichever test ran before
    given = json.loads(block.text)
    real = ask(command, url)
    described = document(url)
    path = re.sub(r"\?.*", "", str(real.request.url).removeprefix(url))
    operations = [
        methods[real.request.method.lower()]
        for template, methods in described["paths"].items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
    ]
    schema = operations[0]["responses"]["200"]["content"]["application/json"]["schema"]

    assert faults(described, schema, given) == []
    assert differences(given, real.json()) == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.note.startswith("schema: ")], ids=str)
def test_json_example_is_valid_under_its_schema(url: str, block: Block) -> None:
    """A comment above an example names its schema in the OpenAPI document."""
    schema = {"$ref": f"#/components/schemas/{block.note.removeprefix('schema: ')}"}

    assert faults(document(url), schema, json.loads(block.text)) == []


@pytest.mark.parametrize("name", ["README.md", "docs/api.md"])
def test_every_path_is_in_the_tables_of_the_api(url: str, name: str) -> None:
    """Both pages name every path of the OpenAPI document, and no other path."""
    named = {
        (method.lower(), re.sub(r"\?.*", "", path))
        for span in page(name).spans
        for method, path in re.findall(r"^(GET|POST|PUT|DELETE) (/\S+)$", span)
    }
    described = {(method, path) for path, methods in document(url)["paths"].items() for method in methods}
    operations = {("get", path) for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/", "/dashboard")}

    assert described - operations == named - operations


def test_a_wrong_example_is_found(url: str) -> None:
    """The checks can fail: for a field of another type than described, one too many, one too few, and one unlike the real
    reply.
    """
    schema = {"$ref": "#/components/schemas/Recorded"}

    assert faults(document(url), schema, {"accepted": "1", "duplicates": 0}) != []
    assert faults(document(url), schema, {"accepted": 1}) != []
    assert differences({"a": 1, "b": [{"c": "x"}]}, {"a": 1, "b": [{"d": "x"}]}) != []
    assert differences({"a": 1}, {"a": "1"}) != []
    assert differences({"a": 1}, {"a": 2.5}) == []


def document(url: str) -> dict[str, Any]:
    """Return the OpenAPI document of the running service."""
    found: dict[str, Any] = httpx.get(f"{url}/openapi.json").json()
    return found


def faults(document: Mapping[str, Any], schema: Mapping[str, Any], value: object) -> list[str]:
    """Return how a value breaks a schema of the OpenAPI document."""
    validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
    return [error.message for error in validator.iter_errors(value)]


def differences(given: object, real: object, at: str = "") -> list[str]:
    """Return where two JSON values have other fields or types. In lists, the first elements are compared."""
    if isinstance(given, dict) and isinstance(real, dict):
        odd = [f"{at}: {name} is in one of both" for name in sorted(given.keys() ^ real.keys())]
        both = given.keys() & real.keys()
        return odd + [fault for name in both for fault in differences(given[name], real[name], f"{at}.{name}")]
    if isinstance(given, list) and isinstance(real, list):
        return differences(given[0], real[0], f"{at}[0]") if given and real else []
    kinds = [float if type(value) is int else type(value) for value in (given, real)]
    return [] if kinds[0] is kinds[1] else [f"{at}: {given!r} and {real!r} are of different types"]
