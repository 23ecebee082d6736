"""Observing a WSGI app.

Owns: what is copied of an environment, when the app's status is known. Must not know: how a verdict is made
(`_adapters.observing`), what makes a token good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tokenguard._adapters.observing import Observation, OnVerdict
from tokenguard._adapters.wsgi_environs import wsgi_reader
from tokenguard.observe.seen import FAILED, Seen
from tokenguard.requirements import Required

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from tokenguard.validator import TokenValidator

__all__ = ["ObservingWsgiMiddleware"]

_STREAMS: Final = ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper")


class ObservingWsgiMiddleware:
    """`ObservingAsgiMiddleware` for WSGI (PEP 3333), with the same settings. A body passes as the app gave it.

    - `scope`, `require`: what every token would have to meet
    - `public`: paths about which there is no verdict
    - `header`: the field that would hold the token (default None: `Authorization`)
    - `on_verdict`: called with each `Verdict`
    """

    def __init__(
        self,
        app: WSGIApplication,
        validator: TokenValidator,
        *,
        scope: str | Iterable[str] = (),
        require: Required | None = None,
        public: str | Iterable[str] = (),
        header: str | None = None,
        on_verdict: OnVerdict | None = None,
    ) -> None:
        self.app = app
        self._observation = Observation(
            wsgi_reader(header), validator, scope=scope, require=require, public=public, on_verdict=on_verdict
        )

    @property
    def dropped(self) -> int:
        """How many verdicts were dropped."""
        return self._observation.dropped

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        seen = Seen(self._observation.start, self._copied(environ))
        known: list[int] = []

        def starting(status: str, headers: list[tuple[str, str]], *failed: Any) -> Callable[[bytes], object]:
            with suppress(ValueError):
                known[:] = [int(status[:3])]
            return start_response(status, headers, *failed)

        try:
            result = self.app(environ, starting)
        except Exception:
            seen.status(FAILED)
            raise
        if not known and not isinstance(result, list | tuple):  # it starts its answer with the first part of the body
            return _Body(result, known, seen)
        seen.status(known[0] if known else FAILED)
        return result

    def _copied(self, environ: WSGIEnvironment) -> dict[str, Any]:
        copied = {name: value for name, value in environ.items() if name not in _STREAMS}
        guard = self._observation.guard
        if guard.mtls is not None and "SSL_CLIENT_CERT" not in copied:  # the connection may end before the verdict
            with suppress(Exception):
                copied["SSL_CLIENT_CERT"] = guard.reader.certificate(environ)
        return copied


class _Body:
    """A body whose first part starts the answer."""

    __slots__ = ("_known", "_result", "_seen")

    def __init__(self, result: Iterable[bytes], known: list[int], seen: Seen) -> None:
        self._result = result
        self._known = known
        self._seen = seen

    def __iter__(self) -> Iterator[bytes]:
        try:
            chunks = iter(self._result)
            for chunk in chunks:
                self._end()
                yield chunk
                yield from chunks
        except Exception:
            self._seen.status(FAILED)
            raise
        self._end()

    def _end(self) -> None:
        self._seen.status(self._known[0] if self._known else FAILED)

    def close(self) -> None:
        """Called by the server at the end (PEP 3333)."""
        if self._known:
            self._end()
        close = getattr(self._result, "close", None)
        if close is not None:
            close()
