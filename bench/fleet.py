"""Token requests that a fleet of processes makes at one authorization server, with and without jitter.

    python bench/fleet.py [PROCESSES]

A simulation of the real arithmetic (tokenguard._issuer.token_times): every process starts within the same second, is
asked for a token all the time, and renews it as a TokenSource does. In the second case the server is away for ten
minutes from the moment of the first renewals on.
"""

import heapq
import random
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from tokenguard._issuer.token_times import due_after, pause, usable_for

LIFETIME = 3_600.0
HORIZON = 3 * LIFETIME
OUTAGE = (due_after(LIFETIME, 1.0), due_after(LIFETIME, 1.0) + 600)


def simulate(
    processes: int, jitter: Callable[[], float], outage: tuple[float, float] | None
) -> tuple[Counter[int], int]:
    """Requests by second, and how many processes were without a token at any time after their start."""
    starts = random.Random(1)
    events = [(starts.random(), number, 0, 0.0) for number in range(processes)]  # when, who, failures, usable until
    heapq.heapify(events)
    requests: Counter[int] = Counter()
    without: set[int] = set()
    while events:
        now, number, failures, usable = heapq.heappop(events)
        if now >= HORIZON:
            continue
        requests[int(now)] += 1
        if now > 1 and now >= usable:
            without.add(number)
        if outage is not None and outage[0] <= now < outage[1]:
            failures += 1
            heapq.heappush(events, (now + pause(failures, jitter()), number, failures, usable))
        else:
            heapq.heappush(events, (now + due_after(LIFETIME, jitter()), number, 0, now + usable_for(LIFETIME)))
    return requests, len(without)


def peak(requests: Counter[int], begin: float, end: float) -> int:
    """The highest number of requests in one second."""
    return max((count for second, count in requests.items() if begin <= second < end), default=0)


_BIN = 10  # seconds that one point of the plot stands for


def measure(processes: int) -> dict[str, Any]:
    """With jitter and without: the peaks, and the most requests in any second of each ten, for the plot."""
    found: dict[str, Any] = {"processes": processes, "outage": OUTAGE, "bin": _BIN}
    for name, jitter in (("with jitter", random.Random(2).random), ("without", lambda: 0.5)):
        calm, _ = simulate(processes, jitter, None)
        away, without = simulate(processes, jitter, OUTAGE)
        after = OUTAGE[1]
        found[name] = {
            "peaks": {
                "first renewals: most requests in a second": peak(calm, 2, 5_000),
                "server unreachable for 10 min: most requests in a second": peak(away, *OUTAGE),
                "server back: most requests in a second of the first minutes": peak(away, after, after + 300),
                "processes without a token meanwhile": without,
            },
            "calm": _binned(calm),
            "outage": _binned(away),
        }
    return found


def _binned(requests: Counter[int]) -> list[int]:
    return [peak(requests, begin, begin + _BIN) for begin in range(0, int(HORIZON), _BIN)]


def main(processes: int) -> None:
    found = measure(processes)
    print(f"| {processes:,} processes, tokens of an hour | with jitter | without |")
    print("|---|---|---|")
    for name, value in found["with jitter"]["peaks"].items():
        print(f"| {name} | {value:,} | {found['without']['peaks'][name]:,} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
