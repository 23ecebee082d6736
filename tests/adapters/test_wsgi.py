"""`tokenguard.wsgi.BearerMiddleware`, driven with raw environs under wsgiref's validator."""

from __future__ import annotations

import json
import logging

import pytest
from raw_requests import ask_wsgi, environ

from tokenguard.challenge import reject
from tokenguard.errors import ConfigurationError, MissingTokenError, UnavailableError
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import AccessToken
from tokenguard.wsgi import BearerMiddleware

KEY = "tokenguard.access_token"
ISSUER = FakeIssuer(clock=Clock())
VALIDATOR = ISSUER.validator()
SECRET = "eyJzZWNyZXQi"


def good(scope="a"):
    return [("Authorization", f"Bearer {ISSUER.mint(scope)}")]


class App:
    def __init__(self) -> None:
        self.environs: list[dict] = []

    def __call__(self, environ, start_response):
        self.environs.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"] if environ["REQUEST_METHOD"] != "HEAD" else []


@pytest.fixture
def app():
    return App()


def same(answer, error, **settings) -> bool:
    rejection = reject(error, **settings)
    written = [(name.lower(), value) for name, value in rejection.headers]
    return (answer.status, answer.headers, answer.body) == (rejection.status, written, rejection.body)


def test_a_good_token_reaches_the_app_and_is_in_the_environ(app):
    answer = ask_wsgi(BearerMiddleware(app, VALIDATOR, scope="a"), fields=good("a b"))
    assert (answer.status, answer.body) == (200, b"ok")
    assert isinstance(app.environs[0][KEY], AccessToken)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE", "PROPFIND"])
@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_no_method_is_exempt(app, method):
    answer = ask_wsgi(BearerMiddleware(app, VALIDATOR), method)
    assert answer.status == 401
    assert answer.header("content-length") == str(len(reject(MissingTokenError()).body))
    assert (answer.body == b"") == (method == "HEAD")
    assert not app.environs


def test_settings_reach_the_answer(app):
    settings = {"realm": "orders", "resource_metadata": "https://api.example.com/m", "show_reason": True}
    assert same(ask_wsgi(BearerMiddleware(app, VALIDATOR, **settings)), MissingTokenError(), **settings)


def test_the_status_line_has_its_phrase(app):
    started = []
    BearerMiddleware(app, VALIDATOR)(environ(), lambda *started_with: started.append(started_with))
    assert started[0][0] == "401 Unauthorized"


@pytest.mark.parametrize(
    "more",
    [
        {"HTTP_X_AUTHORIZATION": "Bearer {}"},
        {"REDIRECT_HTTP_AUTHORIZATION": "Bearer {}"},
        {"HTTP_PROXY_AUTHORIZATION": "Bearer {}"},
        {"HTTP_COOKIE": "access_token={}"},
        {"REMOTE_USER": "root", "AUTH_TYPE": "Bearer"},
        {"HTTP_X_ORIGINAL_URL": "/health", "HTTP_X_FORWARDED_URI": "/health"},
        {"SCRIPT_NAME": "/health"},
        {"RAW_URI": "/health", "REQUEST_URI": "/health"},
        {"HTTP_HOST": "testserver/health?"},
        {KEY: "forged"},
    ],
)
def test_other_variables_decide_nothing(app, more):
    more = {name: value.format(ISSUER.mint("a")) for name, value in more.items()}
    assert ask_wsgi(BearerMiddleware(app, VALIDATOR, public="/health"), path="/orders", **more).status == 401


@pytest.mark.parametrize("settings", [{"public": "/"}, {"optional": True}])
def test_what_was_in_the_environ_before_is_never_believed(app, settings):
    assert ask_wsgi(BearerMiddleware(app, VALIDATOR, **settings), **{KEY: "forged"}).status == 200
    assert app.environs[0][KEY] is None


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("/health", {}, 200),
        ("/health", {"RAW_URI": "/health?next=%2f"}, 200),
        ("/%68ealth", {}, 200),
        ("/docs/a", {}, 200),
        ("/docs/a%2fb", {}, 401),
        ("/docs/a/b", {"RAW_URI": "", "REQUEST_URI": "/docs/a%5Cb"}, 401),
        ("/docs/é", {}, 401),
        ("/health/", {}, 401),
        ("//health", {}, 401),
        ("", {}, 401),
        ("/health", {"SCRIPT_NAME": "/api"}, 200),
    ],
)
def test_the_path_info_decides_what_is_public(app, path, more, status):
    guarded = BearerMiddleware(app, VALIDATOR, public=["/health", "/docs/*"])
    assert ask_wsgi(guarded, path=path, **{"SCRIPT_NAME": "/x", **more}).status == status


