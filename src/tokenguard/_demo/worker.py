"""A worker: one job a line on standard input, one outcome a line on standard output. No HTTP server in sight.

Owns: the three outcomes as words. Must not know: the demonstration's story.
"""

from __future__ import annotations

import json
import sys

from tokenguard import RejectedError, UnavailableError
from tokenguard._demo.service import SCOPE, validator


def main() -> None:
    """Work until standard input ends."""
    print("ready", flush=True)
    with validator() as judge:
        for line in sys.stdin:
            try:
                judge.validate(json.loads(line)["token"], scope=SCOPE)
            except RejectedError as error:
                outcome = f"rejected: {error.reason}"
            except UnavailableError:
                outcome = "could not tell"
            else:
                outcome = "accepted"
            print(outcome, flush=True)


if __name__ == "__main__":
    main()
