"""The bounds of an outbound exchange: total deadline, size after decompression, no redirects; in both worlds."""

import asyncio
import gzip
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from contextlib import suppress

import httpx
import pytest
from certificates import contexts
from clocked_validator import descriptors, until
from real_servers import clean
from wire_server import DRIVERS, Wire, exchange, failed, in_flight, says, send, whole

from tokenguard import (
    Introspection,
    InvalidTokenError,
    Issuer,
    KeysUnavailableError,
    TokenValidator,
    UnavailableError,
)
from tokenguard._flow.effects import ExchangeError, Request, Response, Send
from tokenguard._io import http, libraries
from tokenguard._io.body import MAX_BODY, Body
from tokenguard._io.http import Connection
from tokenguard._io.loops import Loops
from tokenguard._io.threads import Threads

LIMIT = 512 * 1024
world = pytest.mark.parametrize("world", DRIVERS)


# -- the bounded reader


def read(*chunks, encoding=""):
    body = Body(encoding)
    for chunk in chunks:
        body.feed(chunk)
    return body.finish()


def test_a_body_up_to_the_bound_and_not_an_octet_more():
    assert MAX_BODY == LIMIT
    assert len(read(b"x" * LIMIT)) == LIMIT
    with pytest.raises(ExchangeError, match="too_large"):
        read(b"x" * LIMIT, b"x")


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", " x-gzip "])
@pytest.mark.parametrize("size", [1, 7, 65536])
def test_gzip_is_inflated_as_it_comes(encoding, size):
    honest = os.urandom(1000) * 100
    sent = gzip.compress(honest)
    assert read(*(sent[i : i + size] for i in range(0, len(sent), size)), encoding=encoding) == honest


@pytest.mark.parametrize("size", [1, 65536])
def test_gzip_in_several_members(size):
    """RFC 1952 section 2.2: a file is a series of members."""
    sent = b"".join(gzip.compress(part) for part in (b"one", b"", b"two"))
    assert read(*(sent[i : i + size] for i in range(0, len(sent), size)), encoding="gzip") == b"onetwo"


def test_an_encoded_body_that_is_not_there_is_empty():
    assert read(encoding="gzip") == b""  # a 304 may name the encoding


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        (b"plain", "content_encoding"),
        (zlib.compress(b"zlib"), "content_encoding"),
        (gzip.compress(b"good") + b"junk", "content_encoding"),
        (gzip.compress(b"good")[:-1], "truncated"),
        (gzip.compress(b"good") + gzip.compress(b"more")[:-3], "truncated"),
        (gzip.compress(b"x" * LIMIT) + gzip.compress(b"x"), "too_large"),
        (gzip.compress(b"x" * (LIMIT + 1)), "too_large"),
        (gzip.compress(b"") * 65, "too_large"),
        (gzip.compress(os.urandom(LIMIT)), "too_large"),
    ],
)
def test_gzip_that_is_not_whole_or_too_much(sent, word):
    with pytest.raises(ExchangeError, match=word):
        read(sent, encoding="gzip")


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "compress", "x"])
def test_encodings_that_were_not_asked_for(encoding):
    with pytest.raises(ExchangeError, match="content_encoding"):
        Body(encoding)


