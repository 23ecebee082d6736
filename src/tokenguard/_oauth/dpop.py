"""Reading a DPoP proof (RFC 9449 section 4.2): as strictly as a token, and nothing of it is believed here.

Owns: size, form, header, types of the claims. Must not know: tokens, URLs (`request_target`), time, which key a token
is bound to. Making proofs is `dpop_proof`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from tokenguard._jose import jws, strict_json
from tokenguard._jose.base64url import decode_prepared
from tokenguard._jose.jwk import PRIVATE, Key, import_key, without_nulls
from tokenguard._jose.strict_json import TOKEN_MEMBERS
from tokenguard._jose.thumbprint import thumbprint
from tokenguard._oauth.claims import is_numeric_date
from tokenguard.errors import InvalidProofError, InvalidTokenError

TYPE: Final = "dpop+jwt"
_LONGEST_JTI: Final = 256
_PRIVATE: Final = PRIVATE | {"k"}  # that of a symmetric key (RFC 7518 section 6.4), beside whatever else


class Remembered(Protocol):
    """Headers of proofs that held, by their text."""

    def get(self, digest: bytes, /) -> ProofHeader | None: ...


class ProofHeader:
    """What the header of a proof says, which is the same in every proof that a client makes with one key."""

    __slots__ = ("alg", "key", "thumbprint")

    def __init__(self, alg: str, key: Key, of_key: str) -> None:
        self.alg = alg
        self.key = key
        self.thumbprint = of_key


class Proof:
    """A proof taken apart. `is_new`: its header was not remembered."""

    __slots__ = ("claims", "header", "header_text", "is_new", "signature", "signing_input")

    def __init__(
        self,
        header: ProofHeader,
        header_text: bytes,
        claims: dict[str, Any],
        signing_input: bytes,
        signature: bytes,
        *,
        is_new: bool,
    ) -> None:
        self.header = header
        self.header_text = header_text
        self.claims = claims
        self.signing_input = signing_input
        self.signature = signature
        self.is_new = is_new

    def holds(self) -> bool:
        """Whether it is signed by the key that it names. Ask this once a token named that key too."""
        return self.header.key.verifies(self.header.alg, self.signing_input, self.signature)


def read(text: str, algorithms: frozenset[str], most_bytes: int, remembered: Remembered) -> Proof:
    """Take a proof apart. Raises `InvalidProofError`."""
    try:
        if len(text) > most_bytes:
            raise InvalidProofError
        token = text.encode("ascii")
        header_text, payload, signature, signed = jws.take_apart(token)
        header = remembered.get(header_text)
        is_new = header is None
        if header is None:
            header = _header(decode_prepared(header_text), algorithms)
        claims = strict_json.parse_object(payload, max_members=TOKEN_MEMBERS)
    except (ValueError, InvalidTokenError):
        raise InvalidProofError from None
    return Proof(header, header_text, claims, token[:signed], signature, is_new=is_new)


def _header(data: bytes, algorithms: frozenset[str]) -> ProofHeader:
    """Raises `InvalidProofError`, ValueError, `InvalidTokenError`."""
    members = strict_json.parse_object(data, max_members=TOKEN_MEMBERS)
    alg = jws.header_of(members, algorithms).alg
    jwk = members.get("jwk")
    if members.get("typ") != TYPE or not isinstance(jwk, Mapping):
        raise InvalidProofError
    jwk = without_nulls(jwk)
    if not _PRIVATE.isdisjoint(jwk):
        raise InvalidProofError
    key = import_key(jwk)
    if alg not in key.algorithms:
        raise InvalidProofError
    return ProofHeader(alg, key, thumbprint(jwk))


def check_types(claims: Mapping[str, Any]) -> None:
    """Every claim that must be there is, and has its type (RFC 9449 section 4.2). Raises `InvalidProofError`."""
    get = claims.get
    jti = get("jti")
    if not (
        type(jti) is str
        and 0 < len(jti) <= _LONGEST_JTI
        and type(get("htm")) is str
        and type(get("htu")) is str
        and type(get("ath")) is str
        and is_numeric_date(get("iat"))
    ):
        raise InvalidProofError
    for name in ("exp", "nbf"):
        if name in claims and not is_numeric_date(claims[name]):
            raise InvalidProofError
