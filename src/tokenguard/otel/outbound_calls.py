"""Outbound calls by OpenTelemetry's semantic conventions for HTTP clients: a duration and a span for each.

Owns: these names and attributes. Must not know: the purpose of a call.

Attribute values come from configuration and from constants: a host is a configured one or "_OTHER".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import SplitResult, urlsplit

from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from tokenguard._oauth.origin import DEFAULT_PORTS
from tokenguard._observe.events import Outbound

UNKNOWN: Final = "unknown"  # no configured issuer was selected
OTHER: Final = "_OTHER"  # the semantic conventions' word for an unknown value
ISSUER: Final = "tokenguard.issuer"

# https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpclientrequestduration
_HTTP_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class OutboundCalls:
    """Records outbound calls. `issuers` and `urls` are those that configuration names; `others` stands for any other
    issuer that was selected, unless `is_named` says that it goes by its own URL."""

    def __init__(
        self,
        meter: Meter,
        tracer: Tracer,
        issuers: Iterable[str],
        urls: Iterable[str],
        *,
        others: str = UNKNOWN,
        is_named: Callable[[str], bool] | None = None,
    ) -> None:
        self._others = others
        self._is_named = is_named
        self._issuers = frozenset(issuers)
        self._hosts = frozenset(filter(None, map(_place_of, urls)))
        self._tracer = tracer
        self._requests = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_HTTP_BOUNDS,
        )

    def record(self, event: Outbound) -> None:
        """Record an outbound call, and make a span of it."""
        url = urlsplit(event.url)
        status = event.status if event.status is not None and 100 <= event.status <= 599 else None
        error = event.error or (OTHER if status is None else str(status) if status >= 400 else None)
        attributes: dict[str, str | int] = {
            "http.request.method": event.method,
            "tokenguard.endpoint": event.endpoint,
            ISSUER: self.issuer(event.issuer),
        }
        if status is not None:
            attributes["http.response.status_code"] = status
        if error is not None:
            attributes["error.type"] = error
        known = _place(url) in self._hosts
        self._requests.record(event.seconds, {**attributes, **(_address(url) if known else {"server.address": OTHER})})
        span = self._tracer.start_span(
            event.method,
            context=Context(),  # instrumented threads carry the context of the request that happened to come first
            kind=SpanKind.CLIENT,
            attributes={**attributes, **_address(url), "url.full": f"{url.scheme}://{url.netloc}{url.path}"},
            start_time=event.started_at,
        )
        if error is not None:
            span.set_status(StatusCode.ERROR)
        span.end(event.started_at + int(event.seconds * 1e9))

    def issuer(self, issuer: str | None) -> str:
        """A configured issuer, what stands for others, or "unknown" where none was selected."""
        if not issuer:
            return UNKNOWN
        if issuer in self._issuers or (self._is_named is not None and self._is_named(issuer)):
            return issuer
        return self._others


def _place_of(url: str) -> tuple[str | None, int | None] | None:
    try:
        return _place(urlsplit(url))
    except ValueError:  # an issuer with static keys may be any string
        return None


def _place(url: SplitResult) -> tuple[str | None, int | None]:
    return url.hostname, url.port or DEFAULT_PORTS.get(url.scheme)


def _address(url: SplitResult) -> dict[str, str | int]:
    host, port = _place(url)
    return {"server.address": host or OTHER, **({} if port is None else {"server.port": port})}
