"""One HTTP exchange, and what it shows besides the answer: the server's clock and certificate.

Owns: asking as the validator asks, and constant words for errors. Must not know: what the answer means.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from typing import Any

from tokenguard._flow.effects import ExchangeError, Flight, Send
from tokenguard._flow.messages import Request, Response
from tokenguard._io.http import Connection
from tokenguard._io.pools import ConnectionPool, Server
from tokenguard._io.threads import FlightConnection
from tokenguard._io.workers import Workers
from tokenguard._oauth.http_date import seconds_of


@dataclass(frozen=True, slots=True)
class Exchange:
    """The result of one request. `response` is None where there was none; `error` is then a constant word.

    `offset`: seconds by which the server's clock is ahead of this one, by its `Date` (RFC 9110 section 6.6.1), good to
    a second. `certificate_ends`: seconds since the epoch.
    """

    url: str
    response: Response | None = None
    error: str = ""
    offset: float | None = None
    certificate_ends: float | None = None


class Prober:
    """Asks within the bounds of every outbound exchange: a total deadline, a cap, no redirects. Keeps what comes."""

    def __init__(self, timeout: float, ssl_context: ssl.SSLContext | None = None) -> None:
        self.exchanges: list[Exchange] = []
        self._timeout = timeout
        self._pool = _Pool(None, ssl_context)

    def get(self, url: str) -> Exchange:
        """Ask for a document."""
        return self.send(Request("GET", url, (("accept", "application/json"),)))

    def send(self, request: Request) -> Exchange:
        """Do one exchange. Never raises for what a server does."""
        exchange = self._send(request)
        self.exchanges.append(exchange)
        return exchange

    def _send(self, request: Request) -> Exchange:
        connection = FlightConnection(self._pool, Workers(), Flight(self._timeout))
        try:
            response = connection.send(Send(request))
        except ExchangeError as error:
            return Exchange(request.url, error=_word(error))
        finally:
            connection.close()
        taken = self._pool.taken
        return Exchange(
            request.url,
            response,
            offset=_offset(response.headers.get("date"), taken.answered_at),
            certificate_ends=taken.certificate_ends,
        )


class _Measured(Connection):
    """Records when the answer began, and until when the server's certificate is good."""

    answered_at = 0.0
    certificate_ends: float | None = None

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        super()._trace(event, info)
        if event.endswith("receive_response_headers.complete"):
            self.answered_at = time.time()
        elif event.endswith("start_tls.complete"):
            certificate = info["return_value"].get_extra_info("ssl_object").getpeercert()
            if certificate:  # a context without verification gets none
                self.certificate_ends = ssl.cert_time_to_seconds(certificate["notAfter"])


class _Pool(ConnectionPool):
    """A new connection for each exchange: only then does the server send its certificate."""

    taken: _Measured

    def take(self, server: Server) -> tuple[Connection, int]:
        self.taken = _Measured(None, server.ssl_context or self._ssl_context)
        return self.taken, 0


def _word(error: ExchangeError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate: {cause.verify_message}"  # OpenSSL's text for a number, and nothing a server wrote
        if isinstance(cause, ssl.SSLError):
            return "TLS handshake failed"
        cause = cause.__cause__ or cause.__context__
    return error.kind


def _offset(date: str | None, seen: float) -> float | None:
    sent = seconds_of(date)
    return None if sent is None else sent + 0.5 - seen  # Date is cut to whole seconds
