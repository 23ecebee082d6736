"""What the exchanges show about the connection to a server: clocks and certificates.

Owns: when an offset or an expiry is reported. Must not know: what was asked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from tokenguard._settings import is_https
from tokenguard.cli.findings import Findings
from tokenguard.cli.output import duration
from tokenguard.cli.probe import Exchange

_SOON: Final = 14 * 86_400
_AT_ONCE: Final = 3 * 86_400
_NOTICEABLE: Final = 5  # seconds; Date is good to one


def clocks(found: Findings, exchanges: Sequence[Exchange], leeway: float) -> None:
    """The difference between this host's clock and the issuer's, by `Date` (RFC 9110 section 6.6.1)."""
    offsets = [exchange.offset for exchange in exchanges if exchange.offset is not None]
    if not offsets:
        if exchanges:
            found.add("clock", "note", "no answer with a Date, so clocks cannot be compared")
        return
    offset = min(offsets, key=abs)
    words = f"the issuer's clock is {duration(offset)} {'ahead' if offset > 0 else 'behind'}"
    step = "let both hosts follow NTP; a larger leeway accepts tokens longer than the issuer meant"
    if abs(offset) > leeway:
        found.add("clock", "fault", f"{words}, more than the leeway of {duration(leeway)}", step)
    elif abs(offset) > _NOTICEABLE:
        found.add("clock", "warning", f"{words}, within the leeway of {duration(leeway)}", step)
    else:
        found.add("clock", "ok", f"within {_NOTICEABLE} s of the issuer's")


def certificates(found: Findings, exchanges: Sequence[Exchange]) -> None:
    """Whether documents are fetched over TLS, and how long each host's certificate is valid."""
    plain = sorted({_host(exchange) for exchange in exchanges if not is_https(exchange.url)})
    if plain:
        step = "use https outside of development: anyone on the way can replace the keys"
        found.add("tls", "warning", f"plain http: {', '.join(plain)}", step)
    ends = {_host(exchange): exchange.certificate_ends for exchange in exchanges if exchange.certificate_ends}
    for host, end in ends.items():
        left = end - time.time()
        text = f"{host}: the certificate is good for {duration(left)}"
        if left < _SOON:
            gravity = "fault" if left < _AT_ONCE else "warning"
            step = "let the issuer's operator renew it; once it has ended, no key can be fetched"
            found.add("tls", gravity, text, step)  # type: ignore[arg-type]
        else:
            found.add("tls", "ok", text)


def _host(exchange: Exchange) -> str:
    return urlsplit(exchange.url).netloc
