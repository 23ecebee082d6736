"""Whether a gateway can give verdicts, and what is done in the background so that it can.

Owns: warming up at the start and when a probe finds the gateway unready; the end. Must not know: HTTP, routes.

A gateway starts while its issuer is down, and gets ready without any traffic once the issuer is there: a proxy sends
none to a gateway that is not ready.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from tokenguard._adapters import lifetime
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.redact import origin_of

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

__all__ = ["Readiness"]

_EVERY: Final = 5.0  # seconds between two looks at what metrics show
_MINUTE: Final = 60.0

_log = logging.getLogger("tokenguard")


class Readiness:
    """The life of one gateway in one process."""

    __slots__ = ("_is_stopping", "_log", "_look", "_looking", "_validator", "_warming")

    def __init__(self, validator: TokenValidator, look: Callable[[], None]) -> None:
        self._validator = validator
        self._look = look
        self._log = BoundedLog()
        self._is_stopping = False
        self._warming: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """A stop was asked for: not ready any more. May be called from a handler of signals."""
        self._is_stopping = True

    def is_ready(self) -> bool:
        """Whether verdicts can be given now. If not, what is missing is asked for beside, and a later probe sees it.
        For use in a running loop."""
        if self._is_stopping:
            return False
        if self._validator.is_ready():
            return True
        self._warming = self._warm()
        return False

    def open(self) -> None:
        """Warm up in the background, and look at the metrics from time to time."""
        self._warming = self._warm()
        self._looking = asyncio.get_running_loop().create_task(self._keep_looking())

    async def aclose(self) -> None:
        """Stop, and release the validator's connections."""
        self.stop()
        tasks = [task for task in (self._warming, self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._warming = self._looking = None
        await lifetime.close(self._validator)

    def _warm(self) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()
        task = self._warming
        if task is None or task.done() or task.get_loop() is not loop:
            task = loop.create_task(self._warm_up())
        return task

    async def _warm_up(self) -> None:
        try:
            await self._validator.warm_up_async()
        except Exception as error:  # noqa: BLE001 - requests and probes will try again; until then they get 503
            # Any probe may bring this about.
            text = "gateway: warming up the validator failed: %s"
            self._log.write(_log, logging.WARNING, text, partial(origin_of, error), kind=text, every=_MINUTE)

    async def _keep_looking(self) -> None:
        while True:
            with suppress(Exception):
                self._look()
            await asyncio.sleep(_EVERY)
