"""The clients of httpx2 or httpx: a request in, a bounded answer out.

Owns: how clients are made and closed, the mapping of their errors, the two readers, which connection may be used
again. Must not know: flows, what is fetched. Loaded only if something is fetched: `import tokenguard` loads no HTTP
client. "httpx" below means either library: `libraries` chooses.

A connection is used again only if exactly one answer came on it. Octets after an answer belong to no request: httpx
would read them as the answer to the next one. So every read of a connection is recorded (httpx's `trace` extension
gives access to it), and a connection with other octets is closed before httpx can keep it. Octets that are there
before a request is sent close it too.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache, partial
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, cast

import certifi  # of httpx

from tokenguard._flow.effects import CERTIFICATE, DISCONNECTED, ExchangeError, Request, Response
from tokenguard._io import libraries, proxies
from tokenguard._io.body import MAX_BODY, USER_AGENT, Body
from tokenguard._io.framing import MAX_RECORDED, is_one_answer
from tokenguard.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx

_HEADERS = {"user-agent": USER_AGENT, "accept-encoding": "gzip"}
_LONGEST_CHAIN = 16  # of causes; an error may be its own cause
_OPENED = ("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")
_OPENING = ("connect_tcp.started", "connect_unix_socket.started")


def default_ssl_context() -> ssl.SSLContext:
    """One context for the process and the CA files that its environment names. To build it is to read the CA bundle: 35
    to 77 ms, too long for an event loop. Raises `ConfigurationError` if that cannot be read."""
    try:
        return _context_of(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    except OSError as error:  # missing, or no certificates: ssl.SSLError is one
        raise ConfigurationError(
            "SSL_CERT_FILE must name a file of CA certificates (PEM) that can be read: correct or unset it"
        ) from error


@lru_cache(maxsize=4)
def _context_of(file: str | None, directory: str | None) -> ssl.SSLContext:
    """As httpx makes it; httpx2 would use the system's store, which differs between hosts."""
    if file or directory:
        return ssl.create_default_context(cafile=file or None, capath=None if file else directory)
    return ssl.create_default_context(cafile=certifi.where())


class _Borrowed:
    """A transport that belongs to the caller: closing our client must not close it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def handle_request(self, request: Any) -> Any:
        return self._transport.handle_request(request)

    async def handle_async_request(self, request: Any) -> Any:
        return await self._transport.handle_async_request(request)

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


def _settings(ssl_context: ssl.SSLContext | None, borrowed: object, transport: Callable[..., Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {"headers": _HEADERS, "follow_redirects": False}
    if borrowed is not None:
        settings["transport"] = borrowed
    else:
        settings["verify"] = context = ssl_context or default_ssl_context()
        settings["trust_env"] = False  # `proxies` reads it instead
        settings["mounts"] = proxies.read().mounts(partial(transport, verify=context))
    return settings


def _forget_cookies(client: httpx.Client | httpx.AsyncClient) -> None:
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))


class _Reads:
    """What one request has read so far. Refers to no connection: a context may outlive its event loop."""

    __slots__ = ("are_recorded", "has_octets")

    def __init__(self) -> None:
        self.are_recorded = False  # whether the reads of its connection are recorded
        self.has_octets = False


_reads: ContextVar[_Reads | None] = ContextVar("tokenguard_reads", default=None)


class _Attempt:
    """One request on one connection: whether that is new, and whether an octet came before it failed."""

    def __init__(self) -> None:
        self.reads = _Reads()
        self.is_new = False

    @property
    def is_unanswered(self) -> bool:
        """Whether it is known that no octet of an answer came."""
        return self.reads.are_recorded and not self.reads.has_octets

    def may_repeat(self, error: ExchangeError) -> bool:
        """Whether a kept connection ended before the first octet of an answer: the server closed it while the request
        was sent (RFC 9112 section 9.3.1), or octets without a request came on it before."""
        return error.kind != "timeout" and self.is_unanswered and not self.is_new


class _Recorded:
    """Replaces a connection's `read`, and keeps the octets that came since the last exchange."""

    def __init__(self, stream: Any) -> None:
        self._read: Callable[..., Any] = stream.read
        self._octets = bytearray()
        with suppress(AttributeError):  # a stream whose reads cannot be recorded is not kept
            stream.read = self

    def forget(self) -> None:
        self._octets.clear()

    def is_one_answer(self, method: str) -> bool:
        return len(self._octets) <= MAX_RECORDED and is_one_answer(bytes(self._octets), method)

    def _begin(self) -> None:
        reads = _reads.get()
        if reads is not None:
            reads.are_recorded = True

    def _take(self, data: bytes) -> bytes:
        reads = _reads.get()
        if data and reads is not None:
            reads.has_octets = True
        if len(self._octets) <= MAX_RECORDED:
            self._octets += data
        return data


