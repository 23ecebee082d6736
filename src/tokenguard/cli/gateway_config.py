"""`tokenguard gateway config`: the configuration of a proxy that asks the gateway.

Owns: its options, printing and writing files. Must not know: any proxy's syntax.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokenguard.cli import wording
from tokenguard.cli.gateway import ConfigOption, loaded
from tokenguard.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenguard.gateway.proxies import Plan


class Proxy(StrEnum):
    """The proxy whose configuration is printed."""

    NGINX = "nginx"
    CADDY = "caddy"
    TRAEFIK = "traefik"
    ENVOY = "envoy"
    HAPROXY = "haproxy"


def config(
    context: typer.Context,
    *,
    proxy: Annotated[Proxy, typer.Argument(help="The proxy.")],
    gateway: Annotated[str, typer.Option("--gateway", help="HOST:PORT where tokenguard gateway answers.")],
    upstream: Annotated[str, typer.Option("--upstream", help="HOST:PORT of the API.")],
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT where the proxy takes requests.")],
    config: ConfigOption = None,
    into: Annotated[
        Path | None, typer.Option("--into", help="A directory to write the files into, instead of printing them.")
    ] = None,
) -> None:
    """Print a configuration for a proxy that asks the gateway.

    It runs as it is: without root, for one API, with the claim fields of the gateway's file. With --into, the files
    are written and their paths printed, the main one last. Where there are several, each is printed after a line with
    its name.

    Exit code 0: printed. 2: a bad setting.
    """
    with wording.settings_errors():
        if config is None and context.parent is not None:  # `tokenguard gateway --config FILE config nginx`
            named = context.parent.params.get("config")
            config = named and Path(named)  # older versions of Typer keep the string
        plan = _plan(config, gateway, upstream, listen, None if into is None else into.absolute())
        from tokenguard.gateway.proxies import PROXIES

        files = PROXIES[proxy.value](plan)
        if plan.directory is None:
            for name, text in files.items():
                if len(files) > 1:
                    sys.stdout.write(f"# ---- {name} ----\n")
                sys.stdout.write(text)
            return
        for name, text in files.items():
            path = plan.directory / name
            try:
                plan.directory.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
            except OSError:
                raise ConfigurationError("the directory of --into cannot be written to") from None
            sys.stdout.write(f"{path}\n")


def _plan(file: Path | None, gateway: str, upstream: str, listen: str, directory: Path | None) -> Plan:
    _, asked = loaded(file)
    from tokenguard.gateway.proxies import Address, Plan

    return Plan(
        Address.read("--listen", listen),
        Address.read("--gateway", gateway),
        Address.read("--upstream", upstream),
        asked.claims.names,
        asked.realm,
        asked.client_address,
        asked.metadata_path,
        directory,
    )
