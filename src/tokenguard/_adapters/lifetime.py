"""The life of a validator inside an app: warmed up at the app's start, closed at its end.

Owns: that neither keeps an app from starting or stopping. Must not know: any framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenguard._adapters.hints import log_failure

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator


async def warm_up(validator: TokenValidator) -> None:
    """Get the keys. A failure is logged: requests will try again, and get 503 until then."""
    try:
        await validator.warm_up_async()
    except Exception as error:  # noqa: BLE001 - an app starts without its issuer
        log_failure("warming up the validator", error)


async def close(validator: TokenValidator) -> None:
    """Release the connections. A failure is logged."""
    try:
        await validator.aclose()
    except Exception as error:  # noqa: BLE001 - an app that stops must stop
        log_failure("closing the validator", error)
