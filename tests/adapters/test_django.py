"""Django: what the table of requests does not ask. Settings, CSRF, views of every kind, where the token is."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial

import pytest
from django.core.cache import cache
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, transaction
from django.db.backends.signals import connection_created
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import include, path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.debug import SafeExceptionReporterFilter
from django.views.decorators.cache import cache_page
from django.views.decorators.csrf import csrf_exempt, csrf_protect, ensure_csrf_cookie
from django.views.decorators.vary import vary_on_headers
from django_project import MIDDLEWARE, Project
from raw_requests import http_scope
from request_table import bearer, over_http

from tokenguard import (
    ConfigurationError,
    DPoP,
    InsufficientScopeError,
    InvalidRequestError,
    KeysUnavailableError,
    MissingTokenError,
    MutualTLS,
    Reason,
    ResourceMetadata,
    TokenValidator,
    audit,
)
from tokenguard._adapters.marks import marks
from tokenguard.django import BearerMiddleware, require
from tokenguard.django import conf as django_conf
from tokenguard.requirements import Role
from tokenguard.testing import Clock, FakeIssuer

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
GIVEN = {"VALIDATOR": VALIDATOR, "REALM": "orders"}
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
GATEWAY = "X-Gateway-Token"


def good(scope="a"):
    return bearer(ISSUER.mint(scope))


def reached(request, **_):
    return HttpResponse("reached")


async def reached_async(request, **_):
    return HttpResponse("reached")


def shown(request):
    token = request.access_token
    return HttpResponse("none" if token is None else token.client_id)


def both(project):
    """The project under WSGI and under ASGI."""
    return [project.wsgi, project.asgi]


# -- the middleware ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind():
    patterns = [path("", shown), path("docs/<path:rest>", reached), path("sync", shown), path("async", reached_async)]
    return Project(patterns, {**GIVEN, "SCOPE": "a", "PUBLIC": ["/docs/*", "/sync"]}, [MIDDLEWARE])


def test_the_view_finds_the_token(behind):
    for ask in both(behind):
        assert ask(fields=good()).body == b"client"
        assert ask(path="/sync").body == b"none"  # public
        assert ask(path="/sync", fields=good()).body == b"none"


@pytest.mark.parametrize(
    "raw", ["/docs/a%2Fb", "/docs/a%5cb", "/docs//a", "/docs/../sync", "/docs/%ff", "/docsx", "//docs/a"]
)
def test_an_odd_path_is_not_public(behind, raw):
    for ask in both(behind):
        assert ask(path="/docs/a").status == 200
        assert ask(path=raw).status == 401


def test_no_method_is_exempt(behind):
    for ask in both(behind):
        for method in ("HEAD", "OPTIONS", "TRACE", "PATCH"):
            answer = ask(method)
            assert (answer.status, answer.body == b"") == (401, method == "HEAD")
            assert answer.header("content-length") == ask("GET").header("content-length")


def test_what_no_view_answers_needs_a_token_too(behind):
    for ask in both(behind):
        assert ask(path="/nowhere").status == 401
        assert ask(path="/nowhere", fields=good()).status == 404


def test_the_path_is_public_that_the_router_routes_by():
    given = {**GIVEN, "PUBLIC": "/health"}
    patterns = [path("health", reached), path("x/health", reached)]
    project = Project(patterns, given, [MIDDLEWARE])
    assert project.wsgi(path="/health", SCRIPT_NAME="/x").status == 200
    assert project.wsgi(path="/x/health").status == 401
    assert project.asgi(path="/x/health", root_path="/x").status == 200
    assert project.asgi(path="/x/health").status == 401
    forced = Project(patterns, given, [MIDDLEWARE], FORCE_SCRIPT_NAME="/x")
    assert forced.wsgi(path="/health").status == forced.asgi(path="/x/health").status == 200
    assert forced.asgi(path="/y/health").status == 401


def test_optional_lets_a_request_without_credentials_through():
    project = Project([path("", shown)], {**GIVEN, "OPTIONAL": True}, [MIDDLEWARE])
    for ask in both(project):
        assert ask().body == b"none"
        assert ask(fields=good()).body == b"client"
        assert ask(fields=bearer("x")).status == 401


def test_nothing_stands_between_the_middleware_and_the_mode_of_its_server(caplog):
    """Django logs at DEBUG what it adapts: a thread or a loop for each request."""
    caplog.set_level(logging.DEBUG, "django.request")
    with override_settings(MIDDLEWARE=[MIDDLEWARE], DEBUG=True):
        WSGIHandler()
        ASGIHandler()
    assert not [record for record in caplog.records if "adapted" in record.getMessage()]


def test_validation_happens_where_the_view_runs():
    seen = []

    class Watched:
        def validate(self, raw, **_):
            seen.append(("sync", threading.get_ident()))
            return VALIDATOR.validate(raw)

        async def validate_async(self, raw, **_):
            seen.append(("async", threading.get_ident()))
            return await VALIDATOR.validate_async(raw)

    def view(request):
        seen.append(("view", threading.get_ident()))
        return HttpResponse()

    async def view_async(request):
        return view(request)

    for middleware in ([MIDDLEWARE], []):
        guard = require() if not middleware else lambda one: one
        project = Project(
            [path("sync", guard(view)), path("async", guard(view_async))], {"VALIDATOR": Watched()}, middleware
        )
        for ask, at, way in ((project.wsgi, "/sync", "sync"), (project.asgi, "/async", "async")):
            seen.clear()
            assert ask(path=at, fields=good()).status == 200
            assert [name for name, _ in seen] == [way, "view"]
            assert len({thread for _, thread in seen}) == 1


class Around:
    """Middleware that stands in front of ours."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        assert isinstance(response, HttpResponse)
        response["X-Around"] = str(response.status_code)
        return response


