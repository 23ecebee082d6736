"""Real gRPC servers, sync and on a loop of their own thread, with a handler of each kind; and what a call came to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc

from tokenguard.grpc import AioBearerInterceptor, BearerInterceptor, current_token

SERVICE = "shop.Orders"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
WORLDS = ("sync", "aio")
INTERCEPTORS: dict[str, Any] = {"sync": BearerInterceptor, "aio": AioBearerInterceptor}
MAKE: dict[str, Callable[..., Any]] = {kind: getattr(grpc, f"{kind}_rpc_method_handler") for kind in KINDS}


class Outcome(NamedTuple):
    """How a call ended, and what came before its end."""

    status: grpc.StatusCode
    details: str
    trailing: dict[str, Any]
    responses: list[bytes]


def subject() -> bytes:
    return str(current_token().subject).encode()


def sync_handlers() -> dict[str, Callable[..., Any]]:
    """By kind. Each response is the token's subject, as `current_token()` has it at that moment."""

    def unary_stream(request, context):
        for _ in range(3):
            yield subject()

    def stream_unary(requests, context):
        return b" ".join(subject() + request for request in requests)

    def stream_stream(requests, context):
        for request in requests:
            yield subject() + request

    return {
        "unary_unary": lambda request, context: subject() + request,
        "unary_stream": unary_stream,
        "stream_unary": stream_unary,
        "stream_stream": stream_stream,
    }


def aio_handlers() -> dict[str, Callable[..., Any]]:
    async def unary_unary(request, context):
        await asyncio.sleep(0)
        return subject() + request

    async def unary_stream(request, context):
        for _ in range(3):
            await asyncio.sleep(0)
            yield subject()

    async def stream_unary(requests, context):
        return b" ".join([subject() + request async for request in requests])

    async def stream_stream(requests, context):
        async for request in requests:
            yield subject() + request

    return {
        "unary_unary": unary_unary,
        "unary_stream": unary_stream,
        "stream_unary": stream_unary,
        "stream_stream": stream_stream,
    }


HANDLERS: dict[str, Callable[[], dict[str, Callable[..., Any]]]] = {"sync": sync_handlers, "aio": aio_handlers}


def service(handlers: Mapping[str, Callable[..., Any]], name: str = SERVICE) -> grpc.GenericRpcHandler:
    """A service with a method of each kind that `handlers` has, named by its kind."""
    return grpc.method_handlers_generic_handler(name, {kind: MAKE[kind](handlers[kind]) for kind in handlers})


@contextmanager
def serving(world: str, *interceptors: Any, credentials: Any = None, threads: int = 8, **more: Any) -> Iterator[Any]:
    """The port of a server of this world. `services=` and `add(server)` say what it serves; the default is one handler
    of each kind."""
    services = more.pop("services", None) or [service(HANDLERS[world]())]
    add = more.pop("add", lambda _: None)

    def prepare(server: Any) -> int:
        server.add_generic_rpc_handlers(tuple(services))
        add(server)
        if credentials is None:
            return server.add_insecure_port("127.0.0.1:0")
        return server.add_secure_port("127.0.0.1:0", credentials)

    if world == "sync":
        with ThreadPoolExecutor(threads) as pool:
            server = grpc.server(pool, interceptors=interceptors, **more)
            port = prepare(server)
            server.start()
            try:
                yield port
            finally:
                server.stop(None).wait()
        return
    pool = ThreadPoolExecutor(threads)  # for plain functions
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    async def start() -> tuple[Any, int]:
        server = grpc.aio.server(pool, interceptors=interceptors, **more)
        port = prepare(server)
        await server.start()
        return server, port

    server, port = run(start())
    try:
        yield port
    finally:
        run(server.stop(None))
        pool.shutdown()  # its threads may still wait for the loop
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        del server
        loop.close()


@contextmanager
def channel(port: int, credentials: Any = None, **options: Any) -> Iterator[grpc.Channel]:
    settings = [(f"grpc.{name}", value) for name, value in options.items()]
    address = f"127.0.0.1:{port}"
    made = (
        grpc.insecure_channel(address, settings)
        if credentials is None
        else grpc.secure_channel(address, credentials, settings)
    )
    with made as opened:
        yield opened


def call(
    opened: grpc.Channel,
    kind: str = "unary_unary",
    *metadata: tuple[str, str | bytes],
    requests: Any = (b"-1", b"-2"),
    name: str = "",
    timeout: float = 60,
) -> Outcome:
    """One call of `/shop.Orders/{kind}`, or of `name`."""
    stub = getattr(opened, kind)(name or f"/{SERVICE}/{kind}")
    sent = iter(requests) if kind.startswith("stream") else b"-1"
    responses: list[bytes] = []
    if kind.endswith("stream"):
        calling = stub(sent, timeout=timeout, metadata=metadata)
        try:
            responses.extend(calling)
        except grpc.RpcError as error:
            assert error is calling  # noqa: PT017 - a call is its own error
    else:
        calling = stub.future(sent, timeout=timeout, metadata=metadata)
        if calling.exception() is None:
            responses.append(calling.result())
    return Outcome(calling.code(), calling.details(), dict(calling.trailing_metadata()), responses)


def authorization(token: str, scheme: str = "Bearer") -> tuple[str, str]:
    return "authorization", f"{scheme} {token}"
