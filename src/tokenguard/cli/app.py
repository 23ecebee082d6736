"""The commands, put together. Owns: their names and order. Must not know: what any of them does."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Annotated

import typer

from tokenguard.cli import output
from tokenguard.cli.check import check
from tokenguard.cli.client_token import token
from tokenguard.cli.demo import demo
from tokenguard.cli.development_issuer import issuer
from tokenguard.cli.doctor import doctor
from tokenguard.cli.gateway import gateway
from tokenguard.cli.gateway_config import config
from tokenguard.cli.routes import routes

__all__ = ["app"]


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - as typer calls it
    if wanted:
        output.line(f"tokenguard {version('tokenguard-oauth')}")
        raise typer.Exit(output.ACCEPTED)


app = typer.Typer(
    name="tokenguard",
    help="Check OAuth 2.0 access tokens, and the services that validate them.",
    epilog="Exit codes: 0 accepted or well, 1 rejected or a fault, 2 a bad setting or wrong use, 3 unavailable.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # a traceback with local variables would show tokens and secrets
)


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What comes before a command."""


for command in (check, doctor, routes, token, issuer, demo):
    app.command()(command)

gateway.command()(config)
app.add_typer(gateway, name="gateway")

# The commands report what the library logs, in order; its records beside them would repeat it.
logging.getLogger("tokenguard").addHandler(logging.NullHandler())
