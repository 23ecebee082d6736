"""Compact serialisation (RFC 7515 section 7.1) of anything at all, well formed or not.

Owns: base64url, JSON as sent, joining and signing segments, `ABSENT`.
Must not know: issuers, clocks, claims, HTTP.
"""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Mapping
from typing import Final, Protocol

__all__ = ["ABSENT", "Absent", "Signer", "b64url", "changed", "serialise", "sign_compact"]


class Signer(Protocol):
    """A key that signs, such as a `SigningKey`."""

    def sign(self, data: bytes, algorithm: str | None = None, /) -> bytes:
        """The signature of `data`."""
        ...


class Absent(enum.Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT
"""Given as the value of a claim or header member, it drops that member. `None` does not: it is sent as JSON `null`."""


def b64url(data: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5, RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def changed(members: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """`members` with `changes` applied; a change to `ABSENT` drops the member. Neither argument is altered."""
    merged = {**members, **changes}
    return {name: value for name, value in merged.items() if value is not ABSENT}


def serialise(part: Mapping[str, object] | bytes) -> bytes:
    """The octets of one segment before base64url: JSON without spaces for a mapping, bytes as they are.

    Non-finite floats become `NaN` and `Infinity`, which is not JSON: a strict reader must reject them.
    """
    return part if isinstance(part, bytes) else json.dumps(dict(part), separators=(",", ":")).encode()


def sign_compact(
    header: Mapping[str, object] | bytes,
    payload: Mapping[str, object] | bytes,
    key: Signer,
    algorithm: str | None = None,
) -> str:
    """A compact JWS over `header` and `payload` as given: the signature is right, whatever they say.

    `algorithm` is the one that signs (default: the key's); the header's `alg` is not looked at: the two may disagree.
    """
    signing_input = f"{b64url(serialise(header))}.{b64url(serialise(payload))}"
    return f"{signing_input}.{b64url(key.sign(signing_input.encode('ascii'), algorithm))}"
