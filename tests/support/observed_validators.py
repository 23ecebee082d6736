"""The ways in which an adapter's validator may be seen: alone, watched, stood in for, instrumented.

What a request is answered must not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from tokenguard import TokenValidator, audit, otel


def unwatched(validator: TokenValidator) -> Any:
    return validator


def watched(validator: TokenValidator) -> Any:
    """With audit and telemetry on."""
    audit.enable(validator, accepted=True, request_id_header="X-Request-ID")
    otel.instrument(validator, meter_provider=MeterProvider(), tracer_provider=TracerProvider())
    return validator


def stood_in_for(validator: TokenValidator) -> Any:
    """Something else that has the two methods and nothing more."""

    def validate(raw: str, **asked: Any) -> Any:
        return validator.validate(raw, **asked)

    async def validate_async(raw: str, **asked: Any) -> Any:
        return await validator.validate_async(raw, **asked)

    return SimpleNamespace(validate=validate, validate_async=validate_async)


def instrumented(validator: TokenValidator) -> Any:
    """A subclass that does something around both methods, as tracing libraries do; watched as well."""
    calls: list[str] = []

    class Instrumented(TokenValidator):
        def validate(self, raw: str, **settings: Any) -> Any:
            calls.append("sync")
            return super().validate(raw, **settings)

        async def validate_async(self, raw: str, **settings: Any) -> Any:
            calls.append("async")
            return await super().validate_async(raw, **settings)

    validator.__class__ = Instrumented
    validator.calls = calls  # type: ignore[attr-defined]
    return watched(validator)


WAYS: dict[str, Callable[[TokenValidator], Any]] = {
    "unwatched": unwatched,
    "watched": watched,
    "stood in for": stood_in_for,
    "instrumented": instrumented,
}
