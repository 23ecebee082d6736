"""`RedisStore`: a revocation list, introspection answers and used DPoP proofs, shared between processes and hosts
through Redis.

Owns: the keys and values in Redis. Must not know: what an entry
refuses, what an answer means. Needs the extra `redis`.

Key layout. Digests are SHA-256 in hex; no token, issuer or name can be read from a key. Every key expires by itself.

    <prefix>deny:<digest>    of kind, issuer and value, each after its length in 4 bytes; kind is jti, client_id or sub.
                             Value: "<until> <issued_before>", NumericDates, the second "-" for a single token.
                             Expires an hour after <until>.
    <prefix>answer:<digest>  of the issuer, the settings and the SHA-256 of the token. Value: the JSON of the answer.
                             Expires when the answer may no longer be used: cache_ttl, negative_ttl, the token's exp.
    <prefix>proof:<digest>   of the key's thumbprint and the proof's jti. Value: "1". Set only where it is not there, in
                             one step. Expires when the proof cannot pass any more.

Who can write to this Redis can let revoked tokens in again, forge answers, and let proofs be used twice: give it a
password or ACL, and TLS (`rediss:`) where it is on another host.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from math import inf, isfinite
from typing import Any, Final, Self

from cachetools import LRUCache

from tokenguard._flow.forks import renew_after_fork
from tokenguard._flow.wall_time import wall_time
from tokenguard._oauth.denylist import MARGIN, Entry, Key
from tokenguard._settings import number, whole
from tokenguard.errors import ConfigurationError
from tokenguard.redis.attempts import Attempts
from tokenguard.redis.clients import Clients, Factories, factories

__all__ = ["RedisStore"]

_LONGEST: Final = 2**53  # milliseconds; more does not fit a double, and Redis would refuse it
_VALUE: Final = re.compile(rb"(-?[0-9.e+-]{1,32}) (-|-?[0-9.e+-]{1,32})", re.ASCII)
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
    - `prefix`: printable ASCII that begins every key, so that services which must not share keep apart in one Redis
    - `local_copy_max_age`: seconds that what this process has read is not read again, and that a revocation may take
      effect later; 0: each request reads, which costs one round trip
    - `local_copy_size`: entries of that copy
    - `timeout`: seconds, see below
    - `max_connections`: of each client
    - `clock`: wall time in seconds, for when an entry may go
    - `monotonic`: seconds, for the age of local copies and for the pause below

    After 3 failures in a row to answer, in threads and loops together, a Redis is left alone for a second: calls fail
    at once, then one of them probes. `timeout` bounds a whole round trip in a loop; in threads each of its parts: a
    place among the connections, connecting, the answer.

    Whatever redis-py raises leaves as it is; `RevocationList` and `Introspection` decide what it means. One store
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
        self._copy = _Copy(local_copy_size)
        self._attempts = Attempts(timeout, monotonic)

    def __repr__(self) -> str:
        return f"RedisStore(prefix={self._prefix!r}, local_copy_max_age={self._max_age!r})"

    # -- the revocation list
    # ---------------------------------------------------------------------------------------------

    def local_entries(self, keys: tuple[Key, ...]) -> list[Entry | None] | None:
        """What was read within `local_copy_max_age`, None if any of it was not."""
        return self._copy.find(keys, self._monotonic() - self._max_age) if self._max_age else None

    def read_entries(self, keys: tuple[Key, ...]) -> list[Entry | None]:
        """One MGET."""
        asked = self._monotonic()
        with self._from_thread() as client:
            values = client.mget([self._deny(key) for key in keys])
        return self._copied(keys, [_entry(value) for value in values], asked)

    async def read_entries_async(self, keys: tuple[Key, ...]) -> list[Entry | None]:
        """`read_entries` for event loops."""
        asked = self._monotonic()
        async with self._from_loop() as client:
            values = await client.mget([self._deny(key) for key in keys])
        return self._copied(keys, [_entry(value) for value in values], asked)

    def keep_entry(self, key: Key, entry: Entry) -> None:
        """Add an entry or strengthen the one that is there, atomically."""
        with self._from_thread() as client:
            client.eval(_KEEP, 1, *self._kept(key, entry))
        self._copy.forget(key)

    async def keep_entry_async(self, key: Key, entry: Entry) -> None:
        """`keep_entry` for event loops."""
        async with self._from_loop() as client:
            await client.eval(_KEEP, 1, *self._kept(key, entry))
        self._copy.forget(key)

    # -- introspection answers
    # -------------------------------------------------------------------------------------------

    def read_answer(self, key: bytes) -> tuple[bytes, float] | None:
        """The answer and the seconds that it may still be used, by Redis' own clock. One round trip."""
        with self._from_thread() as client, client.pipeline(transaction=True) as pipe:
            pipe.get(self._answer(key))
            pipe.pttl(self._answer(key))
            return _answer(pipe.execute())

    async def read_answer_async(self, key: bytes) -> tuple[bytes, float] | None:
        """`read_answer` for event loops."""
        async with self._from_loop() as client, client.pipeline(transaction=True) as pipe:
            pipe.get(self._answer(key))
            pipe.pttl(self._answer(key))
            return _answer(await pipe.execute())

    def write_answer(self, key: bytes, answer: bytes, seconds: float) -> None:
        """Share an answer for `seconds`."""
        if lifetime := _milliseconds(seconds):
            with self._from_thread() as client:
                client.set(self._answer(key), answer, px=lifetime)

    async def write_answer_async(self, key: bytes, answer: bytes, seconds: float) -> None:
        """`write_answer` for event loops."""
        if lifetime := _milliseconds(seconds):
            async with self._from_loop() as client:
                await client.set(self._answer(key), answer, px=lifetime)

    # -- DPoP proofs
    # -----------------------------------------------------------------------------------------------------

    def use_proof(self, key: bytes, seconds: float) -> bool:
        """Whether this is the first use of `key` in `seconds`. One round trip, atomic: `SET` with `NX`."""
        with self._from_thread() as client:
            return client.set(self._proof(key), b"1", px=max(1, _milliseconds(seconds)), nx=True) is True

    async def use_proof_async(self, key: bytes, seconds: float) -> bool:
        """`use_proof` for event loops."""
        async with self._from_loop() as client:
            return await client.set(self._proof(key), b"1", px=max(1, _milliseconds(seconds)), nx=True) is True

    # -- clients
    # ---------------------------------------------------------------------------------------------------------

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
        """The client for one round trip. Raises at once while Redis is left alone."""
        with self._attempts.attempt():
            yield self._clients.for_threads()

    @asynccontextmanager
    async def _from_loop(self) -> AsyncGenerator[Any]:
        """`_from_thread` for event loops, within `timeout` as a whole."""
        with self._attempts.attempt():
            async with asyncio.timeout(self._timeout):
                yield await self._clients.for_loop()

    # -- keys and values
    # -------------------------------------------------------------------------------------------------

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
        lifetime = _milliseconds(max(0.0, entry.until - self._clock()) + MARGIN)
        return self._deny(key), repr(entry.until), before, str(lifetime)

    def _copied(self, keys: tuple[Key, ...], entries: list[Entry | None], asked: float) -> list[Entry | None]:
        if self._max_age:
            self._copy.remember(keys, entries, asked)
        return entries


