"""Settings from the environment, or from any mapping with such names: strings in, typed settings out.

Owns: the names, and turning text into numbers, flags and lists. Must not know: what a setting means; `TokenValidator`,
`Issuer` and `Introspection` check it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Final

from tokenguard import presets
from tokenguard._setup import bound_environment
from tokenguard._setup.variables import in_variables
from tokenguard.errors import ConfigurationError
from tokenguard.introspection import Introspection
from tokenguard.issuer import Issuer
from tokenguard.resource import DPoP, MutualTLS
from tokenguard.secret_file import SecretFile


def _text(value: Any) -> Any:
    return value


def _secrets(value: Any) -> Any:
    return value.split() if isinstance(value, str) else value


def _words(value: Any) -> Any:
    if isinstance(value, str) and re.search(r",(\s|$)", value):  # a part of the word: no token would fit
        raise ValueError
    return _secrets(value)


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _NUMBER.fullmatch(value.strip())  # int() and float() accept much more: "1_0", other scripts' digits, "nan"
    if match is None:
        raise ValueError
    return float(value) if match[1] else int(value)


def _object(value: Any) -> Any:
    if isinstance(value, str):
        raise TypeError
    return value


def _flag(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }[value.strip().lower()]
    except KeyError:
        raise ValueError from None


_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)
_EXAMPLES: Final[Mapping[Callable[[Any], Any], str]] = {
    _flag: "true or false",
    _words: "them with spaces between, no commas",
}

_Readers = Mapping[str, Callable[[Any], Any]]

_VALIDATOR: _Readers = {
    "AUDIENCE": _words,
    "CLIENTS": _words,
    "LEEWAY": _number,
    "MAX_TOKEN_BYTES": _number,
    "TOKEN_CACHE_SIZE": _number,
    "HTTP_TIMEOUT": _number,
    "ALLOW_INSECURE_HTTP": _flag,
    "CHECKS": _object,
    "CLOCK": _object,
    "MONOTONIC": _object,
    "JITTER": _object,
    "REVOCATIONS": _object,
    "DPOP": _object,
    "MTLS": _object,
    "SSL_CONTEXT": _object,
    "TRANSPORT": _object,
}
_BOUND: _Readers = {
    "DPOP_BASE_URL": _words,
    "DPOP_REQUIRED": _flag,
    "DPOP_ALGORITHMS": _words,
    "DPOP_MAX_AGE": _number,
    "DPOP_NONCE_SECRET": _secrets,
    "MTLS_HEADER": _text,
    "MTLS_FORMAT": _text,
    "MTLS_TRUSTED": _words,
    "MTLS_REQUIRED": _flag,
    "REDIS_URL": _text,
}
_ISSUER: _Readers = {
    "JWKS_URI": _text,
    "ALGORITHMS": _words,
    "PROFILE": _text,
    "JWKS_MAX_AGE": _number,
    "JWKS_MAX_STALE": _number,
    "JWKS_COOLDOWN": _number,
    "JWKS": _text,  # PEM
    "JWKS_BEARER_TOKEN": _text,
    "JWKS_SSL_CONTEXT": _object,
    "INTROSPECTION": _object,
    "TOKEN_TYPES": _words,
    "REQUIRED_CLAIMS": _words,
    "CLIENT_ID_CLAIMS": _words,
    "SCOPE_CLAIMS": _words,
    "AUDIENCE_CLAIMS": _words,
    "ROLE_CLAIMS": _object,
    "CLAIM_VALUES": _object,
    "MACHINE_SIGNS": _object,
}
_INTROSPECTION: _Readers = {
    "INTROSPECTION_CLIENT_ID": _text,
    "INTROSPECTION_CLIENT_SECRET": _text,
    "INTROSPECTION_ENDPOINT": _text,
    "INTROSPECTION_CLIENT_AUTH": _text,
    "INTROSPECTION_WHEN": _text,
    "INTROSPECTION_CACHE_TTL": _number,
    "INTROSPECTION_NEGATIVE_TTL": _number,
    "INTROSPECTION_STALE_TTL": _number,
    "INTROSPECTION_REQUIRE_AUDIENCE": _flag,
    "INTROSPECTION_PRIVATE_KEY_ID": _text,
    "INTROSPECTION_PRIVATE_KEY_ALGORITHM": _text,
}

# Secrets that may be in a file: NAME_FILE is its path. The first of each may be in a variable as well.
_ISSUER_FILES: Final = ("JWKS_BEARER_TOKEN",)
_INTROSPECTION_FILES: Final = ("INTROSPECTION_CLIENT_SECRET", "INTROSPECTION_BEARER_TOKEN", "INTROSPECTION_PRIVATE_KEY")

# The parameters of presets that are not text.
_OF_PRESETS: _Readers = {
    "version": _number,
    "service_accounts": _words,
    "owner_ids": _words,
    "audience": _words,
    "in_cluster": _flag,
}

# Names that mean a setting without a variable. Other names may have another purpose: the command line has some, and an
# orchestrator makes TOKENGUARD_PORT and similar names from the name of a service.
_MEANT: Final = {
    "INTROSPECTION_": "give Introspection(...) in code for what has no variable",
    "DPOP_": "give DPoP(...) in code for what has no variable",
    "MTLS_": "give MutualTLS(...) in code for what has no variable",
    "REQUIRED_": "claims are REQUIRED_CLAIMS, and the scope is the door's or the route's",
}


_IN_CODE: Final[Mapping[str, Any]] = {"INTROSPECTION_": Introspection, "DPOP_": DPoP, "MTLS_": MutualTLS}


def read(mapping: Mapping[str, Any], prefix: str, given: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The settings of a `TokenValidator`: `given`, then the entries of `mapping` with `prefix`.

    An empty string reads as absent. Raises `ConfigurationError` naming the variable, never its value; also for a name
    that is almost one of these, as the setting would silently be missing.
    """
    _check_names(mapping, prefix)
    settings = _section(mapping, prefix, _VALIDATOR) | dict(given)
    settings |= _bound_settings(mapping, prefix, settings)
    if "issuer" not in given:
        settings["issuer"] = _issuer(mapping, prefix)
    if "audience" not in settings:
        raise ConfigurationError(
            f"{prefix}AUDIENCE must be set: what the tokens' aud names this API, a URL for example"
        )
    of_issuer = _issuer_settings(mapping, prefix)
    issuer = settings["issuer"]
    if isinstance(issuer, _Preset):
        settings["issuer"] = issuer.make(of_issuer)
    elif of_issuer:
        issuers = list(issuer) if isinstance(issuer, Iterable) and not isinstance(issuer, str) else [issuer]
        if len(issuers) != 1 or not isinstance(issuers[0], str):
            names = ", ".join(prefix + name.upper() for name in of_issuer)
            raise ConfigurationError(f"{names} can be set for one issuer only: for several write Issuer(...) in code")
        settings["issuer"] = Issuer(issuers[0], **of_issuer)
    return settings


