"""Finding an issuer's endpoints, and remembering them while they are fresh.

Owns: the order of places, what ends a search, the one search in flight, the memory. Must not know: keys, introspection,
how bytes travel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Final

from tokenguard._flow.effects import ExchangeError, Flight, Flow, Join, Start, reading
from tokenguard._flow.forks import renew_after_fork
from tokenguard._issuer.fetch import Fetch
from tokenguard._issuer.freshness import lifetime
from tokenguard._oauth import server_metadata
from tokenguard.errors import ConfigurationError

_ACCEPT: Final = ("accept", "application/json")
_ROUNDS: Final = 3  # joins that may come to nothing (a stopped loop, a fork) before a caller gets an error

_Document = dict[str, Any]


class Discovery:
    """The metadata of one issuer.

    A search is a flight of its own, and there is one at a time for all callers: keys, introspection, `warm_up`. A
    caller without a document joins it; a caller with an old one goes on with that. `own_host_only`: what the metadata
    names must be on the issuer's own host.
    """

    def __init__(
        self,
        issuer: str,
        *,
        max_age: float,
        timeout: float,
        allow_insecure_http: bool,
        monotonic: Callable[[], float],
        fetch: Fetch | None = None,
        own_host_only: bool = False,
    ) -> None:
        self.issuer = issuer
        self._max_age = max_age
        self._timeout = timeout
        self._allow_insecure_http = allow_insecure_http
        self._monotonic = monotonic
        self._own_host_only = own_host_only
        self._fetch = fetch or Fetch(issuer)
        self._document: _Document | None = None
        self._fresh_until = -inf
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The parent's search goes on without the child."""
        self._lock = threading.Lock()
        self._flight: Flight[_Document | ExchangeError | ConfigurationError] | None = None

    def forget(self) -> None:
        """Look again next time: what the metadata named did not answer."""
        self._document = None

    @property
    def remembers(self) -> bool:
        """Whether `find` answers from memory: while that is fresh, and while another caller's search is pending."""
        fresh = self._monotonic() < self._fresh_until or (self._flight is not None and self._flight.is_pending)
        return fresh and self._document is not None

    def find(self, name: str, *, mtls: bool = False) -> Flow[str]:
        """The endpoint `name`, from memory where it `remembers`. Raises `ExchangeError`; `ConfigurationError` where
        the credential cannot be read."""
        document = self._document
        if document is None or not self.remembers:
            document = yield from self._search()
        url = server_metadata.endpoint(
            document, name, self.issuer, allow_insecure_http=self._allow_insecure_http, mtls=mtls
        )
        if url is None:
            raise ExchangeError(f"metadata_without_usable_{name}")
        if self._own_host_only and not server_metadata.is_same_host(url, self.issuer):
            raise ExchangeError(f"{name}_on_another_host")
        return url

    def search(self) -> Flow[Flight[Any]]:
        """The search in flight: the one that is pending, or one that starts now. Waits for nothing."""
        started = None
        with self._lock:
            flight = self._flight
            if flight is None or not flight.is_pending:
                flight = started = self._flight = Flight(self._timeout)
        if started is not None:
            try:
                yield Start(started, self._ask())
            except BaseException:  # no room on the stack, no memory: others must not wait for what never started
                started.land(None)
                raise
        return flight

    def _search(self) -> Flow[_Document]:
        for _ in range(_ROUNDS):
            flight = yield from self.search()
            found = yield Join(flight)
            with self._lock:  # it has landed, or will never land, or this thread must not wait for it
                if self._flight is flight:
                    self._flight = None
            if isinstance(found, ExchangeError):
                # One for all callers that waited: each raises its own, without their frames.
                raise ExchangeError(found.kind, ends_attempt=found.ends_attempt) from found.__cause__
            if isinstance(found, ConfigurationError):
                raise ConfigurationError(*found.args) from found.__cause__
            if found is not None:
                return found  # type: ignore[no-any-return]
        raise ExchangeError("abandoned")

    def _ask(self) -> Flow[_Document | ExchangeError | ConfigurationError]:
        try:
            return (yield from self._ask_each_place())
        except (ExchangeError, ConfigurationError) as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it was, there is no document
            failure = ExchangeError(type(error).__name__)
            failure.__cause__ = error
            return failure

    def _ask_each_place(self) -> Flow[_Document]:
        for url in server_metadata.places(self.issuer):
            try:
                answer = yield from self._fetch.get(url, (_ACCEPT,), "discovery")
            except ExchangeError as error:
                if error.ends_attempt:
                    raise
                continue
            document = yield from reading(
                answer, partial(server_metadata.read, answer.status, answer.body, self.issuer)
            )
            if document is not None:
                self._fresh_until = self._monotonic() + lifetime(answer.headers, self._max_age)
                self._document = document
                return document
        raise ExchangeError("no_metadata_of_this_issuer")
