"""`python -m tests.load.keys`: what the guard before every request costs, in microseconds of CPU time.

It is measured alone, and beside a whole request of the fast path in the same process, with a small model and a store in memory.
Such a request lacks the HTTP parser, the socket and Redis. A real one takes longer, so the printed share is an upper bound. All
kinds are measured in turns. The least of the rounds counts, because other work on the machine only adds to it.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.types import Scope

from model.artifact import Artifact
from model.graphs import Graphs
from service.app import create_app
from service.http.access.guard import Access
from service.http.access.keys import digest
from service.http.access.tokens import Tokens, with_public_keys, with_secret
from service.http.fast_path import FastPath
from service.observing.metrics import Metrics
from service.settings import Settings
from tests.service import artifacts
from tests.service.fakes import MemorySessions, MemoryTakeDowns

AT_ONCE = 16
SECRET = "a-secret-as-long-as-token_urlsafe-makes-one"  # noqa: S105  # of this measurement alone
KEYS = {"api_keys": f"web:{SECRET},app:another", "admin_keys": "ops:a-third"}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "no keys": {},
    "3 keys": KEYS,
    "100 keys": {"api_keys": ",".join([f"web:{SECRET}", *(f"k{number}:s{number}" for number in range(99))])},
    "3 keys and both limits": KEYS | {"rate_per_key": 1e6, "rate_per_user": 1e6},
    "a listener token": {"jwt_key": SECRET},
}
"""Settings of each kind."""


def main(rounds: int, calls: int) -> None:
    """Print a line for each kind, and what the first sight of a token costs."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = artifacts.load(Path(folder))
        guards: dict[str, list[float]] = {kind: [] for kind in KINDS}
        requests: list[float] = []
        for _ in range(rounds):
            for kind, found in guards.items():
                found.append(guard_us(kind, calls))
            requests.append(asyncio.run(whole_us(artifact, calls)))
    request_us = min(requests)
    print(f"a request of the fast path without keys: {request_us:.1f} us")  # noqa: T201  # a terminal program
    without = min(guards["no keys"])
    for kind, found in guards.items():
        share = 100 * (min(found) - without) / request_us
        print(f"{kind}: {min(found):.1f} us (median {median(found):.1f}), {share:.1f} % of a request more")  # noqa: T201  # as above
    for algorithm, us in first_sight_us(max(1, calls // 100)).items():
        print(f"a token that is seen for the first time, {algorithm}: {us:.0f} us")  # noqa: T201  # as above


def guard_us(kind: str, calls: int) -> float:
    """CPU time for one request of the guard, and of the metrics, which count by key."""
    guard, scope, metrics = Access(Settings.model_validate(KINDS[kind])), _scope(kind), Metrics()
    headers = dict(scope["headers"])
    start = time.process_time_ns()
    for _ in range(calls):
        refused = guard(scope, headers)
        metrics.answered(scope, 200, 0.001)
    spent = time.process_time_ns() - start
    assert refused is None, kind
    return spent / calls / 1_000


async def whole_us(artifact: Artifact, calls: int) -> float:
    """CPU time of one whole request without keys, with `AT_ONCE` of them in flight."""
    store, take_downs = MemorySessions(artifact.manifest.history), MemoryTakeDowns()
    app = create_app(
        Settings(artifact=artifact.folder), artifact, Graphs(artifact, threads=1), store=store, take_downs=take_downs
    )
    async with app.router.lifespan_context(app) as state:
        await _ask(state or {}, AT_ONCE)  # what the first requests alone cost
        start = time.process_time_ns()
        await asyncio.gather(*(_ask(state or {}, calls // AT_ONCE) for _ in range(AT_ONCE)))
        return (time.process_time_ns() - start) / (calls // AT_ONCE * AT_ONCE) / 1_000


async def _ask(state: Mapping[str, Any], times: int) -> None:
    fast_path: FastPath = state["fast_path"]
    scope = _scope("no keys")

    def write(head: bytes, _: bytes) -> None:
        assert b" 200 OK" in head

    for _ in range(times):
        asked = fast_path.recognise(b"GET", scope["raw_path"] + b"?" + scope["query_string"], scope["headers"], state)
        assert asked is not None
        make = asked.read(b"")
        assert make is not None
        await fast_path.answer(asked, make, write)


def _scope(kind: str) -> Scope:
    """A request of a listener's player."""
    presented = SECRET if kind != "a listener token" else jwt.encode({"sub": "ann", "exp": 2**33}, SECRET, algorithm="HS256")
    path, headers = "/v1/users/ann/next", [(b"host", b"127.0.0.1:8000")]
    if kind != "no keys":
        headers.append((b"authorization", f"Bearer {presented}".encode()))
    target = {"path": path, "raw_path": path.encode(), "query_string": b"count=20"}
    return {"type": "http", "method": "GET", "headers": headers, **target}


def first_sight_us(times: int) -> Mapping[str, float]:
    """CPU time to verify a token that is not remembered, for each algorithm."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    claims = [{"sub": f"u{number}", "exp": 2**33} for number in range(times)]
    return {
        "HS256": _verify_us(with_secret(SECRET), [jwt.encode(claim, SECRET, algorithm="HS256") for claim in claims]),
        "ES256": _verify_us(with_public_keys(public), [jwt.encode(claim, private, algorithm="ES256") for claim in claims]),
    }


def _verify_us(verified: Tokens, tokens: Sequence[str]) -> float:
    start = time.process_time_ns()
    for token in tokens:
        verified.user(token.encode(), digest(token.encode()))
    return (time.process_time_ns() - start) / len(tokens) / 1_000


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.load.keys", description=__doc__)
    made.add_argument("--rounds", type=int, default=7, help="rounds, in turns (%(default)s)")
    made.add_argument("--calls", type=int, default=20_000, help="calls of each round (%(default)s)")
    return made


if __name__ == "__main__":
    options = parser().parse_args()
    main(options.rounds, options.calls)
