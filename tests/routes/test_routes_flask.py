"""The routes of real Flask apps: blueprints, classes, functions before views, middleware around the app."""

import functools

import flask_restx
import pytest
from flask import Blueprint, Flask
from flask.views import MethodView, View
from flask_restful import Api, Resource
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import Rule

from tokenguard.flask import TokenGuard, require_scope
from tokenguard.routes import audit
from tokenguard.testing import FakeIssuer
from tokenguard.wsgi import BearerMiddleware

VALIDATOR = FakeIssuer().validator()


def bare(**settings):
    app = Flask("shop", static_folder=None, **settings)
    return app, TokenGuard(app, VALIDATOR)


def plain():
    """A new view each time: a `TokenGuard` looks for views that are guarded here and registered as they were there."""
    return lambda **_: "served"


def shown(app):
    return [(row.path, " ".join(row.methods), " ".join(row.scope), row.door) for row in audit(app)]


def test_views_and_static_files():
    app = Flask("shop")
    TokenGuard(app, VALIDATOR)
    app.add_url_rule("/open", view_func=plain())
    app.add_url_rule("/orders", "orders", require_scope("b", "a")(plain()), methods=["GET", "POST"])
    app.add_url_rule("/some", "some", require_scope(optional=True)(plain()))
    assert shown(app) == [
        ("/open", "GET HEAD", "", None),
        ("/orders", "GET HEAD POST", "a b", "flask"),
        ("/some", "GET HEAD", "", "optional"),
        ("/static/<path:filename>", "GET HEAD", "", None),
    ]


def test_options_counts_where_a_view_answers_it():
    app, _ = bare()
    app.add_url_rule("/a", "a", plain(), methods=["OPTIONS"])
    app.add_url_rule("/b", "b", plain(), methods=["POST"], provide_automatic_options=False)
    app.add_url_rule("/c", "c", plain(), methods=["POST"])
    app.add_url_rule("/d", "d", plain(), methods=[])  # nothing but the automatic answer
    assert [row[:2] for row in shown(app)] == [("/a", "OPTIONS"), ("/b", "POST"), ("/c", "POST")]
    client = app.test_client()
    assert client.options("/c").allow == {"POST", "OPTIONS"}


def test_the_guard_above_the_route_decorator_guards_nothing():
    app, _ = bare()
    require_scope("a")(app.get("/open")(plain()))
    app.get("/closed", endpoint="closed")(require_scope("a")(plain()))
    assert [row.guarded for row in audit(app)] == [False, True]


def protected():
    app, guard = bare()
    outer = Blueprint("outer", "outer", url_prefix="/outer")
    inner = Blueprint("inner", "inner", url_prefix="/inner")
    outer.add_url_rule("/x", view_func=plain())
    outer.add_url_rule("/<name>", "named", plain())
    inner.add_url_rule("/y", view_func=require_scope("y")(plain()))
    inner.add_url_rule("/health", "health", plain())
    guard.protect(outer, scope="outer", public=["/outer/inner/health", "/outer/login", "/outer/files/*"])
    guard.protect(inner, scope="inner", public="/outer/inner/health")
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    app.add_url_rule("/", view_func=plain())
    return app


def test_protected_blueprints_within_each_other():
    app = protected()
    assert shown(app) == [
        ("/outer/x", "GET HEAD", "outer", "flask"),
        ("/outer/inner/y", "GET HEAD", "inner outer y", "flask"),
        ("/outer/inner/health", "GET HEAD", "", None),
        ("/", "GET HEAD", "", None),
        ("/outer/<name>", "GET HEAD", "outer", "flask"),
        ("/outer/login", "GET HEAD", "", None),
    ]
    client = app.test_client()
    for row in audit(app):
        path = row.path.replace("<name>", "somebody")
        assert client.get(path).status_code == (401 if row.guarded else 200), path


def test_a_blueprint_under_another_name():
    app, guard = bare()
    blueprint = Blueprint("one", "one")
    blueprint.add_url_rule("/x", view_func=plain())
    guard.protect(blueprint, scope="a")
    app.register_blueprint(blueprint, name="two", url_prefix="/two")
    assert shown(app) == [("/two/x", "GET HEAD", "a", "flask")]


