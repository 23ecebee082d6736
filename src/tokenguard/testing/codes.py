"""Authorization codes of a test issuer (RFC 6749 section 4.1.2) and their proof (RFC 7636, S256 alone).

Owns: what a code was given for, how long it is good, that it is good once. Must not know: HTTP, people, tokens' claims.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tokenguard.testing.clients import OAuthError
from tokenguard.testing.tokens import b64url

__all__ = ["CHALLENGE", "Codes", "Grant"]

CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)  # SHA-256 in base64url (RFC 7636 section 4.2)
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)  # RFC 7636 section 4.1
_LIFETIME: Final = 60  # seconds; RFC 6749 section 4.1.2 asks for ten minutes at most
_REMEMBERED: Final = 1_000  # codes: a page that asks in a loop fills no memory


@dataclass(frozen=True, slots=True, repr=False)
class Grant:
    """What a person agreed to. `target`: the API that the token is for, None for the issuer's own audience."""

    client_id: str
    redirect_uri: str
    challenge: str
    subject: str
    scope: str
    target: str | None
    signed_in_at: int


@dataclass(slots=True, repr=False)
class _Code:
    grant: Grant
    until: float
    used: bool = False
    token: str | None = None


class Codes:
    """The codes that were given out. Thread-safe."""

    def __init__(self, clock: Callable[[], float], random_bytes: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._codes: OrderedDict[str, _Code] = OrderedDict()

    def add(self, grant: Grant) -> str:
        """A new code for `grant`."""
        code = b64url(self._random_bytes(32))
        with self._lock:
            self._codes[code] = _Code(grant, self._clock() + _LIFETIME)
            if len(self._codes) > _REMEMBERED:
                self._codes.popitem(last=False)
        return code

    def redeem(
        self,
        parameters: dict[str, str],
        client_id: str,
        make: Callable[[Grant], dict[str, object]],
        revoke: Callable[[str], None],
    ) -> dict[str, object]:
        """What `make` answers for the grant of a code. Raises `OAuthError` (RFC 6749 section 5.2).

        An attempt that fails uses a code up. A second one revokes the token of the first (RFC 6749 section 4.1.2).
        """
        if not all(name in parameters for name in ("code", "redirect_uri", "code_verifier")):
            raise OAuthError("invalid_request")
        with self._lock:
            code = self._codes.get(parameters["code"])
            if code is None or code.used:
                if code is not None and code.token is not None:
                    revoke(code.token)
                raise OAuthError("invalid_grant")
            code.used = True
            grant = code.grant
            good = (
                self._clock() < code.until
                and grant.client_id == client_id
                and grant.redirect_uri == parameters["redirect_uri"]
                and _proves(parameters["code_verifier"], grant.challenge)
            )
            if not good:
                raise OAuthError("invalid_grant")
            answer = make(grant)
            code.token = str(answer["access_token"])
            return answer


def _proves(verifier: str, challenge: str) -> bool:
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    return hmac.compare_digest(b64url(hashlib.sha256(verifier.encode("ascii")).digest()), challenge)
