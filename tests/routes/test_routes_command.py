"""`tokenguard routes` and the assertion of the pytest plugin: names of open routes, exit codes, apps that do not
load."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from commands import run
from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Route

from tokenguard import ConfigurationError
from tokenguard.observe import ObservingAsgiMiddleware, ObservingWsgiMiddleware
from tokenguard.routes import audit, compare
from tokenguard.testing import FakeIssuer, assert_all_routes_guarded

SHOP = """
    print("hello")  # to standard error, or the JSON would be none

    from fastapi import Depends, FastAPI
    from tokenguard import Issuer, TokenValidator
    from tokenguard.fastapi import BearerToken

    validator = TokenValidator(Issuer("https://nobody.invalid"), audience="a")
    bearer = BearerToken(validator)
    app = FastAPI(openapi_url=None)
    app.get("/health")(lambda: None)
    app.get("/caf\\u00e9", dependencies=[Depends(bearer)])(lambda: None)
    number = 5
    inside = type("Shop", (), {"app": app})

    def make():
        return app

    def fail():
        raise ValueError("postgres://shop:secret@db")

    async def foreign(scope, receive, send):
        pass
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "tg_shop.py").write_text(textwrap.dedent(SHOP), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("tg_shop", "tg_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    for name in ("tg_shop", "tg_broken"):
        sys.modules.pop(name, None)


CAFE = {"path": "/café", "methods": ["GET"], "scope": [], "guarded": True, "door": "fastapi"}
HEALTH = {"path": "/health", "methods": ["GET"], "scope": [], "guarded": False, "door": None}


@pytest.mark.parametrize("app", ["tg_shop:app", "tg_shop:inside.app", "tg_shop:make()"])
def test_for_machines(shop, app):
    ran = run("routes", app, "--json")
    assert (ran.code, ran.json) == (1, {"routes": [HEALTH, CAFE], "unguarded": ["/health"], "gone": []})
    ran = run("routes", app, "--json", "--public", "/health")
    assert (ran.code, ran.json) == (0, {"routes": [HEALTH, CAFE], "unguarded": [], "gone": []})
    ran = run("routes", app, "--json", "--public", "/health", "--public", "/gone", "--public", "/café")
    assert (ran.code, ran.json["unguarded"], ran.json["gone"]) == (1, [], ["/gone", "/café"])


def test_for_people(shop):
    ran = run("routes", "tg_shop:app", "--public", "/old")
    assert ran.code == 1
    assert [line.split() for line in ran.out.splitlines()[:3]] == [
        ["path", "methods", "door", "scope"],
        ["x", "/health", "GET"],
        ["+", "/caf\\xe9", "GET", "fastapi"],
    ]
    assert "/old is the path of no unguarded route: take it off the list" in ran.out
    assert "1 unguarded and not named, 1 named and not unguarded" in ran.out
    ran = run("routes", "tg_shop:app", "--public", "/health")
    assert (ran.code, ran.out.splitlines()[1].split()) == (0, [".", "/health", "GET"])
    assert "every route is guarded, or named" in ran.out
    assert "\\u001b" in run("routes", "tg_shop:app", "--public", "\x1b[31m").out


@pytest.mark.parametrize(
    ("app", "text"),
    [
        ("tg_shop", "APP must be module:attribute"),
        ("tg_shop:", "APP must be module:attribute"),
        (":app", "APP must be module:attribute"),
        ("tg_shop:make(1)", "APP must be module:attribute"),
        ("tg_shop:app.", "APP must be module:attribute"),
        ("tg_shop:nope", "tg_shop:nope cannot be loaded: there is no nope in it"),
        ("tg_shop:inside.nope", "there is no nope in it"),
        ("tg_shop:number()", "tg_shop:number() cannot be loaded: TypeError"),
        ("tg_shop:fail()", "tg_shop:fail() cannot be loaded: ValueError at"),
        ("tg_nowhere.main:app", 'cannot be loaded: there is no module "tg_nowhere"'),
        (
            "tg_shop:number",
            "only routes of FastAPI, Starlette, Flask and Django apps can be read, and this is none of them",
        ),
        ("tg_shop:validator", "this is none of them"),
        ("tg_shop:make", "tg_shop:make is a function: write tg_shop:make() for the app that it returns"),
        ("tg_shop:foreign", "this is none of them"),
        ("builtins:getattr", "this is none of them"),
        ("..:app", "cannot be loaded"),
    ],
)
def test_an_app_that_cannot_be_loaded(shop, app, text):
    ran = run("routes", app, "--json", secret="secret@db")
    assert (ran.code, ran.out) == (2, "")
    assert text in ran.err
    assert ran.err.removeprefix("hello\n").count("\n") == 1


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("raise SystemExit(3)", "SystemExit at"),
        ("from tg_shop import nothing", "ImportError at"),
        ("(", "SyntaxError"),
        ("from tokenguard import TokenValidator\nTokenValidator('x', '')", "give jwks_uri or jwks"),
        (
            "from starlette.applications import Starlette\napp = Starlette()\napp.router.routes = None",
            "the routes of APP cannot be read: TypeError at",
        ),
    ],
)
def test_a_module_that_fails(shop, source, text):
    (shop / "tg_broken.py").write_text(source)
    ran = run("routes", "tg_broken:app")
    assert (ran.code, ran.out) == (2, "")
    assert text in ran.err


