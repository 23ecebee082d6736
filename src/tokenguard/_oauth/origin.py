"""The origin of a URL (RFC 6454 section 4).

Owns: which URLs have the same origin, however they are spelled. Must not know: what may be sent to it.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class Origin(NamedTuple):
    """Scheme, host and port."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, scheme: str, host: str, port: int | None) -> Origin:
        """In lower case, with the scheme's own port where none is given."""
        scheme = scheme.lower()
        return cls(scheme, host.lower(), DEFAULT_PORTS.get(scheme) if port is None else port)


def origin_of(url: str) -> Origin:
    """The origin of a URL that can be fetched."""
    parts = urlsplit(url)
    return Origin.of(parts.scheme, parts.hostname or "", parts.port)
