"""The routes of real Django projects: includes, view classes, Django REST framework, django-ninja."""

import functools
import sys

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.http import HttpResponse
from django.test import override_settings
from django.urls import include, path, re_path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django_project import MIDDLEWARE, Project
from ninja import NinjaAPI, Router
from ninja.decorators import decorate_view
from rest_framework.authentication import SessionAuthentication
from rest_framework.decorators import action, api_view, permission_classes
from rest_framework.permissions import AllowAny, IsAdminUser, IsAuthenticated
from rest_framework.routers import DefaultRouter, SimpleRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from tokenguard import ConfigurationError
from tokenguard._adapters.metadata import scopes_of
from tokenguard.django import BearerMiddleware, require
from tokenguard.drf import BearerAuthentication, Requires
from tokenguard.observe import ObservingWsgiMiddleware
from tokenguard.requirements import Role, Scope
from tokenguard.routes import audit
from tokenguard.testing import FakeIssuer
from tokenguard.wsgi import BearerMiddleware as AroundWsgi

VALIDATOR = FakeIssuer().validator()
GIVEN = {"VALIDATOR": VALIDATOR}


def plain(request, **_):
    return HttpResponse("served")


async def later(request, **_):
    return HttpResponse("served")


class Ours(BearerMiddleware):
    """Middleware of a project's own."""


class ButForPreflights(BearerMiddleware):
    """One that may let requests pass."""

    def __call__(self, request):
        inner = self._get_response if request.method == "OPTIONS" else super().__call__
        return inner(request)


def shown(patterns, *middleware, around=None, **given):
    project = Project(patterns, {**GIVEN, **given}, middleware)
    with project.in_use():
        rows = audit(project._wsgi if around is None else around(project._wsgi))
        assert around is not None or rows == audit(project._asgi)
    return [(row.path, " ".join(row.methods), " ".join(row.scope), row.door) for row in rows]


def test_views_and_includes():
    patterns = [
        path("", plain),
        path("open/<int:order>/", csrf_exempt(plain)),
        path("orders/", require("b", "a")(plain)),
        path("later/", csrf_exempt(require("later")(later))),
        path("any/", require()(plain)),
        path("in/", include([path("x/", require("x")(plain)), path("<slug:name>/", include([path("y", plain)]))])),
        path("partial/", functools.partial(require("p")(plain), more=1)),
    ]
    assert shown(patterns) == [
        ("/", "*", "", None),
        ("/open/<int:order>/", "*", "", None),
        ("/orders/", "*", "a b", "django"),
        ("/later/", "*", "later", "django"),
        ("/any/", "*", "", "django"),
        ("/in/x/", "*", "x", "django"),
        ("/in/<slug:name>/y", "*", "", None),
        ("/partial/", "*", "p", "django"),
    ]


def test_middleware():
    patterns = [path("health", plain), path("<name>", plain), path("orders", require("a")(plain))]
    rows = [
        ("/health", "*", "", None),
        ("/<name>", "*", "all", "django"),
        ("/login", "*", "", None),
        ("/orders", "*", "a all", "django"),
    ]
    assert shown(patterns, MIDDLEWARE, SCOPE="all", PUBLIC=["/health", "/login"]) == rows
    assert (
        shown(patterns, "django.middleware.common.CommonMiddleware", f"{__name__}.Ours", SCOPE="all")[0][3] == "django"
    )
    assert shown(patterns[:1], f"{__name__}.ButForPreflights") == [("/health", "*", "", None)]
    assert shown(patterns, MIDDLEWARE, OPTIONAL=True) == [
        ("/health", "*", "", "optional"),
        ("/<name>", "*", "", "optional"),
        ("/orders", "*", "a", "django"),
    ]
    assert shown(patterns[:1], MIDDLEWARE, PUBLIC="/health", REQUIRE=Role("r"), around=_guarded) == [
        ("/health", "*", "w", "wsgi")
    ]


def _guarded(app):
    return AroundWsgi(app, VALIDATOR, scope="w")


def test_middleware_that_observes_guards_nothing():
    rows = shown([path("x", plain)], around=lambda app: ObservingWsgiMiddleware(app, VALIDATOR))
    assert rows == [("/x", "*", "", None)]


