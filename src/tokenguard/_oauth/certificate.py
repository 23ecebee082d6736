"""A client's certificate as a proxy or a server writes it down (RFC 8705 section 3): which one, and nothing about it.

Owns: the forms and what is malformed in each. Must not know: whose word it is, requests, tokens. Nothing is parsed as
X.509: the authorization server bound the token to this certificate, and TLS proved that the client has its key.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable
from hashlib import sha256
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

LONGEST: Final = 32_768  # octets of a field; a chain of four certificates with RSA keys takes a fifth of it

# RFC 7468 section 3:  *W preeb *( W / base64char ) [ base64pad *W [ base64pad *W ] ] posteb *W, one after the other
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_BLOCKS: Final = re.compile(
    rf"\s*+{_BEGIN}([A-Za-z0-9+/=\s]++)-----END CERTIFICATE-----\s*+"
    rf"(?:{_BEGIN}[A-Za-z0-9+/=\s]++-----END CERTIFICATE-----\s*+)*+",
    re.ASCII,
)
_BLANKS: Final = re.compile(r"\s++", re.ASCII)
# RFC 3986 section 2.1:  pct-encoded = "%" HEXDIG HEXDIG
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})", re.ASCII)
_HASH: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
# A pair of an element of X-Forwarded-Client-Cert: what holds a comma, a semicolon or an equals sign is quoted.
_PAIR: Final = re.compile(r'([A-Za-z]++)=("(?:[^"\\]|\\.)*+"|[^",;]*+)(?:;|\Z)', re.ASCII | re.DOTALL)


class MalformedCertificateError(ValueError):
    """A text that is no certificate in the form that it should have. The message is constant."""

    def __init__(self) -> None:
        super().__init__("not a certificate in this form")


def digest_of_der(der: bytes) -> bytes:
    """What `x5t#S256` names."""
    if not der:
        raise MalformedCertificateError
    return sha256(der).digest()


def der_of_pem(text: str) -> bytes:
    """The first certificate of a PEM text (RFC 7468), which is the leaf. Any white space separates."""
    match = _BLOCKS.fullmatch(text)
    if match is None:
        raise MalformedCertificateError
    return _base64(_BLANKS.sub("", match[1]))


def _base64(text: str) -> bytes:
    if len(text) % 4 or text.endswith("==="):  # the strict mode below overlooks padding that follows whole groups
        raise MalformedCertificateError
    try:
        der = a2b_base64(text, strict_mode=True)
    except ValueError:
        raise MalformedCertificateError from None
    if not der:
        raise MalformedCertificateError
    return der


def _rfc9440(value: str) -> bytes:
    """A byte sequence between colons (RFC 8941 section 3.3.5), whose padding may be left out (section 4.2.7)."""
    if not (value.startswith(":") and value.endswith(":")):
        raise MalformedCertificateError
    text = value[1:-1]
    return _base64(text if "=" in text else text + "=" * (-len(text) % 4))


def _pem(value: str) -> bytes:
    if "%" in value:
        if _PERCENT.search(value) is not None:
            raise MalformedCertificateError
        value = unquote_to_bytes(value).decode("latin-1")
    return der_of_pem(value)


def _traefik(value: str) -> bytes:
    leaf, *others = value.split(",")
    for other in others:
        _base64(other.strip(" "))
    return _base64(leaf.strip(" "))


# What gives the DER of the leaf.
_FORMATS: Final = MappingProxyType[str, Callable[[str], bytes]](
    {"rfc9440": _rfc9440, "pem": _pem, "der": _base64, "traefik": _traefik}
)
FORMATS: Final = (*_FORMATS, "xfcc")


def read_field(value: str, form: str) -> tuple[bytes, bytes | None]:
    """The SHA-256 of the certificate that the only field of a proxy names, and its DER, None where only the digest is
    there. Raises `MalformedCertificateError`."""
    value = value.strip(" \t")
    if len(value) > LONGEST or not value.isascii():
        raise MalformedCertificateError
    if form == "xfcc":
        return _xfcc(value), None
    der = _FORMATS[form](value)
    return digest_of_der(der), der


def _xfcc(value: str) -> bytes:
    """`Hash` of the only element. Several elements are several proxies, or a client that wrote the first ones."""
    found: list[str] = []
    at = 0
    while at < len(value):
        pair = _PAIR.match(value, at)
        if pair is None:
            raise MalformedCertificateError
        if pair[1].lower() == "hash":
            found.append(pair[2].strip('"'))
        at = pair.end()
    if len(found) != 1 or _HASH.fullmatch(found[0]) is None:
        raise MalformedCertificateError
    return bytes.fromhex(found[0])
