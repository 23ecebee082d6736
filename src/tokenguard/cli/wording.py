"""Errors of settings in the words of the command line: options, not Python settings.

Owns: the option for each setting and variable. Must not know: what is wrong with a setting.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from tokenguard.cli import output
from tokenguard.errors import ConfigurationError

_OPTIONS: Final = {
    "issuer": "--issuer",
    "audience": "--audience",
    "jwks_uri": "--jwks-uri",
    "jwks": "--jwks",
    "algorithms": "--algorithm",
    "profile": "--profile",
    "clients": "--client",
    "leeway": "--leeway",
    "http_timeout": "--http-timeout",
    "allow_insecure_http": "--allow-insecure-http",
    "a required scope": "--scope: a required scope",
}
# Of `tokenguard token`; the names are those of its variables.
_OF_CLIENT: Final = {
    "client_issuer": "--issuer",
    "client_id": "--client-id",
    "client_secret_file": "--client-secret-file",
    "client_token_endpoint": "--token-endpoint",
    "client_auth": "--client-auth",
    "client_scope": "--scope",
    "client_resource": "--resource",
    "client_audience": "--audience",
}
# A setting at the beginning, or one that is no word of the language, or one with its value.
_SETTING: Final = re.compile(
    rf"^({'|'.join(_OPTIONS)})(?= must)|(?<![/\w-])(allow_insecure_http|http_timeout|jwks_uri|jwks)\b(?:=True)?"
    rf"|\b({'|'.join(_OPTIONS)})=(\S+)"
)
_VARIABLE: Final = re.compile(r"\bTOKENGUARD_([A-Z_]+)\b")
_IN_CODE: Final = {
    "give each iss one Issuer(...)": "give each once",
    "for several write Issuer(...) in code": "give one --issuer",
    "give allow_insecure_http=... in code": "write --allow-insecure-http",
    "give http_timeout=... in code": "write --http-timeout",
}


def in_options(text: str) -> str:
    """`text` of a `ConfigurationError` with options for settings, and beside their variables."""
    for code, words in _IN_CODE.items():
        text = text.replace(code, words)
    return _VARIABLE.sub(_beside_variable, _SETTING.sub(_for_setting, text))


@contextmanager
def settings_errors() -> Generator[None]:
    """A `ConfigurationError` inside becomes a line on standard error and exit code 2. Its text is a constant."""
    try:
        yield
    except ConfigurationError as error:
        output.exit_wrong_use(in_options(str(error)))


def _for_setting(found: re.Match[str]) -> str:
    first, within, named, value = found.groups()
    option = _OPTIONS[first or within or named]
    return f"{option} {value}" if value else option


def _beside_variable(found: re.Match[str]) -> str:
    option = (_OPTIONS | _OF_CLIENT).get(found[1].lower())
    return f"{option} or {found[0]}" if option else found[0]
