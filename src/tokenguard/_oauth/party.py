"""The party of a token: its client, its roles, whether it is a machine or a person.

Owns: reading these from the claims that the issuer's settings name. Must not know: the names that a provider uses
(`providers`), signatures. A claim that cannot be read grants nothing and proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

from tokenguard._settings import strings
from tokenguard.errors import ConfigurationError, InvalidTokenError, Reason

RolePath: TypeAlias = tuple[str, ...]
Test: TypeAlias = Literal["present", "absent", "is", "starts", "ends", "same_as"]
MachineSign: TypeAlias = tuple[str, Test, str, bool]
Expected: TypeAlias = tuple[str, tuple[str | int | float | bool, ...]]

_TESTS: Final = frozenset({"present", "absent", "is", "starts", "ends", "same_as"})
_NOBODY: Final[frozenset[str]] = frozenset()


def client_id(claims: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The client that requested the token: the first of `names` that is present (RFC 8693 section 4.3)."""
    for name in names:
        if name in claims:
            value: str = claims[name]
            return value
    return None


def check_strings(claims: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Each of `names` that is there is a string. Raises `invalid_claim`."""
    for name in names:
        if name in claims and not isinstance(claims[name], str):
            raise InvalidTokenError(reason=Reason.INVALID_CLAIM)


def check_client(client: str | None, allowed: frozenset[str] | None) -> None:
    """The client is on the allow-list, if there is one; a token without a client is not. Raises `client`."""
    if allowed is not None and client not in allowed:
        raise InvalidTokenError(reason=Reason.CLIENT)


def check_values(claims: Mapping[str, Any], expected: tuple[Expected, ...]) -> None:
    """Each claim is there and is one of its values: the same JSON type, the same value.

    Raises `missing_claim`, `invalid_claim`.
    """
    for name, values in expected:
        if name not in claims:
            raise InvalidTokenError(reason=Reason.MISSING_CLAIM)
        if not is_one_of(claims[name], values):
            raise InvalidTokenError(reason=Reason.INVALID_CLAIM)


def is_one_of(sent: object, values: tuple[str | int | float | bool, ...]) -> bool:
    """Whether `sent` equals one of `values` as JSON does: true is not 1, and "1" is neither."""
    return any(_kind(sent) is _kind(value) and sent == value for value in values)


def roles(claims: Mapping[str, Any], paths: tuple[RolePath, ...]) -> frozenset[str]:
    """The roles of every claim in `paths` together. A path of several names leads into objects.

    A list of strings; a string, which is one role, spaces and all; or an object, whose member names are the roles
    (ZITADEL). Anything else grants none.
    """
    found = _NOBODY
    for path in paths:
        value: Any = claims.get(path[0])
        if not value:
            continue
        for name in path[1:]:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value:
            found |= _roles(value)
    return found


def is_machine(claims: Mapping[str, Any], signs: tuple[MachineSign, ...]) -> bool | None:
    """The verdict of the first sign that fits; None if none does: it is not known."""
    for name, test, against, verdict in signs:
        if _fits(claims, name, test, against):
            return verdict
    return None


def _roles(value: Any) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset((value,))
    if isinstance(value, Mapping) or (isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)):
        return frozenset(item for item in value if item)
    return _NOBODY


def _fits(claims: Mapping[str, Any], name: str, test: Test, against: str) -> bool:
    sent = claims.get(name)
    if test in ("present", "absent"):
        return (sent is not None) is (test == "present")
    if not isinstance(sent, str):
        return False
    if test == "starts":
        return sent.startswith(against)
    if test == "ends":
        return sent.endswith(against)
    return bool(sent == (claims.get(against) if test == "same_as" else against))


def _kind(value: object) -> type:
    return float if type(value) is int else type(value)


# -- settings ----------------------------------------------------------------------------------------------------------


def claim_names(setting: str, value: object, *, may_be_empty: bool = True) -> tuple[str, ...]:
    """Names of claims from a setting, in order. Raises `ConfigurationError`."""
    if may_be_empty and isinstance(value, list | tuple | set | frozenset) and not value:
        return ()
    return strings(setting, value, example=f'{setting}=("name", ...)')


def role_paths(value: object) -> tuple[RolePath, ...]:
    """`role_claims` as paths: a string is one name, a tuple leads into objects. Raises `ConfigurationError`."""
    items = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [None]
    paths: list[RolePath] = []
    for item in items:
        path = (item,) if isinstance(item, str) else item
        if isinstance(path, tuple) and path and all(isinstance(name, str) and name for name in path):
            paths.append(path)
        else:
            raise ConfigurationError(
                'role_claims must hold names, or tuples of names that lead into objects: ("realm_access", "roles")'
            )
    return tuple(paths)


def expected_values(value: object) -> tuple[Expected, ...]:
    """`claim_values` as pairs of a name and its values. Raises `ConfigurationError`."""
    if not isinstance(value, Mapping):
        raise ConfigurationError('claim_values must be a mapping: {"tid": "..."} or {"env": {"test", "live"}}')
    found: list[Expected] = []
    for name, given in value.items():
        values = tuple(given) if isinstance(given, list | tuple | set | frozenset) else (given,)
        if not isinstance(name, str) or not name or not values:
            raise ConfigurationError("claim_values must give every claim a name and at least one value")
        if not all(isinstance(one, str | int | float) for one in values):
            raise ConfigurationError("claim_values must hold strings, numbers, True or False")
        found.append((name, values))
    return tuple(found)


def machine_signs(value: object) -> tuple[MachineSign, ...]:
    """`machine_signs`, checked. Raises `ConfigurationError`."""
    signs: list[MachineSign] = []
    for sign in value if isinstance(value, Iterable) and not isinstance(value, str) else [None]:
        match sign:
            case (str(name), test, str(against), bool(verdict)) if name and test in _TESTS:
                signs.append((name, test, against, verdict))
            case _:
                raise ConfigurationError(
                    'machine_signs must hold tuples (claim, test, text, verdict), such as ("sub", "ends", "@clients",'
                    " True); the tests are present, absent, is, starts, ends, same_as"
                )
    return tuple(signs)
