"""Walks through a page: writes its files, types its commands, and compares what the terminals show.

As a program it is the newcomer of `make newcomer`: python tests/support/page_walk.py PAGE DIRECTORY [PAGE ...]. The
first page sets up an environment in the directory; with it the tests are run that the other pages show.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^```(?P<kind>[\w-]*)(?P<flags>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]*)"')
SHELLS = ("sh", "bash", "shell")
PATIENCE = 300.0  # seconds for a terminal to show what the page says; a bound, not a pause


class Block(NamedTuple):
    kind: str
    title: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = []
    for match in FENCE.finditer(text):
        title = TITLE.search(match["flags"])
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(match["kind"], title[1] if title else "", match["code"], line))
    return found


def files(page: Path) -> dict[str, str]:
    """The Python files that a page shows."""
    return {block.title: block.code for block in blocks(page) if block.kind == "python" and block.title.endswith(".py")}


class Terminal:
    """A shell that is typed into. What it shows is kept from the last command on."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=directory,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._shown: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._shell.stdout
        while octets := os.read(self._shell.stdout.fileno(), 65_536):  # not lines: the last may have no end
            with self._more:
                self._shown.append(octets.decode("utf-8", "replace"))
                self._more.notify_all()

    def type(self, command: str) -> None:
        with self._more:
            self._shown.clear()
        assert self._shell.stdin
        self._shell.stdin.write(command)
        self._shell.stdin.flush()

    def finish(self) -> None:
        """Wait until the commands that were typed are done."""
        self._wait(re.compile(r"^done: (\d+)$", re.MULTILINE), typed='echo "done: $?"\n')

    def shows(self, expected: str) -> None:
        pattern = re.escape(expected.strip()).replace(r"\.\.\.", r".*?")
        self._wait(re.compile(pattern, re.DOTALL))

    def _wait(self, pattern: re.Pattern[str], typed: str = "") -> None:
        if typed:
            assert self._shell.stdin
            self._shell.stdin.write(typed)
            self._shell.stdin.flush()
        with self._more:
            found = self._more.wait_for(lambda: pattern.search(self.shown), PATIENCE)
        assert found, f"expected {pattern.pattern!r}; the terminal shows:\n{self.shown}"
        assert not found.groups() or found[1] == "0", f"a command failed; the terminal shows:\n{self.shown}"

    @property
    def shown(self) -> str:
        return "".join(self._shown).replace("\r\n", "\n")

    def close(self) -> None:
        os.killpg(self._shell.pid, signal.SIGTERM)  # the shell and what it runs
        self._shell.wait(timeout=15)
        self._reader.join(timeout=15)
        for stream in (self._shell.stdin, self._shell.stdout):
            assert stream
            stream.close()


def walk(
    page: Path,
    directory: Path,
    environment: Mapping[str, str],
    *,
    leave_out: Sequence[str] = (),
    instead: Mapping[str, str] | None = None,
) -> None:
    """Do what the page says.

    `leave_out`: beginnings of command lines that are not typed. `instead`: what to write for some words.
    """

    def said(text: str) -> str:
        words = instead or {}
        return re.sub("|".join(map(re.escape, words)), lambda found: words[found[0]], text) if words else text

    for file, code in files(page).items():
        (directory / file).write_text(said(code), "utf-8")
    terminals: dict[str, Terminal] = {}
    steps = [block._replace(code=said(block.code)) for block in blocks(page) if block.kind in (*SHELLS, "text")]
    try:
        for step, after in zip(steps, [*steps[1:], None], strict=True):
            if step.kind == "text":
                if step.title:
                    terminals[step.title].shows(step.code)
                continue
            terminal = terminals.setdefault(step.title, Terminal(directory, environment))
            lines = step.code.splitlines(keepends=True)
            started = time.monotonic()
            terminal.type("".join(line for line in lines if not line.startswith(tuple(leave_out))))
            if after is not None and after.kind == "text" and not after.title:
                terminal.shows(after.code)
            else:
                terminal.finish()
            print(f"{time.monotonic() - started:6.1f} s  {step.title}: {lines[0].strip()}", flush=True)
    finally:
        for terminal in terminals.values():
            terminal.close()


def run_tests(page: Path, directory: Path) -> None:
    """Write the files of a page into a directory of its own and run its tests, with the environment beside it."""
    place = directory / page.stem
    place.mkdir()
    for file, code in files(page).items():
        (place / file).write_text(code, "utf-8")
    started = time.monotonic()
    tests = sorted(file for file in files(page) if file.startswith("test_"))
    subprocess.run([directory / ".venv" / "bin" / "python", "-m", "pytest", "-q", *tests], cwd=place, check=True)
    print(f"{time.monotonic() - started:6.1f} s  {page.stem}: {', '.join(tests)}", flush=True)


if __name__ == "__main__":
    begun = time.monotonic()
    walk(Path(sys.argv[1]), Path(sys.argv[2]), os.environ)
    for another in sys.argv[3:]:
        run_tests(Path(another), Path(sys.argv[2]))
    print(f"{time.monotonic() - begun:6.1f} s  in all")
