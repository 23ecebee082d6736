"""`tokenguard doctor`: is this configuration correct, and what is the next step if it is not?

Owns: the order of the examinations, the verdict. Must not know: what each examines (`examine`, `connection`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from tokenguard._issuer.trusted_issuer import Authority
from tokenguard.cli import connection, examine, options, output, through_proxy, wording
from tokenguard.cli.findings import Finding, Findings, worst_first
from tokenguard.cli.options import PREFIX, Given
from tokenguard.cli.probe import Prober
from tokenguard.errors import ConfigurationError, KeysUnavailableError
from tokenguard.validator import TokenValidator

_NO_AUDIENCE = "audience-not-given"
_TOKEN = "TOKENGUARD_TOKEN"


def doctor(
    *,
    issuer: options.IssuerOption = None,
    preset: options.PresetOption = None,
    audience: options.AudienceOption = None,
    jwks: options.JwksOption = None,
    jwks_uri: options.JwksUriOption = None,
    algorithm: options.AlgorithmOption = None,
    profile: options.ProfileOption = None,
    client: options.ClientOption = None,
    leeway: options.LeewayOption = None,
    http_timeout: options.TimeoutOption = None,
    allow_insecure_http: options.InsecureOption = False,
    env_file: options.EnvFileOption = None,
    through: Annotated[
        str | None,
        typer.Option("--through", help="Instead: test the deployed proxy at this URL with an attacker's requests."),
    ] = None,
    route: Annotated[str | None, typer.Option("--route", help="With --through: a path that needs a token.")] = None,
    public: Annotated[
        list[str] | None,
        typer.Option(
            "--public", help="With --through: a path that needs none. May be repeated; else some are guessed."
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", "-t", help=f"With --through: a good token, - for standard input. Else {_TOKEN}, else none."
        ),
    ] = None,
    json: options.JsonOption = False,
) -> None:
    """Examine a configuration, or a deployed proxy.

    Of a configuration: discovery, keys, caching, clocks, TLS, introspection credentials.

    Settings without an option are read from TOKENGUARD_* in the environment, introspection credentials included. Only
    an invented token is sent to the introspection endpoint.

    With --through and --route a proxy is tested instead, by about ninety requests that read and never write: forged
    fields, other spellings, odd paths, no token. With a good token a few more. Of the settings only
    --http-timeout is read.

    Exit code 0: well, warnings included. 1: a fault; with --through, a request was answered like a good token. 2: a bad
    setting. 3: with --through, the proxy does not answer.
    """
    if through is not None or route is not None or public or token_file is not None:
        with wording.settings_errors():
            _ask_proxy(through, route, public or [], token_file, http_timeout, as_json=json)
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
    with wording.settings_errors(), TokenValidator(**given.settings(audience=_NO_AUDIENCE)) as validator:
        findings = about_issuers(validator)
    mapping = given.mapping()
    if not mapping.get(f"{PREFIX}AUDIENCE"):
        step = "give --audience, or set TOKENGUARD_AUDIENCE: a validator does not start without"
        findings.append(Finding("", "audience", "warning", "no audience is set", step))
    if mapping.get(f"{PREFIX}REDIS_URL"):
        step = f'redis-cli -u "${PREFIX}REDIS_URL" ping'
        findings.append(Finding("", "redis", "note", "the store is not asked here", step))
    findings.extend(_bound(validator))
    report(findings, as_json=json)


def _ask_proxy(
    through: str | None,
    route: str | None,
    public: list[str],
    token_file: Path | None,
    http_timeout: str | None,
    *,
    as_json: bool,
) -> NoReturn:
    if through is None or route is None:
        raise ConfigurationError("--through and --route belong together: a proxy's URL, and a path that needs a token")
    token = options.secret_from(token_file, _TOKEN) if token_file is not None or os.environ.get(_TOKEN) else None
    seconds = options.seconds(http_timeout, default=5)
    through_proxy.examine(through, route, public=public, token=token, timeout=seconds, as_json=as_json)


def _bound(validator: TokenValidator) -> list[Finding]:
    """What is turned on for bound tokens, and what only the operator can know."""
    found: list[Finding] = []
    dpop, mtls = validator.dpop, validator.mtls
    if dpop is not None:
        bases = dpop.base_url if isinstance(dpop.base_url, str) else " or ".join(dpop.base_url)
        text = f"DPoP {'for every token' if dpop.required else 'for bound tokens'}, called as {bases}"
        text += ", nonces on" if dpop.nonce_secret is not None else f", proofs of {dpop.max_age} s, nonces off"
        found.append(Finding("", "dpop", "ok", text))
        if dpop.replay is None:
            step = f"with several processes set {PREFIX}REDIS_URL"
            found.append(Finding("", "dpop", "note", "a proof is good once in each process", step))
    if mtls is not None:
        whose = "the connection" if mtls.header is None else f"{mtls.header} ({mtls.format}) of trusted peers"
        text = f"certificates {'for every token' if mtls.required else 'for bound tokens'}, from {whose}"
        found.append(Finding("", "mtls", "ok", text))
        if mtls.header is not None:
            step = (
                "run the server so that it leaves the peer's address alone (uvicorn --no-proxy-headers), and let the"
                " proxy replace this field, or a client can write it"
            )
            found.append(Finding("", "mtls", "warning", "does the server report the proxy as the peer?", step))
    return found


def about_issuers(validator: TokenValidator) -> list[Finding]:
    """What is found of every issuer of `validator`: the listed ones, and those of `Issuers` that it keeps."""
    return [finding for authority in validator._known for finding in _examine(validator, authority)]  # noqa: SLF001


def _examine(validator: TokenValidator, authority: Authority) -> list[Finding]:
    found = Findings(authority.url)
    leeway, timeout, insecure = validator._leeway, validator._timeout, validator._allow_insecure_http  # noqa: SLF001
    prober = Prober(timeout)
    document = None
    if authority.discovery is not None:
        document = examine.discovery(found, prober, authority.url)
    examine.keys(found, prober, authority, document, allow_insecure_http=insecure)
    settings = authority.issuer.introspection
    if settings is not None:
        own = Prober(timeout, settings.ssl_context)
        examine.introspection(found, own, authority, settings, document, allow_insecure_http=insecure)
        prober.exchanges.extend(own.exchanges)
    connection.clocks(found, prober.exchanges, leeway)
    connection.certificates(found, prober.exchanges)
    try:
        validator._threads.run(authority.keys.attend())  # noqa: SLF001
    except KeysUnavailableError as error:
        found.add("verdict", "fault", "the validator has no keys of this issuer", str(error))
    else:
        found.add("verdict", "ok", "the validator has keys of this issuer")
    return found.found


def report(findings: list[Finding], *, as_json: bool) -> None:
    """Print the worst of them and the verdict of all, and exit."""
    faults = sum(finding.status == "fault" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    verdict = "faults" if faults else "warnings" if warnings else "well"
    selection = worst_first(findings)
    left_out = selection.faulty + selection.warned + selection.well
    if as_json:
        listed: list[dict[str, Any]] = [
            {
                "issuer": finding.issuer or None,
                "area": finding.area,
                "status": finding.status,
                "finding": finding.text,
                "next_step": finding.next_step or None,
            }
            for finding in selection.findings
        ]
        not_shown = {
            "issuers": left_out,
            "faults": selection.faulty,
            "warnings": selection.warned,
            "findings": len(findings) - len(listed),
        }
        counts = {"verdict": verdict, "faults": faults, "warnings": warnings, "issuers": selection.issuers}
        output.as_json({**counts, "not_shown": not_shown, "findings": listed})
    else:
        for issuer in dict.fromkeys(finding.issuer for finding in selection.findings):
            output.line(issuer or "settings", "bold")
            own = [finding for finding in selection.findings if finding.issuer == issuer]
            output.table(
                ("area", "finding", "next step"), [(one.status, one.area, one.text, one.next_step) for one in own]
            )
            if issuer in selection.more:
                output.line(f"and {selection.more[issuer]} more findings, none of them worse")
            output.line()
        if left_out:
            output.line(
                f"and {left_out} more issuers: {selection.faulty} with faults, {selection.warned} with warnings,"
                f" {selection.well} well"
            )
        style = "bold red" if faults else "bold yellow" if warnings else "bold green"
        output.line(f"{verdict}: {faults} faults, {warnings} warnings", style)
    raise typer.Exit(output.REJECTED if faults else output.ACCEPTED)
