"""The development issuer binds tokens to the keys and certificates of its clients, and an API checks them."""

from __future__ import annotations

import json
from base64 import b64encode

import httpx
import pytest
from raw_requests import ask_wsgi

import tokenguard.httpx
from tokenguard import DPoP, MutualTLS, ResourceRequest, wsgi
from tokenguard.client import TokenSource
from tokenguard.testing import FakeIssuer

BASE = "https://api.example.com"


def api(validator):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["tokenguard.access_token"].confirmation["jkt"].encode()]

    return wsgi.BearerMiddleware(app, validator)


class Api(httpx.BaseTransport):
    """A WSGI app as the other end of a client."""

    def __init__(self, app):
        self.app = app
        self.statuses = []

    def handle_request(self, request):
        fields = [(name.decode(), value.decode()) for name, value in request.headers.raw]
        answer = ask_wsgi(self.app, request.method, request.url.path, fields=fields)
        self.statuses.append(answer.status)
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


@pytest.mark.parametrize("secret", [None, "s" * 32], ids=["without nonces", "with nonces"])
def test_our_own_client_gets_a_bound_token_and_uses_it(secret):
    issuer = FakeIssuer()
    issuer.endpoints.dpop_nonce = "of-the-server" if secret else None
    source = TokenSource(
        issuer.url, issuer.client_id, issuer.client_secret, transport=issuer.transport, resource=BASE, dpop=True
    )
    guarded = Api(api(issuer.validator(dpop=DPoP(BASE, required=True, nonce_secret=secret))))
    auth = tokenguard.httpx.AccessTokenAuth(source, BASE)
    with httpx.Client(transport=guarded, auth=auth) as client:
        answers = [client.get(f"{BASE}/orders") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.text for answer in answers}) == 1
    assert guarded.statuses == ([401] if secret else []) + [200] * 3


def test_a_client_that_sends_a_certificate_gets_a_token_bound_to_it():
    issuer = FakeIssuer()
    certificate = bytes(range(48, 148))

    def asked(*fields):
        with httpx.Client(transport=issuer.transport) as client:
            return client.post(
                issuer.token_endpoint,
                data={"grant_type": "client_credentials", "resource": BASE},
                auth=(issuer.client_id, issuer.client_secret),
                headers=list(fields),
            )

    token = asked(("Client-Cert", f":{b64encode(certificate).decode()}:")).json()
    assert token["token_type"] == "Bearer"
    validator = issuer.validator(mtls=MutualTLS(required=True), audience=BASE)
    request = ResourceRequest("GET", "/", certificate=certificate)
    assert validator.validate(token["access_token"], request=request).confirmation
    refused = asked(("Client-Cert", "x"))
    assert (refused.status_code, json.loads(refused.content)["error"]) == (400, "invalid_request")
    assert "cnf" not in issuer.introspect(asked().json()["access_token"])
