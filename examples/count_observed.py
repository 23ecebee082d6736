"""Count what observing middleware would have rejected, by reason, client and path.

    python examples/count_observed.py audit.log [more.log ...]        # or: ... < audit.log

Reads lines of JSON as `audit.JsonFormatter` writes them; other lines are left out. A client is known where the token's
signature held; else it is shown as `-`, and the first digits of the credential's SHA-256 distinguish senders.
"""

import fileinput
import json
from collections import Counter


def main() -> None:
    counted: Counter[tuple[str, str, str]] = Counter()
    left_out = 0
    with fileinput.input(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
                if record.get("door") == "observe" and record["outcome"] != "accepted":
                    counted[record["reason"], record["client_id"] or "-", record["path"] or "-"] += 1
                left_out += sum((record.get("left_out") or {}).values())
            except (ValueError, AttributeError, KeyError, TypeError):
                continue
    for (reason, client, path), count in counted.most_common():
        print(f"{count:8} {reason:20} {client:30} {path}")
    if left_out:
        print(f"{left_out:8} more were left out of the log: audit.enable(validator, per_second=None) leaves out none")


if __name__ == "__main__":
    main()
