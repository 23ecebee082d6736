"""Django middleware: no request reaches a view without a good token.

Owns: `BearerMiddleware`, sync and async. Must not know: settings (see `conf`), answers (see `answers`), what makes a
token good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import get_resolver

from tokenguard._adapters.guard import TOKEN_KEY
from tokenguard.django.answers import admit, answer, finish, refused
from tokenguard.django.conf import Conf, current
from tokenguard.errors import TokenGuardError
from tokenguard.token import AccessToken


class BearerMiddleware:
    """Guards every request but those to public paths. Write `"tokenguard.django.BearerMiddleware"` into `MIDDLEWARE`,
    before `CsrfViewMiddleware` and behind CORS middleware.

    `request.access_token` is the `AccessToken`, or None on public paths and where `OPTIONAL` let a request through;
    `request.user` is left alone. No method is exempt: HEAD and OPTIONS, CORS preflights too, need a token. A request
    whose token came in `Authorization` needs no CSRF token.

    Sync and async by itself: no thread and no loop is started for a request. Whatever goes wrong in the guard is a
    rejection. A `TokenGuardError` that a view raises is answered as one of the guard's, unless `process_exception` of a
    middleware behind this one answers it.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self,
        get_response: Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]],
    ) -> None:
        self._get_response: Callable[[HttpRequest], Any] = get_response
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated] - needed in 3.11
        if self._is_async:
            markcoroutinefunction(cast("Any", self))

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """One request."""
        if self._is_async:
            return self._call_async(request)
        conf = None
        try:
            conf = current()
            guard = conf.middleware
            if guard.metadata is not None and (served := guard.serve(request, get_resolver())) is not None:
                return answer(request, served)
            token = guard.validate(request, guard.required)
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            return refused(conf, request, error)
        _admit(conf, request, token)
        response: HttpResponseBase = self._get_response(request)
        if conf.adds_fields:
            finish(conf, request, response)
        return response

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        conf = None
        try:
            conf = current()
            guard = conf.middleware
            if guard.metadata is not None and (served := guard.serve(request, get_resolver())) is not None:
                return answer(request, served)
            begun = guard.begin_async(request, guard.required)
            token = begun if begun is None or isinstance(begun, AccessToken) else await begun
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            return refused(conf, request, error)
        _admit(conf, request, token)
        response: HttpResponseBase = await self._get_response(request)
        if conf.adds_fields:
            finish(conf, request, response)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer an error of ours that the application raised. Called by Django, for views only."""
        if not isinstance(exception, TokenGuardError):
            return None
        conf = current()
        conf.middleware.note(request, conf.reader.kept(request, TOKEN_KEY), exception)
        return refused(conf, request, exception)


def _admit(conf: Conf, request: Any, token: AccessToken | None) -> None:
    admit(conf, request, token)
    request.tokenguard_passed = conf
