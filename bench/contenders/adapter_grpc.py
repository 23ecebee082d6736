"""gRPC: a call behind an interceptor that wraps and does nothing, and behind ours. See `adapters.py`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
from contest import Sample, Setup, contender, loop

from contenders.ours import validator
from tokenguard.grpc import AioBearerInterceptor, BearerInterceptor

DETAILS: Any = SimpleNamespace(method="/shop.Orders/Get")


class Context:
    """What a handler gets, as cheap as it can be."""

    def __init__(self, setup: Setup) -> None:
        self.metadata = (
            ("user-agent", "grpc-python"),
            ("authorization", f"Bearer {setup.corpus().tokens[0]}"),
        )

    def invocation_metadata(self) -> Any:
        return self.metadata


class Empty(grpc.ServerInterceptor):
    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        behavior = handler.unary_unary

        def around(request: Any, context: Any) -> Any:
            return behavior(request, context)

        return grpc.unary_unary_rpc_method_handler(around, handler.request_deserializer, handler.response_serializer)


class AioEmpty(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        behavior = handler.unary_unary

        async def around(request: Any, context: Any) -> Any:
            return await behavior(request, context)

        return grpc.unary_unary_rpc_method_handler(around, handler.request_deserializer, handler.response_serializer)


def _sync(interceptor: Any, setup: Setup) -> Sample:
    context, handler = Context(setup), grpc.unary_unary_rpc_method_handler(lambda request, context: b"ok")

    def sample(count: int) -> None:
        for _ in range(count):
            found = interceptor.intercept_service(lambda _: handler, DETAILS)
            if found.unary_unary(b"", context) != b"ok":
                raise RuntimeError("a call was rejected")

    return sample


def _aio(interceptor: Any, setup: Setup) -> Sample:
    async def get(request: Any, context: Any) -> bytes:
        return b"ok"

    handler: Any = grpc.unary_unary_rpc_method_handler(get)  # type: ignore[arg-type]
    context, running = Context(setup), loop()

    async def serve(_: Any) -> Any:
        return handler

    async def run(count: int) -> None:
        for _ in range(count):
            found = await interceptor.intercept_service(serve, DETAILS)
            if await found.unary_unary(b"", context) != b"ok":
                raise RuntimeError("a call was rejected")

    return lambda count: running.run_until_complete(run(count))


contender("grpc, sync", "empty")(lambda setup: _sync(Empty(), setup))
contender("grpc, sync", "tokenguard")(
    lambda setup: _sync(BearerInterceptor(validator(setup), require="orders:read"), setup)
)
contender("grpc, aio", "empty")(lambda setup: _aio(AioEmpty(), setup))
contender("grpc, aio", "tokenguard")(
    lambda setup: _aio(AioBearerInterceptor(validator(setup), require="orders:read"), setup)
)