def test_names_in_pyproject(shop, monkeypatch):
    (shop / "pyproject.toml").write_text('[tool.tokenguard]\nunguarded = ["/health", "/old"]\n')
    assert run("routes", "tg_shop:app", "--json").json["gone"] == ["/old"]
    (shop / "below").mkdir()
    monkeypatch.chdir(shop / "below")
    monkeypatch.syspath_prepend(shop)
    assert run("routes", "tg_shop:app", "--json").json["gone"] == ["/old"]
    (shop / "pyproject.toml").write_text('[tool.tokenguard]\nunguarded = ["/health"]\n')
    assert run("routes", "tg_shop:app", "--public", "/health").code == 0
    (shop / "pyproject.toml").write_text("[tool.other]\n")
    assert run("routes", "tg_shop:app").code == 1
    (shop / "pyproject.toml").write_text("[project]\n")
    assert run("routes", "tg_shop:app").code == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.tokenguard]\nungarded = []", "must have no name but unguarded"),
        ("[tool]\ntokenguard = 5", "must have no name but unguarded"),
        ('[tool.tokenguard]\nunguarded = "/health"', "must be a list of paths"),
        ("[tool.tokenguard]\nunguarded = [5]", "must be a list of paths"),
        ("[tool", "cannot be read"),
        (b"\xff", "cannot be read"),
    ],
)
def test_a_bad_pyproject(shop, text, said):
    (shop / "pyproject.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    ran = run("routes", "tg_shop:app")
    assert (ran.code, said in ran.err) == (2, True)


def test_no_pyproject_at_all(shop, monkeypatch):
    monkeypatch.chdir("/")
    monkeypatch.syspath_prepend(shop)
    assert run("routes", "tg_shop:app").code == 1


DJANGO = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(ROOT_URLCONF="tg_broken")
urlpatterns = [path("x", print)]
app = get_wsgi_application()
"""
FRAMEWORKS = ("django", "fastapi", "flask", "starlette")


@pytest.mark.parametrize(
    ("source", "opened", "loaded"),
    [
        ("from flask import Flask\napp = Flask('x')", "/static/<path:filename>", ["flask"]),
        (
            "from starlette import routing\nroute = routing.Route('/x', print)\napp = routing.Router([route])",
            "/x",
            ["starlette"],
        ),
        (
            DJANGO,
            "/x",
            ["django"],
        ),
    ],
    ids=["flask", "starlette", "django"],
)
def test_the_real_command(shop, source, opened, loaded):
    """As a process of its own: it finds the app in the working directory, and loads no framework but the app's."""
    listed = f"print([name for name in {FRAMEWORKS} if name in sys.modules], file=sys.stderr)"
    (shop / "tg_broken.py").write_text(f"import atexit, sys\n{source}\natexit.register(lambda: {listed})\n")
    ran = subprocess.run(
        [sys.executable, "-m", "tokenguard.cli", "routes", "tg_broken:app", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    assert (ran.returncode, json.loads(ran.stdout)["unguarded"]) == (1, [opened])
    assert ran.stderr == f"{loaded}\n"


async def plain(request): ...


@pytest.mark.parametrize("around", [False, True], ids=["within the app", "around the app"])
def test_middleware_that_observes_guards_nothing(around):
    validator = FakeIssuer().validator()
    app = Starlette(routes=[Route("/x", plain)])
    if around:
        app = ObservingAsgiMiddleware(app, validator)
    else:
        app.add_middleware(ObservingAsgiMiddleware, validator)
    assert [(row.path, row.guarded, row.door) for row in audit(app)] == [("/x", False, None)]
    shop = Flask("shop", static_folder=None)
    shop.add_url_rule("/x", view_func=lambda: "x")
    shop.wsgi_app = ObservingWsgiMiddleware(shop.wsgi_app, validator)
    assert [(row.path, row.guarded) for row in audit(shop)] == [("/x", False)]


def test_the_assertion():
    app = Starlette(routes=[Route("/a", plain), Route("/b", plain)])
    assert_all_routes_guarded(app, public=["/a", "/b"])
    assert_all_routes_guarded(Starlette())
    with pytest.raises(AssertionError, match=r"^/b: needs no token, and is not named as public\n/c: named as public"):
        assert_all_routes_guarded(app, public=["/a", "/c"])
    with pytest.raises(AssertionError, match="/a: needs no token"):
        assert_all_routes_guarded(app, "/b")
    with pytest.raises(ConfigurationError, match="this is none of them"):
        assert_all_routes_guarded(5)
    with pytest.raises(ConfigurationError, match="paths of routes"):
        assert_all_routes_guarded(app, [5])


def test_the_assertion_is_a_fixture(assert_all_routes_guarded):
    with pytest.raises(AssertionError):
        assert_all_routes_guarded(Starlette(routes=[Route("/a", plain)]))


def test_a_star_names_one_row():
    assert compare([], []) is not None
    assert not compare([], [])
    assert compare([], "/a/*").gone == ("/a/*",)
