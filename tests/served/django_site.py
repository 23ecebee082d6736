"""A Django project behind django-cors-headers, in one module: `wsgi` and `asgi` are its applications."""

import os

from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    CORS_ALLOWED_ORIGINS=["https://app.example.com"],
    CORS_EXPOSE_HEADERS=["WWW-Authenticate", "DPoP-Nonce"],
    INSTALLED_APPS=["corsheaders", "tokenguard.django"],
    MIDDLEWARE=[
        "corsheaders.middleware.CorsMiddleware",
        "tokenguard.django.BearerMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
    TOKENGUARD={
        "ISSUER": os.environ["TOKENGUARD_ISSUER"],
        "AUDIENCE": os.environ["TOKENGUARD_AUDIENCE"],
        "ALLOW_INSECURE_HTTP": os.environ["TOKENGUARD_ALLOW_INSECURE_HTTP"],
        "PUBLIC": ["/health", "/docs/*"],
    },
)

from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

from tokenguard.django import require  # noqa: E402

wsgi, asgi = get_wsgi_application(), get_asgi_application()

if "PRELOADED" in os.environ:  # the settings are read, keys fetched and connections open before workers are forked
    from tokenguard.django.conf import current

    current().validator.warm_up()


def said(request, **_):
    token = request.access_token
    return JsonResponse({"pid": os.getpid(), "subject": token and token.subject})


@require("orders:read")
def orders(request):
    return said(request)


@require("orders:read")
async def orders_async(request):
    return said(request)


urlpatterns = [
    path("health", said),
    path("docs/<path:rest>", said),
    path("orders", orders),
    path("async", orders_async),
]
