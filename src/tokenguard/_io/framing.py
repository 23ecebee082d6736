"""Whether octets are exactly one answer of HTTP/1.1 (RFC 9112 section 6).

Owns: when a connection may carry another exchange. Must not know: sockets, any HTTP client. It reads no answer: it can
only close a connection that might have been kept.
"""

from __future__ import annotations

import re
from typing import Final

MAX_RECORDED: Final = 64 * 1024  # octets that are kept for this check; a longer answer closes its connection

# RFC 9112:  status-line   = HTTP-version SP status-code SP [ reason-phrase ]     (section 4)
#            field-line    = field-name ":" OWS field-value OWS                    (section 5)
#            chunk         = chunk-size [ chunk-ext ] CRLF chunk-data CRLF         (section 7.1)
#            trailer-section = *( field-line CRLF )                                (section 7.1.2)
# RFC 9110:  field-name    = token = 1*tchar                                       (section 5.6.2)
# Stricter than an HTTP client: no bare LF, no folded line, no HTTP/1.0. A doubt costs one connection.
_HEAD: Final = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n((?:[!#-'*+\-.^-z|~0-9A-Z]+:[^\r\n]*\r\n)*)\r\n")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r\n")
_TRAILER: Final = re.compile(rb"(?:[!#-'*+\-.^-z|~0-9A-Z]+:[^\r\n]*\r\n)*\r\n")


def is_one_answer(octets: bytes, method: str) -> bool:
    """Whether `octets` are one whole answer to `method`, with interim answers before it, and nothing after it."""
    at, status, fields = 0, 100, b""
    while status < 200:  # interim answers (RFC 9110 section 15.2) belong to the one that follows
        head = _HEAD.match(octets, at)
        if head is None:
            return False
        at, status, fields = head.end(), int(head[1]), head[2]
    lengths, codings = [], []
    for line in fields.splitlines():
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            lengths.append(value.strip(b" \t"))
        elif name == b"transfer-encoding":
            codings.append(value.strip(b" \t"))
    if method == "HEAD" or status in (204, 304):
        return at == len(octets)
    if codings:
        return codings == [b"chunked"] and not lengths and _end_of_chunks(octets, at) == len(octets)
    # Without a length the end of the connection is the end of the answer (RFC 9112 section 6.3, rule 8).
    return len(lengths) == 1 and lengths[0].isdigit() and lengths[0] == b"%d" % (len(octets) - at)


def _end_of_chunks(octets: bytes, at: int) -> int | None:
    while (size := _SIZE.match(octets, at)) is not None:
        at, length = size.end(), int(size[1], 16)
        if not length:
            trailer = _TRAILER.match(octets, at)
            return None if trailer is None else trailer.end()
        at += length
        if octets[at : at + 2] != b"\r\n":
            return None
        at += 2
    return None
