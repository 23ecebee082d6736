"""Browsers on this machine: which pages may read a test issuer's answers, and where it may send a person back to.

Owns: loopback (RFC 6761 section 6.3, RFC 8252 section 7.3), CORS (Fetch, section 3.3). Must not know: what is answered.

Only pages on loopback may read anything: another site in the developer's browser gets nothing from the issuer.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from tokenguard._settings import fetched_url
from tokenguard.errors import ConfigurationError
from tokenguard.testing.traffic import Request

__all__ = ["cors", "is_loopback", "origin_of", "preflight"]

# What pages send: form posts with a client's secret, Swagger UI's own field, DPoP proofs.
_ALLOWED_HEADERS: Final = "Authorization, Content-Type, DPoP, X-Requested-With"
_EXPOSED_HEADERS: Final = "DPoP-Nonce, WWW-Authenticate"
_REMEMBERED: Final = "600"  # seconds


def is_loopback(url: str) -> bool:
    """Whether `url` is http or https on this machine, without user information and fragment."""
    try:
        fetched_url("url", url)
    except ConfigurationError:
        return False
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback if isinstance(address, IPv4Address) else address == IPv6Address("::1")


def origin_of(url: str) -> str:
    """The origin of a loopback URL (RFC 6454 section 6.2)."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def cors(request: Request) -> tuple[tuple[str, str], ...]:
    """The fields that let the page which sent `request` read the answer; none for a page from elsewhere."""
    origin = request.header("origin")
    if origin is None:
        return ()
    varies = ("Vary", "Origin")
    if not is_loopback(origin) or origin != origin_of(origin):
        return (varies,)
    return (
        varies,
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _EXPOSED_HEADERS),
    )


def preflight(request: Request, methods: tuple[str, ...]) -> tuple[tuple[str, str], ...] | None:
    """The fields of the answer to a preflight, beside those of `cors`; None where `request` is none."""
    if request.method != "OPTIONS" or request.header("access-control-request-method") is None:
        return None
    return (
        ("Access-Control-Allow-Methods", ", ".join(methods)),
        ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
        ("Access-Control-Max-Age", _REMEMBERED),
    )
