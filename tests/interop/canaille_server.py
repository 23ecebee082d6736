"""A real authorization server (canaille, in memory) on a free loopback port, for test_servers.py.

Runs in the environment of `make interop-servers`. Prints its issuer when it listens. The client "app" gets opaque
tokens whose audience is "api"; "api" may introspect.
"""

import datetime as dt
import logging
import os

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # http, on loopback

from canaille import create_app
from canaille.app import models
from joserfc.jwk import RSAKey
from werkzeug.serving import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


serving = make_server("127.0.0.1", 0, None, threaded=True, request_handler=Quiet)
host = f"127.0.0.1:{serving.server_port}"
app = create_app(
    {
        "SECRET_KEY": "for this process alone",
        "SERVER_NAME": host,
        "PREFERRED_URL_SCHEME": "http",
        "CANAILLE": {"DATABASE": "memory", "LOGGING": {"version": 1}},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True)]},
    }
)
logging.disable(logging.CRITICAL)
with app.app_context():
    made = {}
    for name, secret in {"api": "api-secret", "app": "app-s3cret+%:&=/"}.items():
        client = models.Client(
            client_id=name,
            client_secret=secret,
            client_name=name,
            client_id_issued_at=dt.datetime.now(dt.UTC),
            grant_types=["client_credentials"],
            response_types=[],
            redirect_uris=[],
            scope=["orders:read", "orders:write"],
            token_endpoint_auth_method="client_secret_basic",
        )
        client.audience = [made.get("api", client)]
        app.backend.save(client)
        made[name] = client
serving.app = app
print(f"http://{host}", flush=True)
serving.serve_forever()
