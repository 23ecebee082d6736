"""django-ninja: `require` under its `decorate_view`, sync and async."""

from __future__ import annotations

import asyncio

import pytest

from django_project import MIDDLEWARE, Project  # isort: skip - Django's settings first

from django.http import HttpResponse
from django.urls import path
from ninja import NinjaAPI, Router
from ninja.decorators import decorate_view
from ninja.testing import TestAsyncClient, TestClient
from observed_validators import WAYS
from request_table import ISSUER as TABLE_ISSUER
from request_table import REQUESTS, SETTINGS, bearer, over_http

from tokenguard import InsufficientScopeError, ResourceMetadata, TokenGuardError
from tokenguard.django import require
from tokenguard.testing import Clock, FakeIssuer

ISSUER = FakeIssuer(clock=Clock())
GIVEN = {"VALIDATOR": ISSUER.validator(), "REALM": "orders"}
SCOPES = ("orders:read", "orders:write")


def api_of(*requirements, **settings):
    api = NinjaAPI(urls_namespace=str(id(requirements)) + str(len(settings)), **settings)

    @api.get("/sync")
    @decorate_view(require(*requirements))
    def sync(request, page: int = 1):
        return {"client": request.access_token.client_id, "page": page}

    @api.get("/async")
    @decorate_view(require(*requirements))
    async def asynchronous(request, page: int = 1):
        return {"client": request.access_token.client_id, "page": page}

    @api.get("/above")
    def above(request):
        return {"client": request.access_token.client_id}

    decorate_view(require(*requirements))(above)

    @api.post("/sync")  # of one path view with /sync, and not guarded
    def created(request):
        return {"created": True}

    return api


def project(api, given=GIVEN, middleware=()):
    return Project([path("api/", api.urls)], given, middleware)


@pytest.fixture(scope="module")
def used():
    return project(api_of("a"))


PATHS = ("/api/sync", "/api/async", "/api/above")


def test_operations_are_guarded(used):
    for ask in (used.wsgi, used.asgi):
        for at in PATHS:
            fields = bearer(ISSUER.mint("a"))
            assert ask(path=at, fields=fields).body.startswith(b'{"client": "client"')
            assert ask(path=at, fields=bearer(ISSUER.mint("b"))).status == 403
            assert ask(path=at).header("www-authenticate") == 'Bearer realm="orders"'
            assert ask(path=at, fields=bearer(ISSUER.expired())).status == 401
        assert ask("POST", "/api/sync").body == b'{"created": true}'
        # A parameter is only looked at once the token is good.
        assert ask(path="/api/sync", query="page=x").status == 401
        assert ask(path="/api/sync", query="page=x", fields=bearer(ISSUER.mint("a"))).status == 422


@pytest.mark.parametrize("way", WAYS)
def test_the_table_of_requests(way):
    settings = {name.upper(): value for name, value in SETTINGS.items()}
    used = project(api_of(*SCOPES), {"VALIDATOR": WAYS[way](TABLE_ISSUER.validator()), **settings})
    for row, (query, fields, error) in REQUESTS.items():
        for ask, at in ((used.wsgi, "/api/sync"), (used.asgi, "/api/async")):
            if ask == used.asgi or "twice" not in row:
                assert ask("GET", at, query, fields).verdict == over_http(error, "GET", **SETTINGS), row


def test_threat_134_an_async_guard_is_awaited():
    """What ninja's `auth=` takes for yes: a coroutine is truthy. A decorator that was not called is no guard either."""
    api = NinjaAPI(urls_namespace="auth", auth=require("a"))

    @api.get("/sync")
    def sync(request):
        raise AssertionError("reached")

    @api.get("/async")
    async def asynchronous(request):
        raise AssertionError("reached")

    used = project(api)
    for ask in (used.wsgi, used.asgi):
        for at in ("/api/sync", "/api/async"):
            for fields in ((), bearer(ISSUER.mint("a"))):
                assert ask(path=at, fields=fields).status == 500


def raise_in_operations(api):
    """Two operations that raise an error of ours, behind a guard that lets a token pass."""

    @api.get("/sync")
    @decorate_view(require())
    def sync(request):
        raise InsufficientScopeError(("x",))

    @api.get("/async")
    @decorate_view(require())
    async def asynchronous(request):
        raise InsufficientScopeError(("x",))


def test_errors_of_ours_out_of_an_operation():
    def raising(own):
        api = NinjaAPI(urls_namespace=f"raising{own}")

        raise_in_operations(api)
        if own:

            @api.exception_handler(InsufficientScopeError)
            def answer(request, error):
                return HttpResponse(status=418)

        return api

    for own in (False, True):
        for middleware in ([], [MIDDLEWARE]):
            used = project(raising(own), middleware=middleware)
            for ask in (used.wsgi, used.asgi):
                for at in ("/api/sync", "/api/async"):
                    answer = ask(path=at, fields=bearer(ISSUER.mint()))
                    if own:
                        assert answer.status == 418
                    else:
                        expected = over_http(InsufficientScopeError(("x",)), "GET", realm="orders")
                        assert answer.verdict == expected


