"""URLs that differ in the name of a tenant: which patterns are safe, and what a name may look like.

Owns: where `{tenant}` may be, so that an invented `iss` can choose neither the host that we ask nor another path.
Must not know: which tenants there are.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from tokenguard._settings import fetched_url
from tokenguard.errors import ConfigurationError

MARK: Final = "{tenant}"

# Unreserved characters (RFC 3986 section 2.3), so nothing is encoded; no dot segment (section 3.3).
_SEGMENT: Final = r"(?!\.{1,2}(?![A-Za-z0-9._~-]))[A-Za-z0-9._~-]{1,128}"
_LABEL: Final = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"  # RFC 1123 section 2.1
# At least two labels, the last of which makes no IPv4 address of the whole.
_REST: Final = re.compile(rf"(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?", re.ASCII)


class TenantPattern:
    """A URL in which `{tenant}` stands once: as a whole segment of the path, or as the first label of a host whose rest
    has at least two. Raises `ConfigurationError` for any other, naming the setting `name`.
    """

    def __init__(self, name: str, pattern: object) -> None:
        self._before, self._after = _split(name, pattern)
        self.is_label = "/" not in self._before.partition("://")[2]

    def fill(self, tenant: str) -> str:
        """The URL of a tenant."""
        return self._before + tenant + self._after

    def reader(self, shape: str = "", *, is_label: bool = False) -> re.Pattern[str]:
        """What matches the URL of any tenant that may be one, the name as its only group.

        `shape`: an expression that names have to match, in place of the usual one. `is_label`: the name has to be good
        for a host elsewhere.
        """
        shape = shape or (_LABEL if is_label or self.is_label else _SEGMENT)
        return re.compile(f"{re.escape(self._before)}({shape}){re.escape(self._after)}", re.ASCII)


def _split(name: str, pattern: object) -> tuple[str, str]:
    if not isinstance(pattern, str) or pattern.count(MARK) != 1:
        raise ConfigurationError(f"{name} must hold {MARK} once, such as https://login.example.com/{MARK}/v2.0")
    before, _, after = pattern.partition(MARK)
    if "{" in before + after or "}" in before + after:
        raise ConfigurationError(f"{name} must have no other braces than those of {MARK}")
    fetched_url(name, pattern)
    parts = urlsplit(pattern)
    label, _, rest = parts.netloc.partition(".")
    host, _, _ = rest.partition(":")
    if MARK in parts.path.split("/") or (label == MARK and _REST.fullmatch(host)):
        return before, after
    raise ConfigurationError(
        f"{name}: {MARK} must be one whole segment of the path, or the first label of a host with at least two more,"
        f" such as https://{MARK}.login.example.com"
    )
