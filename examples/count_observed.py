"""Count what observing middleware would have rejected, by reason, client and path.

    python examples/count_observed.py audit.log [more.log ...]        # or: ... < audit.log

Reads lines of JSON as `audit.JsonFormatter` writes them; the number of other lines goes to standard error. A client is
known where the token's signature held; else it is shown as `-`, and the first digits of the credential's SHA-256
distinguish senders.
"""

import fileinput
import json
import sys
from collections import Counter


def main() -> None:
    counted: Counter[tuple[str, str, str]] = Counter()
    left_out = others = 0
    with fileinput.input(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
                if record["outcome"] != "accepted" and record.get("door") == "observe":
                    counted[record["reason"], record["client_id"] or "-", record["path"] or "-"] += 1
                left_out += sum((record.get("left_out") or {}).values())
            except (ValueError, AttributeError, KeyError, TypeError):
                others += 1
    for (reason, client, path), count in counted.most_common():
        print(f"{count:8} {reason:20} {client:30} {path}")
    if left_out:
        print(f"{left_out:8} more were left out of the log: audit.enable(validator, per_second=None) leaves out none")
    if others:
        print(f"{others} lines are no audit records: has the handler audit.JsonFormatter?", file=sys.stderr)


if __name__ == "__main__":
    main()
