"""The service's settings, from the environment: `NEXTTRACK_ARTIFACT`, `NEXTTRACK_REDIS_URL`, …

One frozen `Settings` is made in `__main__` (or by a worker process) and passed on. No other code reads the environment.
Properties of a trained model (history length, session gap, skip rule) are no settings: the artifact's manifest has them.
Durations are seconds (`2.5`) or ISO 8601 (`P30D`).
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model.events import KEPT_EVENTS, KEPT_OPINIONS, KEPT_PLAYS
from service.http.access import keys
from service.store.connections import check

PREFIX = "NEXTTRACK_"
_OF_KUBERNETES = re.compile(
    PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*"
    "|" + PREFIX + r"\w+_PORT=(tcp|udp|sctp)://.*"
)
"""Variables that Kubernetes sets in each container beside a service named `nexttrack` or `nexttrack-…`."""


_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?")
"""An origin as browsers send it: in lower case, without a path."""


def _seconds(value: object) -> object:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value  # ISO 8601, or nonsense, which pydantic reports


def _origins(value: object) -> object:
    """Split a comma-separated list."""
    return tuple(one.strip() for one in value.split(",") if one.strip()) if isinstance(value, str) else value


def _origin(value: str) -> str:
    if value != "*" and not _ORIGIN.fullmatch(value):
        raise ValueError(f"found {value!r}; an origin is a scheme and a host without a path, such as https://player.example")
    return value


def _none_if_blank(value: object) -> object:
    """Replace an empty value by None. `docker-compose.yml` passes variables that are not set as empty ones."""
    return None if isinstance(value, str) and not value.strip() else value


def _keys(value: SecretStr) -> SecretStr:
    keys.together(keys.parse(value.get_secret_value(), admin=False))
    return value


def _jwt_key(value: SecretStr) -> SecretStr:
    from service.http.access import tokens  # noqa: PLC0415  # PyJWT takes 50 ms to import; most services have no tokens

    tokens.with_secret(value.get_secret_value())
    return value


KeyList = Annotated[SecretStr, AfterValidator(_keys)]
OptionalFile = Annotated[Path | None, BeforeValidator(_none_if_blank)]
Positive = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta(0))]


class Settings(BaseSettings):
    """The service's settings. `describe` lists them for a person."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    artifact: Path = Field(Path("artifacts/current"), description="folder of the trained model")
    challenger: Path | None = Field(None, description="folder of a second model that answers a share of the listeners")
    challenger_share: float = Field(0.0, ge=0, le=1, description="its share of listeners, chosen by a hash of the user id")
    challenger_shadow: bool = Field(False, description="score with both models, serve the first and report their overlap")
    model_watch: Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(0))] = Field(
        timedelta(seconds=1), description="how often to look for a new artifact behind these folders; 0 is never"
    )
    redis_url: Annotated[str, AfterValidator(check)] | None = Field(
        None,
        description="redis://, rediss://, unix:// or redis+cluster:// URL; without it an embedded Valkey is started",
        pattern=r"^(redis|rediss|unix|redis\+cluster|rediss\+cluster)://",
    )
    state_dir: Path = Field(Path(".nexttrack"), description="folder of the embedded Valkey's data")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    workers: int = Field(1, ge=1, description="processes that share the port")
    cors_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_origins)] | None = (
        Field(None, description="origins of web pages that may call the service, separated by commas; * for all")
    )

    api_keys: Annotated[KeyList | None, BeforeValidator(_none_if_blank)] = Field(
        None, description="keys of applications: NAME:SECRET or NAME:sha256:HEX, separated by commas; none: no key is asked for"
    )
    api_keys_file: OptionalFile = Field(None, description="file with such keys; it is read again when it changes")
    admin_keys: Annotated[KeyList | None, BeforeValidator(_none_if_blank)] = Field(
        None, description="keys of operators, which open the admin paths too"
    )
    admin_keys_file: OptionalFile = Field(None, description="file with such keys; it is read again when it changes")
    jwt_key: Annotated[Annotated[SecretStr, AfterValidator(_jwt_key)] | None, BeforeValidator(_none_if_blank)] = Field(
        None, description="secret of at least 32 bytes with which listener tokens are signed (HS256)"
    )
    jwt_public_key_file: OptionalFile = Field(
        None, description="or PEM file with public keys that verify them (RS256, ES256); it is read again when it changes"
    )
    rate_per_key: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="requests a second of each key; more get 429 (each process counts for itself)",
    )
    rate_per_user: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="requests a second for each listener; more get 429"
    )
    rate_burst: Positive = Field(
        timedelta(seconds=10), description="who was quiet may send so many seconds' worth of requests at once"
    )
    allow_anonymous: bool = Field(
        False, description="true: without keys, listen on any address; false: without keys, on this machine's own alone"
    )

    history_events: int = Field(
        KEPT_EVENTS, ge=1, description="newest events kept of a listener; what was skipped before them may come again"
    )
    long_history: int = Field(
        KEPT_PLAYS, ge=0, le=10_000, description="plays kept of a listener beyond these events, for a copy head; 0 keeps none"
    )
    history_ttl: Positive = Field(timedelta(days=30), description="how long they are kept after the last one")
    opinions: int = Field(KEPT_OPINIONS, ge=1, description="tracks whose like or dislike is kept of a listener, newest first")
    blocks: int = Field(1_000, ge=1, le=10_000, description="most tracks, artists and albums that a listener may block")
    opinions_ttl: Positive = Field(
        timedelta(days=365), description="how long likes, dislikes and blocks are kept after the last event"
    )
    outcomes_ttl: Positive = Field(
        timedelta(days=14), description="how long the hourly counts of what became of proposals are kept"
    )
    exclude_played: bool = Field(True, description="never propose what was already played in this session")
    artist_gap: int = Field(
        0, ge=0, le=100, description="no artist twice within this many tracks, those just played among them; 0 is off"
    )
    album_gap: int = Field(0, ge=0, le=100, description="the same for albums; both need a catalogue")
    not_heard_days: float = Field(
        0, ge=0, le=36_500, allow_inf_nan=False, description="leave out what the listener heard within so many days; 0 is off"
    )
    novelty: float = Field(
        0, ge=-1, le=1, allow_inf_nan=False, description="-1 familiar tracks only, 1 new ones only, 0 what the model says"
    )
    explore: float = Field(0, ge=0, le=0.5, allow_inf_nan=False, description="share of places for less certain tracks")
    explain: bool = Field(False, description="say why each track is proposed; it costs a run of the model for each reply")

    wanted_weight: float | None = Field(
        None,
        ge=-1_000_000,
        le=1_000_000,
        allow_inf_nan=False,  # otherwise all scores could be NaN or infinite
        description="what the model's guess whether a track will be kept weighs; none: what its validation chose",
    )

    # A healthy Redis answers in under 1 ms. A machine that is short of processors for a moment takes longer. A player waits
    # longer than this before it plays something else.
    redis_timeout: Positive = Field(timedelta(milliseconds=500), description="longest wait for Redis, connecting included")
    onnx_threads: int = Field(1, ge=1, description="threads of ONNX Runtime in each process")
    max_batch: int = Field(32, ge=1, description="most requests scored together")
    batch_memory_mb: int = Field(256, ge=16, description="most that the model may allocate for one batch, beside its weights")
    queue_limit: int = Field(1_024, ge=1, description="most requests that may wait for the model; more get 503")
    queue_patience: Positive = Field(timedelta(seconds=1), description="longest wait to be taken by the model; longer gets 503")
    max_connections: int = Field(
        8_192, ge=1, description="connections of each process; fewer where it may not open twice as many files"
    )
    max_delay: Positive = Field(
        timedelta(milliseconds=50), description="requests that would take longer than this for others in flight get 503"
    )
    shutdown_grace: Positive = Field(timedelta(seconds=20), description="time for requests in flight when stopping")

    fast_path: bool = Field(True, description="answer the busy routes past FastAPI's routing; false to debug or to measure it")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severity that is logged")
    log_user_key: SecretStr | None = Field(
        None, min_length=16, description="secret; user ids in log lines become pseudonyms under it; none: ids as they are"
    )
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people")

    @field_validator("challenger_share", "challenger_shadow")
    @classmethod
    def _of_a_challenger(cls, value: float, given: ValidationInfo) -> float:
        if value and given.data.get("challenger") is None:
            raise ValueError(
                f"there is no challenger. Set {PREFIX}CHALLENGER to the folder of its artifact, or leave this setting out"
            )
        return value

    @property
    def is_locked(self) -> bool:
        """Return whether requests need a key."""
        of_keys = (self.api_keys, self.api_keys_file, self.admin_keys, self.admin_keys_file)
        return any((*of_keys, self.jwt_key, self.jwt_public_key_file))


CLIENTS_KEY = "NEXTTRACK_KEY"
"""Where clients (`python -m training`, curl commands) keep their key; often set in the shell that starts the service too."""


def unknown(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each environment variable that begins like a setting but is not one."""
    names = sorted(name.upper() for name in Settings.model_fields)
    sentences = []
    for variable, value in environment.items():
        prefixed = variable.upper()  # pydantic-settings ignores case
        name = prefixed.removeprefix(PREFIX)
        if prefixed == CLIENTS_KEY or name in {prefixed, *names} or _OF_KUBERNETES.fullmatch(f"{prefixed}={value}"):
            continue
        near = get_close_matches(name, names, n=1)
        sentences.append(f"{variable}: there is no such setting" + (f"; {PREFIX}{near[0]} is meant?" if near else ""))
    return sentences


def describe() -> str:
    """Return every environment variable with its default and meaning, one on each line."""
    rows = [
        (PREFIX + name.upper(), "(none)" if field.default is None else str(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    wide, middle = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"  {name:<{wide}}  {default:<{middle}}  {description}" for name, default, description in rows)
