"""Fixtures of the service's tests: a Valkey, a cluster, and a small artifact."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog
from structlog.typing import Processor

from model.artifact import Artifact
from service.observing.logs import add_request_id
from service.store import embedded_valkey
from tests.service import artifacts
from tests.service.store import clusters


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop that async tests run on."""
    return "asyncio"


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """The log lines of a test as dictionaries, before they are rendered."""
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_request_id,
        structlog.processors.format_exc_info,
    ]
    with structlog.testing.capture_logs(processors) as lines:
        yield lines


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The small artifact of `artifacts.py`, without a catalogue."""
    return artifacts.load(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="session")
def catalogued(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The small artifact with a catalogue of its 40 tracks: four by each artist, two on each album."""
    return artifacts.load(tmp_path_factory.mktemp("catalogued"), catalogue=True)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey for these tests alone. Each test uses its own users, and nothing is flushed."""
    with embedded_valkey.running(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a cluster of two Valkeys, each with half of the slots."""
    with clusters.running(tmp_path_factory.mktemp("cluster"), 2) as nodes:
        yield clusters.url(nodes[0])
