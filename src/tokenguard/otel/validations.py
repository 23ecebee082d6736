"""The telemetry of a validator: verdicts, validations, outbound calls; a span for each rejection.

Owns: names of instruments, attributes and spans. Must not know: SDKs and exporters, how a token is validated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import StatusCode, TracerProvider

from tokenguard._observe.events import Decision, Outbound, Outcome, Way
from tokenguard.otel.key_gauges import TENANTS
from tokenguard.otel.outbound_calls import ISSUER, UNKNOWN, OutboundCalls

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

# A remembered token takes microseconds, a new one tens, an introspected one milliseconds.
_VALIDATION_BOUNDS: Final = (
    *(1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


class Telemetry:
    """The observer."""

    def __init__(
        self,
        validator: TokenValidator,
        meter_provider: MeterProvider | None,
        tracer_provider: TracerProvider | None,
        *,
        each_issuer: bool,
    ) -> None:
        tracer = trace.get_tracer("tokenguard", tracer_provider=tracer_provider)
        meter = metrics.get_meter("tokenguard", meter_provider=meter_provider)
        self._tracer = tracer
        listed = (issuer.url for issuer in validator.issuers)
        directory = validator._directory  # noqa: SLF001 - of this very package
        self._calls = OutboundCalls(
            meter,
            tracer,
            listed,
            _urls(validator),
            others=UNKNOWN if directory.is_empty else TENANTS,
            is_named=directory.is_proven if each_issuer else None,  # anybody can make up one that is not
        )
        self._verdicts = meter.create_counter(
            "tokenguard.verdicts", unit="{verdict}", description="Verdicts by adapter, issuer, outcome and reason."
        )
        self._validations = meter.create_histogram(
            "tokenguard.validation.duration",
            unit="s",
            description="Time of one validation: of a remembered, a new, or an introspected token.",
            explicit_bucket_boundaries_advisory=_VALIDATION_BOUNDS,
        )

    # -- events --------------------------------------------------------------------------------------------------------

    def decided(self, event: Decision) -> None:
        """Count a verdict; a span for a rejection, in the trace of the request."""
        attributes = {
            "tokenguard.door": event.door,
            ISSUER: self._calls.issuer(event.evidence.issuer),
            "tokenguard.outcome": event.outcome,
        }
        if event.outcome != "accepted":
            attributes["tokenguard.reason"] = event.reason
        self._verdicts.add(1, attributes)
        if event.outcome != "accepted":
            span = self._tracer.start_span("tokenguard refuse", attributes={**attributes, "error.type": event.reason})
            if event.outcome != "rejected":  # a rejection is a correct outcome; this is a fault
                span.set_status(StatusCode.ERROR)
            span.end()

    def validated(self, way: Way, outcome: Outcome, seconds: float) -> None:
        """Record the duration of one validation."""
        self._validations.record(seconds, {"tokenguard.way": way, "tokenguard.outcome": outcome})

    def called(self, event: Outbound) -> None:
        """Record an outbound call, and make a span of it."""
        self._calls.record(event)

    def after_fork(self) -> None:
        """Nothing of ours to renew; providers renew themselves."""


def _urls(validator: TokenValidator) -> Iterator[str]:
    """The URLs that configuration names."""
    for issuer in validator.issuers:
        endpoint = None if issuer.introspection is None else issuer.introspection.endpoint
        yield from filter(None, (issuer.url, issuer.jwks_uri, endpoint))
