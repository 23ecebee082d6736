"""`tokenguard doctor --through`: does a deployed proxy let a request in that it must reject?

Owns: sending the questions as they are, the verdict, the report. Must not know: the tricks (see `attacks`).
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import SplitResult, urlsplit

import typer

from tokenguard.cli import output
from tokenguard.cli.attacks import GUESSES, Question, about_tokens, without_token
from tokenguard.errors import ConfigurationError

__all__ = ["examine"]

_SWITCHING: Final = 101  # a websocket was opened (RFC 9110 section 15.2.2)
_NEXT_STEP: Final = (
    "compare the proxy's configuration with the one that `tokenguard gateway config` prints, and with docs/gateway.md"
)
_IS_IT_GUARDED: Final = "if this route is public, name one that needs a token; else the proxy does not ask"


class Answer(NamedTuple):
    """What came: a status, or None and a constant word."""

    question: Question
    status: int | None
    error: str = ""

    @property
    def lets_in(self) -> bool:
        """Whether this is an answer to a good token."""
        if self.status is None or self.status == _SWITCHING:
            return self.status is not None
        return 200 <= self.status < 300 and not self.question.is_served

    @property
    def outcome(self) -> str:
        """The status in words that are right beside "none was let in"."""
        if self.question.is_served and self.status is not None and 200 <= self.status < 300:
            return f"{self.status} at a public path"
        return self.error or str(self.status)


class Finding(NamedTuple):
    """`status` is one of those of `output.table`."""

    status: str
    area: str
    text: str
    next_step: str = ""


def examine(
    url: str, route: str, *, public: Iterable[str], token: str | None, timeout: float, as_json: bool
) -> NoReturn:
    """Ask the proxy at `url` about the guarded path `route`, print what was found, and exit.

    Raises `ConfigurationError` for a bad URL or path.
    """
    parts = _checked_url(url)
    paths = tuple(dict.fromkeys(_checked_path("--public", one) for one in public)) or GUESSES
    route = _checked_path("--route", route)
    if token is not None and (not token.isascii() or not token.isprintable() or " " in token or not token):
        raise ConfigurationError("the good token must be one token: printable ASCII without blanks")
    proxy = _Proxy(parts, timeout)
    first, *others = without_token(route, paths)
    findings: list[Finding] = []
    answers = [proxy.ask(first)]
    if answers[0].status is None:
        findings.append(Finding("unknown", first.area, f"the proxy does not answer: {answers[0].error}"))
    else:
        answers.extend(map(proxy.ask, others))
        if token is not None:
            findings.append(_about_good(proxy.ask(Question("good token", "a good token", route, _bearer(token)))))
            answers.extend(map(proxy.ask, about_tokens(route, token)))
        findings.extend(_about(answers))
    _report(url, route, findings, len(answers), as_json=as_json)


class _Proxy:
    """Sends one question on a connection of its own, exactly as it is written."""

    def __init__(self, parts: SplitResult, timeout: float) -> None:
        self._parts = parts
        self._timeout = timeout

    def ask(self, question: Question) -> Answer:
        """The status that came. The body is not read."""
        try:
            with closing(self._connection()) as connection:
                connection.putrequest(question.method, question.target, skip_accept_encoding=True)
                for name, value in question.fields:
                    connection.putheader(name, value)
                if not any(name == "Connection" for name, _ in question.fields):
                    connection.putheader("Connection", "close")
                connection.putheader("User-Agent", "tokenguard-doctor")
                connection.endheaders()
                with closing(connection.getresponse()) as response:
                    return Answer(question, response.status)
        except ssl.SSLError:
            return Answer(question, None, "TLS handshake failed")
        except TimeoutError:
            return Answer(question, None, "timeout")
        except (OSError, HTTPException):
            return Answer(question, None, "no HTTP answer")

    def _connection(self) -> HTTPConnection:
        host, port = str(self._parts.hostname), self._parts.port
        if self._parts.scheme == "https":
            return HTTPSConnection(host, port, timeout=self._timeout)
        return HTTPConnection(host, port, timeout=self._timeout)


def _about(answers: list[Answer]) -> list[Finding]:
    """One finding for each question that was let in, and one for each area where none was."""
    found: list[Finding] = []
    areas = dict.fromkeys(answer.question.area for answer in answers)
    for area in areas:
        own = [answer for answer in answers if answer.question.area == area]
        let_in = [answer for answer in own if answer.lets_in]
        for answer in let_in:
            step = _IS_IT_GUARDED if answer is answers[0] else _NEXT_STEP
            found.append(Finding("fault", area, f"{answer.question.text}: {answer.status}, like a good token", step))
        if not let_in:
            counts = Counter(answer.outcome for answer in own)
            text = ", ".join(f"{outcome} ({count})" for outcome, count in sorted(counts.items()))
            found.append(Finding("ok", area, f"none was let in: {text}"))
    status = answers[0].status
    if status is not None and status >= 500:
        step = "the gateway or the API is down: ask again"
        found.append(Finding("unknown", "no token", f"a request without a token gets {status}", step))
    elif status != 401 and not answers[0].lets_in:
        step = "is this a guarded route, and is the proxy one that asks tokenguard?"
        found.append(Finding("warning", "no token", f"a request without a token gets {status}, not 401", step))
    return found


def _about_good(answer: Answer) -> Finding:
    if answer.lets_in:
        return Finding("ok", "good token", f"it is let in: {answer.status}")
    step = "is the token good for this route? `tokenguard check` shows why not"
    return Finding("warning", "good token", f"it is not let in: {answer.error or answer.status}", step)


def _report(url: str, route: str, findings: list[Finding], asked: int, *, as_json: bool) -> NoReturn:
    faults = sum(finding.status == "fault" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    unknown = any(finding.status == "unknown" for finding in findings)
    verdict = "faults" if faults else "could not tell" if unknown else "warnings" if warnings else "well"
    if as_json:
        document: dict[str, Any] = {
            "verdict": verdict,
            "through": url,
            "route": route,
            "questions": asked,
            "faults": faults,
            "warnings": warnings,
            "findings": [
                {"area": one.area, "status": one.status, "finding": one.text, "next_step": one.next_step or None}
                for one in findings
            ],
        }
        output.as_json(document)
    else:
        output.line(f"{route} through {url}", "bold")
        output.table(("area", "finding", "next step"), findings)
        output.line()
        style = "bold red" if faults else "bold green" if verdict == "well" else "bold yellow"
        output.line(f"{verdict}: {asked} questions, {faults} let in, {warnings} warnings", style)
    raise typer.Exit(output.REJECTED if faults else output.COULD_NOT_TELL if unknown else output.ACCEPTED)


def _checked_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or port == 0:
        raise ConfigurationError(
            "--through must be a URL without a path: https://api.example.com or http://127.0.0.1:8080"
        )
    if parts.query or parts.fragment or parts.username is not None or not url.isascii() or not url.isprintable():
        raise ConfigurationError("--through must be scheme, host and port only, in ASCII")
    return parts


def _checked_path(option: str, path: str) -> str:
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise ConfigurationError(f"{option} must be a path as it is sent, such as /orders/1: ASCII, without blanks")
    return path


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {token}"),)
