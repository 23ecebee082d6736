"""The telemetry of a token source: its calls, its token requests, the remaining lifetime of its tokens.

Owns: names of instruments and attributes. Must not know: tokens, scopes, secrets; none of them is an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, cast
from weakref import WeakSet

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import TracerProvider

from tokenguard._observe.events import Outbound
from tokenguard.errors import ConfigurationError
from tokenguard.otel.for_provider import ForProvider
from tokenguard.otel.outbound_calls import ISSUER, OutboundCalls

if TYPE_CHECKING:
    from tokenguard._observe.observers import Observer
    from tokenguard.client import TokenSource

# A remembered token takes less than a microsecond, a new one as long as the server.
_BOUNDS: Final = (
    *(1e-6, 1e-5, 1e-4, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10),
)


def instrument_source(
    source: TokenSource, meter_provider: MeterProvider | None, tracer_provider: TracerProvider | None
) -> Callable[[], None]:
    """Export metrics and spans of `source`. Result: a function that ends it."""
    if source.observer is not None and any(isinstance(one, _Telemetry) for one in source.observer.members):
        raise ConfigurationError("this token source is instrumented already: instrument each one once")
    gauge = _gauge_of(meter_provider)
    end = source.observe(cast("Observer", _Telemetry(source, meter_provider, tracer_provider)))
    gauge.sources.add(source)

    def stop() -> None:
        gauge.sources.discard(source)
        end()

    return stop


class _Telemetry:
    """The observer."""

    def __init__(
        self, source: TokenSource, meter_provider: MeterProvider | None, tracer_provider: TracerProvider | None
    ) -> None:
        tracer = trace.get_tracer("tokenguard", tracer_provider=tracer_provider)
        meter = metrics.get_meter("tokenguard", meter_provider=meter_provider)
        self._issuer = source.issuer
        self._calls = OutboundCalls(meter, tracer, (source.issuer,), source.urls)
        self._durations = meter.create_histogram(
            "tokenguard.client.token.duration",
            unit="s",
            description="Time of one call for a token: remembered, stale while it is renewed, joined or fetched.",
            explicit_bucket_boundaries_advisory=_BOUNDS,
        )
        self._changes = meter.create_counter(
            "tokenguard.client.secret.changes",
            unit="{change}",
            description="Times that a secret other than the last one authenticated.",
        )
        self._changes.add(0, {ISSUER: self._issuer})  # so that the first change is one

    def supplied(self, way: str, outcome: str, code: str, seconds: float) -> None:
        """Record one call for a token."""
        attributes = {ISSUER: self._issuer, "tokenguard.way": way, "tokenguard.outcome": outcome}
        if code:
            attributes["error.type"] = code
        self._durations.record(seconds, attributes)

    def secret_changed(self) -> None:
        """Count another secret."""
        self._changes.add(1, {ISSUER: self._issuer})

    def called(self, event: Outbound) -> None:
        """Record a token request, or a search for the endpoint."""
        self._calls.record(event)

    def after_fork(self) -> None:
        """Nothing of ours to renew; providers look after themselves."""


class _Gauge:
    """The observable instrument, made once for each provider."""

    def __init__(self, provider: MeterProvider | None) -> None:
        # Weak: a meter lives as long as the process, a source may end earlier.
        self.sources: WeakSet[TokenSource] = WeakSet()
        metrics.get_meter("tokenguard", meter_provider=provider).create_observable_gauge(
            "tokenguard.client.token.expires_in",
            [self._observe],
            unit="s",
            description="Seconds until the first of the issuer's tokens ends, 0 where one has.",
        )

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        found: dict[str, float] = {}
        for source in list(self.sources):
            for state in source.state():
                if state.expires_in is not None:
                    found[source.issuer] = min(found.get(source.issuer, state.expires_in), state.expires_in)
        return [Observation(seconds, {ISSUER: issuer}) for issuer, seconds in found.items()]


_gauge_of: Final = ForProvider(_Gauge)
