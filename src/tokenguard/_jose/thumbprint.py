"""The thumbprint of a key (RFC 7638): one name for one key, whatever else its JWK says.

Owns: the members that count and how they are spelled. Must not know: what a thumbprint is compared with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from tokenguard._jose.base64url import encode

# RFC 7638 section 3.2, RFC 8037 appendix A.3; in lexicographic order.
_MEMBERS: Final = MappingProxyType(
    {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of a public key, base64url. For a JWK that was imported: its members are strings."""
    members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    return encode(sha256(json.dumps(members, separators=(",", ":")).encode()).digest()).decode("ascii")
