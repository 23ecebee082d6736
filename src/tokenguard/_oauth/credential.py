"""The credential rule: from header fields and query to one bearer token (RFC 6750 section 2, RFC 9110 section 11.6.2).

Owns: what counts as a bearer credential, as several, as a malformed one. Must not know: frameworks, what a token means.

Every step is linear in the length of what the client sent: no pattern here can be made to backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_letters, digits
from typing import Final
from urllib.parse import unquote_to_bytes

from tokenguard.errors import InvalidRequestError, MissingTokenError, Reason

SCHEME: Final = "Bearer"  # RFC 6750 section 2.1; in any case (RFC 9110 section 11.1)
DPOP: Final = "DPoP"  # RFC 9449 section 7.1, for those who take it; otherwise it is any other scheme
PREFIX: Final = f"{SCHEME} "  # as nearly every client spells it
# RFC 6750 section 2.1:   credentials   = "Bearer" 1*SP b64token             with b64token = token68
# RFC 9110 section 11.2:  token68       = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
#                 11.4:   credentials   = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
#                 5.6.2:  auth-scheme   = token = 1*tchar
#                 5.6.1:  #element      => [ element ] *( OWS "," OWS [ element ] )
_TOKEN68 = r"[A-Za-z0-9\-._~+/]++=*+"
_NAME = r"!#$%&'*+\-.^_`|~0-9A-Za-z"  # tchar
_FLAGS = re.ASCII | re.IGNORECASE

_LETTERS = f"{ascii_letters}{digits}-._~+/".encode()  # of a token68, but for what pads it


class _Patterns:
    """How credentials of some schemes are spelled."""

    def __init__(self, *schemes: str) -> None:
        ours = f"(?:{'|'.join(schemes)})"
        # Only the scheme is in any case: a whole pattern without regard to case reads a token five times slower.
        self.credential = re.compile(rf"((?i:{ours})) ++({_TOKEN68})", re.ASCII)
        # The scheme where it comes first, after any junk that is no part of a name; "Bearerish" is another scheme.
        self.first = re.compile(rf"[^{_NAME}]*+({ours})(?![{_NAME}])", _FLAGS)
        # WSGI servers join repeated fields with a comma. `bearer=` after a comma is a parameter of some other scheme.
        self.second_is_ours = re.compile(rf",[^,{_NAME}]*+{ours}(?![{_NAME}])(?![ \t]*+=)", _FLAGS)
        self.second_is_another = re.compile(rf"{ours} ++{_TOKEN68}[ \t]*+,[ \t,]*+[{_NAME}]++ ++[^ =]", _FLAGS)


_BEARER = _Patterns(SCHEME)
_EITHER = _Patterns(SCHEME, DPOP)

_PARAMETER = "access_token"  # RFC 6750 section 2.3
_LONGEST_SPELLING = 3 * len(_PARAMETER)  # every character percent-encoded


def credential(authorization: Sequence[str], query: str) -> str:
    """The token of a request: exactly one `Authorization` field, `Bearer`, spaces, a token68, and no second method.

    `authorization`: the values of every such field, decoded as Latin-1. Spaces and tabs around a value are no part of
    it (RFC 9110 section 5.5); not every server takes them off. `query`: the raw query string; its names are
    form-decoded (`&` separates, `;` does not) and compared exactly.

    - no field, whatever the query holds, or one of another scheme: `MissingTokenError`
    - several fields, a second credential in one, a token in the query beside a field: `InvalidRequestError` (multiple)
    - our scheme and anything but one token68: `InvalidRequestError` (malformed)
    """
    return _credential(authorization, query, _BEARER)[1]


def credential_of_either(authorization: Sequence[str], query: str) -> tuple[bool, str]:
    """The same where `DPoP` counts as `Bearer` does: whether it was sent under `DPoP`, and the token."""
    return _credential(authorization, query, _EITHER)


def is_dpop(authorization: Sequence[str]) -> bool:
    """Whether the first field, good or not, is of the scheme `DPoP`."""
    match = _EITHER.first.match(authorization[0]) if authorization else None
    return match is not None and match[1].lower() == DPOP.lower()


def _credential(authorization: Sequence[str], query: str, patterns: _Patterns) -> tuple[bool, str]:
    if not authorization:
        raise MissingTokenError
    if len(authorization) > 1:
        raise InvalidRequestError(reason=Reason.MULTIPLE)
    value = authorization[0].strip(" \t")
    rest = value[len(PREFIX) :]
    # Nearly all are spelled so, and are read in two thirds of the time that the pattern takes.
    usual = value.startswith(PREFIX) and is_usual_token(rest.encode(errors="replace"))
    found = (SCHEME, rest) if usual else _spelled_otherwise(value, patterns)
    if query and has_token(query):
        raise InvalidRequestError(reason=Reason.MULTIPLE)
    if found is None:
        raise MissingTokenError
    scheme, token = found
    return scheme.lower() == DPOP.lower(), token


def is_usual_token(token: bytes) -> bool:
    """Whether what follows `Bearer` and one space is a token68 as it stands, without padding."""
    return bool(token) and not token.translate(None, _LETTERS)


def _spelled_otherwise(value: str, patterns: _Patterns) -> tuple[str, str] | None:
    match = patterns.credential.fullmatch(value)
    if match is not None:
        return match[1], match[2]
    if patterns.second_is_ours.search(value) is not None or patterns.second_is_another.match(value) is not None:
        raise InvalidRequestError(reason=Reason.MULTIPLE)
    if patterns.first.match(value) is not None:
        raise InvalidRequestError(reason=Reason.MALFORMED)
    return None


def has_token(query: str) -> bool:
    """Whether a raw query string holds an `access_token`."""
    if _PARAMETER not in query and "%" not in query:
        return False
    for pair in query.split("&"):
        name = pair.partition("=")[0]
        if name == _PARAMETER:
            return True
        # Only a name of this size can decode to ours; "+" decodes to a space and cannot either.
        if (
            "%" in name
            and len(name) <= _LONGEST_SPELLING
            and name.isascii()
            and unquote_to_bytes(name) == b"access_token"
        ):
            return True
    return False