def test_middleware_in_front_sees_an_ordinary_response():
    project = Project(
        [path("", reached)], GIVEN, [f"{__name__}.Around", "django.middleware.gzip.GZipMiddleware", MIDDLEWARE]
    )
    for ask in both(project):
        assert ask().header("x-around") == "401"
        assert ask(fields=good()).header("x-around") == "200"


@pytest.mark.parametrize("thing", [None, object(), HttpRequest(), "request"], ids=repr)
def test_what_is_no_request_with_a_token_is_rejected(thing):
    passed = []
    guard = BearerMiddleware(passed.append)
    with override_settings(TOKENGUARD=GIVEN):
        assert guard(thing).status_code == (401 if isinstance(thing, HttpRequest) else 500)
    assert passed == []


def test_a_view_that_returns_something_unexpected():
    async def nothing_async(request):
        return None

    for middleware, guard in (([MIDDLEWARE], lambda one: one), ([], require())):
        patterns = [path("sync", guard(lambda request: None)), path("async", guard(nothing_async))]
        for given in (GIVEN, {**GIVEN, "HEADER": GATEWAY}):
            project = Project(patterns, given, middleware)
            fields = [*good(), (GATEWAY, ISSUER.mint("a"))]
            assert project.wsgi(path="/sync", fields=fields).status == 500
            assert project.asgi(path="/async", fields=fields).status == 500


# -- under ASGI, what `META` does not have -----------------------------------------------------------------------------


def test_two_fields_are_several_under_asgi_whatever_their_scheme(behind):
    fields = [("Authorization", "Basic dTpw"), ("Authorization", "Basic dTpw")]
    expected = over_http(InvalidRequestError(reason=Reason.MULTIPLE), "GET", realm="orders")
    assert behind.asgi(fields=fields).verdict == expected


def test_a_query_as_text_is_what_the_test_client_gives():
    with override_settings(TOKENGUARD=GIVEN, MIDDLEWARE=[MIDDLEWARE], ROOT_URLCONF=(path("", shown),)):
        client, headers = AsyncClient(), {"Authorization": f"Bearer {ISSUER.mint('a')}"}
        assert asyncio.run(client.get("/", headers=headers)).content == b"client"
        assert asyncio.run(client.get("/?access_token=x", headers=headers)).status_code == 400
        assert asyncio.run(client.get("/")).status_code == 401
        assert Client(headers=headers).get("/").content == b"client"


# -- CSRF --------------------------------------------------------------------------------------------------------------


def posted(middleware, view, given=GIVEN, fields=None, **more):
    """A POST without a CSRF token, from a client that has a cookie, under WSGI and ASGI: one status."""
    fields = good() if fields is None else fields
    project = Project([path("", view)], given, middleware, **more)
    statuses = {ask("POST", fields=[*fields, ("Cookie", "csrftoken=" + "a" * 32)]).status for ask in both(project)}
    [status] = statuses
    return status


HEADER = {**GIVEN, "HEADER": GATEWAY}
BY_GATEWAY = [(GATEWAY, ISSUER.mint("a"))]


def test_a_good_token_in_authorization_needs_no_csrf_token():
    assert posted([CSRF], reached) == 403  # Django's own
    assert posted([MIDDLEWARE, CSRF], reached) == 200
    assert posted([MIDDLEWARE, CSRF], csrf_protect(reached)) == 200
    assert posted([CSRF], require("a")(reached)) == 200
    assert posted([CSRF], require("a")(reached_async)) == 200
    assert posted([MIDDLEWARE, CSRF], require("a")(reached)) == 200
    assert posted([], require("a")(csrf_protect(reached))) == 200  # which asks again, behind the guard
    assert posted([], csrf_protect(require("a")(reached))) == 200
    assert posted([], require("a")(csrf_protect(reached)), HEADER, BY_GATEWAY) == 403


def test_without_a_token_nothing_is_exempted():
    public = {**GIVEN, "PUBLIC": "/"}
    assert posted([MIDDLEWARE, CSRF], reached, public) == 403  # also with a token: nobody looked at it
    assert posted([MIDDLEWARE, CSRF], reached, {**GIVEN, "OPTIONAL": True}, ()) == 403
    assert posted([MIDDLEWARE, CSRF], reached, {**GIVEN, "OPTIONAL": True}) == 200
    assert posted([CSRF], require("a")(reached), fields=()) == 401


