"""How a connection's requests are read, by either of uvicorn's protocols: time, size and targets. Nothing waits here:
the loop's timers are called by hand."""

from __future__ import annotations

import asyncio

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from tokenguard.challenge import reject
from tokenguard.errors import InvalidRequestError
from tokenguard.gateway import protocol
from tokenguard.gateway.protocol import LONGEST_HEAD, LONGEST_READ

KEEP_ALIVE = 75


class Timer:
    def __init__(self, seconds, call):
        self.seconds = seconds
        self.call = call
        self.is_cancelled = False

    def cancel(self):
        self.is_cancelled = True


class Loop:
    """Runs tasks on the real loop, and keeps timers."""

    def __init__(self):
        self.timers = []
        self.create_task = asyncio.get_running_loop().create_task

    def call_later(self, seconds, call, *given):
        self.timers.append(Timer(seconds, lambda: call(*given)))
        return self.timers[-1]

    def waiting(self):
        return [one for one in self.timers if not one.is_cancelled]


class Transport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.sent = b""
        self.end = ""

    def write(self, data):
        self.sent += data

    def close(self):
        self.end = self.end or "closed"

    def abort(self):
        self.end = "aborted"

    def is_closing(self):
        return bool(self.end)

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class Connection:
    """One connection to an app that answers when `answering` is set, and keeps the scopes."""

    def __init__(self):
        self.loop, self.transport = Loop(), Transport()
        self.answering = asyncio.Event()
        self.answering.set()
        self.scopes = []
        kind = protocol.protocol("orders")
        config = Config(
            self.app,
            http=kind,
            h11_max_incomplete_event_size=LONGEST_HEAD,
            timeout_keep_alive=KEEP_ALIVE,
            ws="none",
            interface="asgi3",
            proxy_headers=False,
            log_config=None,
        )
        config.load()
        self.state = ServerState()
        self.protocol = kind(config=config, server_state=self.state, app_state={}, _loop=self.loop)
        self.protocol.connection_made(self.transport)

    async def app(self, scope, receive, send):
        self.scopes.append(scope)
        await self.answering.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def receive(self, *parts):
        for part in parts:
            self.protocol.data_received(part)

    async def answered(self):
        await asyncio.gather(*self.state.tasks)

    def timers(self):
        return [one.seconds for one in self.loop.waiting()]


@pytest.fixture(params=["httptools", "h11"])
async def connection(request, monkeypatch):
    monkeypatch.setattr(protocol, "find_spec", lambda name: request.param == "httptools" or None)
    made = Connection()
    assert type(made.protocol).__name__.lower() == f"by{request.param}"
    yield made
    made.answering.set()
    await made.answered()
    made.protocol.connection_lost(None)
    assert made.timers() == []


HEAD = b"GET /-/live HTTP/1.1\r\nHost: gateway\r\n\r\n"
POST = b"POST /-/live HTTP/1.1\r\nHost: gateway\r\nContent-Length: 3\r\n\r\n"
CHUNKED = b"POST /-/live HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: "


def octets(text):
    return [text[at : at + 1] for at in range(len(text))]


async def test_a_connection_on_which_nothing_comes_is_ended(connection):
    assert connection.timers() == [KEEP_ALIVE]
    connection.loop.waiting()[0].call()
    assert connection.transport.end == "closed"


@pytest.mark.parametrize("sent", [[], [HEAD[:1]], [HEAD]], ids=["nothing", "a part", "a request"])
async def test_nothing_is_left_of_a_connection_that_was_reset(connection, sent):
    connection.receive(*sent)
    await connection.answered()
    connection.protocol.connection_lost(ConnectionResetError())
    assert connection.timers() == []


@pytest.mark.parametrize("sent", [HEAD[:1], HEAD[:-1], POST, POST + b"ab", CHUNKED], ids=lambda sent: str(len(sent)))
async def test_a_request_has_to_be_whole_in_time(connection, sent):
    """However often an octet comes: the time is counted from the first one."""
    connection.answering.clear()
    connection.receive(*octets(sent))
    assert connection.timers() == [LONGEST_READ]
    assert [one.seconds for one in connection.loop.timers] == [KEEP_ALIVE, LONGEST_READ]
    assert connection.transport.end == ""
    connection.loop.waiting()[0].call()
    assert connection.transport.end == "aborted"


@pytest.mark.parametrize("sent", [HEAD, POST + b"abc", CHUNKED + b"a\r\n\r\n"], ids=["head", "body", "trailer"])
async def test_a_whole_request_has_all_the_time_for_its_answer(connection, sent):
    connection.answering.clear()
    connection.receive(*octets(sent))
    assert connection.timers() == []
    connection.answering.set()
    await connection.answered()
    assert connection.transport.sent.startswith(b"HTTP/1.1 200 ")
    assert connection.timers() == [KEEP_ALIVE]
    connection.receive(HEAD[:1])
    assert connection.timers() == [LONGEST_READ]
    connection.receive(HEAD[1:])
    await connection.answered()
    assert connection.timers() == [KEEP_ALIVE]
    assert len(connection.scopes) == 2


async def test_a_part_of_a_request_behind_another_one_is_no_way_around_it(connection):
    connection.receive(HEAD + HEAD[:9])
    await connection.answered()
    assert connection.timers() != []
    connection.receive(HEAD[9:10])
    assert connection.timers() == [LONGEST_READ]
    connection.receive(HEAD[10:])
    await connection.answered()
    assert connection.timers() == [KEEP_ALIVE]
    assert len(connection.scopes) == 2


async def test_a_body_may_end_after_the_answer(connection):
    connection.receive(POST)
    await connection.answered()
    connection.receive(b"a", b"b")
    assert LONGEST_READ in connection.timers()
    connection.receive(b"c")
    assert LONGEST_READ not in connection.timers()


async def test_empty_lines_are_no_way_around_it(connection):
    connection.receive(*octets(b"\r\n\r\n\r\n"))
    assert connection.timers() == [LONGEST_READ] or connection.transport.end == "closed"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a?b=c", b"/a", b"b=c"),
        (b"/a?b?c#d", b"/a", b"b?c#d"),
        (b"/a%2Fb/../c;d", b"/a%2Fb/../c;d", b""),
        (b"/a?", b"/a", b""),
        (b"//a", b"//a", b""),
        (b"/a" + b"b" * 65_536, b"/a" + b"b" * 65_536, b""),
        (b"/a?" + b"b" * 65_536, b"/a", b"b" * 65_536),
        (b"http://h/a?b", b"http://h/a", b"b"),
    ],
    ids=lambda value: f"{value[:20]!r}-{len(value)}",
)
async def test_the_target_is_given_as_it_was_sent(connection, target, path, query):
    connection.receive(b"GET " + target + b" HTTP/1.1\r\nHost: gateway\r\n\r\n")
    await connection.answered()
    (scope,) = connection.scopes
    assert (scope["raw_path"], scope["query_string"]) == (path, query)


async def test_what_is_no_http_gets_the_usual_answer(connection):
    connection.receive(b"GET / HTTP/1.1\r\nHost : gateway\r\n\r\n")
    head, _, body = connection.transport.sent.partition(b"\r\n\r\n")
    expected = reject(InvalidRequestError(), realm="orders")
    lines = head.decode().split("\r\n")
    assert (lines[0], body) == ("HTTP/1.1 400 Bad Request", expected.body)
    assert {f"{name.lower()}: {value}" for name, value in expected.headers} <= set(lines)
    assert connection.transport.end == "closed"
    assert connection.scopes == []
