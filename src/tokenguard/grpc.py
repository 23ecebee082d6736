"""gRPC: interceptors for `grpc.server` and `grpc.aio.server`, and the token of the call that is handled.

Owns: the kind of a handler, a rejection as status and trailing metadata. Must not know: what a call says (see
`_adapters/calls`), which methods ask for what (see `_adapters/call_methods`), challenges (see `challenge`), what makes
a token good.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final

import grpc

from tokenguard._adapters.call_handlers import CURRENT, CallHandlers
from tokenguard._adapters.call_methods import CallMethods, every
from tokenguard._adapters.calls import Call, CallReader
from tokenguard._adapters.guard import Guard
from tokenguard._adapters.validators import usable
from tokenguard.errors import ConfigurationError, TokenGuardError
from tokenguard.requirements import Required
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["AioBearerInterceptor", "BearerInterceptor", "current_token"]

_STATUSES: Final = {
    400: grpc.StatusCode.UNAUTHENTICATED,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_KINDS: Final[dict[tuple[bool, bool], tuple[str, Callable[..., Any]]]] = {  # by what is streamed: requests, responses
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}
_MOST_KEPT: Final = 1_024  # methods: a generic handler may serve whatever names clients send
_NON_BLOCKING: Final = "experimental_non_blocking"  # of a handler: it sends its responses by a callback
_EXPERIMENTAL: Final = (_NON_BLOCKING, "experimental_thread_pool")  # what `grpc.server` reads from a handler


def current_token() -> AccessToken:
    """The token of the call that is being handled: in handlers, generators included.

    Raises `LookupError` elsewhere: in a public method, in a thread that a handler starts (give it the token), and once
    the call has ended, in a task that outlives it.
    """
    current = CURRENT.get()
    token = None if current is None else current.token
    if token is None:
        raise LookupError("there is a token only inside a handler behind the interceptor, and not in a public method")
    return token


class _Interceptor:
    _sends_by_callback: bool

    def __init__(
        self,
        validator: TokenValidator,
        *,
        require: Required | Iterable[Required] = (),
        methods: Mapping[str, Required | Iterable[Required]] = {},
        public: str | Iterable[str] = (),
        realm: str | None = None,
        show_reason: bool = False,
    ) -> None:
        base = every(require)
        self._guard = Guard("grpc", CallReader(), usable(validator), scope=base, realm=realm, show_reason=show_reason)
        dpop = self._guard.dpop
        if dpop is not None and dpop.required:
            raise ConfigurationError("DPoP has no form in gRPC: DPoP(required=True) would reject every call")
        self._guard.dpop = None  # a challenge that names it would send clients where they find nothing
        self._methods = CallMethods(base, methods, public)
        # By the name of the method; None where its handlers are made anew.
        self._kept: dict[str, tuple[Any, Any] | None] = {}

    def _guarded(self, handler: Any, method: str) -> Any:
        """The handler of the same kind that validates first: made once for each handler that is there for every call.

        One that another interceptor makes for a call may hold what that call sent, so it is not kept."""
        kept = self._kept.get(method)
        if kept is not None and kept[0] is handler:
            return kept[1]
        guarded = self._made(handler, method)
        if kept is not None:
            self._kept[method] = None
        elif method not in self._kept and len(self._kept) < _MOST_KEPT:
            self._kept[method] = handler, guarded
        return guarded

    def _made(self, handler: Any, method: str) -> Any:
        kind, make = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
        behavior = getattr(handler, kind)
        handlers = CallHandlers(self._guard, method, self._methods.required(method), behavior, self._end)
        guarded: Any = handlers.call
        if isasyncgenfunction(behavior):
            guarded = handlers.stream_async
        elif iscoroutinefunction(behavior):
            guarded = handlers.call_async
        elif handler.response_streaming and not (self._sends_by_callback and getattr(behavior, _NON_BLOCKING, False)):
            guarded = handlers.stream
        experimental = {name: getattr(behavior, name) for name in _EXPERIMENTAL if hasattr(behavior, name)}
        if experimental:
            guarded = partial(guarded)
            vars(guarded).update(experimental)
        return make(guarded, handler.request_deserializer, handler.response_serializer)

    def _end(self, call: Call, error: TokenGuardError) -> Any:
        rejection = self._guard.reject(error, call)
        problem = json.loads(rejection.body)
        trailing = [("reason", problem["reason"])] if "reason" in problem else []
        for name, value in rejection.fields:
            if name == "WWW-Authenticate":
                trailing.append(("www-authenticate", value))
            elif name == "Retry-After":
                trailing.append(("grpc-retry-pushback-ms", f"{value}000"))
        call.context.set_trailing_metadata(tuple(trailing))
        return call.context.abort(_STATUSES.get(rejection.status, grpc.StatusCode.INTERNAL), problem["detail"])


class BearerInterceptor(_Interceptor, grpc.ServerInterceptor):
    """Guards every method of a `grpc.server`, of all four kinds.

    - `require`: what every token must meet: a text of scopes, a requirement, or several
    - `methods`: what some methods ask for besides, by `"/package.Service/Method"` or `"/package.Service/*"`; the exact
      name wins over the star
    - `public`: names of the same form that need no token. None is public by default, not even health or reflection
    - `realm`: for the challenge
    - `show_reason`: shows clients which check failed, as `reason` of the trailing metadata; for development

    The credential is the metadata key `authorization`. A token is validated where the handler runs, and before the
    first message is read from a stream. `current_token()` gives it to the handler. A method that nothing serves is
    `UNIMPLEMENTED` as before.

    No credentials, bad ones or a bad token: `UNAUTHENTICATED`. Too little scope: `PERMISSION_DENIED`. Both with the
    challenge in the trailing metadata (`www-authenticate`). Keys unavailable: `UNAVAILABLE` with
    `grpc-retry-pushback-ms` (gRFC A6). Anything else that goes wrong in the guard: `INTERNAL`. A `TokenGuardError`
    that the handler raises is answered in the same way; everything else that it raises is gRPC's.

    DPoP has no form in gRPC, so a token that is bound to a key is rejected. One that is bound to a certificate needs
    that of the connection. Raises `ConfigurationError` for a bad setting.
    """

    _sends_by_callback = True

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """One call, in the thread of the completion queue: nothing is validated here."""
        handler = continuation(handler_call_details)
        return None if handler is None else self._guarded(handler, handler_call_details.method)


class AioBearerInterceptor(_Interceptor, grpc.aio.ServerInterceptor):
    """`BearerInterceptor` for `grpc.aio.server`, with the same settings:

    - `require`: what every token must meet
    - `methods`, `public`: which methods ask for more, and which for no token, by their names
    - `realm`: for the challenge
    - `show_reason`: shows clients which check failed; for development

    Handlers that are plain functions run in a thread there, and so does their validation.
    """

    _sends_by_callback = False

    def intercept_service(  # pyright: ignore[reportIncompatibleMethodOverride] - raises before there is a coroutine
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """One call. Raises `ConfigurationError` in `grpc.server`: a coroutine would end its thread, which serves all
        calls."""
        if not iscoroutinefunction(continuation):  # those of `grpc.aio` look like plain functions, but run in a loop
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                raise ConfigurationError(
                    "AioBearerInterceptor is for grpc.aio.server: give grpc.server a BearerInterceptor"
                ) from None
        return self._intercepted(continuation, handler_call_details)

    async def _intercepted(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)
        return None if handler is None else self._guarded(handler, details.method)