def test_settings_that_are_none():
    project = Project([path("x", plain)], GIVEN, [MIDDLEWARE])
    with project.in_use(), override_settings(TOKENGUARD={}), pytest.raises(ConfigurationError):
        audit(project._wsgi)
    with project.in_use(), override_settings(TOKENGUARD={}, MIDDLEWARE=[]):
        assert len(audit(project._wsgi)) == 1


@pytest.mark.parametrize(
    ("pattern", "shown_as", "public", "part"),
    [
        (r"^files/(?P<name>[^/]+)$", "/files/<name>", "/files/a/b", True),
        (r"^files/(?P<name>[^/]+)$", "/files/<name>", "/other", False),
        (r"^(?:a/)?b/(\d+)$", "/b/<var>", "/a/b", True),
        (r"^(?:a/)?b/(\d+)/$", "/b/<var>/", "/a/b", False),
        (r"^(?:a/)?b/(\d+)/$", "/b/<var>/", "/b/*", False),
        (r"^orders/?$", "/orders/", "/orders", True),
        (r"^orders/?$", "/orders/", "/other", False),
        (r"^orders$", "/orders", "/other", False),
        (r"^orders", "/orders", "/orders/x", True),
        (r"orders$", "/orders", "/x/orders", True),
        (r"^a$|^b$", "/a|b", "/b", True),
    ],
)
def test_regular_expressions_may_match_anything(pattern, shown_as, public, part):
    rows = shown([re_path(pattern, plain)], MIDDLEWARE, PUBLIC=public)
    assert rows == [(shown_as, "*", "", "django"), *([(public, "*", "", None)] if part else [])]
    rows = shown([re_path(r"^orders$", plain)], MIDDLEWARE, PUBLIC="/orders")
    assert rows == [("/orders", "*", "", None)]


def test_what_ends_with_a_slash_is_never_public():
    """The middleware does not take such a path for a public one, and neither does the list."""
    patterns = [path("docs/<str:page>/", plain), path("docs/<path:rest>/", plain), path("docs/a b", plain)]
    patterns += [re_path(r"^docs/[a-z]+/$", plain), path("docs/<str:page>", plain)]
    project = Project(patterns, {**GIVEN, "PUBLIC": "/docs/*"}, [MIDDLEWARE])
    assert project.wsgi(path="/docs/a/").status == 401
    assert project.wsgi(path="/docs/a b").status == 401
    assert project.wsgi(path="/docs/a").status == 200
    assert [row[3] for row in shown(patterns, MIDDLEWARE, PUBLIC="/docs/*")] == ["django"] * 4 + [None]


def test_a_path_that_goes_by_the_language_may_match_anything():
    translated = gettext_lazy("docs")
    patterns = [path(translated, plain), re_path(translated, plain), *i18n_patterns(path("x", plain))]
    rows = shown(patterns, MIDDLEWARE, PUBLIC="/de/x")
    assert rows[:2] == [("/docs", "*", "", "django"), ("/de/x", "*", "", None)]
    assert ("/en-us/x", "*", "", "django") in rows
    for one in patterns:
        assert ("/de/x", "*", "", None) in shown([one], MIDDLEWARE, PUBLIC="/de/x")


@method_decorator(require("all"), name="dispatch")
class Guarded(View):
    def get(self, request): ...

    @method_decorator(require("more"))
    def post(self, request): ...


@method_decorator([require("first"), require("second")], name="dispatch")
class Listed(View):
    def get(self, request): ...


@method_decorator(require("first"), name="dispatch")
@method_decorator(require("second"), name="dispatch")
class Stacked(View):
    def get(self, request): ...


@pytest.mark.parametrize("kind", [Listed, Stacked])
def test_several_decorators_of_a_class_are_added_up(kind):
    """`method_decorator` keeps the attributes of the last decorator alone, where several have the same."""
    view = kind.as_view()
    assert shown([path("a", view)]) == [("/a", "GET HEAD", "first second", "django")]
    assert scopes_of([view]) == {"first", "second"}