def test_with_a_gateways_field_nothing_is_exempted():
    for view in (reached, require("a")(reached), require("a")(reached_async)):
        for middleware in ([MIDDLEWARE, CSRF], [CSRF, MIDDLEWARE]):
            assert posted(middleware, view, HEADER, BY_GATEWAY) == 403
        assert posted([CSRF], view, HEADER, BY_GATEWAY) == 403
        assert posted([MIDDLEWARE], view, HEADER, BY_GATEWAY) == 200  # nobody asks for one


def test_a_class_is_exempted_and_not_exempted_alike():
    @method_decorator(require("a"), name="dispatch")
    class Orders(View):
        def post(self, request):
            return HttpResponse()

    assert posted([CSRF], Orders.as_view()) == 200
    assert posted([CSRF], Orders.as_view(), HEADER, BY_GATEWAY) == 403


def test_an_exemption_of_the_applications_own_stays():
    assert posted([CSRF], require("a")(csrf_exempt(reached)), HEADER, BY_GATEWAY) == 200
    # Django's decorator copies the attributes of what is below it over its own.
    assert posted([CSRF], csrf_exempt(require("a")(reached)), HEADER, BY_GATEWAY) == 403
    assert require("b")(require("a")(reached)).csrf_exempt is require("a")(reached).csrf_exempt


def test_djangos_own_client_with_csrf_checks():
    patterns = (path("", ensure_csrf_cookie(reached)),)
    for given, headers, status in [
        (GIVEN, {"Authorization": f"Bearer {ISSUER.mint('a')}"}, 200),
        (HEADER, {GATEWAY: ISSUER.mint("a")}, 403),
    ]:
        with override_settings(TOKENGUARD=given, MIDDLEWARE=[MIDDLEWARE, CSRF], ROOT_URLCONF=patterns):
            client = Client(enforce_csrf_checks=True, headers=headers)
            assert client.post("/").status_code == status
            assert client.get("/").status_code == 200
            assert client.post("/", headers={"X-CSRFToken": client.cookies["csrftoken"].value}).status_code == 200


def test_settings_that_cannot_be_read_do_not_hide_behind_a_csrf_failure():
    assert posted([CSRF], require("a")(reached), {}) == 500


# -- a gateway's field -------------------------------------------------------------------------------------------------


def cached(request):
    return HttpResponse(headers={"Cache-Control": "max-age=60", "Vary": "Accept"})


def test_answers_that_a_gateways_field_decided_are_kept_apart():
    for middleware, guard in (([MIDDLEWARE], lambda one: one), ([], require()), ([MIDDLEWARE], require())):
        project = Project([path("", guard(reached)), path("cached", guard(cached))], HEADER, middleware)
        for ask in both(project):
            for fields, status in ((BY_GATEWAY, 200), ((), 401), ([*BY_GATEWAY, *BY_GATEWAY], 400), (good(), 401)):
                answer = ask(fields=fields)
                assert answer.status == status
                assert answer.header("vary") == GATEWAY
                assert answer.header("cache-control") == ("private" if status == 200 else "no-store")
            answer = ask(path="/cached", fields=BY_GATEWAY)
            assert (answer.header("vary"), answer.header("cache-control")) == (f"Accept, {GATEWAY}", "max-age=60")


def test_djangos_cache_keeps_callers_apart():
    """As the page says: below the guard, and with a gateway's field named."""
    page = cache_page(60)(vary_on_headers(GATEWAY)(lambda request: HttpResponse(request.access_token.subject)))
    ways = [
        ({}, [], require()(page), bearer),
        ({}, [MIDDLEWARE], page, bearer),
        ({"HEADER": GATEWAY}, [], require()(page), lambda token: [(GATEWAY, token)]),
        ({"HEADER": GATEWAY}, [MIDDLEWARE], page, lambda token: [(GATEWAY, token)]),
    ]
    for more, middleware, view, fields in ways:
        cache.clear()
        for ask in both(Project([path("", view)], {**GIVEN, **more}, middleware)):
            ada, bob = (fields(ISSUER.mint(sub=name)) for name in ("ada", "bob"))
            assert [ask(fields=one).body for one in (ada, bob, ada)] == [b"ada", b"bob", b"ada"]
            assert ask().status == 401


def test_another_spelling_of_a_gateways_field_is_none():
    project = Project([path("", reached)], HEADER, [MIDDLEWARE])
    assert project.asgi(fields=[(GATEWAY.replace("-", "_"), ISSUER.mint("a"))]).status == 401


# -- views -------------------------------------------------------------------------------------------------------------


