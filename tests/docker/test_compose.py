"""docker-compose.yml: the limits of every service, also of services that are added later."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

each = pytest.mark.parametrize("name", SERVICES)


@each
def test_service_cannot_gain_rights(name: str) -> None:
    """It has no capability, no way to gain one, and a read-only file system."""
    service = SERVICES[name]

    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not service.get("privileged", False)


@each
def test_service_has_bounds(name: str) -> None:
    """Memory, processors and processes are limited, and so is the disk space of its log."""
    service = SERVICES[name]
    logging = service["logging"]

    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["cpus"]
    assert service["pids_limit"] > 0
    assert logging["driver"] == "json-file"
    assert set(logging["options"]) == {"max-size", "max-file"}


@each
def test_service_runs_as_an_ordinary_user(name: str) -> None:
    """The last USER of its image is not root."""
    dockerfile = (ROOT / SERVICES[name]["build"]["dockerfile"]).read_text(encoding="utf-8")
    users = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)

    assert users
    assert users[-1].partition(":")[0] not in ("root", "0")


def test_redis_is_reached_by_the_service_alone() -> None:
    """It has no password, so it is on a network without a way out, and publishes no port."""
    redis = SERVICES["redis"]

    assert redis["networks"] == ["sessions"]
    assert COMPOSE["networks"]["sessions"]["internal"] is True
    assert "ports" not in redis
    assert [name for name, service in SERVICES.items() if "sessions" in service.get("networks", ())] == ["redis", "service"]


def test_redis_fits_its_memory_limit_while_it_rewrites_its_file() -> None:
    """A rewrite may copy all of its memory, and a container that runs out of memory is killed."""
    configured = (ROOT / "docker/redis.conf").read_text(encoding="utf-8")
    most = re.search(r"^maxmemory (\d+)gb$", configured, re.MULTILINE)

    assert most
    assert SERVICES["redis"]["mem_limit"] == f"{2 * int(most[1])}g"


def test_published_port_is_on_this_machine_alone() -> None:
    """By default the service asks for no key, so no network reaches it until somebody decides so."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert ports == ["127.0.0.1:${PORT:-8000}:8000"]
    assert SERVICES["service"]["environment"]["NEXTTRACK_ALLOW_ANONYMOUS"] == "true"  # which is why


def test_image_alone_does_not_serve_a_network_without_keys() -> None:
    """It listens on all addresses, and leaves it to whoever runs it to set keys or to allow everybody."""
    dockerfile = (ROOT / "docker/service.Dockerfile").read_text(encoding="utf-8")

    assert "NEXTTRACK_HOST=0.0.0.0" in dockerfile
    assert "ANONYMOUS" not in dockerfile


def test_the_trainer_makes_the_demo_of_make_run() -> None:
    """docker/demo.sh and the Makefile simulate the same world, and train the same recipe on it."""
    script = (ROOT / "docker" / "demo.sh").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    world = re.search(r"^WORLD := (.+)$", makefile, re.MULTILINE)
    trained = re.search(r"--recipe demo --cases \d+", makefile)

    assert world is not None
    assert trained is not None
    assert f"simulate {world[1]} " in script
    assert set(trained[0].split()) < set(script.split())
