"""The command line for tests: the real commands, in this process, on real loopback issuers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping

from typer.testing import CliRunner

from tokenguard.cli.app import app

_SEGMENT = re.compile(r"[A-Za-z0-9_=-]{16,}")


class Ran:
    """What a command did."""

    def __init__(self, result):
        self.code = result.exit_code
        self.out = result.stdout
        self.err = result.stderr

    @property
    def json(self):
        return json.loads(self.out)

    def check(self, name):
        return next(check for check in self.json["checks"] if check["name"] == name)

    def findings(self, area):
        return [(one["status"], one["finding"]) for one in self.json["findings"] if one["area"] == area]


def run(*arguments, token: str = "", environment: Mapping[str, str] | None = None, secret: str = "") -> Ran:
    """Run a command. Whatever it says, no part of `token` and no `secret` may be in it."""
    kept = {name: None for name in os.environ if name.startswith("TOKENGUARD_")}
    result = CliRunner().invoke(
        app,
        list(map(str, arguments)),
        input=token.encode("utf-8", "surrogateescape"),
        env={**kept, **(environment or {})},
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    said = result.stdout + result.stderr
    for part in [*_SEGMENT.findall(token), *([secret] if secret else [])]:
        assert part not in said
    return Ran(result)
