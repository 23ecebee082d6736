"""What goes into a request that may pass, and into the answer to any.

Owns: where the token is, when CSRF protection is left out, rejections as `HttpResponse`, fields that answers need
besides. Must not know: which request may pass.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.cache import patch_vary_headers
from django.utils.module_loading import import_string

from tokenguard._adapters.behind import UNGUARDED
from tokenguard._adapters.guard import TOKEN_KEY
from tokenguard.challenge import Rejection, joined
from tokenguard.django.conf import Conf, current
from tokenguard.errors import ConfigurationError
from tokenguard.token import AccessToken

_FAILED: Final = 500


def admit(conf: Conf, request: Any, token: AccessToken | None) -> None:
    """Leave the token of a request that may pass where the application finds it."""
    request.access_token = token  # not by `__dict__`: once that is read, every attribute costs more
    place = getattr(request, "scope", None)
    (request.META if place is None else place)[TOKEN_KEY] = token
    # A browser sends `Authorization: Bearer` only if a script says so; a gateway's field comes with a cookie.
    if token is not None and conf.header is None:
        request._dont_enforce_csrf_checks = True  # noqa: SLF001 - what Django's own test client sets


class _Exempt:
    """`csrf_exempt` of a view under `require`: true unless a gateway's field holds the token, as settings are now."""

    def __bool__(self) -> bool:
        try:
            return current().header is None
        except ConfigurationError:
            return True  # the view answers 500


EXEMPT: Final = _Exempt()


def csrf_failure(request: HttpRequest, view: object) -> HttpResponseBase | None:
    """What Django answers to a request by a gateway's field that has no CSRF token, where none was checked yet.

    django-ninja and Django REST framework exempt all their views: they leave it to what lets a request in.
    """
    if (
        getattr(request, "csrf_processing_done", False)
        or _is_exempt(view)
        or not any(map(_is_csrf, settings.MIDDLEWARE))
    ):
        return None
    check: Any = CsrfViewMiddleware(HttpResponse)  # which is never made
    check.process_request(request)
    failure: HttpResponseBase | None = check.process_view(request, None, (), {})
    return failure


def _is_exempt(view: object) -> bool:
    """Whether the application has exempted `view`. Django REST framework exempts each of its own, which have `cls`."""
    return getattr(view, "csrf_exempt", False) is True and not isinstance(getattr(view, "cls", None), type)


@lru_cache
def _is_csrf(name: str) -> bool:
    kind = import_string(name)
    return isinstance(kind, type) and issubclass(kind, CsrfViewMiddleware)


def answer(request: HttpRequest, rejection: Rejection) -> HttpResponse:
    """A rejection as a response."""
    fields = joined(rejection.headers)
    body = b"" if getattr(request, "method", None) == "HEAD" else rejection.body
    response = HttpResponse(body, status=rejection.status, headers=fields)
    if "Content-Type" not in fields:
        del response["Content-Type"]
    if rejection.status != _FAILED:
        # The guard has logged it, bounded. Django would log each 503 as an error, and mail it to the administrators.
        vars(response)["_has_been_logged"] = True
    return response


def refused(conf: Conf | None, request: Any, error: Exception) -> HttpResponse:
    """The answer to a request that ended in `error`, which a guard has noted. `conf` is None where settings are bad."""
    if conf is None:
        return answer(request, UNGUARDED.note_and_reject(request, error))
    response = answer(request, conf.views.reject(error, request))
    if conf.adds_fields:
        finish(conf, request, response)
    return response


def finish(conf: Conf, request: HttpRequest, response: object) -> None:
    """Add what caches and clients need to know to an answer, where `conf.adds_fields`."""
    if not isinstance(response, HttpResponseBase):
        return  # Django objects to it
    if conf.header is not None:  # caches keep only answers to requests with `Authorization` apart (RFC 9111 3.5)
        patch_vary_headers(response, [conf.header])
        response.headers.setdefault("Cache-Control", "private")
    else:
        nonce = conf.middleware.nonce(request)
        if nonce is not None:
            response.headers.setdefault("DPoP-Nonce", nonce)
