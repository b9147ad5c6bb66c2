"""`python -m tests.load.kills`: kills the embedded Valkey under a load of events and counts acknowledged events that are lost.

With `--busy`, other processes write and flush files without a pause.
"""

import argparse
import asyncio
import itertools
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
from redis import Redis, RedisError

from service.store import embedded_valkey
from tests.load import systems
from tests.load.durability import SETTINGS, busy_disk

CLIENTS, BATCH = 8, 20


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.kills", description=str(__doc__).partition("\n")[0])
    made.add_argument("--artifact", type=Path, default=Path("artifacts/current"), help="folder of the model")
    made.add_argument("--folder", type=Path, default=Path(".nexttrack"), help="where Valkey and the writers keep their files")
    made.add_argument("--rounds", type=int, default=14)
    made.add_argument("--appendfsync", choices=SETTINGS, default="no", help="the service itself uses `no`")
    made.add_argument("--busy", action="store_true", help="keep the disk busy")
    return made


def main() -> None:
    """Run the rounds and print the losses. Ends with code 1 if an event was lost."""
    options = parser().parse_args()
    acknowledged = lost = bad = 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        url = stack.enter_context(embedded_valkey.running(folder))
        service = stack.enter_context(systems.service(options.artifact, url))
        redis = stack.enter_context(Redis.from_url(url))
        if options.busy:
            stack.enter_context(busy_disk(folder))
        for number in range(options.rounds):
            redis.config_set("appendfsync", options.appendfsync)
            events = asyncio.run(_round(service.port, redis, f"r{number}"))
            _wait_until_back(redis)
            gone = sum(not redis.hexists(f"nexttrack:{{{user}}}:events", event) for user, event in events)
            acknowledged, lost, bad = acknowledged + len(events), lost + gone, bad + bool(gone)
    print(f"{options.appendfsync}: {lost:,} of {acknowledged:,} acknowledged events lost, in {bad} of {options.rounds} rounds")  # noqa: T201  # a terminal program
    sys.exit(1 if lost else 0)


async def _round(port: int, redis: Redis, name: str) -> list[tuple[str, str]]:
    """Post events, then kill Valkey: at a moment when its file lacks acknowledged data, or after five seconds.

    Returns user and event id of each event that was acknowledged before.
    """
    acknowledged: list[tuple[str, str]] = []
    killed = asyncio.Event()

    async def post(client: httpx.AsyncClient, number: int) -> None:
        for batch in itertools.count():
            user = f"{name}-{number}-{batch // 5}"
            events = [
                {"event_id": f"{batch}-{place}", "user_id": user, "track_id": f"t{place}", "type": "play"}
                for place in range(BATCH)
            ]
            reply = await client.post("/v1/events", json={"events": events})
            if killed.is_set():
                return
            if reply.status_code == httpx.codes.OK:
                acknowledged.extend((user, str(event["event_id"])) for event in events)

    async def kill() -> None:
        process = int(redis.info("server")["process_id"])
        await asyncio.sleep(1)
        given_up_at = time.monotonic() + 4
        while time.monotonic() < given_up_at and not redis.info("persistence")["aof_buffer_length"]:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.002)
        os.kill(process, signal.SIGKILL)
        killed.set()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await asyncio.gather(kill(), *(post(client, number) for number in range(CLIENTS)))
    return acknowledged


def _wait_until_back(redis: Redis) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            redis.ping()
            return
        except RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


if __name__ == "__main__":
    main()
