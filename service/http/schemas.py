"""The types of requests and replies. Requests are validated by these types; for replies they are documentation.

Replies are not validated at run time (see `service.http.replies`). Their types make the OpenAPI document, and a contract test
compares real replies with it.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from service.http.access.paths import decoded

ID_BYTES = 256
MAX_EVENTS = 1_000
MAX_LISTED = 10_000
MAX_REQUESTS = 100
_NO_CONTROL = re.compile(r"^[^\x00-\x1f\x7f-\x9f]*$")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _valid(text: str) -> str:
    if not _NO_CONTROL.fullmatch(text):
        raise PydanticCustomError("id_characters", "found a control character; an id has none")
    if not text.isascii() and len(text.encode()) > ID_BYTES:
        raise PydanticCustomError("id_length", f"found {len(text.encode())} bytes of UTF-8; an id has at most {ID_BYTES}")
    return text


def _text(value: object) -> object:
    return str(value) if type(value) is int else value  # no bool, which is an int too


def _decoded(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return decoded(text)
    except UnicodeDecodeError as error:
        raise PydanticCustomError("id_encoding", "the percent-encoded bytes are no UTF-8") from error


def milliseconds(text: object) -> int:
    """Convert a time in RFC 3339 to Unix milliseconds. Raises PydanticCustomError if `text` is no such time."""
    try:
        if isinstance(text, str) and _RFC_3339.fullmatch(text):
            at_ms = int(datetime.fromisoformat(text.upper()).timestamp() * 1000)
            if at_ms >= 0:
                return at_ms
    except (ValueError, OverflowError):  # such as the 30th of February
        pass
    wanted = "a time is a string in RFC 3339 with an offset, from 1970 on, such as 2026-11-22T08:15:00Z"
    raise PydanticCustomError("time", wanted)


Text = Annotated[
    str,
    Field(min_length=1, max_length=ID_BYTES, json_schema_extra={"pattern": _NO_CONTROL.pattern}),
    AfterValidator(_valid),
]
Id = Annotated[Text, BeforeValidator(_text)]
"""The caller's own string: 1 to 256 bytes of UTF-8, no control characters. An integer is taken as its decimal text."""
PathId = Annotated[Text, BeforeValidator(_decoded)]
"""An id in a path, which `access.paths.routed` leaves percent-encoded."""
Time = Annotated[int, BeforeValidator(milliseconds), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339 outside, Unix milliseconds inside."""
Milliseconds = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Count = Annotated[int, Field(ge=1, le=100)]
Gap = Annotated[int, Field(ge=0, le=100)]
Days = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]
Novelty = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Explore = Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)]
Excluded = Annotated[list[Id], Field(max_length=MAX_LISTED)]


ARTIST_GAP = "no artist twice within so many tracks, counting the tracks just played"
ALBUM_GAP = "no album twice within so many tracks, counting the tracks just played"
NOT_HEARD_DAYS = "leave out what this listener heard within so many days"
REPLAY = "whether tracks already played in this session may be proposed"
NOVELTY = "-1 is familiar tracks only, 1 is tracks new to this listener only, 0 is what the model says"
EXPLORE = "share of places given to less certain tracks"
EXPLAIN = "whether to say why each track is proposed"


class Body(BaseModel):
    """Base of all parts of a request. An unknown field is refused, because it is likely a mistake of the sender."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PostedEvent(Body):
    """One event that a player reports."""

    event_id: Id = Field(description="the caller's unique id; the same id again changes nothing")
    user_id: Id
    track_id: Id
    type: Literal["play", "skip", "complete", "like", "dislike"]
    at: Time | None = Field(None, description="when it happened on the player; without it, now")
    played_ms: Milliseconds | None = Field(None, description="how much was heard, with complete or skip")
    track_ms: Milliseconds | None = Field(None, description="how long the track is")
    request_id: Id | None = Field(None, description="the reply of next that proposed this track")
    session_id: Id | None = Field(None, description="the player's own session")
    private: Annotated[bool, Field(strict=True)] = Field(
        False, description="counts in the current session only, not in the long-term memory"
    )
    imported: Annotated[bool, Field(strict=True)] = Field(
        False, description="copied from a log of the past: only `at` counts, not the time of receipt, so it revives no session"
    )


class PostedEvents(Body):
    """Several events at once. Either all are stored or, if one is wrong, none."""

    events: list[PostedEvent] = Field(min_length=1, max_length=MAX_EVENTS)


def _one_or_many(body: Any) -> str | None:
    if not isinstance(body, dict):
        return None
    return "<many>" if "events" in body else "<one>"  # in brackets: `errors` leaves these names out of what a client sees


OneOrMany = Annotated[
    Annotated[PostedEvent, Tag("<one>")] | Annotated[PostedEvents, Tag("<many>")],
    Discriminator(
        _one_or_many,
        custom_error_type="event_expected",
        custom_error_message='the body is one event or {"events": [...]}',
    ),
]


class GivenEntry(Body):
    """One play of a history that is part of the request."""

    track_id: Id
    outcome: Literal["played", "skipped", "liked", "disliked"] = "played"


class NextRequest(Body):
    """A request for the next tracks, for a listener or for a history given here."""

    user_id: Id | None = None
    history: list[GivenEntry] | None = Field(
        None, max_length=MAX_LISTED, description="one session, oldest first; with it nothing is read from Redis"
    )
    count: Annotated[Count, Field(strict=True)] = 10
    exclude: Excluded = []
    candidates: list[Id] | None = Field(None, max_length=MAX_LISTED, description="rank just these")
    artist_gap: Annotated[Gap, Field(strict=True)] | None = Field(None, description=ARTIST_GAP)
    album_gap: Annotated[Gap, Field(strict=True)] | None = Field(None, description=ALBUM_GAP)
    not_heard_days: Annotated[Days, Field(strict=True)] | None = Field(None, description=NOT_HEARD_DAYS)
    replay: Annotated[bool, Field(strict=True)] | None = Field(None, description=REPLAY)
    novelty: Annotated[Novelty, Field(strict=True)] | None = Field(None, description=NOVELTY)
    explore: Annotated[Explore, Field(strict=True)] | None = Field(None, description=EXPLORE)
    explain: Annotated[bool, Field(strict=True)] | None = Field(None, description=EXPLAIN)


class NextBatch(Body):
    """Several requests at once. Either all are answered or, if one is wrong, none."""

    requests: list[NextRequest] = Field(min_length=1, max_length=MAX_REQUESTS)


class Recorded(BaseModel):
    """The number of new events and of duplicates. All events are in Redis when the reply arrives."""

    accepted: int
    duplicates: int


class ModelName(BaseModel):
    """The model that answered."""

    name: str
    version: str


class Cause(BaseModel):
    """A track of the history that raised a proposed track."""

    track_id: str
    share: float = Field(description="of all that raised it, from 0 to 1")


class Track(BaseModel):
    """A proposed track. It has a title and an artist if the artifact has a catalogue."""

    track_id: str
    score: float
    title: str | None = None
    artist: str | None = None
    explored: Literal[True] | None = Field(None, description="drawn from the tracks below the best ones, as `explore` asked")
    because: list[Cause] | None = Field(None, description="with `explain`: the tracks of the history that raised it most")
    reason: Literal["session", "habit", "artist", "popular"] | None = Field(None, description="with `explain`: why, in a word")


class Proposal(BaseModel):
    """The tracks to play next, best first."""

    user_id: str | None
    request_id: str = Field(description="to send along with the events of the tracks proposed here")
    model: ModelName
    source: Literal["model", "popular"]
    degraded: bool = Field(description="Redis or the model could not be used; the tracks are the most popular")
    tracks: list[Track]


class ProposalBatch(BaseModel):
    """The replies to a batch of requests."""

    replies: list[Proposal] = Field(description="in the order of the requests")


class SessionEntry(BaseModel):
    """One play of the current session."""

    track_id: str
    outcome: Literal["played", "skipped", "liked", "disliked"]
    at: datetime


class ListenerSession(BaseModel):
    """The current session as the model sees it, oldest first."""

    user_id: str
    session: list[SessionEntry]
    skipped: list[str] = Field(description="tracks that are not proposed again while their session goes on")
    expires_at: datetime | None = Field(description="when the listener's events are forgotten, without another one")
    history: list[SessionEntry] | None = Field(None, description="with `history=true`: all that the model reads")


class ExportedEvent(BaseModel):
    """One event as it is stored."""

    event_id: str
    track_id: str
    type: Literal["play", "skip", "complete", "like", "dislike"]
    at: datetime
    received_at: datetime = Field(description="by the service's clock; not before `at`")
    played_ms: int | None
    track_ms: int | None
    session_id: str | None
    request_id: str | None
    private: bool


class ExportedOpinion(BaseModel):
    """The newest like or dislike of a track."""

    track_id: str
    type: Literal["like", "dislike"]
    at: datetime


class ExportedBlock(BaseModel):
    """A track, artist or album that the listener has blocked."""

    kind: Literal["tracks", "artists", "albums"]
    value: str
    at: datetime


class UnreadableValue(BaseModel):
    """A stored value that another version of the service wrote, or that is broken. Field and value are in base64."""

    kind: str
    field: str
    value: str


class Export(BaseModel):
    """Everything that is stored about a listener, oldest first. `expires_at` has the time of each kind of key."""

    user_id: str
    exported_at: datetime
    events: list[ExportedEvent]
    long_history: list[SessionEntry] = Field(description="plays older than these events, which a model may read too")
    opinions: list[ExportedOpinion]
    blocks: list[ExportedBlock]
    unreadable: list[UnreadableValue]
    expires_at: dict[str, datetime] = Field(description="by kind of key: events, private, opinions, blocks, long, tracks")


class NewBlock(BaseModel):
    """A block that is in force now, with the number of tracks that it excludes."""

    kind: Literal["tracks", "artists", "albums"]
    value: str
    tracks: int = Field(description="how many tracks of the model in use it keeps out")


class BlockList(BaseModel):
    """All blocked tracks, artists and albums, in alphabetical order."""

    tracks: list[str]
    artists: list[str]
    albums: list[str]


class ListenerBlocks(BlockList):
    """All tracks, artists and albums that a listener has blocked, in alphabetical order."""

    user_id: str


class ModelDescription(BaseModel):
    """A description of the artifact in use."""

    name: str
    version: str
    tracks: int
    created_at: datetime
    origin: dict[str, Any] = Field(description="what it was trained from")
    quality: dict[str, Any] = Field(description="as measured on held-out data")
    history: dict[str, Any] = Field(description="what the model reads of a listener")


class RequestCount(BaseModel):
    """Requests of one route, method and status."""

    route: str = Field(description="the template of the path, or `unmatched`")
    method: str
    status: str = Field(description="`none` if the client went away before the reply")
    count: int


class RouteLatency(BaseModel):
    """The duration of requests of one route, from the first byte of the request to the last byte of the reply."""

    route: str
    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


class DegradedReplies(BaseModel):
    """Replies made from popularity because Redis or the model could not be used: their number, share and reasons."""

    replies: int
    share: float = Field(description="of all replies with proposals")
    reasons: dict[str, int] = Field(description="redis, model")


class TrafficPoint(BaseModel):
    """Traffic in the `seconds` before `at`. Latency is that of proposals; null if there were none."""

    at: datetime
    seconds: float
    requests: int
    errors: int = Field(description="requests answered with a status from 500 on")
    proposals: int
    degraded: int
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None


class HourOutcomes(BaseModel):
    """The outcomes of a model's proposed tracks that were reported in one hour."""

    hour: datetime = Field(description="when it began")
    version: str
    arm: str
    completed: int
    skipped: int
    liked: int
    disliked: int


class RankOutcomes(BaseModel):
    """The outcomes of tracks that were proposed at these places of a reply."""

    rank: str
    completed: int
    skipped: int
    liked: int
    disliked: int


class ModelOutcomes(BaseModel):
    """The outcomes of a model's proposed tracks, from the events that carry the id of a reply."""

    version: str
    arm: str = Field(description="current or challenger; popular: of degraded replies")
    completed: int
    skipped: int
    liked: int
    disliked: int
    ranks: list[RankOutcomes]


class RedisStatus(BaseModel):
    """Whether Redis answers and accepts writes."""

    ready: bool
    ping_ms: float | None
    reason: str | None


class ModelStatus(BaseModel):
    """A model in use."""

    arm: str
    name: str
    version: str
    created_at: datetime
    age_s: int


class LoggedTrouble(BaseModel):
    """A warning or an error in the log of the process that answers."""

    at: datetime
    level: str
    what: str
    times: int = Field(description="how often it happened since the line before")


class Status(BaseModel):
    """The state of the service. Counts are of all workers since the start; outcomes are of all services that share a Redis."""

    at: datetime
    requests: list[RequestCount]
    latency: list[RouteLatency]
    degraded: DegradedReplies
    last_hour: list[TrafficPoint] = Field(description="oldest first, a point every 15 seconds since the worker started")
    outcome_hours: int
    outcomes: list[ModelOutcomes]
    outcomes_by_hour: list[HourOutcomes] = Field(description="of the same hours, oldest first")
    redis: RedisStatus
    models: list[ModelStatus]
    trouble: list[LoggedTrouble] = Field(description="newest first")


class Health(BaseModel):
    """The reply of `/healthz`: the process is alive."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether requests are answered in full, and the reasons if not."""

    ready: bool
    reasons: list[str]


class ProblemFault(BaseModel):
    """One error in a request."""

    loc: list[str | int]
    msg: str


class Problem(BaseModel):
    """An error, in the format of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemFault] = []