def test_a_protected_app():
    app = Flask("shop")
    guard = TokenGuard(app, VALIDATOR)
    app.add_url_rule("/x", view_func=plain())
    guard.protect(app, public="/static/*")
    assert shown(app) == [("/x", "GET HEAD", "", "flask"), ("/static/<path:filename>", "GET HEAD", "", None)]
    assert shown(BearerMiddleware(app, VALIDATOR, scope="all"))[1] == (
        "/static/<path:filename>",
        "GET HEAD",
        "all",
        "wsgi",
    )


def test_a_function_before_views():
    app, _ = bare()
    app.add_url_rule("/x", view_func=plain())
    app.before_request(require_scope("all")(lambda: None))
    assert shown(app) == [("/x", "GET HEAD", "all", "flask")]


class Orders(MethodView):
    @require_scope("orders:read")
    def get(self): ...

    @require_scope("orders:write")
    def post(self): ...

    def delete(self): ...


class Listed(MethodView):
    decorators = (require_scope("listed"),)

    def get(self): ...

    def head(self): ...


class One(View):
    methods = ("GET", "PUT")

    @require_scope("one")
    def dispatch_request(self): ...


def test_view_classes():
    app, _ = bare()
    for kind in (Orders, Listed, One):
        app.add_url_rule(f"/{kind.__name__}", view_func=kind.as_view(kind.__name__))
    assert shown(app) == [
        ("/Orders", "DELETE", "", None),
        ("/Orders", "GET HEAD", "orders:read", "flask"),
        ("/Orders", "POST", "orders:write", "flask"),
        ("/Listed", "GET HEAD", "listed", "flask"),
        ("/One", "GET HEAD PUT", "one", "flask"),
    ]


class Logged(Orders):
    def dispatch_request(self):
        return super().dispatch_request()


class Answering(Orders):
    def dispatch_request(self):
        return "served"


class Guarded(Answering):
    @require_scope("all")
    def dispatch_request(self):
        return super().dispatch_request()


class Unasked(MethodView):
    method_decorators = (require_scope("all"),)  # Flask itself has no such thing

    def get(self):
        return "served"


class LoggedResource(Resource):
    method_decorators = (require_scope("all"),)

    def get(self): ...

    def dispatch_request(self):
        return super().dispatch_request()


class AnsweringResource(LoggedResource):
    def dispatch_request(self):
        return "served"


class OfRestx(flask_restx.Resource):
    method_decorators = (require_scope("all"),)

    @require_scope("more")
    def get(self): ...


def test_what_runs_in_place_of_handlers_is_open():
    app, _ = bare()
    for kind in (Logged, Answering, Guarded, Unasked, LoggedResource, AnsweringResource, OfRestx):
        app.add_url_rule(f"/{kind.__name__}", view_func=kind.as_view(kind.__name__), methods=["GET"])
    assert [(row.path, " ".join(row.scope), row.guarded) for row in audit(app)] == [
        ("/Logged", "orders:read", True),
        ("/Answering", "", False),
        ("/Guarded", "all", True),
        ("/Unasked", "", False),
        ("/LoggedResource", "all", True),
        ("/AnsweringResource", "", False),
        ("/OfRestx", "all more", True),
    ]
    client = app.test_client()
    for row in audit(app):
        assert client.get(row.path).status_code == (401 if row.guarded else 200), row.path
    assert all(row.guarded for row in audit(BearerMiddleware(app, VALIDATOR)))


def test_decorators_that_an_api_puts_around_methods():
    class All(Resource):
        method_decorators = (require_scope("all"),)

        def get(self): ...

    class Some(Resource):
        method_decorators = {"post": [require_scope("post")]}  # noqa: RUF012 - as Flask-RESTful has it

        def get(self): ...
        def post(self): ...

    app, _ = bare()
    api = Api(app)
    api.add_resource(All, "/all")
    api.add_resource(Some, "/some")
    assert shown(app) == [
        ("/all", "GET HEAD", "all", "flask"),
        ("/some", "GET HEAD", "", None),
        ("/some", "POST", "post", "flask"),
    ]
    client = app.test_client()
    assert [client.get("/all").status_code, client.get("/some").status_code] == [401, 200]
    assert client.post("/some").status_code == 401


