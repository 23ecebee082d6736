"""The people of the development issuer and the claims of its tokens, as options.

Owns: reading `--person`, `--role` and `--claim`. Must not know: the issuer, tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from tokenguard._jose import strict_json
from tokenguard.errors import ConfigurationError

# The claims that the issuer sets itself, and the option that changes each, where there is one.
_OWN: Final = {
    "iss": None,
    "exp": None,
    "iat": None,
    "jti": None,
    "sub": "--person",
    "aud": "--audience",
    "client_id": "--client-id",
    "scope": "--scope",
}


def common_claims(claims: Iterable[str], roles: Iterable[str]) -> dict[str, object]:
    """The claims of every token: `NAME=JSON` each, and the claim `roles`. Raises `ConfigurationError`."""
    found: dict[str, object] = {}
    for text in claims:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError("--claim must be NAME=JSON, such as --claim 'tenant=\"north\"'")
        if name in found:
            raise ConfigurationError("--claim must name each claim once")
        try:
            # In an object, since that is what is read strictly; another member would come out of it, too.
            members = strict_json.parse_object(f'{{"claim":{value}}}'.encode())
        except ValueError:
            members = {}
        if set(members) != {"claim"}:
            raise ConfigurationError(
                "--claim must have JSON after the equals sign: text needs quotes, as in --claim 'tenant=\"north\"'"
            )
        found[name] = members["claim"]
    _check_names("--claim", found)
    given = list(dict.fromkeys(roles))
    if not all(given):
        raise ConfigurationError("--role must not be empty")
    if given and "roles" in found:
        raise ConfigurationError("--role and --claim roles=... exclude each other")
    return found | ({"roles": given} if given else {})


def people(given: Iterable[str]) -> dict[str, dict[str, Any]]:
    """A person who may log in: `NAME`, or `NAME=JSON` with an object of claims. Raises `ConfigurationError`."""
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name.strip() or not name.isprintable() or name in found:
            raise ConfigurationError("--person must have a name, each another one: --person alice --person bob")
        try:
            found[name] = strict_json.parse_object(value.encode()) if equals else {}
        except ValueError:
            raise ConfigurationError(
                '--person must have a JSON object after the equals sign: --person \'bob={"roles": ["admin"]}\''
            ) from None
        _check_names("--person", found[name])
    return found


def _check_names(option: str, claims: Iterable[str]) -> None:
    for name in claims:
        if name in _OWN:
            other = _OWN[name]
            instead = "leave it out" if other is None else f"give {other}"
            raise ConfigurationError(f"{option} must not set {name}, which the issuer sets itself: {instead}")
