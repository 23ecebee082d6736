"""`tokenguard demo`: what `make demo` runs. Owns: its exit code and its JSON. Must not know: what it shows."""

from __future__ import annotations

import io
import sys
from importlib.util import find_spec

import typer

from tokenguard.cli import output
from tokenguard.cli.options import JsonOption


def demo(*, json: JsonOption = False) -> None:
    """Start an issuer and services, and send them good and bad tokens.

    The services are two APIs, a worker, and a caller of both APIs. Each answer is compared with what is right.

    Exit code 0: all answers were as expected. 1: one was not.
    """
    if not all(map(find_spec, ("fastapi", "flask", "uvicorn"))):
        output.exit_wrong_use('the demo needs FastAPI, Flask and uvicorn: pip install "tokenguard-oauth[all]" uvicorn')
    from tokenguard._demo.demonstration import run

    out = io.StringIO() if json else sys.stdout
    code = run(out)
    if isinstance(out, io.StringIO):
        output.as_json({"as_expected": code == 0, "lines": out.getvalue().splitlines()})
    raise typer.Exit(code)
