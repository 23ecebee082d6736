"""How event loops find Redis: its name is looked up in threads of tokenguard's own, and TLS is held to it."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis as redis_py
from certificates import contexts
from clocked_validator import until_quiet
from redis_server import RedisServer
from wire_server import Wire

from tokenguard._io import workers as workers_module
from tokenguard.redis.clients import factories

REAL = socket.getaddrinfo


class Untouched(ThreadPoolExecutor):
    """The executor of an event loop, for the application alone."""

    def submit(self, *_, **__):
        raise AssertionError("something ran in the loop's executor")


@pytest.fixture(scope="module")
def server():
    with RedisServer() as server:
        yield server


def ping(url, times=1, timeout=10.0):
    """What comes of a PING on one event loop: True, or the error."""

    async def main():
        asyncio.get_running_loop().set_default_executor(Untouched())
        client = factories(url, timeout=timeout, connections=50)[1]()
        try:
            return await asyncio.gather(*(client.ping() for _ in range(times)), return_exceptions=True)
        finally:
            await client.aclose()

    return asyncio.run(main())


def naming(monkeypatch, **addresses):
    """Let names stand for addresses, those of IPv4 alone."""

    def look_up(host, port, *rest, **more):
        found = addresses.get(host)
        if found is None:
            return REAL(host, port, *rest, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_a_name_is_looked_up_beside_the_loop_and_an_address_not_at_all(server, monkeypatch):
    names = []

    def look_up(host, *rest, **more):
        names.append((host, threading.current_thread().name))
        return REAL(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert ping(f"redis://localhost:{server.port}/0") == [True]
    assert names == [("localhost", "tokenguard-worker")]
    assert ping(f"redis://127.0.0.1:{server.port}/0") == [True]
    assert len(names) == 1
    until_quiet()


def test_each_address_of_a_name_is_tried(server, monkeypatch):
    naming(monkeypatch, several=["127.0.0.2", "127.0.0.1"], none=[], wrong=["127.0.0.2"])
    assert ping(f"redis://several:{server.port}/0") == [True]
    for name in ("none", "wrong"):
        [error] = ping(f"redis://{name}:{server.port}/0")
        assert isinstance(error, redis_py.ConnectionError)


def test_tls_is_held_to_the_name_and_not_to_the_address(server, monkeypatch, tmp_path):
    context, _ = contexts(tmp_path)

    def behave(connection, wire):
        with socket.create_connection(("127.0.0.1", server.port)) as upstream:
            copying = threading.Thread(target=copy, args=(upstream, connection), daemon=True)
            copying.start()
            copy(connection, upstream)
            upstream.shutdown(socket.SHUT_RDWR)
            copying.join(30)

    def copy(source, target):
        while data := source.recv(65536):
            target.sendall(data)

    naming(monkeypatch, localhost=["127.0.0.1"], other=["127.0.0.1"])
    with Wire(behave, context) as wire:
        port = wire.url.rsplit(":", 1)[1].partition("/")[0]
        settings = f"ssl_ca_certs={tmp_path / 'server.pem'}"
        assert ping(f"rediss://localhost:{port}/0?{settings}") == [True]
        [error] = ping(f"rediss://other:{port}/0?{settings}")
    assert "certificate" in str(error)


def test_a_name_server_that_hangs_holds_a_bounded_number_of_threads(monkeypatch):
    inside, go_on = [], threading.Event()

    def hanging(host, *_, **__):
        inside.append(host)
        go_on.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(workers_module, "SHARE", 2)
    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    errors = ping("redis://hanging.example/0", 5, 0.2)
    assert {type(error) for error in errors} <= {redis_py.TimeoutError, redis_py.ConnectionError}
    assert len(inside) <= 2
    go_on.set()
    until_quiet()


def test_a_connection_that_is_given_up_while_it_opens_is_closed(monkeypatch):
    opened, pinging = [], None

    async def never(*_):
        pinging.cancel()
        await asyncio.Event().wait()

    class Opened(socket.socket):
        def __init__(self, *given):
            super().__init__(*given)
            opened.append(self)

    async def main():
        nonlocal pinging
        client = factories("redis://some/0", timeout=30, connections=1)[1]()
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
        monkeypatch.setattr(socket, "socket", Opened)
        pinging = asyncio.ensure_future(client.ping())
        try:
            with pytest.raises(asyncio.CancelledError):
                await pinging
        finally:
            monkeypatch.undo()
            await client.aclose()

    naming(monkeypatch, some=["127.0.0.1"])
    asyncio.run(main())
    assert opened
    assert all(one.fileno() < 0 for one in opened)
    until_quiet()


def test_a_socket_of_the_file_system_has_no_name(tmp_path):
    client = factories(f"unix://{tmp_path}/none", timeout=1, connections=1)[1]()
    assert client.connection_pool.connection_class is redis_py.asyncio.UnixDomainSocketConnection
