"""Where a gateway's process writes its log.

Owns: one line a record, on standard error. Must not know: what is logged.
"""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["log_to_stderr"]

_FORMAT: Final = "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"
_QUIET: Final = ("uvicorn", "httpx", "httpx2", "httpcore", "asyncio")  # each start, each fetch


def log_to_stderr() -> None:
    """INFO of tokenguard, WARNING of the libraries below it."""
    logging.basicConfig(level=logging.INFO, format=_FORMAT)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
