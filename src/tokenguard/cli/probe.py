"""One HTTP exchange, with what a person wants to know of it beside the answer: the server's clock, its certificate.

Owns: asking, within the bounds of every outbound exchange, and constant words for what went wrong. Must not know: what
the answer means.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx

from tokenguard._flows.effects import ExchangeError
from tokenguard._io.bounds import USER_AGENT, Body
from tokenguard._io.http import default_ssl_context
from tokenguard._rules.messages import Request, Response

_HEADERS = {"user-agent": USER_AGENT, "accept-encoding": "gzip"}


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came of one request. `response` is None where there was none; `error` is then a constant word.

    `offset`: seconds by which the server's clock is ahead of this one, by its `Date` (RFC 9110 section 6.6.1), good to
    a second. `certificate_ends`: seconds since the epoch.
    """

    url: str
    response: Response | None = None
    error: str = ""
    offset: float | None = None
    certificate_ends: float | None = None


class Prober:
    """Asks, without following redirects, with real deadlines and caps. Keeps what it has learned."""

    def __init__(self, timeout: float, ssl_context: ssl.SSLContext | None = None) -> None:
        self.exchanges: list[Exchange] = []
        self._timeout = timeout
        self._client = httpx.Client(
            headers=_HEADERS, verify=ssl_context or default_ssl_context(), timeout=timeout, follow_redirects=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, url: str) -> Exchange:
        """Ask for a document."""
        return self.send(Request("GET", url, (("accept", "application/json"),)))

    def send(self, request: Request) -> Exchange:
        """Do one exchange. Never raises for what a server does."""
        exchange = self._send(request)
        self.exchanges.append(exchange)
        return exchange

    def _send(self, request: Request) -> Exchange:
        started = time.monotonic()
        try:
            with self._client.stream(
                request.method, request.url, headers=list(request.headers), content=request.body
            ) as answer:
                seen, ends = time.time(), _certificate_ends(answer)  # before the body: reading its end may close
                body = Body(answer.headers.get("content-encoding", ""))
                for chunk in answer.iter_raw():
                    body.feed(chunk)
                    if time.monotonic() - started > self._timeout:
                        return Exchange(request.url, error="timeout")
                response = Response(
                    answer.status_code, {name.lower(): answer.headers[name] for name in answer.headers}, body.finish()
                )
                return Exchange(
                    request.url,
                    response,
                    offset=_offset(answer.headers.get("date"), seen),
                    certificate_ends=ends,
                )
        except ExchangeError as error:
            return Exchange(request.url, error=error.kind)
        except httpx.HTTPError as error:
            return Exchange(request.url, error=_word(error))


def _word(error: httpx.HTTPError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate: {cause.verify_message}"  # OpenSSL's text for a number, and nothing a server wrote
        if isinstance(cause, ssl.SSLError):
            return "TLS handshake failed"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    return "unreachable" if isinstance(error, httpx.NetworkError | httpx.ProxyError) else "protocol error"


def _offset(date: str | None, seen: float) -> float | None:
    try:
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - seen  # Date is cut to whole seconds
    except ValueError:
        return None


def _certificate_ends(answer: httpx.Response) -> float | None:
    stream: Any = answer.extensions.get("network_stream")
    connection = stream.get_extra_info("ssl_object") if stream is not None else None
    certificate = connection.getpeercert() if connection is not None else None
    return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else None
