"""A gateway from a TOML file.

Owns: its tables and words, and that an unknown one is an error. Must not know: what a setting means; `Gateway`,
`Route` and `TokenValidator` check it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Final

from tokenguard._setup import environment
from tokenguard.errors import ConfigurationError
from tokenguard.gateway.application import Gateway
from tokenguard.gateway.failures import FailureLimit
from tokenguard.resource import ResourceMetadata
from tokenguard.validator import TokenValidator

__all__ = ["VARIABLE", "from_environment", "gateway_of", "read"]

VARIABLE: Final = "TOKENGUARD_GATEWAY_CONFIG"
DEFAULT_FILE: Final = "gateway.toml"

_TABLES: Final = ("validator", "gateway", "routes")
_PREFIX: Final = "validator."
_WORD: Final = re.compile(r"[a-z0-9_]+", re.ASCII)
_NAMED: Final = re.compile(r"validator\.[A-Z_]+", re.ASCII)
# Of a fault, in tomllib's message; the rest quotes the file.
_PLACE: Final = re.compile(r"\((at [a-z0-9 ,]+)\)", re.ASCII)


def from_environment() -> Gateway:
    """The gateway of the file that `TOKENGUARD_GATEWAY_CONFIG` names. Raises `ConfigurationError`."""
    return gateway_of(read(Path(os.environ.get(VARIABLE) or DEFAULT_FILE)))


def read(path: Path) -> bytes:
    """The content of a file. Raises `ConfigurationError`."""
    try:
        return path.read_bytes()
    except OSError:
        raise ConfigurationError("the file cannot be read: give the path of a TOML file") from None


def gateway_of(content: bytes) -> Gateway:
    """The gateway that a file describes. Nothing is fetched. Raises `ConfigurationError`."""
    document = _document(content)
    _check_words("the file", document, _TABLES)
    validator = _validator(document)
    settings = _table(document, "gateway")
    _check_words("the table gateway", settings, _GATEWAY)
    for word, kind in _TABLES_OF_GATEWAY.items():
        if isinstance(settings.get(word), Mapping):
            settings[word] = _made(f"gateway.{word}", kind, settings[word])
    try:
        return Gateway(validator, document.get("routes", ()), **settings)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}") from None


def _document(content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise ConfigurationError("the file is not TOML: it is not UTF-8") from None
    except ValueError as error:  # of `tomllib`, and of a number that has more digits than an int may
        place = _PLACE.search(str(error))
        raise ConfigurationError(f"the file is not TOML{'' if place is None else f': look {place[1]}'}") from None
    except RecursionError:
        raise ConfigurationError("the file is not TOML of a gateway: its values are nested too deeply") from None


def _validator(document: Mapping[str, Any]) -> TokenValidator:
    """Of the table, which the environment does not add to; of the environment where there is no table."""
    if "validator" not in document:
        try:
            return TokenValidator.from_env()
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{error} (the file has no table [validator], so the environment counts)"
            ) from None
    table = _table(document, "validator")
    odd = [name for name in table if _WORD.fullmatch(name) is None]  # `ISSUER` beside `issuer` would be one of two
    if odd:
        raise ConfigurationError(
            f"validator knows its words in lower case, such as issuer and audience: not {odd[0]!r:.64}"
        )
    settings = {f"{_PREFIX}{name.upper()}": value for name, value in table.items()}
    try:
        environment.check_every_name(settings, _PREFIX)
        return TokenValidator.from_mapping(settings, _PREFIX)
    except ConfigurationError as error:
        raise ConfigurationError(_NAMED.sub(lambda name: name[0].lower(), str(error))) from None


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{name} must be a table: [{name}]")
    return dict(table)


def _check_words(place: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = [word for word in given if word not in known]
    if unknown:
        raise ConfigurationError(f"{place} knows the words {', '.join(known)} and no other: not {unknown[0]!r:.64}")


def _made(name: str, kind: type[Any], table: Mapping[str, Any]) -> Any:
    known = fields(kind)
    _check_words(f"the table {name}", table, tuple(one.name for one in known))
    lacking = [one.name for one in known if one.default is one.default_factory is MISSING and one.name not in table]
    if lacking:
        raise ConfigurationError(f"the table {name} must have {lacking[0]}")
    try:
        return kind(**table)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name}: {error}") from None


_TABLES_OF_GATEWAY: Final[Mapping[str, type[Any]]] = {
    "resource_metadata": ResourceMetadata,
    "failures": FailureLimit,
}
_GATEWAY: Final = (
    "trusted_proxies",
    "claims",
    "realm",
    "resource_metadata",
    "show_reason",
    "client_address",
    "failures",
)
