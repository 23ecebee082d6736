"""Issuers that are looked up: which are kept with their keys, and which are evicted.

Owns: one authority for each issuer that `Issuers` returns, the bound on them, what outlives an eviction. Must not know:
how keys are fetched, tokens.

The application's own registry decides at each use. What is kept here is what it returned last: another object for the
same `iss` starts empty, with nothing of the one before it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final

from tokenguard._flow.forks import renew_after_fork
from tokenguard._issuer.key_schedule import Schedule
from tokenguard._issuer.key_state import Tally
from tokenguard._issuer.keys import KeySource
from tokenguard._issuer.trusted_issuer import Authority
from tokenguard.errors import InvalidTokenError, Reason
from tokenguard.issuer import Issuer
from tokenguard.issuers import Issuers, check_introspection

if TYPE_CHECKING:
    from tokenguard._jose.jws import Header

_MOST_HEADERS: Final = 64  # of one issuer: each is that of a token that held


class Registered(Authority):
    """An issuer that was looked up. `bases`: what verdicts on its tokens are based on, by header. `verified_at`: when a
    key of it last verified a token, in monotonic seconds. `is_removed`: it was seen to be registered no longer."""

    is_listed = False

    __slots__ = ("bases", "is_removed", "verified_at")

    def __init__(self, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        self.bases: dict[tuple[Header, bool], Any] = {}
        self.verified_at = -inf
        self.is_removed = False

    @property
    def is_proven(self) -> bool:  # type: ignore[override]
        """Whether a key of it has verified a token: anybody can make up one that is not."""
        return self.verified_at > -inf

    def keep(self, header: tuple[Header, bool], basis: object) -> None:
        """Keep the basis of a verdict, for other tokens with its header that are bound as well, or not."""
        if len(self.bases) >= _MOST_HEADERS:
            self.bases = {}
        self.bases[header] = basis


# An issuer, the source whose keys it must not use, and what it has to wait for.
Make = Callable[[Issuer, KeySource | None, Schedule | None], Registered]


class Directory:
    """The issuers of one validator that are looked up. At most as many are kept as `Issuers.max_issuers` add up to: the
    first to go are those that have verified no token, then those whose keys verified one longest ago.

    `make` makes one ready; `forget` is called with the keys of one that is no longer registered. `tally`: what was
    fetched for all of them so far.
    """

    def __init__(
        self,
        registries: tuple[Issuers, ...],
        make: Make,
        forget: Callable[[KeySource], None],
        monotonic: Callable[[], float],
        tally: Tally,
    ) -> None:
        self._registries = registries
        self._make = make
        self._forget = forget
        self._monotonic = monotonic
        self.tally = tally
        self._most = sum(one.max_issuers for one in registries)
        self._kept: dict[str, Registered] = {}
        self._unproven: dict[str, None] = {}  # the oldest first
        self._cooling: dict[str, tuple[Issuer, Schedule]] = {}  # of issuers that were evicted
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """See `_flow.forks`."""
        self._lock = threading.Lock()

    @property
    def is_empty(self) -> bool:
        """Whether no issuer is ever looked up."""
        return not self._registries

    @property
    def kept(self) -> tuple[Registered, ...]:
        """Those that are kept now, in the order in which they came."""
        with self._lock:
            return tuple(self._kept.values())

    def find(self, iss: str) -> Registered:
        """The issuer that is registered for `iss` now. Raises `issuer` where there is none, and what the application's
        look-up comes to."""
        kept = self._kept.get(iss)
        issuer = None
        for registry in self._registries:
            issuer = registry.look_up(iss)
            if issuer is not None:
                break
        if kept is not None:
            if kept.issuer is issuer:
                return kept
            if issuer is None:
                self._remove(kept)
        if issuer is None:
            raise InvalidTokenError(reason=Reason.ISSUER)
        return self._found(issuer)

    def is_current(self, authority: Registered) -> bool:
        """Whether `authority` is what is registered for its `iss` now. Raises as `find`."""
        return self.find(authority.url) is authority

    def is_proven(self, iss: str) -> bool:
        """Whether the issuer that is kept for `iss` has verified a token. Looks nothing up."""
        kept = self._kept.get(iss)
        return kept is not None and kept.is_proven

    def verified(self, authority: Registered, mono: float) -> None:
        """A key of `authority` verified a token, just now or when it was first seen. Raises `issuer` where another
        token found that it was taken away meanwhile."""
        if authority.is_removed:
            raise InvalidTokenError(reason=Reason.ISSUER)
        is_first = not authority.is_proven
        authority.verified_at = mono
        if is_first:
            authority.keys.verified()
            with self._lock:
                self._unproven.pop(authority.url, None)
                self._cooling.pop(authority.url, None)
                if authority.url not in self._kept:  # it was evicted while its keys were fetched
                    self._put(authority)

    def _found(self, issuer: Issuer) -> Registered:
        check_introspection(issuer)
        with self._lock:
            before = self._kept.get(issuer.url)
            if before is not None and before.issuer is issuer:
                return before
            cooling = self._cooling.get(issuer.url)
            schedule = cooling[1] if cooling is not None and cooling[0] is issuer else None
            authority = self._make(issuer, None if before is None else before.keys, schedule)
            self._cooling.pop(issuer.url, None)
            if before is not None:
                self._drop(before)
            self._put(authority)
            self._unproven[issuer.url] = None
            return authority

    def _remove(self, authority: Registered) -> None:
        with self._lock:
            if self._kept.get(authority.url) is authority:
                authority.is_removed = True
                self._drop(authority)

    # -- under the lock ------------------------------------------------------------------------------------------------

    def _drop(self, authority: Registered) -> None:
        """Forget one that is no longer registered, and its keys where no other issuer has them."""
        del self._kept[authority.url]
        self._unproven.pop(authority.url, None)
        if all(other.keys is not authority.keys for other in self._kept.values()):
            self._forget(authority.keys)

    def _put(self, authority: Registered) -> None:
        if len(self._kept) >= self._most:
            self._evict()
        self._kept[authority.url] = authority

    def _evict(self) -> None:
        url = next(iter(self._unproven), None)
        if url is None:
            url = min(self._kept, key=lambda one: self._kept[one].verified_at)
        self._unproven.pop(url, None)
        evicted = self._kept.pop(url)
        schedule = evicted.keys.cooling_down()
        if schedule is not None:
            self._cooling[url] = evicted.issuer, schedule
        # In order of eviction, so nearly in order of their end. There are as many as fetches fail in a cool-down.
        mono = self._monotonic()
        for other, (_, waits) in list(self._cooling.items()):
            if mono < waits.forced_due() and len(self._cooling) <= self._most:
                break
            del self._cooling[other]
