"""Which connection carries another exchange: only one on which exactly the octets of one answer came; and what is done
when a kept one ends before the first octet of an answer."""

import asyncio
import socket
import struct
import threading

import h11
import httpx
import pytest
from certificates import contexts
from clocked_validator import until_quiet
from hypothesis import given
from hypothesis import strategies as st
from wire_server import Wire, failed, in_flight, send, until_there, whole

from tokenguard._flow.effects import Request, Send
from tokenguard._io import http as http_module
from tokenguard._io.framing import MAX_RECORDED, is_one_answer
from tokenguard._io.loops import Loops
from tokenguard._io.threads import Threads

RIGHT, WRONG = b'{"right": 1}', b'{"wrong": 1}'
WAYS = ("threads", "loops", "loops beside threads", "threads over the caller's transport", "loops over the caller's")
way = pytest.mark.parametrize("way", WAYS)
secured = pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])


def run_all(way, flows, context=None):
    """What each of `flows` ends with, one after the other, with one driver that keeps its connections."""
    if way.startswith("threads"):
        transport = httpx.HTTPTransport(verify=context or True) if "caller" in way else None
        driver = Threads(transport, context)
        landed = []
        for flow in flows:
            landed.append(driver.run(flow))
            until_quiet()
        driver.close()
        if transport is not None:
            transport.close()
        return landed

    async def main():
        transport = httpx.AsyncHTTPTransport(verify=context or True) if "caller" in way else None
        threads = Threads(None, context) if "beside" in way else None
        driver = Loops(transport, context, threads)
        landed = [await driver.run(flow) for flow in flows]
        await driver.aclose()
        if threads is not None:
            threads.close()
        if transport is not None:
            await transport.aclose()
        return landed

    return asyncio.run(main())


def asking(url, times=2, method="GET"):
    def flow():
        return (yield Send(Request(method, url), pooled=True))

    return [in_flight(flow()) for _ in range(times)]


def first(*parts):
    """Answers the first request of all with `parts`, a TLS record each, in one packet; later ones rightly."""
    asked = []

    def behave(connection, wire):
        while wire.read_head(connection):
            asked.append(1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            for part in parts if len(asked) == 1 else (whole(RIGHT),):
                connection.sendall(part)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    return behave


def chunked(body=RIGHT, trailer=b""):
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, trailer)


ANSWERS = {
    "a length": whole(RIGHT),
    "chunks": chunked(),
    "chunks and a trailer": chunked(trailer=b"X: y\r\n"),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n",
    "an interim answer before it": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + whole(RIGHT),
    "no body": whole(b""),
}
SURPLUS = {
    "a whole answer": whole(WRONG),
    "half an answer": whole(WRONG)[:-4],
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "an empty line": b"\r\n",
    "one octet": b"x",
    "a chunk": b"5\r\nwrong\r\n0\r\n\r\n",
}


