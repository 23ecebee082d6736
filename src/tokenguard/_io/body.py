"""The bounds of every outbound exchange, and reading a body within them. Imports no HTTP client."""

from __future__ import annotations

import zlib
from typing import Final

from tokenguard._flow.effects import ExchangeError

MAX_BODY: Final = 512 * 1024
USER_AGENT: Final = "tokenguard (+https://pypi.org/project/tokenguard-oauth/)"

_MEMBERS: Final = 64  # of one gzip body: each costs an inflater, and an honest server sends one
_GZIP: Final = 31  # zlib's name for: a gzip header and trailer, the largest window


class Body:
    """Collects a body, inflates gzip as it arrives, and rejects it at the first octet over the bound.

    The bound holds for the octets that arrive and for the inflated octets. The inflater is never asked for more than
    the bound still allows, so that a decompression bomb costs no more than a usual body. A gzip body may have several
    members (RFC 1952 section 2.2).
    """

    def __init__(self, content_encoding: str) -> None:
        encoding = content_encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise ExchangeError("content_encoding")
        self._inflater = zlib.decompressobj(_GZIP) if encoding.endswith("gzip") else None
        self._whole = bytearray()
        self._may_arrive = self._may_inflate = MAX_BODY
        self._members = _MEMBERS

    def feed(self, chunk: bytes) -> None:
        """Add the octets that arrived. Raises `ExchangeError`."""
        self._may_arrive -= len(chunk)
        if self._may_arrive < 0:
            raise ExchangeError("too_large")
        if self._inflater is None:
            self._whole += chunk
            return
        try:
            while chunk:
                if self._inflater.eof:
                    self._members -= 1
                    self._inflater = zlib.decompressobj(_GZIP)
                part = self._inflater.decompress(chunk, self._may_inflate + 1)
                self._may_inflate -= len(part)
                if self._may_inflate < 0 or not self._members:
                    raise ExchangeError("too_large")
                self._whole += part
                chunk = self._inflater.unused_data
        except zlib.error:
            raise ExchangeError("content_encoding") from None

    def finish(self) -> bytes:
        """The whole body. Raises `ExchangeError` if a compressed one is not whole."""
        arrived = self._may_arrive < MAX_BODY  # a 304 may name the encoding of the body that it does not have
        if self._inflater is not None and arrived and not self._inflater.eof:
            raise ExchangeError("truncated")
        return bytes(self._whole)