def names(prefix: str) -> dict[str, str]:
    """The variable of each setting of a `TokenValidator` and its issuer, for `in_variables`."""
    return _variables(prefix, {"ISSUER": _words, **_VALIDATOR, **_ISSUER}, _ISSUER_FILES)


def _variables(prefix: str, readers: _Readers, files: Iterable[str], *, strip: str = "") -> dict[str, str]:
    named = {name: prefix + name for name, reader in readers.items() if reader is not _object}
    named |= {name: f"{prefix}{name}_FILE" for name in files if name not in named}
    return {name.removeprefix(strip).lower(): variable for name, variable in named.items()}


def _issuer(mapping: Mapping[str, Any], prefix: str) -> Any:
    issuer = _section(mapping, prefix, {"ISSUER": _words}).get("issuer")
    preset = mapping.get(prefix + "PRESET")
    if preset and issuer:
        raise ConfigurationError(f"give either {prefix}ISSUER or {prefix}PRESET, not both: a preset names the issuer")
    if preset:
        return _Preset(mapping, prefix)
    if not issuer:
        raise ConfigurationError(
            f"{prefix}ISSUER must be set: the exact iss of the tokens, such as https://auth.example.com/"
        )
    return issuer


class _Preset:
    """The preset that `PRESET` names, with its parameters by their names in capitals."""

    def __init__(self, mapping: Mapping[str, Any], prefix: str) -> None:
        name = mapping[prefix + "PRESET"]
        if name not in presets.NAMES:
            raise ConfigurationError(f"{prefix}PRESET must be one of {', '.join(presets.NAMES)}")
        self._make = getattr(Issuer, name)
        readers = {one.upper(): _OF_PRESETS.get(one, _text) for one in _parameters(name)}
        self._arguments = {one.lower(): value for one, value in _section(mapping, prefix, readers).items()}
        for one, parameter in _parameters(name).items():
            if parameter.default is parameter.empty and one not in self._arguments:
                raise ConfigurationError(f"{prefix}{one.upper()} must be set: {prefix}PRESET={name} needs it")

    def make(self, settings: Mapping[str, Any]) -> Issuer:
        made: Issuer = self._make(**self._arguments, **settings)
        return made


def _parameters(preset: str) -> dict[str, inspect.Parameter]:
    """The parameters of a preset besides the settings of an issuer."""
    parameters = inspect.signature(getattr(Issuer, preset)).parameters.items()
    return {name: one for name, one in parameters if one.kind is not one.VAR_KEYWORD}


