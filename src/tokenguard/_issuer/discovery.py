"""Finding an issuer's endpoints, and remembering them while they are fresh.

Owns: the order of places, what ends an attempt, the memory. Must not know: keys, introspection, how bytes travel.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Final

from tokenguard._flow.effects import ExchangeError, Flow, Request, Response, Send, reading
from tokenguard._flow.forks import renew_after_fork
from tokenguard._issuer.freshness import lifetime
from tokenguard._oauth import server_metadata

_ACCEPT: Final = ("accept", "application/json")

_Document = dict[str, Any]


class Discovery:
    """The metadata of one issuer. `find` runs inside a flight, whose deadline bounds it.

    Nobody waits for the search of another flight: that may run on a loop which stands still until this one has landed.
    """

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
        self._fresh_until = -inf
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The parent's search goes on without the child."""
        self._searched_until = -inf  # real time, like every bound of what goes out

    def forget(self) -> None:
        """Look again next time: what the metadata named did not answer."""
        self._document = None

    @property
    def remembers(self) -> bool:
        """Whether `find` answers from memory: while that is fresh, and while somebody else is searching."""
        fresh = self._monotonic() < self._fresh_until or time.monotonic() < self._searched_until
        return fresh and self._document is not None

    def find(self, name: str, *, mtls: bool = False) -> Flow[str]:
        """The endpoint `name`, from memory where it `remembers`. Raises `ExchangeError`."""
        document = self._document
        if document is None or not self.remembers:
            self._searched_until = time.monotonic() + self._timeout
            try:
                document = yield from self._search()
            finally:
                self._searched_until = -inf
        url = server_metadata.endpoint(
            document, name, self.issuer, allow_insecure_http=self._allow_insecure_http, mtls=mtls
        )
        if url is None:
            raise ExchangeError(f"metadata_without_usable_{name}")
        return url

    def _search(self) -> Flow[_Document]:
        for url in server_metadata.places(self.issuer):
            try:
                answer: Response = yield Send(Request("GET", url, (_ACCEPT,)), endpoint="discovery", issuer=self.issuer)
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
