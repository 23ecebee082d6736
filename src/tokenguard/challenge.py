"""From an error to an answer: status, header fields and body.

Owns: everything that is HTTP: status codes, the challenge (RFC 6750 section 3), `Retry-After`, the problem document
(RFC 9457). The only module that does. Must not know: frameworks, tokens, how a request was validated.

A header field is put together from constants, from `realm`, `resource_metadata` and scope names only, each checked
against the grammar first; so what comes out always parses (RFC 9110 sections 5.6.4 and 11.6.1), whatever came in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from tokenguard._oauth.credential import DPOP, SCHEME
from tokenguard._oauth.scope import SCOPE_TOKEN
from tokenguard._settings import fetched_url
from tokenguard.errors import (
    ConfigurationError,
    InsufficientAuthenticationError,
    InsufficientScopeError,
    InvalidProofError,
    InvalidRequestError,
    InvalidTokenError,
    MissingTokenError,
    NonceRequiredError,
    Reason,
    RejectedError,
    UnavailableError,
)
from tokenguard.resource import DPoP, ResourceMetadata

__all__ = ["Rejection", "checked_realm", "checked_resource_metadata", "reject"]

# What a quoted-string may hold without escapes (RFC 9110 section 5.6.4), less HTAB and obs-text: servers and gateways
# treat both badly (PEP 3333 forbids control characters), and a realm does not need them.
_QUOTABLE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*", re.ASCII)

_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+", re.ASCII)  # RFC 9449 section 8.1

_ABOUT_THE_BODY = ("Content-Type", "Content-Length")
_DEFAULT_REALM = "api"
_LONGEST_AGE = 10**18  # more is a mistake, and an int of an application may be too long to write
_FAILURE = "The request could not be authorized because of an error in the server."

# The class decides, not the attributes of an instance or a subclass: the client's text stays ours.
_REFUSALS: tuple[tuple[type[RejectedError], HTTPStatus], ...] = (
    (MissingTokenError, HTTPStatus.UNAUTHORIZED),
    (InvalidRequestError, HTTPStatus.BAD_REQUEST),
    (InvalidTokenError, HTTPStatus.UNAUTHORIZED),
    (InvalidProofError, HTTPStatus.UNAUTHORIZED),
    (NonceRequiredError, HTTPStatus.UNAUTHORIZED),
    (InsufficientScopeError, HTTPStatus.FORBIDDEN),
    (InsufficientAuthenticationError, HTTPStatus.UNAUTHORIZED),
    (RejectedError, HTTPStatus.UNAUTHORIZED),
)


class Rejection(NamedTuple):
    """What an adapter writes out, as it stands. For HEAD it keeps the header fields and leaves out the body.

    - `status`: of HTTP
    - `headers`: pairs of name and value. A field may be there twice: write them out one by one, never as a `dict`
    - `body`: the problem document (RFC 9457), JSON
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """`headers` without those about the body, for an adapter whose framework writes a body of its own."""
        return tuple(field for field in self.headers if field[0] not in _ABOUT_THE_BODY)

    @property
    def detail(self) -> str:
        """The constant text of the problem document."""
        return str(json.loads(self.body)["detail"])


def joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header fields for a framework that takes a mapping: what is there twice becomes one list (RFC 9110 section
    5.3)."""
    found: dict[str, str] = {}
    for name, value in fields:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def checked_realm(realm: str | None) -> str:
    """The realm for the challenge, `"api"` for None.

    Raises `ConfigurationError` unless it is printable ASCII without quote and backslash.
    """
    if realm is None:
        return _DEFAULT_REALM
    text: object = realm  # not every caller is typed
    if not isinstance(text, str) or _QUOTABLE.fullmatch(text) is None:
        raise ConfigurationError('realm must be printable ASCII without quote and backslash, such as "orders"')
    return realm


def checked_resource_metadata(url: str | ResourceMetadata | None) -> str | None:
    """The URL of this resource's metadata (RFC 9728 section 5.1), that of a `ResourceMetadata`, or None.

    Raises `ConfigurationError` unless it is an absolute URL that a client can fetch and a quoted-string can hold.
    """
    if url is None:
        return None
    if isinstance(url, ResourceMetadata):
        url = url.url
    fetched_url("resource_metadata", url)
    if _QUOTABLE.fullmatch(url) is None:
        raise ConfigurationError("resource_metadata must not hold a quote: write it percent-encoded, as %22")
    return url


def reject(
    error: object,
    *,
    realm: str | None = None,
    resource_metadata: str | ResourceMetadata | None = None,
    show_reason: bool = False,
    scheme: str | None = None,
    dpop: DPoP | None = None,
    scope: str | Iterable[str] = (),
) -> Rejection:
    """The answer to a request that ended in `error`.

    - a rejection: 400, 401 or 403 and a Bearer challenge (RFC 6750 section 3.1). Without credentials it holds
      `realm`, `resource_metadata` and `scope` only; every 401 and 403 holds `resource_metadata`; a 403 lists every
      required scope, and the 401 of RFC 9470 `acr_values`, `max_age` and these scopes
    - unavailable (`UnavailableError`): 503 and `Retry-After`, no challenge
    - everything else, `ConfigurationError` included: 500, no challenge

    With `dpop`, the validator's setting, the field lists the schemes that are taken, one challenge each (RFC 9449
    section 7.1): both for a 401 without credentials or under `Bearer`; `DPoP` alone where the token was sent under it
    (`scheme`, in any case; None for no credentials) or is `required` to be. Otherwise a 400 and a 403 name the scheme
    that was used. `NonceRequiredError` brings the field `DPoP-Nonce`.

    `scope`: what the resource requires of a token, space-delimited or iterable; a 401 lists it, so that a client
    without one knows what to get.

    `show_reason` adds the failed check to the body of a rejection. It is for development: it shows an attacker which
    part of a forged token to work on next. Raises `ConfigurationError` for an illegal `realm`, `resource_metadata`,
    `scheme`, `dpop` or `scope`.
    """
    realm = checked_realm(realm)
    metadata_url = checked_resource_metadata(resource_metadata)
    if not (scheme is None or isinstance(scheme, str)) or not (dpop is None or isinstance(dpop, DPoP)):
        raise ConfigurationError("scheme must be a string, and dpop the DPoP(...) of the validator")
    if not isinstance(scope, Iterable) or isinstance(scope, bytes | bytearray):
        raise ConfigurationError("scope must be a string or an iterable of strings")
    would_ask = tuple(scope.split(" ") if isinstance(scope, str) else scope)
    if isinstance(error, RejectedError):
        is_dpop = dpop is not None and scheme is not None and scheme.lower() == DPOP.lower()
        return _refusal(error, realm, metadata_url, dpop, would_ask, is_dpop=is_dpop, show_reason=show_reason)
    if isinstance(error, UnavailableError):
        retry_after = error.retry_after if type(error.retry_after) is int and error.retry_after > 0 else 1
        fields = (("Retry-After", str(retry_after)),)
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, UnavailableError.description, fields)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, _FAILURE)


def _refusal(
    error: RejectedError,
    realm: str,
    resource_metadata: str | None,
    dpop: DPoP | None,
    would_ask: tuple[str, ...],
    *,
    is_dpop: bool,
    show_reason: bool,
) -> Rejection:
    kind, status = next((kind, status) for kind, status in _REFUSALS if isinstance(error, kind))
    members: dict[str, str | int] = {}
    if kind.error is not None:
        members = {"error": kind.error, "error_description": kind.description}
    if isinstance(error, InsufficientAuthenticationError):
        members |= _step_up(error)
    scope = ""
    if isinstance(error, InsufficientScopeError | InsufficientAuthenticationError):
        scope = _listed(error.required)
    if not scope and status == HTTPStatus.UNAUTHORIZED:
        scope = _listed(would_ask)
    if scope:
        members["scope"] = scope
    algs = {} if dpop is None else {"algs": " ".join(dpop.names)}
    at_the_end: dict[str, str | int] = {}
    if resource_metadata is not None and status != HTTPStatus.BAD_REQUEST:
        at_the_end = {"resource_metadata": resource_metadata}
    if dpop is not None and (is_dpop or dpop.required):
        challenge = _challenge(DPOP, {"realm": realm, **members, **algs, **at_the_end})
    else:
        challenge = _challenge(SCHEME, {"realm": realm, **members, **at_the_end})
        if dpop is not None and status == HTTPStatus.UNAUTHORIZED:
            challenge = f"{challenge}, {_challenge(DPOP, {'realm': realm, **algs, **at_the_end})}"
    headers = [("WWW-Authenticate", challenge)]
    if isinstance(error, NonceRequiredError):
        nonce: object = error.nonce
        if isinstance(nonce, str) and _NONCE.fullmatch(nonce) is not None:
            headers.append(("DPoP-Nonce", nonce))
    if show_reason is True and isinstance(error.reason, Reason):
        members["reason"] = error.reason.value
    return _answer(status, kind.description, members, tuple(headers))


def _challenge(scheme: str, parameters: Mapping[str, str | int]) -> str:
    return f"{scheme} " + ", ".join([f'{name}="{value}"' for name, value in parameters.items()])


def _step_up(error: InsufficientAuthenticationError) -> dict[str, str | int]:
    """How the subject must sign in (RFC 9470 section 3)."""
    members: dict[str, str | int] = {}
    acr_values = _listed(error.acr_values)
    if acr_values:
        members["acr_values"] = acr_values
    if type(error.max_age) is int and 0 <= error.max_age <= _LONGEST_AGE:
        members["max_age"] = error.max_age
    return members


def _listed(names: tuple[object, ...]) -> str:
    return " ".join([name for name in names if isinstance(name, str) and SCOPE_TOKEN.fullmatch(name) is not None])


def problem(status: HTTPStatus, detail: str, headers: tuple[tuple[str, str], ...] = ()) -> Rejection:
    """An answer without a challenge: `detail`, a constant text, as a problem document."""
    return _answer(status, detail, {}, headers)


def _answer(
    status: HTTPStatus, detail: str, members: Mapping[str, str | int], headers: tuple[tuple[str, str], ...]
) -> Rejection:
    # "about:blank": the status says it all, and the title is its phrase (RFC 9457 section 4.2.1).
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail, **members}
    body = json.dumps(problem, separators=(",", ":")).encode("ascii")
    return Rejection(
        status.value,
        (
            *headers,
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ),
        body,
    )
