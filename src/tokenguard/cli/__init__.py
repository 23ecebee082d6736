"""`tokenguard`, the command line. Owns: its entry point, the report of what is missing. Everything else is in `app`.

Exit codes, of every command: 0 accepted, or all is well; 1 rejected, or a fault was found; 2 a bad setting or a wrong
use; 3 unavailable.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]

_MISSING = 'tokenguard: the command line is an extra: pip install "tokenguard-oauth[cli]"\n'


def main() -> None:
    """Run the command of `sys.argv`, and exit."""
    if not all(map(find_spec, ("typer", "rich"))):
        sys.stderr.write(_MISSING)
        sys.exit(2)
    from tokenguard.cli.app import app

    app()
