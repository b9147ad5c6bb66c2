"""A value that is made from files, and made again when one of them changes.

The files are read each second in a thread. That is cheap for a few kilobytes, and it notices every change, also where a
modification time stays the same or a link is moved, as Kubernetes does with secrets. Requests never wait for a disk.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from service.http.access.keys import AccessError
from service.observing.logs import Trouble
from service.repeating import repeat

MOST_BYTES = 1024 * 1024
INTERVAL_S = 1.0

logger = structlog.get_logger()
Value = TypeVar("Value")


class Watched(Generic[Value]):
    """A value made from files, and made again after they change. If the new content cannot be read or used, the old value
    stays.
    """

    def __init__(self, what: str, paths: Sequence[Path], make: Callable[[Sequence[str]], Value]) -> None:
        """`make` makes the value from the text of each file. Raises AccessError if a file cannot be read or if `make` refuses
        it.
        """
        self._what, self._paths, self._make = what, paths, make
        self._texts = self._read()
        self.value = make(self._texts)
        self._refused = Trouble(f"the new {what} cannot be used; the old ones stay in force")

    async def watch(self, interval_s: float = INTERVAL_S) -> None:
        """Check the files every `interval_s` seconds, until cancelled."""

        async def look() -> None:
            try:
                await self.look()
            except AccessError as error:
                self._refused(error)

        if self._paths:
            await repeat(look, interval_s, failed=f"the watch for new {self._what} failed; the old ones stay in force")

    async def look(self) -> None:
        """Make the value again if a file has changed. If that fails, raises AccessError and keeps the old value."""
        texts = await asyncio.to_thread(self._read)
        if texts != self._texts:
            self.value = self._make(texts)
            self._texts = texts
            logger.info(f"new {self._what} are in force")

    def _read(self) -> Sequence[str]:
        return [self._text(path) for path in self._paths]

    def _text(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise AccessError(f"{path} cannot be read: {error.strerror}") from error
        if len(content) > MOST_BYTES:
            raise AccessError(f"{path} has more than {MOST_BYTES} bytes; expected {self._what}")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise AccessError(f"{path} is not UTF-8 text; expected {self._what}") from error