@way
@secured
@pytest.mark.parametrize("surplus", SURPLUS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_octets_behind_an_answer_close_its_connection(answer, surplus, secured, way, tmp_path):
    server_side, client_side = contexts(tmp_path) if secured else (None, None)
    with Wire(first(ANSWERS[answer] + SURPLUS[surplus]), server_side) as server:
        one, other = run_all(way, asking(server.url), client_side)
    assert one.body in (RIGHT, b"")
    assert other.body == RIGHT
    assert server.connections == 2


@way
@secured
def test_octets_in_a_record_of_their_own_close_it_too(secured, way, tmp_path):
    """They may lie in a buffer of the TLS library, which the socket knows nothing of."""
    server_side, client_side = contexts(tmp_path) if secured else (None, None)
    with Wire(first(whole(RIGHT), whole(WRONG)), server_side) as server:
        answers = run_all(way, asking(server.url), client_side)
    assert [answer.body for answer in answers] == [RIGHT, RIGHT]
    assert server.connections == 2


@way
@secured
@pytest.mark.parametrize("late", [whole(WRONG), b"HTTP/1.1 100 Continue\r\n\r\n", b"x"])
def test_octets_that_come_while_a_connection_is_kept_close_it(late, secured, way, tmp_path):
    server_side, client_side = contexts(tmp_path) if secured else (None, None)
    go_on, sent = threading.Event(), threading.Event()

    def behave(connection, wire):
        while wire.read_head(connection):
            connection.sendall(whole(RIGHT))
            if len(wire.heads) == 1:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                go_on.wait(30)
                connection.sendall(late)
                until_there(connection)
                sent.set()

    def later():
        go_on.set()
        sent.wait(30)
        return (yield from asking(server.url, 1)[0])

    with Wire(behave, server_side) as server:
        answers = run_all(way, [*asking(server.url, 1), later()], client_side)
    assert [answer.body for answer in answers] == [RIGHT, RIGHT]
    assert server.connections == 2


@way
def test_octets_behind_an_answer_without_a_body_by_its_method_close_it(way):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
    with Wire(first(head + whole(WRONG))) as server:
        answers = run_all(way, [*asking(server.url, 1, "HEAD"), *asking(server.url, 1)])
    assert [answer.body for answer in answers] == [b"", RIGHT]
    assert server.connections == 2


@way
@secured
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_connection_with_exactly_one_answer_is_used_again(answer, secured, way, tmp_path):
    server_side, client_side = contexts(tmp_path) if secured else (None, None)

    def behave(connection, wire):
        while wire.read_head(connection):
            connection.sendall(ANSWERS[answer])

    with Wire(behave, server_side) as server:
        assert len({one.status for one in run_all(way, asking(server.url, 4), client_side)}) == 1
    assert server.connections == 1


@way
def test_an_answer_longer_than_what_is_looked_at_closes_its_connection(way):
    def behave(connection, wire):
        while wire.read_head(connection):
            connection.sendall(whole(bytes(MAX_RECORDED)))

    with Wire(behave) as server:
        assert [len(one.body) for one in run_all(way, asking(server.url))] == [MAX_RECORDED] * 2
    assert server.connections == 2


@way
@pytest.mark.parametrize("order", [("metadata", "jwks"), ("jwks", "introspection")])
def test_what_is_asked_for_something_else_has_a_connection_of_its_own(order, way):
    def flow(url):
        for endpoint in order:
            answer = yield Send(Request("GET", url), endpoint=endpoint)
        return answer

    def behave(connection, wire):
        while wire.read_head(connection):
            connection.sendall(whole(RIGHT))

    with Wire(behave) as server:
        assert run_all(way, [in_flight(flow(server.url))])[0].body == RIGHT
    assert server.connections == 2


class Unrecorded(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self):
        yield RIGHT

    async def __aiter__(self):
        yield RIGHT


class Stream:
    """A connection that lets nobody listen."""

    __slots__ = ("closed", "read")

    def close(self):
        self.closed = True

    async def aclose(self):
        self.closed = True


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/2"])
@pytest.mark.parametrize("world", ["threads", "loops"])
def test_a_connection_that_was_not_listened_to_is_closed_but_for_http_2(world, version):
    stream = Stream()
    stream.closed, stream.read = False, None
    extensions = {"network_stream": stream, "http_version": version}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Unrecorded(), extensions=extensions))
    flow = in_flight(send("https://a.example/", pooled=True))
    landed = Threads(transport, None).run(flow) if world == "threads" else asyncio.run(Loops(transport, None).run(flow))
    assert landed.body == RIGHT
    assert stream.closed is (version == b"HTTP/1.1")


@pytest.mark.parametrize("way", ["threads", "loops beside threads", "threads over the caller's transport"])
@secured
@pytest.mark.parametrize("early", [whole(WRONG), b"HTTP/1.1 100 Continue\r\n\r\n", b"x"])
def test_octets_that_come_before_the_first_request_are_no_answer(early, secured, way, tmp_path):
    server_side, client_side = contexts(tmp_path) if secured else (None, None)
    sent = threading.Event()

    def behave(connection, wire):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # not held back behind TLS's own octets
        connection.sendall(early)
        until_there(connection)
        sent.set()
        while wire.read_head(connection):
            connection.sendall(whole(RIGHT))

    real = http_module._Recorded.forget

    def forget(recorded):
        sent.wait(30)
        real(recorded)

    with Wire(behave, server_side) as server, pytest.MonkeyPatch.context() as patched:
        patched.setattr(http_module._Recorded, "forget", forget)
        assert failed(run_all(way, asking(server.url, 1), client_side)[0]) == "protocol_error"
        assert server.connections == 1
        assert not server.heads


@pytest.mark.parametrize("world", ["threads", "loops"])
def test_what_the_caller_reads_on_a_connection_of_ours_closes_it(world):
    """Its octets are not those of one answer to us, and nobody here knows what became of them."""

    def behave(connection, wire):
        while wire.read_head(connection):
            connection.sendall(whole(RIGHT))

    def flow():
        return asking(server.url, 1)[0]

    async def main():
        async with httpx.AsyncHTTPTransport() as transport:
            loops = Loops(transport, None)
            await loops.run(flow())
            await httpx.AsyncClient(transport=transport).get(server.url)
            await loops.run(flow())
            assert server.connections == 1
            await loops.run(flow())
            await loops.aclose()

    with Wire(behave) as server:
        if world == "loops":
            asyncio.run(main())
        else:
            with httpx.HTTPTransport() as transport:
                threads = Threads(transport, None)
                threads.run(flow())
                httpx.Client(transport=transport).get(server.url)
                threads.run(flow())
                assert server.connections == 1
                threads.run(flow())
                threads.close()
        assert server.connections == 2


# -- a kept connection that ends


def abandons(*, first=0, after=b"", ending=lambda _: None):
    """A server that answers `first` requests and then ends each connection at its next request, after a few octets."""

    def behave(connection, wire):
        while wire.read_head(connection):
            if len(wire.heads) > first:
                connection.sendall(after)
                ending(connection)
                return
            connection.sendall(whole(RIGHT))

    return behave


