"""Holds the models in use and replaces them without a gap.

    loading   a thread verifies the artifact, opens its graphs and replays its golden cases; the event loop continues
    in use    new requests take the model with `of`
    retired   requests in flight finish on the model that they took; after the last one its parts are closed

`reload` does this once. `watch` does it whenever a watched link, such as `artifacts/current`, names another artifact. If the
artifact is refused, this is logged and counted, and the model in use stays. Each worker process has a registry of its own and
watches the links, so all of them change within one interval.

A second model, the challenger, may answer a share of the listeners. A hash of the user id chooses them, so a listener always
gets the same model, from every worker and after every restart. In shadow mode the challenger answers nobody.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import structlog

from model.artifact import MANIFEST, Artifact, ArtifactError
from model.batch_memory import trim
from service.errors import ModelRefusedError
from service.observing.metrics import ModelMetrics
from service.recommender import Recommender
from service.repeating import repeat
from service.scoring.batcher import Scorer

Arm = Literal["current", "challenger"]

logger = structlog.get_logger()


class ServedModel:
    """A verified artifact with the parts that answer requests from it.

    A request uses it inside a `with` block. A retired model is closed when the last such block has ended.
    """

    def __init__(
        self,
        *,
        artifact: Artifact,
        arm: Arm,
        scorer: Scorer,
        recommender: Recommender,
        metrics: ModelMetrics,
        close: Callable[[], Awaitable[None]],
    ) -> None:
        """`close` ends the parts that belong to this model alone."""
        self.artifact, self.arm, self.scorer, self.recommender, self.metrics = artifact, arm, scorer, recommender, metrics
        self._close = close
        self._holders = 0
        self._left: asyncio.Event | None = None  # set once no request uses a retired model

    @property
    def version(self) -> str:
        """Return the artifact's version."""
        return self.artifact.manifest.version

    def __enter__(self) -> Self:
        self._holders += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._holders -= 1
        if self._left is not None and not self._holders:
            self._left.set()

    async def retire(self) -> None:
        """Wait for the requests in flight, then close the model. Call it after another model has taken its place."""
        self._left = asyncio.Event()
        if self._holders:
            await self._left.wait()
        await self._close()


Starter = Callable[[Arm], Awaitable[ServedModel]]
"""Starts the model of a verified artifact for an arm, on the event loop."""


@dataclass(slots=True)
class _Place:
    """A link to an artifact, the model that was loaded from it, and the artifact that the last check found there."""

    arm: Arm
    path: Path
    model: ServedModel | None = None
    seen: "_Identity | None" = None


