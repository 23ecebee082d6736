"""gRPC's interceptors around a method of one message and one of streams. No channel stands between: it refuses what
some rows send. Servers and channels are in test_grpc."""

import asyncio
import json
from types import SimpleNamespace

import grpc
from grpc_servers import MAKE
from raw_requests import Answer
from request_table import Column

from tokenguard.challenge import reject
from tokenguard.grpc import AioBearerInterceptor, BearerInterceptor

PATH = "/shop.Orders/Get"
NO_QUERY = "a call has no query"
CANNOT = dict.fromkeys(("another scheme, token in the query", "header and query", "header and encoded query"), NO_QUERY)
STATUSES = {
    400: grpc.StatusCode.UNAUTHENTICATED,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    503: grpc.StatusCode.UNAVAILABLE,
    500: grpc.StatusCode.INTERNAL,
}


class AbortedError(Exception):
    pass


class Context:
    """What a handler gets, without a connection."""

    def __init__(self, fields):
        self.metadata = tuple((name.lower(), text(value)) for name, value in fields)
        self.answer = Answer(grpc.StatusCode.OK.value[0], [], b"reached")

    def invocation_metadata(self):
        return self.metadata

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def auth_context(self):
        return {}

    def set_trailing_metadata(self, trailing):
        self.trailing = list(trailing)

    def abort(self, status, details):
        self.answer = answer(status, details, self.trailing)
        raise AbortedError


class AioContext(Context):
    async def abort(self, status, details):
        super().abort(status, details)


def text(value):
    """As gRPC decodes it."""
    if isinstance(value, str):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def answer(status, details, trailing):
    shown = {"detail": details, "reason": dict(trailing).get("reason")}
    said = [(name, value) for name, value in trailing if name == "www-authenticate"]
    said += [("retry-after", value.removesuffix("000")) for name, value in trailing if name == "grpc-retry-pushback-ms"]
    return Answer(status.value[0], said, json.dumps(shown).encode())


def expected(error, method, *, realm=None, show_reason=False, resource_metadata=None):
    rejection = reject(error, realm=realm, show_reason=show_reason)
    problem = json.loads(rejection.body)
    fields = {name.lower(): value for name, value in rejection.headers}
    said = [(name, fields[name]) for name in ("www-authenticate", "retry-after") if name in fields]
    shown = {"detail": problem["detail"], "reason": problem.get("reason")}
    return Answer(STATUSES[rejection.status].value[0], said, json.dumps(shown).encode()).verdict


def in_a_thread(interceptor, kind):
    behavior = (lambda request, context: iter([b"1"])) if kind.endswith("stream") else (lambda *_: b"1")
    handler = interceptor.intercept_service(lambda _: MAKE[kind](behavior), SimpleNamespace(method=PATH))

    def ask(method, query, fields):
        context = Context(fields)
        try:
            result = getattr(handler, kind)(b"", context)
            assert list(result if kind.endswith("stream") else [result]) == [b"1"]
        except AbortedError:
            pass
        return context.answer

    return ask


def on_a_loop(interceptor, kind):
    async def one(request, context):
        return b"1"

    async def many(request, context):
        yield b"1"

    async def found(_):
        return MAKE[kind](many if kind.endswith("stream") else one)

    async def asking(fields):
        handler = await interceptor.intercept_service(found, SimpleNamespace(method=PATH))
        context = AioContext(fields)
        try:
            result = getattr(handler, kind)(b"", context)
            assert ([item async for item in result] if kind.endswith("stream") else [await result]) == [b"1"]
        except AbortedError:
            pass
        return context.answer

    return lambda method, query, fields: asyncio.run(asking(fields))


def columns(validator, scopes, requirement, settings):
    settings.pop("resource_metadata", None)  # it has no form here
    wanted = scopes if requirement is None else requirement
    plain = BearerInterceptor(validator, require=wanted, **settings)
    aio = AioBearerInterceptor(validator, require=wanted, **settings)
    return {
        f"grpc {name} {kind}": Column(
            way(interceptor, kind),
            ("grpc",),
            PATH,
            accepted=0,
            methods=("POST",),
            cannot=CANNOT,
            is_http=False,
            names_metadata=False,
            expected=expected,
        )
        for name, way, interceptor in (("sync", in_a_thread, plain), ("aio", on_a_loop, aio))
        for kind in ("unary_unary", "stream_stream")
    }
