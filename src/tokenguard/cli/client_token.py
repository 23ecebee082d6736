"""`tokenguard token`: ask an authorization server for a token, as this client would.

Owns: the report of a token or of an error. Must not know: how a token is requested. Only `--raw` prints the token.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from tokenguard._flow.effects import explained
from tokenguard.cli import options, output, wording
from tokenguard.client import IssuedToken, TokenRefusedError, TokenSource, TokenUnavailableError
from tokenguard.errors import ConfigurationError

_PREFIX: Final = "TOKENGUARD_CLIENT_"
_FILES: Final = tuple(f"{_PREFIX}{name}_FILE" for name in ("SECRET", "PRIVATE_KEY", "ASSERTION"))
_NEXT: Final = {
    "no_metadata_of_this_issuer": "write the issuer as its metadata spells it, a final slash included, or give"
    " --token-endpoint; tokenguard doctor --issuer shows what each place answers",
}
_REACH: Final = "check the address, DNS, firewall and proxy between this host and the authorization server"


def token(
    *,
    issuer: Annotated[str | None, typer.Option("--issuer", "-i", help="The authorization server.")] = None,
    client_id: Annotated[str | None, typer.Option("--client-id", help="The client that asks.")] = None,
    client_secret_file: Annotated[
        Path | None, typer.Option("--client-secret-file", help=f"The secret in a file. Else {_PREFIX}SECRET.")
    ] = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", "-s", help="To ask for. May be repeated.")] = None,
    resource: Annotated[
        list[str] | None, typer.Option("--resource", help="To ask for (RFC 8707). May be repeated.")
    ] = None,
    audience: Annotated[list[str] | None, typer.Option("--audience", "-a", help="To ask for. May be repeated.")] = None,
    client_auth: Annotated[str | None, typer.Option("--client-auth", help="client_secret_basic by default.")] = None,
    token_endpoint: Annotated[str | None, typer.Option("--token-endpoint", help="Instead of discovery.")] = None,
    http_timeout: options.TimeoutOption = None,
    allow_insecure_http: options.InsecureOption = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print the token alone, for tokenguard check -.")] = False,
    json: options.JsonOption = False,
) -> None:
    """Request one token, and report what was issued, or why not.

    Settings without an option are read from TOKENGUARD_CLIENT_* in the environment; secrets come from there or from
    files only. Only --raw shows the token.

    Exit code 0: issued. 1: rejected. 2: a bad setting. 3: could not tell: the server gave no usable answer.
    """
    given = {
        "ISSUER": issuer,
        "ID": client_id,
        "SECRET_FILE": None if client_secret_file is None else str(client_secret_file.absolute()),
        "SCOPE": None if scope is None else " ".join(scope),
        "RESOURCE": None if resource is None else " ".join(resource),
        "AUDIENCE": None if audience is None else " ".join(audience),
        "AUTH": client_auth,
        "TOKEN_ENDPOINT": token_endpoint,
    }
    mapping = dict(os.environ)
    if client_secret_file is not None:
        mapping.pop(f"{_PREFIX}SECRET", None)
    mapping |= {_PREFIX + name: value for name, value in given.items() if value}
    with wording.settings_errors():
        options.check_values({_PREFIX + name: value for name, value in given.items()})
        try:
            issued = _ask(mapping, http_timeout, allow_insecure_http=allow_insecure_http)
        except (TokenRefusedError, TokenUnavailableError) as error:
            _report_failure(error, json=json)
        _report(issued, raw=raw, json=json)


def _ask(mapping: dict[str, str], http_timeout: str | None, *, allow_insecure_http: bool) -> IssuedToken:
    settings: dict[str, Any] = {"allow_insecure_http": allow_insecure_http}
    if http_timeout is not None:
        settings["http_timeout"] = options.seconds(http_timeout, default=5)
    try:
        with TokenSource.from_mapping(mapping, **settings) as source:
            return source.token()
    except ConfigurationError as error:
        if isinstance(error.__cause__, ConfigurationError):  # of a file: our own constant texts, with the next step
            files = " or ".join(name for name in _FILES if mapping.get(name))
            raise ConfigurationError(f"{files}: {error.__cause__}") from None
        raise


def _report(issued: IssuedToken, *, raw: bool, json: bool) -> None:
    expires_in = round(issued.expires_at - time.time())
    if raw:
        sys.stdout.write(issued.access_token + "\n")
    elif json:
        output.as_json(
            {
                "outcome": "issued",
                "exit_code": output.ACCEPTED,
                "token_type": issued.token_type,
                "expires_in": expires_in,
                "scopes": sorted(issued.scopes),
                "issuer": issued.issuer,
            }
        )
    else:
        output.line(f"type {issued.token_type}")
        output.line(f"expires in {output.duration(expires_in)}")
        output.line(f"scopes {' '.join(sorted(issued.scopes)) or '(none named)'}")
        output.line("issued", "bold green")


def _next_step(kind: str) -> str:
    """What to do about a server that gave no usable answer."""
    return _NEXT.get(kind) or explained(kind).partition("; ")[2] or _REACH


def _report_failure(error: TokenRefusedError | TokenUnavailableError, *, json: bool) -> NoReturn:
    refused = isinstance(error, TokenRefusedError)
    code = error.error if isinstance(error, TokenRefusedError) else str(getattr(error.__cause__, "kind", "unavailable"))
    description = error.error_description if isinstance(error, TokenRefusedError) else None
    exit_code = output.REJECTED if refused else output.COULD_NOT_TELL
    next_step = str(error) if refused else _next_step(str(code))
    if json:
        output.as_json(
            {
                "outcome": "refused" if refused else "unavailable",
                "exit_code": exit_code,
                "error": code,
                "error_description": description,
                "next_step": next_step,
            }
        )
        raise typer.Exit(exit_code)
    # On standard error: a program that reads --raw must not take it for a token.
    sys.stderr.write(f"{'refused' if refused else 'could not tell'} ({code or 'no registered code'})\n")
    if description is not None:
        sys.stderr.write(f"the server says: {description}\n")
    sys.stderr.write(f"next: {next_step}\n")
    raise typer.Exit(exit_code)