def _issuer_settings(mapping: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    settings = _section(mapping, prefix, _ISSUER) | _in_files(mapping, prefix, _ISSUER_FILES)
    introspection = _section(mapping, prefix, _INTROSPECTION, strip="INTROSPECTION_")
    introspection |= _in_files(mapping, prefix, _INTROSPECTION_FILES)
    if introspection and "introspection" in settings:
        raise ConfigurationError(f"give either {prefix}INTROSPECTION or {prefix}INTROSPECTION_..., not both")
    if introspection:
        with in_variables(_variables(prefix, _INTROSPECTION, _INTROSPECTION_FILES, strip="INTROSPECTION_")):
            settings["introspection"] = Introspection(**introspection)
    return settings


def _bound_settings(mapping: Mapping[str, Any], prefix: str, given: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name in _BOUND for value in _section(mapping, prefix, {name: _BOUND[name]}).values()}
    found |= {name.upper(): file for name, file in _in_files(mapping, prefix, (bound_environment.SECRET,)).items()}
    return bound_environment.settings_of(prefix, found, given) if found else {}


def check_every_name(mapping: Mapping[str, Any], prefix: str, others: Iterable[str] = ()) -> None:
    """For a mapping of nothing but settings and `others`: any other name is a `ConfigurationError`."""
    _check_names(mapping, prefix)
    known = [*_known(mapping, prefix), *others]
    for name in mapping:
        unknown = str(name).removeprefix(prefix)
        if unknown not in known:
            from difflib import get_close_matches

            close = get_close_matches(unknown.upper(), known, n=1)
            instead = f"write {prefix}{close[0]}" if close else "the names are those of the environment variables"
            raise ConfigurationError(f"{prefix}{unknown:.64} is no setting: {instead}")


def _known(mapping: Mapping[str, Any], prefix: str) -> list[str]:
    files = [f"{name}_FILE" for name in (*_ISSUER_FILES, *_INTROSPECTION_FILES, bound_environment.SECRET)]
    known = ["ISSUER", "PRESET", *_VALIDATOR, *_ISSUER, *_INTROSPECTION, *_BOUND, *files]
    if (preset := mapping.get(prefix + "PRESET")) in presets.NAMES:
        known += map(str.upper, _parameters(preset))
    return known


def _check_names(mapping: Mapping[str, Any], prefix: str) -> None:
    from difflib import get_close_matches

    known = _known(mapping, prefix)
    for name in mapping if prefix else ():
        if not isinstance(name, str) or not name.startswith(prefix) or name.removeprefix(prefix) in known:
            continue
        unknown = name.removeprefix(prefix)
        if f"{unknown}_FILE" in known:
            raise ConfigurationError(f"{name} is no setting: {_MEANT['INTROSPECTION_']}, or {name}_FILE")
        if (plain := unknown.removesuffix("_FILE")) in known:  # a denylist would silently be missing, say
            raise ConfigurationError(
                f"{name} is no setting: this one cannot be read from a file, write {prefix}{plain}"
            )
        # CLIENT_... are a token source's.
        comparable = [one for one in known if one.startswith("CLIENT_")] if unknown.startswith("CLIENT_") else known
        family, instead = next(((one, text) for one, text in _MEANT.items() if unknown.startswith(one)), ("", None))
        if _is_in_code_alone(unknown):  # not a misspelt one, however near: another setting would be changed
            raise ConfigurationError(f"{name} is no setting: {instead}")
        comparable = [one for one in comparable if f"{one}_" != family]  # the whole, which no text can spell
        close = get_close_matches(unknown.upper(), comparable, n=1, cutoff=0.8)
        if close and _are_alike(unknown.removeprefix(family).upper(), close[0].removeprefix(family)):
            raise ConfigurationError(f"{name} is no setting: write {prefix}{close[0]}")
        if instead is not None:
            raise ConfigurationError(f"{name} is no setting: {instead}")


def _are_alike(rest: str, known: str) -> bool:
    """Whether what follows the family is alike in two names. INTROSPECTION_URL and INTROSPECTION_WHEN have nothing but
    their family in common."""
    from difflib import SequenceMatcher

    return SequenceMatcher(None, rest, known).ratio() >= 0.5


def _is_in_code_alone(name: str) -> bool:
    """Whether this means a setting of a class in `_IN_CODE`, for one that no variable gives."""
    return any(
        name.startswith(family) and name.removeprefix(family).lower() in {one.name for one in fields(kind) if one.init}
        for family, kind in _IN_CODE.items()
    )


def _in_files(mapping: Mapping[str, Any], prefix: str, names: Iterable[str]) -> dict[str, SecretFile]:
    """The secrets in files. Each file is read once now, so that a bad one is an error at the start."""
    found: dict[str, SecretFile] = {}
    for name in names:
        path = mapping.get(f"{prefix}{name}_FILE")
        if not path:
            continue
        if mapping.get(prefix + name):
            raise ConfigurationError(f"give either {prefix}{name} or {prefix}{name}_FILE, not both")
        try:
            file = SecretFile(path)
            file()
        except ConfigurationError as error:
            raise ConfigurationError(f"{prefix}{name}_FILE: {error}") from None
        found[name.removeprefix("INTROSPECTION_").lower()] = file
    return found


def _section(mapping: Mapping[str, Any], prefix: str, readers: _Readers, *, strip: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, reader in readers.items():
        value = mapping.get(prefix + name)
        if value is None or value == "":
            continue
        try:
            found[name.removeprefix(strip).lower()] = reader(value)
        except ValueError:
            example = _EXAMPLES.get(reader, "a number such as 30 or 0.5")
            raise ConfigurationError(f"{prefix}{name} is not readable: write {example}") from None
        except TypeError:
            raise ConfigurationError(f"{prefix}{name} cannot be spelt as text: give it in code") from None
    return found
