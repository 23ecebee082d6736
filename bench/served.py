"""The app behind a real server: `uvicorn served:made` and `gunicorn served:made`. Which one, the environment says."""

from __future__ import annotations

import os

from contenders.frameworks import app
from contest import Setup

made = app(
    os.environ["BENCH_FRAMEWORK"],
    os.environ["BENCH_GUARD"],
    Setup(os.environ["BENCH_JWKS"], int(os.environ["BENCH_COUNT"])),
)
