"""When a token is renewed, until when it is used, and for how long nothing is sent to a server. Arithmetic alone.

Owns: these numbers. Must not know: clocks, tokens, callers.

`jitter` is a share, 0 to 1, drawn again for each use: processes that started together do not ask together.
"""

from __future__ import annotations

from typing import Final

RENEW_AHEAD: Final = 300.0  # seconds before the end of a long-lived token
STOP_AHEAD: Final = 10.0  # seconds: the API's clock, and the way there
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
SHORTEST_PAUSE: Final = 0.1
DISCARD_COOLDOWN: Final = 30.0  # seconds between two fetches for tokens that an API rejected


def due_after(lifetime: float, jitter: float) -> float:
    """Seconds after which a token of `lifetime` is renewed: 300 s or a fifth before its end, up to a tenth earlier."""
    return lifetime - min(RENEW_AHEAD, lifetime / 5) - jitter * lifetime / 10


def usable_for(lifetime: float) -> float:
    """Seconds for which a token of `lifetime` is used, whatever renewing it says."""
    return lifetime - min(STOP_AHEAD, lifetime / 10)


def pause(failures: int, jitter: float) -> float:
    """Seconds without a request after the `failures`-th failure in a row: full jitter over 1 s, doubling up to 60."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
    return max(SHORTEST_PAUSE, jitter * longest)
