"""Writes docs/threats.md from tools/threats.toml: python tools/threats.py [--check]

Fails where a threat has neither a test nor a vector, where a test that it names is gone, and, with `--check`, where the
page is not what would be written.
"""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "threats.md"
HEAD = """# Threats

What attackers and broken servers do, what tokenguard does about it, and the tests of that. `make threats` writes
this page from `tools/threats.toml`; a test fails if a threat has none. What is promised: [Security](../SECURITY.md).

A test is named by its file below `tests/` and its function. Vectors are cases in `tests/vectors`; one test drives each
of them through `validate`, `validate_async` and the adapters.
"""


@cache
def functions(file: str) -> frozenset[str]:
    """The names of the tests in a file below tests/."""
    path = ROOT / "tests" / f"{file}.py"
    if not path.exists():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def vectors() -> Counter[str]:
    """How many vectors each threat has."""
    found: Counter[str] = Counter()
    for path in sorted((ROOT / "tests" / "vectors").glob("*.json")):
        found.update(str(vector["threat"]) for vector in json.loads(path.read_text())["vectors"])
    return found


def faults(parts: list[dict], counted: Counter[str]) -> list[str]:
    """What is wrong with the table."""
    threats = [threat for part in parts for threat in part["threats"]]
    numbers = [threat["number"] for threat in threats]
    found = [] if numbers == list(range(1, len(numbers) + 1)) else ["the numbers are not 1, 2, 3, ..."]
    for threat in threats:
        if not threat["tests"] and not counted[str(threat["number"])]:
            found.append(f"{threat['number']}: no test and no vector")
        for test in threat["tests"]:
            file, _, name = test.partition("::")
            if f"test_{name}" not in functions(file):
                found.append(f"{threat['number']}: {test} is not there")
    return found


def page(parts: list[dict], counted: Counter[str]) -> str:
    """The text of the page."""
    lines = [HEAD]
    for part in parts:
        lines += [f"## {part['title']}", "", "| # | attack or fault | rule | tests |", "|---|---|---|---|"]
        for threat in part["threats"]:
            held = [f"`{test.replace('::', ': ')}`" for test in threat["tests"]]
            if number := counted[str(threat["number"])]:
                held.append(f"{number} {'vector' if number == 1 else 'vectors'}")
            lines.append(f"| {threat['number']} | {threat['attack']} | {threat['rule']} | {'<br>'.join(held)} |")
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; 1 where something is wrong."""
    parts = tomllib.loads((ROOT / "tools" / "threats.toml").read_text())["part"]
    counted = vectors()
    found = faults(parts, counted)
    text = page(parts, counted)
    if "--check" not in arguments:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        found.append("docs/threats.md is not what tools/threats.toml says: make threats")
    for fault in found:
        print(f"threats: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
