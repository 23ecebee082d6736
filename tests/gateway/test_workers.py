"""What real processes reach rarely: no descriptor left, workers that end at once or not at all."""

from __future__ import annotations

import asyncio
import logging
import socket
import time

import pytest

from tokenguard import ConfigurationError
from tokenguard.gateway import Gateway, server, workers
from tokenguard.gateway.connections import make_room
from tokenguard.gateway.listening import listen_at, listen_on
from tokenguard.testing import FakeIssuer


def program(folder, text):
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


@pytest.fixture
def slot(tmp_path):
    with_socket = listen_on("127.0.0.1:0")
    with (tmp_path / "shared").open("w+b") as shared:
        listening, connections = with_socket.socket.fileno(), make_room(shared, 2)
        yield workers._Slot(workers._Common(b"content", listening, 1, str(tmp_path), shared.fileno(), connections), 0)
    with_socket.close()


def test_a_worker_that_ends_at_once_is_tried_again_after_growing_pauses(slot, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("sys.executable", program(tmp_path, "exit 3"))
    pauses = []
    for _ in range(8):
        slot._due = 0.0  # as if the pause were over
        slot.keep()
        slot._process.wait(60)
        pauses.append(slot.keep())
    assert [round(one, 1) for one in pauses] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert "ended by code 3" in caplog.text
    assert not slot.is_running
    slot.terminate()  # nothing runs
    slot.kill()


def test_a_worker_that_served_is_replaced_at_once(slot, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.executable", program(tmp_path, "cat >/dev/null"))
    slot.keep()
    slot._common.connections.count(0, 1)
    slot._common.connections.count(1, 7)
    slot._started -= 3_600
    slot._process.kill()
    slot._process.wait(60)
    slot.keep()
    assert slot.is_running
    assert slot._common.connections.has_fewest(1)  # nothing is left to the one that was killed
    slot.kill()
    assert not slot.is_running


def test_a_worker_that_does_not_end_in_time_is_killed(slot, monkeypatch, tmp_path, caplog):
    ready = tmp_path / "ready"
    monkeypatch.setattr("sys.executable", program(tmp_path, f"trap '' TERM; touch {ready}; exec sleep 600 </dev/null"))
    slot.keep()
    while not ready.exists():
        time.sleep(0.01)
    with workers._woken() as woken:
        workers._stop([slot], woken, 0.1)
    assert "did not end in time" in caplog.text
    assert not slot.is_running


class NoDescriptor:
    """A listening socket of a process that has as many open files as it may."""

    def __init__(self, error):
        self._error = error

    def accept(self):
        raise self._error

    def fileno(self):
        return 0


class Loop:
    def __init__(self):
        self.calls = []
        self.now = 100.0

    def __getattr__(self, name):
        return lambda *given: self.calls.append((name, *given))

    def time(self):
        return self.now


def made(listening, worker=None):
    gateway = Gateway(FakeIssuer().validator(), [{"path": "/", "scope": []}])
    return server._Server(server.uvicorn.Config(gateway, ws="none"), gateway, listening, worker)


@pytest.mark.parametrize("error", [BlockingIOError(), InterruptedError(), ConnectionAbortedError()])
def test_a_connection_that_another_worker_has_is_nothing(error):
    loop = Loop()
    made(NoDescriptor(error))._accept(loop)
    assert loop.calls == []


def test_accepting_waits_where_no_descriptor_is_left(caplog):
    loop, listening = Loop(), NoDescriptor(OSError(24, "Too many open files"))
    serving = made(listening)
    serving._accept(loop)
    assert [one[0] for one in loop.calls] == ["remove_reader", "call_later"]
    assert "Too many open files" in caplog.text
    serving._accept_again(loop)
    assert loop.calls[-1][0] == "add_reader"
    serving._stop()
    serving._accept_again(loop)
    assert [one[0] for one in loop.calls] == ["remove_reader", "call_later", "add_reader"]
    assert not serving.force_exit
    serving._stop()
    assert serving.force_exit
    assert not serving._gateway._readiness.is_ready()


async def test_a_connection_that_is_just_being_made_is_ended_by_a_stop(monkeypatch):
    """uvicorn ends those that it knows when it begins to stop, and waits for all others as long as it may."""
    known = []

    async def shutdown(self, sockets=None):
        known.append(len(self.server_state.connections))

    monkeypatch.setattr(server.uvicorn.Server, "shutdown", shutdown)
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        serving = made(listening)
        serving.config.load()
        serving.lifespan = serving.config.lifespan_class(serving.config)
        serving._accept(asyncio.get_running_loop())
        await serving.shutdown()
        assert known == [1]
        (connection,) = serving.server_state.connections
        connection.transport.abort()
        await asyncio.sleep(0)  # for the loop to close it


@pytest.fixture
def connections(tmp_path):
    with (tmp_path / "shared").open("w+b") as shared:
        yield make_room(shared, 3)


class Waiting(NoDescriptor):
    """A listening socket that counts how often somebody wants the connection that waits there."""

    def __init__(self):
        super().__init__(BlockingIOError())
        self.asked = 0

    def accept(self):
        self.asked += 1
        super().accept()


@pytest.fixture
def serving(connections):
    """A worker of three with three connections; the others take no part yet."""
    serving = made(Waiting(), server.Worker(-1, connections, 0))
    serving.server_state.connections.update(range(3))
    return serving


def asked(serving, loop):
    """Whether it wants the connection that waits now."""
    before = serving._listening.asked
    serving._accept(loop)
    return serving._listening.asked > before


def go_on(loop):
    """Let the time pass that it waits, if it does."""
    name, *given = loop.calls.pop()
    if name == "call_later":
        seconds, again, *arguments = given
        loop.now += seconds
        again(*arguments)
    return name


def test_a_connection_is_left_to_a_worker_with_fewer(connections, serving):
    loop = Loop()
    assert asked(serving, loop)
    connections.count(1, 3)
    assert asked(serving, loop)  # it has no more than the other
    connections.count(1, 2)
    assert not asked(serving, loop)
    assert loop.calls[0][0] == "remove_reader"
    assert go_on(loop) == "call_later"
    assert go_on(loop) == "call_later"
    connections.count(1, 3)  # the other took the connection
    assert go_on(loop) == "call_later"
    assert loop.calls.pop()[0] == "add_reader"
    connections.count(1, 2)
    assert not asked(serving, loop)  # nothing was held up
    connections.leave(1)
    assert asked(serving, loop)


def test_a_worker_that_is_held_up_is_waited_for_once_in_a_second(connections, serving):
    loop = Loop()
    connections.count(1, 2)
    assert not asked(serving, loop)
    began = loop.now
    while go_on(loop) == "call_later":
        pass
    waited = loop.now - began
    assert 0.02 <= waited < 0.022
    assert asked(serving, loop)
    loop.now += 0.99
    assert asked(serving, loop)
    loop.now += 0.02
    assert not asked(serving, loop)


def test_a_worker_that_stops_waits_for_no_other(connections, serving):
    loop = Loop()
    connections.count(1, 2)
    assert not asked(serving, loop)
    serving._stop()
    loop.calls = [call for call in loop.calls if call[0] == "call_later"]
    go_on(loop)
    assert loop.calls == []


def test_where_it_listens_is_logged(caplog, tmp_path):
    caplog.set_level(logging.INFO, logger="tokenguard")
    for address, text in (("0.0.0.0:0", "every network"), ("[::1]:0", "http://[::1]:"), ("localhost:0", "1 worker")):
        caplog.clear()
        listening = listen_on(address)
        listening.log(1)
        listening.close()
        assert text in caplog.text
    unix = listen_at(tmp_path / "socket")
    unix.log(2)
    assert f"unix:{tmp_path}/socket, 2 workers" in caplog.text
    with pytest.raises(ConfigurationError, match="--uds"):
        listen_at(tmp_path / "socket")
    (tmp_path / "socket").unlink()
    unix.close()  # somebody removed its path
