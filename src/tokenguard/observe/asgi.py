"""Observing an ASGI app.

Owns: what is copied of a scope, when the app's status is known, what a shutdown waits for. Must not know: how a verdict
is made (`_adapters.observing`), what makes a token good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from tokenguard._adapters import lifetime
from tokenguard._adapters.asgi_scopes import asgi_reader
from tokenguard._adapters.observing import Observation, OnVerdict
from tokenguard.observe.seen import FAILED, Seen
from tokenguard.requirements import Required

if TYPE_CHECKING:
    from tokenguard._adapters.asgi_messages import App, Message, Receive, Scope, Send
    from tokenguard.validator import TokenValidator

__all__ = ["ObservingAsgiMiddleware"]

_STARTS: Final = ("http.response.start", "websocket.http.response.start")
_BY_KIND: Final = {
    "websocket.accept": 101,  # RFC 6455 section 4.2.2
    "websocket.close": 403,  # what servers answer where it was not accepted
}
_ENDS: Final = ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed")
_LAST: Final = 100  # times a hundredth of a second: what a shutdown waits for verdicts


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
        seen = Seen(self._observation.start_async, _as_it_is(scope))

        async def sending(message: Message) -> None:
            try:
                await send(message)
            finally:
                _note(seen, message)

        try:
            await self.app(scope, receive, sending)
        except Exception:
            seen.status(FAILED)
            raise
        seen.status(FAILED)  # nothing was answered

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


def _as_it_is(scope: Scope) -> dict[str, Any]:
    """A copy, as routers change the scope and apps the list of its fields."""
    copied = {**scope}
    fields = copied.get("headers")
    if isinstance(fields, list):  # an iterator, which ASGI allows too, is the app's to read
        copied["headers"] = fields.copy()
    return copied


def _note(seen: Seen, message: Message) -> None:
    """What the app sent."""
    with suppress(Exception):  # the server's to object to
        kind = message["type"]
        if kind in _STARTS:
            seen.status(message["status"])
        elif kind in _BY_KIND:
            seen.status(_BY_KIND[kind])
