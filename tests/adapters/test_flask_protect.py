"""Flask: all views of a blueprint or an app guarded at one place, and what browsers need."""

from __future__ import annotations

import pytest
from flask import Blueprint, Flask, redirect, request
from flask.views import MethodView
from flask_cors import CORS, cross_origin
from raw_requests import ask_wsgi
from request_table import bearer

from tokenguard import ConfigurationError
from tokenguard._adapters.marks import marks
from tokenguard.flask import TokenGuard, current_token, require_scope
from tokenguard.testing import Clock, FakeIssuer

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
ORIGIN = ("Origin", "https://spa.example.com")
PREFLIGHT = [ORIGIN, ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization")]


def good(scope="a"):
    return bearer(ISSUER.mint(scope))


def api(how):
    """An app with a guarded blueprint, by `protect` or by a decorated hook."""
    app, part, nested = Flask("protected"), Blueprint("part", __name__), Blueprint("nested", __name__)
    guard = TokenGuard(app, VALIDATOR)
    if how == "protect":
        guard.protect(part, scope="a", public=["/api/health", "/api/docs/*"])
    else:

        @part.before_request
        @require_scope("a")
        def hook():
            assert current_token.issuer == ISSUER.url

    @part.get("/me")
    def me():
        return current_token.issuer

    @part.get("/more")
    @require_scope("b")
    def more():
        return "more"

    @part.route("/own", methods=["GET", "OPTIONS"])
    def own():
        return "own"

    @nested.get("/deep")
    async def deep():
        return current_token.issuer

    class Resource(MethodView):
        def get(self):
            return "resource"

    part.add_url_rule("/resource/", view_func=Resource.as_view("resource"))
    for path in ("/health", "/docs/x", "/docs"):
        part.add_url_rule(path, path, lambda: str(bool(current_token)))
    app.get("/open")(lambda: str(bool(current_token)))
    part.register_blueprint(nested, url_prefix="/nested")
    app.register_blueprint(part, url_prefix="/api")
    return app


@pytest.mark.parametrize("how", ["protect", "hook"])
@pytest.mark.parametrize("path", ["/api/me", "/api/nested/deep", "/api/resource/", "/api/own"])
def test_every_view_of_a_blueprint_is_guarded(how, path):
    app = api(how)
    for method in ("GET", "HEAD"):
        assert ask_wsgi(app, method, path).status == 401
        assert ask_wsgi(app, method, path, fields=bearer(ISSUER.expired())).status == 401
        assert ask_wsgi(app, method, path, fields=[*good(), *good()]).status == 400
        assert ask_wsgi(app, method, path, fields=good("b")).status == 403
        assert ask_wsgi(app, method, path, fields=good()).status == 200
    assert ask_wsgi(app, path="/open", fields=good()).body == b"False"


@pytest.mark.parametrize("how", ["protect", "hook"])
def test_a_view_may_ask_for_more_and_its_token_is_the_last(how):
    app = api(how)
    assert ask_wsgi(app, path="/api/more", fields=good("a")).status == 403
    assert ask_wsgi(app, path="/api/more", fields=good("b")).status == 403
    assert ask_wsgi(app, path="/api/more", fields=good("a b")).status == 200


@pytest.mark.parametrize("how", ["protect", "hook"])
def test_options_of_flask_are_open_and_a_views_own_are_not(how):
    app = api(how)
    for path in ("/api/me", "/api/resource/", "/api/nested/deep"):
        answer = ask_wsgi(app, "OPTIONS", path)
        assert (answer.status, answer.body) == (200, b"")
        assert "GET" in (answer.header("allow") or "")
    assert ask_wsgi(app, "OPTIONS", "/api/own").status == 401
    assert ask_wsgi(app, "OPTIONS", "/api/own", fields=good()).body == b"own"


@pytest.mark.parametrize("how", ["protect", "hook"])
def test_what_no_view_answers_is_flasks(how):
    app = api(how)
    assert ask_wsgi(app, path="/api/nowhere").status == 404
    assert ask_wsgi(app, "POST", "/api/me").status == 405
    assert ask_wsgi(app, path="/api/resource").status == 308


def test_public_paths_of_a_protected_blueprint():
    app = api("protect")
    for path in ("/api/health", "/api/docs/x"):
        assert ask_wsgi(app, path=path).body == b"False"
    assert ask_wsgi(app, path="/api/docs").status == 401
    assert ask_wsgi(app, path="/api/docs/x", RAW_URI="/api/docs%2fx").status == 401
    assert ask_wsgi(app, path="/api/docs/x", REQUEST_URI="/api/docs%2Fx?y").status == 401


def test_a_whole_app_with_its_static_files():
    app = Flask("whole", static_folder="vectors")
    guard = TokenGuard(app, VALIDATOR)
    guard.protect(app, public="/health")
    app.get("/health")(lambda: "well")
    app.get("/x", endpoint="x")(lambda: current_token.issuer)
    assert ask_wsgi(app, path="/health").body == b"well"
    assert ask_wsgi(app, path="/x").status == 401
    assert ask_wsgi(app, path="/x", fields=good("")).status == 200
    assert ask_wsgi(app, path="/vectors/generate.py").status == 401
    assert ask_wsgi(app, path="/nowhere").status == 404
    assert ask_wsgi(app, "POST", "/x").status == 405
    assert ask_wsgi(app, "OPTIONS", "/x").status == 200
    [*_, hook] = app.before_request_funcs[None]
    assert [mark.scopes for mark in marks(hook)] == [()]


def test_an_app_without_a_guard_answers_500():
    part, app = Blueprint("part", __name__), Flask("unguarded")
    TokenGuard(validator=VALIDATOR).protect(part)
    part.get("/")(lambda: "open")
    app.register_blueprint(part)
    assert ask_wsgi(app, fields=good()).status == 500


@pytest.mark.parametrize("views", [None, "api", Flask, VALIDATOR, lambda: None])
def test_only_apps_and_blueprints_can_be_protected(views):
    with pytest.raises(ConfigurationError, match="protect"):
        TokenGuard(validator=VALIDATOR).protect(views)


@pytest.mark.parametrize(
    "settings", [{"scope": ""}, {"scope": 'a"b'}, {"public": "/*"}, {"public": "x"}, {"public": 7}]
)
def test_bad_settings_of_protect_are_errors(settings):
    with pytest.raises(ConfigurationError):
        TokenGuard(validator=VALIDATOR).protect(Blueprint("x", __name__), **settings)


# ---------------------------------------------------------------------------------------------------------------- CORS


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("how", ["decorator", "protect", "hook"])
def test_flask_cors_works_as_it_is(how, last):
    app = Flask("cors")
    guard = None
    if not last:
        CORS(app, origins=[ORIGIN[1]])
    guard = TokenGuard(app, VALIDATOR)
    if last:
        CORS(app, origins=[ORIGIN[1]])
    if how == "protect":
        guard.protect(app, scope="a")
    elif how == "hook":
        app.before_request(require_scope("a")(lambda: None))
    view = require_scope("a")(lambda: "in") if how == "decorator" else (lambda: "in")
    app.get("/orders", endpoint="orders")(view)

    answer = ask_wsgi(app, "OPTIONS", "/orders", fields=PREFLIGHT)
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") == ORIGIN[1]
    assert answer.header("access-control-allow-headers") == "authorization"
    for fields, status in (((), 401), (good("b"), 403), (good(), 200)):
        answer = ask_wsgi(app, path="/orders", fields=[ORIGIN, *fields])
        assert answer.status == status
        assert answer.header("access-control-allow-origin") == ORIGIN[1]  # so the page can read it


def test_flask_cors_for_one_view_stands_above_the_guard():
    app = Flask("cors")
    TokenGuard(app, VALIDATOR)

    @app.get("/above")
    @cross_origin(origins=[ORIGIN[1]])
    @require_scope("a")
    def above():
        return "in"

    @app.get("/below")
    @require_scope("a")
    @cross_origin(origins=[ORIGIN[1]])
    def below():
        raise AssertionError

    answer = ask_wsgi(app, "OPTIONS", "/above", fields=PREFLIGHT)
    assert (answer.status, answer.header("access-control-allow-origin")) == (200, ORIGIN[1])
    assert ask_wsgi(app, path="/above", fields=[ORIGIN]).status == 401
    assert ask_wsgi(app, path="/above", fields=[ORIGIN, *good()]).status == 200
    assert ask_wsgi(app, "OPTIONS", "/below", fields=PREFLIGHT).status == 401  # a view's own OPTIONS


def test_a_forged_preflight_opens_nothing():
    app = Flask("forged")
    TokenGuard(app, VALIDATOR)
    app.route("/", methods=["GET", "POST", "OPTIONS"])(require_scope("a")(lambda: request.method))
    app.get("/redirect", endpoint="redirect")(require_scope("a")(lambda: redirect("/")))
    for method in ("GET", "POST", "OPTIONS"):
        override = [*PREFLIGHT, ("X-HTTP-Method-Override", "OPTIONS"), ("X-HTTP-Method", "OPTIONS")]
        assert ask_wsgi(app, method, fields=override).status == 401
