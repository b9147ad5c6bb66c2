"""`python -m tests.load.bounds`: measures memory and time of requests with 10,000 tracks, and their effect on other requests.

For each kind of large request and each number of them at once, a new service is started. Its memory is read before and after,
and the kernel reports its peak. Meanwhile another listener asks for tracks every 10 ms.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from model.artifact import load
from service.store import embedded_valkey
from tests.load import artifacts, systems
from tests.load.latencies import summarise

PAUSE_S = 0.01
TIMES = 2
"""Number of large requests that each client posts, one after the other."""


def main() -> None:
    """Measure each kind of large request and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.bounds", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path(".nexttrack/load"), help="folder of artifacts")
    parser.add_argument("--tracks", type=int, default=200_000)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    artifact = artifacts.of_size(options.cache, options.tracks)
    bodies = _bodies(load(artifact).vocabulary.tracks[:10_000])
    with tempfile.TemporaryDirectory() as folder, embedded_valkey.running(Path(folder)) as url:
        for name, body in bodies.items():
            for clients in options.at_once:
                with systems.service(artifact, url) as service:
                    asyncio.run(_measure(service, name, json.dumps(body).encode(), clients))


def _bodies(tracks: list[str]) -> Mapping[str, object]:
    return {
        "10,000 exclude": {"exclude": tracks},
        "1,000 exclude": {"exclude": tracks[:1_000]},
        "10,000 candidates": {"candidates": tracks, "count": 100},
        "10,000 skips": {"history": [{"track_id": track, "outcome": "skipped"} for track in tracks]},
    }


async def _measure(service: systems.System, name: str, body: bytes, clients: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=120) as client:
        for number in range(20):
            await client.get(f"/v1/users/a{number}/next")
        before, over, others, large = service.memory_mb(), asyncio.Event(), list[float](), list[float]()
        listener = asyncio.create_task(_listen(client, others, over))
        answers = await asyncio.gather(*(_post(client, body, large) for _ in range(clients)))
        over.set()
        await listener
    statuses = sorted({f"{status} {source}" for of_client in answers for status, source in of_client})
    taken, given = summarise(large), summarise(others)
    print(  # noqa: T201  # a terminal program
        f"{name}, {clients} at once: {', '.join(statuses)}; {taken.p50:.0f} ms, at most {taken.max:.0f}; "
        f"memory {before:.0f} MB, "
        f"peak {_peak_mb(service):.0f}, afterwards {service.memory_mb():.0f}; others {given.p50:.0f} ms, "
        f"at most {given.max:.0f}",
        flush=True,
    )


async def _post(client: httpx.AsyncClient, body: bytes, latencies: list[float]) -> list[tuple[int, str]]:
    answers = []
    for _ in range(TIMES):
        started = time.perf_counter()
        reply = await client.post("/v1/next", content=body, headers={"Content-Type": "application/json"})
        latencies.append(time.perf_counter() - started)
        answers.append((reply.status_code, reply.json().get("source", "refused")))
    return answers


async def _listen(client: httpx.AsyncClient, latencies: list[float], over: asyncio.Event) -> None:
    while not over.is_set():
        started = time.perf_counter()
        await client.get("/v1/users/b/next")
        latencies.append(time.perf_counter() - started)
        await asyncio.sleep(PAUSE_S)


def _peak_mb(service: systems.System) -> float:
    lines = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