@pytest.mark.parametrize("members", [1, 60])
def test_s10_a_bomb_costs_no_memory_and_no_time(members):
    """S10, 63: 1 GiB in one member, or spread over many."""
    bomb = gzip.compress(bytes(1024**3 // members // 16), 9) * members
    costs = []
    for _ in range(3):  # the least of three: what other threads allocate and compute meanwhile is no cost of this one
        tracemalloc.start()
        began = time.thread_time()
        with pytest.raises(ExchangeError, match="too_large"):
            read(bomb, encoding="gzip")
        costs.append((time.thread_time() - began, tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    assert min(took for took, _ in costs) < 0.2
    assert min(peak for _, peak in costs) < 4 * LIMIT + 2 * len(bomb)


def test_what_follows_a_gzip_body_is_bounded_too():
    body = Body("gzip")
    body.feed(gzip.compress(b"{}"))
    with pytest.raises(ExchangeError):
        body.feed(bytes(1000))


# -- over sockets


@world
def test_a_good_answer(world):
    with Wire(says(whole(b'{"a": 1}', ETag='"1"', X="a", x="b"))) as server:
        answer = exchange(world, server.url, headers=[("accept", "application/json")])
    assert isinstance(answer, Response)
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, b'{"a": 1}', '"1"')
    head = server.heads[0].lower()
    assert b"user-agent: tokenguard (" in head
    assert b"accept: application/json\r\n" in head
    assert b"accept-encoding: gzip\r\n" in head
    assert b"cookie" not in head


@world
def test_no_field_of_an_answer_is_searched_for_among_all_of_them(world, monkeypatch):
    """11,000 fields in 100 kB took two seconds, beyond any deadline."""
    searched = []
    for library in libraries.loaded():
        found = library.Headers.__getitem__
        monkeypatch.setattr(
            library.Headers, "__getitem__", lambda self, name, found=found: searched.append(name) or found(self, name)
        )
    many = {f"x-{number}": str(number) for number in range(1_000)}
    with Wire(says(whole(b"{}", **many, A="1", a="2"))) as server:
        answer = exchange(world, server.url)
    assert many.items() <= answer.headers.items()
    assert answer.headers["a"] == "1, 2"
    assert len(searched) < 20


@world
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_57_s2_redirects_are_not_followed(world, status):
    """57, S2: the second port sees nothing."""
    with Wire(says(whole())) as other, Wire(says(whole(status=status, location=other.url))) as server:
        assert exchange(world, server.url).status == int(status[:3])
    assert other.connections == 0


@world
def test_cookies_are_not_kept(world):
    with Wire(says(whole(Set_Cookie="a=b"))) as server:
        exchange(world, server.url, server.url)
    assert b"cookie" not in server.heads[1].lower()


@world
def test_one_connection_for_all_that_a_flight_asks_one_server_of_one_kind(world):
    """The places of one discovery share a connection."""
    with Wire(says(whole())) as server:
        exchange(world, server.url, server.url + "2", server.url + "3")
    assert (server.connections, len(server.heads)) == (1, 3)


@world
def test_two_hosts_in_one_flight(world):
    with Wire(says(whole(b"1"))) as one, Wire(says(whole(b"2"))) as other:
        assert exchange(world, one.url, other.url, one.url, other.url).body == b"2"


BROKEN = {
    "closed at once": (b"", "disconnected"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "protocol_error"),
    "shorter than its length": (whole(b"{}", content_length="100"), "protocol_error"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "protocol_error"),
    "length that is no number": (whole(b"{}", content_length="2x"), "protocol_error"),
    "chunk cut off": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{}", "protocol_error"),
    "endless header": (b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000, "protocol_error"),
    "too large": (whole(b"x" * (LIMIT + 1)), "too_large"),
    "too large, in chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 16, "too_large",
    ),
    "too large, until it closes": (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * (LIMIT + 1), "too_large"),
    "bomb": (whole(gzip.compress(bytes(50 * LIMIT)), content_encoding="gzip"), "too_large"),
    "bombs": (whole(gzip.compress(bytes(LIMIT // 2)) * 3, content_encoding="gzip"), "too_large"),
    "no gzip": (whole(b"{}", content_encoding="gzip"), "content_encoding"),
    "gzip cut off": (whole(gzip.compress(b"{}")[:-2], content_encoding="gzip"), "truncated"),
    "brotli": (whole(b"{}", content_encoding="br"), "content_encoding"),
}  # fmt: skip


@world
@pytest.mark.parametrize("case", BROKEN)
def test_s6_s10_broken_answers(world, case):
    """S6, S10, 63: 10 MB, bombs, truncated and lying bodies: refused at the bound, at once."""
    sent, word = BROKEN[case]
    with Wire(says(sent, keep_alive=False)) as server:
        began = time.perf_counter()
        assert failed(exchange(world, server.url)) == word
        assert time.perf_counter() - began < 15


@world
def test_s10_ten_megabytes_are_not_read(world):
    def behave(connection, wire):
        wire.read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n")
        for _ in range(160):
            connection.sendall(bytes(65536))
            sent.append(65536)

    sent = []
    with Wire(behave) as server:
        assert failed(exchange(world, server.url)) == "too_large"
    assert sum(sent) < 8 * 1024**2  # what the sockets' buffers swallowed


@world
def test_a_length_that_is_too_long_for_the_rest_is_ignored(world):
    with Wire(says(whole(b"{}") + b"HTTP/1.1 200 OK\r\n", keep_alive=False)) as server:
        assert exchange(world, server.url).body == b"{}"


@world
@pytest.mark.parametrize("port", ["1", "9"])
def test_a_refused_connection(world, port):
    outcome = exchange(world, f"http://127.0.0.1:{port}/")
    assert failed(outcome) == "unreachable"
    assert outcome.ends_attempt


@world
def test_a_name_that_is_not_known(world, monkeypatch):
    def look_up(*_, **__):  # a resolver without a network may take its time, and its thread with it
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    outcome = exchange(world, "http://nowhere.invalid/")
    assert failed(outcome) == "unreachable"
    assert outcome.ends_attempt


def drips_headers(connection, wire):
    wire.read_head(connection)
    wire.drip(connection, b"HTTP/1.1 200 OK\r\nx: " + b"x" * 10_000)


def drips_a_body(connection, wire):
    wire.read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    wire.drip(connection, b"x" * 10_000)


def drips_interim_answers(connection, wire):
    wire.read_head(connection)
    while not wire.over.wait(0.02):
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def never_answers(connection, wire):
    wire.read_head(connection)
    wire.over.wait()


def never_reads(connection, wire):
    wire.over.wait()


SLOW = [drips_headers, drips_a_body, drips_interim_answers, never_answers, never_reads]


@world
@pytest.mark.parametrize("behave", SLOW)
def test_s11_the_deadline_is_total(world, behave):
    """S11, 63: one octet now and then, in the header or the body, never restarts it."""
    with Wire(behave) as server:
        began = time.perf_counter()
        outcome = exchange(world, server.url, timeout=0.3)
        took = time.perf_counter() - began
        assert failed(outcome) == "timeout"
        assert outcome.ends_attempt
        assert 0.25 < took < 15
        assert no_flight_is_left()


@world
def test_the_deadline_is_for_all_exchanges_of_a_flight(world):
    def behave(connection, wire):
        while wire.read_head(connection):
            wire.over.wait(0.12)
            connection.sendall(whole())

    with Wire(behave) as server:
        began = time.perf_counter()
        assert failed(exchange(world, *[server.url] * 9, timeout=0.3)) == "timeout"
        assert time.perf_counter() - began < 15


@world
@pytest.mark.parametrize(
    "behave", [never_reads, lambda connection, wire: wire.drip(connection, b"\x16\x03\x03\x40\x00" + b"x" * 999)]
)
def test_a_tls_handshake_that_hangs_or_drips(world, behave, tmp_path):
    with Wire(behave) as server:
        began = time.perf_counter()
        url = server.url.replace("http:", "https:")
        assert failed(exchange(world, url, timeout=0.3, ssl_context=contexts(tmp_path)[1])) in (
            "timeout",
            "unreachable",
        )
        assert time.perf_counter() - began < 15
        assert no_flight_is_left()


@world
def test_tls(world, tmp_path):
    server_context, client_context = contexts(tmp_path)
    with Wire(says(whole(b"tls")), server_context) as server:
        assert exchange(world, server.url, ssl_context=client_context).body == b"tls"
        assert failed(exchange(world, server.url)) == "certificate"  # nobody trusts that certificate
    with Wire(drips_headers, server_context) as server:
        assert failed(exchange(world, server.url, ssl_context=client_context, timeout=0.3)) == "timeout"
        assert no_flight_is_left()


@world
def test_the_ca_bundle_is_the_one_that_the_environment_names_now(world, tmp_path, monkeypatch):
    with Wire(says(whole(b"tls")), contexts(tmp_path)[0]) as server:
        assert failed(exchange(world, server.url)) == "certificate"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        assert exchange(world, server.url).body == b"tls"
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        assert failed(exchange(world, server.url)) == "certificate"


@world
def test_a_connection_that_is_never_accepted(world):
    """A full backlog: the handshake of TCP itself hangs, where there is no socket yet that could be cut."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        address = listening.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        began = time.perf_counter()
        outcome = exchange(world, f"http://127.0.0.1:{address[1]}/", timeout=0.3)
        assert failed(outcome) == "timeout"
        assert time.perf_counter() - began < 15
        assert no_flight_is_left()
        for filler in fillers:
            filler.close()


def no_flight_is_left(within=30.0):
    """Whether all threads of flights and exchanges end. The bound is for a test that fails."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(
            thread.name.startswith("tokenguard") and thread.name != "tokenguard-development-issuer"
            for thread in threading.enumerate()
        ):
            return True
        threading.Event().wait(0.005)
    return False


@world
def test_file_descriptors_and_threads_are_stable_over_a_thousand_failing_exchanges(world):
    hits = iter(range(10_000))
    answers = [sent for sent, _ in BROKEN.values() if len(sent) < 1000]

    def behave(connection, wire):
        if wire.read_head(connection):
            connection.sendall(answers[next(hits) % len(answers)])

    def one(url):
        return in_flight(send(url))

    with Wire(behave) as server:
        urls = [server.url, "http://127.0.0.1:1/"]
        if world == "threads":
            driver = Threads(None, None)
            driver.run(one(urls[0]))
            before = descriptors()
            for number in range(500):
                assert isinstance(driver.run(one(urls[number % 2])), ExchangeError)
        else:
            before = descriptors()

            async def many():
                driver = Loops(None, None)
                for number in range(500):
                    assert isinstance(await driver.run(one(urls[number % 2])), ExchangeError)

            asyncio.run(many())
        assert no_flight_is_left()
        until(lambda: descriptors() <= before + 3, 30)


# -- transports of the caller


@world
def test_a_mock_transport_has_read_its_answers_already(world):
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={}, headers={"x": "y"}))
    answer = exchange(world, "https://issuer.example/", transport=transport)
    assert (answer.body, answer.headers["x"]) == (b"{}", "y")
    large = httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * (LIMIT + 1)))
    assert failed(exchange(world, "https://issuer.example/", transport=large)) == "too_large"


class Streaming(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self):
        yield from [b"x" * 65536] * 9

    async def __aiter__(self):
        for chunk in self:
            yield chunk


@world
def test_a_transport_that_streams_is_read_within_the_bound(world):
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Streaming()))
    assert failed(exchange(world, "https://issuer.example/", transport=transport)) == "too_large"