def test_partials_and_other_decorators():
    def kept(view):
        @functools.wraps(view)
        def around():
            return view()

        return around

    app, _ = bare()
    app.add_url_rule("/a", "a", functools.partial(require_scope("a")(plain())))
    app.add_url_rule("/b", "b", kept(require_scope("b")(plain())))
    app.add_url_rule("/c", "c", require_scope("c")(kept(plain())))
    assert [row[2] for row in shown(app)] == ["a", "b", "c"]


@pytest.mark.parametrize("wrap", [lambda app: app, ProxyFix], ids=["alone", "behind ProxyFix"])
def test_middleware_around_wsgi_app(wrap):
    app, _ = bare()
    app.add_url_rule("/x", view_func=require_scope("x")(plain()))
    app.add_url_rule("/health", "health", plain())
    app.add_url_rule("/y", "y", plain())
    app.wsgi_app = wrap(BearerMiddleware(wrap(app.wsgi_app), VALIDATOR, scope="all", public="/health"))
    expected = [
        ("/x", "GET HEAD", "all x", "flask"),
        ("/health", "GET HEAD", "", None),
        ("/y", "GET HEAD", "all", "wsgi"),
    ]
    assert shown(app) == expected
    assert shown(app.wsgi_app) == expected


class ButForPreflights(BearerMiddleware):
    def __call__(self, environ, start_response):
        inner = self.app if environ["REQUEST_METHOD"] == "OPTIONS" else super().__call__
        return inner(environ, start_response)


def test_middleware_of_ones_own_that_may_let_requests_pass_guards_nothing():
    app, _ = bare()
    app.add_url_rule("/x", view_func=plain())
    app.wsgi_app = ButForPreflights(app.wsgi_app, VALIDATOR)
    assert shown(app) == [("/x", "GET HEAD", "", None)]


def metrics(environ, start_response): ...


def test_a_dispatcher_serves_apps_beside_it():
    app, _ = bare()
    app.add_url_rule("/x", view_func=plain())
    other, _ = bare()
    other.add_url_rule("/y", view_func=require_scope("y")(plain()))
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/metrics": metrics, "/other": other})
    rows = [("/metrics/*", "*", "", None), ("/other/y", "GET HEAD", "y", "flask"), ("/x", "GET HEAD", "", None)]
    assert shown(app) == rows
    guarded = BearerMiddleware(DispatcherMiddleware(other, {"/m": metrics}), VALIDATOR, scope="a", public="/m/x")
    assert shown(guarded) == [
        ("/m/*", "*", "a", "wsgi"),
        ("/m/x", "*", "", None),
        ("/y", "GET HEAD", "a y", "flask"),
    ]


def test_rules_of_other_kinds():
    app, _ = bare(host_matching=True)
    app.url_map.add(Rule("/ws", endpoint="ws", websocket=True, host="a.example.com"))
    app.url_map.add(Rule("/any", endpoint="any", host="<tenant>.example.com"))
    app.url_map.add(Rule("/old", endpoint="old", redirect_to="/any"))
    app.url_map.add(Rule("/built", endpoint="built", build_only=True))
    app.url_map.add(Rule("/lost", endpoint="lost", host="b"))
    app.view_functions.update(ws=plain(), any=plain())
    assert shown(app) == [
        ("//a.example.com/ws", "WEBSOCKET", "", None),
        ("//b/lost", "*", "", None),
        ("//<tenant>.example.com/any", "*", "", None),
    ]
    app = Flask("shop", static_folder=None, subdomain_matching=True)
    app.add_url_rule("/x", view_func=plain(), subdomain="api")
    assert shown(app)[0][0] == "//api.*/x"
    app.config["SERVER_NAME"] = "example.com"
    assert shown(app)[0][0] == "//api.example.com/x"
