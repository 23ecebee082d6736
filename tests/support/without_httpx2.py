"""A pytest plugin, `-p without_httpx2`: as where httpx2 is not installed."""

import sys

sys.modules["httpx2"] = None  # type: ignore[assignment]  # any import of it fails
