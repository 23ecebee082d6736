"""ASGI middleware: no request reaches the app behind it without a good token.

Owns: the ASGI protocol of the guard: what is validated, what is passed, how a rejection is sent. Must not know: any
framework, status codes and challenges (see `challenge`), what makes a token good (see `validator`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from tokenguard._adapters import lifetime
from tokenguard._adapters.asgi_scopes import AsgiReader, SubprotocolReader, asgi_reader, plainly_sent, takes_denials
from tokenguard._adapters.guard import GUARD_KEY, POLICY_VIOLATION, TOKEN_KEY, Guard
from tokenguard._adapters.own_field import kept_apart
from tokenguard._adapters.proofs import own_scope
from tokenguard._adapters.validators import usable
from tokenguard.challenge import Rejection
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.requirements import Required
from tokenguard.resource import ResourceMetadata
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["BearerMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_BEGINNINGS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


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
            self._around = partial(_kept_apart, header)
        elif self._guard.dpop is not None:
            self._around = partial(_with_nonce, self._guard)

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
            await _reject(guard.reject(error, scope), scope, receive, send)
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
            await answer(guard.reject(error, scope), "", scope, send)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        offers = self._offers
        inner, subprotocol = scope, None
        if offers is not None and offers.is_offered(scope):
            inner, subprotocol = {**scope, **offers.without_token(scope)}, offers.subprotocol
        handshake = _Handshake(receive, send, subprotocol)
        try:
            await self.app(inner, handshake.receive, handshake.send)
        except TokenGuardError as error:
            if handshake.is_answered:
                raise
            guard = self._guard
            guard.note(scope, scope[TOKEN_KEY], error)
            await _deny(guard.reject(error, scope), scope, None if handshake.is_read else receive, send)


def _plain(guard: Guard[Any], scope: Scope) -> Scope:
    """What the app sees of a request without a token. Sanic routes by `raw_path`, and must see no other path than the
    one that is public."""
    if b"%" not in (scope.get("raw_path") or b"") or not guard.is_public(scope):
        return scope
    return {**scope, "raw_path": plainly_sent(scope)}


class _Handshake:
    """How far a websocket's handshake has come. It is answered with `subprotocol` where the app names none."""

    __slots__ = ("_receive", "_send", "_subprotocol", "is_answered", "is_read")

    def __init__(self, receive: Receive, send: Send, subprotocol: str | None) -> None:
        self._receive = receive
        self._send = send
        self._subprotocol = subprotocol
        self.is_read = self.is_answered = False

    def receive(self) -> Awaitable[Message]:
        self.is_read = True
        return self._receive()

    def send(self, message: Message) -> Awaitable[None]:
        self.is_answered = True
        if message["type"] == "websocket.accept" and self._subprotocol is not None and not message.get("subprotocol"):
            message = {**message, "subprotocol": self._subprotocol}
        return self._send(message)


def _with_nonce(guard: Guard[Any], scope: Scope, send: Send) -> tuple[Scope, Send]:
    """A copy of the scope, as a verdict is kept with it, and what adds a nonce to the answer."""
    scope = own_scope(scope)

    def sending(message: Message) -> Awaitable[None]:
        if message["type"] in _BEGINNINGS:
            nonce, fields = guard.nonce(scope), [*(message.get("headers") or ())]
            if nonce is not None and not any(name.lower() == b"dpop-nonce" for name, _ in fields):
                message = {**message, "headers": [*fields, (b"dpop-nonce", nonce.encode())]}
        return send(message)

    return scope, sending if guard.gives_nonces else send


def _kept_apart(header: str, scope: Scope, send: Send) -> tuple[Scope, Send]:
    def sending(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            fields = [*message.get("headers", ())]
            more = kept_apart(header, [name.decode("latin-1") for name, _ in fields])
            fields += [(name.lower().encode(), value.encode()) for name, value in more]
            message = {**message, "headers": fields}
        return send(message)

    return scope, sending


async def _reject(rejection: Rejection, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await answer(rejection, "", scope, send)
    else:
        await _deny(rejection, scope, receive, send)


async def _deny(rejection: Rejection, scope: Scope, receive: Receive | None, send: Send) -> None:
    """Reject a websocket; `receive` is None where the app has read the connect message already."""
    if receive is not None and (await receive())["type"] != "websocket.connect":
        return
    if takes_denials(scope):
        await answer(rejection, "websocket.", scope, send)
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})


async def answer(rejection: Rejection, prefix: str, scope: Scope, send: Send) -> None:
    """Write out a rejection; `prefix` is `websocket.` for the denial of a handshake."""
    headers = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in rejection.headers]
    await send({"type": f"{prefix}http.response.start", "status": rejection.status, "headers": headers})
    body = b"" if scope.get("method") == "HEAD" else rejection.body
    await send({"type": f"{prefix}http.response.body", "body": body})


async def lifespan(validator: TokenValidator, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """The app's lifespan, in which the validator is warmed up and closed."""
    opened = False

    async def close() -> None:
        nonlocal opened
        if opened:
            opened = False
            await lifetime.close(validator)

    async def warming() -> Message:
        nonlocal opened
        message = await receive()
        if message["type"] == "lifespan.startup":
            opened = True
            await lifetime.warm_up(validator)
        return message

    async def closing(message: Message) -> None:
        # After the app's own shutdown, which may still validate tokens, and before the server learns that all is done.
        if message["type"] in ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await close()
        await send(message)

    try:
        await app(scope, warming, closing)
    finally:
        await close()


class Caller:
    """What Starlette expects at `request.user` and `request.auth`, without importing it.

    `access_token` is the validated token, or None. `scopes` are the token's.
    """

    __slots__ = ("access_token",)
    access_token: AccessToken | None  # set by the middleware: a constructor would take twice as long as this object

    @property
    def is_authenticated(self) -> bool:
        """Whether there is a token."""
        return self.access_token is not None

    @property
    def display_name(self) -> str:
        """The subject, else the client, else nothing."""
        token = self.access_token
        return "" if token is None else token.subject or token.client_id or ""

    @property
    def identity(self) -> str:
        """The same as `display_name`."""
        return self.display_name

    @property
    def scopes(self) -> list[str]:
        """What the token grants. Asked for `authenticated`, as Starlette's pages do, there is one where there is a
        token."""
        return [] if self.access_token is None else _Scopes(sorted(self.access_token.scopes))


class _Scopes(list[str]):
    __slots__ = ()

    def __contains__(self, scope: object) -> bool:
        return scope == "authenticated" or super().__contains__(scope)