class _RecordedInThreads(_Recorded):
    def __call__(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._begin()
        return self._take(self._read(max_bytes, timeout))

    def is_quiet(self) -> bool:
        """Whether there is nothing to read: no octet and no end, encrypted or decrypted."""
        self._begin()
        try:
            self._read(1, 0.0)
        except Exception as error:  # noqa: BLE001 - httpx's name for it depends on its version, the cause does not
            return isinstance(error.__cause__, BlockingIOError | ssl.SSLWantReadError)
        return False


class _RecordedOnLoops(_Recorded):
    async def __call__(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._begin()
        return self._take(await self._read(max_bytes, timeout))

    async def close_unless_quiet(self, stream: Any) -> None:
        """Close it if a decrypted octet waits. httpx itself looks for one in the socket before it uses the connection
        again."""
        try:
            await self._read(1, 0.0)
        except Exception as error:  # noqa: BLE001 - httpx's name for it depends on its version, the cause does not
            if isinstance(error.__cause__, TimeoutError):
                return
        await stream.aclose()


class Connection:
    """A synchronous client used by one exchange at a time, so that its sockets are known and can be cut at a deadline.

    httpx bounds each read, not an exchange: a server that sends one octet at a time would hold it for ever. `cut` is a
    shutdown, never a close: when a blocked read returns, the number of a closed descriptor may already belong to
    another connection.

    All its exchanges ask one server, so that it has one connection at most.
    """

    def __init__(self, transport: httpx.BaseTransport | None, ssl_context: ssl.SSLContext | None) -> None:
        library = libraries.library_of(transport)
        borrowed = None if transport is None else _Borrowed(transport)
        self._client: httpx.Client = library.Client(**_settings(ssl_context, borrowed, library.HTTPTransport))
        _forget_cookies(self._client)
        self._is_borrowed = self._may_keep = transport is not None
        self._now = _Attempt()
        self._heard: _RecordedInThreads | None = None  # the connection of this exchange, or the one that was kept
        self._sockets: list[socket.socket] = []
        self._is_cut = False

    def exchange(self, request: Request, timeout: float, *, keep: bool = False) -> Response:
        """Do one exchange. `keep`: the connection may be used for another one, also in the caller's transport. Raises
        `ExchangeError`.

        Where a kept connection ends before the first octet of an answer, the request is sent once more, on a new one.
        """
        ends = time.monotonic() + timeout
        self._may_keep = keep or not self._is_borrowed
        attempt = _Attempt()
        try:
            return self._attempt(attempt, request, timeout)
        except ExchangeError as error:
            if not attempt.may_repeat(error) or self._is_cut:
                raise
        return self._attempt(_Attempt(), request.repeated(), max(ends - time.monotonic(), 0.001))

    def _attempt(self, attempt: _Attempt, request: Request, timeout: float) -> Response:
        self._now = attempt
        _reads.set(attempt.reads)
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
            raise _exchange_error(error, attempt) from error
        finally:
            _reads.set(None)

    def _read(self, answer: httpx.Response) -> Response:
        body = Body(answer.headers.get("content-encoding", ""))
        stream = cast("httpx.SyncByteStream", answer.stream)
        for chunk in stream:  # `iter_raw` would give the connection back at its end
            body.feed(chunk)
        response = _response(answer, body.finish())
        self._settle(answer)
        return response

    def _settle(self, answer: httpx.Response) -> None:
        """Close a connection on which anything but one answer came, before it can be used again."""
        stream = _http1_stream(answer)
        if stream is None:
            return
        recorded = stream.read
        if (
            self._may_keep
            and isinstance(recorded, _RecordedInThreads)
            and recorded.is_one_answer(answer.request.method)
            and recorded.is_quiet()
        ):
            recorded.forget()
        else:
            stream.close()
        if self._is_borrowed:  # others may use it before the next exchange
            self._heard = None

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(_OPENING):
            self._now.is_new, self._heard = True, None
        elif event.endswith("send_request_headers.started") and self._heard is not None:
            self._heard.forget()  # a proxy's greeting
            if not self._heard.is_quiet():
                raise ExchangeError("protocol_error")  # an answer to nothing
        elif event.endswith(_OPENED):
            self._open(info["return_value"])

    def _open(self, stream: Any) -> None:
        self._heard = _RecordedInThreads(stream)
        opened = stream.get_extra_info("socket")
        # TLS takes the descriptor over from the socket below it; a closed one has none either.
        self._sockets = [
            one for one in (*self._sockets, opened) if isinstance(one, socket.socket) and one.fileno() >= 0
        ]
        if self._is_cut:  # the deadline came during a name look-up or a connection attempt, which cannot be interrupted
            self.cut()

    def cut(self) -> None:
        """Make a blocked read return, now or as soon as possible. Safe from any thread. It cannot be used again."""
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
    library = libraries.library_of(transport)
    limits = library.Limits(max_connections=connections, max_keepalive_connections=connections)
    borrowed = None if transport is None else _Borrowed(transport)
    settings = _settings(ssl_context, borrowed, partial(library.AsyncHTTPTransport, limits=limits))
    client: httpx.AsyncClient = library.AsyncClient(limits=limits, **settings)
    _forget_cookies(client)
    return client


class _Handshake(_Attempt):
    """Remembers a connection until its handshake is done: httpx would leave it open if the handshake is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self._heard: _RecordedOnLoops | None = None
        self._opened: Any = None
        self._unsecured: Any = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(_OPENING):
            self.is_new = True
        elif event.endswith("send_request_headers.started") and self._heard is not None:
            self._heard.forget()  # a proxy's greeting
        elif event.endswith("start_tls.started"):
            self._unsecured = self._opened
        elif event.endswith(_OPENED):
            self._opened, self._unsecured = info["return_value"], None
            self._heard = _RecordedOnLoops(self._opened)

    async def aclose(self) -> None:
        if self._unsecured is not None:
            with suppress(Exception):
                await self._unsecured.aclose()


async def exchange(client: httpx.AsyncClient, request: Request, timeout: float, *, keep: bool = False) -> Response:
    """Do one exchange. The caller bounds it as a whole; `timeout` bounds each of its parts. `keep`: the connection may
    be used for another one. Raises `ExchangeError`.

    Where a kept connection ends before the first octet of an answer, the request is sent once more.
    """
    attempt = _Handshake()
    try:
        return await _attempted(attempt, client, request, timeout, keep=keep)
    except ExchangeError as error:
        if not attempt.may_repeat(error):
            raise
    return await _attempted(_Handshake(), client, request.repeated(), timeout, keep=keep)


async def _attempted(
    attempt: _Handshake, client: httpx.AsyncClient, request: Request, timeout: float, *, keep: bool
) -> Response:
    _reads.set(attempt.reads)
    try:
        sent = client.build_request(
            request.method,
            request.url,
            headers=list(request.headers),
            content=request.body,
            timeout=timeout,
            extensions={"trace": attempt.trace},
        )
        answer = await client.send(sent, stream=True)
        try:
            if answer.is_stream_consumed:
                return _whole(answer)
            body = Body(answer.headers.get("content-encoding", ""))
            async for chunk in cast("httpx.AsyncByteStream", answer.stream):
                body.feed(chunk)
            response = _response(answer, body.finish())
            await _settle(answer, keep=keep)
            return response
        finally:
            await answer.aclose()
    except ExchangeError:
        raise
    except Exception as error:
        raise _exchange_error(error, attempt) from error
    finally:
        _reads.set(None)  # not `reset`: a loop that is closed while its tasks run ends this in another context
        await attempt.aclose()


async def _settle(answer: httpx.Response, *, keep: bool) -> None:
    """Close a connection on which anything but one answer came, before it can be used again."""
    stream = _http1_stream(answer)
    if stream is None:
        return
    recorded = stream.read
    if keep and isinstance(recorded, _RecordedOnLoops) and recorded.is_one_answer(answer.request.method):
        recorded.forget()
        await recorded.close_unless_quiet(stream)
    else:
        await stream.aclose()


def _http1_stream(answer: httpx.Response) -> Any:
    """The connection that an answer came on; None if it carries several at once, or if it is not known."""
    if answer.extensions.get("http_version") == b"HTTP/2":
        return None
    return answer.extensions.get("network_stream")


def _whole(answer: httpx.Response) -> Response:
    """An answer that its transport has already read and inflated, as `httpx.MockTransport` does."""
    if len(answer.content) > MAX_BODY:
        raise ExchangeError("too_large")
    return _response(answer, answer.content)


def _response(answer: httpx.Response, body: bytes) -> Response:
    fields: dict[str, list[str]] = {}
    for name, value in answer.headers.multi_items():  # to look each name up would take the square of their number
        fields.setdefault(name.lower(), []).append(value)
    return Response(answer.status_code, {name: ", ".join(values) for name, values in fields.items()}, body)


def _exchange_error(error: Exception, attempt: _Attempt) -> ExchangeError:
    if isinstance(error, (TimeoutError, *_named("TimeoutException"))):
        return ExchangeError("timeout", ends_attempt=True)
    if _is_certificate_fault(error):
        return ExchangeError(CERTIFICATE, ends_attempt=True)
    if isinstance(error, (OSError, *_named("NetworkError"), *_named("ProxyError"))):
        return ExchangeError("unreachable", ends_attempt=True)
    if isinstance(error, _named("HTTPError")):
        return ExchangeError(DISCONNECTED if attempt.is_unanswered else "protocol_error")
    return ExchangeError(type(error).__name__, ends_attempt=True)


def _named(name: str) -> tuple[type[Exception], ...]:
    """The error of this name, of each library that is in use."""
    return tuple(getattr(library, name) for library in libraries.loaded())


def _is_certificate_fault(error: BaseException | None) -> bool:
    """Whether the server's certificate did not verify: an unknown CA, an end that has passed, another host."""
    for _ in range(_LONGEST_CHAIN):
        if error is None or isinstance(error, ssl.SSLCertVerificationError):
            break
        error = error.__cause__ or error.__context__
    return isinstance(error, ssl.SSLCertVerificationError)