def test_under_debug_ninja_answers_errors_unless_a_handler_raises_them_again():
    def raises(request, error):
        raise error

    for is_handled, status in ((False, 500), (True, 403)):
        api = NinjaAPI(urls_namespace=f"debug{is_handled}")
        if is_handled:
            api.add_exception_handler(TokenGuardError, raises)

        raise_in_operations(api)
        used = Project([path("api/", api.urls)], GIVEN, DEBUG=True)
        for ask in (used.wsgi, used.asgi):
            for at in ("/api/sync", "/api/async"):
                assert ask(path=at, fields=bearer(ISSUER.mint())).status == status


def test_ninjas_own_test_client():
    """It has no middleware, and keeps the case of field names."""
    api = NinjaAPI(urls_namespace="own client")
    called = []

    def by(token, request, now):
        called.append(dict(request.headers)["x-caller"])

    @api.get("/sync")
    @decorate_view(require("a", by))
    def sync(request):
        return request.access_token.client_id

    @api.get("/async")
    @decorate_view(require("a"))
    async def asynchronous(request):
        return request.access_token.client_id

    used = TestClient(api), TestAsyncClient(api)
    with project(api).in_use():
        for name in ("AUTHORIZATION", "Authorization", "authorization"):
            for token, status in (("x", 401), (ISSUER.mint("a"), 200)):
                fields = {name: f"Bearer {token}", "X-Caller": name}
                assert used[0].get("/sync", headers=fields).status_code == status
                assert asyncio.run(used[1].get("/async", headers=fields)).status_code == status
        assert used[0].get("/sync").status_code == asyncio.run(used[1].get("/async")).status_code == 401
    assert called == ["AUTHORIZATION", "Authorization", "authorization"]


def test_behind_the_middleware_an_operation_needs_nothing():
    api = NinjaAPI(urls_namespace="behind")

    @api.post("/orders")
    def orders(request):
        return request.access_token.client_id

    csrf = "django.middleware.csrf.CsrfViewMiddleware"
    used = project(api, middleware=[MIDDLEWARE, csrf])
    for ask in (used.wsgi, used.asgi):
        assert ask("POST", "/api/orders", fields=bearer(ISSUER.mint())).body == b'"client"'
        assert ask("POST", "/api/orders").status == 401
        assert ask(path="/api/docs").status == 401


def test_threat_141_a_gateways_field_needs_a_csrf_token():
    """ninja exempts all its views; what a gateway puts into a field comes with a cookie."""
    api = NinjaAPI(urls_namespace="csrf")

    @api.post("/sync")
    @decorate_view(require())
    def sync(request):
        return "in"

    @api.post("/async")
    @decorate_view(require())
    async def asynchronous(request):
        return "in"

    csrf, given = "django.middleware.csrf.CsrfViewMiddleware", {**GIVEN, "HEADER": "X-Gateway"}
    field, cookie = ("X-Gateway", ISSUER.mint()), ("Cookie", "csrftoken=" + "a" * 32)
    for middleware, status in (([csrf], 403), ([MIDDLEWARE, csrf], 403), ([], 200), ([MIDDLEWARE], 200)):
        used = project(api, given, middleware)
        for ask in (used.wsgi, used.asgi):
            for at in ("/api/sync", "/api/async"):
                assert ask("POST", at, fields=[field, cookie]).status == status
                assert ask("POST", at, fields=[cookie]).status == 401
                assert ask("POST", at, fields=[field, cookie, ("X-CSRFToken", "a" * 32)]).status == 200
    used = project(api, GIVEN, [csrf])
    for ask in (used.wsgi, used.asgi):
        assert ask("POST", "/api/sync", fields=bearer(ISSUER.mint())).status == 200


def test_a_router_that_is_mounted_twice_is_guarded_twice():
    router = Router()

    @router.get("/orders")
    @decorate_view(require("a"))
    def orders(request):
        return request.access_token.client_id

    api = NinjaAPI(urls_namespace="twice")
    api.add_router("/one", router)
    api.add_router("/two", router, url_name_prefix="two")
    used = project(api)
    for at in ("/api/one/orders", "/api/two/orders"):
        assert used.wsgi(path=at).status == 401
        assert used.wsgi(path=at, fields=bearer(ISSUER.mint("a"))).body == b'"client"'


def test_the_metadata_lists_the_scopes_of_operations():
    metadata = ResourceMetadata(ISSUER.audience)
    used = project(api_of("a", "b"), {**GIVEN, "RESOURCE_METADATA": metadata}, [MIDDLEWARE])
    assert b'"scopes_supported":["a","b"]' in used.wsgi(path=metadata.path).body
