"""How a client authenticates to an authorization server: credentials in, headers and form fields out.

Owns: the methods (RFC 6749 section 2.3.1, RFC 7523, RFC 8705 section 2, RFC 6750). Must not know: settings, the clock,
where a secret comes from, the request that carries the credentials.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote_plus

from tokenguard._jose.signing import SigningKey, UnusableSecretError
from tokenguard._oauth.oauth_messages import TOKEN68

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2
ASSERTION_LIFETIME: Final = 60  # seconds; an assertion is for one request

# RFC 7515 section 7.1:   BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature)
_ASSERTION: Final = re.compile(r"[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+){2}", re.ASCII)
_LONGEST_ASSERTION: Final = 65_536


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one request carries to authenticate. No `repr` shows it."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)  # before they were encoded


def basic(client_id: str, secret: str) -> Credentials:
    """`client_secret_basic`: both are form-encoded first, so a colon or a non-ASCII character in them is safe."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode("ascii")
    header = "Basic " + b64encode(pair).decode("ascii")
    return Credentials(headers=(("authorization", header),), secrets=(secret,))


def post(client_id: str, secret: str) -> Credentials:
    """`client_secret_post`."""
    return Credentials(fields=(("client_id", client_id), ("client_secret", secret)))


def tls(client_id: str) -> Credentials:
    """`tls_client_auth` (RFC 8705 section 2): the certificate is in the TLS context, the id in the form."""
    return Credentials(fields=(("client_id", client_id),))


def bearer(token: str) -> Credentials:
    """A bearer token of this service (RFC 7662 section 2.1). It must be a token68, or it could forge header fields."""
    if TOKEN68.fullmatch(token) is None:
        raise UnusableSecretError("it must be a token of the characters A-Z a-z 0-9 - . _ ~ + / only, no spaces")
    return Credentials(headers=(("authorization", f"Bearer {token}"),))


def public(client_id: str | None) -> Credentials:
    """`none`: a public client sends its client id, if it has one (RFC 6749 section 3.2.1)."""
    return Credentials(fields=() if client_id is None else (("client_id", client_id),))


def presented(client_id: str | None, signed: str) -> Credentials:
    """`private_key_jwt` with an assertion that another party signed, such as the platform that this client runs on.

    Its `sub` is the client, so that `client_id` may be left out (RFC 7521 section 4.2).
    """
    if len(signed) > _LONGEST_ASSERTION or _ASSERTION.fullmatch(signed) is None:
        raise UnusableSecretError("it must be a JWT of the characters A-Z a-z 0-9 - _ . only, of at most 64 KiB")
    return Credentials(fields=(*public(client_id).fields, *_asserted(signed)))


def _asserted(signed: str) -> tuple[tuple[str, str], ...]:
    return ("client_assertion_type", ASSERTION_TYPE), ("client_assertion", signed)


def assertion(
    client_id: str, key: SigningKey, *, key_id: str | None, audience: str, now: float, jti: str
) -> Credentials:
    """`private_key_jwt` (RFC 7523 section 3): signed, for this server only, used once, good for a minute.

    `audience` is the issuer identifier as the only value: with an endpoint URL, one server could replay at
    another what it received (draft-ietf-oauth-rfc7523bis section 4).
    """
    issued_at = int(now)
    kid = key_id if key_id is not None else key.kid
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": jti,
        "iat": issued_at,
        "exp": issued_at + ASSERTION_LIFETIME,
    }
    signed = key.sign({} if kid is None else {"kid": kid}, claims)
    return Credentials(fields=(("client_id", client_id), *_asserted(signed)))
