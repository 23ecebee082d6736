"""ASGI middleware: no request reaches the app behind it without a good token.

Owns: what is validated, what the app sees of it, when the app's own errors are answered. Must not know: any framework,
how a rejection is sent (see `_adapters/asgi_messages`), status codes and challenges (see `challenge`), what
makes a token good (see `validator`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from tokenguard._adapters.asgi_lifespan import lifespan
from tokenguard._adapters.asgi_messages import (
    App,
    Handshake,
    Message,
    Receive,
    Scope,
    Send,
    answer,
    deny,
    kept_apart_by,
    send_rejection,
    with_nonce,
)
from tokenguard._adapters.asgi_scopes import AsgiReader, SubprotocolReader, asgi_reader, plainly_sent
from tokenguard._adapters.caller import Caller
from tokenguard._adapters.guard import GUARD_KEY, TOKEN_KEY, Guard
from tokenguard._adapters.needed import attach_needed
from tokenguard._adapters.validators import usable
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.requirements import Required
from tokenguard.resource import ResourceMetadata
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["BearerMiddleware"]


class BearerMiddleware:
    """Guards every `http` and `websocket` request of `app`.

    - `scope`: what every token must grant, all of it
    - `require`: what else is required of every token, from `tokenguard.requirements`
    - `public`: paths that need no token: `"/health"`, or `"/docs/*"` for what lies below `/docs/`. http only
    - `optional`: a request without credentials passes, one with bad credentials does not; not beside a `scope`
    - `header`: the field that a gateway puts the token into, as its whole value; `Authorization` and the query are the
      app's own then (default None: `Authorization`)
    - `subprotocol`: a websocket may offer this name directly followed by the token, as browsers can send nothing else;
      both are taken out before the app sees them (default None: it may not)
    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1)
    - `show_reason`: True shows clients which check failed; for development

    The app finds an `AccessToken` at `scope["tokenguard.access_token"]`, or None on public paths and where `optional`
    let a request through. Starlette's `request.user`, `request.auth.scopes` and `@requires` work too. The caller's
    scope is copied, never changed. No method is exempt: HEAD and OPTIONS, CORS preflights too, need a token, so CORS
    middleware belongs in front.

    `lifespan` passes through: at startup the validator is warmed up (a failure is logged, the app still starts), at
    shutdown its connections are released. Any other scope type raises `ConfigurationError`: it cannot be guarded.

    Whatever goes wrong in the guard is a rejection. A `TokenGuardError` that the app raises before its answer has
    started is answered as one of the guard's; everything else that it raises passes untouched. With `header`, answers
    get `Vary`, and `Cache-Control: private` where the app sets none.
    """

    _name: ClassVar[str] = "asgi"  # as audit and metrics call the adapter

    def __init__(
        self,
        app: App,
        validator: TokenValidator,
        *,
        scope: str | Iterable[str] = (),
        require: Required | None = None,
        public: str | Iterable[str] = (),
        optional: bool = False,
        header: str | None = None,
        subprotocol: str | None = None,
        realm: str | None = None,
        resource_metadata: str | ResourceMetadata | None = None,
        show_reason: bool = False,
    ) -> None:
        self.app = app
        self._validator = usable(validator)
        reader = self._reader(header)
        self._offers = None if subprotocol is None else SubprotocolReader(reader, subprotocol)
        self._guard = Guard(
            self._name,
            self._offers or reader,
            self._validator,
            scope=scope,
            require=require,
            public=public,
            optional=optional,
            realm=realm,
            resource_metadata=resource_metadata,
            show_reason=show_reason,
        )
        self._serves_metadata = self._guard.metadata is not None
        self._around: Callable[[Scope, Send], tuple[Scope, Send]] | None = None
        if header is not None:
            self._around = partial(kept_apart_by, header)
        elif self._guard.dpop is not None:
            self._around = partial(with_nonce, self._guard)

    def _reader(self, header: str | None) -> AsgiReader:
        return asgi_reader(header)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        kind = scope.get("type")
        if kind == "lifespan":
            await lifespan(self._validator, self.app, scope, receive, send)
            return
        if kind not in ("http", "websocket"):
            raise ConfigurationError("only http, websocket and lifespan can be guarded: route other types elsewhere")
        guard = self._guard
        if self._around is not None:
            scope, send = self._around(scope, send)
        if self._serves_metadata and kind == "http":
            served = guard.serve(scope, self.app, scope.get("app"))
            if served is not None:
                await answer(served, "", scope, send)
                return
        try:
            token = guard.begin_async(scope, guard.required)
            if token is not None and not isinstance(token, AccessToken):
                token = await token
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            await send_rejection(guard.reject(error, scope), scope, receive, send)
            return
        caller = Caller()  # one for each request: applications may write to it
        caller.access_token = token
        known = scope if token is not None else _plain(guard, scope)
        inner = {**known, TOKEN_KEY: token, GUARD_KEY: guard, "user": caller, "auth": caller}
        if kind == "websocket":
            await self._connect(inner, receive, send)
            return
        is_started = False

        def sending(message: Message) -> Awaitable[None]:
            nonlocal is_started
            is_started = True
            return send(message)

        try:
            await self.app(inner, receive, sending)
        except TokenGuardError as error:
            if is_started:
                raise
            guard.note(scope, token, error)
            attach_needed(error, guard, inner)
            await answer(guard.reject(error, scope), "", scope, send)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        offers = self._offers
        inner, subprotocol = scope, None
        if offers is not None and offers.is_offered(scope):
            inner, subprotocol = {**scope, **offers.without_token(scope)}, offers.subprotocol
        handshake = Handshake(receive, send, subprotocol)
        try:
            await self.app(inner, handshake.receive, handshake.send)
        except TokenGuardError as error:
            if handshake.is_answered:
                raise
            guard = self._guard
            guard.note(scope, scope[TOKEN_KEY], error)
            attach_needed(error, guard, inner)
            await deny(guard.reject(error, scope), scope, None if handshake.is_read else receive, send)


def _plain(guard: Guard[Any], scope: Scope) -> Scope:
    """What the app sees of a request without a token. Sanic routes by `raw_path`, and must see no other path than the
    one that is public."""
    if b"%" not in (scope.get("raw_path") or b"") or not guard.is_public(scope):
        return scope
    return {**scope, "raw_path": plainly_sent(scope)}
