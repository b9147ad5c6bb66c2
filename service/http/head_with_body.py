"""Sends the head of a reply together with its body.

uvicorn writes them one after the other, and uvloop passes each write to the kernel at once. So each reply cost two system
calls, and woke its client twice.
"""

import asyncio


class HeadWithBody:
    """The transport for one reply. It holds the reply's head back until the first part of the body, or until the reply ends."""

    __slots__ = ("_head", "_is_first", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head, self._is_first = b"", True

    def write(self, data: bytes) -> None:
        """Write a part of the reply. The first part is the head."""
        if self._is_first:
            self._head, self._is_first = data, False
            return
        self._transport.write(self._head + data)
        self._head = b""

    def flush(self) -> None:
        """Write the head if it is still held back, as it is for a reply without a body."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def is_closing(self) -> bool:
        """Return whether the connection is being closed."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Write the head if it is still held back, then close the connection."""
        self.flush()
        self._transport.close()