class Lender(httpx.MockTransport):
    closed = 0

    def close(self):
        Lender.closed += 1

    async def aclose(self):
        Lender.closed += 1


@world
def test_a_transport_is_closed_by_its_owner(world):
    exchange(world, "https://issuer.example/", transport=Lender(lambda _: httpx.Response(200)))
    assert Lender.closed == 0


ERRORS = [
    (httpx.ConnectTimeout("x"), "timeout", True),
    (httpx.PoolTimeout("x"), "timeout", True),
    (TimeoutError("x"), "timeout", True),
    (httpx.ConnectError("x"), "unreachable", True),
    (httpx.ReadError("x"), "unreachable", True),
    (httpx.ProxyError("x"), "unreachable", True),
    (ConnectionResetError("x"), "unreachable", True),
    (httpx.RemoteProtocolError("x"), "protocol_error", False),
    (httpx.DecodingError("x"), "protocol_error", False),
    (httpx.InvalidURL("secret"), "InvalidURL", True),
    (ZeroDivisionError("secret"), "ZeroDivisionError", True),
    (RecursionError("secret"), "RecursionError", True),
    (MemoryError("secret"), "MemoryError", True),
]


@world
@pytest.mark.parametrize(("error", "word", "ends"), ERRORS)
def test_s20_every_error_of_a_transport_has_a_word(world, error, word, ends):
    def fail(_):
        raise error

    outcome = exchange(world, "https://issuer.example/", transport=httpx.MockTransport(fail))
    assert failed(outcome) == word
    assert outcome.ends_attempt is ends
    assert "secret" not in str(outcome)