def test_every_kind_of_view():
    class Sync(View):
        def get(self, request, **_):
            return shown(request)

        @require("b")
        def put(self, request):
            return shown(request)

        @method_decorator(require("b"))
        def post(self, request):
            return shown(request)

    class Async(View):
        async def get(self, request, **_):
            return shown(request)

        @require("b")
        async def put(self, request):
            return shown(request)

        @method_decorator(require("b"))
        async def post(self, request):
            return shown(request)

    class Called:
        def __call__(self, request):
            return shown(request)

    class CalledAsync:
        async def __call__(self, request):
            return shown(request)

    decorated = [method_decorator(require("a"), name="dispatch")(one).as_view() for one in (Sync, Async)]

    class Whole(View):
        def get(self, request):
            return shown(request)

    class WholeAsync(View):
        async def get(self, request):
            return shown(request)

    views = [
        *decorated,
        *[
            require("a")(one)
            for one in (Whole.as_view(), WholeAsync.as_view(), Called(), CalledAsync(), partial(shown))
        ],
        require("a")(lambda *, request: shown(request)),
    ]
    patterns = [path(f"{number}", view) for number, view in enumerate(views[:-1])]
    patterns.append(path(f"{len(views) - 1}", lambda request: views[-1](request=request)))
    project = Project(patterns, GIVEN)
    for ask in both(project):
        for number in range(len(views)):
            assert ask(path=f"/{number}", fields=good()).body == b"client"
            assert ask(path=f"/{number}", fields=good("b")).status == 403
            assert ask(path=f"/{number}").status == 401
        for number in (0, 1):
            for method in ("PUT", "POST"):
                assert ask(method, f"/{number}", fields=good("a b")).body == b"client"
                assert ask(method, f"/{number}", fields=good()).status == 403
            assert ask("DELETE", f"/{number}", fields=good()).status == 405
            assert ask("OPTIONS", f"/{number}").status == 401


def test_a_handler_that_dispatch_calls_runs_in_the_loop():
    """`dispatch` is no coroutine function, but returns what `get` returns: it must be validated as an async view."""
    seen = []

    class Watched:
        async def validate_async(self, raw, **_):
            seen.append(raw)
            return await VALIDATOR.validate_async(raw)

    @method_decorator(require("a"), name="dispatch")
    class Orders(View):
        async def get(self, request):
            return HttpResponse()

    project = Project([path("", Orders.as_view())], {"VALIDATOR": Watched()})
    assert project.asgi(fields=good()).status == 200
    assert len(seen) == 1


def test_dispatch_that_answers_itself():
    @method_decorator(require("a"), name="dispatch")
    class Orders(View):
        async def get(self, request):
            raise AssertionError("reached")

        def dispatch(self, request, *args, **kwargs):
            return HttpResponse("own")

    project = Project([path("", Orders.as_view())], GIVEN)
    for ask in both(project):
        assert ask().status == 401
    # Django awaits what an async class returns; a plain answer has to pass our decorator unharmed
    request = RequestFactory().get("/", headers={"Authorization": f"Bearer {ISSUER.mint('a')}"})
    with override_settings(TOKENGUARD=GIVEN):
        view = Orders()
        view.setup(request)
        assert asyncio.run(view.dispatch(request)).content == b"own"


def test_a_view_below_a_public_path_still_needs_its_token():
    project = Project([path("", require("a")(shown))], {**GIVEN, "PUBLIC": "/", "SCOPE": "x"}, [MIDDLEWARE])
    for ask in both(project):
        assert ask().status == 401
        assert ask(fields=good()).body == b"client"


def test_middleware_and_decorator_ask_each_for_its_own():
    project = Project([path("", require("b")(shown))], {**GIVEN, "SCOPE": "a"}, [MIDDLEWARE])
    for ask in both(project):
        assert ask(fields=good("a b")).status == 200
        for scope, asked in (("a", "b"), ("b", "a")):
            assert f'scope="{asked}"' in ask(fields=good(scope)).header("www-authenticate")


def test_what_is_no_view():
    with pytest.raises(ConfigurationError, match="method_decorator"):
        require("a")(View)
    with pytest.raises(ConfigurationError, match="require"):
        require("a")(None)
    for wrong in ({"a"}, 1, "", " "):
        with pytest.raises(ConfigurationError):
            require(wrong)
    with pytest.raises(ConfigurationError, match="with the request"):
        require("a")(reached)("no request")


@pytest.mark.parametrize("view", [require(shown), require])
def test_a_decorator_that_was_not_called_is_never_open(view):
    for ask in both(Project([path("", view)], GIVEN)):
        assert ask(fields=good()).status == 500


def test_the_decorator_keeps_the_views_name_and_marks_it():
    guarded = require("a", Role("r"))(reached)
    assert (guarded.__name__, guarded.__wrapped__) == ("reached", reached)
    assert [mark.scopes for mark in marks(require("b")(guarded))] == [("a",), ("b",)]

    @method_decorator(require("a"), name="dispatch")
    class Orders(View):
        pass

    assert [mark.scopes for mark in marks(Orders.as_view())] == [("a",)]


def test_a_streamed_answer_passes():
    async def chunks():
        yield b"a"
        yield b"b"

    @require("a")
    async def stream(request):
        return StreamingHttpResponse(chunks())

    for middleware in ([MIDDLEWARE], []):
        answer = Project([path("", stream)], {**GIVEN, "HEADER": GATEWAY}, middleware).asgi(fields=BY_GATEWAY)
        assert (answer.body, answer.header("vary")) == (b"ab", GATEWAY)


def test_the_token_is_where_other_adapters_leave_it():
    seen = []

    def view(request):
        place = getattr(request, "scope", request.META)
        seen.append((place["tokenguard.access_token"] is request.access_token, hasattr(request, "user")))
        return HttpResponse()

    for middleware, guard in (([MIDDLEWARE], lambda one: one), ([], require())):
        for ask in both(Project([path("", guard(view))], GIVEN, middleware)):
            assert ask(fields=good()).status == 200
    assert seen == [(True, False)] * 4


