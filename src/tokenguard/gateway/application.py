"""`Gateway`: an ASGI app that answers a proxy's questions with the verdicts of every other adapter.

Owns: which endpoint a request is for, who may ask, the order of what is looked at. Must not know: challenges (see
`challenge`), what makes a token good (see `validator`), any proxy.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from tokenguard._adapters.guard import POLICY_VIOLATION, Guard
from tokenguard._adapters.hints import record
from tokenguard._adapters.validators import usable
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._settings import Peers, is_field_name, strings
from tokenguard.errors import (
    ConfigurationError,
    InvalidRequestError,
    InvalidTokenError,
    Reason,
    TokenGuardError,
    UnavailableError,
)
from tokenguard.gateway.answers import FORBIDDEN, NOT_FOUND, Answer, accepted, as_it_is, text, too_many
from tokenguard.gateway.claim_fields import DEFAULT, ClaimFields, TooLargeError
from tokenguard.gateway.failures import FailureLimit, Failures
from tokenguard.gateway.metrics import Metrics
from tokenguard.gateway.paths import segments_of
from tokenguard.gateway.questions import (
    AUTH_FIELDS,
    Question,
    QuestionReader,
    is_question,
    is_refusal,
    peer_of,
    question_of,
)
from tokenguard.gateway.readiness import Readiness
from tokenguard.gateway.routes import Route, routes_of
from tokenguard.gateway.spelling import Spellings
from tokenguard.requirements import NOTHING, Requirement, all_of
from tokenguard.resource import ResourceMetadata
from tokenguard.token import AccessToken

if TYPE_CHECKING:
    from tokenguard._adapters.asgi_messages import Receive, Scope, Send
    from tokenguard.validator import TokenValidator

__all__ = ["Gateway"]

_MINUTE: Final = 60.0
_MOST_PEERS: Final = 1_024  # whose trust is remembered: proxies are few
_OF_CREDENTIALS: Final = frozenset(("authorization", "cookie", "dpop", "proxy-authorization"))
_NO_ROUTE: Final = ""  # in metrics
# Of a target in absolute form (RFC 9112 section 3.2.2).
_ORIGIN: Final = re.compile(rb"\Ahttps?://[^/]*", re.IGNORECASE)

_log = logging.getLogger("tokenguard")


class Gateway:
    """Answers the questions of nginx, Caddy, Traefik, Envoy and HAProxy: may this request pass? It proxies nothing.

    - `routes`: which requests there are, as `Route` objects or mappings of the same words
    - `trusted_proxies`: who may ask: addresses, networks, `"unix"` for peers of a unix socket
    - `claims`: the header fields that go to the API, each with the claim that it carries; `iss`, `sub`, `client_id` and
      `scope` are the token's, whatever the issuer calls them
    - `realm`, `resource_metadata`: for the challenge (RFC 9110 section 11.5, RFC 9728 section 5.1); a
      `ResourceMetadata` is served as well
    - `show_reason`: shows clients which check failed; for development
    - `client_address`: the field in which the proxies send the address of their client, exactly one; for `failures` and
      the audit (default None: not known)
    - `failures`: a `FailureLimit`, for clients that keep sending bad tokens (default None: no limit)

    Questions come to `/request/{METHOD}{target}`, `/refusal/{METHOD}{target}`, `/envoy{target}` and `/auth`. A yes is
    200 with every field of `claims`; a no is the rejection of every other adapter, whole. What matches no route is
    rejected, even with a good token. `/-/live`, `/-/ready` and `/-/metrics` answer every peer that reaches the port.

    Raises `ConfigurationError`, for a validator with `dpop` or `mtls` too: their proofs do not reach a gateway.
    """

    def __init__(
        self,
        validator: TokenValidator,
        routes: Iterable[Route | Mapping[str, Any]],
        *,
        trusted_proxies: str | Iterable[str] = ("127.0.0.1", "::1"),
        claims: Mapping[str, str] = DEFAULT,
        realm: str | None = None,
        resource_metadata: str | ResourceMetadata | None = None,
        show_reason: bool = False,
        client_address: str | None = None,
        failures: FailureLimit | None = None,
    ) -> None:
        self.validator = usable(validator)
        self._routes = routes_of(routes)
        proxies = strings("trusted_proxies", trusted_proxies, example='trusted_proxies=["10.1.0.0/16"]')
        self._trusts = lru_cache(_MOST_PEERS)(Peers("trusted_proxies", proxies).trusts)
        self.claims = ClaimFields(claims)
        if not (client_address is None or is_field_name(client_address)):
            raise ConfigurationError('client_address must be the name of one field, such as "X-Client-Address"')
        if client_address is not None and client_address.lower() in _OF_CREDENTIALS:  # the audit would show them
            raise ConfigurationError("client_address must not be a field that has credentials")
        if not (failures is None or isinstance(failures, FailureLimit)):
            raise ConfigurationError("failures must be a FailureLimit(...)")
        if failures is not None and client_address is None:
            raise ConfigurationError(
                "failures needs client_address: by the proxy's own address all clients would be one"
            )
        self._failures = None if failures is None else Failures(failures)
        self.client_address = client_address
        self.metadata_path = resource_metadata.path if isinstance(resource_metadata, ResourceMetadata) else None
        self._reader = QuestionReader(client_address)
        answers: dict[str, Any] = {
            "realm": realm,
            "resource_metadata": resource_metadata,
            "show_reason": show_reason,
        }
        self._guard = _First("gateway", self._reader, self.validator, **answers)
        self._again = _Again("gateway", self._reader, self.validator, **answers)
        if self._guard.dpop is not None or self._guard.mtls is not None:
            raise ConfigurationError(
                "a gateway cannot check bound tokens yet: give it a validator without dpop and mtls, and check bound"
                " tokens in the API"
            )
        deciding = (
            "Authorization",
            *AUTH_FIELDS,
            *self.claims.names,
            *(() if client_address is None else (client_address,)),
        )
        self._spellings = Spellings(deciding)
        self._mentioned = all_of(one.required for one in self._routes.every)
        self._metrics = Metrics(self.validator)
        self._readiness = Readiness(self.validator, self._metrics.update)
        self._log = BoundedLog()
        if self.claims.lacks_issuer and len(getattr(self.validator, "issuers", ())) > 1:
            _log.warning(
                "gateway: claims sends a subject or client without its issuer, and there are several: two of them may"
                ' give one subject to two callers; add a field for "iss"'
            )

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes, in the order given."""
        return self._routes.every

    @property
    def realm(self) -> str:
        """Of the challenge."""
        return self._guard.realm

    def stop(self) -> None:
        """A stop was asked for: `/-/ready` answers 503 from now on. May be called from a handler of signals."""
        self._readiness.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        kind = scope.get("type")
        if kind == "http":
            await _send(await self._answer(scope), scope, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":  # a question is never one
            if (await receive())["type"] == "websocket.connect":
                await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
        else:
            raise ConfigurationError("a gateway answers http, and takes part in lifespan; nothing else")

    async def _answer(self, scope: Scope) -> Answer:
        asking = Question(scope, str(scope.get("method", "")), b"", "")
        try:
            path = _own_path(scope)
            asking = asking._replace(path=path)
            if is_question(path):
                return await self._asked(asking)
            return await self._page(asking)
        except Exception as error:  # noqa: BLE001 - anything unexpected rejects
            self._metrics.count(error, _NO_ROUTE)
            return as_it_is(self._guard.note_and_reject(asking, error))

    # ---------------------------------------------------------------------------------------------------- questions

    async def _asked(self, asking: Question) -> Answer:
        scope = asking.scope
        peer = peer_of(scope)
        if not self._trusts(peer):
            text = "gateway: a question from %s, which is not in trusted_proxies, got 403"
            kind = "a peer that is not trusted"
            self._log.write(_log, logging.WARNING, text, peer or "a unix socket", kind=kind, every=_MINUTE)
            return FORBIDDEN
        is_again = is_refusal(asking.path)
        guard: Guard[Question] = self._again if is_again else self._guard
        try:
            if self._spellings.are_in(scope.get("headers") or ()):
                raise InvalidRequestError
            question = question_of(scope, asking.path)
        except TokenGuardError as error:
            guard.note(asking, None, error)
            return self._rejected(guard, asking, error, None)
        if question is None:
            return NOT_FOUND
        route = self._routes.find(question.method, segments_of(question.path))
        token: AccessToken | None = None
        if route is None or not route.public:
            try:
                token = await guard.validate_async(question, _UNLISTED if route is None else route.required)
            except TokenGuardError as error:
                return self._rejected(guard, question, error, route)
        return self._accepted(guard, question, token, route)

    def _accepted(
        self, guard: Guard[Question], question: Question, token: AccessToken | None, route: Route | None
    ) -> Answer:
        try:
            fields = self.claims.of(token)
        except TooLargeError:
            too_large = ConfigurationError("more than 4 KiB of claims")
            if guard is not self._again:
                text = "gateway: a token has more than 4 KiB in the claims of the setting claims, so a request got 500"
                self._log.write(_log, logging.WARNING, text)
                self._metrics.count(too_large, _pattern(route))
            return as_it_is(guard.reject(too_large, question))
        if guard is self._again:  # rejected before, accepted now: this answer would go to the client
            return as_it_is(guard.reject(UnavailableError(), question))
        self._metrics.count(None, _pattern(route))
        return accepted(fields)

    def _rejected(
        self, guard: Guard[Question], question: Question, error: TokenGuardError, route: Route | None
    ) -> Answer:
        """The answer to a question that ended in `error`, which is noted."""
        is_again = guard is self._again
        if not is_again:
            self._metrics.count(error, _pattern(route))
        if self._failures is not None and _is_bad_token(error):
            address = self._reader.client_address(question)
            seconds = self._failures.wait(address) if is_again else self._failures.add(address)
            if seconds:
                self._metrics.count_limited()
                return too_many(seconds)
        return as_it_is(guard.reject(error, question))

    # -------------------------------------------------------------------------------------------------------- pages

    async def _page(self, asking: Question) -> Answer:
        path = asking.path
        if path == b"/-/live":
            return text(HTTPStatus.OK, "live\n")
        if path == b"/-/ready":
            if self._readiness.is_ready():
                return text(HTTPStatus.OK, "ready\n")
            return text(HTTPStatus.SERVICE_UNAVAILABLE, "not ready\n")
        if path == b"/-/metrics":
            accept = self._reader.header(asking, "Accept") or ""
            return text(HTTPStatus.OK, *self._metrics.text(accept))
        if self._guard.metadata is not None:
            served = self._guard.metadata.answer(asking.method, self._reader.path(asking), self._mentioned, ())
            if served is not None:
                return as_it_is(served)
        return NOT_FOUND

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        try:
            while (await receive())["type"] == "lifespan.startup":
                self._readiness.open()
                await send({"type": "lifespan.startup.complete"})
        finally:
            await self._readiness.aclose()
        await send({"type": "lifespan.shutdown.complete"})


class _First(Guard[Question]):
    """Logs each missing fact by its name, however soon it follows another one."""

    __slots__ = ()

    def _hint(self, name: str, error: BaseException) -> None:
        text = str(error) if type(error) is ConfigurationError else ""
        record(self._log, name, error, text if text.startswith(AUTH_FIELDS) else "")


class _Again(Guard[Question]):
    """Answers what another question was about already: one rejection is one record."""

    __slots__ = ()

    def note(
        self,
        request: Question,
        token: AccessToken | None,
        error: BaseException | None,
        required: Requirement = NOTHING,
        *,
        name: str = "",
    ) -> None:
        """See `Guard`. What the challenge needs, and no record."""
        del request, token, name
        if error is not None:
            self.attach_scopes(error, required)


class _Unlisted(Requirement):
    """What no token meets: 403, after everything that is wrong with the token."""

    __slots__ = ()

    def unmet(self, *_: object) -> Reason:
        """See `Requirement`."""
        return Reason.SCOPE


_UNLISTED: Final = _Unlisted()


def _pattern(route: Route | None) -> str:
    return _NO_ROUTE if route is None else route.path


def _is_bad_token(error: TokenGuardError) -> bool:
    """Whether an error counts for `failures`. A token that has expired is genuine: its client needs the 401 to get
    another one. No token costs nothing, and one with too little is good."""
    if isinstance(error, InvalidTokenError):
        return error.reason is not Reason.EXPIRED
    return isinstance(error, InvalidRequestError)


def _own_path(scope: Scope) -> bytes:
    """The path of the question as it was sent, less the prefix that the app is mounted at."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raw = str(scope["path"]).encode()
    raw = _ORIGIN.sub(b"", raw.partition(b"?")[0])
    root = str(scope.get("root_path") or "").rstrip("/").encode()
    return raw[len(root) :] if root and raw.startswith(root + b"/") else raw


async def _send(answer: Answer, scope: Scope, send: Send) -> None:
    await send({"type": "http.response.start", "status": int(answer.status), "headers": list(answer.headers)})
    await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else answer.body})
