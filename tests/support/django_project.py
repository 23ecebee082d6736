"""A Django project for tests: its settings are made once in a process, and changed by `override_settings` alone.

Import this before anything of Django that asks for settings (`rest_framework`, `ninja`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import django
from django.conf import settings
from raw_requests import Answer, Fields, ask_wsgi, http_scope

MIDDLEWARE = "tokenguard.django.BearerMiddleware"

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "corsheaders",
            "rest_framework",
            "tokenguard.django",
        ],
        MIDDLEWARE=[],
        ROOT_URLCONF=(),
        SECRET_KEY="for tests",
        USE_TZ=True,
    )
    django.setup()

from django.core.handlers.asgi import ASGIHandler  # noqa: E402 - Django's settings first
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.test import override_settings  # noqa: E402


class Project:
    """URL patterns, middleware and `TOKENGUARD` that are in use during each request to this project, and no longer."""

    def __init__(
        self, patterns: Sequence[Any], tokenguard: Mapping[str, Any], middleware: Sequence[str] = (), **more: Any
    ) -> None:
        self._settings = {"ROOT_URLCONF": tuple(patterns), "TOKENGUARD": tokenguard, **more}
        self._middleware = list(middleware)
        with self.in_use():
            self._wsgi, self._asgi = WSGIHandler(), ASGIHandler()

    def in_use(self) -> Any:
        return override_settings(MIDDLEWARE=self._middleware, **self._settings)

    def wsgi(self, method: str = "GET", path: str = "/", query: str = "", fields: Fields = (), **more: Any) -> Answer:
        with self.in_use():
            return ask_wsgi(self._wsgi, method, path, query, fields, **more)

    def asgi(self, method: str = "GET", path: str = "/", query: str = "", fields: Fields = (), **more: Any) -> Answer:
        with self.in_use():
            return asyncio.run(_ask(self._asgi, http_scope(method, path, query, fields, **more)))


async def _ask(app: Any, scope: dict[str, Any]) -> Answer:
    """One request. Django writes names of fields as they are, and ends a request whose client hangs up."""
    waiting = [{"type": "http.request", "body": more} for more in [scope.pop("body", b"")]]
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop() if waiting else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]]
    return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in rest), sent)
