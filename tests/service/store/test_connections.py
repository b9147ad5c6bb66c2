"""The connection to Redis: pipelined, and right through cancellations, restarts and a server that does not answer."""

import asyncio
import os
import signal
import socket
import threading
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis
from redis.exceptions import NoScriptError, ResponseError

from model.events import Event, EventType, HistoryRule
from service.errors import StoreUnavailableError
from service.settings import Settings
from service.store import embedded_valkey, redis_connection
from service.store.connections import RedisClient, connect
from service.store.redis_connection import checked
from service.store.sessions import RedisSessions
from tests.service.applications import NOW_MS

pytestmark = pytest.mark.anyio
LONG = timedelta(seconds=20)


async def _echo(client: RedisClient, number: int) -> tuple[int, int]:
    [reply] = await client.run([("ECHO", number)])
    return number, int(reply)


async def test_cancelled_requests_leave_their_replies_to_nobody(valkey: str) -> None:
    """Half of the requests in flight are cancelled. All others get their own replies, then and later.

    It is no luck: a request is cancelled after it was sent, and before the loop has read its reply from any socket.
    """
    client = connect(valkey, LONG)
    await client.ping()
    [before] = await client.run([("CLIENT", "ID")])
    for start in range(0, 500, 50):
        asks = [asyncio.create_task(_echo(client, number)) for number in range(start, start + 50)]
        await asyncio.sleep(0)  # each of them sends something
        await asyncio.sleep(0)  # the data leaves the process
        for ask in asks[::2]:
            ask.cancel()
        answers = await asyncio.gather(*asks, return_exceptions=True)

        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
        assert answers[1::2] == [(number, number) for number in range(start + 1, start + 50, 2)]
    [after] = await client.run([("CLIENT", "ID")])
    await client.close()

    assert after == before  # one connection did everything; none was lost or left open


async def test_command_that_cannot_be_packed_leaves_the_others_their_replies(valkey: str) -> None:
    """A text without UTF-8 fails the request that has it, and no reply of another request moves to a wrong one."""
    client = connect(valkey, LONG)
    await client.ping()
    broken = client.run([("ECHO", "\ud800")])
    first, failed, second = await asyncio.gather(_echo(client, 1), broken, _echo(client, 2), return_exceptions=True)
    later = await _echo(client, 3)
    await client.close()

    assert isinstance(failed, UnicodeEncodeError)
    assert (first, second, later) == ((1, 1), (2, 2), (3, 3))


async def test_nothing_acknowledged_is_lost_when_redis_is_killed(tmp_path: Path) -> None:
    """The embedded Valkey is killed (SIGKILL) while it writes. It restarts and the store continues, both without help. Every
    event whose reply arrived is there.
    """
    acknowledged: list[str] = []
    settings = Settings(history_events=100_000)

    enough = asyncio.Event()

    async def write(store: RedisSessions, killed: threading.Event) -> None:
        number = 0
        with suppress(StoreUnavailableError):
            while True:
                events = [Event(number + step, EventType.PLAY, f"e{number + step}", "t") for step in range(3)]
                await store.record({"u": events})
                acknowledged.extend(event.event_id for event in events)
                number += 3
                if number >= 300:
                    enough.set()
        assert killed.is_set()

    with embedded_valkey.running(tmp_path) as url:
        client = connect(url, LONG)
        store = RedisSessions(client, settings, HistoryRule(), lambda _: nullcontext())
        killed = threading.Event()
        writing = asyncio.create_task(write(store, killed))
        await enough.wait()
        with Redis.from_url(url) as redis:
            process = int(redis.info("server")["process_id"])
        killed.set()
        os.kill(process, signal.SIGKILL)
        await writing
        found = await _patiently(store)
        await client.close()

    assert len(found) >= len(acknowledged) >= 300
    assert set(range(len(acknowledged))) <= set(found)