# -- errors of ours that a view raises ---------------------------------------------------------------------------------


class Raising:
    def __init__(self, error):
        self.error = error

    def view(self, request, **_):
        raise self.error

    async def view_async(self, request, **_):
        raise self.error


class Own:
    """An application's own answer to errors of ours."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_exception(self, request, exception):
        return HttpResponse(status=418) if isinstance(exception, InsufficientScopeError) else None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InsufficientScopeError(("x",)), "rejected"),
        (MissingTokenError(), "rejected"),
        (KeysUnavailableError(retry_after=7), "unavailable"),
        (ConfigurationError("text"), "error"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_error_of_ours_out_of_a_view_is_answered_as_the_guards(error, outcome, caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True)
    raising, given = Raising(error), {**GIVEN, "VALIDATOR": validator}
    for middleware, guard in (([MIDDLEWARE], lambda one: one), ([], require()), ([MIDDLEWARE], require())):
        patterns = [path("sync", guard(raising.view)), path("async", guard(raising.view_async))]
        project = Project(patterns, given, middleware)
        for ask in both(project):
            for at in ("/sync", "/async"):
                caplog.clear()
                assert ask(path=at, fields=good()).verdict == over_http(error, "GET", realm="orders")
                records = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
                outcomes = [(record["door"], record["outcome"]) for record in records]
                accepted = 2 if middleware and guard(reached) is not reached else 1
                assert outcomes == [("django", "accepted")] * accepted + [("django", outcome)]


def test_an_error_of_ours_out_of_a_view_rolls_the_transaction_back():
    seen = []

    def view(request):
        try:
            raise InsufficientScopeError(("x",))
        finally:
            transaction.on_commit(lambda: seen.append("committed"))

    def passing(request):
        transaction.on_commit(lambda: seen.append("kept"))
        return HttpResponse()

    opened = []  # in whichever thread; Django leaves a database in memory open

    def keep(connection, **_):
        opened.append(connection.connection)

    connection_created.connect(keep)
    try:
        for middleware in ([], [MIDDLEWARE]):
            project = Project([path("", require()(view)), path("passing", require()(passing))], GIVEN, middleware)
            for ask in both(project):
                connection.settings_dict["ATOMIC_REQUESTS"] = True
                try:
                    assert ask(fields=good()).status == 403
                    assert ask(path="/passing", fields=good()).status == 200
                finally:
                    connection.settings_dict["ATOMIC_REQUESTS"] = False
    finally:
        connection_created.disconnect(keep)
        connection.connection = None
        for one in opened:
            one.close()
    assert seen == ["kept"] * 4


def test_an_applications_own_answer_wins():
    raising = Raising(InsufficientScopeError())
    for guard in (lambda one: one, require()):
        patterns = [path("sync", guard(raising.view)), path("async", guard(raising.view_async))]
        project = Project(patterns, GIVEN, [MIDDLEWARE, f"{__name__}.Own"])
        for ask in both(project):
            for at in ("/sync", "/async"):
                assert ask(path=at, fields=good()).status == 418


def test_every_other_error_is_djangos():
    for middleware, guard in (([MIDDLEWARE], lambda one: one), ([], require())):
        patterns = [path("404", guard(Raising(Http404()).view)), path("500", guard(Raising(KeyError()).view))]
        project = Project(patterns, GIVEN, middleware)
        for ask in both(project):
            assert ask(path="/404", fields=good()).status == 404
            answer = ask(path="/500", fields=good())
            assert (answer.status, answer.header("content-type")) == (500, "text/html; charset=utf-8")


def test_django_neither_logs_nor_mails_what_the_guard_has_logged(caplog):
    caplog.set_level(logging.INFO)
    unreachable = FakeIssuer("https://unreachable.example", clock=Clock())
    unreachable.outage().start()
    project = Project([path("", reached)], {"VALIDATOR": unreachable.validator()}, [MIDDLEWARE])
    for ask in both(project):
        caplog.clear()
        assert ask(fields=bearer(unreachable.mint())).status == 503
        assert ask().status == 401
        assert {record.name for record in caplog.records} <= {"tokenguard", "tokenguard.keys", "asyncio"}
    broken = Project([path("", reached)], {}, [MIDDLEWARE])
    for ask in both(broken):
        caplog.clear()
        assert ask().status == 500
        assert "django.request" in {record.name for record in caplog.records}


def test_djangos_reports_show_neither_credential_nor_token():
    seen = []

    def view(request):
        seen.append(SafeExceptionReporterFilter().get_safe_request_meta(request))
        return HttpResponse()

    token = ISSUER.mint("a")
    project = Project([path("", view)], {**GIVEN, "SCOPE": "a"}, [MIDDLEWARE])
    for ask in both(project):
        assert ask(fields=bearer(token)).status == 200
    assert len(seen) == 2
    assert token.split(".")[1] not in repr(seen)
    assert "AccessToken" not in repr(seen)


# -- settings ----------------------------------------------------------------------------------------------------------

NAMES = {"ISSUER": ISSUER.url, "AUDIENCE": ISSUER.audience, "TRANSPORT": ISSUER.transport, "CLOCK": Clock()}


def made_elsewhere():
    return ISSUER.validator()


async def made_async():
    return ISSUER.validator()


def fails():
    raise LookupError("a secret of the application")


def refuses():
    raise ConfigurationError("words of ours")


def status_of(given, fields=None):
    project = Project([path("", require()(reached))], given)
    [status] = {ask(fields=good() if fields is None else fields).status for ask in both(project)}
    return status


@pytest.mark.parametrize(
    "given",
    [
        NAMES,
        {**NAMES, "ISSUER": [ISSUER.url], "LEEWAY": "30", "HTTP_TIMEOUT": 5},
        {"VALIDATOR": VALIDATOR},
        {"VALIDATOR": made_elsewhere},
        {"VALIDATOR": ISSUER.validator},
        {"VALIDATOR": f"{__name__}.VALIDATOR"},
        {"VALIDATOR": f"{__name__}.made_elsewhere"},
    ],
)
def test_every_way_to_give_a_validator(given):
    assert status_of(given) == 200


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "TOKENGUARD must be a mapping"),
        ([("ISSUER", "x")], "TOKENGUARD must be a mapping"),
        ({}, "ISSUER must be set"),
        ({"ISSUER": "https://a.example/"}, "AUDIENCE must be set"),
        ({**NAMES, "AUDIENCES": "x"}, "AUDIENCES is no setting: write AUDIENCE"),
        ({**NAMES, "issuer": "x"}, "issuer is no setting: write ISSUER"),
        ({**NAMES, "SCOPES": "x"}, "SCOPES is no setting: write SCOPE"),
        ({**NAMES, "CLIENT_ID": "x"}, "CLIENT_ID is no setting"),
        ({**NAMES, "TOKENGUARD_ISSUER": "x"}, "is no setting"),
        ({**NAMES, "QWERTYUIOP": "x"}, "QWERTYUIOP is no setting: the names are those of"),
        ({**NAMES, 1: "x"}, "1 is no setting"),
        ({**NAMES, "SCOPE": ""}, "scope"),
        ({**NAMES, "SCOPE": "a", "OPTIONAL": True}, "exclude each other"),
        ({**NAMES, "OPTIONAL": "true"}, "optional must be True or False"),
        ({**NAMES, "SHOW_REASON": 1}, "show_reason must be True or False"),
        ({**NAMES, "PUBLIC": "/*"}, "public path"),
        ({**NAMES, "REALM": 'a"'}, "realm"),
        ({**NAMES, "RESOURCE_METADATA": 1}, "resource_metadata"),
        ({**NAMES, "HEADER": "Authorization"}, "header must not be Authorization"),
        ({**NAMES, "HEADER": 1}, "header must be the name"),
        ({**NAMES, "HEADER": GATEWAY, "DPOP": DPoP("https://a.example")}, "header and dpop exclude each other"),
        ({**NAMES, "REQUIRE": 1}, "a requirement must be"),
        ({"VALIDATOR": None}, "VALIDATOR must be"),
        ({"VALIDATOR": TokenValidator}, "VALIDATOR must be"),
        ({"VALIDATOR": 1}, "VALIDATOR must be"),
        ({"VALIDATOR": "nowhere.at_all"}, "that makes one; its import failed: ModuleNotFoundError at "),
        ({"VALIDATOR": "nothing"}, "that makes one; its import failed: ImportError at "),
        ({"VALIDATOR": f"{__name__}.NOTHING"}, "that makes one; its import failed: ImportError at "),
        ({"VALIDATOR": f"{__name__}.GATEWAY"}, "VALIDATOR must be"),
        ({"VALIDATOR": fails}, f"that makes one; its call failed: LookupError at {__file__}"),
        ({"VALIDATOR": made_async}, "VALIDATOR must be"),
        ({"VALIDATOR": object}, "validator must be a TokenValidator"),
        ({"VALIDATOR": refuses}, "words of ours"),
        ({"VALIDATOR": VALIDATOR, "ISSUER": "x"}, "VALIDATOR replaces the validator's own settings: remove ISSUER"),
        ({"VALIDATOR": VALIDATOR, "LEWAY": 1}, "remove LEWAY"),
    ],
)
def test_bad_settings_say_what_to_write_and_open_nothing(given, words):
    with override_settings(TOKENGUARD=given):
        for _ in range(2):  # an error is not remembered as an answer
            with pytest.raises(ConfigurationError) as caught:
                django_conf.current()
            assert words in str(caught.value)
            assert "a secret of" not in str(caught.value)
    assert status_of(given) == 500
    assert status_of(given, ()) == 500


def test_a_missing_setting_opens_nothing():
    with override_settings():
        from django.conf import settings

        del settings.TOKENGUARD
        with pytest.raises(ConfigurationError, match="must be a mapping"):
            django_conf.current()


def test_a_parameter_of_a_preset_may_have_a_name_of_ours():
    """Keycloak has realms, too: its realm is then the challenge's, unless the issuer is written out."""
    given = {"PRESET": "keycloak", "BASE_URL": "https://sso.example.com", "REALM": "shop", "AUDIENCE": "x"}
    with override_settings(TOKENGUARD=given):
        made = django_conf.current()
        assert made.validator.issuers[0].url == "https://sso.example.com/realms/shop"
        assert made.middleware.realm == "shop"


