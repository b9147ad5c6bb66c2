"""Limits of a connection in size, time and number, and the effects of a client that leaves, on real sockets."""

import asyncio
from typing import cast

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.http.admission import Admission
from service.http.connection import ON_END, Connection
from service.http.connections import Connections, Limits
from tests.service.http.sockets import GET, HEALTH, configuration, post, serving, until

pytestmark = pytest.mark.anyio


async def test_head_over_the_limit_is_refused_with_a_problem() -> None:
    """It holds for a head that arrives at once, too. Smaller heads are answered."""
    async with serving(head_bytes=1_000) as server:
        fields, url, fits = await server.client(), await server.client(), await server.client()
        by_fields = await fields.ask(b"GET /a HTTP/1.1\r\nlong: " + b"x" * 1_000 + b"\r\n\r\n")
        by_url = await url.ask(b"GET /" + b"x" * 1_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        fitting = await fits.ask(b"GET /a HTTP/1.1\r\nlong: " + b"x" * 900 + b"\r\n\r\n")

    assert (by_fields.status, by_fields.detail) == (431, "the head is over 1000 bytes; send fewer headers")
    assert by_url.status == 414
    assert "POST /v1/next" in by_url.detail
    assert fitting.status == 200
    assert server.refused == [(431, 1), (414, 1)]


async def test_endless_head_is_not_read_on() -> None:
    """A client that sends one header without end gets a refusal, and the server stops reading."""
    async with serving(head_bytes=1_000, linger_bytes=10_000) as server:
        client = await server.client()
        client.send(b"GET /a HTTP/1.1\r\nlong: ")
        sent = 0
        try:
            while sent < 100_000_000:
                client.send(b"x" * 100_000)
                sent += 100_000
                await client.writer.drain()
        except ConnectionError:
            pass

    assert sent < 100_000_000
    assert server.reached == []


async def test_head_that_does_not_arrive_is_a_408() -> None:
    async with serving(arrive=3) as server:
        client = await server.client()
        reply = await client.ask(b"GET /a HTTP/1.1\r\nhost: x\r\n")
        rest = await client.ended()

    assert (reply.status, reply.detail, rest) == (408, "the head did not arrive within 3 s", b"")


async def test_body_that_does_not_arrive_is_a_408() -> None:
    """The application writes the reply, so it has an id and a log line. The application never sees half a body."""
    async with serving(arrive=3) as server:
        client = await server.client()
        reply = await client.ask(b"POST /a HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf")
        rest = await client.ended()

    assert (reply.status, reply.headers["connection"], rest) == (408, "close", b"")
    assert server.reached == []


async def test_idle_connection_is_closed() -> None:
    """One connection has never sent anything, and the other is between two requests."""
    async with serving(idle=3) as server:
        silent, used = await server.client(), await server.client()
        reply = await used.ask(GET)
        ends = [await silent.ended(), await used.ended()]

    assert reply.status == 200
    assert ends == [b"", b""]


async def test_body_over_the_limit_is_a_413_before_it_is_sent() -> None:
    """The announced length is enough to refuse it. A client that sends it anyway can use the connection again."""
    async with serving(body_bytes=1_000) as server:
        client = await server.client()
        refused = await client.ask(b"POST /a HTTP/1.1\r\ncontent-length: 5000\r\n\r\n")
        client.send(b"x" * 5_000)
        next_one = await client.ask(post(b"x" * 1_000))

    assert (refused.status, refused.detail) == (413, "the body is over 1000 bytes; send less at once")
    assert (next_one.status, len(next_one.body)) == (200, 1_000)
    assert server.reached == [("/a", b"x" * 1_000)]


async def test_endless_body_in_chunks_is_refused_and_dropped() -> None:
    """The body is counted as it arrives. A client that does not stop is disconnected."""
    async with serving(body_bytes=1_000, message_bytes=100_000) as server:
        client = await server.client()
        client.send(b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        reply = await client.ask(b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501 + b"\r\n")
        sent = 0
        try:
            while sent < 100_000_000:
                client.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                sent += 4096
                await client.writer.drain()
        except ConnectionError:
            pass

    assert reply.status == 413
    assert sent < 100_000_000
    assert server.connections.bodies_bytes == 0


async def test_refusal_reaches_a_client_that_still_sends_and_wants_to_close() -> None:
    """Closing at once would reset the connection, and the client would lose the reply."""
    async with serving(body_bytes=1_000) as server:
        client = await server.client()
        client.send(post(b"x" * 500_000, "connection: close"))
        reply, rest = await client.reply(), await client.ended()

    assert (reply.status, rest) == (413, b"")


async def test_bodies_of_all_connections_are_bounded_together() -> None:
    """A thousand half bodies must not take a thousand times one body's limit. Memory is free again when clients leave."""
    async with serving(bodies_bytes=10_000) as server:
        first, second = await server.client(), await server.client()
        first.send(post(b"x" * 20_000)[:8_000])
        await until(lambda: server.connections.bodies_bytes > 7_000)
        refused = await second.ask(post(b"x" * 5_000))
        first.leave()
        await until(lambda: server.connections.bodies_bytes == 0)
        taken = await second.ask(post(b"x" * 5_000))

    assert (refused.status, taken.status) == (503, 200)


async def test_application_gets_whole_bodies_only() -> None:
    """They arrive in one message, whatever pieces they had. A client that sends `Expect` is told to continue."""
    async with serving() as server:
        client = await server.client()
        client.send(b"POST /a HTTP/1.1\r\ncontent-length: 6\r\nexpect: 100-continue\r\n\r\n")
        told = await client.reply()
        client.send(b"one")
        other = await server.client()
        await other.ask(HEALTH)
        reply = await client.ask(b"two")

    assert (told.status, reply.status) == (100, 200)
    assert server.reached == [("/healthz", b""), ("/a", b"onetwo")]


async def test_trailers_do_not_become_headers() -> None:
    """The application does not see trailers, and the next request is answered."""
    async with serving() as server:
        client = await server.client()
        chunked = b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-a: b\r\n\r\n"
        replies = [await client.ask(chunked), await client.ask(GET)]

    assert [reply.status for reply in replies] == [200, 200]


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with serving() as server:
        client = await server.client()
        client.send(b"".join(post(b"%d" % number) for number in range(10)))
        bodies = [(await client.reply()).body for _ in range(10)]

    assert bodies == [b"%d" % number for number in range(10)]


async def test_too_many_requests_ahead_end_the_connection_after_their_replies() -> None:
    """All accepted requests are answered. The last reply says that the connection ends."""
    async with serving(ahead=3) as server:
        client = await server.client()
        client.send(GET * 50)
        replies = [await client.reply() for _ in range(4)]
        rest = await client.ended()

    assert [reply.status for reply in replies] == [200] * 4
    assert [reply.headers.get("connection") for reply in replies] == [None, None, None, "close"]
    assert rest == b""


@pytest.mark.parametrize("rest", [b"no size\r\n", b""])
async def test_body_sent_ahead_that_cannot_be_read_ends_the_connection(rest: bytes) -> None:
    """It is wrong, or does not arrive in time. The request before it is answered, and nothing waits for the client to close."""
    async with serving(arrive=2) as server:
        client = await server.client()
        client.send(GET.replace(b"/a", b"/wait") + b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n" + rest)
        await until(lambda: server.refused)
        server.gate.set()
        reply, after = await client.reply(), await client.ended()

    assert (reply.status, reply.headers["connection"], after) == (200, "close", b"")
    assert server.reached == [("/wait", b"")]
    assert server.connections.bodies_bytes == 0


async def test_client_that_leaves_ends_all_of_its_requests() -> None:
    """The request in progress is told, also if others wait behind it. Those never begin."""
    async with serving() as server:
        client = await server.client()
        client.send(b"GET /wait HTTP/1.1\r\n\r\n" + GET * 5)
        await until(lambda: server.reached)
        client.leave()
        await until(lambda: server.left)
        server.gate.set()
        other = await server.client()
        await other.ask(HEALTH)

    assert server.left == ["/wait"]
    assert [path for path, _ in server.reached] == ["/wait", "/healthz"]


async def test_client_that_left_before_its_request_began_is_noticed() -> None:
    """Request and end may arrive in one turn of the loop."""
    connections, transport = Connections(Limits(connections=1), Admission(0.1, 32)), asyncio.Transport()
    left = list[str]()

    async def app(scope: Scope, _: Receive, __: Send) -> None:
        scope[ON_END](lambda: left.append(scope["path"]))

    connection = Connection(configuration(app), ServerState(), {"connections": connections}, asyncio.get_running_loop())
    connection.connection_made(transport)
    connection.data_received(GET)
    connection.connection_lost(ConnectionResetError())
    await until(lambda: not connection.tasks)

    assert left == ["/a"]
    assert connections.admission.in_flight == 0


async def test_request_too_many_is_refused_at_once() -> None:
    """The reply is a problem with Retry-After, without a body for HEAD. Health checks are answered all the same."""
    admission = Admission(0.1, 1)
    admission.limit = 0
    async with serving(admission=admission) as server:
        client = await server.client()
        refused = await client.ask(post(b"body"))
        client.send(b"HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await client.reply(head=True)
        health = await client.ask(HEALTH)
        closing = await client.ask(GET[:-2] + b"connection: close\r\n\r\n")
        rest = await client.ended()
        await until(lambda: sum(requests for _, requests in server.refused) == 3)

    assert (refused.status, refused.headers["retry-after"], head.status, health.status) == (503, "1", 503, 200)
    assert refused.detail == "more requests arrive than are answered in time; try again"
    assert (closing.status, closing.headers["connection"], rest) == (503, "close", b"")
    assert [path for path, _ in server.reached] == ["/healthz"]


async def test_refused_connection_is_read_again_when_its_time_has_come() -> None:
    """So a client that ignores Retry-After has to wait."""
    admission = Admission(0.1, 1)
    admission.limit = 0
    async with serving(admission=admission, retry_after_s=0.3) as server:
        client = await server.client()
        refused = await client.ask(GET)
        admission.limit = 100
        client.send(GET)
        other = await server.client()
        await other.ask(HEALTH)
        before = list(server.reached)
        answered = await client.reply()

    assert (refused.status, before, answered.status) == (503, [("/healthz", b"")], 200)


async def test_batch_counts_as_its_requests_until_it_is_answered() -> None:
    """So a batch fills the places of many others. With the places full, a batch that is on its way in is refused, too."""
    admission = Admission(0.1, 1)
    admission.limit = 2
    async with serving(admission=admission) as server:
        first, late, other = await server.client(), await server.client(), await server.client()
        batch = post(b"50").replace(b"/a", b"/batch")
        late.send(batch[:-1])  # its head is admitted, its body arrives later
        first.send(batch)
        await until(lambda: admission.in_flight == 50)
        refused = await other.ask(GET)
        late.send(batch[-1:])
        too_late = await late.reply()
        server.gate.set()
        answered = await first.reply()
        await until(lambda: admission.in_flight == 0)

    assert (refused.status, too_late.status, answered.status) == (503, 503, 200)


async def test_page_of_another_origin_is_refused_by_the_application() -> None:
    """The page can read the reply only with headers that the application adds."""
    admission = Admission(0.1, 1)
    admission.limit = 0
    async with serving(admission=admission) as server:
        client = await server.client()
        reply = await client.ask(GET[:-2] + b"origin: http://example.org\r\n\r\n")

    # this application adds no such header, the server would
    assert (reply.status, "retry-after" in reply.headers) == (503, False)
    assert server.reached == []


async def test_full_table_closes_the_connection_that_is_idle_longest() -> None:
    """Connections that are not used do not keep others out."""
    async with serving(connections=3, tick_s=0.05) as server:
        idle = [await server.client() for _ in range(3)]
        for client in idle[1:]:
            await client.ask(GET)
        await until(lambda: server.connections.tick > 1)
        await idle[0].ask(GET)
        new = await server.client()
        reply = await new.ask(GET)
        ended = await idle[1].ended() if idle[1].reader.at_eof() else b""
        kept = await idle[0].ask(GET)

    assert (reply.status, kept.status, ended) == (200, 200, b"")


async def test_full_table_of_busy_connections_still_answers_health() -> None:
    """Other requests are refused with an error. Beyond the spare places, connections are closed."""
    async with serving(connections=2, spare=2) as server:
        busy = [await server.client() for _ in range(2)]
        for client in busy:
            client.send(b"GET /wait HTTP/1.1\r\n\r\n")
        await until(lambda: len(server.reached) == 2)
        health = await server.client()
        answered = await health.ask(HEALTH)
        other = await server.client()
        refused = await other.ask(GET)
        ends = [await health.ended(), await other.ended()]
        server.gate.set()
        replies = [await client.reply() for client in busy]

    assert (answered.status, refused.status, refused.headers["connection"]) == (200, 503, "close")
    assert ends == [b"", b""]
    assert [reply.status for reply in replies] == [200, 200]


async def test_connection_beyond_the_spare_places_is_closed() -> None:
    async with serving(connections=1, spare=0) as server:
        busy = await server.client()
        busy.send(b"GET /wait HTTP/1.1\r\n\r\n")
        await until(lambda: server.reached)
        beyond = await server.client()
        rest = await beyond.ended()

    assert rest == b""


async def test_client_that_does_not_read_is_closed_and_takes_no_place_in_flight() -> None:
    """Its replies fill the socket's buffers and then wait. The service does not become slower by that."""
    async with serving(unread=5) as server:
        client = await server.client()
        cast("asyncio.Transport", client.writer.transport).pause_reading()
        large = post(b"x" * 500_000).replace(b"/a", b"/large")
        client.send(large)
        await until(lambda: server.reached)
        client.send(large)
        await until(lambda: server.left or len(server.reached) == 2)
        await until(lambda: server.left)

    assert server.connections.admission.in_flight == 0


async def test_upgrade_that_is_not_wanted_leaves_the_connection_usable() -> None:
    """Java's client offers HTTP/2 in its first request. This request and the next are answered by HTTP/1.1."""
    offer = GET[:-2] + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"
    async with serving() as server:
        client = await server.client()
        client.send(offer + GET)
        replies = [await client.reply(), await client.reply(), await client.ask(offer), await client.ask(GET)]

    assert [reply.status for reply in replies] == [200] * 4


async def test_what_is_no_http_is_a_problem() -> None:
    """The connection is closed after it."""
    async with serving() as server:
        client = await server.client()
        reply = await client.ask(b"hello there\r\n\r\n")
        rest = await client.ended()

    assert (reply.status, reply.detail, rest) == (400, "this is no HTTP/1.1 request", b"")