class ByMethod(View):
    def get(self, request): ...

    def head(self, request): ...

    @method_decorator(require("put"))
    def put(self, request): ...

    @method_decorator(require("options"))
    def options(self, request): ...


def test_view_classes():
    patterns = [
        path("a", Guarded.as_view()),
        path("b", ByMethod.as_view()),
        path("c", require("c")(ByMethod.as_view())),
    ]
    assert shown(patterns) == [
        ("/a", "GET HEAD", "all", "django"),
        ("/a", "POST", "all more", "django"),
        ("/b", "GET HEAD", "", None),
        ("/b", "PUT", "put", "django"),
        ("/b", "OPTIONS", "options", "django"),
        ("/c", "GET HEAD", "c", "django"),
        ("/c", "PUT", "c put", "django"),
        ("/c", "OPTIONS", "c options", "django"),
    ]


class Inheriting(Guarded):
    def dispatch(self, request, *args, **kwargs):
        return super().dispatch(request, *args, **kwargs)


@method_decorator(never_cache, name="dispatch")
class Decorated(Inheriting):
    pass


class Bypassing(Guarded):
    def dispatch(self, request, *args, **kwargs):
        return View.dispatch(self, request, *args, **kwargs)


class Answering(ByMethod):
    dispatch = plain


class Calling(ByMethod):
    dispatch = functools.partialmethod(plain)


def test_overrides_of_dispatch_count_as_far_as_each_calls_the_next():
    everything = ["all", "all more"]
    kinds = {Inheriting: everything, Decorated: everything, Bypassing: [""], Answering: [""], Calling: [""]}
    for kind, scopes in kinds.items():
        assert [row[2] for row in shown([path("x", kind.as_view())])] == scopes, kind


# -- Django REST framework ---------------------------------------------------------------------------------------------


def api(permissions, authenticators=(BearerAuthentication,), **more):
    class Api(APIView):
        permission_classes = permissions
        authentication_classes = authenticators

        def get(self, request): ...

    for name, value in more.items():
        setattr(Api, name, value)
    return Api.as_view()


class OrPosting(IsAuthenticated):
    def has_permission(self, request, view):
        return request.method == "POST" or super().has_permission(request, view)


class OrPostingWithScope(Requires("a")):
    def has_permission(self, request, view):
        return request.method == "POST" or super().has_permission(request, view)


class Named(Requires("a")):
    message = "a text of the project's own"


class OrAnybody(BearerAuthentication):
    def authenticate(self, request):
        return super().authenticate(request) or (object(), None)


class Logged(APIView):
    permission_classes = (Requires("a"),)

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)

    def get(self, request): ...


PERMISSIONS = [
    (api([OrPosting]), None),
    (api([OrPosting & Requires("a")]), "a"),
    (api([OrPostingWithScope]), None),
    (api([Named]), "a"),
    (api([IsAuthenticated], [OrAnybody]), None),
    (api([]), None),  # it authenticates, and lets everybody in
    (api([AllowAny]), None),
    (api([IsAuthenticated]), ""),
    (api([IsAdminUser]), None),
    (api([IsAuthenticated], [SessionAuthentication, BearerAuthentication]), None),
    (api([IsAuthenticated], []), None),
    (api([IsAuthenticated], get_authenticators=lambda self: []), None),
    (api([Requires("a")], [SessionAuthentication]), "a"),
    (api([Requires()], []), ""),
    (api([Requires("b", "a"), Requires("c")]), "a b c"),
    (api([Requires("a") & AllowAny]), "a"),
    (api([AllowAny & Requires("a")]), "a"),
    (api([Requires("a") & Requires("b")]), "a b"),
    (api([AllowAny | Requires("a")]), None),
    (api([Requires("a") | AllowAny]), None),
    (api([Requires("a") | Requires("b")]), "a"),
    (api([IsAuthenticated & (Requires("a") | AllowAny)]), ""),
    (api([~Requires("a")]), None),
    (api([Requires(Scope("a") & Role("r"))]), "a"),
    (api([Requires("a")], get_permissions=lambda self: []), None),
    (api([Requires("a")], check_permissions=lambda self, request: None), None),
    (api([Requires("a")], initial=lambda self, request: None), None),
    (api([Requires("a")], dispatch=lambda self, request: plain(request)), None),
    (method_decorator(never_cache, name="dispatch")(api([Requires("a")]).cls).as_view(), "a"),
    (method_decorator(require("d"), name="get")(api([]).cls).as_view(), "d"),
    (Logged.as_view(), "a"),
]


