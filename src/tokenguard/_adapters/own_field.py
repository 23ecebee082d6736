"""A field of a gateway's own that holds the token and nothing else: the setting `header`.

Owns: which name it may have, what its values mean as credentials, what answers need besides. Must not know: any
protocol, what makes a credential or a token good.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tokenguard._oauth.credential import PREFIX
from tokenguard._settings import TAKEN_FIELDS, is_field_name
from tokenguard.errors import ConfigurationError

_BEARER: Final = PREFIX.encode()


def checked_header(header: str) -> str:
    """The name of a field that a gateway puts the token into.

    Raises `ConfigurationError` where it is no field name, or one whose value means something else.
    """
    if not is_field_name(header):
        raise ConfigurationError('header must be the name of one field, such as "Cf-Access-Jwt-Assertion"')
    if header.lower() in TAKEN_FIELDS or header.lower().startswith("proxy-"):
        raise ConfigurationError(
            "header must not be Authorization, Cookie, DPoP, Host or Proxy-...: leave it out where the token is in"
            " Authorization, else name the gateway's own field"
        )
    return header


def kept_apart(header: str, present: Iterable[str]) -> list[tuple[str, str]]:
    """What an answer needs besides the fields that are `present` where `header` holds the token.

    Caches keep answers to requests with `Authorization` apart by themselves, no others (RFC 9111 section 3.5).
    """
    private = [] if any(name.lower() == "cache-control" for name in present) else [("Cache-Control", "private")]
    return [("Vary", header), *private]


def whole_values(values: Sequence[bytes]) -> Sequence[bytes]:
    """Values of a field that holds a token without a scheme, as credentials. A comma joins two fields (RFC 9110
    section 5.3), an empty field holds none."""
    if len(values) == 1:
        values = values[0].strip(b" \t").split(b",")
        if values == [b""]:
            return []
    return [_BEARER + value for value in values]
