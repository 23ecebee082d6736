"""httpx, and nothing but httpx: clients, a request in, a bounded answer out.

Owns: how clients are made and closed, the mapping of httpx's errors, the two readers. Must not know: flows, what is
fetched. Loaded only where something is fetched: `import tokenguard` loads no HTTP client.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from http.cookiejar import DefaultCookiePolicy
from importlib import import_module
from typing import Any

import httpx

from tokenguard._flow.effects import CERTIFICATE, ExchangeError, Request, Response
from tokenguard._io import proxies
from tokenguard._io.body import MAX_BODY, USER_AGENT, Body
from tokenguard.errors import ConfigurationError

_HEADERS = {"user-agent": USER_AGENT, "accept-encoding": "gzip"}
_LONGEST_CHAIN = 16  # of causes; an error may be its own cause
_OPENED = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")

# What httpx and the standard library load at the first connection. That takes 15 to 100 ms, which belong on no event
# loop; and a process that forks while a thread holds a module's import lock has a child that waits for ever.
for _name in ("httpcore", "httpcore._backends.anyio", "anyio._backends._asyncio", "encodings.idna"):
    with suppress(ImportError):
        import_module(_name)


def default_ssl_context() -> ssl.SSLContext:
    """One context for the process and what its environment names: building it reads the CA bundle, 35 to 77 ms that
    belong on no event loop. Raises `ConfigurationError` where that cannot be read."""
    try:
        return _context_of(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    except OSError as error:  # missing, or no certificates: ssl.SSLError is one
        raise ConfigurationError(
            "SSL_CERT_FILE must name a file of CA certificates (PEM) that can be read: correct or unset it"
        ) from error


@lru_cache(maxsize=4)
def _context_of(_file: str | None, _directory: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()  # it reads these two itself


class _Borrowed(httpx.BaseTransport):
    """A transport that belongs to the caller: closing our client must not close it."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._transport.handle_request(request)


class _BorrowedAsync(httpx.AsyncBaseTransport):
    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)


def _settings(ssl_context: ssl.SSLContext | None, borrowed: object, transport: Callable[..., Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {"headers": _HEADERS, "follow_redirects": False}
    if borrowed is not None:
        settings["transport"] = borrowed
    else:
        settings["verify"] = context = ssl_context or default_ssl_context()
        settings["trust_env"] = False  # what `proxies` reads in its place
        settings["mounts"] = proxies.read().mounts(partial(transport, verify=context))
    return settings


def _forget_cookies(client: httpx.Client | httpx.AsyncClient) -> None:
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))


class Line:
    """A synchronous client used by one exchange at a time, so that its sockets are known and can be cut at a deadline.

    httpx bounds each read, not an exchange: a server that drips bytes would hold it for ever. Cutting is a shutdown,
    never a close: the number of a closed descriptor may be another connection's by the time that a blocked read
    returns.
    """

    def __init__(self, transport: httpx.BaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        borrowed = None if transport is None else _Borrowed(transport)
        self._client = httpx.Client(**_settings(ssl_context, borrowed, httpx.HTTPTransport))
        _forget_cookies(self._client)
        self._sockets: list[socket.socket] = []
        self._is_cut = False

    def exchange(self, request: Request, timeout: float) -> Response:
        """Do one exchange. Raises `ExchangeError`."""
        try:
            sent = self._client.build_request(
                request.method,
                request.url,
                headers=list(request.headers),
                content=request.body,
                timeout=timeout,
                extensions={"trace": self._trace},
            )
            answer = self._client.send(sent, stream=True)
            try:
                return _whole(answer) if answer.is_stream_consumed else self._read(answer)
            finally:
                answer.close()
        except ExchangeError:
            raise
        except Exception as error:
            raise _exchange_error(error) from error

    def _read(self, answer: httpx.Response) -> Response:
        body = Body(answer.headers.get("content-encoding", ""))
        for chunk in answer.iter_raw():
            body.feed(chunk)
        return _response(answer, body.finish())

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if not event.endswith(_OPENED):
            return
        opened = info["return_value"].get_extra_info("socket")
        # TLS takes the descriptor over from the socket below it; a closed one has none either.
        self._sockets = [
            one for one in (*self._sockets, opened) if isinstance(one, socket.socket) and one.fileno() >= 0
        ]
        if self._is_cut:  # the deadline came while a name was looked up or a connection made, which nothing can cut
            self.cut()

    def cut(self) -> None:
        """Make a blocked read return, now or as soon as it can be. Safe from any thread. The line is of no use then."""
        self._is_cut = True
        for opened in self._sockets:
            with suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)

    def close(self) -> None:
        self._client.close()


