"""base64url as RFC 7515 section 2 wants it: unpadded, the URL-safe alphabet only, canonical.

Canonical means that the unused bits of the last character are zero: otherwise one value would have several spellings.
"""

from __future__ import annotations

from binascii import a2b_base64
from typing import Final

ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")

_PADDING: Final = (b"", None, b"==", b"=")
# The last characters whose unused bits are zero, in the standard alphabet: 4 unused bits for 2 characters, 2 bits for 3.
_LAST: Final = (None, None, frozenset(b"AQgw"), frozenset(b"AEIMQUYcgkosw048"))


def decode(text: bytes) -> bytes:
    """Decode canonical, unpadded base64url. Raises ValueError for anything else."""
    if text.translate(None, ALPHABET):
        raise ValueError("not base64url")
    return decode_standard(text.translate(TO_STANDARD))


def decode_standard(text: bytes) -> bytes:
    """Decode text whose characters are known to be of the standard alphabet (`+` and `/`), still unpadded."""
    spare = len(text) & 3
    if not spare:
        return a2b_base64(text)
    padding, last = _PADDING[spare], _LAST[spare]
    if padding is None or last is None or text[-1] not in last:
        raise ValueError("not canonical base64url")
    return a2b_base64(text + padding)
