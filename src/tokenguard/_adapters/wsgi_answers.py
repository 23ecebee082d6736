"""What goes to a WSGI server (PEP 3333): a rejection, an app's answer once it is sure, fields that it gets besides.

Owns: when the server's `start_response` is called. Must not know: any framework, what is rejected and why, status codes
and challenges (see `challenge`).
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from tokenguard._adapters.guard import Guard
from tokenguard._adapters.own_field import kept_apart

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from tokenguard.challenge import Rejection

_SENT: Final = "sent"


def send_rejection(
    rejection: Rejection,
    environ: WSGIEnvironment,
    start_response: StartResponse,
    *failed: Any,
) -> list[bytes]:
    """Start the answer, and give its body. `failed`: `exc_info` where another one was started."""
    start_response(f"{rejection.status} {HTTPStatus(rejection.status).phrase}", list(rejection.headers), *failed)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [rejection.body]


class Answer:
    """An application's answer: what `start` is given reaches the server with the first part of the body.

    An application may start again until then (PEP 3333), but gunicorn and cheroot send the fields of both starts: a
    rejection would have two `Content-Length` and the cookies of the answer that it replaces.

    `start` returns this object, which sends a part of the body (PEP 3333). It is False in a condition:
    `return start_response(...) or [body]` works over servers and tests whose `start_response` returns None, and has to
    work behind this middleware too. One object, for both and without a constructor, costs half of two
    (docs/decisions/0049).
    """

    __slots__ = ("_headers", "_write", "failed", "server", "status")

    # Set by the middleware.
    server: StartResponse
    status: str | None  # None before the start, `_SENT` once the server has it
    failed: tuple[Any, ...]  # what comes behind the headers: `exc_info`, or nothing

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        """The `start_response` of the application."""
        if self.status is not None or exc_info is not None:
            return self._start_anew(status, headers, exc_info)
        self.status, self._headers = status, headers
        return self

    def _start_anew(self, status: str, headers: list[tuple[str, str]], exc_info: Any) -> Callable[[bytes], object]:
        failed = () if exc_info is None else (exc_info,)
        if self.status is _SENT or not (failed or self.status is None):  # the server's to object to
            self.send()
            return self.server(status, headers, *failed)
        self.status, self._headers, self.failed = status, headers, failed
        return self

    def send(self) -> None:
        """Start the answer at the server, if the application has started one."""
        status = self.status
        if status is not None and status is not _SENT:
            self.status = _SENT
            if self.failed:
                self._write = self.server(status, self._headers, *self.failed)
            else:  # an unpacking costs as much as the call
                self._write = self.server(status, self._headers)

    def __call__(self, data: bytes) -> object:
        """Send a part of a body that the application does not return."""
        self.send()
        return self._write(data)

    def __bool__(self) -> bool:
        return False


def with_nonce(guard: Guard[Any], environ: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
    """What adds a nonce to the answer."""

    def starting(status: str, headers: list[tuple[str, str]], *failed: Any) -> Callable[[bytes], object]:
        nonce = guard.nonce(environ)
        if nonce is not None and not any(name.lower() == "dpop-nonce" for name, _ in headers):
            headers = [*headers, ("DPoP-Nonce", nonce)]
        return start_response(status, headers, *failed)

    return starting


def kept_apart_by(header: str, _: WSGIEnvironment, start_response: StartResponse) -> StartResponse:
    """What adds to the answer what caches need to know where `header` holds the token."""

    def starting(status: str, headers: list[tuple[str, str]], *failed: Any) -> Callable[[bytes], object]:
        return start_response(status, [*headers, *kept_apart(header, [name for name, _ in headers])], *failed)

    return starting
