"""The OpenAPI document shows examples of everything, and they are true: of the described form, and answered by the service."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from fastapi import FastAPI
from httpx import Client, QueryParams
from pydantic import JsonValue

from service.http import openapi
from service.http.routes import ROUTERS
from service.request_ids import proposed_by
from tests.contract.test_contract import check
from tests.service import artifacts
from tests.service.applications import running

METHODS = ("get", "put", "post", "delete")


def _document() -> dict[str, Any]:
    """The document without a running application."""
    app = FastAPI(title="nexttrack", version="0", generate_unique_id_function=lambda route: route.name)
    for router in ROUTERS:
        app.include_router(router)
    openapi.install(app)
    return app.openapi()


DOCUMENT = _document()


class Operation(NamedTuple):
    """One operation of the document."""

    method: str
    path: str
    described: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Example(NamedTuple):
    """An example with its place in the document and its schema."""

    place: str
    schema: Mapping[str, Any]
    value: JsonValue


OPERATIONS = [
    Operation(method, path, described)
    for path, methods in DOCUMENT["paths"].items()
    for method, described in methods.items()
    if method in METHODS
]


def contents(operation: Operation) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The bodies of an operation's request and of its replies, with their places."""
    for content in operation.described.get("requestBody", {}).get("content", {}).values():
        yield f"{operation} request", content
    for status, response in operation.described["responses"].items():
        for content in response.get("content", {}).values():
            yield f"{operation} {status}", content


def examples(operation: Operation) -> Iterator[Example]:
    """All examples of an operation."""
    for parameter in operation.described.get("parameters", ()):
        if "example" in parameter:
            yield Example(f"{operation} {parameter['name']}", parameter["schema"], parameter["example"])
    for place, content in contents(operation):
        if "example" in content:
            yield Example(place, content["schema"], content["example"])
        for name, one in content.get("examples", {}).items():
            yield Example(f"{place} {name}", content["schema"], one["value"])


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_operation_has_a_name_and_a_sentence(operation: Operation) -> None:
    """Generated clients make a function of the name, so it has no path and no method. The sentence has several words."""
    described = operation.described

    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", described["operationId"])
    assert not re.search(r"_v1_|_(get|post|put|delete)$", described["operationId"])
    assert re.fullmatch(r"[A-Z].* .* .*[^.]", described["summary"])
    assert described["summary"].lower().replace(" ", "_") != described["operationId"]


def test_names_are_unique() -> None:
    names = [operation.described["operationId"] for operation in OPERATIONS]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_every_body_and_every_parameter_of_a_path_has_an_example(operation: Operation) -> None:
    """Requests, replies and errors. `service.http.examples` has them."""
    shown = {example.place for example in examples(operation)}
    wanted = [f"{operation} {one['name']}" for one in operation.described.get("parameters", ()) if one["required"]]
    missing = [place for place in wanted if place not in shown]
    missing += [place for place, content in contents(operation) if not content.get("example") and not content.get("examples")]

    assert missing == []


@pytest.mark.parametrize("example", [one for operation in OPERATIONS for one in examples(operation)], ids=lambda one: one.place)
def test_example_is_of_the_described_form(example: Example) -> None:
    """Fields that the schema does not have are faults too."""
    assert check(DOCUMENT, example.schema, example.value) == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_every_operation_describes_errors_as_problems(operation: Operation) -> None:
    """A generated client can read any error. 503 says when to try again."""
    responses = operation.described["responses"]

    assert "application/problem+json" in responses["default"]["content"]
    assert all("X-Request-ID" in response["headers"] for response in responses.values())
    unavailable = responses.get("503", {"content": {}})
    assert "application/problem+json" not in unavailable["content"] or "Retry-After" in unavailable["headers"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of an application that has all optional parts."""
    with running(artifacts.load(tmp_path_factory.mktemp("examples"), catalogue=True)) as client:
        yield client


class Try(NamedTuple):
    """What `/docs` sends when a reader presses Execute."""

    operation: Operation
    url: str
    body: JsonValue

    def __str__(self) -> str:
        return f"{self.operation} {self.body}"


def _tries() -> Iterator[Try]:
    """Every operation with the examples of its parameters, and each example of its body."""
    for operation in OPERATIONS:
        parameters = {one["name"]: one for one in operation.described.get("parameters", ()) if "example" in one}
        url = operation.path.format(**{name: one["example"] for name, one in parameters.items() if one["in"] == "path"})
        query = QueryParams({name: one["example"] for name, one in parameters.items() if one["in"] == "query"})
        bodies = [
            one["value"]
            for content in operation.described.get("requestBody", {}).get("content", {}).values()
            for one in content["examples"].values()
        ]
        for body in bodies or [None]:
            yield Try(operation, f"{url}?{query}" if query else url, body)


@pytest.mark.parametrize("example", list(_tries()), ids=str)
def test_example_request_is_answered(client: Client, example: Try) -> None:
    """With success, and a reply of the described form."""
    reply = client.request(example.operation.method, example.url, json=example.body)
    described = example.operation.described["responses"].get(str(reply.status_code), {})

    assert reply.is_success, reply.text
    for media_type, content in described.get("content", {}).items():
        if media_type == "application/json":
            assert check(DOCUMENT, content["schema"], reply.json()) == []


def test_example_of_a_proposal_hangs_together() -> None:
    """Its request_id names the model and the tracks that it shows, and tracks have names."""
    [path] = [operation for operation in OPERATIONS if operation.described["operationId"] == "get_next_tracks"]
    proposal = path.described["responses"]["200"]["content"]["application/json"]["example"]
    proposed = [proposed_by(proposal["request_id"], track["track_id"]) for track in proposal["tracks"]]

    assert [(one.version, one.rank) for one in proposed if one] == [(proposal["model"]["version"], rank) for rank in "12"]
    assert all(" " in track["title"] and track["artist"] for track in proposal["tracks"])


def test_wrong_example_would_be_noticed() -> None:
    """The check can fail: an example with a field that no schema has."""
    schema = {"$ref": "#/components/schemas/Recorded"}

    assert check(DOCUMENT, schema, {"accepted": 1, "duplicates": 0, "lost": 2}) != []
