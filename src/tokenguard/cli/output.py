"""Output for people and for machines.

Owns: safe text for values from a token, tables, JSON, exit codes. Must not know: tokens, settings, the network. No
output is read as markup or contains a control character, so that a claim cannot change the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

ACCEPTED: Final = 0
REJECTED: Final = 1
WRONG_USE: Final = 2
COULD_NOT_TELL: Final = 3

_LONGEST: Final = 160
_PLAIN_WIDTH: Final = 200  # where the output is not a terminal
_MARKS: Final = {
    "passed": ("+", "green"),
    "ok": ("+", "green"),
    "failed": ("x", "bold red"),
    "fault": ("x", "bold red"),
    "unknown": ("?", "yellow"),
    "warning": ("!", "yellow"),
    "not reached": (".", "dim"),
    "note": (".", "dim"),
}


def shown(value: object) -> str:
    """A value as JSON in printable ASCII, capped."""
    try:
        text = json.dumps(value, default=repr)
    except (ValueError, RecursionError):
        text = "(cannot be shown)"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def duration(seconds: float) -> str:
    """Seconds in words: `4 min 59 s`, `2 h`, `3 d 4 h`."""
    left = round(min(abs(seconds), 10**12))
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount and len(parts) < 2:
            parts.append(f"{amount} {unit}")
    return " ".join(parts) or "0 s"


def as_json(document: Mapping[str, Any]) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, default=repr) + "\n")
    sys.stdout.flush()


def line(text: str = "", style: str = "") -> None:
    """One line on standard output."""
    _console().print(Text(text, style=style), soft_wrap=True)


def table(columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    """Rows whose first cell is a status, shown as a mark."""
    shape = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    shape.add_column("")
    for column in columns:
        shape.add_column(column, overflow="fold")
    for status, *cells in rows:
        mark, style = _MARKS[status]
        dim = "dim" if style == "dim" else ""
        shape.add_row(Text(mark, style=style), *(Text(cell, style=dim) for cell in cells))
    console = _console()
    with console.capture() as captured:
        console.print(shape)
    sys.stdout.write("".join(f"{row.rstrip()}\n" for row in captured.get().splitlines()))


def _console() -> Console:
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=_PLAIN_WIDTH)


def exit_wrong_use(text: str) -> NoReturn:
    """Write to standard error what is wrong with the use or a setting, and exit with 2."""
    sys.stderr.write(f"tokenguard: {text}\n")
    raise typer.Exit(WRONG_USE)
