"""A worker without HTTP: one job in each line of standard input, one outcome in each line of standard output.

Owns: the three outcomes as words. Must not know: the requests of the demonstration.
"""

from __future__ import annotations

import json
import sys

from tokenguard import RejectedError, UnavailableError
from tokenguard._demo.service import SCOPE, validator


def main() -> None:
    """Work until standard input ends."""
    print("ready", flush=True)
    with validator() as tokens:
        for line in sys.stdin:
            try:
                tokens.validate(json.loads(line)["token"], scope=SCOPE)
            except RejectedError as error:
                outcome = f"rejected: {error.reason}"
            except UnavailableError:
                outcome = "could not tell"
            else:
                outcome = "accepted"
            print(outcome, flush=True)


if __name__ == "__main__":
    main()
