"""The `cnf` claim (RFC 7800): what a token is bound to, and whether anything here enforces it.

Owns: the members that exist here and their form. Must not know: proofs, certificates, requests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

KEY: Final = "jkt"  # the SHA-256 thumbprint of a key (RFC 9449 section 6.1)
CERTIFICATE: Final = "x5t#S256"  # the SHA-256 thumbprint of a certificate (RFC 8705 section 3.1)

_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)  # base64url of 32 octets, canonical


def is_enforced(cnf: Any, enforced: frozenset[str]) -> bool:
    """Whether `cnf` is an object, not empty, with no member that nothing here enforces, each a SHA-256 thumbprint."""
    return (
        isinstance(cnf, Mapping)
        and bool(cnf)
        and enforced >= cnf.keys()
        and all(isinstance(value, str) and _THUMBPRINT.fullmatch(value) is not None for value in cnf.values())
    )


def repeats(cnf: Any, other: Any) -> bool:
    """Whether `cnf` says nothing that `other` does not say. For two that are enforced, or absent."""
    return cnf is None or (other is not None and all(other.get(name) == value for name, value in cnf.items()))
