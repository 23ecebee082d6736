"""Django REST framework: what the table of requests does not ask."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys

import pytest

from django_project import MIDDLEWARE, Project  # isort: skip - Django's settings first

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import include, path
from django.utils.decorators import method_decorator
from observed_validators import watched
from real_servers import clean
from request_table import bearer, over_http
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication, BasicAuthentication
from rest_framework.decorators import action, api_view, authentication_classes, permission_classes
from rest_framework.permissions import AllowAny, BasePermission, DjangoModelPermissions, IsAdminUser, IsAuthenticated
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter
from rest_framework.test import APIClient
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from tokenguard import (
    AccessToken,
    ConfigurationError,
    DPoP,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    Reason,
    ResourceMetadata,
    audit,
)
from tokenguard._adapters.marks import marks
from tokenguard.django import conf as django_conf
from tokenguard.django import require
from tokenguard.drf import BearerAuthentication, RefusedRequest, Requires, TokenUser, exception_handler
from tokenguard.requirements import Role
from tokenguard.testing import Clock, FakeIssuer

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
GIVEN = {"VALIDATOR": VALIDATOR, "REALM": "orders"}
OURS = {"EXCEPTION_HANDLER": "tokenguard.drf.exception_handler"}
GATEWAY = "X-Gateway-Token"


def good(scope="a"):
    return bearer(ISSUER.mint(scope))


class Anybody(BaseAuthentication):
    """Another authenticator, which lets everybody in."""

    def authenticate(self, request):
        return TokenUser.__new__(TokenUser), "another kind of token"


class Nobody(BaseAuthentication):
    """Another authenticator, without a challenge of its own, as many are."""

    def authenticate(self, request):
        return None


class Never(BasePermission):
    def has_permission(self, request, view):
        return False


def view(*permissions, authentication=(BearerAuthentication,), answer=None):
    class Orders(APIView):
        authentication_classes = authentication
        permission_classes = permissions

        def get(self, request):
            return Response({"client": request.auth.client_id}) if answer is None else answer(request)

        post = get

    return Orders.as_view()


def project(*permissions, given=GIVEN, middleware=(), handler=OURS, **more):
    return Project([path("", view(*permissions, **more))], given, middleware, REST_FRAMEWORK=handler)


# -- who is let in -----------------------------------------------------------------------------------------------------


def test_the_view_knows_who_called():
    seen = []

    def answer(request):
        seen.append((request.user, request.auth, request.access_token, request._request.user))
        return Response({})

    assert project(IsAuthenticated, answer=answer).wsgi(fields=good()).status == 200
    [(user, token, left, of_django)] = seen
    assert isinstance(token, AccessToken)
    assert token is left is user.access_token
    assert user is of_django
    assert (user.is_authenticated, user.is_active, user.is_anonymous) == (True, True, False)
    assert (user.is_staff, user.is_superuser, user.username) == (False, False, "")
    assert (user.has_perm("x"), user.has_perms(["x"]), user.has_module_perms("x")) == (False, False, False)
    assert str(user) == user.pk == f"{ISSUER.url} sub:client"


def made(**changes):
    return TokenUser(AccessToken(**{"issuer": "https://a.example", **changes})).pk


def test_threat_142_no_two_callers_have_the_same_pk():
    assert made(subject="s", client_id="c") == "https://a.example sub:s"
    assert made(client_id="c") == "https://a.example client:c"
    assert made(token_id="t") == "https://a.example jti:t"
    assert made() == "https://a.example jti:"
    callers = [
        {"subject": "x"},
        {"client_id": "x"},
        {"token_id": "x"},
        {"subject": "client:x"},
        {"subject": "x", "issuer": "https://b.example"},
        {"subject": "x client:y", "issuer": "a"},
        {"client_id": "y", "issuer": "a sub:x"},
        {"subject": " x", "issuer": "a"},
        {"subject": "x", "issuer": "a "},
        {"subject": "x", "issuer": "a  sub:"},
    ]
    assert len({made(**caller) for caller in callers}) == len(callers)


def test_without_credentials_the_next_authenticator_is_asked():
    asked = project(IsAuthenticated, authentication=(BearerAuthentication, Anybody), answer=lambda _: Response({}))
    assert asked.wsgi().status == 200
    assert asked.wsgi(fields=[("Authorization", "Basic dTpw")]).status == 200
    assert asked.wsgi(fields=bearer("x")).status == 401  # a bad one is nobody's
    assert asked.wsgi(fields=[*good(), *good()]).status == 400


def test_requires_without_a_token_is_401_also_where_another_let_the_request_in():
    for authentication in ((BearerAuthentication, Anybody), (Anybody, BearerAuthentication), (Anybody,)):
        asked = project(Requires("a"), authentication=authentication)
        assert asked.wsgi().verdict == over_http(MissingTokenError(), "GET", realm="orders")
    # The user is another one's, so this token says nothing of who called.
    assert project(Requires("a"), authentication=(Anybody, BearerAuthentication)).wsgi(fields=good()).status == 401


def test_requires_validates_by_itself_where_nothing_else_does():
    def answer(request):
        return Response({"client": request.access_token.client_id, "auth": request.auth})

    for middleware in ([], [MIDDLEWARE]):
        asked = project(Requires("a"), authentication=(), middleware=middleware, answer=answer)
        assert json.loads(asked.wsgi(fields=good()).body) == {"client": "client", "auth": None}
        assert asked.wsgi(fields=good("b")).status == 403
        assert asked.wsgi().status == 401
    public = {**GIVEN, "PUBLIC": "/"}
    assert project(Requires("a"), authentication=(), middleware=[MIDDLEWARE], given=public).wsgi().status == 401


def test_without_a_permission_nothing_is_required():
    """As with every authenticator: it says who called, and a permission says who may."""
    asked = project(answer=lambda request: Response(request.auth is None))
    assert asked.wsgi().body == b"true"
    assert asked.wsgi(fields=bearer("x")).status == 401


def test_behind_the_middleware():
    asked = project(Requires("a"), middleware=[MIDDLEWARE])
    assert asked.wsgi(fields=good()).body == b'{"client":"client"}'
    assert asked.wsgi(fields=good("b")).status == 403
    assert asked.asgi(fields=good()).status == 200
    assert asked.asgi().status == 401


# -- permissions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permissions", "scope", "status"),
    [
        ([Requires()], "", 200),
        ([Requires("a", "b")], "a b", 200),
        ([Requires("a", "b")], "a", 403),
        ([Requires("a b")], "b", 403),
        ([Requires("a"), Requires("b")], "a", 403),
        ([Requires("a") & Requires("b")], "a b", 200),
        ([Requires("a") & Requires("b")], "b", 403),
        ([Requires("a") & IsAuthenticated], "a", 200),
        ([IsAuthenticated & Requires("a")], "b", 403),
        ([IsAdminUser | Requires("a")], "a", 200),
        ([IsAdminUser | Requires("a")], "b", 403),
        ([AllowAny | Requires("a")], "b", 200),
        ([(IsAdminUser & Never) | (IsAuthenticated & Requires("a"))], "a", 200),
        ([Requires("a") | AllowAny], "b", 403),  # what W003 is about: it raises before the other is asked
        ([~Requires("a")], "a", 403),
        ([~Requires("a")], "b", 403),
        ([Requires(Role("r"))], "a", 403),
        ([DjangoModelPermissions, Requires("a")], "a", 500),  # needs a queryset
    ],
)
def test_compositions(permissions, scope, status):
    asked = project(*permissions)
    if status == 500:
        with pytest.raises(AssertionError):
            APIClientFor(asked).get(good(scope))
    else:
        assert asked.wsgi(fields=good(scope)).status == status


class APIClientFor:
    def __init__(self, used):
        self._used = used

    def get(self, fields):
        with self._used.in_use():
            return APIClient().get("/", headers={name: value.decode() for name, value in fields})


def test_a_403_lists_what_its_permission_asks_for():
    challenge = project(Requires("a", "b")).wsgi(fields=good()).header("www-authenticate")
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="a b"' in challenge
    assert [mark.scopes for mark in marks(Requires("a", "b"))] == [("a", "b")]


@pytest.mark.parametrize("wrong", ["", " ", 1, None, {"a"}])
def test_what_is_no_requirement(wrong):
    with pytest.raises(ConfigurationError):
        Requires(wrong)


def test_object_permissions():
    class Own(BasePermission):
        def has_object_permission(self, request, view, obj):
            return obj == request.auth.client_id

    class Orders(APIView):
        authentication_classes = (BearerAuthentication,)
        permission_classes = ((Own & IsAuthenticated) | Requires("admin"),)

        def get(self, request, owner):
            self.check_object_permissions(request, owner)
            return Response({})

    used = Project([path("<owner>", Orders.as_view())], GIVEN, REST_FRAMEWORK=OURS)
    assert used.wsgi(path="/client", fields=good()).status == 200
    assert used.wsgi(path="/other", fields=good()).status == 403
    assert used.wsgi(path="/other", fields=good("admin")).status == 200


# -- viewsets, routers, function views ---------------------------------------------------------------------------------


class Orders(ViewSet):
    authentication_classes = (BearerAuthentication,)
    permission_classes = (Requires("read"),)

    def list(self, request):
        return Response(["one"])

    def create(self, request):
        return Response({}, status=201)

    def get_permissions(self):
        return [Requires("write")()] if self.action == "create" else super().get_permissions()

    @action(detail=False, permission_classes=[Requires("export")])
    def export(self, request):
        return Response("exported")


def test_a_viewset_behind_a_router():
    router = DefaultRouter()
    router.register("orders", Orders, basename="orders")
    metadata = ResourceMetadata(ISSUER.audience)
    given = {**GIVEN, "RESOURCE_METADATA": metadata}
    used = Project([path("", include(router.urls))], given, [MIDDLEWARE], REST_FRAMEWORK=OURS)
    assert used.wsgi(path="/orders/", fields=good("read")).status == 200
    assert used.wsgi("POST", "/orders/", fields=good("read")).status == 403
    assert used.wsgi("POST", "/orders/", fields=good("write")).status == 201
    assert used.wsgi(path="/orders/export/", fields=good("read")).status == 403
    assert used.wsgi(path="/orders/export/", fields=good("export")).body == b'"exported"'
    assert b'"scopes_supported":["export","read"]' in used.wsgi(path=metadata.path).body


def test_function_views():
    @api_view(["GET", "POST"])
    @authentication_classes([BearerAuthentication])
    @permission_classes([Requires("a")])
    def orders(request):
        return Response(request.auth.client_id)

    @api_view(["GET"])
    @require("a")
    def decorated(request):
        return Response(request.access_token.client_id)

    @require("a")
    @api_view(["GET"])
    def outside(request):
        return Response(request.access_token.client_id)

    patterns = [path("orders", orders), path("decorated", decorated), path("outside", outside)]
    used = Project(patterns, GIVEN, REST_FRAMEWORK={**OURS, "DEFAULT_AUTHENTICATION_CLASSES": []})
    for at in ("/orders", "/decorated", "/outside"):
        assert used.wsgi(path=at, fields=good()).body == b'"client"'
        assert used.wsgi(path=at, fields=good("b")).status == 403
        assert used.wsgi(path=at).status == 401


def test_a_class_under_the_decorator():
    @method_decorator(require("a"), name="dispatch")
    class Decorated(APIView):
        def get(self, request):
            return Response(request.access_token.client_id)

    used = Project([path("", Decorated.as_view())], GIVEN, REST_FRAMEWORK=OURS)
    assert used.wsgi(fields=good()).body == b'"client"'
    assert used.wsgi(fields=good("b")).status == 403


METADATA = {**GIVEN, "RESOURCE_METADATA": ResourceMetadata("https://api.example.com")}


@pytest.mark.parametrize(
    ("permissions", "scope"),
    [
        ([Requires("a", "b")], "a b"),
        ([IsAuthenticated, Requires("a") & Requires("b")], "a b"),
        ([IsAdminUser | Requires("a")], "a"),
        ([Requires("b") | IsAdminUser], "b"),
        ([IsAuthenticated], None),
    ],
)
def test_beside_metadata_each_401_lists_what_the_view_asks_for(permissions, scope):
    """Whether the authenticator answers, a permission, the exception handler, or the framework's own."""
    for handler in (OURS, {}):
        used = project(*permissions, given=METADATA, handler=handler)
        for fields in ((), bearer(ISSUER.expired(scope="a b")), bearer("x")):
            listed = re.search('scope="([^"]*)"', used.wsgi(fields=fields).header("www-authenticate"))
            assert (listed and listed[1]) == scope
    assert "scope=" not in project(*permissions).wsgi(fields=bearer("x")).header("www-authenticate")


