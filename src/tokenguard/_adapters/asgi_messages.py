"""What goes over an ASGI connection: a rejection, the answer to a handshake, fields that an app's answers get besides.

Owns: the ASGI messages that are sent or changed here. Must not know: any framework, what is rejected and why, status
codes and challenges (see `challenge`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from tokenguard._adapters.asgi_scopes import takes_denials
from tokenguard._adapters.guard import POLICY_VIOLATION, Guard
from tokenguard._adapters.own_field import kept_apart
from tokenguard._adapters.proofs import own_scope
from tokenguard.challenge import Rejection

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_BEGINNINGS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


async def send_rejection(rejection: Rejection, scope: Scope, receive: Receive, send: Send) -> None:
    """Reject a request or a websocket that no app has seen."""
    if scope["type"] == "http":
        await answer(rejection, "", scope, send)
    else:
        await deny(rejection, scope, receive, send)


async def deny(rejection: Rejection, scope: Scope, receive: Receive | None, send: Send) -> None:
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


class Handshake:
    """How far a websocket's handshake has come. It is answered with `subprotocol` where the app names none."""

    __slots__ = ("_receive", "_send", "_subprotocol", "is_answered", "is_read")

    def __init__(self, receive: Receive, send: Send, subprotocol: str | None) -> None:
        self._receive = receive
        self._send = send
        self._subprotocol = subprotocol
        self.is_read = self.is_answered = False

    def receive(self) -> Awaitable[Message]:
        """The app's `receive`."""
        self.is_read = True
        return self._receive()

    def send(self, message: Message) -> Awaitable[None]:
        """The app's `send`."""
        self.is_answered = True
        if message["type"] == "websocket.accept" and self._subprotocol is not None and not message.get("subprotocol"):
            message = {**message, "subprotocol": self._subprotocol}
        return self._send(message)


def with_nonce(guard: Guard[Any], scope: Scope, send: Send) -> tuple[Scope, Send]:
    """A copy of the scope, as a verdict is kept with it, and what adds a nonce to the answer."""
    scope = own_scope(scope)

    def sending(message: Message) -> Awaitable[None]:
        if message["type"] in _BEGINNINGS:
            nonce, fields = guard.nonce(scope), [*(message.get("headers") or ())]
            if nonce is not None and not any(name.lower() == b"dpop-nonce" for name, _ in fields):
                message = {**message, "headers": [*fields, (b"dpop-nonce", nonce.encode())]}
        return send(message)

    return scope, sending if guard.gives_nonces else send


def kept_apart_by(header: str, scope: Scope, send: Send) -> tuple[Scope, Send]:
    """The scope, and what adds to the answer what caches need to know where `header` holds the token."""

    def sending(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            fields = [*message.get("headers", ())]
            more = kept_apart(header, [name.decode("latin-1") for name, _ in fields])
            fields += [(name.lower().encode(), value.encode()) for name, value in more]
            message = {**message, "headers": fields}
        return send(message)

    return scope, sending
