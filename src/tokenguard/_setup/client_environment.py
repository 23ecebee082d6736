"""Settings of a token source from the environment, or from any mapping of such names.

Owns: the names. Must not know: what a setting means; `TokenSource` checks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tokenguard.errors import ConfigurationError
from tokenguard.secret_file import SecretFile

_TEXTS: Final = {
    "ISSUER": "issuer",
    "ID": "client_id",
    "SECRET": "client_secret",
    "TOKEN_ENDPOINT": "token_endpoint",
    "AUTH": "client_auth",
    "SCOPE": "scope",
}
_LISTS: Final = {"RESOURCE": "resource", "AUDIENCE": "audience"}
_FILES: Final = {
    "SECRET_FILE": "client_secret",
    "PRIVATE_KEY_FILE": "private_key",
    "ASSERTION_FILE": "client_assertion",
    "SUBJECT_TOKEN_FILE": "subject_token",
}
_NAMES: Final = (*_TEXTS, *_LISTS, *_FILES)
# Settings that no variable gives: a name that is one of them would silently be ignored.
IN_CODE: Final = (
    "allow_insecure_http",
    "dpop",
    "private_key_id",
    "private_key_algorithm",
    "assertion_audience",
    "subject_token_type",
    "parameters",
    "default_lifetime",
    "cache_size",
    "http_timeout",
)


def read(mapping: Mapping[str, str], prefix: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a `TokenSource`: `given`, then the entries of `mapping` with `prefix`.

    An empty string reads as absent. Raises `ConfigurationError` naming the variable, never its value.
    """
    _check_names(mapping, prefix)
    settings: dict[str, Any] = {}
    for name in _NAMES:
        value = mapping.get(prefix + name)
        if not value:
            continue
        setting = _TEXTS.get(name) or _LISTS.get(name) or _FILES[name]
        if setting in settings:
            raise ConfigurationError(f"give either {prefix}SECRET or {prefix}SECRET_FILE, not both")
        settings[setting] = (
            value.split() if name in _LISTS else _file(prefix + name, value) if name in _FILES else value
        )
    settings |= given
    if "issuer" not in settings:
        raise ConfigurationError(
            f"{prefix}ISSUER must be set: the URL of the authorization server, such as https://auth.example.com/"
        )
    return settings


def names(prefix: str) -> dict[str, str]:
    """The variable of each setting of a `TokenSource`, for `in_variables`."""
    named = _FILES | _TEXTS | _LISTS  # a secret's own variable comes before that of its file
    return {setting: prefix + name for name, setting in named.items()}


def _file(name: str, path: str) -> SecretFile:
    try:
        return SecretFile(path)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def _check_names(mapping: Mapping[str, str], prefix: str) -> None:
    from difflib import get_close_matches

    for name in mapping if prefix else ():
        unknown = name.removeprefix(prefix)
        if unknown == name or unknown in _NAMES:
            continue
        if (setting := unknown.lower()) in IN_CODE:
            raise ConfigurationError(f"{name} is no setting: give {setting}=... in code")
        # CLIENT_CLIENT_ID repeats the prefix; ASSERTION alone would be the secret itself.
        meant = [known for known in _NAMES if unknown in (f"CLIENT_{known}", known.removesuffix("_FILE"))]
        if close := meant or get_close_matches(unknown.upper(), _NAMES, n=1, cutoff=0.8):
            raise ConfigurationError(f"{name} is no setting: write {prefix}{close[0]}")
