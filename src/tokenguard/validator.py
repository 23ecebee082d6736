"""`TokenValidator`: settings in, verdicts out; the one entrance for every adapter, worker and task.

Owns: the settings of a validator, the path of a token seen before. Must not know: HTTP frameworks, the order of the
checks (`_validation.steps`), what carries a flow out (`_io.runtime`).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tokenguard._flow.effects import Flow
from tokenguard._flow.wall_time import wall_time
from tokenguard._io.runtime import Runtime
from tokenguard._issuer.keys import KeyState
from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._issuer.warm_up import warm_up
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._observe.run import DirectRun, Run
from tokenguard._settings import number, strings, switch, whole
from tokenguard._setup import environment
from tokenguard._setup.assembly import Assembly, asked, check_outbound, checks_of, issuers_of
from tokenguard._setup.prewarm import prewarm
from tokenguard._setup.variables import in_variables
from tokenguard._validation.begin import NO_STACK, Start, unexpected
from tokenguard._validation.binding import Binding
from tokenguard._validation.memory import Memory
from tokenguard._validation.steps import Check, Validation
from tokenguard._validation.verdict import Verdict
from tokenguard.errors import (
    ConfigurationError,
    InvalidTokenError,
    MissingTokenError,
    Reason,
    TokenGuardError,
)
from tokenguard.issuer import Issuer
from tokenguard.issuers import Issuers
from tokenguard.request import ResourceRequest
from tokenguard.requirements import NOTHING, Required, Requirement, both, required
from tokenguard.resource import DPoP, MutualTLS
from tokenguard.revocations import RevocationList
from tokenguard.token import AccessToken, frozen

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["IssuerState", "KeyState", "TokenValidator"]

T = TypeVar("T")

_SHOWN = 8  # issuers in a `repr`
_NO_SCOPE: tuple[str, ...] = ()
_AUDIENCE_EXAMPLE = 'audience="https://api.example.com"'


@frozen
@dataclass(frozen=True, slots=True)
class IssuerState:
    """One issuer as the validator sees it now.

    - `issuer`: its URL
    - `keys`: the state of its keys
    - `tenant`: of its settings
    - `is_listed`: whether it is in the validator's settings; otherwise `Issuers` looked it up
    - `is_proven`: whether it is listed, or a key of it has verified a token: a forged token may name one that is not
    """

    issuer: str
    keys: KeyState
    tenant: str | None = None
    is_listed: bool = True
    is_proven: bool = True


class TokenValidator(Runtime):
    """Validates access tokens. One validator serves any number of threads and event loops at once, and survives a fork.

    Whom to trust, and for what:

    - `issuer`: who may issue tokens; the `iss` of a token selects one by exact match. `Issuers`
      among them looks up those that are not listed
    - `audience`: names of this API; one of them must be in the `aud` of a token
    - `clients`: an allow-list of client ids; `Issuer.clients` replaces it for that issuer. None: any client
    - `checks`: further callables `(claims, now) -> None` that raise `InvalidTokenError` to reject; they cannot replace
      a built-in check
    - `dpop`, `mtls`: accept tokens that are bound to a key or a certificate of the client, once the request proves it.
      None: such tokens are rejected
    - `revocations`: a list of tokens to reject before they expire
    - `leeway`: seconds by which clocks may differ

    Requests to issuers:

    - `http_timeout`: seconds for a whole refresh of keys, for one introspection, or for a function that gives a secret
    - `transport`: an httpx transport to use for them; its owner closes it
    - `ssl_context`: with a CA or a client certificate of your own; not beside a `transport`. None: as httpx, by the
      environment
    - `allow_insecure_http`: True allows http, for development only: every host on the network path may replace the keys

    Limits:

    - `max_token_bytes`: of a token; a longer one is malformed
    - `token_cache_size`: how many validated tokens are remembered; 0 turns this off

    For tests and fleets:

    - `clock`: wall time in seconds, for claims. The default calls `time.time` each time
    - `monotonic`: seconds, for the ages of caches
    - `jitter`: returns 0 to 1, the share of 5 % of their freshness by which keys are refreshed early, so that a fleet
      does not fetch at one moment

    Raises `ConfigurationError`, with what to write instead.
    """

    def __init__(
        self,
        issuer: str | Issuer | Issuers | Iterable[str | Issuer | Issuers],
        audience: str | Iterable[str],
        *,
        leeway: float = 30,
        clock: Callable[[], float] = wall_time,
        monotonic: Callable[[], float] = time.monotonic,
        checks: Iterable[Check] = (),
        max_token_bytes: int = 16_384,
        token_cache_size: int = 10_000,
        http_timeout: float = 5,
        allow_insecure_http: bool = False,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        ssl_context: ssl.SSLContext | None = None,
        revocations: RevocationList | None = None,
        clients: str | Iterable[str] | None = None,
        dpop: DPoP | None = None,
        mtls: MutualTLS | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._leeway = number("leeway", leeway)
        self._max_token_bytes = whole("max_token_bytes", max_token_bytes, minimum=1)
        whole("token_cache_size", token_cache_size)
        check_outbound(http_timeout, ssl_context, clock, monotonic, jitter)
        switch("allow_insecure_http", allow_insecure_http)
        self._timeout, self._allow_insecure_http = http_timeout, allow_insecure_http
        if revocations is not None and not isinstance(revocations, RevocationList):
            raise ConfigurationError("revocations must be a RevocationList(...)")
        if revocations is not None and leeway > RevocationList.MAX_LEEWAY:
            raise ConfigurationError("leeway must be at most an hour where there is a revocation list")

        log = BoundedLog()
        self.dpop, self.mtls = _setting("dpop", dpop, DPoP), _setting("mtls", mtls, MutualTLS)
        binding = (
            None
            if dpop is None and mtls is None
            else Binding(dpop, mtls, leeway=self._leeway, timeout=http_timeout, log=log)
        )
        self._clock = clock
        self._used_proofs = None if binding is None else binding.used
        self.proof_figures = None if dpop is None or binding is None else binding.figures

        issuers, registries = issuers_of(issuer)
        assembly = Assembly(
            audiences=frozenset(strings("audience", audience, example=_AUDIENCE_EXAMPLE)),
            clients=None if clients is None else frozenset(strings("clients", clients, example='clients={"orders"}')),
            leeway=self._leeway,
            timeout=http_timeout,
            allow_insecure_http=allow_insecure_http,
            monotonic=monotonic,
            jitter=jitter,
            answers=None if revocations is None else revocations.answers,
            presents_certificate=ssl_context is not None or transport is not None,
            log=log,
            enforced=frozenset() if binding is None else binding.enforced,
            bound_by=frozenset() if binding is None else binding.required,
        )
        authorities = {one.url: assembly.authority(one) for one in issuers}
        self._directory = assembly.directory(registries)

        fetches = bool(registries) or any(one.static_keys is None or one.introspection is not None for one in issuers)
        # What the first token needs is loaded now: it would stop an event loop for a tenth of a second.
        import_module("tokenguard._jose.signatures")
        self._authorities = tuple(authorities.values())
        self.audiences = assembly.audiences.union(*(one.audience or () for one in issuers))
        self._memory: Memory[Verdict] = Memory(token_cache_size)
        self._revocations = revocations
        self._validation = Validation(
            authorities,
            leeway=self._leeway,
            checks=checks_of(checks),
            memory=self._memory,
            revocations=revocations,
            binding=binding,
            directory=self._directory,
        )
        start = Start(
            self._validation,
            self._memory,
            clock=clock,
            monotonic=monotonic,
            leeway=self._leeway,
            max_token_bytes=self._max_token_bytes,
        )
        # For our adapters too: they know the octets of a credential already, or a token.
        self._begin, self._begin_dpop, self._check = start.begin, start.begin_dpop, start.check
        self._is_prewarmed = False
        # Which servers `Issuers` will ask is not known, so no exemption is known to cover them.
        urls = [] if registries else [url for one in issuers for url in asked(one).values()]
        super().__init__(transport, ssl_context, log, fetches=fetches, asked=urls)

    @classmethod
    def from_env(cls, prefix: str = "TOKENGUARD_", **settings: Any) -> Self:
        """A validator from environment variables, `settings` replacing them; see `from_mapping`."""
        return cls.from_mapping(os.environ, prefix, **settings)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], prefix: str = "TOKENGUARD_", **settings: Any) -> Self:
        """A validator from `PREFIX + NAME` entries, strings or typed values; lists are separated by spaces.

        `ISSUER`, `AUDIENCE`, `CLIENTS`, `JWKS_URI`, `JWKS` (PEM), `JWKS_BEARER_TOKEN`, `ALGORITHMS`, `PROFILE`,
        `LEEWAY`, `MAX_TOKEN_BYTES`, `TOKEN_CACHE_SIZE`, `HTTP_TIMEOUT`, `ALLOW_INSECURE_HTTP`, `JWKS_MAX_AGE`,
        `JWKS_MAX_STALE`, `JWKS_COOLDOWN`, `TOKEN_TYPES`, `REQUIRED_CLAIMS`, `CLIENT_ID_CLAIMS`, `SCOPE_CLAIMS`,
        `AUDIENCE_CLAIMS`, and `INTROSPECTION_CLIENT_ID`, `_CLIENT_SECRET`, `_ENDPOINT`, `_CLIENT_AUTH`, `_WHEN`,
        `_CACHE_TTL`, `_NEGATIVE_TTL`, `_STALE_TTL`, `_REQUIRE_AUDIENCE`, `_PRIVATE_KEY_ID`, `_PRIVATE_KEY_ALGORITHM`.
        Instead of `ISSUER`, `PRESET` names a method of `Issuer`, whose parameters are variables by their names in
        capitals: `PRESET=okta`, `DOMAIN=example.okta.com`. `JWKS_BEARER_TOKEN_FILE`,
        `INTROSPECTION_CLIENT_SECRET_FILE`, `_BEARER_TOKEN_FILE` and `_PRIVATE_KEY_FILE` are paths of files with
        secrets, each a `SecretFile`. `DPOP_BASE_URL`, `_REQUIRED`, `_ALGORITHMS`, `_MAX_AGE`, `_NONCE_SECRET` (or
        `_NONCE_SECRET_FILE`) make `dpop`, `MTLS_HEADER`, `_FORMAT`, `_TRUSTED`, `_REQUIRED` make `mtls`; `REDIS_URL` is
        for the denylist, introspection answers and used proofs together. What text cannot spell (`CHECKS`,
        `REVOCATIONS`, `TRANSPORT` and so on) may be there as an object. Raises `ConfigurationError` naming the
        variable, also for a name that is nearly one of these, or means one that no variable gives.
        """
        with in_variables(environment.names(prefix), settings):
            return cls(**environment.read(mapping, prefix, settings))

    # -- validation ----------------------------------------------------------------------------------------------------

    def validate(
        self,
        raw: str,
        *,
        scope: str | Iterable[str] | Requirement = _NO_SCOPE,
        require: Required | None = None,
        request: ResourceRequest | None = None,
    ) -> AccessToken:
        """Validate a token from a thread.

        - `scope`: space-delimited or iterable, all of them are required
        - `require`: what else is required, from `tokenguard.requirements`
        - `request`: what the request said, for bound tokens and for requirements that look at it; without it a token is
          validated as sent under `Bearer`, without a certificate

        Raises `RejectedError` (it is bad, or does not grant enough), `UnavailableError` (it could not be checked),
        `ConfigurationError`. It raises nothing else, whatever `raw` is.
        """
        try:
            if self.observer is not None:
                with DirectRun(self.observer, self, raw) as run:
                    begun = self._begin_text(raw, scope, require, request, run)
                    run.token = begun if isinstance(begun, AccessToken) else self._finish(begun)
                    return run.token
            begun = self._begin_text(raw, scope, require, request)
            return begun if isinstance(begun, AccessToken) else self._finish(begun)
        except RecursionError:  # the caller left so little of the stack that no rejection could be made
            raise ConfigurationError(NO_STACK) from None

    async def validate_async(
        self,
        raw: str,
        *,
        scope: str | Iterable[str] | Requirement = _NO_SCOPE,
        require: Required | None = None,
        request: ResourceRequest | None = None,
    ) -> AccessToken:
        """`validate` for event loops: it never blocks the loop."""
        if self._sync_only:
            self._check_async()
        try:
            if self.observer is not None:
                with DirectRun(self.observer, self, raw) as run:
                    begun = self._begin_text(raw, scope, require, request, run)
                    run.token = begun if isinstance(begun, AccessToken) else await self._finish_async(begun)
                    return run.token
            begun = self._begin_text(raw, scope, require, request)
            return begun if isinstance(begun, AccessToken) else await self._finish_async(begun)
        except RecursionError:
            raise ConfigurationError(NO_STACK) from None

    def _begin_text(
        self,
        raw: object,
        scope: str | Iterable[str] | Requirement,
        require: Required | None = None,
        request: ResourceRequest | None = None,
        run: Run | None = None,
    ) -> AccessToken | Flow[AccessToken]:
        try:
            if require is not None:
                requirement = both(scope, require)
            elif scope is _NO_SCOPE:  # known at once: the one empty tuple there is
                requirement = NOTHING
            else:
                requirement = required(scope)
            if type(raw) is not str:
                if not isinstance(raw, str):
                    raise InvalidTokenError(reason=Reason.MALFORMED)
                raw = str.__str__(raw)  # a subclass may say anything of its length and characters
            # The cap comes before anything whose cost grows with the size.
            if not 0 < len(raw) <= self._max_token_bytes or not raw.isascii():
                raise InvalidTokenError(reason=Reason.MALFORMED)
            if request is not None and self._is_dpop(request):
                return self._begin_dpop(raw.encode(), requirement, run, request)
            # None is for adapters alone. Not by `cast`, which is a call.
            return self._begin(raw.encode(), requirement, None, run, request)  # type: ignore[return-value]
        except (TokenGuardError, RecursionError):
            raise
        except Exception as error:
            raise unexpected(error) from error

    def _is_dpop(self, request: object) -> bool:
        """Whether a token was sent under `DPoP`, else under `Bearer`; `MissingTokenError` for another scheme."""
        if not isinstance(request, ResourceRequest):
            raise ConfigurationError("request must be a ResourceRequest(method, url)")
        scheme = request.scheme.lower()
        if scheme == "dpop" and self.dpop is not None:
            return True
        if scheme != "bearer":
            raise MissingTokenError
        return False

    def _finish(self, flow: Flow[T]) -> T:
        """Run `flow` to its end in this thread. Raises as `validate` does."""
        try:
            return self._run(flow)
        except TokenGuardError:
            raise
        except RecursionError as error:  # what a client can nest was taken apart before there was a flow
            raise ConfigurationError(NO_STACK) from error
        except Exception as error:
            raise unexpected(error) from error

    async def _finish_async(self, flow: Flow[T]) -> T:
        """`_finish` for event loops."""
        try:
            return await self._run_async(flow)
        except TokenGuardError:
            raise
        except RecursionError as error:  # what a client can nest was taken apart before there was a flow
            raise ConfigurationError(NO_STACK) from error
        except Exception as error:
            raise unexpected(error) from error

    # -- life ----------------------------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Ask every issuer once for what it takes to validate its tokens (keys, and the metadata that names its
        introspection endpoint), side by side, at most 32 at a time. Then raise the first `KeysUnavailableError`, if
        any."""
        self._finish(warm_up(self._known))
        self._prewarm()

    async def warm_up_async(self) -> None:
        """`warm_up` for event loops."""
        self._check_async()
        await self._finish_async(warm_up(self._known))
        self._prewarm()

    def _prewarm(self) -> None:
        if not self._is_prewarmed:  # a readiness probe may warm up every second
            self._is_prewarmed = True
            prewarm(TokenValidator, self._validation.key_of_each_algorithm())

    @property
    def _known(self) -> tuple[Authority, ...]:
        return (*self._authorities, *self._directory.kept)

    def state(self) -> tuple[IssuerState, ...]:
        """A snapshot of every issuer, in the order of configuration, then of those of `Issuers` that are kept. Cheap,
        and never waits."""
        return tuple(
            IssuerState(one.url, one.keys.state(), one.tenant, one.is_listed, one.is_proven) for one in self._known
        )

    @property
    def issuers(self) -> tuple[Issuer, ...]:
        """The settings of every listed issuer, in the order of configuration. Those of `Issuers` are not among them."""
        return tuple(authority.issuer for authority in self._authorities)

    @property
    def used_proofs(self) -> tuple[int, int] | None:
        """How many DPoP proofs are remembered, and `max_proofs`; None where this process remembers none."""
        used = self._used_proofs
        return None if used is None else (used.count(self._clock()), used.size)

    def is_ready(self) -> bool:
        """Whether every listed issuer was tried, and at least one can verify: one issuer's outage makes no service
        unready. With nothing but `Issuers`: immediately. Never fetches: a readiness probe calls `warm_up` first, or a
        service that was idle would never be ready again."""
        listed = [authority.keys.state() for authority in self._authorities]
        if not listed:
            return True
        return all(state.was_tried for state in listed) and any(
            state.can_verify for state in (*listed, *(authority.keys.state() for authority in self._directory.kept))
        )

    def __repr__(self) -> str:
        urls = [authority.url for authority in self._authorities]
        more = "" if len(urls) <= _SHOWN else f", and {len(urls) - _SHOWN} more"
        looked_up = "" if self._directory.is_empty else f", looked_up={len(self._directory.kept)}"
        return f"TokenValidator(issuers={urls[:_SHOWN]!r}{more}{looked_up})"


def _setting(name: str, given: T | None, kind: type[T]) -> T | None:
    if given is not None and not isinstance(given, kind):
        raise ConfigurationError(f"{name} must be a {kind.__name__}(...)")
    return given


VALIDATE, VALIDATE_ASYNC = TokenValidator.validate, TokenValidator.validate_async
