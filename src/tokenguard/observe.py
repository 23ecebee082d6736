"""Observing before guarding: what would a guard have answered? For the time when one replaces another.

Owns: the two protocols of observing: what is copied of a request, when the app's status is known. Must not know: how a
verdict is made (`_adapters.observing`), what makes a token good.

These are classes of their own and not a setting of a guard, so that no switch turns a guard off by mistake, and a
search for `Observing` finds every place that guards nothing. They leave nothing in a request: what asks for a token
behind them finds none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tokenguard._adapters import lifetime
from tokenguard._adapters.asgi_scopes import asgi_reader
from tokenguard._adapters.observing import Observation, OnVerdict, Verdict
from tokenguard._adapters.wsgi_environs import wsgi_reader
from tokenguard.requirements import Required

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from tokenguard._adapters.asgi_messages import App, Message, Receive, Scope, Send
    from tokenguard.validator import TokenValidator

__all__ = ["ObservingAsgiMiddleware", "ObservingWsgiMiddleware", "Verdict"]

_STARTS: Final = ("http.response.start", "websocket.http.response.start")
_BY_KIND: Final = {
    "websocket.accept": 101,  # RFC 6455 section 4.2.2
    "websocket.close": 403,  # what servers answer where it was not accepted
}
_FAILED: Final = 500  # what servers answer for an app that fails
_ENDS: Final = ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed")
_LAST: Final = 100  # times a hundredth of a second: what a shutdown waits for verdicts
_STREAMS: Final = ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper")


class ObservingAsgiMiddleware:
    """Lets every request of `app` pass, and makes a verdict on it beside, once the app's status is known.

    - `scope`, `require`, `public`: as in `tokenguard.asgi.BearerMiddleware`. No verdict is made on a public path
    - `header`: the field that a gateway puts the token into (default None: `Authorization`)
    - `on_verdict`: a plain, quick function that gets a `Verdict`, in the event loop; for WSGI in a thread of ours. What
      it raises is logged. Default None

    Nothing is put into the request: no token, no user. Neither replay nor nonce of a bound token is checked, and no
    proof is used up. At most 1,000 verdicts are under way; more are dropped, and counted in `dropped`. Audit and
    metrics have them as those of the adapter `observe`; where the app and a guard disagree, one WARNING a second says
    why. `lifespan` passes; at shutdown verdicts get a second, then the validator's connections are released.

    Raises `ConfigurationError` for bad settings, and for nothing else.
    """

    def __init__(
        self,
        app: App,
        validator: TokenValidator,
        *,
        scope: str | Iterable[str] = (),
        require: Required | None = None,
        public: str | Iterable[str] = (),
        header: str | None = None,
        on_verdict: OnVerdict | None = None,
    ) -> None:
        self.app = app
        self._validator = validator
        self._observation = Observation(
            asgi_reader(header), validator, scope=scope, require=require, public=public, on_verdict=on_verdict
        )

    @property
    def dropped(self) -> int:
        """How many verdicts were dropped."""
        return self._observation.dropped

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        kind = scope.get("type")
        if kind == "lifespan":
            await self.app(scope, receive, self._closing(send))
            return
        if kind not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        seen = _Seen(self._observation.start_async, _as_it_is(scope))

        async def sending(message: Message) -> None:
            try:
                await send(message)
            finally:
                seen.message(message)

        try:
            await self.app(scope, receive, sending)
        except Exception:
            seen.status(_FAILED)
            raise
        seen.status(_FAILED)  # nothing was answered

    def _closing(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] in _ENDS:
                with suppress(RuntimeError):  # of another kind of loop, where nothing can be waited for
                    for _ in range(_LAST):
                        if not self._observation.under_way():
                            break
                        await asyncio.sleep(0.01)
                await lifetime.close(self._validator)
            await send(message)

        return sending


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
        seen = _Seen(self._observation.start, self._copied(environ))
        known: list[int] = []

        def starting(status: str, headers: list[tuple[str, str]], *failed: Any) -> Callable[[bytes], object]:
            with suppress(ValueError):
                known[:] = [int(status[:3])]
            return start_response(status, headers, *failed)

        try:
            result = self.app(environ, starting)
        except Exception:
            seen.status(_FAILED)
            raise
        if not known and not isinstance(result, list | tuple):  # it starts its answer with the first part of the body
            return _Body(result, known, seen)
        seen.status(known[0] if known else _FAILED)
        return result

    def _copied(self, environ: WSGIEnvironment) -> dict[str, Any]:
        copied = {name: value for name, value in environ.items() if name not in _STREAMS}
        guard = self._observation.guard
        if guard.mtls is not None and "SSL_CLIENT_CERT" not in copied:  # the connection may end before the verdict
            with suppress(Exception):
                copied["SSL_CLIENT_CERT"] = guard.reader.certificate(environ)
        return copied


def _as_it_is(scope: Scope) -> dict[str, Any]:
    """A copy, as routers change the scope and apps the list of its fields."""
    copied = {**scope}
    fields = copied.get("headers")
    if isinstance(fields, list):  # an iterator, which ASGI allows too, is the app's to read
        copied["headers"] = fields.copy()
    return copied


class _Seen:
    """A request as it arrived, and whether a verdict on it was started."""

    __slots__ = ("_request", "_start")

    def __init__(self, start: Callable[[dict[str, Any], int], None], request: dict[str, Any]) -> None:
        self._start = start
        self._request: dict[str, Any] | None = request

    def message(self, message: Message) -> None:
        """What an ASGI app sent."""
        with suppress(Exception):  # the server's to object to
            kind = message["type"]
            if kind in _STARTS:
                self.status(message["status"])
            elif kind in _BY_KIND:
                self.status(_BY_KIND[kind])

    def status(self, status: int) -> None:
        """The app's status is known. Only the first one counts."""
        request, self._request = self._request, None
        if request is not None:
            self._start(request, status)


class _Body:
    """A body whose first part starts the answer."""

    __slots__ = ("_known", "_result", "_seen")

    def __init__(self, result: Iterable[bytes], known: list[int], seen: _Seen) -> None:
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
            self._seen.status(_FAILED)
            raise
        self._end()

    def _end(self) -> None:
        self._seen.status(self._known[0] if self._known else _FAILED)

    def close(self) -> None:
        """Called by the server at the end (PEP 3333)."""
        if self._known:
            self._end()
        close = getattr(self._result, "close", None)
        if close is not None:
            close()
