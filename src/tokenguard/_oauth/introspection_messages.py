"""The messages of token introspection (RFC 7662): the question, and what counts as an answer.

Owns: building the request, reading the response, `active` and `token_type`. Must not know: caches, time, how bytes
travel.

Only 200 with JSON (or no content type) and an object without `error`, whose `active` is a boolean, is an answer. An
answer says whether a token is active; everything else is a failure to answer and says nothing about the token. The
other claims of an active answer are for `claims` to check, the same functions as for a JWT, each time that the answer
is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final
from urllib.parse import urlencode

from tokenguard._flow.messages import Request, Response
from tokenguard._oauth.claims import is_numeric_date
from tokenguard._oauth.client_auth import Credentials
from tokenguard._oauth.confirmation import KEY
from tokenguard._oauth.oauth_messages import FORM, REGISTERED
from tokenguard._oauth.oauth_messages import members as members_of
from tokenguard.errors import InvalidTokenError, Reason

_TOKEN_TYPES: Final = frozenset({"bearer", "access_token"})
# RFC 6749 appendix A.7:  error = 1*NQSCHAR     NQSCHAR = %x20-21 / %x23-5B / %x5D-7E; bounded here
_CODE: Final = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]{1,64}", re.ASCII)
_OURS: Final = frozenset(
    {"invalid_client", "unauthorized_client", "access_denied", "insufficient_scope", "invalid_token"}
)
_ILL: Final = frozenset({"server_error", "temporarily_unavailable"})  # RFC 6749 section 4.1.2.1
_AWAY: Final = frozenset({408, 429})
_ABOUT_THE_TOKEN: Final = frozenset({400, 413, 414, 422, 431})


class Fault(Enum):
    """Whose a missing answer is."""

    OUT_OF_REACH = "out_of_reach"  # no server, a broken one, or one that is too busy
    CREDENTIALS = "credentials"  # the server rejects ours
    REQUEST = "request"  # the request about this token is rejected; the server itself may be well
    ANSWER = "answer"  # something else in place of an answer: a redirect, HTML, broken JSON, no `active`

    @property
    def is_silence(self) -> bool:
        """Whether nothing was learned of the token or of us: a remembered answer may be used instead (`stale_ttl`)."""
        return self in (Fault.OUT_OF_REACH, Fault.ANSWER)


class AnswerError(Exception):
    """What came back is no answer. `kind` is a constant word, `code` a registered OAuth error code."""

    def __init__(self, kind: str, fault: Fault, *, code: str | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.fault = fault
        self.code = code if code in REGISTERED else None


def build_request(
    endpoint: str, token: str | bytes, credentials: Credentials, again: Callable[[], Request] | None = None
) -> Request:
    """The question (RFC 7662 section 2.1): a form POST, so that the token is in no URL and no access log."""
    fields = (("token", token), ("token_type_hint", "access_token"), *credentials.fields)
    return Request("POST", endpoint, (*FORM, *credentials.headers), urlencode(fields).encode(), again)


def read_answer(response: Response) -> dict[str, Any]:
    """The answer, active or not (RFC 7662 section 2.2). Raises `AnswerError` for anything that is none."""
    members = members_of(response)
    code = None if members is None else _code(members)
    status = response.status
    if status != 200:
        raise AnswerError(f"status_{status}", _fault(status, code), code=code)
    if members is None:
        raise AnswerError("not_json", Fault.ANSWER)
    if "error" in members:
        raise AnswerError("error_member", _fault(status, code), code=code)
    if not isinstance(members.get("active"), bool):  # REQUIRED, RFC 7662 section 2.2
        raise AnswerError("no_active_member", Fault.ANSWER)
    return members


def check_active(answer: Mapping[str, Any], enforced: frozenset[str] = frozenset()) -> None:
    """`active` is the JSON value true and nothing like it, else `revoked`; `token_type` is absent, `Bearer` or
    `access_token` in any case, or `DPoP` where `jkt` is `enforced`, else `type`: a refresh token is active too."""
    if answer.get("active") is not True:
        raise InvalidTokenError(reason=Reason.REVOKED)
    if "token_type" in answer:
        kind = answer["token_type"]
        usual = isinstance(kind, str) and kind.isascii() and kind.lower() in _TOKEN_TYPES
        if not usual and not (KEY in enforced and is_dpop(answer)):
            raise InvalidTokenError(reason=Reason.TYPE)


def is_dpop(answer: Mapping[str, Any]) -> bool:
    """Whether an answer says that its token is bound to a key (RFC 9449 section 6.2)."""
    kind = answer.get("token_type")
    return isinstance(kind, str) and kind.isascii() and kind.lower() == "dpop"


def time_to_expiry(answer: Mapping[str, Any], now: float, bound: float) -> float:
    """Seconds until the answer's `exp`, at most `bound`, at least 0. Without `exp`, or with one that is no NumericDate
    (then the claim checks reject it every time), `bound`. Compares before it subtracts: `exp` may have 400 digits."""
    expires_at: Any = answer.get("exp")
    if not is_numeric_date(expires_at) or expires_at >= now + bound:
        return bound
    return float(expires_at - now) if expires_at > now else 0.0


def _code(members: Mapping[str, Any]) -> str | None:
    code = members.get("error")
    return code if isinstance(code, str) and _CODE.fullmatch(code) is not None else None


def _fault(status: int, code: str | None) -> Fault:
    if status in (401, 403) or code in _OURS:
        return Fault.CREDENTIALS
    if status >= 500 or status in _AWAY or (status == 200 and code in _ILL):
        return Fault.OUT_OF_REACH
    return Fault.REQUEST if status in _ABOUT_THE_TOKEN or code is not None else Fault.ANSWER
