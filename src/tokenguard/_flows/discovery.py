"""Finding an issuer's endpoints, and remembering them while they are fresh.

Owns: the order of places, what ends an attempt, the memory. Must not know: keys, introspection, how bytes travel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tokenguard._flows.effects import ExchangeError, Flight, Flow, Join, Request, Send, Start
from tokenguard._rules import metadata
from tokenguard._rules.freshness import lifetime


class Discovery:
    """The metadata of one issuer. `find` runs inside a flight; `endpoint` makes one for callers that are in none."""

    def __init__(
        self,
        issuer: str,
        *,
        max_age: float,
        timeout: float,
        allow_insecure_http: bool,
        monotonic: Callable[[], float],
    ) -> None:
        self.issuer = issuer
        self._max_age = max_age
        self._timeout = timeout
        self._allow_insecure_http = allow_insecure_http
        self._monotonic = monotonic
        self._document: dict[str, Any] | None = None
        self._fresh_until = 0.0
        self.after_fork()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._flight: Flight[ExchangeError | dict[str, Any]] | None = None

    def forget(self) -> None:
        """Look again next time: what the metadata named did not answer."""
        self._document = None

    def find(self, name: str) -> Flow[str]:
        """The endpoint `name`, from memory while fresh. Raises `ExchangeError`."""
        document = self._remembered()
        if document is None:
            document = yield from self._fetch()
        return self._pick(document, name)

    def endpoint(self, name: str) -> Flow[str]:
        """Like `find`, in one flight that every caller shares."""
        document = self._remembered()
        for _ in range(2):
            if document is not None:
                return self._pick(document, name)
            with self._lock:
                flight, started = self._flight, None
                if flight is None or flight.future.done() or flight.overdue:
                    flight = started = self._flight = Flight(self._timeout)
            if started is not None:
                yield Start(started, self._landing())
            landed = yield Join(flight)
            if isinstance(landed, ExchangeError):
                raise landed
            if landed is None:  # nobody will land it, or this thread must not wait for it
                with self._lock:
                    self._flight = None if self._flight is flight else self._flight
            document = landed
        raise ExchangeError("timeout", ends_attempt=True)

    def _landing(self) -> Flow[ExchangeError | dict[str, Any]]:
        try:
            return (yield from self._fetch())
        except ExchangeError as error:
            return error

    def _remembered(self) -> dict[str, Any] | None:
        document = self._document
        return document if document is not None and self._monotonic() < self._fresh_until else None

    def _fetch(self) -> Flow[dict[str, Any]]:
        for url in metadata.places(self.issuer):
            try:
                answer = yield Send(Request("GET", url, (("accept", "application/json"),)))
            except ExchangeError as error:
                if error.ends_attempt:
                    raise
                continue
            document = metadata.read(answer.status, answer.body, self.issuer)
            if document is not None:
                self._fresh_until = self._monotonic() + lifetime(answer.headers, self._max_age)
                self._document = document
                return document
        raise ExchangeError("no_metadata_of_this_issuer")

    def _pick(self, document: dict[str, Any], name: str) -> str:
        url = metadata.endpoint(document, name, self.issuer, allow_insecure_http=self._allow_insecure_http)
        if url is None:
            raise ExchangeError(f"metadata_without_usable_{name}")
        return url
