"""`RevocationList`: a denylist for issuers that cannot be asked.

Owns: the tokens that an entry rejects and for how long, the list in memory, the interface of a store. Must not know:
tokens before they are validated, Redis, sockets.

For the validator: `check` is the flow. Without a store it never yields, and `revoked` gives the same as a plain
function. Readers take no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from math import inf, isfinite
from typing import Any, ClassVar, Protocol, runtime_checkable

from tokenguard._flow.calls import Call
from tokenguard._flow.forks import renew_after_fork
from tokenguard._oauth.denylist import MARGIN, Entry, Key, any_rejects, name_keys
from tokenguard._settings import whole
from tokenguard.errors import ConfigurationError, IntrospectionUnavailableError, UnavailableError
from tokenguard.introspection import AnswerStore

__all__ = ["Entry", "Key", "RevocationList", "RevocationStore"]


@runtime_checkable
class RevocationStore(Protocol):
    """Where entries are kept for several processes; `tokenguard.redis.RedisStore` is one.

    Each read is one round trip for all keys; entries come back in their order, None where there is none. An entry is
    kept at least `MARGIN` past its `until`, and merged with one that is there (`Entry.merged`). Whatever a store
    raises becomes `IntrospectionUnavailableError`.
    """

    def local_entries(self, keys: tuple[Key, ...]) -> Sequence[Entry | None] | None:
        """The entries that are known without a round trip and recent enough, None if the store must be asked."""
        ...

    def read_entries(self, keys: tuple[Key, ...]) -> Sequence[Entry | None]:
        """Ask the store."""
        ...

    def keep_entry(self, key: Key, entry: Entry) -> None:
        """Add an entry, or strengthen the one that is there."""
        ...

    async def read_entries_async(self, keys: tuple[Key, ...]) -> Sequence[Entry | None]:
        """`read_entries` for event loops."""
        ...

    async def keep_entry_async(self, key: Key, entry: Entry) -> None:
        """`keep_entry` for event loops."""
        ...


class RevocationList:
    """Tokens that are rejected although they are otherwise good: give it to `TokenValidator(..., revocations=...)`.

    Effective on the next request, also for remembered tokens. Entries go by themselves some time after their `until`.

    - `store`: shares the list between processes and hosts. None: in memory, so it holds in this process only and is
      empty after a restart
    - `max_entries`: that the memory takes

    `until` is the `exp` of the token, or of the longest-lived token that is meant (NumericDate); later the token has
    expired anyway. Bad arguments raise `ConfigurationError`; an unreachable store `IntrospectionUnavailableError`, and
    then nothing was revoked.
    """

    MAX_LEEWAY: ClassVar[float] = MARGIN

    def __init__(self, store: RevocationStore | None = None, *, max_entries: int = 100_000) -> None:
        whole("max_entries", max_entries, minimum=1)
        if not (store is None or isinstance(store, RevocationStore)):
            raise ConfigurationError(
                "store must be a tokenguard.redis.RedisStore, or have the methods of RevocationStore"
            )
        self._store = store
        self._memory = _Memory(max_entries)
        renew_after_fork(self)

    @property
    def answers(self) -> AnswerStore | None:
        """The store, where it can keep introspection answers too; validators with this list share theirs in it."""
        return self._store if isinstance(self._store, AnswerStore) else None

    def after_fork(self) -> None:
        """A fresh lock; what was revoked stays revoked."""
        self._memory.after_fork()

    def revoke(self, issuer: str, token_id: str, until: float) -> None:
        """Reject the token with this `jti` of this issuer. A token without `jti` cannot be named so."""
        self._keep(_key("jti", issuer, token_id), Entry(_date("until", until)))

    def revoke_client(self, issuer: str, client_id: str, issued_before: float, until: float) -> None:
        """Reject every token of this client with an `iat` before `issued_before`, or with none."""
        self._keep(_key("client_id", issuer, client_id), _entry(issued_before, until))

    def revoke_subject(self, issuer: str, subject: str, issued_before: float, until: float) -> None:
        """Reject every token of this subject with an `iat` before `issued_before`, or with none."""
        self._keep(_key("sub", issuer, subject), _entry(issued_before, until))

    async def revoke_async(self, issuer: str, token_id: str, until: float) -> None:
        """`revoke` for event loops."""
        await self._keep_async(_key("jti", issuer, token_id), Entry(_date("until", until)))

    async def revoke_client_async(self, issuer: str, client_id: str, issued_before: float, until: float) -> None:
        """`revoke_client` for event loops."""
        await self._keep_async(_key("client_id", issuer, client_id), _entry(issued_before, until))

    async def revoke_subject_async(self, issuer: str, subject: str, issued_before: float, until: float) -> None:
        """`revoke_subject` for event loops."""
        await self._keep_async(_key("sub", issuer, subject), _entry(issued_before, until))

    def revoked(
        self,
        issuer: str,
        token_id: str | None,
        client_id: str | None,
        subject: str | None,
        issued_at: float | None,
        now: float,
        leeway: float,
    ) -> bool:
        """Whether a validated token is revoked, by the list in memory alone."""
        entries = self._memory.entries
        self._memory.now = now
        if not entries:
            return False
        keys = name_keys(issuer, token_id, client_id, subject)
        return any_rejects([entries.get(key) for key in keys], issued_at, now, leeway)

    def check(
        self,
        issuer: str,
        token_id: str | None,
        client_id: str | None,
        subject: str | None,
        issued_at: float | None,
        now: float,
        leeway: float,
    ) -> Generator[Call, Any, bool]:
        """Whether a validated token is revoked. At most one round trip. Raises `IntrospectionUnavailableError`."""
        store = self._store
        if store is None:
            return self.revoked(issuer, token_id, client_id, subject, issued_at, now, leeway)
        keys = name_keys(issuer, token_id, client_id, subject)
        if not keys:
            return False
        with _unavailable:
            entries = store.local_entries(keys)
            if entries is None:
                entries = yield Call(lambda: store.read_entries(keys), lambda: store.read_entries_async(keys))
            if len(entries) != len(keys):
                raise ValueError("a store must give one entry or None for each key")
            return any_rejects(entries, issued_at, now, leeway)

    def _keep(self, key: Key, entry: Entry) -> None:
        if self._store is None:
            self._memory.keep(key, entry)
            return
        with _unavailable:
            self._store.keep_entry(key, entry)

    async def _keep_async(self, key: Key, entry: Entry) -> None:
        if self._store is None:
            self._memory.keep(key, entry)
            return
        with _unavailable:
            await self._store.keep_entry_async(key, entry)


class _Unavailable:
    """Whatever a store raises becomes `IntrospectionUnavailableError`, unless it says more by itself. No generator: it
    is entered for each remembered token, too."""

    __slots__ = ()

    def __enter__(self) -> None:
        """See the class."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ConfigurationError | UnavailableError):
            raise IntrospectionUnavailableError from error


