"""`RedisStore`: its settings and its round trips.

Owns: what is read and written in one round trip, and the bounds of one. Must not know: how a value is spelt (`values`),
how clients are made (`clients`), what an entry rejects.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self

from tokenguard._flow.wall_time import wall_time
from tokenguard._oauth.denylist import MARGIN, Entry, Key
from tokenguard._settings import number, whole
from tokenguard.errors import ConfigurationError
from tokenguard.redis.attempts import Attempts
from tokenguard.redis.clients import Clients, Factories, factories
from tokenguard.redis.local_copy import LocalCopy
from tokenguard.redis.values import answer_of, entry_of, milliseconds, moment_of

__all__ = ["RedisStore"]

# A second call only ever strengthens an entry, also when two processes make it at once (`Entry.merged`).
_KEEP: Final = """
local untl, before, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local function later(old, new)
  return tonumber(old) and tonumber(old) < math.huge and tonumber(old) > tonumber(new)
end
local old = redis.call('GET', KEYS[1])
if old then
  local u, b = string.match(old, '^(%S+) (%S+)$')
  if later(u, untl) then untl = u end
  if b == '-' or (before ~= '-' and later(b, before)) then before = b end
  ttl = math.max(ttl, redis.call('PTTL', KEYS[1]))
end
redis.call('SET', KEYS[1], untl .. ' ' .. before, 'PX', string.format('%.0f', ttl))
"""


class RedisStore:
    """Give it to `RevocationList(store)`, to `Introspection(store=...)`, to `DPoP(replay=...)`, or to all of them.

    - `url_or_clients`: a URL as redis-py reads it, or two functions that make a synchronous and an asyncio client (for
      Sentinel, or a TLS set-up of your own); a client must give bytes, not str
    - `prefix`: printable ASCII that begins every key, so that services which must not share stay separate in one Redis
    - `local_copy_max_age`: seconds for which an entry that this process has read is used without another read; a
      revocation may take effect that much later. 0: each request reads, which costs one round trip
    - `local_copy_size`: entries of that copy
    - `timeout`: seconds, see below
    - `max_connections`: of each client
    - `clock`: wall time in seconds, for when an entry may be removed
    - `monotonic`: seconds, for the age of local copies and for the pause below

    After 3 failures to answer in a row, of threads and loops together, there is a pause of a second: calls fail at
    once, then one of them probes. `timeout` bounds a whole round trip in a loop; in threads it bounds each part: a free
    connection, connecting, the answer.

    Errors of redis-py are raised unchanged; `RevocationList` and `Introspection` handle them. One store
    serves threads and event loops and survives a fork. Connections of a loop close with it; `close()` and `aclose()`
    (once in each loop that used it) release them earlier, and a later call opens new ones.

    Raises `ConfigurationError` for a setting that may not be.
    """

    def __init__(
        self,
        url_or_clients: str | Factories,
        *,
        prefix: str = "tokenguard:",
        local_copy_max_age: float = 0,
        local_copy_size: int = 10_000,
        timeout: float = 1,
        max_connections: int = 50,
        clock: Callable[[], float] = wall_time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        number("local_copy_max_age", local_copy_max_age)
        whole("local_copy_size", local_copy_size, minimum=1)
        number("timeout", timeout, above=True)
        whole("max_connections", max_connections, minimum=1)
        self._clients = Clients(factories(url_or_clients, timeout=timeout, connections=max_connections))
        self._prefix = _prefix(prefix)
        self._max_age = local_copy_max_age
        self._timeout = timeout
        self._clock = clock
        self._monotonic = monotonic
        self._copy = LocalCopy(local_copy_size)
        self._attempts = Attempts(timeout, monotonic)

    def __repr__(self) -> str:
        return f"RedisStore(prefix={self._prefix!r}, local_copy_max_age={self._max_age!r})"

    # -- the revocation list -------------------------------------------------------------------------------------------

    def local_entries(self, keys: tuple[Key, ...]) -> list[Entry | None] | None:
        """The entries read within `local_copy_max_age`, None if any is older."""
        return self._copy.find(keys, self._monotonic() - self._max_age) if self._max_age else None

    def read_entries(self, keys: tuple[Key, ...]) -> list[Entry | None]:
        """One MGET."""
        asked = self._monotonic()
        with self._from_thread() as client:
            values = client.mget([self._deny(key) for key in keys])
        return self._copied(keys, [entry_of(value) for value in values], asked)

    async def read_entries_async(self, keys: tuple[Key, ...]) -> list[Entry | None]:
        """`read_entries` for event loops."""
        asked = self._monotonic()
        async with self._from_loop() as client:
            values = await client.mget([self._deny(key) for key in keys])
        return self._copied(keys, [entry_of(value) for value in values], asked)

    def keep_entry(self, key: Key, entry: Entry) -> None:
        """Add an entry, or strengthen the present one, atomically."""
        with self._from_thread() as client:
            client.eval(_KEEP, 1, *self._kept(key, entry))
        self._copy.forget(key)

    async def keep_entry_async(self, key: Key, entry: Entry) -> None:
        """`keep_entry` for event loops."""
        async with self._from_loop() as client:
            await client.eval(_KEEP, 1, *self._kept(key, entry))
        self._copy.forget(key)

    # -- introspection answers -----------------------------------------------------------------------------------------

    def read_answer(self, key: bytes) -> tuple[bytes, float] | None:
        """The answer, and the seconds for which it may still be used, by Redis' own clock. One round trip."""
        with self._from_thread() as client, client.pipeline(transaction=True) as pipe:
            pipe.get(self._answer(key))
            pipe.pttl(self._answer(key))
            return answer_of(pipe.execute())

    async def read_answer_async(self, key: bytes) -> tuple[bytes, float] | None:
        """`read_answer` for event loops."""
        async with self._from_loop() as client, client.pipeline(transaction=True) as pipe:
            pipe.get(self._answer(key))
            pipe.pttl(self._answer(key))
            return answer_of(await pipe.execute())

    def write_answer(self, key: bytes, answer: bytes, seconds: float) -> None:
        """Share an answer for `seconds` from now, however late Redis gets it. Two round trips."""
        if lifetime := milliseconds(seconds):
            with self._from_thread() as client:
                end = moment_of(client.time()) + lifetime
                with client.pipeline(transaction=True) as pipe:
                    pipe.set(self._answer(key), answer)
                    pipe.pexpireat(self._answer(key), end)
                    pipe.execute()

    async def write_answer_async(self, key: bytes, answer: bytes, seconds: float) -> None:
        """`write_answer` for event loops."""
        if lifetime := milliseconds(seconds):
            async with self._from_loop() as client:
                end = moment_of(await client.time()) + lifetime
                async with client.pipeline(transaction=True) as pipe:
                    pipe.set(self._answer(key), answer)
                    pipe.pexpireat(self._answer(key), end)
                    await pipe.execute()

    # -- DPoP proofs ---------------------------------------------------------------------------------------------------

    def use_proof(self, key: bytes, seconds: float) -> bool:
        """Whether this is the first use of `key` in `seconds`. One round trip for a first use, atomic: `SET` with
        `NX`."""
        name, use, lifetime = self._proof(key), _use(), max(1, milliseconds(seconds))
        with self._from_thread() as client:
            return client.set(name, use, px=lifetime, nx=True) is True or _is(client.get(name), use)

    async def use_proof_async(self, key: bytes, seconds: float) -> bool:
        """`use_proof` for event loops."""
        name, use, lifetime = self._proof(key), _use(), max(1, milliseconds(seconds))
        async with self._from_loop() as client:
            return await client.set(name, use, px=lifetime, nx=True) is True or _is(await client.get(name), use)

    # -- clients -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections of threads."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those of threads."""
        await self._clients.aclose()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @contextmanager
    def _from_thread(self) -> Generator[Any]:
        """The client for one round trip. Raises at once during a pause."""
        with self._attempts.attempt():
            yield self._clients.for_threads()

    @asynccontextmanager
    async def _from_loop(self) -> AsyncGenerator[Any]:
        """`_from_thread` for event loops, within `timeout` as a whole."""
        with self._attempts.attempt():
            async with asyncio.timeout(self._timeout):
                yield await self._clients.for_loop()

    # -- keys and values -----------------------------------------------------------------------------------------------

    def _deny(self, key: Key) -> str:
        parts = [part.encode("utf-8", "surrogatepass") for part in key]
        digest = hashlib.sha256(b"".join(len(part).to_bytes(4) + part for part in parts))
        return f"{self._prefix}deny:{digest.hexdigest()}"

    def _answer(self, key: bytes) -> str:
        return f"{self._prefix}answer:{key.hex()}"

    def _proof(self, key: bytes) -> str:
        return f"{self._prefix}proof:{key.hex()}"

    def _kept(self, key: Key, entry: Entry) -> tuple[str, str, str, str]:
        before = "-" if entry.issued_before is None else repr(entry.issued_before)
        lifetime = milliseconds(max(0.0, entry.until - self._clock()) + MARGIN)
        return self._deny(key), repr(entry.until), before, str(lifetime)

    def _copied(self, keys: tuple[Key, ...], entries: list[Entry | None], asked: float) -> list[Entry | None]:
        if self._max_age:
            self._copy.remember(keys, entries, asked)
        return entries


def _use() -> bytes:
    """A value that only one use writes. A client repeats a command whose reply was lost; Redis may have executed both,
    and then the second `SET` finds the value of its own use."""
    return secrets.token_hex(16).encode()


def _is(value: object, use: bytes) -> bool:
    return (value.encode() if isinstance(value, str) else value) == use  # a client with `decode_responses` gives text


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ConfigurationError('prefix must be a string of printable ASCII, such as "tokenguard:"')
    return value