# -- what is answered --------------------------------------------------------------------------------------------------

CASES = {
    "missing": ((), MissingTokenError()),
    "several": ([*good(), *good()], InvalidRequestError(reason=Reason.MULTIPLE)),
    "bad": (bearer("x"), InvalidTokenError(reason=Reason.MALFORMED)),
    "poor": (good("b"), InsufficientScopeError(("a",))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("authentication", [(BearerAuthentication,), (Nobody, BearerAuthentication)])
def test_without_our_handler_status_and_challenge_stay(case, authentication):
    """Django REST framework makes 403 of a 401 where the first authenticator has no challenge: not of ours."""
    fields, error = CASES[case]
    answer = project(Requires("a"), handler={}, authentication=authentication).wsgi(fields=fields)
    assert (answer.status, answer.header("www-authenticate")) == over_http(error, "GET", realm="orders")[:2]
    assert answer.header("content-type") == "application/json"
    assert json.loads(answer.body).keys() == {"detail"}


def test_an_outage_keeps_retry_after():
    unreachable = FakeIssuer("https://unreachable.example", clock=Clock())
    unreachable.outage().start()
    given = {"VALIDATOR": unreachable.validator(monotonic=lambda: 0.0)}
    for handler in ({}, OURS):
        answer = project(Requires("a"), given=given, handler=handler).wsgi(fields=bearer(unreachable.mint()))
        assert (answer.status, answer.header("www-authenticate")) == (503, None)
        assert int(answer.header("retry-after")) >= 1
    error = RefusedRequest(django_rejection(KeysUnavailableError(retry_after=7)))
    assert (error.status_code, error.wait, error.auth_header) == (503, 7, None)


def django_rejection(error):
    with override_settings(TOKENGUARD=GIVEN):
        return django_conf.current().drf.reject(error, HttpRequest())


def test_a_missing_token_is_answered_the_same_where_only_is_authenticated_asks(caplog):
    caplog.set_level(logging.INFO, "tokenguard.audit")
    validator = ISSUER.validator()
    audit.enable(validator)
    asked = project(IsAuthenticated, given={**GIVEN, "VALIDATOR": validator})
    assert asked.wsgi().verdict == over_http(MissingTokenError(), "GET", realm="orders")
    [record] = [record.audit for record in caplog.records if record.name == "tokenguard.audit"]
    assert (record["door"], record["reason"]) == ("drf", "missing")
    without = project(IsAuthenticated, handler={}).wsgi()
    assert (without.status, without.header("www-authenticate")) == (401, 'Bearer realm="orders"')
    # Where another authenticator comes first, the answer is its own.
    for authentication, status in (
        ((BasicAuthentication, BearerAuthentication), 401),
        ((Nobody, BearerAuthentication), 403),
    ):
        answer = project(IsAuthenticated, authentication=authentication).wsgi()
        assert (answer.status, answer.header("content-type")) == (status, "application/json")


@pytest.mark.parametrize(
    "error", [InsufficientScopeError(("x",)), KeysUnavailableError(retry_after=3), ConfigurationError("x")], ids=repr
)
def test_an_error_of_ours_out_of_a_view(error):
    def answer(request):
        raise error

    expected = over_http(error, "GET", realm="orders")
    assert project(Requires("a"), answer=answer).wsgi(fields=good()).verdict == expected
    for middleware in ([], [MIDDLEWARE]):  # without our handler it is Django's, and so the middleware's
        verdict = project(Requires("a"), answer=answer, handler={}, middleware=middleware).wsgi(fields=good()).verdict
        assert (verdict == expected) is bool(middleware)


def test_errors_of_ours_out_of_a_function_under_require():
    """The application's handler of Django REST framework answers first."""

    @api_view(["GET"])
    @require()
    def raising(request):
        raise InsufficientScopeError(("x",))

    for handler, middleware in ((OURS, []), (OURS, [MIDDLEWARE]), ({}, [MIDDLEWARE])):
        rest = {**handler, "DEFAULT_AUTHENTICATION_CLASSES": []}
        answer = Project([path("", raising)], GIVEN, middleware, REST_FRAMEWORK=rest).wsgi(fields=good())
        assert answer.verdict == over_http(InsufficientScopeError(("x",)), "GET", realm="orders")


def own_handler(error, context):
    return Response({}, status=418) if isinstance(error, InsufficientScopeError) else exception_handler(error, context)


def test_an_applications_own_handler_wins():
    def answer(request):
        raise InsufficientScopeError

    handler = {"EXCEPTION_HANDLER": f"{__name__}.own_handler"}
    assert project(Requires("a"), answer=answer, handler=handler).wsgi(fields=good()).status == 418
    assert project(Requires("a"), handler=handler).wsgi().status == 401


def test_everything_else_goes_to_the_frameworks_own_handler():
    def answer(request):
        raise exceptions.NotFound

    found = project(Requires("a"), answer=answer).wsgi(fields=good())
    assert (found.status, json.loads(found.body)) == (404, {"detail": "Not found."})
    assert exception_handler(exceptions.NotFound(), {}).status_code == 404
    assert exception_handler(KeyError(), {"request": None}) is None
    assert project(Never).wsgi(fields=good()).body == b'{"detail":"You do not have permission to perform this action."}'


def test_a_rejection_rolls_the_transaction_back():
    seen = []

    class Orders(APIView):
        authentication_classes = (BearerAuthentication,)

        def get(self, request):
            try:
                raise InsufficientScopeError
            finally:
                transaction.on_commit(lambda: seen.append("committed"))

    with override_settings(TOKENGUARD=GIVEN, REST_FRAMEWORK=OURS):
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            client = APIClient(headers={"Authorization": f"Bearer {ISSUER.mint()}"})
            with override_settings(ROOT_URLCONF=(path("", Orders.as_view()),)):
                assert client.get("/").status_code == 403
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False
            connection.close()
    assert seen == []


def test_bad_settings_are_500_and_open_nothing():
    for permissions in ([Requires("a")], [], [IsAuthenticated]):
        for fields in ((), good()):
            for handler in ({}, OURS):
                answer = project(*permissions, given={}, handler=handler).wsgi(fields=fields)
                assert (answer.status, answer.header("www-authenticate")) == (500, None)
    assert project(Requires("a"), given={}, authentication=()).wsgi(fields=good()).status == 500


def test_what_is_no_request_is_rejected():
    class Odd:
        _request = object()
        successful_authenticator = None

    with override_settings(TOKENGUARD=GIVEN):
        for asks in (
            lambda: BearerAuthentication().authenticate(Odd()),
            lambda: Requires()().has_permission(Odd(), None),
        ):
            with pytest.raises(RefusedRequest) as caught:
                asks()
            assert caught.value.status_code == 500


# -- a gateway's field, bound tokens -----------------------------------------------------------------------------------


def test_threat_141_a_gateways_field_needs_a_csrf_token():
    """The framework exempts its views; with an ambient token it is ours to ask, as its sessions do."""
    field = {GATEWAY: ISSUER.mint("a")}
    for authentication in ((BearerAuthentication,), ()):
        answer = (lambda _: Response({})) if not authentication else None
        used = project(Requires("a"), authentication=authentication, answer=answer, given={**GIVEN, "HEADER": GATEWAY})
        with used.in_use():
            client = APIClient(enforce_csrf_checks=True)
            assert client.get("/", headers=field).status_code == 200
            refused = client.post("/", headers=field)
            assert (refused.status_code, b"CSRF" in refused.content) == (403, True)
            client.cookies["csrftoken"] = "a" * 32
            assert client.post("/", headers={**field, "X-CSRFToken": "a" * 32}).status_code == 200
            assert client.post("/").status_code == 401
    with project(Requires("a")).in_use():
        client = APIClient(enforce_csrf_checks=True)
        assert client.post("/", headers={"Authorization": f"Bearer {ISSUER.mint('a')}"}).status_code == 200


@pytest.mark.parametrize("authentication", [(BearerAuthentication,), ()])
def test_require_around_a_view_of_the_framework_asks_for_a_csrf_token(authentication):
    """The exemption is the framework's, also where no authenticator of ours checks in its place."""
    field = {GATEWAY: ISSUER.mint("a")}
    guarded = require("a")(view(AllowAny, authentication=authentication, answer=lambda _: Response({})))
    csrf = "django.middleware.csrf.CsrfViewMiddleware"
    with Project([path("", guarded)], {**GIVEN, "HEADER": GATEWAY}, [csrf]).in_use():
        client = APIClient(enforce_csrf_checks=True)
        assert client.post("/", headers=field).status_code == 403
        client.cookies["csrftoken"] = "a" * 32
        assert client.post("/", headers={**field, "X-CSRFToken": "a" * 32}).status_code == 200


def test_one_proof_serves_middleware_authenticator_and_permission():
    key = ISSUER.client_key()
    token = ISSUER.mint("a", bound_to=key)
    given = {"VALIDATOR": watched(ISSUER.validator(dpop=DPoP("https://api.example.com")))}
    used = project(Requires("a"), given=given, middleware=[MIDDLEWARE])
    for ask in (used.wsgi, used.asgi):
        proof = key.proof(token, "GET", "https://api.example.com/")
        fields = [("Authorization", f"DPoP {token}"), ("DPoP", proof)]
        assert [ask(fields=fields).status for _ in range(2)] == [200, 401]
    header = BearerAuthentication()
    with used.in_use():
        assert header.authenticate_header(type("R", (), {"_request": HttpRequest()})).startswith("Bearer realm=")


@pytest.mark.parametrize("middleware", [[], [MIDDLEWARE]], ids=["alone", "behind the middleware"])
@pytest.mark.parametrize("handler", [{}, OURS], ids=["their handler", "our handler"])
def test_nonces_are_asked_for_and_renewed(handler, middleware):
    clock = Clock(1_900_000_000.0)
    issuer = FakeIssuer(clock=clock)
    key = issuer.client_key()
    token = issuer.mint("a", bound_to=key, expires_in=1_000)
    given = {"VALIDATOR": issuer.validator(dpop=DPoP("https://api.example.com", nonce_secret="s" * 32))}
    used = project(Requires("a"), given=given, handler=handler, middleware=middleware)

    def ask(token=token, **claims):
        proof = key.proof(token, "GET", "https://api.example.com/", **claims)
        answer = used.wsgi(fields=[("Authorization", f"DPoP {token}"), ("DPoP", proof)])
        return answer, answer.header("dpop-nonce")

    answer, nonce = ask()
    assert answer.status == 401
    assert 'error="use_dpop_nonce"' in answer.header("www-authenticate")
    assert [value for name, value in answer.headers if name == "dpop-nonce"] == [nonce]
    answer, successor = ask(nonce=nonce)
    assert (answer.status, successor) == (200, None)
    clock.advance(151)
    answer, successor = ask(nonce=nonce)
    assert answer.status == 200
    assert successor not in (None, nonce)
    poor, renewed = ask(issuer.mint("b", bound_to=key), nonce=nonce)
    assert (poor.status, renewed) == (403, successor)  # its proof was used as well
    assert ask(nonce=successor)[1] is None


def test_a_view_keeps_its_own_fields_and_shares_none_of_ours():
    class Orders(APIView):
        authentication_classes = (BearerAuthentication,)
        permission_classes = (Requires("a"),)
        default_response_headers = {"Cache-Control": "max-age=60", "X-Api": "2"}  # noqa: RUF012 - what is tested

        def get(self, request):
            return Response({})

    used = Project([path("", Orders.as_view())], GIVEN, REST_FRAMEWORK={})
    rejected, passed = used.wsgi(), used.wsgi(fields=good())
    assert (rejected.status, rejected.header("cache-control"), rejected.header("x-api")) == (401, "no-store", "2")
    assert (passed.status, passed.header("cache-control"), passed.header("x-api")) == (200, "max-age=60", "2")


# -- around it ---------------------------------------------------------------------------------------------------------


def test_throttling_counts_by_issuer_and_caller():
    class Once(UserRateThrottle):
        rate = "1/day"

    class Orders(APIView):
        authentication_classes = (BearerAuthentication,)
        throttle_classes = (Once,)

        def get(self, request):
            return HttpResponse()

    caches = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    with override_settings(CACHES=caches):
        view = Orders.as_view()
        with Project([path("", view)], GIVEN).in_use():
            key = Once().get_cache_key(type("R", (), {"user": TokenUser(VALIDATOR.validate(ISSUER.mint()))}), None)
    assert key == f"throttle_user_{ISSUER.url} sub:client"


def test_our_module_can_be_a_default_authenticator():
    """The framework imports these while it loads its views: ours must not import those."""
    program = """
import django
from django.conf import settings
settings.configure(
    ALLOWED_HOSTS=["*"], INSTALLED_APPS=["tokenguard.django"], ROOT_URLCONF=(), SECRET_KEY="x",
    TOKENGUARD={"ISSUER": "https://a.example/", "AUDIENCE": "x"},
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["tokenguard.drf.BearerAuthentication"],
        "EXCEPTION_HANDLER": "tokenguard.drf.exception_handler",
        "UNAUTHENTICATED_USER": None,
    },
)
django.setup()
from rest_framework.permissions import IsAuthenticated
from rest_framework.views import APIView
from django.test import RequestFactory, override_settings
class View(APIView):
    permission_classes = [IsAuthenticated]
answer = View.as_view()(RequestFactory().get("/"))
print(answer.status_code, answer["WWW-Authenticate"])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=clean({}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ('401 Bearer realm="api"', "")
