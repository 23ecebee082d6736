"""A real authorization server (django-oauth-toolkit) on a free loopback port, for test_servers.py.

Runs in the environment of `make interop-servers`. Prints its issuer when it listens. The client "app" gets opaque
tokens; "api" may introspect. Its OpenID Connect metadata is below /o, where the page of the project puts it.
"""

import os
import tempfile
from pathlib import Path

import django
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from werkzeug.serving import WSGIRequestHandler, make_server

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # http, on loopback
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
settings.configure(
    SECRET_KEY="for this process alone",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(tempfile.mkdtemp(), "db.sqlite3"),
            "OPTIONS": {"timeout": 20},
        }
    },
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "oauth2_provider",
    ],
    MIDDLEWARE=[],
    LOGGING_CONFIG=None,
    OAUTH2_PROVIDER={
        "SCOPES": {"orders:read": "read", "orders:write": "write", "introspection": "ask about tokens"},
        "OIDC_ENABLED": True,
        "OIDC_RSA_PRIVATE_KEY": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "ACCESS_TOKEN_EXPIRE_SECONDS": 300,
    },
)
django.setup()

from django.core.management import call_command
from django.urls import include, path
from oauth2_provider.models import get_application_model
from oauth2_provider.urls import metadata_urlpatterns

urlpatterns = [
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("", include((metadata_urlpatterns, "oauth2_provider"), namespace="metadata")),  # RFC 8414 section 3.1
]

call_command("migrate", verbosity=0)
for name, secret in {"app": "app-s3cret+%:&=/", "api": "api-secret"}.items():
    get_application_model().objects.create(
        client_id=name,
        client_secret=secret,
        name=name,
        client_type="confidential",
        authorization_grant_type="client-credentials",
    )


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


serving = make_server("127.0.0.1", 0, get_wsgi_application(), threaded=True, request_handler=Quiet)
print(f"http://127.0.0.1:{serving.server_port}/o", flush=True)
serving.serve_forever()
