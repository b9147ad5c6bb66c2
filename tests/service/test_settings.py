"""Settings come from the environment, are checked, frozen and described."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import PREFIX, Settings, describe, unknown


def test_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations are given in seconds or as ISO 8601."""
    for name, value in {"ARTIFACT": "/a b", "PORT": "9", "REDIS_TIMEOUT": "0.1", "HISTORY_TTL": "P2D"}.items():
        monkeypatch.setenv(PREFIX + name, value)
    settings = Settings()

    assert (settings.artifact, settings.port) == (Path("/a b"), 9)
    assert (settings.redis_timeout, settings.history_ttl) == (timedelta(milliseconds=100), timedelta(days=2))


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 70_000},
        {"workers": 0},
        {"redis_url": "http://x"},
        {"redis_timeout": 0},
        {"history_ttl": -1},
        {"prot": 1},
        *({"wanted_weight": weight} for weight in ("nan", "inf", "-inf", "1e38")),
    ],
)
def test_nonsense_is_refused(changes: dict[str, object]) -> None:
    """They are refused at the start, not at the first request."""
    with pytest.raises(ValidationError):
        Settings.model_validate(changes)


@pytest.mark.parametrize("changes", [{"challenger_share": 0.5}, {"challenger_shadow": True}])
def test_share_and_shadow_need_a_challenger(changes: dict[str, object]) -> None:
    """Whoever sets one of them expects a second model. Without a share, no challenger is needed."""
    with pytest.raises(ValidationError, match="Set NEXTTRACK_CHALLENGER to the folder of its artifact"):
        Settings.model_validate(changes)

    assert Settings.model_validate({"challenger": "folder"} | changes).challenger == Path("folder")
    assert Settings(challenger_share=0, challenger_shadow=False).challenger is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://host:port", "its port"),
        ("redis://host:70000", "its port"),
        ("redis://127.0.0.1:1?db=x", "'db'"),
        ("redis://host/first", "number of a database"),
        ("redis://host?foo=bar", "'foo'"),
        ("redis+cluster://host?foo=bar", "'foo'"),
        ("redis+cluster://host/1", "no database but 0"),
        ("rediss://host?ssl_cert_reqs=perhaps", "perhaps"),
        ("unix:///socket?foo=bar", "'foo'"),
    ],
)
def test_redis_url_that_no_connection_can_be_made_of_is_refused(url: str, why: str) -> None:
    """It is refused with its fault before the first request."""
    with pytest.raises(ValidationError, match=why):
        Settings(redis_url=url)


@pytest.mark.parametrize("password", ["se#cret", "se/cret", "se?cret=1", "se\u2100cret", "secret"])
def test_password_is_in_no_message_about_a_redis_url(password: str) -> None:
    """Not even a part of it is, if it is not percent-encoded and so looks like a port, a path or an option."""
    with pytest.raises(ValidationError) as refused:
        Settings(redis_url=f"redis://:{password}@host:port")

    assert all("cret" not in fault["msg"] for fault in refused.value.errors())


@pytest.mark.parametrize(
    "url",
    [
        "redis://:p%40ss@127.0.0.1:6379/3?health_check_interval=2",
        "rediss://host?ssl_cert_reqs=none",
        "redis+cluster://user:secret@[::1]:7000/0",
        "unix:///a%20b/socket?db=1",
        "redis://",
    ],
)
def test_redis_url_that_will_do_is_kept_as_it_is(url: str) -> None:
    """It holds for all kinds of URLs."""
    assert Settings(redis_url=url).redis_url == url


def test_variables_that_are_no_settings_are_found() -> None:
    """In upper or lower case, like settings themselves. Those of other programs, of clients and of Kubernetes are ignored."""
    known = {
        "NEXTTRACK_PORT": "9",
        "nexttrack_artifact": "a",
        "NEXTTRACK_KEY": "clients",
        "PATH": "/bin",
        "OTHER_NEXTTRACK_X": "1",
    }
    of_kubernetes = {
        "NEXTTRACK_SERVICE_HOST": "10.0.0.1",
        "NEXTTRACK_SERVICE_PORT_HTTP": "80",
        "NEXTTRACK_PORT_80_TCP": "tcp://10.0.0.1:80",
        "NEXTTRACK_PORT_80_TCP_ADDR": "10.0.0.1",
        "NEXTTRACK_REDIS_PORT": "tcp://10.0.0.2:6379",
    }
    found = unknown(known | of_kubernetes | {"nexttrack_hist_events": "9", "NEXTTRACK_REDIS_PORT_": "1", "NEXTTRACK_LOCK": ""})

    assert [sentence.partition(":")[0] for sentence in found] == [
        "nexttrack_hist_events",
        "NEXTTRACK_REDIS_PORT_",
        "NEXTTRACK_LOCK",
    ]
    assert found[0].endswith("NEXTTRACK_HISTORY_EVENTS is meant?")


def test_every_setting_is_described() -> None:
    """The description has name, default and meaning of every setting."""
    lines = describe().splitlines()

    assert len(lines) == len(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        assert field.description
        assert any(line.split()[0] == PREFIX + name.upper() and field.description in line for line in lines)


@pytest.mark.parametrize("name", ["api_keys", "admin_keys", "jwt_key", "log_user_key"])
def test_secret_is_in_no_error(name: str) -> None:
    """Not even in what pydantic adds to a message by itself."""
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({name: "top-secret"})

    assert "top-secret" not in str(refused.value)


def test_listens_on_loopback_unless_told_otherwise() -> None:
    """Without keys, only this machine can reach the service by default."""
    assert Settings().host == "127.0.0.1"
