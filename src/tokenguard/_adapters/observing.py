"""What the two observing middlewares share: a verdict on a request that passes by, made beside it.

Owns: when a verdict disagrees with the app, the log of those that do, that nothing of all this reaches a request. Must
not know: any protocol, what makes a token good.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tokenguard._adapters.asgi_scopes import AsgiReader
from tokenguard._adapters.guard import Guard
from tokenguard._adapters.request import LONGEST
from tokenguard._adapters.validators import usable
from tokenguard._adapters.wsgi_environs import WsgiReader
from tokenguard._io.background import MOST, Background
from tokenguard._oauth.credential import SCHEME
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.events import Outcome, outcome_of
from tokenguard._observe.redact import origin_of
from tokenguard._settings import is_lazy
from tokenguard.errors import ConfigurationError
from tokenguard.request import ResourceRequest, observed
from tokenguard.requirements import Required, Requirement
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard.validator import TokenValidator

NAME: Final = "observe"  # as audit and metrics call it
SERVED_AT_MOST: Final = 399
REFUSED: Final = (401, 403)

_log = logging.getLogger("tokenguard")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard would have answered to one request, and what the app did.

    - `status`: what would have been answered, 200 where the request would have gone on
    - `outcome`: `accepted`, `rejected`, `unavailable`, or `error` for a bad setting or a bug
    - `reason`: of a rejection a `Reason`, else a constant word; None where accepted
    - `method`, `path`: of the request; the decoded path without the query
    - `app_status`: what the app answered; 101 where it accepted a websocket, 403 where it closed it before
    - `disagrees`: a guard would not have served what the app served (below 400), or it would have and the app answered
      401 or 403
    """

    status: int
    outcome: Outcome
    reason: str | None
    method: str
    path: str
    app_status: int
    disagrees: bool


OnVerdict = Callable[[Verdict], object]
Request = MutableMapping[str, Any]


class ObservingGuard(Guard[Any]):
    """A guard that uses nothing up, asks for no nonce, keeps nothing with a request, and logs no rejection, since there
    was none."""

    __slots__ = ()

    def _read(self, request: Any, required: Requirement, scheme: str = SCHEME) -> ResourceRequest:
        return observed(super()._read(request, required, scheme))

    def _keep(self, request: Any, asked: Any, token: AccessToken) -> AccessToken:  # noqa: ARG002 - named by `Guard`
        return token  # a guard around it would take the verdict for its own: copies of a scope share the list

    def _hint(self, name: str, error: BaseException) -> None:
        """Not logged: audit, telemetry and what disagrees say more."""


class Observation:
    """The settings of one observing middleware, and what it has under way."""

    def __init__(
        self,
        reader: AsgiReader | WsgiReader,
        validator: TokenValidator,
        *,
        scope: str | Iterable[str],
        require: Required | None,
        public: str | Iterable[str],
        on_verdict: OnVerdict | None,
    ) -> None:
        self.guard = ObservingGuard(NAME, reader, usable(validator), scope=scope, require=require, public=public)
        if on_verdict is not None and (not callable(on_verdict) or is_lazy(on_verdict)):
            raise ConfigurationError("on_verdict must be a plain function (verdict) -> None")
        self._on_verdict = on_verdict
        self._background = Background()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bounded = BoundedLog()
        with suppress(Exception):  # whatever replaces a validator need not flush it
            validator.logs.add(self._bounded)
        _log.warning("observe: this middleware guards nothing: every request passes, with or without a good token")

    @property
    def dropped(self) -> int:
        """How many verdicts were dropped."""
        return self._background.dropped

    def under_way(self) -> int:
        """How many verdicts are."""
        return len(self._tasks) + self._background.under_way()

    def start(self, request: Request, app_status: int) -> None:
        """Make a verdict on a copy of a request, in a thread of ours. Never raises, never waits."""
        self._start(partial(self._observe, request, app_status))

    def start_async(self, request: Request, app_status: int) -> None:
        """The same in this event loop, as a guard would: its connections are there.

        Where the loop ends before, as those of tests do after a request, or is not of asyncio: in a thread.
        """
        with suppress(Exception):
            if self.under_way() >= MOST:
                self._drop()
                return
            observing = self._observe_async(request, app_status)
            try:
                task = asyncio.get_running_loop().create_task(observing)
            except RuntimeError:
                observing.close()
                self._start_elsewhere(request, app_status)
                return
            self._tasks.add(task)
            task.add_done_callback(partial(self._end, request, app_status))

    def _end(self, request: Request, app_status: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self._start_elsewhere(request, app_status)

    def _start_elsewhere(self, request: Request, app_status: int) -> None:
        self._start(lambda: asyncio.run(self._observe_async(request, app_status)))

    def _start(self, job: Callable[[], None]) -> None:
        with suppress(Exception):
            if not self._background.start(partial(copy_context().run, job)):  # in the trace of the request
                self._warn_of_drops()

    def _drop(self) -> None:
        self._background.dropped += 1
        self._warn_of_drops()

    def _warn_of_drops(self) -> None:
        text = "observe: %d verdicts were dropped so far, as more than 1,000 were under way"
        self._bounded.write(_log, logging.WARNING, text, self.dropped, kind="dropped")

    def _observe(self, request: Request, app_status: int) -> None:
        error: Exception | None = None
        try:
            if self.guard.validate(request, self.guard.required) is None:
                return  # a public path
        except Exception as raised:  # noqa: BLE001 - an outcome, whatever it is
            error = raised
        self._conclude(request, error, app_status)

    async def _observe_async(self, request: Request, app_status: int) -> None:
        error: Exception | None = None
        try:
            if await self.guard.validate_async(request, self.guard.required) is None:
                return
        except Exception as raised:  # noqa: BLE001 - an outcome, whatever it is
            error = raised
        self._conclude(request, error, app_status)

    def _conclude(self, request: Request, error: Exception | None, app_status: int) -> None:
        try:
            verdict = self._verdict(request, error, app_status)
            if verdict.disagrees:
                text = "observe: a guard would answer %d (%s), the app answered %d"
                values = verdict.status, verdict.reason or verdict.outcome, app_status
                self._bounded.write(_log, logging.WARNING, text, *values, kind="disagrees")
            if self._on_verdict is not None:
                self._report(self._on_verdict, verdict)
        except Exception as failure:  # noqa: BLE001 - nothing of the app depends on it
            text = "observe: a verdict failed: %s"
            self._bounded.write(_log, logging.WARNING, text, origin_of(failure), kind="failed")

    def _verdict(self, request: Request, error: Exception | None, app_status: int) -> Verdict:
        guard, reader = self.guard, self.guard.reader
        outcome, reason = outcome_of(error)
        status = 200 if error is None else guard.reject(error, request).status
        disagrees = app_status in REFUSED if error is None else app_status <= SERVED_AT_MOST
        method, path = reader.method(request), reader.path(request, LONGEST)
        return Verdict(status, outcome, reason or None, method, path, app_status, disagrees)

    def _report(self, on_verdict: OnVerdict, verdict: Verdict) -> None:
        try:
            result = on_verdict(verdict)
            if inspect.iscoroutine(result):
                result.close()  # it is never awaited, and need not say so
                raise ConfigurationError("on_verdict must be a plain function")
        except BaseException as error:  # noqa: BLE001 - of the application's; no end of this task, or of its loop
            text = "observe: on_verdict failed: %s"
            self._bounded.write(_log, logging.WARNING, text, origin_of(error), kind="on_verdict")
