"""What tests take from npm, as `tests/interop/package-lock.json` says it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

INTEROP = Path(__file__).parents[1] / "interop"
MODULES = INTEROP / "node_modules"


def installed(package: str) -> bool:
    """Whether `package` is here, after installing what the lock file names where it is not and npm's registry can be
    reached."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    if not (MODULES / package).is_dir():
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]  # some scripts report to their makers
        try:
            return subprocess.run(install, cwd=INTEROP, check=False, timeout=300, capture_output=True).returncode == 0
        except subprocess.TimeoutExpired:
            return False
    return True
