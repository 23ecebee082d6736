"""Where a gateway's process writes its log.

Owns: one line a record, on standard error. Must not know: what is logged.
"""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["log_to_stderr"]

_FORMAT: Final = "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"
# Each start, each fetch; and of uvicorn a warning for each request that it cannot read, which any client may send.
_QUIET: Final = (
    ("uvicorn", logging.ERROR),
    ("httpx", logging.WARNING),
    ("httpx2", logging.WARNING),
    ("httpcore", logging.WARNING),
    ("asyncio", logging.WARNING),
)


def log_to_stderr() -> None:
    """INFO of tokenguard, of the libraries below it what an operator must see."""
    logging.basicConfig(level=logging.INFO, format=_FORMAT)
    for name, level in _QUIET:
        logging.getLogger(name).setLevel(level)
