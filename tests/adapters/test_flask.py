"""`tokenguard.flask` on real Flask apps."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import threading
from functools import wraps
from types import SimpleNamespace

import pytest
from flask import Blueprint, Flask, Response, jsonify, request, stream_with_context
from flask.views import MethodView, View
from raw_requests import ask_wsgi, challenge
from werkzeug.exceptions import HTTPException

from tokenguard.challenge import reject
from tokenguard.errors import (
    ConfigurationError,
    InsufficientScopeError,
    InvalidRequestError,
    InvalidTokenError,
    KeysUnavailableError,
    MissingTokenError,
    RejectedError,
    TokenGuardError,
)
from tokenguard.flask import TokenGuard, current_token, require_scope
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken

ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
SECRET = "eyJzZWNyZXQi"
ALL = ["GET", "POST"]


def good(scope="a b"):
    return [("Authorization", f"Bearer {ISSUER.mint(scope)}")]


def same(answer, error, **settings) -> bool:
    rejection = reject(error, **settings)
    written = [(name.lower(), value) for name, value in rejection.headers]
    return (answer.status, sorted(answer.headers), answer.body) == (rejection.status, sorted(written), rejection.body)


def views(app):
    @app.route("/sync", methods=ALL)
    @require_scope("a", "b")
    def sync_view():
        assert isinstance(current_token, AccessToken)
        return jsonify(subject=current_token.subject)

    @app.route("/async", methods=ALL)
    @require_scope("a", "b")
    async def async_view():
        await asyncio.sleep(0)
        return jsonify(subject=current_token.subject)

    @app.route("/open", methods=ALL)
    def open_view():
        return jsonify(bound=bool(current_token))


def make(validator=VALIDATOR, **settings):
    app = Flask("guarded")
    TokenGuard(app, validator, **settings)
    views(app)
    return app


APP = make()
VIEWS = ["/sync", "/async"]


@pytest.mark.parametrize("path", VIEWS)
def test_a_good_token_reaches_the_view_and_is_current(path):
    fields = [("Authorization", f"Bearer {ISSUER.mint('a b', sub='alice')}")]
    answer = ask_wsgi(APP, path=path, fields=fields)
    assert (answer.status, json.loads(answer.body)) == (200, {"subject": "alice"})


@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ((), MissingTokenError()),
        ([("Authorization", "Bearer")], InvalidRequestError()),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], InvalidRequestError()),
        ([("Authorization", "Bearer a.b.c")], InvalidTokenError()),
        (good("a"), InsufficientScopeError(("a", "b"))),
    ],
)
def test_refusals_are_the_same_as_everywhere(path, fields, error):
    settings = {"realm": "orders", "resource_metadata": "https://api.example.com/m"}
    assert same(ask_wsgi(make(**settings), path=path, fields=fields), error, **settings)


@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_no_method_is_exempt_and_head_has_no_body(path, method):
    answer = ask_wsgi(APP, method, path)
    assert answer.status == 401
    assert int(answer.header("content-length") or 0) > 0
    assert (answer.body == b"") == (method == "HEAD")
    assert ask_wsgi(APP, method, path, fields=good()).status == 200


@pytest.mark.parametrize("path", VIEWS)
def test_the_query_beside_the_header_is_too_much(path):
    assert ask_wsgi(APP, path=path, query="%61ccess_token=x", fields=good()).status == 400


def test_show_reason():
    answer = ask_wsgi(make(show_reason=True), path="/sync", fields=[("Authorization", f"Bearer {ISSUER.expired()}")])
    assert json.loads(answer.body)["reason"] == "expired"


@pytest.mark.parametrize("path", VIEWS)
def test_an_outage_is_503(path):
    issuer = FakeIssuer()
    with issuer.outage():
        fields = [("Authorization", f"Bearer {issuer.mint('a')}")]
        answer = ask_wsgi(make(issuer.validator()), path=path, fields=fields)
    assert same(answer, KeysUnavailableError(retry_after=int(answer.header("retry-after") or 0)))


# -------------------------------------------------------------------------------------------------------------- OPTIONS


@pytest.mark.parametrize("fields", [(), [("Authorization", "Bearer a.b.c")], good("a"), good()])
@pytest.mark.parametrize("path", VIEWS)
def test_automatic_options_say_allow_and_nothing_else(path, fields):
    answer = ask_wsgi(APP, "OPTIONS", path, fields=fields)
    assert (answer.status, answer.body) == (200, b"")
    assert {name for name, _ in answer.headers} == {"allow", "content-type", "content-length"}
    assert set((answer.header("allow") or "").split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_options_of_other_views_and_of_no_view_are_left_alone():
    assert ask_wsgi(APP, "OPTIONS", "/open").status == 200
    assert ask_wsgi(APP, "OPTIONS", "/nowhere").status == 404


def test_a_view_that_answers_options_itself_still_does():
    app = Flask("options")
    TokenGuard(app, VALIDATOR)

    @app.route("/own", methods=["GET", "OPTIONS"])
    @require_scope("a")
    def own():
        return request.method

    assert ask_wsgi(app, "OPTIONS", "/own").status == 401
    assert ask_wsgi(app, "OPTIONS", "/own", fields=good()).body == b"OPTIONS"


def test_forced_automatic_options_reach_no_view():
    app = Flask("forced")
    TokenGuard(app, VALIDATOR)

    @app.route("/x", provide_automatic_options=True, methods=["GET", "OPTIONS"])
    @require_scope("a")
    def view():
        raise AssertionError

    @app.route("/y", provide_automatic_options=True, methods=["GET", "OPTIONS"])
    @require_scope("a")
    async def async_view():
        raise AssertionError

    for path in ("/x", "/y"):
        for fields in ((), good()):
            assert ask_wsgi(app, "OPTIONS", path, fields=fields).status == 200
    with app.test_request_context("/x", method="OPTIONS"):  # whoever calls one by hand gets nothing out of it
        assert app.view_functions["view"]() is None
        assert asyncio.run(app.view_functions["async_view"]()) is None


class OwnAutomaticOptions(Flask):
    def make_default_options_response(self, *ctx):  # Flask 3.2 gives its context
        return self.response_class("own")


def test_a_view_that_asks_for_the_automatic_answer_is_validated_once_or_not_at_all():
    validator = ISSUER.validator()
    verdicts = []
    validator.observe(SimpleNamespace(decided=verdicts.append, validated=lambda *_: None))
    app = OwnAutomaticOptions("asking")
    TokenGuard(app, validator)

    @require_scope("a")
    def guarded():
        return app.make_default_options_response()

    @wraps(guarded)
    def preflight():  # as CORS decorators do it: the way to OPTIONS is open, the view is not
        return app.make_default_options_response() if request.method == "OPTIONS" else guarded()

    app.add_url_rule("/guarded", view_func=guarded, endpoint="guarded", methods=["GET", "OPTIONS"])
    app.add_url_rule("/preflight", view_func=preflight, endpoint="preflight", methods=["GET", "OPTIONS"])
    app.add_url_rule("/automatic", view_func=guarded, endpoint="automatic", methods=["GET"])
    app.register_error_handler(404, lambda error: app.make_default_options_response())

    assert ask_wsgi(app, "OPTIONS", "/preflight").status == 200
    assert ask_wsgi(app, "OPTIONS", "/nowhere").status == 200
    assert not verdicts
    for n, (method, path) in enumerate(
        [
            ("GET", "/preflight"),
            ("GET", "/guarded"),
            ("OPTIONS", "/guarded"),
            ("GET", "/automatic"),
        ]
    ):
        assert ask_wsgi(app, method, path).status == 401
        assert ask_wsgi(app, method, path, fields=good()).status == 200
        assert [event.outcome for event in verdicts[2 * n :]] == ["rejected", "accepted"]
    assert ask_wsgi(app, "OPTIONS", "/automatic").body == b"own"


def test_a_hook_that_answers_goes_before_the_automatic_options_as_before_the_view():
    app = make()
    app.before_request(lambda: "hook")
    assert ask_wsgi(app, "OPTIONS", "/sync").body == ask_wsgi(app, "GET", "/sync").body == b"hook"


def test_stacked_decorators_ask_for_both():
    app = Flask("stacked")
    TokenGuard(app, VALIDATOR)

    @app.get("/x")
    @require_scope("a")
    @require_scope("b")
    def view():
        return sorted(current_token.scopes)

    assert ask_wsgi(app, path="/x", fields=good("a b")).status == 200
    for granted, missing in (("a", "b"), ("b", "a")):
        answer = ask_wsgi(app, path="/x", fields=good(granted))
        assert challenge(answer.header("www-authenticate"))["scope"] == missing


@pytest.mark.parametrize("where", ["app", "blueprint", "app that is guarded last"])
@pytest.mark.parametrize("path", ["/open", "/other"])
def test_s23_a_guard_above_the_route_decorator_is_found_before_a_request_is_served(where, path, caplog):
    """S23: Flask has registered the bare function, and the guard guards nothing."""
    app, blueprint = Flask(__name__), Blueprint("part", __name__)
    if where != "app that is guarded last":
        TokenGuard(app, VALIDATOR)

    @require_scope("a")
    @(blueprint if where == "blueprint" else app).get("/open")
    @require_scope()
    def meant_to_be_guarded():
        return "open"

    @app.get("/other")
    def other():
        return "other"

    app.register_blueprint(blueprint)
    if where == "app that is guarded last":
        TokenGuard(app, VALIDATOR)
    for _ in range(2):
        assert ask_wsgi(app, path=path, fields=good()).status == 500
    assert "meant_to_be_guarded' is open: write require_scope below the route decorator" in caplog.text


def test_a_function_may_be_registered_with_and_without_a_guard():
    class Odd:
        __hash__ = None
        __name__ = "odd"

        def __call__(self):
            return "odd"

    def view():
        return "here"

    app = Flask(__name__)
    TokenGuard(app, VALIDATOR)
    app.add_url_rule("/open", "open", view)
    app.add_url_rule("/guarded", "guarded", require_scope("a")(view))
    app.add_url_rule("/odd", "odd", Odd())
    app.add_url_rule("/odd-guarded", "odd-guarded", require_scope("a")(Odd()))
    hooks = app.before_request_funcs[None]
    for path, status in {"/open": 200, "/guarded": 401, "/odd": 200, "/odd-guarded": 401}.items():
        assert ask_wsgi(app, path=path).status == status
    assert len(hooks) == 1
    assert None not in app.before_request_funcs


def test_a_function_may_have_a_guard_in_one_app_and_none_in_another():
    def view():
        return "here"

    made = {name: Flask(name) for name in ("decorated", "open", "protected")}
    for app in made.values():
        guard = TokenGuard(app, VALIDATOR)
    made["decorated"].add_url_rule("/x", "view", require_scope("a")(view))
    made["open"].add_url_rule("/x", "view", view)
    made["protected"].add_url_rule("/x", "view", view)
    guard.protect(made["protected"], scope="b")
    for name, status in {"open": 200, "protected": 401, "decorated": 401}.items():
        assert ask_wsgi(made[name], path="/x").status == status


def test_the_look_at_the_views_takes_no_hook_of_the_apps_away():
    app, ran = Flask(__name__), []
    TokenGuard(app, VALIDATOR)
    app.before_request(lambda: ran.append("hook"))
    for _ in range(3):
        ask_wsgi(app)
    assert ran == ["hook"] * 3


def test_view_classes():
    app = Flask("classes")
    TokenGuard(app, VALIDATOR)

    class Listed(MethodView):
        decorators = [require_scope("a")]  # noqa: RUF012 - Flask's way

        def get(self):
            return current_token.issuer

    class Methods(MethodView):
        @require_scope("a")
        def get(self):
            return current_token.issuer

        @require_scope("b")
        async def post(self):
            return current_token.issuer

    class Mixed(Methods):
        def put(self):
            return "open"

    class Whole(View):
        decorators = [require_scope("a")]  # noqa: RUF012

        def dispatch_request(self):
            return current_token.issuer

    class Plain(View):
        def dispatch_request(self):
            return "open"

    for view in (Listed, Methods, Mixed, Whole, Plain):
        app.add_url_rule(f"/{view.__name__}", view_func=view.as_view(view.__name__))

    for name in ("Listed", "Methods", "Mixed", "Whole"):
        assert ask_wsgi(app, path=f"/{name}").status == 401
        assert ask_wsgi(app, "HEAD", f"/{name}").status == 401
        assert ask_wsgi(app, path=f"/{name}", fields=good("b")).status == 403
        assert ask_wsgi(app, path=f"/{name}", fields=good("a")).body == ISSUER.url.encode()
    assert ask_wsgi(app, "POST", "/Methods", fields=good("a")).status == 403
    assert ask_wsgi(app, "POST", "/Methods", fields=good("b")).status == 200

    class Answering(Methods):
        @require_scope("a")
        def options(self):
            return "own"

    app = Flask("classes")
    TokenGuard(app, VALIDATOR)
    app.add_url_rule("/", view_func=Answering.as_view("answering"))
    assert ask_wsgi(app, "OPTIONS").status == 401
    assert ask_wsgi(app, "OPTIONS", fields=good("a")).body == b"own"


# -------------------------------------------------------------------------------------------------------- current_token


def test_current_token_is_unbound_outside_a_guarded_view():
    assert ask_wsgi(APP, path="/sync", fields=good()).status == 200
    assert json.loads(ask_wsgi(APP, path="/open", fields=good()).body) == {"bound": False}
    assert not current_token
    with pytest.raises(RuntimeError):
        _ = current_token.subject


def test_current_token_does_not_leak_through_a_shared_app_context():
    with APP.app_context():
        ask_wsgi(APP, path="/sync", fields=good())
        assert json.loads(ask_wsgi(APP, path="/open", fields=good()).body) == {"bound": False}
        with pytest.raises(RuntimeError):
            _ = current_token.subject


def test_current_token_belongs_to_one_request_and_comes_back_after_another():
    app = make()

    @app.get("/outer")
    @require_scope("a")
    def outer():
        before = current_token.subject
        inner = json.loads(ask_wsgi(app, path="/open", fields=good()).body)
        other = json.loads(
            ask_wsgi(app, path="/sync", fields=[("Authorization", f"Bearer {ISSUER.mint('a b', sub='other')}")]).body
        )
        return jsonify(before=before, inner=inner, other=other, after=current_token.subject)

    answer = ask_wsgi(app, path="/outer", fields=[("Authorization", f"Bearer {ISSUER.mint('a', sub='alice')}")])
    assert json.loads(answer.body) == {
        "before": "alice",
        "inner": {"bound": False},
        "other": {"subject": "other"},
        "after": "alice",
    }


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_current_token_is_bound_to_the_end_of_the_request(kind):
    app, seen = make(), []

    @app.get("/failing")
    @require_scope("a")
    def failing():
        raise KeyError

    @app.get("/stream")
    @require_scope("a")
    def stream():
        @stream_with_context
        def body():
            yield "of "
            yield current_token.issuer

        return Response(body())

    app.errorhandler(KeyError)(lambda error: current_token.issuer)
    app.after_request(lambda response: seen.append(bool(current_token)) or response)
    app.teardown_request(lambda error: seen.append(bool(current_token)))
    assert ask_wsgi(app, path="/failing", fields=good()).body == ISSUER.url.encode()
    assert ask_wsgi(app, path="/stream", fields=good()).body == f"of {ISSUER.url}".encode()
    assert ask_wsgi(app, path=f"/{kind}", fields=good()).status == 200
    assert len(seen) >= 6
    assert all(seen)
    seen.clear()
    for path, fields in (("/open", good()), ("/sync", ()), ("/sync", good("a"))):
        ask_wsgi(app, path=path, fields=fields)
    assert seen == [False] * 6


def test_threads_do_not_share_it():
    barrier = threading.Barrier(4)
    app = Flask("threads")
    TokenGuard(app, VALIDATOR)

    @app.get("/x")
    @require_scope()
    def view():
        barrier.wait(30)
        return current_token.subject

    answers = {}

    def work(name):
        fields = [("Authorization", f"Bearer {ISSUER.mint('a', sub=name)}")]
        answers[name] = ask_wsgi(app, path="/x", fields=fields).body.decode()

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {f"t{n}": f"t{n}" for n in range(4)}


# ------------------------------------------------------------------------------------------- apps, blueprints, settings


def test_factories_several_apps_and_blueprints():
    other = FakeIssuer("https://other.example")
    api, nested = Blueprint("api", __name__), Blueprint("nested", __name__)

    @nested.get("/me")
    @require_scope("a")
    def me():
        return current_token.issuer

    api.register_blueprint(nested, url_prefix="/nested")
    guard = TokenGuard()
    apps = []
    for issuer in (ISSUER, other):
        app = Flask("made")
        guard.init_app(app, issuer.validator())
        app.register_blueprint(api, url_prefix="/api")
        apps.append(app)
    fields = {"first": good("a"), "second": [("Authorization", f"Bearer {other.mint('a')}")]}
    path = "/api/nested/me"
    assert ask_wsgi(apps[0], path=path, fields=fields["first"]).body == ISSUER.url.encode()
    assert ask_wsgi(apps[1], path=path, fields=fields["second"]).body == other.url.encode()
    assert ask_wsgi(apps[0], path=path, fields=fields["second"]).status == 401
    assert ask_wsgi(apps[1], path=path, fields=fields["first"]).status == 401


def test_a_guard_may_bring_one_validator_for_all_its_apps():
    guard = TokenGuard(validator=VALIDATOR)
    app = Flask("one")
    guard.init_app(app)
    views(app)
    assert ask_wsgi(app, path="/sync", fields=good()).status == 200


def test_settings_from_the_apps_config():
    with FakeIssuer().serve() as server:
        app = Flask("configured")
        app.config.from_mapping(
            TOKENGUARD_ISSUER=server.issuer.url,
            TOKENGUARD_AUDIENCE="https://api.example.com",
            TOKENGUARD_ALLOW_INSECURE_HTTP=True,
            TOKENGUARD_LEEWAY=5,
        )
        TokenGuard(app)
        views(app)
        fields = [("Authorization", f"Bearer {server.issuer.mint('a b')}")]
        for path in VIEWS:
            assert ask_wsgi(app, path=path, fields=fields).status == 200
            assert ask_wsgi(app, path=path).status == 401


@pytest.mark.parametrize("later", [False, True], ids=["at construction", "in init_app"])
def test_a_validator_in_code_wins_over_the_apps_config(later):
    app = Flask("both")
    app.config.from_mapping(TOKENGUARD_ISSUER="https://other.example", TOKENGUARD_AUDIENCE="https://other.example")
    guard = TokenGuard(validator=None if later else VALIDATOR)
    guard.init_app(app, VALIDATOR if later else None)
    views(app)
    assert ask_wsgi(app, path="/sync", fields=good()).status == 200


@pytest.mark.parametrize("config", [{"TOKENGUARD_ISSUER": "https://issuer.example"}, {"TOKENGUARD_LEEWAY": "x"}])
def test_bad_settings_in_the_config_are_refused_at_construction(config):
    app = Flask("misconfigured")
    app.config.from_mapping(config)
    with pytest.raises(ConfigurationError):
        TokenGuard(app)


def test_without_a_validator_and_a_setting_there_is_no_guard():
    app = Flask("late")
    guard = TokenGuard()
    for attempt in (lambda: TokenGuard(app), lambda: guard.init_app(app)):
        with pytest.raises(ConfigurationError, match="TOKENGUARD_ISSUER"):
            attempt()
    views(app)
    assert ask_wsgi(app, path="/sync", fields=good()).status == 500


def test_a_validator_may_come_later():
    app = Flask("late")
    guard = TokenGuard()
    guard.init_app(app, VALIDATOR)
    views(app)
    assert ask_wsgi(app, path="/sync", fields=good()).status == 200


def test_a_second_guard_for_one_app_is_refused():
    app = Flask("two")
    TokenGuard(app, VALIDATOR)
    with pytest.raises(ConfigurationError):
        TokenGuard(app, VALIDATOR)


@pytest.mark.parametrize("path", VIEWS)
def test_without_the_extension_it_is_an_error_and_never_open(path):
    app = Flask("unguarded")
    views(app)
    assert ask_wsgi(app, path=path, fields=good()).status == 500
    app.testing = True
    with pytest.raises(ConfigurationError):
        app.test_client().get(path)


@pytest.mark.parametrize("validator", ["x", {}, type(VALIDATOR)])
def test_a_validator_must_be_one(validator):
    with pytest.raises(ConfigurationError):
        TokenGuard(validator=validator)
    with pytest.raises(ConfigurationError):
        TokenGuard().init_app(Flask("x"), validator)


@pytest.mark.parametrize("settings", [{"realm": '"'}, {"resource_metadata": "x"}, {"show_reason": 1}])
def test_bad_settings_are_refused_at_construction(settings):
    with pytest.raises(ConfigurationError):
        TokenGuard(**settings)


@pytest.mark.parametrize("scopes", [("",), ('a"b',), (7,), (["a"],)])
def test_a_scope_that_could_never_be_met_is_refused(scopes):
    with pytest.raises(ConfigurationError):
        require_scope(*scopes)


@pytest.mark.parametrize("view", [MethodView, "view", None])
def test_only_functions_can_be_decorated(view):
    with pytest.raises(ConfigurationError):
        require_scope("a")(view)


def test_the_view_keeps_its_name():
    assert APP.view_functions["sync_view"].__name__ == "sync_view"
    assert inspect.iscoroutinefunction(APP.view_functions["async_view"])


# --------------------------------------------------------------------------------------------------------------- errors


class Failing:
    def __init__(self, failure, result=None) -> None:
        self.failure, self.result = failure, result

    def validate(self, raw, *, scope=()):
        if self.failure is not None:
            raise self.failure
        return self.result


@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize(
    "failure", [ValueError(SECRET), KeyError(SECRET), ConfigurationError(SECRET), RecursionError()]
)
def test_any_unexpected_exception_is_500_and_the_view_is_not_reached(path, failure, caplog):
    caplog.set_level(logging.DEBUG)
    app = make(Failing(failure))
    assert same(ask_wsgi(app, path=path, fields=good()), None)
    assert SECRET not in caplog.text
    assert "flask: failed" in caplog.text
    app.testing = True  # Flask would let exceptions out: refusals are answers, also here
    assert app.test_client().get(path, headers=dict(good())).status_code == 500


@pytest.mark.parametrize("result", [None, True, "token"])
def test_anything_but_an_access_token_is_500(result):
    assert ask_wsgi(make(Failing(None, result)), path="/sync", fields=good()).status == 500


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [TokenGuardError, RejectedError, MissingTokenError])
def test_the_apps_own_handler_wins(kind, first):
    app = Flask("own")

    def own(error):
        return jsonify(own=type(error).__name__), 418

    if first:
        app.register_error_handler(kind, own)
    TokenGuard(app, VALIDATOR)
    if not first:
        app.register_error_handler(kind, own)
    views(app)
    for path in VIEWS:
        answer = ask_wsgi(app, path=path)
        assert (answer.status, json.loads(answer.body)) == (418, {"own": "MissingTokenError"})


def test_handlers_for_other_classes_do_not_see_refusals():
    app = make()
    app.register_error_handler(Exception, lambda error: ("caught", 418))
    app.register_error_handler(HTTPException, lambda error: ("caught", 418))
    app.register_error_handler(401, lambda error: ("caught", 418))
    assert same(ask_wsgi(app, path="/sync"), MissingTokenError())


def test_a_blueprints_own_handler_wins():
    app, api = Flask("bp"), Blueprint("api", __name__)
    TokenGuard(app, VALIDATOR)
    views(api)
    api.register_error_handler(RejectedError, lambda error: ("own", 418))
    app.register_blueprint(api, url_prefix="/api")
    assert ask_wsgi(app, path="/api/sync").status == 418


def test_the_views_own_exceptions_pass_untouched():
    app = make()
    app.testing = True

    @app.get("/failing")
    @require_scope("a")
    def failing():
        raise KeyError(7)

    with pytest.raises(KeyError):
        app.test_client().get("/failing", headers=dict(good()))


def test_a_token_judged_in_a_view_by_hand_is_answered_too():
    app = make()

    @app.get("/by-hand")
    def by_hand():
        VALIDATOR.validate("a.b.c")
        raise AssertionError

    assert same(ask_wsgi(app, path="/by-hand"), InvalidTokenError())
