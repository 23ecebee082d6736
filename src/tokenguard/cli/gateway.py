"""`tokenguard gateway`: serve verdicts for a proxy.

Owns: its options, and what is printed of a bad file. Must not know: how it is served (`tokenguard.gateway`).
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tokenguard.cli import output
from tokenguard.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenguard.gateway import Gateway

__all__ = ["ConfigOption", "gateway", "loaded"]

_VARIABLE: Final = "TOKENGUARD_GATEWAY_CONFIG"
_BIND: Final = "127.0.0.1:8400"

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help=f"The TOML file; default {_VARIABLE}, else gateway.toml.")
]

gateway = typer.Typer(rich_markup_mode=None)


@gateway.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    *,
    config: ConfigOption = None,
    bind: Annotated[str | None, typer.Option("--bind", help=f"HOST:PORT, not a public one; default {_BIND}.")] = None,
    uds: Annotated[Path | None, typer.Option("--uds", help="Listen on this unix socket instead.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="How many processes.")] = 1,
    graceful_timeout: Annotated[
        float, typer.Option("--graceful-timeout", min=1, help="Seconds for requests under way when it is stopped.")
    ] = 10,
    check: Annotated[bool, typer.Option("--check", help="Only check the file, and exit.")] = False,
) -> None:
    """Validate requests for nginx, Caddy, Traefik, Envoy or HAProxy.

    It runs until SIGTERM or Ctrl-C. The proxy asks about each request before it forwards it; the answers are those of
    every other adapter.

    Exit code 0: stopped, or with --check the file is good. 2: a bad setting.
    """
    if context.invoked_subcommand is not None:
        return
    content, made = loaded(config)
    if check:
        output.line(f"the file is good: {len(made.routes)} routes")
        return
    if bind is not None and uds is not None:
        output.exit_wrong_use("give either --bind or --uds")
    if not isfinite(graceful_timeout):
        output.exit_wrong_use("--graceful-timeout must be a finite number of seconds")
    from tokenguard.gateway.listening import listen_at, listen_on
    from tokenguard.gateway.logs import log_to_stderr
    from tokenguard.gateway.server import held_signals, run
    from tokenguard.gateway.workers import run_workers

    with held_signals():
        try:
            listening = listen_on(bind or _BIND) if uds is None else listen_at(uds)
        except ConfigurationError as error:
            output.exit_wrong_use(str(error))
        log_to_stderr()
        listening.log(workers)
        if workers > 1:
            run_workers(content, listening, workers, graceful_timeout=graceful_timeout)
            return
        try:
            run(made, listening.socket, graceful_timeout=graceful_timeout)
        finally:
            listening.close()


def loaded(config: Path | None) -> tuple[bytes, Gateway]:
    """The content of the file, and the gateway that it describes. Exits with 2 where it is bad."""
    if not all(map(find_spec, ("uvicorn", "prometheus_client"))):
        output.exit_wrong_use('the gateway is an extra: pip install "tokenguard-oauth[gateway]"')
    from tokenguard.gateway.file import gateway_of, read

    path = config or Path(os.environ.get(_VARIABLE) or "gateway.toml")
    try:
        content = read(path)
        return content, gateway_of(content)
    except ConfigurationError as error:
        output.exit_wrong_use(f"{path}: {error}")
