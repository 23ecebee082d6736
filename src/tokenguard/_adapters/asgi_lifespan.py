"""The lifespan of an ASGI app, and the life of a validator inside it.

Owns: when in the protocol a validator is warmed up and closed. Must not know: any framework, how that is done (see
`lifetime`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenguard._adapters import lifetime
from tokenguard._adapters.asgi_messages import App, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator


async def lifespan(validator: TokenValidator, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """The app's lifespan, in which the validator is warmed up and closed."""
    opened = False

    async def close() -> None:
        nonlocal opened
        if opened:
            opened = False
            await lifetime.close(validator)

    async def warming() -> Message:
        nonlocal opened
        message = await receive()
        if message["type"] == "lifespan.startup":
            opened = True
            await lifetime.warm_up(validator)
        return message

    async def closing(message: Message) -> None:
        # After the app's own shutdown, which may still validate tokens, and before the server learns that all is done.
        if message["type"] in ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await close()
        await send(message)

    try:
        await app(scope, warming, closing)
    finally:
        await close()
