"""The header fields that carry a token's claims to the API behind the proxy.

Owns: which fields may, how a claim is written. Must not know: HTTP messages, the reader of the fields.

Every field is in every answer, empty where the token does not have the claim: what a proxy copies overwrites what the
client sent, and what is absent would leave the client's own value in place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from tokenguard._settings import is_field_name
from tokenguard.errors import ConfigurationError
from tokenguard.gateway.spelling import folded
from tokenguard.token import AccessToken

__all__ = ["DEFAULT", "ClaimFields", "TooLargeError"]

DEFAULT: Final[Mapping[str, str]] = MappingProxyType(
    {"X-Token-Issuer": "iss", "X-Token-Subject": "sub", "X-Token-Client": "client_id", "X-Token-Scope": "scope"}
)
LONGEST: Final = 4_096  # octets of all names and values: proxies take 4 to 8 KiB of header fields in an answer

# They mean something to proxies and clients, or decide here.
# fmt: off
_TAKEN: Final = frozenset((
    "accept-ranges", "age", "authorization", "cache-control", "connection", "content-encoding", "content-length",
    "content-type", "cookie", "date", "dpop", "etag", "expect", "expires", "forwarded", "host", "keep-alive",
    "last-modified", "location", "pragma", "proxy-authenticate", "proxy-authorization", "proxy-connection", "range",
    "retry-after", "server", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "vary", "via",
    "www-authenticate", "x-forwarded-for", "x-forwarded-host", "x-forwarded-method", "x-forwarded-proto",
    "x-forwarded-uri",
))
# fmt: on
# Printable ASCII less `%`, which would make a value ambiguous; a space not where it begins or ends one.
_AS_IT_IS: Final = "".join(chr(one) for one in range(0x20, 0x7F) if chr(one) != "%")
_BLANKS_AROUND: Final = re.compile(r"\A +|(?<! ) ++\Z")  # in linear time: each run is looked at once


class TooLargeError(Exception):
    """The claims of a token take more than `LONGEST`."""


class ClaimFields:
    """Prepared names of fields and claims. Raises `ConfigurationError`.

    `iss`, `sub`, `client_id` and `scope` are those of the `AccessToken`, whatever claims the issuer uses for them;
    `tenant` is the token's where the issuer's settings give one; anything else is the claim of that name.
    """

    __slots__ = ("_claims", "empty", "names")

    def __init__(self, given: Mapping[str, str]) -> None:
        if not isinstance(given, Mapping):
            raise ConfigurationError('claims must map fields to claims: {"X-Token-Subject": "sub"}')
        seen: set[bytes] = set()
        for name, claim in given.items():
            if not is_field_name(name) or not isinstance(claim, str) or not claim:
                raise ConfigurationError(
                    'claims must map names of fields to names of claims: {"X-Token-Subject": "sub"}'
                )
            if name.lower() in _TAKEN:
                raise ConfigurationError("claims must not use a field that means something else: X-Token-... are free")
            if folded(name.encode()) in seen:
                raise ConfigurationError("claims must not have two spellings of one field: backends take them for one")
            seen.add(folded(name.encode()))
        self.names = tuple(given)
        self._claims = tuple([(name.lower().encode(), claim) for name, claim in given.items()])
        self.empty = tuple([(name, b"") for name, _ in self._claims])

    @property
    def lacks_issuer(self) -> bool:
        """Whether a subject or client is written without the issuer that it belongs to."""
        claims = {claim for _, claim in self._claims}
        return "iss" not in claims and not claims.isdisjoint(("sub", "client_id"))

    def of(self, token: AccessToken | None) -> tuple[tuple[bytes, bytes], ...]:
        """The fields for a token, all of them empty without one. Raises `TooLargeError`."""
        if token is None:
            return self.empty
        found = tuple([(name, _written(_value(token, claim))) for name, claim in self._claims])
        if sum(len(name) + len(value) for name, value in found) > LONGEST:
            raise TooLargeError
        return found


def _value(token: AccessToken, claim: str) -> Any:
    if claim == "scope":
        return " ".join(sorted(token.scopes))
    if claim == "sub":
        return token.subject
    if claim == "iss":
        return token.issuer
    if claim == "client_id":
        return token.client_id
    if claim == "tenant" and token.tenant is not None:
        return token.tenant
    return token.claims.get(claim)


def _written(value: Any) -> bytes:
    """A claim as the value of a field: RFC 9110 section 5.5 takes printable ASCII, without blanks around it."""
    if value is None:
        return b""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if len(text) > LONGEST:
        raise TooLargeError
    return _quoted(text).encode()


def _quoted(text: str) -> str:
    if text.isascii() and text.isprintable() and "%" not in text and " " not in (text[:1], text[-1:]):
        return text
    return _BLANKS_AROUND.sub(lambda blanks: "%20" * len(blanks[0]), quote(text, safe=_AS_IT_IS))
