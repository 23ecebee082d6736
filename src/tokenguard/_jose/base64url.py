"""base64url as RFC 7515 section 2 requires it: unpadded, the URL-safe alphabet only, canonical.

Canonical means that the unused bits of the last character are zero: otherwise one value would have several spellings.

There are two decoders: `pybase64` if it is installed (the extra `fast`), else `binascii`. For a token of full size the
first takes 3 µs, the second 25. Both accept exactly the same texts: tests compare them, with every vector.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Final, TypeAlias

# Two functions. The first changes a text, or several with dots between them, into one of the same length, which the
# second decodes. Both raise ValueError.
Decoder: TypeAlias = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# To the standard alphabet for `binascii`. The dot stays; other octets become a character that its strict mode rejects.
_TO_STANDARD: Final = bytes(
    octet if octet in _ALPHABET or octet == ord(".") else ord("!") for octet in range(256)
).translate(bytes.maketrans(b"-_", b"+/"))

_PLUS: Final = ord("+")
_SLASH: Final = ord("/")
_PAD: Final = ord("=")

# By the number of characters over: the padding, and the last characters whose unused bits are zero, in either alphabet:
# 4 unused bits for 2 characters, 2 bits for 3. One character is never enough: its padding is one that both reject.
_PADDING: Final = (b"", b"!", b"==", b"=")
_LAST: Final = (frozenset(range(256)), frozenset(range(256)), frozenset(b"AQgw"), frozenset(b"AEIMQUYcgkosw048"))


def _padded(text: bytes) -> bytes:
    spare = len(text) & 3
    if not spare:
        return text
    if text[-1] not in _LAST[spare]:
        raise ValueError("not canonical base64url")
    return text + _PADDING[spare]


def _standard(text: bytes) -> bytes:
    return text.translate(_TO_STANDARD)


def _decode_standard(text: bytes) -> bytes:
    return a2b_base64(_padded(text), strict_mode=True)


def _url_safe(text: bytes) -> bytes:
    # `pybase64` accepts + and / beside - and _, and padding is added below.
    if _PLUS in text or _SLASH in text or _PAD in text:
        raise ValueError("not base64url")
    return text


BY_BINASCII: Final[Decoder] = _standard, _decode_standard


def by_pybase64(b64decode: Callable[[bytes, bytes, bool], bytes]) -> Decoder:
    def decode_url_safe(text: bytes) -> bytes:
        return b64decode(_padded(text), b"-_", True)  # the last: validate

    return _url_safe, decode_url_safe


def best() -> Decoder:
    """The faster decoder of those that are installed."""
    try:
        from pybase64 import b64decode
    except ImportError:
        return BY_BINASCII
    # Without its compiled part it is slower than `binascii`.
    return by_pybase64(b64decode) if isinstance(b64decode, BuiltinFunctionType) else BY_BINASCII


prepare, decode_prepared = best()


def encode(data: bytes) -> bytes:
    """Canonical, unpadded base64url of any octets."""
    return urlsafe_b64encode(data).rstrip(b"=")


def decode(text: bytes) -> bytes:
    """Decode canonical, unpadded base64url. Raises ValueError for anything else."""
    return decode_prepared(prepare(text))
