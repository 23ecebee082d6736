"""The bounds of every outbound exchange, and reading a body within them. Imports no HTTP client."""

from __future__ import annotations

import zlib
from typing import Final

from tokenguard._flows.effects import ExchangeError

MAX_BODY: Final = 512 * 1024
USER_AGENT: Final = "tokenguard (+https://pypi.org/project/tokenguard-oauth/)"


class Body:
    """Collects a body, inflating gzip as it comes, and refuses it at the first octet over the bound.

    The bound holds after decompression, and the inflater is never asked for more than what is left of it: a bomb costs
    no more than an honest body.
    """

    def __init__(self, content_encoding: str) -> None:
        encoding = content_encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise ExchangeError("content_encoding")
        self._inflater = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
        self._parts: list[bytes] = []
        self._left = MAX_BODY

    def feed(self, chunk: bytes) -> None:
        if self._inflater is not None:
            try:
                chunk = self._inflater.decompress(chunk, self._left + 1)
            except zlib.error:
                raise ExchangeError("content_encoding") from None
        self._left -= len(chunk)
        if self._left < 0:
            raise ExchangeError("too_large")
        self._parts.append(chunk)

    def finish(self) -> bytes:
        if self._inflater is not None and not self._inflater.eof:
            raise ExchangeError("truncated")
        return b"".join(self._parts)
