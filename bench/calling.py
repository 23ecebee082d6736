"""The calling side beyond one call: how many token requests a herd of cold callers makes.

Every caller asks the same source at the same moment, and the endpoint takes a fifth of a second.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_SECONDS = 0.2


def _of_threads(callers: int) -> dict[str, Any]:
    from contenders.calling import Endpoint, source

    endpoint = Endpoint(_SECONDS)
    barrier, took = threading.Barrier(callers), []

    def ask() -> None:
        barrier.wait()
        began = time.perf_counter()
        tokens.token()
        took.append(time.perf_counter() - began)

    with source(endpoint) as tokens, ThreadPoolExecutor(callers) as pool:
        for asked in [pool.submit(ask) for _ in range(callers)]:
            asked.result()
    return {"callers": callers, "requests": endpoint.asked, "slowest_milliseconds": 1e3 * max(took)}


async def _of_tasks(callers: int) -> dict[str, Any]:
    from contenders.calling import Endpoint, source

    endpoint, took = Endpoint(_SECONDS), []

    async def ask() -> None:
        began = time.perf_counter()
        await tokens.token_async()
        took.append(time.perf_counter() - began)

    async with source(endpoint) as tokens:
        await asyncio.gather(*(ask() for _ in range(callers)))
    return {"callers": callers, "requests": endpoint.asked, "slowest_milliseconds": 1e3 * max(took)}


def herd(callers: int) -> dict[str, Any]:
    """So many threads, and so many tasks of a loop."""
    return {"threads": _of_threads(callers), "tasks": asyncio.run(_of_tasks(callers))}