def async_client(
    transport: httpx.AsyncBaseTransport | None, ssl_context: ssl.SSLContext | None, connections: int
) -> httpx.AsyncClient:
    """A client for one event loop."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    borrowed = None if transport is None else _BorrowedAsync(transport)
    settings = _settings(ssl_context, borrowed, partial(httpx.AsyncHTTPTransport, limits=limits))
    client = httpx.AsyncClient(limits=limits, **settings)
    _forget_cookies(client)
    return client


class _Handshake:
    """Remembers a connection until it is secured: one whose handshake is cancelled is nobody's else, and stays open."""

    def __init__(self) -> None:
        self._opened: Any = None
        self._unsecured: Any = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("connect_tcp.complete"):
            self._opened = info["return_value"]
        elif event.endswith("start_tls.started"):
            self._unsecured = self._opened
        elif event.endswith("start_tls.complete"):
            self._unsecured = None

    async def aclose(self) -> None:
        if self._unsecured is not None:
            with suppress(Exception):
                await self._unsecured.aclose()


async def exchange(client: httpx.AsyncClient, request: Request, timeout: float) -> Response:
    """Do one exchange. The caller bounds it as a whole; `timeout` bounds each of its parts. Raises `ExchangeError`."""
    handshake = _Handshake()
    try:
        sent = client.build_request(
            request.method,
            request.url,
            headers=list(request.headers),
            content=request.body,
            timeout=timeout,
            extensions={"trace": handshake.trace},
        )
        answer = await client.send(sent, stream=True)
        try:
            if answer.is_stream_consumed:
                return _whole(answer)
            body = Body(answer.headers.get("content-encoding", ""))
            async for chunk in answer.aiter_raw():
                body.feed(chunk)
            return _response(answer, body.finish())
        finally:
            await answer.aclose()
    except ExchangeError:
        raise
    except Exception as error:
        raise _exchange_error(error) from error
    finally:
        await handshake.aclose()


def _whole(answer: httpx.Response) -> Response:
    """An answer that its transport had read (and inflated) already, as `httpx.MockTransport` does."""
    if len(answer.content) > MAX_BODY:
        raise ExchangeError("too_large")
    return _response(answer, answer.content)


def _response(answer: httpx.Response, body: bytes) -> Response:
    return Response(answer.status_code, {name.lower(): answer.headers[name] for name in answer.headers}, body)


def _exchange_error(error: Exception) -> ExchangeError:
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return ExchangeError("timeout", ends_attempt=True)
    if _is_certificate_fault(error):
        return ExchangeError(CERTIFICATE, ends_attempt=True)
    if isinstance(error, httpx.NetworkError | httpx.ProxyError | OSError):
        return ExchangeError("unreachable", ends_attempt=True)
    if isinstance(error, httpx.HTTPError):
        return ExchangeError("protocol_error")
    return ExchangeError(type(error).__name__, ends_attempt=True)


def _is_certificate_fault(error: BaseException | None) -> bool:
    """Whether the server's certificate did not verify: an unknown CA, an end that has passed, another host."""
    for _ in range(_LONGEST_CHAIN):
        if error is None or isinstance(error, ssl.SSLCertVerificationError):
            break
        error = error.__cause__ or error.__context__
    return isinstance(error, ssl.SSLCertVerificationError)
