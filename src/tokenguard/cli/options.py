"""The options that `check` and `doctor` share, and the settings of a `TokenValidator` that they become.

Owns: their names, their help, reading files and the environment. Must not know: how the settings are used.
Secrets are read from the environment or an environment file only; no option takes one, so none is in a process list.
"""

from __future__ import annotations

import inspect
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from tokenguard import presets
from tokenguard._jose import strict_json
from tokenguard._oauth.certificate import MalformedCertificateError, der_of_pem
from tokenguard._setup import environment
from tokenguard.errors import ConfigurationError
from tokenguard.issuer import Issuer
from tokenguard.request import ResourceRequest
from tokenguard.resource import DPoP, MutualTLS

PREFIX: Final = "TOKENGUARD_"
PRESETS: Final = presets.NAMES
_LONGEST_TIMEOUT: Final = 3_600
_OF_ONE_ISSUER: Final = ("JWKS_URI", "ALGORITHMS", "PROFILE", "JWKS_MAX_AGE", "JWKS_MAX_STALE", "JWKS_COOLDOWN")

IssuerOption = Annotated[list[str] | None, typer.Option("--issuer", "-i", help="The exact iss. May be repeated.")]
PresetOption = Annotated[
    str | None,
    typer.Option("--preset", help=f'Instead of --issuer: "NAME ARGUMENT ...", one of {", ".join(PRESETS)}.'),
]
AudienceOption = Annotated[list[str] | None, typer.Option("--audience", "-a", help="Accepted aud. May be repeated.")]
JwksOption = Annotated[Path | None, typer.Option("--jwks", help="Offline: a JWK set in a file, - for standard input.")]
JwksUriOption = Annotated[str | None, typer.Option("--jwks-uri", help="Where the keys are, instead of discovery.")]
AlgorithmOption = Annotated[list[str] | None, typer.Option("--algorithm", help="Allowed alg. May be repeated.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="jwt or rfc9068.")]
ClientOption = Annotated[list[str] | None, typer.Option("--client", help="Accepted client id. May be repeated.")]
LeewayOption = Annotated[str | None, typer.Option("--leeway", help="Seconds by which clocks may differ; default 30.")]
TimeoutOption = Annotated[str | None, typer.Option("--http-timeout", help="Seconds for a whole fetch; default 5.")]
InsecureOption = Annotated[bool, typer.Option("--allow-insecure-http", help="Fetch over http: for development.")]
EnvFileOption = Annotated[
    Path | None, typer.Option("--env-file", help="NAME=VALUE lines that take precedence over the environment.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document, for machines.")]


@dataclass(frozen=True, slots=True)
class Given:
    """The values from the command line, not yet read."""

    issuers: list[str] | None = None
    preset: str | None = None
    audience: list[str] | None = None
    jwks: Path | None = None
    jwks_uri: str | None = None
    algorithms: list[str] | None = None
    profile: str | None = None
    clients: list[str] | None = None
    leeway: str | None = None
    http_timeout: str | None = None
    allow_insecure_http: bool = False
    env_file: Path | None = None

    def mapping(self) -> dict[str, Any]:
        """The environment, the environment file and the options; each takes precedence over those before it."""
        lists = {
            "ISSUER": self.issuers,
            "AUDIENCE": self.audience,
            "ALGORITHMS": self.algorithms,
            "CLIENTS": self.clients,
        }
        texts = {
            "JWKS_URI": self.jwks_uri,
            "PROFILE": self.profile,
            "LEEWAY": self.leeway,
            "HTTP_TIMEOUT": self.http_timeout,
            "ALLOW_INSECURE_HTTP": "true" if self.allow_insecure_http else None,
        }
        given = {name: " ".join(value) for name, value in lists.items() if value}
        given |= {name: value for name, value in texts.items() if value is not None}
        check_values({name.lower(): value for name, value in given.items()})
        mapping: dict[str, Any] = {**os.environ, **(_env_file(self.env_file) if self.env_file else {})}
        if self.issuers or self.preset is not None:
            mapping.pop(PREFIX + "PRESET", None)
        return mapping | {PREFIX + name: value for name, value in given.items()}

    def settings(self, **defaults: str) -> dict[str, Any]:
        """Settings of a `TokenValidator`, `defaults` where nothing is given. Raises `ConfigurationError`."""
        mapping = {PREFIX + name.upper(): value for name, value in defaults.items()} | self.mapping()
        jwks = None if self.jwks is None else _jwks(self.jwks)
        if self.preset is not None:
            settings = {} if jwks is None else {"jwks": jwks}
            mapping[PREFIX + "ISSUER"] = _preset(self.preset, settings)
        elif jwks is not None:
            mapping = _offline(mapping, jwks)
        return environment.read(mapping, PREFIX)


def check_values(given: Mapping[str, str | None]) -> None:
    """No option that was given is empty, as a variable that is not set makes it: the environment reads that as absent.
    Raises `ConfigurationError`."""
    for name, value in given.items():
        if value is not None and not value.strip():
            raise ConfigurationError(f"{name} must not be empty")


def secret_from(path: Path | None, variable: str) -> str:
    """A token from `path` (- is standard input), else from the environment, else from standard input.

    `Authorization: Bearer` (or `DPoP`) before it and white space around it are removed. Raises `ConfigurationError`.
    """
    text = os.environ.get(variable) if path is None else None
    if not text:
        if path is None and sys.stdin.isatty():  # a terminal would echo it
            raise ConfigurationError(f"give the token on standard input, in a file (--token-file), or in {variable}")
        text = _read(path or Path("-"), "the token").decode("utf-8", "surrogateescape")
    text = text.strip()
    for before in ("authorization:", "bearer ", "dpop "):
        if text[: len(before)].lower() == before:
            text = text[len(before) :].strip()
    return text


def request_of(method: str, url: str, proof: str | None, certificate: Path | None) -> ResourceRequest:
    """The request that a token came with. Raises `ConfigurationError` for a file that holds no certificate."""
    der = None
    if certificate is not None:
        data = _read(certificate, "the certificate")
        try:
            der = der_of_pem(data.decode("latin-1")) if data.lstrip().startswith(b"-----") else data
        except MalformedCertificateError:
            raise ConfigurationError("the file of --certificate must hold a certificate, PEM or DER") from None
    scheme = "Bearer" if proof is None else "DPoP"
    return ResourceRequest(method, url, scheme, None if proof is None else proof.strip(), der)


def binding(settings: dict[str, Any], request: ResourceRequest) -> dict[str, Any]:
    """`settings` with what validating `request` needs. No proof is recorded as used: this must change nothing."""
    dpop = settings.get("dpop")
    if dpop is not None:
        dpop = replace(dpop, replay=None)
    elif request.scheme == "DPoP":
        parts = urlsplit(request.url)
        if not parts.netloc:
            raise ConfigurationError(f"--proof needs {PREFIX}DPOP_BASE_URL, or an absolute --url")
        dpop = DPoP(f"{parts.scheme}://{parts.netloc}")
    mtls = settings.get("mtls") or (None if request.certificate is None else MutualTLS())
    return settings | {"dpop": dpop, "mtls": mtls}


def seconds(text: str | None, *, default: float) -> float:
    """The value of --http-timeout. Raises `ConfigurationError`."""
    try:
        found = default if text is None else float(text)
    except ValueError:
        found = 0
    if not 0 < found <= _LONGEST_TIMEOUT:
        raise ConfigurationError("--http-timeout must be a number of seconds above 0")
    return found


def moment(text: str) -> float:
    """A time as seconds since the epoch, or as ISO 8601, UTC where no zone is given. Raises `ConfigurationError`."""
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if isfinite(seconds):
            return seconds
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError("--at must be seconds since the epoch, or ISO 8601: 2030-01-31T12:00:00Z") from None
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()


def _read(path: Path, what: str) -> bytes:
    try:
        return typer.get_binary_stream("stdin").read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        name = type(error).__name__
        raise ConfigurationError(f"{what} cannot be read from the given file ({name})") from None


def _jwks(path: Path) -> Mapping[str, Any]:
    try:
        return strict_json.parse_object(_read(path, "the JWK set"))
    except ValueError:
        raise ConfigurationError('the file of --jwks must hold a JWK set: {"keys": [...]}') from None


def _env_file(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in _read(path, "the environment").decode("utf-8", "replace").splitlines():
        name, equals, value = text.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("'\"")
    return found


def _offline(mapping: dict[str, Any], jwks: Mapping[str, Any]) -> dict[str, Any]:
    """The only issuer, with a static key set: nothing is fetched."""
    urls = str(mapping.get(PREFIX + "ISSUER", "")).split()
    if len(urls) != 1:
        raise ConfigurationError("--jwks needs exactly one --issuer, whose keys it holds")
    own: dict[str, Any] = {"jwks": jwks}
    if mapping.get(PREFIX + "ALGORITHMS"):
        own["algorithms"] = mapping[PREFIX + "ALGORITHMS"].split()
    if mapping.get(PREFIX + "PROFILE"):
        own["profile"] = mapping[PREFIX + "PROFILE"]
    settled = (*(PREFIX + name for name in _OF_ONE_ISSUER), PREFIX + "INTROSPECTION_")
    kept = {name: value for name, value in mapping.items() if not name.startswith(settled)}
    return kept | {PREFIX + "ISSUER": Issuer(urls[0], **own)}


def _preset(text: str, settings: dict[str, Any]) -> Issuer:
    try:
        name, *words = shlex.split(text)
    except ValueError:
        name, words = "", []
    if name not in PRESETS:
        raise ConfigurationError(f"--preset must begin with one of {', '.join(PRESETS)}")
    arguments: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key.isidentifier():
            settings[key] = int(value) if key == "version" and value.isdecimal() else value
        else:
            arguments.append(word)
    try:
        made: Issuer = getattr(Issuer, name)(*arguments, **settings)
    except TypeError:
        raise ConfigurationError(f'the arguments of --preset do not fit: write "{_usage(name)}"') from None
    except ConfigurationError as error:
        raise ConfigurationError(f"--preset {name}: {error}") from None
    return made


def _usage(preset: str) -> str:
    """A preset and its arguments, as `--preset` takes them."""
    words = [preset]
    for name, one in inspect.signature(getattr(Issuer, preset)).parameters.items():
        if one.kind is one.VAR_KEYWORD:
            continue
        positional = one.kind is one.POSITIONAL_OR_KEYWORD
        word = name.upper() if positional else f"{name}={name.upper()}"
        words.append(word if one.default is one.empty else f"[{word}]")
    return " ".join(words)
