"""An API whose tokens are bound to the clients' certificates (RFC 8705), with gunicorn ending TLS. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    gunicorn --certfile api.pem --keyfile api.key --ca-certs clients-ca.pem --cert-reqs 2 examples.mtls_app:app

Behind a proxy that ends TLS, TOKENGUARD_MTLS_HEADER, TOKENGUARD_MTLS_FORMAT and TOKENGUARD_MTLS_TRUSTED set which field
holds the certificate, how it is written, and who may send it.
"""

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from tokenguard import AccessToken, MutualTLS, TokenValidator
from tokenguard.wsgi import BearerMiddleware

validator = TokenValidator.from_env()
if validator.mtls is None:
    validator = TokenValidator.from_env(mtls=MutualTLS(required=True))


def orders(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The caller, and its certificate."""
    token: AccessToken = environ["tokenguard.access_token"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{token.client_id} {token.confirmation.get('x5t#S256')}".encode()]


app = BearerMiddleware(orders, validator, scope="orders:read")
