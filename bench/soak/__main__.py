"""Run the soak. A wrong outcome is exit 1.

    python bench/soak [--minutes M | --requests N] [--server NAME]... [--json FILE] [--plot FILE]

A number of connections send tokens of every kind, each the next when it has its answer. Beside them runs a schedule:
the issuer fails in each of its ways, is killed, rotates its keys; Redis is killed, frozen, full; the server is stopped
for a moment; its wall clock steps. For each request it is known which statuses are right: that of the token, and 503
only while what this token needs is in trouble, or was so until a moment ago. A worker with a `TokenSource` runs along:
it always has a token.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "tests" / "support")]

from soak.report import plot, table  # noqa: E402
from soak.schedule import Plan, Soak  # noqa: E402
from soak.servers import SERVERS  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0, help="for each server, and a whole schedule at least")
    parser.add_argument("--requests", type=int, default=0, help="the same")
    parser.add_argument("--server", choices=[*SERVERS], action="append", help="which ones; all if not given")
    parser.add_argument("--json", type=Path, help="where the whole result goes")
    parser.add_argument("--plot", type=Path, help="an SVG of latency and sizes over time; needs matplotlib")
    chosen = parser.parse_args(arguments)
    results = []
    for server in chosen.server or SERVERS:
        results.append(Soak(server, Plan(chosen.requests, chosen.minutes)).run())
        print(table(results[-1]), flush=True)
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    if chosen.plot is not None:
        plot(results, chosen.plot)
    return 1 if any(one["wrong"] for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
