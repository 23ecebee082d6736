"""Telemetry: metrics and spans of a validator or a token source, through the OpenTelemetry API. Extra `otel`.

Attribute values come from configuration, from `Reason` and from constants: nothing in a token can create a series.
Issuers are the listed ones, "tenants" for all that are looked up, or "unknown"; a host is a configured one or "_OTHER".
Spans are made for outbound calls and for rejections only. Outbound calls follow the semantic conventions for HTTP
clients.

Owns: `instrument`. Must not know: the instruments (`validations`, `key_gauges`, `outbound_calls`, `source`).
"""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from tokenguard._settings import switch
from tokenguard.client import TokenSource
from tokenguard.errors import ConfigurationError
from tokenguard.otel.key_gauges import gauges_of
from tokenguard.otel.source import instrument_source
from tokenguard.otel.validations import Telemetry
from tokenguard.validator import TokenValidator

__all__ = ["instrument"]


def instrument(
    validator: TokenValidator | TokenSource,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    each_issuer: bool = False,
) -> Callable[[], None]:
    """Export metrics and spans of a validator or of a token source, by the given providers or the process's own.
    Result: a function that ends it.

    - `each_issuer`: True gives each issuer that `Issuers` looks up a `tokenguard.issuer` of its own once it has
      verified a token, as many as are registered. Default False: all of them are one, `tenants`

    Raises `ConfigurationError` if it is instrumented already: everything would be counted twice.
    """
    if isinstance(validator, TokenSource):
        return instrument_source(validator, meter_provider, tracer_provider)
    if not isinstance(validator, TokenValidator):
        raise ConfigurationError("validator must be a TokenValidator or a TokenSource")
    if validator.observer is not None and any(isinstance(one, Telemetry) for one in validator.observer.members):
        raise ConfigurationError("this validator is instrumented already: instrument each validator once")
    switch("each_issuer", each_issuer)
    gauges = gauges_of(meter_provider)
    end = validator.observe(Telemetry(validator, meter_provider, tracer_provider, each_issuer=each_issuer))
    gauges.validators[validator] = each_issuer

    def stop() -> None:
        gauges.validators.pop(validator, None)
        end()

    return stop