def test_permissions():
    patterns = [path(f"x{number}", view) for number, (view, _) in enumerate(PERMISSIONS)]
    for (_, scope), (where, methods, *rest) in zip(PERMISSIONS, shown(patterns), strict=True):
        assert methods == "GET HEAD"
        assert rest == (["", None] if scope is None else [scope, "django" if scope == "d" else "drf"]), where


class Orders(ViewSet):
    permission_classes = (Requires("orders:read"),)

    def list(self, request): ...

    def create(self, request): ...

    def retrieve(self, request, pk): ...

    @action(detail=True, methods=["post"], permission_classes=[AllowAny])
    def hook(self, request, pk): ...

    @method_decorator(require("more"))
    def destroy(self, request, pk): ...


@pytest.mark.parametrize("as_path", [True, False])
def test_routers(as_path):
    router = SimpleRouter(use_regex_path=not as_path)
    router.register("orders", Orders, basename="orders")
    kind = "str:" if as_path else ""
    assert shown([path("v1/", include(router.urls))]) == [
        ("/v1/orders/", "GET HEAD POST", "orders:read", "drf"),
        (f"/v1/orders/<{kind}pk>/", "GET HEAD", "orders:read", "drf"),
        (f"/v1/orders/<{kind}pk>/", "DELETE", "more orders:read", "django"),
        (f"/v1/orders/<{kind}pk>/hook/", "POST", "", None),
    ]
    root = DefaultRouter()
    root.register("orders", Orders, basename="orders")
    assert "/v1/" in [row[0] for row in shown([path("v1/", include(root.urls))])]


def test_functions_under_api_view():
    @api_view(["GET", "POST"])
    @permission_classes([Requires("f")])
    def view(request): ...

    assert shown([path("x", view)]) == [("/x", "GET HEAD POST", "f", "drf")]


def test_functions_under_require_and_api_view():
    @require("f")
    def view(request): ...

    below = api_view(["GET", "POST"])(view)
    assert shown([path("x", below)]) == [("/x", "GET HEAD POST", "f", "django")]
    assert shown([path("x", require("g")(below))]) == [("/x", "GET HEAD POST", "f g", "django")]
    assert shown([path("x", api_view(["PUT"])(plain))]) == [("/x", "PUT", "", None)]


# -- django-ninja ------------------------------------------------------------------------------------------------------


def test_views_are_known_where_ninja_is_not_loaded(monkeypatch):
    monkeypatch.delitem(sys.modules, "ninja.operation")
    assert shown([path("x", plain)]) == [("/x", "*", "", None)]


def test_ninja():
    made = NinjaAPI(urls_namespace="routes", docs_url=None, openapi_url=None)
    router = Router()

    @made.get("/orders/{int:order}")
    @decorate_view(require("orders:read"))
    def read_order(request, order: int): ...

    @made.delete("/orders/{int:order}")
    def delete_order(request, order: int): ...

    @router.api_operation(["PUT", "PATCH"], "/things")
    @decorate_view(require("outer"), require("inner"))
    async def change(request): ...

    @router.get("/direct")
    @require("direct")
    def direct(request): ...

    made.add_router("/v1", router)
    rows = [row for row in shown([path("api/", made.urls)]) if row[0] != "/api/"]
    assert rows == [
        ("/api/orders/<int:order>", "GET", "orders:read", "django"),
        ("/api/orders/<int:order>", "DELETE", "", None),
        ("/api/v1/things", "PATCH PUT", "inner outer", "django"),
        ("/api/v1/direct", "GET", "direct", "django"),
    ]
    assert {row[3] for row in shown([path("api/", made.urls)], MIDDLEWARE)} == {"django"}
