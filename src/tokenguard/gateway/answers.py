"""Answers that are no verdict: yes, and those about the question itself.

Owns: their status, fields and bodies. Must not know: the proxy, the question. A rejection is `challenge`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, NamedTuple

from tokenguard.challenge import Rejection, problem

__all__ = ["FORBIDDEN", "NOT_FOUND", "Answer", "accepted", "as_it_is", "text", "too_many"]

_NO_STORE: Final = (b"cache-control", b"no-store")
_EMPTY: Final = ((b"content-length", b"0"), _NO_STORE)


class Answer(NamedTuple):
    """What is sent."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""


def accepted(fields: tuple[tuple[bytes, bytes], ...]) -> Answer:
    """Yes: 200, as Envoy takes no other 2xx, with the fields for the API."""
    return Answer(HTTPStatus.OK, (*_EMPTY, *fields))


def as_it_is(rejection: Rejection) -> Answer:
    """A whole rejection."""
    headers = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in rejection.headers]
    return Answer(rejection.status, tuple(headers), rejection.body)


def too_many(retry_after: int) -> Answer:
    """In place of the rejection of one more bad token (RFC 6585 section 4)."""
    fields = (("Retry-After", str(retry_after)),)
    return as_it_is(problem(HTTPStatus.TOO_MANY_REQUESTS, "Too many bad tokens came from this address.", fields))


def text(status: HTTPStatus, body: bytes | str, kind: str = "text/plain; charset=utf-8") -> Answer:
    """A page for operators."""
    octets = body.encode() if isinstance(body, str) else body
    about: Iterable[tuple[bytes, bytes]] = (
        (b"content-type", kind.encode()),
        (b"content-length", str(len(octets)).encode()),
    )
    return Answer(status, (*about, _NO_STORE), octets)


FORBIDDEN: Final = as_it_is(problem(HTTPStatus.FORBIDDEN, "Questions are answered to trusted proxies only."))
NOT_FOUND: Final = as_it_is(problem(HTTPStatus.NOT_FOUND, "This is no endpoint of the gateway."))
