"""Any WSGI application behind the middleware, no framework. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    gunicorn --chdir examples wsgi_app:app
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tokenguard import AccessToken, TokenValidator
from tokenguard.wsgi import BearerMiddleware

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


def orders(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    token: AccessToken | None = environ["tokenguard.access_token"]  # None on public paths
    body = json.dumps({"subject": token.subject if token else None}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


app = BearerMiddleware(orders, TokenValidator.from_env(), scope="orders:read", public=["/health", "/docs/*"])
