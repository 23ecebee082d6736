"""npm oidc-provider as a process: an authorization server that none of us wrote, and clients of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from certificates import Authority
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from npm_packages import INTEROP, installed

from tokenguard import Introspection, Issuer, TokenValidator
from tokenguard.client import TokenSource

AUDIENCE = "https://api.example.com"
SIGNERS = {
    "RS256": (rsa.generate_private_key(public_exponent=65537, key_size=2048), jwt.algorithms.RSAAlgorithm),
    "ES256": (ec.generate_private_key(ec.SECP256R1()), jwt.algorithms.ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate(), jwt.algorithms.OKPAlgorithm),
}


class Provider:
    """The server process, and a client of it."""

    def __init__(self, authority: Authority | None = None) -> None:
        shared = {"grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}
        clients = [
            shared | {"client_id": "app", "client_secret": "app-secret"},
            shared | {"client_id": "api:1", "client_secret": "s3cret+%:&=/ ~*"},
            shared | {"client_id": "posting", "client_secret": "s", "token_endpoint_auth_method": "client_secret_post"},
        ]
        for algorithm, (key, kind) in SIGNERS.items():
            public = json.loads(kind.to_jwk(key.public_key())) | {"kid": f"{algorithm}-1", "use": "sig"}
            signing = {
                "client_id": f"signing-{algorithm}",
                "token_endpoint_auth_method": "private_key_jwt",
                "token_endpoint_auth_signing_alg": algorithm,
                "jwks": {"keys": [public]},
            }
            clients.append(shared | signing)
        config: dict[str, Any] = {"clients": clients}
        if authority is not None:
            bound = {
                "client_id": "mutual",
                "token_endpoint_auth_method": "tls_client_auth",
                "tls_client_auth_subject_dn": "CN=mutual",
                "tls_client_certificate_bound_access_tokens": True,
            }
            clients.append(shared | bound)
            certificate, key, _ = authority.issue("server")
            config["tls"] = {"cert": certificate.read_text(), "key": key.read_text(), "ca": authority.path.read_text()}
        self.process = subprocess.Popen(
            ["node", "server.mjs"],
            cwd=INTEROP,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.process.stdin.write(json.dumps(config) + "\n")
        self.process.stdin.flush()
        self.url = self.process.stdout.readline().strip()
        assert self.url, "oidc-provider did not start: run node server.mjs in tests/interop to see why"
        self.http = httpx.Client(base_url=self.url, auth=("app", "app-secret"), trust_env=False, timeout=60)

    def close(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.communicate(timeout=10)

    def token(self, scope: str = "orders:read", **wanted: object) -> str:
        resource = "https://api.example.com/?" + urlencode(wanted)
        answer = self.http.post(
            "/token", data={"grant_type": "client_credentials", "scope": scope, "resource": resource}
        )
        return answer.raise_for_status().json()["access_token"]

    def revoke(self, token: str) -> None:
        self.http.post("/token/revocation", data={"token": token}).raise_for_status()

    def rotate(self, *, keep: bool) -> None:
        self.http.post("/test/rotate" + ("?keep=1" if keep else "")).raise_for_status()

    def validator(self, introspection: Introspection | None = None, **settings: Any) -> TokenValidator:
        return TokenValidator(
            Issuer(self.url, introspection=introspection),
            **{"audience": AUDIENCE, "allow_insecure_http": True} | settings,
        )


@contextmanager
def running(authority: Authority | None = None) -> Iterator[Provider]:
    """The server while the block lasts, with `authority` by mutual TLS too. Skips where Node is missing, not in CI."""
    if not all(map(installed, ("oidc-provider", "oauth4webapi"))):
        assert "CI" not in os.environ, "Node is missing: the interop tests must run here"
        pytest.skip("needs Node and npm, and its registry at the first run: apt-get install nodejs npm")
    provider = Provider(authority)
    try:
        yield provider
    finally:
        provider.close()


def source(
    provider: Provider, client_id: str = "app", client_secret: Any = "app-secret", **settings: Any
) -> TokenSource:
    """A source for the API of these tests."""
    settings = {
        "scope": "orders:read",
        "resource": "https://api.example.com/?",
        "allow_insecure_http": True,
        **settings,
    }
    return TokenSource(provider.url, client_id, client_secret, **settings)
