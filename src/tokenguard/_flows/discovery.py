"""Finding an issuer's endpoints, and remembering them while they are fresh.

Owns: the order of places, what ends an attempt, the memory, one search at a time. Must not know: keys, introspection,
how bytes travel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tokenguard._flows.effects import ExchangeError, Flight, Flow, Join, Request, Response, Send, reading
from tokenguard._rules import metadata
from tokenguard._rules.freshness import lifetime

_ACCEPT: Final = ("accept", "application/json")
_ROUNDS: Final = 3  # searches of others that may come to nothing before this one gives up

_Document = dict[str, Any]


class Discovery:
    """The metadata of one issuer. `find` runs inside a flight, whose deadline bounds it."""

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
        self._document: _Document | None = None
        self._fresh_until = 0.0
        self.after_fork()

    def after_fork(self) -> None:
        """A child process has its own lock, and the parent's search goes on without it."""
        self._lock = threading.Lock()
        self._search: Flight[ExchangeError | _Document] | None = None

    def forget(self) -> None:
        """Look again next time: what the metadata named did not answer."""
        self._document = None

    def find(self, name: str) -> Flow[str]:
        """The endpoint `name`, from memory while fresh. Whoever asks while another flight searches waits for its
        result.

        Raises `ExchangeError`.
        """
        for _ in range(_ROUNDS):
            document = self._document
            if document is not None and self._monotonic() < self._fresh_until:
                return self._pick(document, name)
            with self._lock:
                search, ours = self._search, False
                if search is None or search.future.done() or search.overdue:
                    search, ours = Flight(self._timeout), True
                    self._search = search
            if ours:
                return self._pick((yield from self._lead(search)), name)
            landed: ExchangeError | _Document | None = yield Join(search)
            if isinstance(landed, ExchangeError):
                raise ExchangeError(landed.kind, ends_attempt=landed.ends_attempt)
            if landed is not None:
                return self._pick(landed, name)
        raise ExchangeError("timeout", ends_attempt=True)

    def _lead(self, search: Flight[ExchangeError | _Document]) -> Flow[_Document]:
        landing: ExchangeError | _Document | None = None
        try:
            landing = yield from self._fetch()
            return landing
        except ExchangeError as error:
            landing = ExchangeError(error.kind, ends_attempt=error.ends_attempt)
            raise
        finally:
            search.land(landing)

    def _fetch(self) -> Flow[_Document]:
        for url in metadata.places(self.issuer):
            try:
                answer: Response = yield Send(Request("GET", url, (_ACCEPT,)), endpoint="discovery", issuer=self.issuer)
            except ExchangeError as error:
                if error.ends_attempt:
                    raise
                continue
            document = yield from reading(answer, partial(metadata.read, answer.status, answer.body, self.issuer))
            if document is not None:
                self._fresh_until = self._monotonic() + lifetime(answer.headers, self._max_age)
                self._document = document
                return document
        raise ExchangeError("no_metadata_of_this_issuer")

    def _pick(self, document: _Document, name: str) -> str:
        url = metadata.endpoint(document, name, self.issuer, allow_insecure_http=self._allow_insecure_http)
        if url is None:
            raise ExchangeError(f"metadata_without_usable_{name}")
        return url