class _Copy:
    """What this process read, and when. Bounded; the lock is held for memory only."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._read: LRUCache[Key, tuple[Entry | None, float]] = LRUCache(self._size)

    def find(self, keys: Sequence[Key], oldest: float) -> list[Entry | None] | None:
        with self._lock:
            found = [self._read.get(key, (None, -inf)) for key in keys]
        return [entry for entry, _ in found] if all(asked > oldest for _, asked in found) else None

    def remember(self, keys: Sequence[Key], entries: Sequence[Entry | None], asked: float) -> None:
        with self._lock:
            self._read.update({key: (entry, asked) for key, entry in zip(keys, entries, strict=True)})

    def forget(self, key: Key) -> None:
        with self._lock:
            self._read.pop(key, None)


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ConfigurationError('prefix must be a string of printable ASCII, such as "tokenguard:"')
    return value


def _entry(value: object) -> Entry | None:
    """An entry as it was read. What stands under our key and is no entry must not let a token pass: ValueError."""
    if value is None:
        return None
    match = _VALUE.fullmatch(value) if isinstance(value, bytes) else None
    if match is None:
        raise ValueError("not an entry of a revocation list")
    until, before = float(match[1]), None if match[2] == b"-" else float(match[2])
    if not isfinite(until) or not isfinite(before or 0):
        raise ValueError("not an entry of a revocation list")
    return Entry(until, before)


def _answer(result: Sequence[Any]) -> tuple[bytes, float] | None:
    """Without an expiry (-1) it is none of ours; absent (-2) it is None anyway."""
    body, lifetime = result
    return (body, lifetime / 1000) if isinstance(body, bytes) and lifetime > 0 else None


def _milliseconds(seconds: float) -> int:
    return int(min(seconds * 1000, _LONGEST))
