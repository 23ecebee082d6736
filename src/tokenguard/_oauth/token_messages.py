"""The messages of a token request (RFC 6749 sections 4.4 and 5, RFC 8693 section 2): the request, and an answer.

Owns: building the request, reading the response, what a failure concerns. Must not know: caches, clocks, how bytes
travel, when to ask again.

An answer is 200 with JSON (or no content type) and an object without `error`. The token in it is opaque: it is never
looked into.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, TypeAlias
from urllib.parse import quote_plus, unquote_plus, urlencode

from tokenguard._flow.messages import Request, Response
from tokenguard._oauth.client_auth import Credentials
from tokenguard._oauth.http_date import seconds_of
from tokenguard._oauth.oauth_messages import FORM, REGISTERED, TOKEN68, members
from tokenguard._oauth.scope import SCOPE_TOKEN

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # RFC 8693 section 2.1
CLIENT_CREDENTIALS: Final = "client_credentials"  # RFC 6749 section 4.4.2

MIN_LIFETIME: Final = 1
MAX_LIFETIME: Final = 86_400
MAX_RETRY_AFTER: Final = 3_600
MAX_TOKEN: Final = 65_536
_DESCRIPTION: Final = 200

_DIGITS: Final = re.compile(r"[0-9]{1,64}", re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
# Codes for a server's own trouble; all other codes reject the request.
_TROUBLE: Final = frozenset({"server_error", "temporarily_unavailable", "slow_down"})
_REFUSING: Final = frozenset({200, 400, 401, 403})
# What concerns the server, or this client as a whole, whatever was asked for.
_WIDE_STATUS: Final = frozenset({408, 425, 429, 502, 503, 504})
_WIDE_CODE: Final = frozenset({"temporarily_unavailable", "slow_down", "invalid_client"})
# Fields that hold no secret. Any other, a parameter of the application's too, may.
_OPEN_FIELDS: Final = frozenset(
    {
        "grant_type",
        "client_id",
        "scope",
        "resource",
        "audience",
        "client_assertion_type",
        "subject_token_type",
        "requested_token_type",
        "actor_token_type",
    }
)
OUR_FIELDS: Final = _OPEN_FIELDS - {"requested_token_type", "actor_token_type"} | {
    "client_secret",
    "client_assertion",
    "subject_token",
}
_WINDOW: Final = 16  # characters: so much of a long secret is a secret too


@dataclass(frozen=True, slots=True)
class Asked:
    """What a token is asked for. `subject_token` makes it token exchange."""

    scopes: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    subject_token: str | None = field(default=None, repr=False)
    subject_token_type: str = ""
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token_type: str = "Bearer"


Sent: TypeAlias = tuple[Asked, Credentials]
"""One request: what was asked for, and what authenticated it."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token as it was issued. `scopes` None: the answer names none, so they are as asked. `lifetime` None: the answer
    gives none that can be used. `lacks`: scopes that were asked for and not granted."""

    access_token: str = field(repr=False)
    scopes: frozenset[str] | None
    lifetime: float | None
    lacks: tuple[str, ...] = ()


class TokenAnswerError(Exception):
    """What came back is no token. `kind` is a constant word, `code` a registered OAuth error code.

    `refused`: the server rejects the request; else it gave no answer. `is_wide`: it concerns the server, or
    this client, whatever was asked for. `retry_after`: seconds that the server asks for, 0 for none.
    """

    def __init__(
        self,
        kind: str,
        *,
        code: str | None = None,
        description: str | None = None,
        refused: bool = False,
        is_wide: bool = False,
        retry_after: float = 0,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.code = code
        self.description = description
        self.refused = refused
        self.is_wide = is_wide
        self.retry_after = retry_after


def build_request(
    endpoint: str,
    asked: Asked,
    credentials: Credentials,
    proof: str | None = None,
    again: Callable[[], Request] | None = None,
) -> Request:
    """The request: a form POST, with nothing in the query."""
    fields: list[tuple[str, str]] = [
        ("grant_type", CLIENT_CREDENTIALS if asked.subject_token is None else TOKEN_EXCHANGE)
    ]
    if asked.subject_token is not None:
        fields += [("subject_token", asked.subject_token), ("subject_token_type", asked.subject_token_type)]
    if asked.scopes:
        fields.append(("scope", " ".join(asked.scopes)))
    fields += [("resource", one) for one in asked.resource]
    fields += [("audience", one) for one in asked.audience]
    fields += [*asked.parameters, *credentials.fields]
    headers = (*FORM, *credentials.headers, *(() if proof is None else (("dpop", proof),)))
    return Request("POST", endpoint, headers, urlencode(fields).encode(), again)


def read_answer(response: Response, sent: Sequence[Sent], now: float) -> Issued:
    """The token in an answer. Raises `TokenAnswerError` for anything that holds none.

    `sent`: each request of this attempt; the last one is answered. `now`: wall time, for a `Retry-After` that is a
    date.
    """
    answer, status = members(response), response.status
    if answer is None or status != 200 or "error" in answer:
        raise _failure(response, answer, sent, now)
    asked, _ = sent[-1]
    token = answer.get("access_token")
    if not isinstance(token, str) or len(token) > MAX_TOKEN or TOKEN68.fullmatch(token) is None:
        raise TokenAnswerError("unusable_access_token")
    kind = answer.get("token_type", "Bearer")
    if not isinstance(kind, str) or not kind.isascii() or kind.lower() != asked.token_type.lower():
        raise TokenAnswerError("other_token_type")
    scopes = _granted(answer.get("scope"))
    lacks = () if scopes is None else tuple(name for name in asked.scopes if name not in scopes)
    return Issued(token, scopes, lifetime(answer.get("expires_in")), lacks)


def lifetime(expires_in: object) -> float | None:
    """Seconds that a token lives (RFC 6749 section 5.1), within 1 s ... 24 h. None for a value that says nothing:
    absent, `null`, a boolean, 0, negative, other text."""
    seconds: Any = expires_in
    if isinstance(seconds, str):
        seconds = int(seconds) if _SECONDS.fullmatch(seconds) is not None else None
    if type(seconds) not in (int, float) or not 0 < seconds < inf:
        return None
    return float(min(max(seconds, MIN_LIFETIME), MAX_LIFETIME))


def retry_after(value: str | None, now: float) -> float:
    """Seconds from a `Retry-After` field (RFC 9110 section 10.2.3), a number or a date, at most an hour. 0 for none."""
    if value is None:
        return 0.0
    text = value.strip()
    if _DIGITS.fullmatch(text) is not None:
        return float(min(int(text), MAX_RETRY_AFTER))
    date = seconds_of(text)
    return 0.0 if date is None else min(max(date - now, 0.0), float(MAX_RETRY_AFTER))


def _granted(scope: object) -> frozenset[str] | None:
    if not isinstance(scope, str):
        return None
    return frozenset(name for name in scope.split(" ") if SCOPE_TOKEN.fullmatch(name) is not None) or None


def _failure(
    response: Response, answer: Mapping[str, Any] | None, sent: Sequence[Sent], now: float
) -> TokenAnswerError:
    status, error = response.status, None if answer is None else answer.get("error")
    code = error if isinstance(error, str) and error in REGISTERED else None
    is_refusal = isinstance(error, str) and status in _REFUSING and code not in _TROUBLE
    if status == 401 and not isinstance(error, str):
        is_refusal, code = True, "invalid_client"
    if is_refusal:
        description = None if answer is None else _description(answer.get("error_description"), sent)
        return TokenAnswerError(
            code or "unregistered_error",
            code=code,
            description=description,
            refused=True,
            is_wide=code in _WIDE_CODE,
            retry_after=retry_after(response.headers.get("retry-after"), now),
        )
    if code is not None and code in _TROUBLE:
        kind = code
    elif status != 200:
        kind = f"status_{status}"
    else:
        kind = "not_json" if answer is None else "error_member"
    return TokenAnswerError(
        kind,
        code=code,
        is_wide=status in _WIDE_STATUS or code in ("temporarily_unavailable", "slow_down"),
        retry_after=retry_after(response.headers.get("retry-after"), now),
    )


def _description(text: object, sent: Iterable[Sent]) -> str | None:
    """What the server said of its rejection, unless it sends back anything secret that it was sent."""
    if not isinstance(text, str):
        return None
    said = text[: 2 * _DESCRIPTION]
    shown = "".join(one for one in said if " " <= one <= "~")[:_DESCRIPTION]
    variants = {said, shown, unquote_plus(said), unquote_plus(shown)}
    if any(_hold_any(variants, _secrets(asked, credentials)) for asked, credentials in sent):
        return None
    return shown or None


def _secrets(asked: Asked, credentials: Credentials) -> Iterable[str]:
    fields = [*asked.parameters, *credentials.fields]
    found = [value for name, value in fields if name not in _OPEN_FIELDS]
    found += [value.rpartition(" ")[2] for _, value in credentials.headers]
    found += [*credentials.secrets]
    if asked.subject_token is not None:
        found.append(asked.subject_token)
    return dict.fromkeys([*found, *map(quote_plus, found)])  # most are spelled alike both ways


def _hold_any(texts: set[str], secrets: Iterable[str]) -> bool:
    """Whether a text holds a secret, or a part of a long one. Linear in the secrets, whatever is in them: a subject
    token may have many thousand characters."""
    parts = {text[start : start + _WINDOW] for text in texts for start in range(len(text) - _WINDOW + 1)}
    for secret in filter(None, secrets):
        if len(secret) <= _WINDOW:
            if any(secret in text for text in texts):
                return True
        elif any(secret[start : start + _WINDOW] in parts for start in range(len(secret) - _WINDOW + 1)):
            return True
    return False
