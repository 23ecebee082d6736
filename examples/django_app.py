"""Django in one file: the middleware guards every path, a decorator asks for scopes. Run it with

TOKENGUARD_ISSUER=https://auth.example.com/ TOKENGUARD_AUDIENCE=https://api.example.com \
    uvicorn django_app:app --app-dir examples

or, with threads in place of an event loop, `gunicorn --chdir examples django_app:wsgi_app`.
"""

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from tokenguard import TokenValidator
from tokenguard.django import require

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["tokenguard.django"],  # for `manage.py check`
    MIDDLEWARE=[
        "tokenguard.django.BearerMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for this example",
    TOKENGUARD={"VALIDATOR": TokenValidator.from_env, "PUBLIC": "/health"},
)


def health(_: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "up"})


def me(request: Any) -> JsonResponse:
    return JsonResponse({"subject": request.access_token.subject})


@require("orders:read")
async def orders(request: Any) -> JsonResponse:
    return JsonResponse({"orders": [f"of {request.access_token.subject}"]})


urlpatterns = [path("health", health), path("me", me), path("orders", orders)]
app = get_asgi_application()
wsgi_app = get_wsgi_application()
