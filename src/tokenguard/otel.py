"""Telemetry: metrics and spans of a validator, through the OpenTelemetry API. Extra `otel`.

Owns: names of instruments, attributes and spans. Must not know: SDKs and exporters, how a token is judged.

Attribute values come from configuration, from `Reason` and from constants here: nothing that a token says can create a
series. Issuers are the configured ones or "unknown"; a host is a configured one or "_OTHER". Spans are made for
outbound calls and for refusals only. Semantic conventions: HTTP client metrics and spans, `error.type`, `server.address`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import isfinite
from typing import TYPE_CHECKING, Final, get_args
from urllib.parse import SplitResult, urlsplit
from weakref import ref

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider

from tokenguard._flows.keystate import State
from tokenguard._observer import Judged, Outbound, Outcome, Way
from tokenguard.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenguard._flows.keystate import KeyState
    from tokenguard.validator import TokenValidator

__all__ = ["instrument"]

UNKNOWN: Final = "unknown"  # no configured issuer was selected
OTHER: Final = "_OTHER"  # the semantic conventions' word for a value that is not among the known ones

# A remembered token takes microseconds, a new one tens, an introspected one milliseconds.
_VALIDATION_BOUNDS: Final = tuple(digit * 10.0**power for power in range(-6, 1) for digit in (1, 2.5, 5))
# https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpclientrequestduration
_HTTP_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_STATES: Final[tuple[State, ...]] = get_args(State)
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
    telemetry = _Telemetry(validator, meter_provider, tracer_provider)
    end = validator.observe(telemetry)

    def stop() -> None:
        telemetry.ended = True
        end()

    return stop


class _Telemetry:
    """The observer. OpenTelemetry cannot take a callback back, so `ended` silences the gauges."""

    def __init__(
        self,
        validator: TokenValidator,
        meter_provider: MeterProvider | None,
        tracer_provider: TracerProvider | None,
    ) -> None:
        self.ended = False
        self._validator = ref(validator)  # a meter lives as long as the process; a validator need not
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
        meter.create_observable_gauge(
            "tokenguard.keys.age",
            [self._ages],
            unit="s",
            description="Seconds since the issuer's keys were last fetched or confirmed.",
        )
        meter.create_observable_gauge(
            "tokenguard.keys.state",
            [self._states],
            unit="{state}",
            description="1 for the state that the issuer's keys are in, 0 for the others.",
        )
        meter.create_observable_gauge(
            "tokenguard.keys.usable", [self._counts], unit="{key}", description="Usable keys of the issuer."
        )
        meter.create_observable_counter(
            "tokenguard.keys.fetches", [self._fetches], unit="{fetch}", description="Attempts to fetch the keys."
        )
        meter.create_observable_counter(
            "tokenguard.keys.failures",
            [self._failures],
            unit="{fetch}",
            description="Attempts that brought no usable keys.",
        )

    # -- events --------------------------------------------------------------------------------------------------------

    def judged(self, event: Judged) -> None:
        """Count a verdict; a span for a refusal, in the trace of the request."""
        attributes = {
            "tokenguard.door": event.door,
            "tokenguard.issuer": self._issuer(event.evidence.issuer),
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
            "tokenguard.issuer": self._issuer(event.issuer),
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

    # -- callbacks -----------------------------------------------------------------------------------------------------

    def _keys(self) -> Iterator[tuple[dict[str, str], KeyState]]:
        validator = self._validator()
        if validator is not None and not self.ended:
            for state in validator.state():
                yield {"tokenguard.issuer": state.issuer}, state.keys

    def _ages(self, _: CallbackOptions) -> Iterable[Observation]:
        for labels, keys in self._keys():
            if keys.age is not None and isfinite(keys.age):
                yield Observation(keys.age, labels)

    def _states(self, _: CallbackOptions) -> Iterable[Observation]:
        for labels, keys in self._keys():
            for state in _STATES:
                yield Observation(int(keys.state == state), {**labels, "tokenguard.state": state})

    def _counts(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(len(keys.key_ids), labels) for labels, keys in self._keys()]

    def _fetches(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(keys.fetches, labels) for labels, keys in self._keys()]

    def _failures(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(keys.failures, labels) for labels, keys in self._keys()]


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
