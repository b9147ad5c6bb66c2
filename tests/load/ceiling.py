"""The framework's limit: a FastAPI route that reads one value from Redis and replies, without any code of ours.

`python -m tests.load.ceiling PORT REDIS_URL` serves it like the service: uvicorn, uvloop, httptools, hiredis, one process.
"""

import sys
from typing import Any

import redis.asyncio
import uvicorn
from fastapi import FastAPI


def create_app(url: str) -> FastAPI:
    """Make the application."""
    app, store = FastAPI(), redis.asyncio.from_url(url)

    @app.get("/v1/users/{user_id}/next")
    async def read(user_id: str, count: int = 10) -> dict[str, Any]:
        found = await store.get(user_id)
        return {"user_id": user_id, "count": count, "found": found is not None}

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[2]), port=int(sys.argv[1]), access_log=False, log_level="error")
