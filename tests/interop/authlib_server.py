"""A real authorization server (Authlib, as Flask applications use it) on a free loopback port, for test_servers.py.

Runs in the environment of `make interop-servers`. Prints its issuer when it listens. "app" and "posting" get JWTs by
RFC 9068, "opaque" opaque tokens; "api" may introspect. POST /test/rotate replaces the signing key while it serves.
"""

import os
import secrets
import time
import uuid

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # http, on loopback

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientCredentialsGrant, ClientMixin, TokenMixin
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, jsonify
from joserfc.jwk import ECKey, KeySet
from werkzeug.serving import WSGIRequestHandler, make_server

AUDIENCE = "https://api.example.com"
SECRETS = {"app": "app-s3cret+%:&=/", "opaque": "opaque-secret", "posting": "a space + more", "api": "api-secret"}


class Client(ClientMixin):
    def __init__(self, name):
        self.name = name

    def get_client_id(self):
        return self.name

    def get_allowed_scope(self, scope):
        return " ".join(one for one in (scope or "").split() if one in ("orders:read", "orders:write"))

    def check_client_secret(self, secret):
        return secrets.compare_digest(secret.encode(), SECRETS[self.name].encode())

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"


class Token(dict, TokenMixin):
    def check_client(self, client):
        return True

    def is_expired(self):
        return self["issued"] + self["expires_in"] <= time.time()

    def is_revoked(self):
        return self["revoked"]


app = Flask(__name__)
app.config["OAUTH2_SCOPES_SUPPORTED"] = ["orders:read", "orders:write"]
tokens = {}
keys = []


def rotate():
    keys[:] = [ECKey.generate_key("P-256", {"kid": str(uuid.uuid4()), "use": "sig", "alg": "ES256"})]


def save_token(token, sent):
    tokens[token["access_token"]] = Token(token, client_id=sent.client.name, issued=int(time.time()), revoked=False)


class Grant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class Generator(JWTBearerTokenGenerator):
    def get_jwks(self):
        return KeySet(keys)

    def get_audiences(self, client, user, scope):
        return AUDIENCE


class Tokens:
    """JWTs for one client, opaque tokens for the other."""

    def __init__(self, issuer):
        self.jwt = Generator(issuer, alg="ES256")
        self.opaque = BearerTokenGenerator(lambda **_: secrets.token_urlsafe(32))

    def __call__(self, grant_type, client, **settings):
        settings.pop("include_refresh_token", None)
        maker = self.opaque if client.name == "opaque" else self.jwt
        return maker(grant_type, client, include_refresh_token=False, **settings)


class Introspection(IntrospectionEndpoint):
    def query_token(self, token, hint):
        return tokens.get(token)

    def check_permission(self, token, client, sent):
        return client.name == "api"

    def introspect_token(self, token):
        return {
            "active": True,
            "client_id": token["client_id"],
            "token_type": token["token_type"],
            "scope": token["scope"],
            "aud": AUDIENCE,
            "iss": issuer,
            "exp": token["issued"] + token["expires_in"],
            "iat": token["issued"],
        }


class Revocation(RevocationEndpoint):
    def query_token(self, token, hint):
        return tokens.get(token)

    def revoke_token(self, token, sent):
        token["revoked"] = True


@app.post("/token")
def token():
    return server.create_token_response()


@app.post("/introspect")
def introspect():
    return server.create_endpoint_response("introspection")


@app.post("/revoke")
def revoke():
    return server.create_endpoint_response("revocation")


@app.get("/jwks")
def jwks():
    return jsonify(KeySet(keys).as_dict(private=False))


@app.get("/.well-known/oauth-authorization-server")
def metadata():
    return jsonify(
        issuer=issuer,
        token_endpoint=f"{issuer}/token",
        introspection_endpoint=f"{issuer}/introspect",
        revocation_endpoint=f"{issuer}/revoke",
        jwks_uri=f"{issuer}/jwks",
        response_types_supported=[],
        grant_types_supported=["client_credentials"],
    )


@app.post("/test/rotate")
def test_rotate():
    rotate()
    return ""


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


rotate()
serving = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
issuer = f"http://127.0.0.1:{serving.server_port}"
server = AuthorizationServer(
    app, query_client=lambda name: Client(name) if name in SECRETS else None, save_token=save_token
)
server.register_token_generator("default", Tokens(issuer))
server.register_grant(Grant)
server.register_endpoint(Introspection)
server.register_endpoint(Revocation)
print(issuer, flush=True)
serving.serve_forever()
