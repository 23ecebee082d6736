"""`tokenguard issuer`: an authorization server on loopback, for development.

Owns: what is printed about it, and its end. Must not know: how it works (`tokenguard.testing`).
"""

from __future__ import annotations

import os
import shlex
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tokenguard.cli import output
from tokenguard.cli.options import JsonOption
from tokenguard.cli.people import common_claims, people
from tokenguard.errors import ConfigurationError
from tokenguard.testing.fake_issuer import FakeIssuer
from tokenguard.testing.key_file import KeyFileError, keys_in
from tokenguard.testing.signing_keys import ALGORITHMS, SYMMETRIC, named_key

_SECRET = "TOKENGUARD_CLIENT_SECRET"
_AUDIENCE = "https://api.example.com"
_PEOPLE = ("alice", "bob")


def issuer(
    *,
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65_535, help="Where it listens; 0: a free port.")] = 0,
    audience: Annotated[
        list[str] | None,
        typer.Option("--audience", "-a", help=f"The tokens' aud; default {_AUDIENCE}. May be repeated."),
    ] = None,
    client_id: Annotated[str, typer.Option("--client-id", help=f"Its secret is {_SECRET}, or a new one.")] = "client",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", "-s", help="What the client may ask for; default any. May be repeated."),
    ] = None,
    person: Annotated[
        list[str] | None,
        typer.Option("--person", help="Who may log in: NAME, or NAME={claims}. May be repeated; default alice, bob."),
    ] = None,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role in every token. May be repeated.")] = None,
    claim: Annotated[
        list[str] | None, typer.Option("--claim", help="NAME=JSON: a claim in every token. May be repeated.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", help="Keep the signing keys in this file; it is made if it is not there.")
    ] = None,
    algorithm: Annotated[str | None, typer.Option("--algorithm", help="The signing algorithm; default RS256.")] = None,
    opaque: Annotated[bool, typer.Option("--opaque", help="Issue opaque tokens, for introspection.")] = False,
    json: JsonOption = False,
) -> None:
    """Run an issuer for development, until Ctrl-C or a signal.

    It prints its endpoints, a client, and curl lines to paste. People log in on a page without a password: by
    authorization code and PKCE, from pages on loopback. It listens on loopback only, grants every requested scope, and
    forgets all but `--keys` when it ends: never use it in production.
    """
    if algorithm is not None and (algorithm not in ALGORITHMS or algorithm in SYMMETRIC):
        output.exit_wrong_use(
            "--algorithm must be an asymmetric one, such as RS256, ES256 or EdDSA: HS* publishes no key"
        )
    fake = FakeIssuer(audience=audience or _AUDIENCE, client_id=client_id)
    try:
        fake.common_claims = common_claims(claim or (), role or ())
        for name, claims in people(person or _PEOPLE).items():
            fake.add_person(name, **claims)
        fake.sign_with([named_key(algorithm or "RS256")] if keys is None else keys_in(keys, algorithm))
    except ConfigurationError as error:
        output.exit_wrong_use(str(error))
    except KeyFileError as error:
        output.exit_wrong_use(f"the file of --keys {error}")
    secret = os.environ.get(_SECRET) or None
    fake.add_client(client_id, secret, scopes=scope, token_format="opaque" if opaque else "jwt")
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    try:
        server = fake.serve(port=port)
    except OSError:
        output.exit_wrong_use("the port cannot be listened on: is it taken?")
    with server:
        facts = Facts(fake, client_id, scope or ["orders:read"], given_secret=secret is not None)
        if json:
            output.as_json(facts.document())
        else:
            facts.print()
        ending.wait()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is needed to use the issuer. A secret that was given is named, never shown."""

    fake: FakeIssuer
    client_id: str
    scope: list[str]
    given_secret: bool

    def document(self) -> dict[str, Any]:
        """For machines."""
        fake = self.fake
        return {
            "issuer": fake.url,
            "metadata": fake.endpoints.url("discovery"),
            "jwks_uri": fake.jwks_uri,
            "authorization_endpoint": fake.authorization_endpoint,
            "token_endpoint": fake.token_endpoint,
            "introspection_endpoint": fake.introspection_endpoint,
            "revocation_endpoint": fake.revocation_endpoint,
            "audience": fake.audience,
            "client_id": self.client_id,
            "client_secret": None if self.given_secret else fake.client_secret,
            "people": list(fake.people),
            "swagger_ui_init_oauth": {
                "clientId": self.client_id,
                "scopes": " ".join(self.scope),
                "usePkceWithAuthorizationCodeGrant": True,
            },
            "environment": self.environment(),
            "curl": self.curl(),
        }

    def environment(self) -> dict[str, str]:
        """The settings of an API that trusts this issuer."""
        audience = self.fake.audience
        return {
            "TOKENGUARD_ISSUER": self.fake.url,
            "TOKENGUARD_AUDIENCE": audience if isinstance(audience, str) else " ".join(audience),
            "TOKENGUARD_ALLOW_INSECURE_HTTP": "true",
        }

    def curl(self) -> dict[str, str]:
        """Lines for a shell, in order: the first one sets TOKEN."""
        secret = f'"${_SECRET}"' if self.given_secret else shlex.quote(self.fake.client_secret)
        client = f"-u {shlex.quote(self.client_id)}:{secret}"
        scope = shlex.quote(f"scope={' '.join(self.scope)}")
        field = 'sed -E \'s/.*"access_token": *"([^"]*)".*/\\1/\''
        token = f"curl -s {client} -d grant_type=client_credentials --data-urlencode {scope} {self.fake.token_endpoint}"
        posted = '--data-urlencode "token=$TOKEN"'
        return {
            "token": f"TOKEN=$({token} | {field})",
            "call": 'curl -i -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8000/',
            "introspect": f"curl -s {client} {posted} {self.fake.introspection_endpoint}",
            "revoke": f"curl -s {client} {posted} {self.fake.revocation_endpoint}",
            "metadata": f"curl -s {self.fake.endpoints.url('discovery')}",
        }

    def print(self) -> None:
        """For people."""
        document = self.document()
        output.line("development issuer, on loopback only, never for production; Ctrl-C stops it", "bold")
        output.line()
        for name in (
            "issuer",
            "metadata",
            "jwks_uri",
            "authorization_endpoint",
            "token_endpoint",
            "introspection_endpoint",
            "revocation_endpoint",
        ):
            output.line(f"{name:23} {document[name]}")
        output.line(f"{'audience':23} {self.environment()['TOKENGUARD_AUDIENCE']}")
        output.line(f"{'client_id':23} {self.client_id}")
        output.line(f"{'client_secret':23} {document['client_secret'] or 'as in $' + _SECRET}")
        output.line(f"{'people':23} {', '.join(self.fake.people)} (no passwords)")
        output.line("\n# for the API")
        for name, value in self.environment().items():
            output.line(f"export {name}={shlex.quote(value)}")
        output.line("\n# for people, in Swagger")
        output.line(f"FastAPI(swagger_ui_init_oauth={document['swagger_ui_init_oauth']})")
        for name, command in self.curl().items():
            where = f", in a terminal where {_SECRET} is set" if _SECRET in command else ""
            output.line(f"\n# {name}{where}\n{command}")
