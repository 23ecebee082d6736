"""The clients of redis-py: one per process for threads, one per event loop, and their bounds.

Owns: how clients are made, kept and closed, across forks. Must not know: what is kept in Redis.
Loaded by `tokenguard.redis` only.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from tokenguard._flow.forks import renew_after_fork
from tokenguard._io.pools import closing_with_its_loop
from tokenguard._io.workers import Workers
from tokenguard.errors import ConfigurationError

try:
    import redis
    import redis.asyncio
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.backoff import NoBackoff
    from redis.connection import parse_url
    from redis.retry import Retry
except ImportError:
    raise ImportError('tokenguard.redis needs redis-py: pip install "tokenguard-oauth[redis]"') from None

if TYPE_CHECKING:
    _Connection = Any
else:
    _Connection = object

Factories: TypeAlias = tuple[Callable[[], redis.Redis], Callable[[], redis.asyncio.Redis]]


def factories(given: object, *, timeout: float, connections: int) -> Factories:
    """Two functions that make a client, from a URL or as given. Raises `ConfigurationError` for anything else."""
    if isinstance(given, str):
        return _from_url(given, timeout, connections)
    if isinstance(given, tuple) and len(given) == 2 and all(callable(make) for make in given):
        return cast("Factories", given)
    raise ConfigurationError("give RedisStore a URL, or two functions: one makes a client, one an asyncio client")


def _from_url(url: str, timeout: float, connections: int) -> Factories:
    try:
        cast("Any", parse_url)(url)
    except Exception:  # noqa: BLE001 - its message may quote the URL, and that may hold a password
        raise ConfigurationError("a Redis URL must be like redis://host:6379/0, rediss://... or unix://...") from None
    bounds: dict[str, Any] = {
        "max_connections": connections,
        "timeout": timeout,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
    }
    # One retry, at once: that Redis closed an idle connection is noticed only when it is used.
    broken = (redis.ConnectionError,)

    def make() -> redis.Redis:
        retry = Retry(NoBackoff(), 1, broken)
        return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(url, retry=retry, **bounds))

    def make_async() -> redis.asyncio.Redis:
        retry = AsyncRetry(NoBackoff(), 1, broken)
        pool: Any = redis.asyncio.BlockingConnectionPool.from_url(url, retry=retry, **bounds)
        by_name = _BY_NAME.get(pool.connection_class)
        if by_name is not None:  # a socket of the file system has no name to look up
            pool.connection_class = partial(by_name, Workers())
        return redis.asyncio.Redis.from_pool(pool)

    return make, make_async


class _Named(_Connection):  # type: ignore[misc]
    """A connection whose host name is looked up in a thread of ours: redis-py uses the loop's default executor, whose
    few threads belong to the application."""

    def __init__(self, workers: Workers, **settings: Any) -> None:
        super().__init__(**settings)
        self._workers = workers
        self._opened: socket.socket | None = None

    async def _connect(self) -> None:
        if not _is_address(self.host):
            async with asyncio.timeout(self.socket_connect_timeout):
                self._opened = await _open(self._workers, self.host, int(self.port))
        await super()._connect()

    def _connection_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = dict(super()._connection_arguments())
        opened, self._opened = self._opened, None
        if opened is not None:
            host = arguments.pop("host")
            del arguments["port"]
            arguments["sock"] = opened
            if "ssl" in arguments:
                arguments["server_hostname"] = host
        return arguments


class _ByName(_Named, redis.asyncio.Connection):
    pass


class _SecuredByName(_Named, redis.asyncio.SSLConnection):
    pass


_BY_NAME: dict[Any, Any] = {redis.asyncio.Connection: _ByName, redis.asyncio.SSLConnection: _SecuredByName}


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _open(workers: Workers, host: str, port: int) -> socket.socket:
    """A connection to the first address of `host` that accepts one."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    failure = OSError("the name has no address")
    for family, kind, protocol, _, address in await asyncio.wrap_future(workers.submit(host, look_up)):
        opened = socket.socket(family, kind, protocol)
        opened.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(opened, address)
        except OSError as error:
            opened.close()
            failure = error
        except BaseException:
            opened.close()
            raise
        else:
            return opened
    raise failure


class Clients:
    """The clients of this process. A child process makes its own: it cannot use its parent's sockets."""

    def __init__(self, makers: Factories) -> None:
        self._make, self._make_async = makers
        self._parents: list[object] = []
        self._begin()
        renew_after_fork(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._shared: redis.Redis | None = None
        self._by_loop: dict[asyncio.AbstractEventLoop, tuple[redis.asyncio.Redis, AsyncGenerator[None]]] = {}

    def after_fork(self) -> None:
        """The parent's clients are neither used nor released: redis-py would close a released client and wait for its
        pool's lock, which a thread of the parent may have held."""
        self._parents.append((self._shared, self._by_loop))
        self._begin()

    def for_threads(self) -> redis.Redis:
        """The client that all threads share."""
        with self._lock:
            if self._shared is None:
                self._shared = self._make()
            return self._shared

    async def for_loop(self) -> redis.asyncio.Redis:
        """The client of the running event loop, which closes with it."""
        loop = asyncio.get_running_loop()
        with self._lock:
            found = self._by_loop.get(loop)
            if found is not None:
                return found[0]
            client = self._make_async()
            closing = closing_with_its_loop([client])
            self._by_loop[loop] = client, closing
            # A loop that was closed without `shutdown_asyncgens` closed no client: its sockets close when released.
            ended = [self._by_loop.pop(other) for other in tuple(self._by_loop) if other.is_closed()]
        del ended  # outside the lock: a released client may warn, which may run any code
        await anext(closing)
        return client

    def close(self) -> None:
        """Close the client of the threads; a later call makes a new one."""
        with self._lock:
            client, self._shared = self._shared, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the client of the running loop; a later call makes a new one."""
        with self._lock:
            found = self._by_loop.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found[1].aclose()
