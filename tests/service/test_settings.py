"""Settings come from the environment, are checked, frozen and described."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import PREFIX, Settings, describe


def test_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds and ISO 8601 both are durations."""
    for name, value in {"ARTIFACT": "/a b", "PORT": "9", "REDIS_TIMEOUT": "0.1", "HISTORY_TTL": "P2D"}.items():
        monkeypatch.setenv(PREFIX + name, value)
    settings = Settings()

    assert (settings.artifact, settings.port) == (Path("/a b"), 9)
    assert (settings.redis_timeout, settings.history_ttl) == (timedelta(milliseconds=100), timedelta(days=2))


@pytest.mark.parametrize(
    "changes",
    [{"port": 70_000}, {"workers": 0}, {"redis_url": "http://x"}, {"redis_timeout": 0}, {"history_ttl": -1}, {"prot": 1}],
)
def test_nonsense_is_refused(changes: dict[str, object]) -> None:
    """At the start, not at the first request."""
    with pytest.raises(ValidationError):
        Settings.model_validate(changes)


def test_every_setting_is_described() -> None:
    """What a person can set, a person can look up: name, default, meaning."""
    lines = describe().splitlines()

    assert len(lines) == len(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert field.description
        assert any(line.split()[0] == PREFIX + name.upper() and field.description in line for line in lines)


def test_listens_on_loopback_unless_told_otherwise() -> None:
    """Without keys nobody but this machine gets in by default."""
    assert Settings().host == "127.0.0.1"
