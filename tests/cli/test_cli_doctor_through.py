"""`tokenguard doctor --through`: what an attacker would ask, and what is made of the answers."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from commands import run
from listeners import Listening, held_port

from tokenguard.cli.attacks import about_tokens, without_token

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEtbG92ZWxhY2UifQ.c2lnbmF0dXJlLW9mLWFkYQ"
GUARDED = "/orders/1"


def strict(request):
    """As a proxy with a printed configuration answers."""
    values = request.headers.get_all("Authorization") or []
    if len(values) > 1:
        return 400
    return 200 if request.path == GUARDED and values == [f"Bearer {TOKEN}"] else 401


def trusting(request):
    """nginx with `auth_request` as the web shows it: the client's own X-Forwarded-Uri decides."""
    return 200 if request.headers.get("X-Forwarded-Uri") == "/health" else strict(request)


HOLES = {
    "forged target": trusting,
    "other spellings": lambda one: 200 if one.headers.get("X_Token_Subject") == "admin" else strict(one),
    "odd paths": lambda one: 200 if one.path.startswith("/x/..") else strict(one),
    "forged caller": lambda one: 204 if one.headers.get("X-Real-IP") == "127.0.0.1" else strict(one),
    "tunnel": lambda one: 101 if one.headers.get("Upgrade") == "h2c" and one.path == "/health" else strict(one),
    "no token": lambda one: 101 if one.headers.get("Upgrade") == "websocket" else strict(one),
    "credentials": lambda one: 200 if (one.headers.get("Authorization") or "").endswith(TOKEN) else 401,
}


