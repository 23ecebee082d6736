"""Published advisories against the oldest dependencies that we support, and against the locks: `make audit`.

The database is the package index's. Where it cannot be reached, nothing is known, and that is said: a skip, no failure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def audit(pip_audit: str, name: str, pins: list[str]) -> bool:
    """Whether none of the pinned versions has an advisory, as far as anybody can tell from here."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        command = [pip_audit, "--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
        done = subprocess.run([*command, "--requirement", file.name], capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        found = []
    known = [one for one in found if "vulns" in one]
    faults = [(one, fault) for one in known for fault in one["vulns"]]
    for one, fault in faults:
        fixed = ", ".join(fault["fix_versions"]) or "no version"
        print(f"{name}: {one['name']} {one['version']}: {fault['id']}, fixed in {fixed}")
    if len(known) == len(pins) and not faults:
        print(f"audit of {name}: ok")
    elif len(known) < len(pins):
        unknown = f"{len(pins) - len(known)} of {len(pins)}"
        print(f"audit of {name}: skipped for {unknown}: the advisory database cannot be reached")
    return not faults


def pins_of(path: Path) -> list[str]:
    """The pinned versions in a file of requirements, without hashes and markers."""
    lines = [line.split(";")[0].split("\\")[0].strip() for line in path.read_text("utf-8").splitlines()]
    return [line for line in lines if "==" in line and line[0].isalnum()]


if __name__ == "__main__":
    results = [audit(sys.argv[1], Path(path).name, pins_of(Path(path))) for path in sys.argv[2:]]
    sys.exit(not all(results))
