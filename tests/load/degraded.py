"""`python -m tests.load.degraded`: stops Redis again and again, and looks for proposals that a mask should have prevented.

Listeners skip, dislike and play tracks. Each proposal is compared with the events that were acknowledged before its request.
Every ten seconds the embedded Valkey is stopped (SIGSTOP) or continued.
"""

import argparse
import asyncio
import itertools
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from redis import Redis

from service.store import embedded_valkey
from tests.load import systems

LISTENERS, EVENTS_EACH, FREEZE_S = 32, 60, 10.0
_serial = itertools.count()


@dataclass(slots=True)
class _Listener:
    """A listener, the masked tracks with the reason for each, and the last proposals."""

    name: str = field(default_factory=lambda: f"u{next(_serial)}")
    events: int = 0
    kept_out: dict[str, str] = field(default_factory=dict)
    proposed: list[str] = field(default_factory=list)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.degraded", description=str(__doc__).partition("\n")[0])
    made.add_argument("--artifact", type=Path, default=Path("artifacts/current"), help="folder of the model")
    made.add_argument("--seconds", type=float, default=45.0)
    return made


def main() -> None:
    """Run the load, and print the replies and the wrong proposals. Ends with code 1 if there are any."""
    options = parser().parse_args()
    found = Counter[str]()
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_valkey.running(Path(folder)) as url,
        systems.service(options.artifact, url) as service,
        Redis.from_url(url) as redis,
    ):
        process = int(redis.info("server")["process_id"])
        try:
            asyncio.run(_run(service.port, process, options.seconds, found))
        finally:
            os.kill(process, signal.SIGCONT)
    for what, number in sorted(found.items()):
        print(f"{what}: {number:,}")  # noqa: T201  # a terminal program
    sys.exit(1 if any("track" in what for what in found) else 0)


async def _run(port: int, process: int, seconds: float, found: Counter[str]) -> None:
    limits = httpx.Limits(max_connections=LISTENERS)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=20) as client:
        tasks = [asyncio.create_task(_listen(client, found)) for _ in range(LISTENERS)]
        tasks.append(asyncio.create_task(_freeze(process)))
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError):
                raise RuntimeError("a listener ended") from (outcome if isinstance(outcome, BaseException) else None)


async def _freeze(process: int) -> None:
    while True:
        await asyncio.sleep(FREEZE_S)
        os.kill(process, signal.SIGSTOP)
        await asyncio.sleep(FREEZE_S)
        os.kill(process, signal.SIGCONT)


async def _listen(client: httpx.AsyncClient, found: Counter[str]) -> None:
    listener = _Listener()
    while True:
        if listener.events == EVENTS_EACH:
            listener = _Listener()
        track = random.choice(listener.proposed or ["t0001"])
        type = random.choices(["skip", "dislike", "play"], [4, 2, 3])[0]
        event = {"event_id": f"e{listener.events}", "user_id": listener.name, "track_id": track, "type": type}
        listener.events += 1
        posted = await client.post("/v1/events", json=event)
        found[f"events answered {posted.status_code}"] += 1
        if posted.status_code == httpx.codes.OK:
            listener.kept_out.setdefault(track, type)
        reply = (await client.get(f"/v1/users/{listener.name}/next", params={"count": random.choice([5, 20, 100])})).json()
        found[f"replies, {reply['source']}"] += 1
        proposed = [track["track_id"] for track in reply["tracks"]]
        found.update(
            f"tracks, {reply['source']}, {listener.kept_out[track]}" for track in proposed if track in listener.kept_out
        )
        listener.proposed = proposed if reply["source"] == "model" else listener.proposed or proposed


if __name__ == "__main__":
    main()