_unavailable = _Unavailable()


class _Memory:
    """Entries by key. Readers use `entries` as it is; it is replaced as a whole when what has passed is dropped.

    What has passed is decided by `now`, the time of the validations: a list that kept a clock of its own could drop
    entries that a validator with another clock still needs. Full is an error: dropping a live entry would let its
    token in again.
    """

    def __init__(self, max_entries: int) -> None:
        self.entries: dict[Key, Entry] = {}
        self.now = -inf
        self._max_entries = max_entries
        self._tidy_at = min(1024, max_entries)
        self.after_fork()

    def after_fork(self) -> None:
        self._lock = threading.Lock()

    def keep(self, key: Key, entry: Entry) -> None:
        with self._lock:
            if key not in self.entries and len(self.entries) >= self._tidy_at:
                now = self.now
                self.entries = {k: kept for k, kept in self.entries.items() if now < kept.until + MARGIN}
                self._tidy_at = min(max(1024, 2 * len(self.entries)), self._max_entries)
                if len(self.entries) >= self._max_entries:
                    raise ConfigurationError(
                        "the revocation list is full and nothing was revoked: raise max_entries, or use a RedisStore"
                    )
            self.entries[key] = entry.merged(self.entries.get(key))


def _key(kind: str, issuer: object, value: object) -> Key:
    if not isinstance(issuer, str) or not issuer:
        raise ConfigurationError("issuer must be a non-empty string, exactly the iss of its tokens")
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"what is revoked must be a non-empty string, exactly the {kind} of the tokens")
    return kind, issuer, value


def _entry(issued_before: object, until: object) -> Entry:
    return Entry(_date("until", until), _date("issued_before", issued_before))


def _date(name: str, value: Any) -> float:
    try:
        if type(value) in (int, float) and isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ConfigurationError(f"{name} must be a NumericDate: seconds since 1970, such as token.expires_at")
