"""A compact JWS (RFC 7515 section 7.1) taken apart: steps 1 and 2 of every validation.

Owns: size, segments, the header and what may stand in it. Must not know: issuers, keys, time.
Nothing here is believed: `Unverified` is what a token says before its signature held.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from string import ascii_letters, digits
from typing import Any, Final

from tokenguard._jose import strict_json
from tokenguard._jose.base64url import decode_prepared, prepare
from tokenguard._jose.strict_json import TOKEN_MEMBERS, MalformedJSONError
from tokenguard.errors import InvalidTokenError, Reason

MAX_KID: Final = 512
ACCESS_TOKEN_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
RFC9068_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})

_VSCHAR: Final = bytes(range(0x21, 0x7F))
_LAX: Final = bytes.maketrans(b"-_", b"+/")
# RFC 8259 section 2:  object = ws "{" ws [ member *( value-separator member ) ] "}"     member begins with a string
# A byte order mark and white space, or none; NUL, as UTF-16 and UTF-32 put it beside ASCII.
_OBJECT: Final = re.compile(rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff|[\x00-\x20])*+\{[\x00-\x20]*+[\"}]")
_JUNK: Final = bytes(set(range(256)) - set((ascii_letters + digits + "-_+/").encode()))


class Header:
    """The header members that decide something. `alg` is normalised: the name Ed25519 (RFC 9864) reads as EdDSA."""

    __slots__ = ("alg", "kid", "typ")

    def __init__(self, alg: str, kid: str | None, typ: str | None) -> None:
        self.alg = alg
        self.kid = kid
        self.typ = typ


class Unverified:
    """A token taken apart, not yet believed. `header_text` is the header as sent, to remember it by once it held."""

    __slots__ = ("claims", "header", "header_text", "payload", "signature", "signing_input")

    def __init__(
        self,
        header: Header,
        header_text: bytes,
        claims: dict[str, Any],
        payload: bytes,
        signing_input: bytes,
        signature: bytes,
    ) -> None:
        self.header = header
        self.header_text = header_text
        self.claims = claims
        self.payload = payload
        self.signing_input = signing_input
        self.signature = signature


def parse(token: bytes, algorithms: frozenset[str], remembered: dict[bytes, Header]) -> Unverified:
    """Take a token apart. `remembered` holds headers of tokens whose signature held, by their text.

    Raises `InvalidTokenError`: `malformed`, `algorithm` (not in `algorithms`) or `type`.
    """
    try:
        header_text, payload, signature, signed = take_apart(token)  # all of it, before what a header says
        header = remembered.get(header_text)
        if header is None:
            header = read_header(decode_prepared(header_text), algorithms)
        claims = strict_json.parse_object(payload, max_members=TOKEN_MEMBERS)
    except ValueError:
        raise InvalidTokenError(reason=Reason.MALFORMED) from None
    if header.typ is not None and header.typ not in ACCESS_TOKEN_TYPES:
        raise InvalidTokenError(reason=Reason.TYPE)
    return Unverified(header, header_text, claims, payload, token[:signed], signature)


def take_apart(token: bytes) -> tuple[bytes, bytes, bytes, int]:
    """The header's text, prepared for `decode_prepared`; payload and signature, decoded; the length of what is signed.

    Raises ValueError.
    """
    text = prepare(token)
    # From both ends, in a third of the time of a split. A dot too many is left in the payload, and is no base64url.
    signed, _, signature_text = text.rpartition(b".")
    header_text, _, payload_text = signed.partition(b".")
    if not (header_text and payload_text and signature_text):
        raise ValueError("not three segments")
    return header_text, decode_prepared(payload_text), decode_prepared(signature_text), len(signed)


def read_header(data: bytes, algorithms: frozenset[str]) -> Header:
    """A header from its octets. Raises `InvalidTokenError` (`algorithm`) or `MalformedJSONError`."""
    return header_of(strict_json.parse_object(data, max_members=TOKEN_MEMBERS), algorithms)


def header_of(members: dict[str, Any], algorithms: frozenset[str]) -> Header:
    """The same for a header that was read."""
    alg = members.get("alg")
    if not isinstance(alg, str):  # before any set look-up: a list would not even be hashable
        raise InvalidTokenError(reason=Reason.ALGORITHM)
    if alg == "Ed25519":
        alg = "EdDSA"
    if alg not in algorithms:
        raise InvalidTokenError(reason=Reason.ALGORITHM)
    kid = members.get("kid")
    if (kid is None and "kid" in members) or not (kid is None or (isinstance(kid, str) and len(kid) <= MAX_KID)):
        raise MalformedJSONError
    # Nothing that crit could name is supported (RFC 7515 section 4.1.11), nor is an unencoded payload (RFC 7797);
    # enc marks a JWE (RFC 7516), which is no access token here.
    if "crit" in members or "enc" in members or members.get("b64", True) is not True:
        raise MalformedJSONError
    typ = members.get("typ")
    if typ is None and "typ" not in members:
        return Header(alg, kid, None)
    return Header(alg, kid, typ.lower() if isinstance(typ, str) and typ.isascii() else "")


def is_jwt(token: bytes) -> bool:
    """Whether a token is meant as a JWT: two dots, and the first segment decodes to what begins as a JSON object.

    Lax on purpose, and wrong in one direction only: what any reader may take for a JOSE header is rejected here, not
    shown to an introspection endpoint. So it looks at the beginning alone: no number, no depth, no encoding, no member
    and no size can make it stop reading. Of random segments one in 65,536 begins so.
    """
    if token.count(b".") != 2:
        return False
    first = token.partition(b".")[0].translate(_LAX, _JUNK)
    first = first[: len(first) - (len(first) % 4 == 1)]  # one character over holds no octet
    return _OBJECT.match(a2b_base64(first + b"=" * (-len(first) % 4))) is not None


def is_opaque(token: bytes) -> bool:
    """Whether a token can be an opaque one: visible ASCII only (RFC 6749 appendix A.12), and no JWT."""
    return not token.translate(None, _VSCHAR) and not is_jwt(token)