@contextlib.contextmanager
def proxy(answer):
    """A server that answers each request with a status; it has kept what was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.command, self.path))
            self.send_response(answer(self))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - as the library calls it

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            server.url, server.asked = f"http://127.0.0.1:{server.server_port}", asked
            yield server
        finally:
            server.shutdown()
            thread.join()


def through(url, *more, **how):
    return run("doctor", "--through", url, "--route", GUARDED, "--json", *more, **how)


def test_well():
    with proxy(strict) as server:
        ran = through(server.url)
        assert (ran.code, ran.json["verdict"], ran.json["faults"]) == (0, "well", 0)
        assert (
            ran.json["questions"]
            == len(server.asked)
            == len(list(without_token(GUARDED, ("/health", "/healthz", "/"))))
        )
        assert {one["area"]: one["status"] for one in ran.json["findings"]} == dict.fromkeys(
            ("no token", "forged target", "other spellings", "forged caller", "odd paths", "tunnel"), "ok"
        )
        assert {method for method, _ in server.asked} == {"GET", "HEAD"}  # nothing that writes


def test_with_a_good_token():
    with proxy(strict) as server:
        ran = through(server.url, environment={"TOKENGUARD_TOKEN": TOKEN}, secret=TOKEN)
        assert (ran.code, ran.json["verdict"]) == (0, "well")
        assert ("ok", "it is let in: 200") in ran.findings("good token")
        assert ("ok", "none was let in: 400 (2), 401 (3)") in ran.findings("credentials")


@pytest.mark.parametrize("area", HOLES)
def test_holes(area, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    with proxy(HOLES[area]) as server:
        ran = through(server.url, "--token-file", file, secret=TOKEN)
    assert (ran.code, ran.json["verdict"]) == (1, "faults")
    assert {one["area"] for one in ran.json["findings"] if one["status"] == "fault"} == {area}
    assert all(one["next_step"] for one in ran.json["findings"] if one["status"] == "fault")


def test_for_people():
    with proxy(trusting) as server:
        ran = run("doctor", "--through", server.url, "--route", GUARDED)
    assert ran.code == 1
    assert "X-Forwarded-Uri: /health: 200, like a good token" in ran.out
    assert ran.out.splitlines()[-1].startswith("faults: 89 questions")


def test_public_paths_are_asked_about():
    with proxy(lambda one: 200 if one.headers.get("X-Forwarded-Uri") == "/open" else strict(one)) as server:
        assert through(server.url).code == 0
        assert through(server.url, "--public", "/open").code == 1


def test_everything_open():
    with proxy(lambda _: 200) as server:
        ran = through(server.url)
    # But for the public paths, at which a 200 to an upgrade says that there was none.
    assert (ran.code, ran.json["faults"]) == (1, ran.json["questions"] - 3)
    assert [one["status"] for one in ran.json["findings"]] == ["fault"] * ran.json["faults"]
    first, *others = [one["next_step"] for one in ran.json["findings"]]
    assert first.startswith("if this route is public, name one that needs a token")
    assert first not in others


def test_what_public_paths_answer_is_named():
    with proxy(lambda one: 200 if one.path == "/health" else strict(one)) as server:
        ran = through(server.url, "--public", "/health", "--public", "/docs")
    assert (ran.code, ran.json["verdict"]) == (0, "well")
    assert ("ok", "none was let in: 200 at a public path (1), 401 (2)") in ran.findings("tunnel")


@pytest.mark.parametrize(("status", "code", "verdict"), [(404, 0, "warnings"), (503, 3, "could not tell")])
def test_neither_in_nor_401(status, code, verdict):
    with proxy(lambda _: status) as server:
        ran = through(server.url)
    assert (ran.code, ran.json["verdict"]) == (code, verdict)


def test_a_good_token_that_is_not_let_in():
    with proxy(lambda _: 401) as server:
        ran = through(server.url, "--token-file", "-", token=TOKEN)
    assert (ran.code, ran.json["verdict"], ran.json["warnings"]) == (0, "warnings", 1)
    assert ("warning", "it is not let in: 401") in ran.findings("good token")


def test_nobody_answers():
    with held_port() as port:
        ran = through(f"http://127.0.0.1:{port}")
        assert (ran.code, ran.json["verdict"], ran.json["questions"]) == (3, "could not tell", 1)
        assert ran.findings("no token") == [("unknown", "the proxy does not answer: no HTTP answer")]


class Silent(Listening):
    def serve(self, connection):
        self.over.wait(30)


def test_no_answer_in_time():
    with Silent() as server:
        ran = through(server.url, "--http-timeout", "0.05")
    assert ran.findings("no token") == [("unknown", "the proxy does not answer: timeout")]


def test_no_tls():
    class Plain(Listening):
        def serve(self, connection):
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Plain() as server:
        ran = through(server.url.replace("http:", "https:"))
    assert ran.findings("no token") == [("unknown", "the proxy does not answer: TLS handshake failed")]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--through", "http://127.0.0.1:1"], "--through and --route belong together"),
        (["--route", "/orders"], "--through and --route belong together"),
        (["--public", "/health"], "--through and --route belong together"),
        (["--through", "ftp://127.0.0.1", "--route", "/orders"], "--through must be a URL without a path"),
        (["--through", "http://127.0.0.1/api", "--route", "/orders"], "--through must be a URL without a path"),
        (["--through", "http://127.0.0.1:x", "--route", "/orders"], "--through must be a URL without a path"),
        (["--through", "http://127.0.0.1?x", "--route", "/orders"], "--through must be scheme, host and port only"),
        (["--through", "http://a@127.0.0.1", "--route", "/orders"], "--through must be scheme, host and port only"),
        (["--through", "http://127.0.0.1", "--route", "orders"], "--route must be a path as it is sent"),
        (["--through", "http://127.0.0.1", "--route", "/a b"], "--route must be a path as it is sent"),
        (["--through", "http://127.0.0.1", "--route", "/a", "--public", "x"], "--public must be a path as it is sent"),
        (["--through", "http://127.0.0.1", "--route", "/a", "--http-timeout", "x"], "--http-timeout must be"),
        (["--through", "http://127.0.0.1", "--route", "/a", "--http-timeout", "0"], "--http-timeout must be"),
        (["--through", "http://127.0.0.1", "--route", "/a", "--token-file", "/none"], "the token cannot be read"),
    ],
)
def test_wrong_use(arguments, text):
    ran = run("doctor", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"tokenguard: {text}")
    assert ran.err.count("\n") == 1


def test_a_token_that_is_none(tmp_path):
    file = tmp_path / "token"
    file.write_text("two words")
    ran = through("http://127.0.0.1:1", "--token-file", file)
    assert (ran.code, ran.err) == (2, "tokenguard: the good token must be one token: printable ASCII without blanks\n")


@pytest.mark.parametrize("route", ["/", "/a", "/orders/1", "/orders/?x=1", "/1/2"])
def test_every_question_is_another_one(route):
    """No question is the plain request for a public path, which is let in rightly, and none is asked twice."""
    questions = [*without_token(route, ("/health", "/")), *about_tokens(route, TOKEN)]
    assert len({(one.method, one.target, one.fields) for one in questions}) == len(questions)
    path = route.partition("?")[0]
    assert all(one.target not in ("/health", "/") for one in questions if one.area == "odd paths" and path != "/")
    assert all(one.target != route for one in questions if one.area == "odd paths")
