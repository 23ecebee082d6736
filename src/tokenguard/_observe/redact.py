"""What must not get into records: texts of others' exceptions, and credentials within other texts of a request.

Owns: `origin_of`: class, file and line instead of an exception's text, which may quote tokens, keys and URLs;
`Redaction`, whose cost does not grow with the size of a request. Must not know: what writes the records.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import Final

from tokenguard.errors import ConfigurationError

_REDACTED: Final = "[token]"
_HEAD: Final = 16  # characters by which a credential, or a part of it, is found in other texts
_SHORTEST: Final = 8  # a credential with fewer characters is not searched for: it may be an ordinary word
_MOST_PARTS: Final = 5  # of a JWE (RFC 7516 section 7.1); a JWT has three
# A text that begins like the base64url of a JSON object: a JWT in a path or a request id. RFC 7515 section 7.1:
# BASE64URL(header) || "." || BASE64URL(payload) || "." || BASE64URL(signature)
_JWT: Final = re.compile(r"(?:eyJ|eyA|ewo|ew0|ewk)[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*", re.ASCII)
_RUN: Final = re.compile(r"[A-Za-z0-9_-]{16,}", re.ASCII)


class Redaction:
    """Removes the credential `sent`, whole or a part of it between dots, and any text like a JWT, from texts.

    A part is found by its first characters and ends where text and credential differ. So a text is read only as far as
    it is shown. If the credential has more parts than a token, every long run of letters and digits is removed instead.
    """

    __slots__ = ("_heads", "_sent")

    def __init__(self, sent: str) -> None:
        self._sent = sent
        self._heads: list[tuple[str, int]] | None = None
        parts = sent.replace(",", ".").replace(" ", ".").split(".", _MOST_PARTS)
        if len(parts) <= _MOST_PARTS:
            self._heads = []
            start = 0
            for part in parts:
                if len(part) >= _HEAD:
                    self._heads.append((part[:_HEAD], start))
                start += len(part) + 1
            if len(sent) >= _SHORTEST:
                self._heads.append((sent[:_HEAD], 0))

    def shown(self, text: str | None, longest: int) -> str | None:
        """At most `longest` characters of `text`, and `...` where there are more."""
        if text is None:
            return None
        seen = text[: longest + _HEAD]  # a part that begins before the cut is still found
        is_cut = len(text) > len(seen)
        seen = _JWT.sub(_REDACTED, seen)
        if self._heads is None:
            seen = _RUN.sub(_REDACTED, seen)
        else:
            for head, start in self._heads:
                at = seen.find(head)
                while at >= 0:
                    seen = f"{seen[:at]}{_REDACTED}{seen[at + self._agreeing(seen, at, start) :]}"
                    at = seen.find(head, at + len(_REDACTED))
        return f"{seen[:longest]}..." if is_cut or len(seen) > longest else seen

    def _agreeing(self, text: str, at: int, start: int) -> int:
        """How many characters of `text` from `at` equal those of the credential from `start`, by bisection."""
        low, high = 1, min(len(text) - at, len(self._sent) - start)
        while low < high:
            middle = (low + high + 1) // 2
            if text.startswith(self._sent[start : start + middle], at):
                low = middle
            else:
                high = middle - 1
        return low


def origin_of(error: BaseException) -> str:
    """Where an exception came from, and its causes: class, file and line."""
    places: list[str] = []
    current: BaseException | None = error
    while current is not None and len(places) < 4:
        trace = current.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        # Our own texts are constants with the next step.
        ours = type(current) is ConfigurationError and trace is not None and _is_ours(trace)
        places.append(f"{type(current).__name__}{place}{f' ({current})' if ours else ''}")
        current = current.__cause__
    return ", from ".join(places)


def _is_ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__")).startswith("tokenguard.")
