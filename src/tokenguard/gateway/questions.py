"""What a proxy asks: which request a question is about, at each endpoint.

Owns: the endpoints, where each has method and target; the reader for the guard. Must not know: routes, answers.

Each endpoint reads the method and the target from one place. At `/request` and `/refusal` it is our
own target, which no header field of the client can change; at `/envoy` the question is the request itself; `/auth` is
for proxies that set the two fields themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from tokenguard._adapters.asgi_scopes import AsgiReader
from tokenguard.errors import ConfigurationError

__all__ = ["AUTH_FIELDS", "Question", "QuestionReader", "is_question", "is_refusal", "peer_of", "question_of"]

_METHOD_FIELD: Final = "X-Forwarded-Method"
_TARGET_FIELD: Final = "X-Forwarded-Uri"
AUTH_FIELDS: Final = (_METHOD_FIELD, _TARGET_FIELD)

_REQUEST: Final = b"/request/"
_REFUSAL: Final = b"/refusal/"
_ENVOY: Final = b"/envoy/"
_AUTH: Final = b"/auth"
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # of a method: RFC 9110 sections 5.6.2, 9.1


class Question(NamedTuple):
    """A question: the asking request, and the method, path (as sent) and query of the one that it is about."""

    scope: Mapping[str, Any]
    method: str
    path: bytes
    query: str


def is_question(path: bytes) -> bool:
    """Whether `path` is for trusted proxies only."""
    return path == _AUTH or path.startswith((_REQUEST, _REFUSAL, _ENVOY))


def is_refusal(path: bytes) -> bool:
    """Whether the answer goes to the client as it is, and is never good."""
    return path.startswith(_REFUSAL)


def peer_of(scope: Mapping[str, Any]) -> str | None:
    """The address of the peer that asks, None for that of a unix socket."""
    return _reader.address(scope)


def question_of(scope: Mapping[str, Any], path: bytes) -> Question | None:
    """The question that a request to our own `path` (as sent, without the query) is, for which `is_question` says so;
    None where its target is no method and path.

    Raises `ConfigurationError` for a missing or repeated fact (the proxy's configuration is wrong), and where the path
    is one and the server does not give it as it was sent.
    """
    query = (scope.get("query_string") or b"").decode("latin-1")
    if path != _AUTH and scope.get("raw_path") is None:
        raise ConfigurationError(
            "the server must give raw_path, as uvicorn, hypercorn and granian do: a path that was"
            " decoded does not say what was sent"
        )
    if path.startswith((_REQUEST, _REFUSAL)):
        sent, slash, rest = path[len(_REQUEST) :].partition(b"/")
        if not slash or _TOKEN.fullmatch(sent) is None:
            return None
        return Question(scope, sent.decode(), b"/" + rest, query)
    if path.startswith(_ENVOY):
        return Question(scope, str(scope["method"]), path[len(_ENVOY) - 1 :], query)
    method, target = (_only(scope, name) for name in AUTH_FIELDS)
    if _TOKEN.fullmatch(method.encode()) is None:
        raise ConfigurationError("X-Forwarded-Method must be one method: let the proxy set it, once")
    target, _, query = target.partition("?")
    return Question(scope, method, target.encode("latin-1"), query)


def _only(scope: Mapping[str, Any], name: str) -> str:
    values = _reader.fields(scope, name)
    if len(values) == 1 and values[0]:
        return values[0]
    count = "there more than once" if len(values) > 1 else "missing"
    raise ConfigurationError(f"{name} is {count}: let the proxy set it, once, in every question to /auth")


class QuestionReader:
    """The guard's reader of questions: the credential of the asking request, about the other one."""

    __slots__ = ("_client_address",)
    takes_schemes = True

    def __init__(self, client_address: str | None = None) -> None:
        self._client_address = client_address

    def credentials(self, question: Question, /) -> tuple[Sequence[bytes], str]:
        """See `Reader`."""
        return _reader.credentials(question.scope)[0], question.query

    def route(self, _question: Question, /) -> None:
        """See `Reader`. What is public is the routes' matter."""

    def method(self, question: Question, /) -> str:
        """See `Reader`."""
        return question.method

    def path(self, question: Question, /, longest: int | None = None) -> str:
        """See `Reader`. A longer encoded text may be needed for `longest` decoded characters: twelve times at most."""
        path = question.path if longest is None else question.path[: 12 * longest]
        return unquote_to_bytes(path).decode(errors="replace")[:longest]

    def header(self, question: Question, name: str, /) -> str | None:
        """See `Reader`."""
        return _reader.header(question.scope, name)

    def headers(self, question: Question, /) -> Iterable[tuple[str, str]]:
        """See `Reader`."""
        return _reader.headers(question.scope)

    def fields(self, question: Question, name: str, /) -> list[str]:
        """See `Reader`."""
        return _reader.fields(question.scope, name)

    def address(self, question: Question, /) -> str | None:
        """See `Reader`. The client's, where a setting says which field has it, else the proxy's."""
        return self.client_address(question) or _reader.address(question.scope)

    def client_address(self, question: Question) -> str | None:
        """The value of the field that has the client's address; None where it is not there exactly once."""
        if self._client_address is None:
            return None
        values = _reader.fields(question.scope, self._client_address)
        return values[0] if len(values) == 1 else None

    def sent(self, question: Question, longest: int, /) -> str:
        """See `Reader`."""
        return _reader.sent(question.scope, longest)

    def certificate(self, _question: Question, /) -> None:
        """See `Reader`. The connection is the proxy's."""

    def kept(self, _question: Question, _key: str, /) -> None:
        """See `Reader`. Only bound tokens are kept."""

    def keep(self, _question: Question, _key: str, _value: object, /) -> None:
        """See `Reader`."""


_reader: Final = AsgiReader()
