"""What `manage.py check` says of a project with `"tokenguard.django"` in `INSTALLED_APPS`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from django_project import MIDDLEWARE  # isort: skip - Django's settings first

from django.apps import apps
from django.core.checks import run_checks
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.test import override_settings
from django.urls import include, path
from real_servers import clean
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny, IsAdminUser, IsAuthenticated
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from tokenguard import ConfigurationError, routes
from tokenguard.django import BearerMiddleware, require
from tokenguard.drf import BearerAuthentication, Requires
from tokenguard.testing import Clock, FakeIssuer

ISSUER = FakeIssuer(clock=Clock())
GIVEN = {"VALIDATOR": ISSUER.validator()}
CSRF = "django.middleware.csrf.CsrfViewMiddleware"


class OwnCsrf(CsrfViewMiddleware):
    """Of an application."""


class Asking:
    def __init__(self, get_response):
        raise AssertionError("made")


class OwnBearer(BearerMiddleware):
    """Of an application."""


def plain(get_response):
    return get_response


def view(request):
    return HttpResponse()


def found(*, deploy=False, **changed):
    with override_settings(**{"TOKENGUARD": GIVEN, "ROOT_URLCONF": (), **changed}):
        messages = run_checks(include_deployment_checks=deploy)
    return [(message.id.removeprefix("tokenguard."), message.msg) for message in messages if "tokenguard" in message.id]


def test_the_app_has_a_label_and_no_models():
    config = apps.get_app_config("tokenguard")
    assert config.name == "tokenguard.django"
    assert list(config.get_models()) == []


def test_a_good_project_has_nothing_to_say():
    assert found(MIDDLEWARE=["corsheaders.middleware.CorsMiddleware", MIDDLEWARE, CSRF]) == []
    assert found() == []  # under decorators alone


def test_no_check_fetches_anything():
    issuer = FakeIssuer(clock=Clock())
    given = {"ISSUER": issuer.url, "AUDIENCE": issuer.audience, "TRANSPORT": issuer.transport}
    found(deploy=True, TOKENGUARD=given, MIDDLEWARE=[MIDDLEWARE], ROOT_URLCONF=(path("", view),))
    assert issuer.counters.total == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ISSUER": "https://a.example/"}, "AUDIENCE must be set"),
        (None, "TOKENGUARD must be a mapping"),
        ({**GIVEN, "REALMS": "x"}, "VALIDATOR replaces"),
    ],
)
def test_e001_bad_settings_in_the_words_of_the_error(given, words):
    [(name, text)] = found(TOKENGUARD=given)
    assert (name, words in text) == ("E001", True)


@pytest.mark.parametrize("csrf", [CSRF, f"{__name__}.OwnCsrf"])
@pytest.mark.parametrize("ours", [MIDDLEWARE, f"{__name__}.OwnBearer"])
def test_e002_the_order_of_middleware(csrf, ours):
    others = ["django.middleware.common.CommonMiddleware", f"{__name__}.plain"]
    [(name, text)] = found(MIDDLEWARE=[csrf, *others, ours])
    assert (name, "behind CsrfViewMiddleware" in text) == ("E002", True)
    assert found(MIDDLEWARE=[ours, *others, csrf]) == []
    assert found(MIDDLEWARE=[csrf, "nowhere.at.all"]) == []
    assert found(MIDDLEWARE=[csrf]) == found(MIDDLEWARE=[ours]) == []


def view_of(*permissions):
    class Orders(APIView):
        authentication_classes = (BearerAuthentication,)
        permission_classes = permissions

        def get(self, request):
            return Response()

    return Orders.as_view()


@pytest.mark.parametrize(
    ("permission", "is_found"),
    [
        (Requires("a"), False),
        (Requires("a") & IsAuthenticated, False),
        (IsAdminUser | Requires("a"), False),
        (IsAdminUser | (IsAuthenticated & Requires("a")), False),
        ((IsAdminUser | AllowAny) & Requires("a"), False),
        (Requires("a") & (IsAdminUser | AllowAny), False),
        (~IsAdminUser | Requires("a"), False),
        (Requires("a") | IsAdminUser, True),
        (Requires("a") | Requires("b"), True),
        ((IsAuthenticated & Requires("a")) | IsAdminUser, True),
        (IsAuthenticated & (Requires("a") | IsAdminUser), True),
        ((IsAdminUser | Requires("a")) | AllowAny, True),
        (~Requires("a"), True),
        (AllowAny & ~Requires("a"), True),
    ],
)
def test_w003_requires_before_another_permission(permission, is_found):
    patterns = (path("a/", include([path("b", view_of(IsAuthenticated, permission))])), path("c", view))
    messages = found(ROOT_URLCONF=patterns)
    assert [name for name, _ in messages] == ["W003"] * is_found
    assert all(f"{__name__}.view_of.<locals>.Orders" in text for _, text in messages)


def test_w003_looks_into_the_actions_of_viewsets_and_names_a_class_once():
    class Orders(ViewSet):
        def list(self, request):
            return Response()

        @action(detail=False, permission_classes=[Requires("a") | IsAdminUser])
        def export(self, request):
            return Response()

        @action(detail=False, permission_classes=[Requires("a") | IsAdminUser])
        def more(self, request):
            return Response()

    router = DefaultRouter()
    router.register("orders", Orders, basename="orders")
    assert [name for name, _ in found(ROOT_URLCONF=tuple(router.urls))] == ["W003"]


def test_urls_that_cannot_be_read_are_djangos_to_report():
    with override_settings(TOKENGUARD=GIVEN, ROOT_URLCONF="nowhere.at.all"):
        from tokenguard.django import checks

        assert checks.check_permissions() == []


def test_w001_routes_that_nothing_guards(monkeypatch):
    rows = [routes.Route(f"/{number}", ("GET",), (), guarded=number == 0, door=None) for number in range(12)]
    monkeypatch.setattr(routes, "audit", lambda app: rows)
    [(name, text)] = found(deploy=True)
    assert (name, text) == (
        "W001",
        "Routes that nothing guards: " + ", ".join(f"/{n}" for n in range(1, 11)) + " and 1 more",
    )
    monkeypatch.setattr(routes, "audit", lambda app: rows[:2])
    assert found(deploy=True) == [("W001", "Routes that nothing guards: /1")]
    monkeypatch.setattr(routes, "audit", lambda app: rows[:1])
    assert found(deploy=True) == []
    assert found() == []


def test_w001_reads_the_routes_of_the_project():
    inner = [path("open", view), path("guarded", require("a")(view)), path("rest", view_of(Requires("a")))]
    patterns = (path("health", view), path("api/", include(inner)), path("any", view_of(AllowAny)))
    [(name, text)] = found(deploy=True, ROOT_URLCONF=patterns)
    assert name == "W001"
    assert text == "Routes that nothing guards: /health, /api/open, /any"
    behind = {"MIDDLEWARE": [MIDDLEWARE], "ROOT_URLCONF": patterns}
    assert found(deploy=True, **behind) == []
    public = {**GIVEN, "PUBLIC": ["/health"]}
    assert found(deploy=True, TOKENGUARD=public, **behind) == [("W001", "Routes that nothing guards: /health")]
    optional = found(deploy=True, TOKENGUARD={**GIVEN, "OPTIONAL": True}, **behind)
    assert optional == [("W001", text)]


def test_w001_what_cannot_be_known_is_said(monkeypatch):
    def fails(app):
        raise ConfigurationError("unreadable")

    assert found(deploy=True, MIDDLEWARE=[f"{__name__}.Missing"]) == [
        ("W001", "Which routes are guarded is not known: ImportError")
    ]
    monkeypatch.setattr(routes, "audit", fails)
    assert found(deploy=True) == [("W001", "Which routes are guarded is not known: unreadable")]


def test_w001_makes_no_middleware():
    """Middleware may ask others for something when it is made, and a check asks nobody."""
    patterns = (path("open", view),)
    only = found(deploy=True, MIDDLEWARE=[f"{__name__}.Asking"], ROOT_URLCONF=patterns)
    assert only == [("W001", "Routes that nothing guards: /open")]


def test_w002_settings_for_development():
    given = {"ISSUER": "https://a.example/", "AUDIENCE": "x"}
    patterns = (path("", require()(view)),)

    def names(given):
        return [text for name, text in found(deploy=True, TOKENGUARD=given, ROOT_URLCONF=patterns) if name == "W002"]

    assert names(given) == []
    assert names({**given, "SHOW_REASON": True}) == ["SHOW_REASON is on, which is for development."]
    insecure = {**given, "ISSUER": "http://a.example/", "ALLOW_INSECURE_HTTP": "yes"}
    assert names(insecure) == ["ALLOW_INSECURE_HTTP is on, which is for development."]
    assert names({"VALIDATOR": ISSUER.validator(allow_insecure_http=True)}) == names(insecure)
    assert names({}) == []


def test_as_a_command_without_a_database(tmp_path):
    (tmp_path / "settings.py").write_text(
        'INSTALLED_APPS = ["tokenguard.django"]\nROOT_URLCONF = "settings"\nSECRET_KEY = "x"\nurlpatterns = []\n'
        'TOKENGUARD = {"ISSUER": "https://a.example/"}\n'
    )
    for more, status, words in ((), 1, "(tokenguard.E001) AUDIENCE must be set"), (("AUDIENCE",), 0, "no issues"):
        if more:
            with (tmp_path / "settings.py").open("a") as file:
                file.write('TOKENGUARD["AUDIENCE"] = "x"\n')
        done = subprocess.run(
            [sys.executable, "-m", "django", "check", "--settings", "settings", "--pythonpath", str(tmp_path)],
            env=clean({}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, words in done.stdout + done.stderr) == (status, True)