def test_settings_are_read_once_and_anew_when_they_change():
    with override_settings(TOKENGUARD=NAMES):
        first = django_conf.current()
        assert django_conf.current() is first
        with override_settings(TOKENGUARD={**NAMES, "REALM": "other"}):
            assert django_conf.current().middleware.realm == "other"
        with override_settings(DEBUG=True):
            again = django_conf.current()
            assert again is not first
            assert django_conf.current() is django_conf._current.make() is again


def test_a_validator_made_here_is_closed_and_one_given_is_not(monkeypatch):
    closed = []

    def close(self):
        closed.append(self)

    monkeypatch.setattr(TokenValidator, "close", close)
    for given, is_closed in ((NAMES, True), ({"VALIDATOR": made_elsewhere}, True), ({"VALIDATOR": VALIDATOR}, False)):
        with override_settings(TOKENGUARD=given):
            validator = django_conf.current().validator
        assert (validator in closed) is is_closed


def test_a_validator_that_cannot_be_closed_is_left():
    class Unclosable:
        def validate(self, raw, **_):
            return VALIDATOR.validate(raw)

        def close(self):
            raise OSError

    def make():
        return Unclosable()

    with override_settings(TOKENGUARD={"VALIDATOR": make}):
        assert isinstance(django_conf.current().validator, Unclosable)


