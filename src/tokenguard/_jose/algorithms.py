"""Signature algorithms (RFC 7518 section 3, RFC 8037, RFC 9864) and the keys that each one needs.

Owns: the names that may be allowed, and the key type and curve of each algorithm: never a token decides which algorithm
verifies. Must not know: how a signature is verified (`signatures`).
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from tokenguard.errors import ConfigurationError

NAMES: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"),
    *("HS256", "HS384", "HS512"),
)
SYMMETRIC: Final = frozenset({"HS256", "HS384", "HS512"})
DEFAULT: Final = tuple(name for name in NAMES if name not in SYMMETRIC)

# (kty, crv) of a JWK -> the algorithms that it can verify. One curve, one algorithm (RFC 7518 section 3.4).
FITTING: Final = MappingProxyType[tuple[str, str | None], frozenset[str]](
    {
        ("RSA", None): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("EC", "P-256"): frozenset({"ES256"}),
        ("EC", "P-384"): frozenset({"ES384"}),
        ("EC", "P-521"): frozenset({"ES512"}),
        ("OKP", "Ed25519"): frozenset({"EdDSA"}),
        ("oct", None): SYMMETRIC,
    }
)
DIGEST_BYTES: Final = MappingProxyType({"HS256": 32, "HS384": 48, "HS512": 64})


def normalise(name: str) -> str:
    """Ed25519 (RFC 9864) is the only EdDSA curve supported here, so both names mean one algorithm."""
    return "EdDSA" if name == "Ed25519" else name


def allow_list(names: str | Iterable[str]) -> tuple[str, ...]:
    """An allow-list from settings: normalised, in order, not empty. Raises `ConfigurationError` otherwise."""
    try:
        given = [names] if isinstance(names, str) else list(names)
    except TypeError:
        raise ConfigurationError('algorithms must be a list of names such as ["RS256"]') from None
    allowed: dict[str, None] = {}
    for name in given:
        if isinstance(name, str) and name.strip().lower() == "none":
            raise ConfigurationError("algorithms must not contain none: an unsigned token proves nothing")
        if not isinstance(name, str) or normalise(name) not in NAMES:
            raise ConfigurationError(f"algorithms must be among {', '.join(NAMES)}, Ed25519; the names are exact")
        allowed[normalise(name)] = None
    if not allowed:
        raise ConfigurationError("algorithms must name at least one algorithm; leave it out for the default list")
    if not SYMMETRIC.isdisjoint(allowed) and not SYMMETRIC.issuperset(allowed):
        raise ConfigurationError("algorithms must not mix HS* with others: use one issuer entry for each kind")
    return tuple(allowed)