async def _patiently(store: RedisSessions) -> list[int]:
    """Return the times of the stored events, as soon as the store answers again."""
    while True:
        try:
            return [entry.at_ms for entry in (await store.read("u", NOW_MS)).history.entries]
        except StoreUnavailableError:
            await asyncio.sleep(0.01)


async def test_silent_redis_is_given_up_in_time() -> None:
    """A Redis that accepts connections and never answers costs one timeout, not a request that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}", timedelta(milliseconds=50))

        with pytest.raises(StoreUnavailableError, match="within 50 ms"):
            await client.run([("PING",)])
        await client.close()


async def test_each_of_many_who_wait_in_vain_is_told() -> None:
    """One timer serves all requests. Later requests time out, too, each with an error of its own."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}", timedelta(milliseconds=50))
        first = asyncio.create_task(client.run([("PING",)]))
        await asyncio.sleep(0.01)
        answers = await asyncio.gather(first, *(client.run([("PING",)]) for _ in range(3)), return_exceptions=True)
        await client.close()

    assert [type(answer) for answer in answers] == [StoreUnavailableError] * 4


async def test_absent_redis_is_not_asked_by_every_request(tmp_path: Path) -> None:
    """After a failed attempt to connect, the next requests fail at once, without an attempt of their own."""
    client = connect(f"unix://{tmp_path}/nobody", LONG)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="out of reach"):
            await client.run([("PING",)])

    with pytest.raises(StoreUnavailableError, match="failed just now"):
        await client.ping()
    await client.close()


async def test_request_in_flight_is_sent_again_on_a_new_connection(valkey: str) -> None:
    """If a connection breaks under a request, the caller does not notice."""
    client, key = connect(valkey, LONG), f"list {uuid4().hex}"
    [own] = await client.run([("CLIENT", "ID")])
    ask = asyncio.create_task(client.run([("BLPOP", key, 0)]))
    with Redis.from_url(valkey) as redis:
        await asyncio.sleep(0)  # it sends something
        await asyncio.sleep(0)  # the data leaves the process
        while not any(client["id"] == str(own) and client["cmd"] == "blpop" for client in redis.client_list()):
            pass
        redis.client_kill_filter(_id=str(own))
        redis.rpush(key, "value")
        [answer] = await ask
        [after] = await client.run([("CLIENT", "ID")])
    await client.close()

    assert answer == [key.encode(), b"value"]
    assert after != own