def test_an_environ_without_optional_variables_is_judged(app):
    bare = environ(fields=good())
    for name in ("QUERY_STRING", "RAW_URI", "PATH_INFO", "SCRIPT_NAME"):
        del bare[name]
    assert b"".join(BearerMiddleware(app, VALIDATOR, public="/x")(bare, lambda *_: None)) == b"ok"


def test_optional_forgives_only_a_lack_of_credentials(app):
    guarded = BearerMiddleware(app, VALIDATOR, optional=True)
    assert ask_wsgi(guarded).status == 200
    assert ask_wsgi(guarded, fields=[("Authorization", "Basic dTpw")]).status == 200
    assert ask_wsgi(guarded, fields=[("Authorization", "Bearer")]).status == 400
    assert ask_wsgi(guarded, fields=[("Authorization", "Bearer a.b.c")]).status == 401
    assert len(app.environs) == 2


class Failing:
    """A validator that fails: what a bug would look like from outside."""

    def __init__(self, failure, result=None) -> None:
        self.failure, self.result = failure, result

    def validate(self, raw, *, scope=()):
        if self.failure is not None:
            raise self.failure
        return self.result


@pytest.mark.parametrize(
    "failure", [ValueError(SECRET), KeyError(SECRET), RecursionError(), MemoryError(), ConfigurationError(SECRET)]
)
def test_any_unexpected_exception_is_500_and_the_app_is_not_reached(app, failure, caplog):
    caplog.set_level(logging.DEBUG, "tokenguard")
    assert same(ask_wsgi(BearerMiddleware(app, Failing(failure), optional=True), fields=good()), None)
    assert not app.environs
    assert SECRET not in caplog.text
    assert "wsgi: failed" in caplog.text


@pytest.mark.parametrize("result", [None, True, "token", object()])
def test_anything_but_an_access_token_is_500(app, result):
    assert ask_wsgi(BearerMiddleware(app, Failing(None, result)), fields=good()).status == 500
    assert not app.environs


def test_an_outage_is_503(app):
    answer = ask_wsgi(BearerMiddleware(app, Failing(UnavailableError(retry_after=3))), fields=good())
    assert same(answer, UnavailableError(retry_after=3))


def test_a_broken_environ_is_500(app):
    started = []
    broken = {**environ(), "HTTP_AUTHORIZATION": b"Bearer x"}
    body = BearerMiddleware(app, VALIDATOR)(broken, lambda *start: started.append(start))
    assert started[0][0] == "500 Internal Server Error"
    assert json.loads(b"".join(body))["status"] == 500
    assert not app.environs


def test_the_apps_own_exceptions_pass_untouched():
    def failing(environ, start_response):
        raise raised

    for raised in (KeyError(), ValueError()):
        with pytest.raises(type(raised)) as caught:
            BearerMiddleware(failing, VALIDATOR)(environ(fields=good()), lambda *_: None)
        assert caught.value is raised


def test_the_body_of_a_refused_request_is_not_read(app):
    class Untouchable:
        def __getattr__(self, name):
            raise AssertionError

    guarded = BearerMiddleware(app, VALIDATOR)
    bare = {**environ("POST"), "wsgi.input": Untouchable(), "HTTP_TRANSFER_ENCODING": "chunked"}
    assert b"".join(guarded(bare, lambda *_: None)) == reject(MissingTokenError()).body


@pytest.mark.parametrize(
    "settings", [{"scope": 'a"b'}, {"public": "/*"}, {"optional": 1}, {"realm": '"'}, {"show_reason": "x"}]
)
def test_bad_settings_are_refused_at_construction(app, settings):
    with pytest.raises(ConfigurationError):
        BearerMiddleware(app, VALIDATOR, **settings)


@pytest.mark.parametrize("validator", [None, "x", {}, type(VALIDATOR)])
def test_a_validator_is_required(app, validator):
    with pytest.raises(ConfigurationError):
        BearerMiddleware(app, validator)
