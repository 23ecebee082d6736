"""What a `TokenValidator` and a `TokenSource` have in common: where their flows run, how they are observed and closed.

Owns: the two drivers, the TLS context of outbound calls, whether a transport serves threads or loops, observers,
closing.
Must not know: what a flow decides, tokens, settings beyond these. Loads an HTTP client and asyncio only when one is
made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from weakref import WeakSet

from tokenguard._flow.effects import Flow
from tokenguard._flow.forks import Lock
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.observers import Observer, Observers
from tokenguard.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl

    import httpx

T = TypeVar("T")

_SYNC_ONLY = "this transport is synchronous only: give one that is an httpx.AsyncBaseTransport too"
_ASYNC_ONLY = "this transport is asynchronous only: use the methods whose names end in _async"


class Runtime:
    """Runs flows for threads and for event loops, any number of them at once; closes. Each part of it survives a fork.

    `transport`: an httpx transport for outbound calls, closed by its owner. `ssl_context`: for outbound calls without
    one. `log`: for records that requests can cause. `fetches`: whether anything is fetched; if not, no HTTP client
    is loaded before it is needed. `asked`: the URLs that are known now; a proxy of the environment that cannot be used
    is rejected, unless the environment exempts all of them.
    """

    observer: Observers | None

    def __init__(
        self,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None,
        ssl_context: ssl.SSLContext | None,
        log: BoundedLog | None = None,
        *,
        fetches: bool = True,
        asked: Iterable[str] = (),
    ) -> None:
        self._sync_only, self._async_only = _worlds_of(transport)
        if fetches:
            from tokenguard._io import libraries, proxies
            from tokenguard._io.http import default_ssl_context

            libraries.library_of(transport)  # loaded now: that would stop an event loop for a tenth of a second
            if transport is None:
                proxies.check(asked)
                ssl_context = ssl_context or default_ssl_context()
        from tokenguard._io.loops import Loops  # with asyncio, which takes as long as half of this package
        from tokenguard._io.threads import Threads

        self._threads = Threads(cast("httpx.BaseTransport | None", transport), ssl_context)
        self._loops = Loops(
            cast("httpx.AsyncBaseTransport | None", transport),
            ssl_context,
            self._threads if transport is None else None,
        )
        self.observer = None
        self._log = self._threads.log = self._loops.log = log or BoundedLog()
        self.logs: WeakSet[BoundedLog] = WeakSet([self._log])  # and those of adapters, which end before this

    # -- flows ---------------------------------------------------------------------------------------------------------

    def _run(self, flow: Flow[T]) -> T:
        """The value of `flow`, run in this thread. Raises `ConfigurationError` where the transport cannot."""
        if self._async_only:
            flow.close()
            self._check_sync()
        return self._threads.run(flow)

    async def _run_async(self, flow: Flow[T]) -> T:
        """`_run` for event loops. `_check_async` comes before."""
        return await self._loops.run(flow)

    def _check_sync(self) -> None:
        """Raise `ConfigurationError` if the transport does not serve threads."""
        if self._async_only:
            raise ConfigurationError(_ASYNC_ONLY)

    def _check_async(self) -> None:
        """Raise `ConfigurationError` if the transport does not serve event loops."""
        if self._sync_only:
            raise ConfigurationError(_SYNC_ONLY)

    # -- life ----------------------------------------------------------------------------------------------------------

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Add an observer, for `tokenguard.otel` and `tokenguard.audit`. Result: a function that removes it."""
        with _observing:
            self._observed_by((*(() if self.observer is None else self.observer.members), observer))

        def end() -> None:
            with _observing:
                members = () if self.observer is None else self.observer.members
                self._observed_by(tuple(member for member in members if member is not observer))

        return end

    def _observed_by(self, members: tuple[Observer, ...]) -> None:
        observers = Observers(members, self._log) if members else None
        self.observer = self._threads.observer = self._loops.observer = observers

    def close(self) -> None:
        """Release connections. A later call opens new ones."""
        self._threads.close()
        self._loops.close()
        self._flush()

    async def aclose(self) -> None:
        """`close` for event loops: waits until this loop's connections are closed."""
        await self._loops.aclose()
        self._threads.close()
        self._flush()

    def _flush(self) -> None:
        for log in list(self.logs):
            log.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _worlds_of(transport: Any) -> tuple[bool, bool]:
    """Whether a transport serves threads only, or event loops only."""
    if transport is None:
        return False, False
    sync, loop = hasattr(transport, "handle_request"), hasattr(transport, "handle_async_request")
    if (not sync and not loop) or isinstance(transport, type):
        raise ConfigurationError("transport must be an httpx transport, such as httpx.HTTPTransport(...)")
    return not loop, not sync


_observing = Lock()