class ModelRegistry:
    """The models in use. Call `start` first and `close` at the end."""

    def __init__(
        self,
        load: Callable[[Path], Starter],
        current: Path,
        challenger: Path | None = None,
        *,
        share: float = 0.0,
        shadow: bool = False,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """`load` verifies the artifact in a folder. It runs in a thread and raises ArtifactError. The starter that it returns
        runs on the event loop. `share` is the challenger's share of listeners, from 0 to 1. `refused` counts refused artifacts.
        """
        self._load = load
        self._current = _Place("current", current)
        self._challenger = None if challenger is None else _Place("challenger", challenger)
        self._share = 0.0 if shadow else share
        self._shadow = shadow
        self._refused = refused
        self._changing = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()

    async def start(self, first: Starter, folder: Path) -> None:
        """Use the model of the artifact in `folder`, which is verified already, and load the challenger."""
        self._current.seen = _identify(folder)
        self._current.model = await first("current")
        await self._renew_challenger()

    async def close(self) -> None:
        """Retire all models and wait until they are closed."""
        for place in self._places():
            if place.model is not None:
                self._retire(place.model)
                place.model = None
        await asyncio.gather(*self._retiring)

    @property
    def current(self) -> ServedModel:
        """Return the model that answers all listeners except the challenger's."""
        model = self._current.model
        if model is None:
            raise RuntimeError("the registry was asked for a model before it was started")
        return model

    @property
    def in_use(self) -> list[ServedModel]:
        """Return the models that answer requests or run in shadow mode; the current one first."""
        return [place.model for place in self._places() if place.model is not None]

    def of(self, user_id: str | None) -> ServedModel:
        """Return the model that answers a listener. If `user_id` is None, return the current model."""
        place = self._challenger
        if place is None or place.model is None or user_id is None or share_of(user_id) >= self._share:
            return self.current
        return place.model

    @property
    def shadow(self) -> ServedModel | None:
        """Return the model that runs in shadow mode: it is compared with the current one and answers nobody. None if there is
        none.
        """
        return self._challenger.model if self._shadow and self._challenger is not None else None

    async def reload(self) -> ServedModel:
        """Load the artifacts that the links name now, and use them. Returns the current model.

        Raises ModelRefusedError if the current artifact is refused; the model in use then stays.
        """
        async with self._changing:
            try:
                await self._renew(self._current)
            except ArtifactError as error:
                raise ModelRefusedError(self._without_paths(error)) from error
            await self._renew_challenger()
        return self.current

    async def watch(self, interval_s: float) -> None:
        """Check the links every `interval_s` seconds and load new artifacts, until cancelled."""

        async def look() -> None:
            async with self._changing:
                if await asyncio.to_thread(_identify, self._current.path) != self._current.seen:
                    with suppress(ArtifactError):  # `_renew` has logged it
                        await self._renew(self._current)
                await self._renew_challenger()

        await repeat(look, interval_s, failed="the watch for new artifacts failed; the model in use goes on")

    async def _renew_challenger(self) -> None:
        place = self._challenger
        if place is None or (found := await asyncio.to_thread(_identify, place.path)) == place.seen:
            return
        if found.manifest is not None:
            with suppress(ArtifactError):  # `_renew` has logged it
                await self._renew(place)
            return
        place.seen = found
        if place.model is None:
            logger.warning(
                "there is no artifact of the challenger; the current model answers everybody", folder=str(place.path)
            )
            return
        self._retire(place.model)
        place.model = None
        logger.info("the challenger is gone; the current model answers everybody", folder=str(place.path))

    async def _renew(self, place: _Place) -> None:
        """Load the artifact that a link names, and use it.

        If it is refused, log and count this, and raise ArtifactError. The watch does not try it again until it changes.
        """
        place.seen = await asyncio.to_thread(_identify, place.path)
        try:
            start = await asyncio.to_thread(self._load, place.path)
            before, place.model = place.model, await start(place.arm)
        except ArtifactError as error:
            self._refused()
            logger.error("a new artifact is refused; the model in use goes on", arm=place.arm, reason=str(error))
            raise
        logger.info("model in use", arm=place.arm, version=place.model.version, before=before and before.version)
        if before is not None:
            self._retire(before)

    def _without_paths(self, error: ArtifactError) -> str:
        """Return the error's text for a client, with file names but no folders."""
        path = self._current.path
        text = str(error)
        for folder in (path.resolve(), path):
            text = text.replace(f"{folder}/", "").replace(str(folder), folder.name)
        return text

    def _retire(self, model: ServedModel) -> None:
        task = asyncio.create_task(_end(model))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _places(self) -> list[_Place]:
        return [self._current] if self._challenger is None else [self._current, self._challenger]


def share_of(user_id: str) -> float:
    """Return a number from 0 up to 1 for a user id: the same in every process, evenly spread over users."""
    return int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=6).digest(), "big") / 2**48


@dataclass(frozen=True, slots=True)
class _Identity:
    """The identity of an artifact, read without its content: its folder, and its manifest's time, size and inode."""

    folder: Path
    manifest: tuple[int, int, int] | None  # None without a manifest


def _identify(path: Path) -> _Identity:
    folder = path.resolve()
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return _Identity(folder, None)
    return _Identity(folder, (found.st_mtime_ns, found.st_size, found.st_ino))


async def _end(model: ServedModel) -> None:
    """Retire a model, then return its memory to the operating system."""
    await model.retire()
    del model
    await asyncio.to_thread(trim)
