"""base64url as RFC 7515 section 2 wants it: unpadded, the URL-safe alphabet only, canonical.

Canonical means that the unused bits of the last character are zero: otherwise one value would have several spellings.
"""

from __future__ import annotations

from binascii import a2b_base64
from typing import Final

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# To the standard alphabet for `binascii`, the dot kept, and all else to a character that its strict mode refuses.
TO_STANDARD: Final = bytes(
    octet if octet in _ALPHABET or octet == ord(".") else ord("!") for octet in range(256)
).translate(bytes.maketrans(b"-_", b"+/"))

# What is missing at the end, and the last characters whose unused bits are zero, in the standard alphabet: 4 unused
# bits for 2 characters, 2 bits for 3. One character over is nothing: its padding is one that strict mode refuses.
_PADDING: Final = (b"", b"!", b"==", b"=")
_LAST: Final = (frozenset(range(256)), frozenset(range(256)), frozenset(b"AQgw"), frozenset(b"AEIMQUYcgkosw048"))


def decode(text: bytes) -> bytes:
    """Decode canonical, unpadded base64url. Raises ValueError for anything else."""
    return decode_standard(text.translate(TO_STANDARD))


def decode_standard(text: bytes) -> bytes:
    """Decode what `TO_STANDARD` gave. Raises ValueError."""
    spare = len(text) & 3
    if spare and text[-1] not in _LAST[spare]:
        raise ValueError("not canonical base64url")
    return a2b_base64(text + _PADDING[spare], strict_mode=True)