def test_s20_a_transport_that_exits_does_not_leave_its_flight_in_the_air():
    def leave(_):
        raise SystemExit

    assert failed(exchange("threads", "https://issuer.example/", transport=httpx.MockTransport(leave))) == "SystemExit"


# -- a line that is cut


def test_a_line_that_is_cut_before_its_connection_stands_is_cut_as_soon_as_it_does():
    with Wire(drips_headers) as server:
        line = Connection(None, None)
        line.cut()
        began = time.perf_counter()
        with pytest.raises(ExchangeError):
            line.exchange(Request("GET", server.url), 60)
        assert time.perf_counter() - began < 15
        line.close()


def test_a_stream_without_a_socket_cannot_be_cut_and_does_no_harm():
    class Stream:
        __slots__ = ()  # nor can anyone listen to it

        def read(self, *_):
            """Nothing."""

        def get_extra_info(self, _):
            return None

    line = Connection(None, None)
    line._trace("connection.connect_tcp.complete", {"return_value": Stream()})
    line.cut()
    line.close()


LOADED = """
import sys
from tokenguard import Issuer, TokenValidator
TokenValidator(Issuer("https://issuer.example", jwks_uri="https://issuer.example/jwks"), "x")
before = set(sys.modules)
import asyncio
from tokenguard._io.http import Connection, async_client
Connection(None, None).close()
async def on_a_loop():
    await async_client(None, None, 1).aclose()
asyncio.run(on_a_loop())
print(sorted(name for name in set(sys.modules) - before if "http" in name or "anyio" in name))
"""


