"""A reply's head leaves together with its body, or alone where there is no body."""

import asyncio

from service.http.head_with_body import HeadWithBody


class Written(asyncio.Transport):
    """A transport that notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Note what would be one system call."""
        self.parts.append(bytes(data))

    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self.closed

    def close(self) -> None:
        """Note it."""
        self.closed = True


def test_head_and_first_part_of_body_are_one_write() -> None:
    """Further parts of a body follow by themselves."""
    written = Written()
    reply = HeadWithBody(written)
    for part in (b"head ", b"one", b"two"):
        reply.write(part)
    reply.flush()

    assert written.parts == [b"head one", b"two"]


def test_head_without_body_is_written_when_the_reply_ends() -> None:
    """So it is for HEAD."""
    written = Written()
    reply = HeadWithBody(written)
    reply.write(b"head")
    assert not written.parts
    reply.flush()

    assert written.parts == [b"head"]


def test_closing_loses_nothing() -> None:
    """The connection is closed after the head was written."""
    written = Written()
    reply = HeadWithBody(written)
    reply.write(b"head")
    reply.close()

    assert (written.parts, reply.is_closing()) == ([b"head"], True)