def once(number, then):
    """Answers every request but the one of this number, for which it does `then` and ends the connection."""

    def behave(connection, wire):
        while wire.read_head(connection):
            if len(wire.heads) == number:
                then(connection)
                return
            connection.sendall(whole(RIGHT))

    return behave


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@way
@pytest.mark.parametrize("ending", [lambda _: None, reset], ids=["FIN", "RST"])
def test_a_request_that_crosses_the_end_of_a_kept_connection_is_sent_once_more(ending, way):
    with Wire(once(2, ending)) as server:
        assert [answer.body for answer in run_all(way, asking(server.url))] == [RIGHT, RIGHT]
    assert (server.connections, len(server.heads)) == (2, 3)
    assert server.heads[1] == server.heads[2]


@way
def test_a_kept_connection_that_ended_meanwhile_costs_nothing(way):
    def behave(connection, wire):
        if wire.read_head(connection):
            connection.sendall(whole(RIGHT))

    with Wire(behave) as server:
        assert [answer.body for answer in run_all(way, asking(server.url, 3))] == [RIGHT] * 3
        assert len(server.heads) == 3


@way
def test_a_request_is_sent_once_more_at_most(way):
    with Wire(abandons(first=1)) as server:
        answers = run_all(way, asking(server.url))
    assert failed(answers[1]) == "disconnected"
    assert (server.connections, len(server.heads)) == (2, 3)


@way
def test_a_request_on_a_new_connection_is_sent_once(way):
    with Wire(abandons()) as server:
        assert failed(run_all(way, asking(server.url, 1))[0]) == "disconnected"
    assert (server.connections, len(server.heads)) == (1, 1)


@way
@pytest.mark.parametrize("octets", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", whole(RIGHT)[:-1]])
def test_a_request_is_sent_once_where_an_octet_came(octets, way):
    with Wire(once(2, lambda connection: connection.sendall(octets))) as server:
        answers = run_all(way, asking(server.url))
    assert failed(answers[1]) == "protocol_error"
    assert (server.connections, len(server.heads)) == (1, 2)


@way
def test_a_kept_connection_that_hangs_is_a_timeout_and_nothing_more(way):
    with Wire(once(2, lambda _: server.over.wait())) as server:
        later = in_flight(send(server.url, pooled=True), 1)
        answers = run_all(way, [*asking(server.url, 1), later])
        until_quiet()
        assert failed(answers[1]) == "timeout"
        assert (server.connections, len(server.heads)) == (1, 2)


@way
def test_both_attempts_share_one_deadline(way):
    def behave(connection, wire):
        while wire.read_head(connection):
            if len(wire.heads) == 2:
                return
            if len(wire.heads) == 3:
                wire.over.wait()
            connection.sendall(whole(RIGHT))

    with Wire(behave) as server:
        later = in_flight(send(server.url, pooled=True), 1)
        assert failed(run_all(way, [*asking(server.url, 1), later])[1]) == "timeout"
        assert len(server.heads) == 3


async def test_a_connection_that_fails_when_it_is_looked_at_is_closed():
    class Broken:
        closed = False

        async def read(self, *_):
            raise OSError

        async def aclose(self):
            self.closed = True

    stream = Broken()
    await http_module._RecordedOnLoops(stream).close_unless_quiet(stream)
    assert stream.closed


async def test_a_kept_connection_is_looked_at_without_waiting():
    class Quiet:
        closed = False
        waited: float | None = None

        async def read(self, _max_bytes, timeout):
            self.waited = timeout
            raise OSError from TimeoutError()

        async def aclose(self):
            self.closed = True

    stream = Quiet()
    await http_module._RecordedOnLoops(stream).close_unless_quiet(stream)
    assert (stream.waited, stream.closed) == (0, False)


# -- the octets of one answer


@pytest.mark.parametrize("answer", ANSWERS)
def test_one_answer_is_every_octet_of_it_and_no_more(answer):
    octets = ANSWERS[answer]
    assert is_one_answer(octets, "GET")
    assert not any(is_one_answer(octets[:end], "GET") for end in range(len(octets)))
    assert not any(is_one_answer(octets + more, "GET") for more in SURPLUS.values())
    assert not is_one_answer(octets + octets, "GET")


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",  # until the connection ends
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n000000001\r\nx\r\n0\r\n\r\n",
        b"",
    ],
)
def test_octets_that_can_be_read_in_two_ways_are_not_one_answer(octets):
    assert not is_one_answer(octets, "GET")


def whole_by_h11(octets):
    """Whether h11 reads one whole answer from these octets, and nothing is left."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(octets)
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return False
        if event is h11.NEED_DATA:
            return False
        if isinstance(event, h11.EndOfMessage):
            return connection.trailing_data == (b"", False)


PIECES = st.sampled_from(
    [
        *[b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 204 No\r\n", b"\r\n", b"\n", b"X: y\r\n"],
        *[b"Content-Length: 2\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"{}", b"0\r\n"],
        *[b"2\r\n{}\r\n", b"2;x=y\r\n", b" ", b":"],
    ]
)


@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_what_is_one_answer_here_is_one_to_h11(octets):
    if is_one_answer(octets, "GET"):
        assert whole_by_h11(octets)