def test_the_http_client_is_loaded_with_the_validator_not_on_the_loop():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], env=clean({}), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[]\n", done.stderr


def test_an_exchange_outside_a_flight_is_a_fault():
    def flow():
        yield Send(Request("GET", "http://127.0.0.1:1/"))

    with pytest.raises(RuntimeError, match="belongs in a flight"):
        Threads(None, None).run(flow())
    with pytest.raises(RuntimeError, match="belongs in a flight"):
        asyncio.run(Loops(None, None).run(flow()))


@world
@pytest.mark.parametrize(("host", "days"), [("127.0.0.1", -1), ("127.0.0.2", 1)])
def test_a_certificate_that_has_ended_or_is_another_hosts(world, host, days, tmp_path):
    server_context, client_context = contexts(tmp_path, host, days)
    with Wire(says(whole(b"tls")), server_context) as server:
        assert failed(exchange(world, server.url, ssl_context=client_context)) == "certificate"


@world
def test_a_certificate_of_an_unknown_authority_is_called_so(world, tmp_path, caplog):
    server_context, _ = contexts(tmp_path)
    with Wire(says(whole()), server_context) as server:
        asked = Introspection("api", "secret", endpoint=server.url)
        issuer = Issuer("https://idp.example", jwks_uri=server.url, introspection=asked)
        with TokenValidator(issuer, "api") as validator:
            for token in ("a.b.c", "opaque"):
                with suppress(UnavailableError, InvalidTokenError):
                    validator.validate(token) if world == "threads" else asyncio.run(validator.validate_async(token))
            with pytest.raises(KeysUnavailableError):
                validator.warm_up() if world == "threads" else asyncio.run(validator.warm_up_async())
            assert validator.state()[0].keys.last_error == "certificate"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3  # of the endpoint twice, of the keys once
    assert all("certificate" in line and "SSL_CERT_FILE or ssl_context" in line for line in lines)


def test_an_error_that_is_its_own_cause_is_no_certificates():
    error = OSError()
    error.__cause__ = error
    assert http._exchange_error(error, http._Attempt()).kind == "unreachable"
