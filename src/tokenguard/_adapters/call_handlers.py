"""The guarded forms of a gRPC handler: plain function, coroutine function, generator, async generator.

Owns: when a call is validated, and where `current_token` gives its token. Must not know: gRPC by import, how a
rejection is written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextvars import ContextVar, Token
from typing import Any, Final

from tokenguard._adapters.calls import Call
from tokenguard._adapters.guard import Guard
from tokenguard.errors import TokenGuardError
from tokenguard.requirements import Requirement
from tokenguard.token import AccessToken


class Current:
    """Where `current_token()` gives this token: between enter and exit, and in copies of the context until `end`.

    A task that a handler starts has such a copy. It may outlive the call, and may serve others then.
    """

    __slots__ = ("_before", "token")
    _before: Token[Current | None]

    def __init__(self) -> None:
        self.token: AccessToken | None = None

    def __enter__(self) -> None:
        self._before = CURRENT.set(self)

    def __exit__(self, *_: object) -> None:
        CURRENT.reset(self._before)

    def end(self) -> None:
        """Give no token any more, wherever it is asked for."""
        self.token = None


CURRENT: Final[ContextVar[Current | None]] = ContextVar("tokenguard.grpc.current_token", default=None)


class CallHandlers:
    """The guarded forms of one handler, `behavior`. `required` is None for a public method.

    `end(call, rejection)` ends a call: it raises in a thread; on a loop its result is awaited, and raises.
    """

    __slots__ = ("_behavior", "_end", "_guard", "_method", "_required")

    def __init__(
        self,
        guard: Guard[Call],
        method: str,
        required: Requirement | None,
        behavior: Any,
        end: Callable[[Call, TokenGuardError], Any],
    ) -> None:
        self._guard = guard
        self._method = method
        self._required = required
        self._behavior = behavior
        self._end = end

    def call(self, request: Any, context: Any, *send_response: Any) -> Any:
        """A plain function."""
        call, token, current = Call(self._method, context), None, Current()
        try:
            token = current.token = self._validate(call)
            with current:
                return self._behavior(request, context, *send_response)
        except TokenGuardError as error:
            return self._failed(call, token, error)
        finally:
            current.end()

    async def call_async(self, request: Any, context: Any) -> Any:
        """A coroutine function."""
        call, token, current = Call(self._method, context), None, Current()
        try:
            begun = self._begin_async(call)
            token = current.token = begun if begun is None or isinstance(begun, AccessToken) else await begun
            with current:
                return await self._behavior(request, context)
        except TokenGuardError as error:
            return await self._failed(call, token, error)
        finally:
            current.end()

    # A generator runs in the context that takes its next response, so the token is there for each step alone.

    def stream(self, request: Any, context: Any) -> Iterator[Any]:
        """A function whose result is iterated."""
        call, token, current = Call(self._method, context), None, Current()
        try:
            token = current.token = self._validate(call)
            with current:
                responses = iter(self._behavior(request, context))
            try:
                while True:
                    with current:
                        try:
                            response = next(responses)
                        except StopIteration:
                            return
                    yield response
            finally:
                if isinstance(responses, Generator):
                    with current:
                        responses.close()
        except TokenGuardError as error:
            self._failed(call, token, error)
        finally:
            current.end()

    async def stream_async(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """An async generator."""
        call, token, current = Call(self._method, context), None, Current()
        try:
            begun = self._begin_async(call)
            token = current.token = begun if begun is None or isinstance(begun, AccessToken) else await begun
            responses = self._behavior(request, context)
            try:
                while True:
                    with current:
                        try:
                            response = await anext(responses)
                        except StopAsyncIteration:
                            return
                    yield response
            finally:
                with current:
                    await responses.aclose()
        except TokenGuardError as error:
            await self._failed(call, token, error)
        finally:
            current.end()

    def _validate(self, call: Call) -> AccessToken | None:
        return None if self._required is None else self._guard.validate(call, self._required)

    def _begin_async(self, call: Call) -> AccessToken | Awaitable[AccessToken | None] | None:
        return None if self._required is None else self._guard.begin_async(call, self._required)

    def _failed(self, call: Call, token: AccessToken | None, error: TokenGuardError) -> Any:
        if token is not None or self._required is None:  # the handler's own decision; the guard's is noted
            self._guard.note(call, token, error)
        return self._end(call, error)
