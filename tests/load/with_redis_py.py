"""`python -m tests.load.with_redis_py`: the service with redis-py's own asyncio client in place of its Redis connection.

Everything else is the same, so that the benchmark measures what the hand-written connection is worth.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from service.command import main
from service.errors import StoreUnavailableError
from service.store import connections
from service.store.redis_connection import Command


class RedisPyClient:
    """A `RedisClient` of one server: a pool of connections, and a retry, as redis-py has them."""

    def __init__(self, url: str, timeout: timedelta) -> None:
        seconds = timeout.total_seconds()
        self._redis = Redis.from_url(
            url, protocol=2, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 1)
        )

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands as `RedisClient.run` says."""
        try:
            if len(commands) == 1:
                return [await self._redis.execute_command(*commands[0])]  # type: ignore[no-untyped-call]  # untyped there
            async with self._redis.pipeline(transaction=True) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return list(await pipeline.execute(raise_on_error=False))
        except ResponseError as error:
            return [error]
        except (RedisError, OSError) as error:
            raise StoreUnavailableError("Redis is out of reach", cause=error) from error

    async def ping(self) -> None:
        """Return once Redis answers."""
        await self.run([("PING",)])

    async def close(self) -> None:
        """Close all connections."""
        await self._redis.aclose()


if __name__ == "__main__":
    connections.ServerClient = RedisPyClient  # type: ignore[assignment,attr-defined]  # the benchmark alone replaces it
    main()
