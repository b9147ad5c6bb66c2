"""A service with keys, for clients that are generated from its OpenAPI document."""

from collections.abc import Iterator

import pytest

from tests.service import artifacts
from tests.service.processes import free_port, process

SECRET = "a-key-for-generated-clients"  # noqa: S105  # of this test's service


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with a catalogue and an embedded Valkey, which asks for the key `SECRET`."""
    folder, port = tmp_path_factory.mktemp("clients"), free_port()
    artifact = artifacts.build(folder / "artifacts", catalogue=True)
    settings = {"artifact": artifact, "state_dir": folder, "api_keys": f"clients:{SECRET}"}
    with process("-m", "service", port=port, log=folder / "log", **settings):
        yield f"http://127.0.0.1:{port}"