async def test_reply_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends without end, and never a whole reply, fills no memory. The request ends before its timeout."""
    monkeypatch.setattr(redis_connection, "MAX_REPLY_BYTES", 1_000_000)

    async def send_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(1_000):
                writer.write(b"+OK\r\n+OK\r\n$2147483647\r\n" + 2_000_000 * b"x")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(send_on, "127.0.0.1", 0)
    client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", LONG)
    with pytest.raises(StoreUnavailableError, match="out of reach"):
        await client.run([("GET", "key")])
    await client.close()
    server.close()


def test_error_of_redis_is_raised_unless_the_caller_expects_it() -> None:
    """An unknown script is loaded by `run_script`, so it is no refusal. The error for clients does not show what Redis said."""
    replies = [b"1", NoScriptError("NOSCRIPT No matching script"), ResponseError("WRONGTYPE Operation against a key")]

    assert checked(replies, "WRONGTYPE") == replies
    with pytest.raises(StoreUnavailableError, match="Redis refused the request"):
        checked(replies)
    with pytest.raises(StoreUnavailableError, match="Redis refuses writes"):
        checked([ResponseError("OOM command not allowed")], "WRONGTYPE")


async def test_refused_command_harms_no_other(valkey: str) -> None:
    """The error is the reply to its own command, in its place."""
    client = connect(valkey, LONG)
    replies = await asyncio.gather(_echo(client, 1), client.run([("NONSENSE",)]), _echo(client, 2))
    await client.close()

    assert (replies[0], replies[2]) == ((1, 1), (2, 2))
    assert "unknown command" in str(replies[1][0])


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("notices", ["write", "ping"])
async def test_failover_that_cuts_no_connection_is_noticed(tmp_path: Path, notices: str, batch: int) -> None:
    """A server that became a replica still answers but refuses writes. The request that finds this out gets the error that the
    store is unavailable. The next request goes to the server that the name leads to by then.
    """
    name, events = tmp_path / "name", {f"u{number}": [Event(1, EventType.PLAY, "e", "t")] for number in range(batch)}
    with embedded_valkey.running(tmp_path / "old") as old, embedded_valkey.running(tmp_path / "new") as new:
        name.symlink_to(old.removeprefix("unix://"))
        client = connect(f"unix://{name}", LONG)
        store = RedisSessions(client, Settings(), HistoryRule(), lambda _: nullcontext())
        await store.record(events)
        name.unlink()
        name.symlink_to(new.removeprefix("unix://"))
        with Redis.from_url(old) as redis:
            redis.replicaof("127.0.0.1", "1")
        with pytest.raises(StoreUnavailableError, match="read-only replica"):
            await (client.ping() if notices == "ping" else store.record(events))
        await client.ping()
        recorded = await store.record(events)
        await client.close()

    assert list(recorded.values()) == [[True]] * batch  # the new server has none of the old one's data here


async def test_lasting_replica_is_not_connected_to_by_every_write(tmp_path: Path) -> None:
    """If only a replica is there, reads use one connection, whatever writes are refused meanwhile."""
    with embedded_valkey.running(tmp_path) as url:
        client = connect(url, LONG)
        store = RedisSessions(client, Settings(), HistoryRule(), lambda _: nullcontext())
        await store.read("u", NOW_MS)
        with Redis.from_url(url) as redis:
            redis.replicaof("127.0.0.1", "1")
            before = int(redis.info("stats")["total_connections_received"])
            for _ in range(20):
                with pytest.raises(StoreUnavailableError):
                    await store.record({"u": [Event(1, EventType.PLAY, "e", "t")]})
                await store.read("u", NOW_MS)
            after = int(redis.info("stats")["total_connections_received"])
        await client.close()

    assert after - before < 20


REFUSALS = {
    "memory is full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "too few replicas": (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    "a replica": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
}


@pytest.mark.parametrize("reason", REFUSALS)
async def test_redis_that_refuses_writes_is_not_ready(tmp_path: Path, reason: str) -> None:
    """It answers reads, and the check whether it accepts writes has written nothing. It is ready once it accepts them again."""
    refuse, accept = REFUSALS[reason]
    with embedded_valkey.running(tmp_path) as url, Redis.from_url(url) as redis:
        client = connect(url, LONG)
        await client.ping()
        redis.execute_command(*refuse)
        with pytest.raises(StoreUnavailableError, match=r"Redis refuses writes: .+") as refusal:
            await client.ping()
        read = await client.run([("GET", "nothing")])
        redis.execute_command(*accept)
        await client.ping()
        keys = redis.keys()
        await client.close()

    assert refusal.value.detail == "Redis refuses writes"
    assert (read, keys) == ([None], [])


@pytest.mark.parametrize(
    "url",
    ["redis://user:secret@127.0.0.1:1", "unix:///a/secret/place", "redis+cluster://127.0.0.1:1", "redis://secret.invalid"],
)
async def test_clients_are_not_told_where_redis_is(url: str) -> None:
    """The log has the cause with the address. `detail`, which clients get, has neither address, port nor path."""
    client = connect(url, LONG)
    with pytest.raises(StoreUnavailableError) as failure:
        await client.run([("PING",)])
    await client.close()

    assert failure.value.detail in ("Redis is out of reach", "Redis Cluster is out of reach")
    assert len(str(failure.value)) > len(failure.value.detail)


async def test_cluster_out_of_reach_is_said() -> None:
    """A cluster that cannot be found gives the same error as a server that cannot."""
    client = connect("redis+cluster://127.0.0.1:1", timedelta(milliseconds=500))

    with pytest.raises(StoreUnavailableError, match="Cluster"):
        await client.ping()
    await client.close()
