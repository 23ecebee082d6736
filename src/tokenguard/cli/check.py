"""`tokenguard check`: why is this token rejected?

Owns: running the real validator, and every check beside its verdict. Must not know: how a check works, how a report is
printed. The validator decides the verdict; the checks only explain it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._jose import jws
from tokenguard._jose.key_set import KeySet
from tokenguard._oauth.claims import refers_to_status_list
from tokenguard.cli import binding_checks, claim_checks, jose_checks, options, output, wording
from tokenguard.cli.options import Given
from tokenguard.cli.record import Record, Step, Surroundings
from tokenguard.cli.report import Report
from tokenguard.errors import ConfigurationError, Reason, RejectedError, UnavailableError
from tokenguard.request import ResourceRequest
from tokenguard.requirements import Requirement, required
from tokenguard.token import AccessToken
from tokenguard.validator import TokenValidator

_VARIABLE = "TOKENGUARD_TOKEN"


def check(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[-]", help="- reads the token from standard input, even if the others are set."),
    ] = None,
    *,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", "-t", help=f"The token in a file, - for standard input. Else {_VARIABLE}, else -."
        ),
    ] = None,
    issuer: options.IssuerOption = None,
    preset: options.PresetOption = None,
    audience: options.AudienceOption = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", "-s", help="Required scope. May be repeated.")] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="Validate at this time: seconds since the epoch, or ISO 8601.")
    ] = None,
    jwks: options.JwksOption = None,
    jwks_uri: options.JwksUriOption = None,
    algorithm: options.AlgorithmOption = None,
    profile: options.ProfileOption = None,
    client: options.ClientOption = None,
    proof: Annotated[
        str | None, typer.Option("--proof", help="The DPoP field that came with it. It is not used up.")
    ] = None,
    method: Annotated[str, typer.Option("--method", help="Of the request that the proof is for.")] = "GET",
    url: Annotated[str, typer.Option("--url", help="Of that request: absolute, or a path below DPOP_BASE_URL.")] = "/",
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="The client's certificate in a file, PEM or DER.")
    ] = None,
    leeway: options.LeewayOption = None,
    http_timeout: options.TimeoutOption = None,
    allow_insecure_http: options.InsecureOption = False,
    env_file: options.EnvFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Validate one token, and show every check. Checks continue after the first that fails.

    A bound token needs the proof of its request: --proof with --method and --url, --certificate.

    Settings without an option are read from TOKENGUARD_* in the environment. The token is never shown.

    Exit code 0: accepted. 1: rejected. 2: a bad setting. 3: could not tell: keys or introspection are unavailable.
    """
    given = Given(
        issuer,
        preset,
        audience,
        jwks,
        jwks_uri,
        algorithm,
        profile,
        client,
        leeway,
        http_timeout,
        allow_insecure_http,
        env_file,
    )
    with wording.settings_errors():
        if source is not None:
            if source != "-" or token_file is not None:  # a token as an argument would be in every process list
                raise ConfigurationError(
                    "give the token on standard input (-), in a file (--token-file), or in a variable"
                )
            token_file = Path("-")
        now = time.time() if at is None else options.moment(at)
        has_variable = token_file is None and bool(os.environ.get(_VARIABLE))
        if str(jwks) == "-" and str(token_file or "-") == "-" and not has_variable:
            raise ConfigurationError("only one of the token and --jwks can come from standard input")
        request = options.request_of(method, url, proof, certificate)
        settings = options.binding(given.settings(), request)
        with TokenValidator(**settings, clock=lambda: now) as validator:
            report = examine_token(validator, options.secret_from(token_file, _VARIABLE), now, scope or [], request)
    if json:
        output.as_json(report.document())
    else:
        report.print()
    raise typer.Exit(report.exit_code)


def examine_token(
    validator: TokenValidator, raw: str, now: float, scope: list[str], request: ResourceRequest | None = None
) -> Report:
    """The validator's verdict on `raw` at `now`, and beside it every check."""
    requirement = required(scope)
    token: AccessToken | None = None
    error: RejectedError | UnavailableError | None = None
    try:
        token = validator.validate(raw, scope=requirement, request=request)
    except (RejectedError, UnavailableError) as found:
        error = found

    around = _surroundings(validator, now, requirement)
    record = Record(around)
    introspects = [one for one in around.authorities.values() if one.introspector is not None]
    encoded = raw.encode("utf-8", "surrogateescape")
    if introspects and jws.is_opaque(encoded):
        record.step("form", "an opaque token, for introspection", lambda: "opaque")
        record.authority = introspects[0]
        _explain_introspection(record, error)
    else:
        jose_checks.explain(record, raw)
        claim_checks.explain(record)
        if record.authority is not None and record.authority.introspects_all:
            _explain_introspection(record, error)
    if request is not None:
        binding_checks.explain(record, raw, request, validator.dpop)
    if refers_to_status_list(record.claims or (token.claims if token else {})):
        expected = "no status claim: nothing here reads a Token Status List"
        record.steps.append(Step("status", "warning", expected, "a status claim, which is not read"))
    return Report(token, error, record, now)


def _surroundings(validator: TokenValidator, now: float, requirement: Requirement) -> Surroundings:
    def keys(authority: Authority) -> KeySet | None:
        try:
            return validator._threads.run(authority.keys.attend())  # noqa: SLF001
        except UnavailableError:
            return None

    return Surroundings(
        authorities={authority.url: authority for authority in validator._authorities},  # noqa: SLF001
        keys=keys,
        now=now,
        leeway=validator._leeway,  # noqa: SLF001
        max_token_bytes=validator._max_token_bytes,  # noqa: SLF001
        required=requirement,
    )


def _explain_introspection(record: Record, error: RejectedError | UnavailableError | None) -> None:
    """The server's answer, as the verdict shows it: the validator has asked once, and is the only one that asks."""
    expected = "the authorization server calls it active"
    reason = error.reason if isinstance(error, RejectedError) else None
    failed_before = any(step.reason is not None for step in record.steps)
    if isinstance(error, UnavailableError):
        step = Step("introspection", "unknown", expected, "no answer that can be used")
    elif reason is Reason.REVOKED:
        step = Step("introspection", "failed", expected, "inactive: revoked, expired, or not its own", reason)
    elif failed_before:
        step = Step("introspection", "not reached", expected)
    elif reason is not None and reason is not Reason.SCOPE:
        step = Step("introspection", "failed", expected, f"active, and rejected here: {reason}", reason)
    else:
        step = Step("introspection", "passed", expected, "active")
    record.steps.append(step)
