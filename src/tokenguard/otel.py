"""Telemetry: metrics and spans of a validator, through the OpenTelemetry API. Extra `otel`.

Owns: names of instruments, attributes and spans. Must not know: SDKs and exporters, how a token is judged.

Attribute values come from configuration, from `Reason` and from constants here: nothing that a token says can create a
series. Issuers are the configured ones or "unknown"; a host is a configured one or "_OTHER". Spans are made for
outbound calls and for refusals only. Outbound calls follow the semantic conventions for HTTP clients.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit
from weakref import WeakKeyDictionary, WeakSet

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
_WORSE: Final[tuple[State, ...]] = ("static", "fresh", "stale", "cold", "expired")
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
    gauges = _gauges_of(meter_provider)
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


class _KeyGauges:
    """The instruments that are asked for, once for each provider: a second one of the same name would be ignored.

    Where several validators trust one issuer, the gauges tell of the one that is worse off, the counters of all.
    """

    def __init__(self, provider: MeterProvider | None) -> None:
        self.validators: WeakSet[TokenValidator] = WeakSet()  # a meter lives as long as the process, they need not
        meter = metrics.get_meter("tokenguard", meter_provider=provider)
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

    def _keys(self) -> dict[str, list[KeyState]]:
        found: dict[str, list[KeyState]] = {}
        for validator in list(self.validators):
            for state in validator.state():
                found.setdefault(state.issuer, []).append(state.keys)
        for states in found.values():
            states.sort(key=lambda keys: (_WORSE.index(keys.state), keys.age or 0.0))
        return found

    def _ages(self, _: CallbackOptions) -> Iterable[Observation]:
        ages = {issuer: states[-1].age for issuer, states in self._keys().items()}
        return [Observation(age, {_ISSUER: issuer}) for issuer, age in ages.items() if age is not None]

    def _states(self, _: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(int(states[-1].state == state), {_ISSUER: issuer, "tokenguard.state": state})
            for issuer, states in self._keys().items()
            for state in _WORSE
        ]

    def _counts(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(len(states[-1].key_ids), {_ISSUER: issuer}) for issuer, states in self._keys().items()]

    def _fetches(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._sums(lambda keys: keys.fetches)

    def _failures(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._sums(lambda keys: keys.failures)

    def _sums(self, count: Callable[[KeyState], int]) -> Iterable[Observation]:
        return [Observation(sum(map(count, states)), {_ISSUER: issuer}) for issuer, states in self._keys().items()]


_gauges: WeakKeyDictionary[object, _KeyGauges] = WeakKeyDictionary()
_registering = threading.Lock()


def _gauges_of(provider: MeterProvider | None) -> _KeyGauges:
    # The process's own provider may be set later: it is known by what stands for it.
    key: object = metrics if provider is None or provider is metrics.get_meter_provider() else provider
    with _registering:
        if key not in _gauges:
            _gauges[key] = _KeyGauges(provider)
        return _gauges[key]


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