def test_settings_change_while_their_connections_are_open_in_a_loop():
    async def twice(issuer):
        given = {"ISSUER": issuer.url, "AUDIENCE": issuer.audience, "ALLOW_INSECURE_HTTP": True}
        for _ in range(2):
            with override_settings(TOKENGUARD=given, MIDDLEWARE=[MIDDLEWARE], ROOT_URLCONF=(path("", shown),)):
                headers = {"Authorization": f"Bearer {issuer.mint()}"}
                assert (await AsyncClient().get("/", headers=headers)).content == b"client"

    issuer = FakeIssuer()
    with issuer.serve():
        asyncio.run(twice(issuer))


def test_first_requests_at_once_make_one_validator():
    """It remembers which proofs were used: two would take one twice."""
    made, barrier = [], threading.Barrier(4)

    def make():
        made.append(ISSUER.validator())
        return made[-1]

    def first():
        barrier.wait(timeout=30)
        found.append(django_conf.current().validator)

    found = []
    with override_settings(TOKENGUARD={"VALIDATOR": make}):
        threads = [threading.Thread(target=first) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(made) == 1
    assert found == made * 4


# -- bound tokens and metadata -----------------------------------------------------------------------------------------

API = "https://api.example.com"


def proven(key, token, method, url, **changes):
    return [("Authorization", f"DPoP {token}"), ("DPoP", key.proof(token, method, url, **changes))]


@pytest.mark.parametrize("middleware", [[MIDDLEWARE], []])
def test_dpop_one_proof_is_used_once_for_a_request(middleware):
    key = ISSUER.client_key()
    token = ISSUER.mint("a b", bound_to=key)
    validator = ISSUER.validator(dpop=DPoP(API))
    views = [
        path("sync/é", require("b")(require("a")(reached))),
        path("async/é", require("b")(require("a")(reached_async))),
    ]
    project = Project(views, {"VALIDATOR": validator}, middleware)
    for ask, at in ((project.wsgi, "/sync/%C3%A9"), (project.asgi, "/async/%C3%A9")):
        fields = proven(key, token, "POST", API + at)
        assert ask("POST", at, fields=fields).status == 200
        again = ask("POST", at, fields=fields)
        assert (again.status, 'error="invalid_dpop_proof"' in again.header("www-authenticate")) == (401, True)
        assert ask("GET", at, fields=proven(key, token, "POST", API + at)).status == 401
        challenge = ask("GET", at).header("www-authenticate")
        assert challenge.startswith('Bearer realm="api", DPoP realm="api", algs="')


@pytest.mark.parametrize("middleware", [[MIDDLEWARE], []])
def test_dpop_nonces(middleware):
    key, now = ISSUER.client_key(), Clock()
    issuer = FakeIssuer(clock=now)
    token = issuer.mint("a", bound_to=key)
    validator = issuer.validator(dpop=DPoP(API, nonce_secret="s" * 32, nonce_max_age=100))
    project = Project([path("", require("a")(reached))], {"VALIDATOR": validator}, middleware)
    for ask in both(project):
        asked = ask(fields=proven(key, token, "GET", f"{API}/"))
        nonce = asked.header("dpop-nonce")
        assert (asked.status, 'error="use_dpop_nonce"' in asked.header("www-authenticate")) == (401, True)
        answer = ask(fields=proven(key, token, "GET", f"{API}/", nonce=nonce))
        assert (answer.status, answer.header("dpop-nonce")) == (200, None)
        now.advance(60)
        answer = ask(fields=proven(key, token, "GET", f"{API}/", nonce=nonce))
        assert (answer.status, answer.header("dpop-nonce") not in (None, nonce)) == (200, True)


def test_certificates():
    token = ISSUER.mint("a", bound_to=b"certificate")
    validator = ISSUER.validator(mtls=MutualTLS())
    project = Project([path("", require("a")(shown))], {"VALIDATOR": validator})
    pem = "-----BEGIN CERTIFICATE-----\nY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
    assert project.wsgi(fields=bearer(token)).status == project.asgi(fields=bearer(token)).status == 401
    assert project.wsgi(fields=bearer(token), SSL_CLIENT_CERT=pem).status == 200
    chain = {"tls": {"client_cert_chain": [pem]}}
    assert project.asgi(fields=bearer(token), extensions=chain).status == 200


def test_certificates_of_a_proxy():
    token = ISSUER.mint("a", bound_to=b"certificate")
    validator = ISSUER.validator(mtls=MutualTLS("Client-Cert", "rfc9440", ("127.0.0.1",)))
    project = Project([path("", require("a")(shown))], {"VALIDATOR": validator})
    fields = [*bearer(token), ("Client-Cert", ":Y2VydGlmaWNhdGU=:")]
    assert project.wsgi(fields=fields, REMOTE_ADDR="127.0.0.1").status == 200
    assert project.wsgi(fields=fields, REMOTE_ADDR="127.0.0.2").status == 401
    assert project.asgi(fields=fields).status == 200
    assert project.asgi(fields=fields, client=("127.0.0.2", 1)).status == 401
    assert project.asgi(fields=[*fields, fields[-1]]).status == 401


def test_the_metadata_is_served_with_the_scopes_of_all_views():
    @method_decorator(require("c"), name="dispatch")
    class Orders(View):
        @require("d")
        def get(self, request):
            raise AssertionError("reached")

    inner = [path("b", require("b")(reached)), path("c", Orders.as_view())]
    patterns = [path("a", require("a")(reached)), path("more/", include(inner))]
    given = {"VALIDATOR": VALIDATOR, "SCOPE": "all", "RESOURCE_METADATA": ResourceMetadata(ISSUER.audience)}
    project = Project(patterns, given, [MIDDLEWARE])
    at = ResourceMetadata(ISSUER.audience).path
    for ask in both(project):
        answer = ask(path=at)
        assert (answer.status, answer.header("content-type")) == (200, "application/json")
        assert b'"scopes_supported":["a","all","b","c","d"]' in answer.body
        assert ask("HEAD", at).body == b""
        preflight = ask("OPTIONS", at)
        assert (preflight.status, preflight.header("content-type")) == (204, None)
        assert ask("POST", at).status == 401
        challenge = ask(path="/a").header("www-authenticate")
        assert 'scope="all"' in challenge
        assert f'resource_metadata="{ResourceMetadata(ISSUER.audience).url}"' in challenge


# -- what observers see ------------------------------------------------------------------------------------------------


def test_the_audit_describes_the_request(caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")
    validator = ISSUER.validator()
    audit.enable(validator, accepted=True, request_id_header="X-Request-ID")
    project = Project([path("orders/é", reached)], {"VALIDATOR": validator, "SCOPE": "a"}, [MIDDLEWARE])
    for ask in both(project):
        caplog.clear()
        assert (
            ask("PUT", "/orders/%C3%A9", "x=1", [*good(), ("X-Request-ID", "7")], REMOTE_ADDR="127.0.0.1").status == 200
        )
        [record] = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
        seen = [record[name] for name in ("door", "method", "path", "request_id", "client_address")]
        assert seen == ["django", "PUT", "/orders/é", "7", "127.0.0.1"]


def test_a_requirement_sees_the_fields():
    seen = []

    def rule(token, request, now):
        seen.append((request.method, request.url, dict(request.headers)["x-field"]))

    project = Project([path("orders", require(rule)(reached))], GIVEN)
    for ask in both(project):
        assert ask("PUT", "/orders", fields=[*good(), ("X-Field", "1")]).status == 200
    assert seen == [("PUT", "/orders", "1")] * 2


def test_across_the_modes():
    """An async view in a sync server, and the reverse: Django adapts them, the guard is the view's."""
    project = Project([path("sync", require("a")(shown)), path("async", require("a")(reached_async))], GIVEN)
    for ask, at in ((project.wsgi, "/async"), (project.asgi, "/sync")):
        for fields, status in ((good(), 200), (good("b"), 403), ((), 401), (bearer("x"), 401)):
            assert ask(path=at, fields=fields).status == status


def test_a_request_is_what_its_server_made_it():
    """`ASGIRequest` has a scope; a plain `HttpRequest` and `WSGIRequest` have `META` alone."""
    request = ASGIRequest(http_scope(fields=good()), None)
    with override_settings(TOKENGUARD=GIVEN):
        reader = django_conf.current().reader
        assert reader.header(request, "Authorization") == reader.fields(request, "authorization")[0]
        plain = RequestFactory().get("/a?b", headers={"X-A": "1"})
        assert (reader.method(plain), reader.path(plain), reader.header(plain, "X-A")) == ("GET", "/a", "1")
        assert (reader.method(HttpRequest()), reader.credentials(HttpRequest())) == ("", ((), ""))
