"""The same view behind Django: `soak.django_app:application` by gunicorn, `soak.django_app:asgi` by uvicorn."""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from soak.app import make_validator

settings.configure(
    SECRET_KEY="for this process alone",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["tokenguard.django.BearerMiddleware"],
    TOKENGUARD={"VALIDATOR": make_validator},
    LOGGING_CONFIG=None,
)


def ok(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"ok", headers={"Content-Length": "2"})


urlpatterns = [path("", ok)]
application = get_wsgi_application()
asgi = get_asgi_application()
