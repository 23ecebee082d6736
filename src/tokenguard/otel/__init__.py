"""Telemetry: metrics and spans of a validator, through the OpenTelemetry API. Extra `otel`.

Owns: names of instruments, attributes and spans. Must not know: SDKs and exporters, how a token is judged.

Attribute values come from configuration, from `Reason` and from constants here: nothing that a token says can create a
series. Issuers are the configured ones or "unknown"; a host is a configured one or "_OTHER". Spans are made for
outbound calls and for refusals only. Outbound calls follow the semantic conventions for HTTP clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider

from tokenguard._observe.events import Judged, Outbound, Outcome, Way
from tokenguard.errors import ConfigurationError
from tokenguard.otel.key_gauges import gauges_of

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["instrument"]

UNKNOWN: Final = "unknown"  # no configured issuer was selected
OTHER: Final = "_OTHER"  # the semantic conventions' word for a value that is not among the known ones

# A remembered token takes microseconds, a new one tens, an introspected one milliseconds.
_VALIDATION_BOUNDS: Final = (
    *(1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
# https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpclientrequestduration
_HTTP_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_ISSUER: Final = "tokenguard.issuer"
_PORTS: Final = {"https": 443, "http": 80}


def instrument(
    validator: TokenValidator,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
) -> Callable[[], None]:
    """Export metrics and spans of `validator`, by the given providers or the process's own. Result: a function that
    ends it.

    Raises `ConfigurationError` if it is instrumented already: everything would be counted twice.
    """
    if validator.observer is not None and any(isinstance(one, _Telemetry) for one in validator.observer.members):
        raise ConfigurationError("this validator is instrumented already: instrument each validator once")
    gauges = gauges_of(meter_provider)
    end = validator.observe(_Telemetry(validator, meter_provider, tracer_provider))
    gauges.validators.add(validator)

    def stop() -> None:
        gauges.validators.discard(validator)
        end()

    return stop


class _Telemetry:
    """The observer."""

    def __init__(
        self,
        validator: TokenValidator,
        meter_provider: MeterProvider | None,
        tracer_provider: TracerProvider | None,
    ) -> None:
        self._issuers = frozenset(issuer.url for issuer in validator.issuers)
        self._hosts = frozenset(_hosts(validator))
        self._tracer = trace.get_tracer("tokenguard", tracer_provider=tracer_provider)
        meter = metrics.get_meter("tokenguard", meter_provider=meter_provider)
        self._verdicts = meter.create_counter(
            "tokenguard.verdicts", unit="{verdict}", description="Verdicts by front door, issuer, outcome and reason."
        )
        self._validations = meter.create_histogram(
            "tokenguard.validation.duration",
            unit="s",
            description="Time of one validation: of a remembered, a new, or an introspected token.",
            explicit_bucket_boundaries_advisory=_VALIDATION_BOUNDS,
        )
        self._requests = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_HTTP_BOUNDS,
        )

    # -- events --------------------------------------------------------------------------------------------------------

    def judged(self, event: Judged) -> None:
        """Count a verdict; a span for a refusal, in the trace of the request."""
        attributes = {
            "tokenguard.door": event.door,
            _ISSUER: self._issuer(event.evidence.issuer),
            "tokenguard.outcome": event.outcome,
        }
        if event.outcome != "accepted":
            attributes["tokenguard.reason"] = event.reason
        self._verdicts.add(1, attributes)
        if event.outcome != "accepted":
            span = self._tracer.start_span("tokenguard refuse", attributes={**attributes, "error.type": event.reason})
            if event.outcome != "rejected":  # a refusal is work well done; this is not
                span.set_status(StatusCode.ERROR)
            span.end()

    def validated(self, way: Way, outcome: Outcome, seconds: float) -> None:
        """Record what one validation took."""
        self._validations.record(seconds, {"tokenguard.way": way, "tokenguard.outcome": outcome})

    def called(self, event: Outbound) -> None:
        """Record an outbound call, and make a span of it."""
        url = urlsplit(event.url)
        status = event.status if event.status is not None and 100 <= event.status <= 599 else None
        error = event.error or (OTHER if status is None else str(status) if status >= 400 else None)
        attributes: dict[str, str | int] = {
            "http.request.method": event.method,
            "tokenguard.endpoint": event.endpoint,
            _ISSUER: self._issuer(event.issuer),
        }
        if status is not None:
            attributes["http.response.status_code"] = status
        if error is not None:
            attributes["error.type"] = error
        known = _place(url) in self._hosts
        self._requests.record(event.seconds, {**attributes, **(_address(url) if known else {"server.address": OTHER})})
        span = self._tracer.start_span(
            event.method,
            kind=SpanKind.CLIENT,
            attributes={**attributes, **_address(url), "url.full": f"{url.scheme}://{url.netloc}{url.path}"},
            start_time=event.started_at,
        )
        if error is not None:
            span.set_status(StatusCode.ERROR)
        span.end(event.started_at + int(event.seconds * 1e9))

    def after_fork(self) -> None:
        """Nothing of ours to mend; providers look after themselves."""

    def _issuer(self, issuer: str | None) -> str:
        return issuer if issuer in self._issuers else UNKNOWN


def _hosts(validator: TokenValidator) -> Iterator[tuple[str | None, int | None]]:
    """The hosts and ports that configuration names."""
    for issuer in validator.issuers:
        endpoint = None if issuer.introspection is None else issuer.introspection.endpoint
        for url in (issuer.url, issuer.jwks_uri, endpoint):
            if url is not None:
                try:
                    yield _place(urlsplit(url))
                except ValueError:  # an issuer with static keys may be any string
                    continue


def _place(url: SplitResult) -> tuple[str | None, int | None]:
    return url.hostname, url.port or _PORTS.get(url.scheme)


def _address(url: SplitResult) -> dict[str, str | int]:
    host, port = _place(url)
    return {"server.address": host or OTHER, **({} if port is None else {"server.port": port})}
