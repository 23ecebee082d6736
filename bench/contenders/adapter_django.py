"""Django and Django REST framework: a request behind what does nothing, and behind ours. See `adapters.py`."""

from __future__ import annotations

from functools import wraps
from io import BytesIO
from typing import Any

from contest import Sample, Setup, contender, loop
from django.conf import settings

from contenders.ours import validator

_made: list[Any] = []

settings.configure(
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["tokenguard.django", "rest_framework"],
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
    ROOT_URLCONF=__name__,
    SECRET_KEY="for the benchmark",
    TOKENGUARD={"VALIDATOR": lambda: validator(_made[0]), "SCOPE": "orders:read"},
)

import django  # noqa: E402

django.setup()

from asgiref.sync import iscoroutinefunction, markcoroutinefunction  # noqa: E402
from django.core.handlers.asgi import ASGIHandler, ASGIRequest  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.permissions import AllowAny  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from tokenguard.django import require  # noqa: E402
from tokenguard.drf import BearerAuthentication, Requires  # noqa: E402

OURS = "tokenguard.django.BearerMiddleware"


class Empty:
    """What any middleware costs."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self.is_async:
            return self.call_async(request)
        return self.get_response(request)

    async def call_async(self, request: Any) -> Any:
        return await self.get_response(request)


def empty(view: Any) -> Any:
    """What any decorator costs."""

    @wraps(view)
    def around(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return around


class Anybody(BaseAuthentication):
    def authenticate(self, request: Any) -> Any:
        return self, None


def orders(request: Any) -> HttpResponse:
    return HttpResponse("ok")


async def orders_async(request: Any) -> HttpResponse:
    return HttpResponse("ok")


class Plain(APIView):
    authentication_classes = (Anybody,)
    permission_classes: Any = (AllowAny,)

    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("ok")


class Guarded(Plain):
    authentication_classes: Any = (BearerAuthentication,)
    permission_classes = (Requires("orders:read"),)


urlpatterns: list[Any] = []


def _routes(view: Any) -> Any:
    """A `ROOT_URLCONF` with one route: each pattern in front of another one takes time."""
    return (path("orders", view),)


def _wsgi(middleware: str | None, view: Any, setup: Setup) -> Sample:
    _made[:] = [setup]
    settings.MIDDLEWARE = [] if middleware is None else [middleware]
    handler, routes = WSGIHandler(), _routes(view)
    base = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/orders",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_AUTHORIZATION": f"Bearer {setup.corpus().tokens[0]}",
        "wsgi.input": BytesIO(),
        "wsgi.url_scheme": "http",
    }

    def sample(count: int) -> None:
        settings.ROOT_URLCONF = routes
        for _ in range(count):
            status = handler.get_response(WSGIRequest(base.copy())).status_code
            if status != 200:
                raise RuntimeError(f"a request was answered {status}")

    return sample


def _asgi(middleware: str, setup: Setup) -> Sample:
    _made[:] = [setup]
    settings.MIDDLEWARE = [middleware]
    handler, routes, running = ASGIHandler(), _routes(orders_async), loop()
    base = {
        "type": "http",
        "method": "GET",
        "path": "/orders",
        "raw_path": b"/orders",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {setup.corpus().tokens[0]}".encode())],
    }

    async def run(count: int) -> None:
        settings.ROOT_URLCONF = routes
        for _ in range(count):
            status = (await handler.get_response_async(ASGIRequest(base.copy(), BytesIO()))).status_code
            if status != 200:
                raise RuntimeError(f"a request was answered {status}")

    return lambda count: running.run_until_complete(run(count))


contender("django middleware, sync", "empty")(lambda setup: _wsgi(f"{__name__}.Empty", orders, setup))
contender("django middleware, sync", "tokenguard")(lambda setup: _wsgi(OURS, orders, setup))
contender("django middleware, async", "empty")(lambda setup: _asgi(f"{__name__}.Empty", setup))
contender("django middleware, async", "tokenguard")(lambda setup: _asgi(OURS, setup))
contender("django view", "empty")(lambda setup: _wsgi(None, empty(orders), setup))
contender("django view", "tokenguard")(lambda setup: _wsgi(None, require("orders:read")(orders), setup))
contender("drf", "empty")(lambda setup: _wsgi(None, Plain.as_view(), setup))
contender("drf", "tokenguard")(lambda setup: _wsgi(None, Guarded.as_view(), setup))
