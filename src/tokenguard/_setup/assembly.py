"""From settings to the parts of a validator: issuers become authorities, and settings that cannot work are rejected.

Owns: what the settings of an issuer and of the validator mean together. Must not know: how a token is validated, when
anything is fetched.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from tokenguard._issuer.budget import Budget
from tokenguard._issuer.directory import Directory, Registered
from tokenguard._issuer.discovery import Discovery
from tokenguard._issuer.fetch import Fetch
from tokenguard._issuer.introspector import Introspector
from tokenguard._issuer.key_schedule import Schedule
from tokenguard._issuer.key_state import Tally
from tokenguard._issuer.keys import KeySource
from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._oauth.fetch_credential import FetchCredential
from tokenguard._observe.bounded_log import BoundedLog
from tokenguard._settings import is_https, is_lazy, number
from tokenguard._validation.steps import Check
from tokenguard.errors import ConfigurationError
from tokenguard.introspection import AnswerStore
from tokenguard.issuer import Issuer
from tokenguard.issuers import Issuers

A = TypeVar("A", bound=Authority)

_LONGEST_TIMEOUT: Final = 300  # seconds
_NO_ISSUER: Final = "issuer must be a string, an Issuer, Issuers, or an iterable of these"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """The settings of a validator that concern each of its issuers. `authority` prepares one; nothing is fetched yet.

    `log` is for records that requests can cause. `answers` is the store of introspection answers for issuers whose own
    settings name none. `presents_certificate`: whether the validator's TLS context, or the caller's transport, may hold
    a client certificate. `enforced`, `bound_by`: the members of `cnf` that are enforced, and those that
    every token must have.
    """

    audiences: frozenset[str]
    clients: frozenset[str] | None
    leeway: float
    timeout: float
    allow_insecure_http: bool
    monotonic: Callable[[], float]
    jitter: Callable[[], float]
    answers: AnswerStore | None
    presents_certificate: bool
    log: BoundedLog
    enforced: frozenset[str] = frozenset()
    bound_by: frozenset[str] = frozenset()
    _shared: WeakValueDictionary[Hashable, KeySource] = field(
        default_factory=WeakValueDictionary[Hashable, KeySource], init=False, repr=False
    )
    _budget: Budget = field(default_factory=Budget, init=False, repr=False)
    _tally: Tally = field(default_factory=Tally, init=False, repr=False)

    def directory(self, registries: tuple[Issuers, ...]) -> Directory:
        """The issuers that are looked up at run time. Raises `ConfigurationError` for a template none of whose issuers
        could be asked."""
        for registry in registries:
            if registry.example is not None:
                self._check(registry.example)
        return Directory(registries, self._registered, self._forget, self.monotonic, self._tally)

    def authority(self, issuer: Issuer) -> Authority:
        """One issuer at run time. Raises `ConfigurationError` for http, and if a client certificate is missing."""
        return self._ready(Authority, issuer)

    def _registered(self, issuer: Issuer, not_this: KeySource | None, schedule: Schedule | None) -> Registered:
        """The same for one that was looked up. It never gets the keys of the one that it replaces."""
        return self._ready(Registered, issuer, not_this, schedule)

    def _ready(
        self,
        kind: type[A],
        issuer: Issuer,
        not_this: KeySource | None = None,
        schedule: Schedule | None = None,
    ) -> A:
        self._check(issuer)
        introspection = issuer.introspection
        discovery = None
        token = issuer.jwks_bearer_token
        fetch = Fetch(
            issuer.url,
            None if token is None else FetchCredential(token, issuer.url, issuer.jwks_uri),
            issuer.jwks_ssl_context,
        )
        if _is_discovered(issuer):
            discovery = Discovery(
                issuer.url,
                max_age=issuer.jwks_max_age,
                timeout=self.timeout,
                allow_insecure_http=self.allow_insecure_http,
                monotonic=self.monotonic,
                fetch=fetch,
                own_host_only=not kind.is_listed,
            )
        budget = None if kind.is_listed else self._budget
        keys = self._keys(issuer, discovery, fetch, not_this, budget=budget, schedule=schedule)
        introspector = None
        if introspection is not None:
            introspector = Introspector(
                introspection,
                issuer=issuer.url,
                discovery=discovery,
                timeout=self.timeout,
                monotonic=self.monotonic,
                store=introspection.store or self.answers,
                log=self.log,
            )
        own = frozenset(issuer.audience) if issuer.audience is not None else self.audiences
        return kind(
            issuer,
            own,
            keys,
            discovery,
            introspector,
            self.clients,
            leeway=self.leeway,
            enforced=self.enforced,
            bound_by=self.bound_by,
        )

    def _keys(
        self,
        issuer: Issuer,
        discovery: Discovery | None,
        fetch: Fetch,
        not_this: KeySource | None,
        *,
        budget: Budget | None,
        schedule: Schedule | None,
    ) -> KeySource:
        """The key source of an issuer, shared with another issuer of the same configured `jwks_uri` and settings. A
        discovered URL comes from that issuer's server, so it is never shared."""
        same = _what_is_shared(issuer)
        shared = None if same is None else self._shared.get(same)
        if shared is not None and shared is not not_this:
            return shared
        keys = KeySource(
            jwks_uri=issuer.jwks_uri,
            discovery=discovery if issuer.static_keys is None and issuer.jwks_uri is None else None,
            static=issuer.static_keys,
            max_age=issuer.jwks_max_age,
            max_stale=issuer.jwks_max_stale,
            cooldown=issuer.jwks_cooldown,
            timeout=self.timeout,
            monotonic=self.monotonic,
            jitter=self.jitter,
            name=issuer.url,
            log=self.log,
            fetch=fetch,
            budget=budget,
            tally=None if budget is None else self._tally,
            schedule=schedule,
        )
        if same is not None:
            self._shared[same] = keys
        return keys

    def _forget(self, keys: KeySource) -> None:
        """No issuer has these keys any more: a later one fetches its own."""
        for same in [same for same, shared in self._shared.items() if shared is keys]:
            del self._shared[same]

    def _check(self, issuer: Issuer) -> None:
        introspection = issuer.introspection
        if (
            introspection is not None
            and introspection.client_auth == "tls_client_auth"
            and introspection.ssl_context is None
            and not self.presents_certificate
        ):
            raise ConfigurationError(
                'client_auth="tls_client_auth" needs a client certificate: give an ssl_context that holds one'
            )
        for name, url in asked(issuer).items():
            if not is_https(url) and not self.allow_insecure_http:
                raise ConfigurationError(
                    f"{name} must be https: over http anyone on the way can replace the keys;"
                    " for development only, set allow_insecure_http=True"
                )


def asked(issuer: Issuer) -> dict[str, str]:
    """The URLs that are fetched for an issuer and that its settings name, by setting."""
    named = {
        "jwks_uri": issuer.jwks_uri,
        "issuer": issuer.url if _is_discovered(issuer) else None,
        "introspection endpoint": issuer.introspection.endpoint if issuer.introspection else None,
    }
    return {name: url for name, url in named.items() if url is not None}


def _what_is_shared(issuer: Issuer) -> Hashable:
    """What issuers with one key source agree in, None where nothing can be shared."""
    if issuer.jwks_uri is None:
        return None
    settings = issuer.jwks_max_age, issuer.jwks_max_stale, issuer.jwks_cooldown
    same = issuer.jwks_uri, *settings, issuer.jwks_bearer_token, issuer.jwks_ssl_context
    try:
        hash(same)
    except TypeError:  # a callable of the application's own
        return None
    return same


def _is_discovered(issuer: Issuer) -> bool:
    """Whether any URL of this issuer has to be looked up in its metadata."""
    introspection = issuer.introspection
    return (issuer.static_keys is None and issuer.jwks_uri is None) or (
        introspection is not None and introspection.endpoint is None
    )


def issuers_of(given: object) -> tuple[tuple[Issuer, ...], tuple[Issuers, ...]]:
    """The issuers of a setting: one or several, each once, none ambiguous for opaque tokens. And those that are looked
    up at run time."""
    if isinstance(given, str | Issuer | Issuers):
        items: list[object] = [given]
    elif isinstance(given, Iterable) and not isinstance(given, bytes | bytearray):
        items = list(given)
    else:
        raise ConfigurationError(_NO_ISSUER)
    if not items:
        raise ConfigurationError('issuer must not be empty: write issuer="https://auth.example.com/" or Issuer(...)')
    issuers: dict[str, Issuer] = {}
    registries: list[Issuers] = []
    for item in items:
        if isinstance(item, Issuers):
            registries.append(item)
            continue
        if not isinstance(item, str | Issuer):
            raise ConfigurationError(_NO_ISSUER)
        issuer = item if isinstance(item, Issuer) else Issuer(item)
        if issuer.url in issuers:
            raise ConfigurationError("the same issuer is given twice: give each iss one Issuer(...)")
        issuers[issuer.url] = issuer
    introspecting = [one.introspection for one in issuers.values() if one.introspection is not None]
    if sum(one.when == "opaque" for one in introspecting) > 1:
        raise ConfigurationError(
            'only one issuer may have introspection with when="opaque": an opaque token does not name its issuer,'
            " and it must never be shown to another server"
        )
    return tuple(issuers.values()), tuple(registries)


def checks_of(given: Iterable[Check]) -> tuple[Check, ...]:
    """The extra checks of a setting. A coroutine function or generator is rejected: it would never run."""
    try:
        checks = tuple(given)
    except TypeError:
        raise ConfigurationError("checks must be an iterable of callables (claims, now)") from None
    for check in checks:
        if not callable(check):
            raise ConfigurationError("checks must be an iterable of callables (claims, now)")
        if is_lazy(check):
            raise ConfigurationError("a check must be a plain function: a coroutine or generator would never run")
    return checks


def check_outbound(http_timeout: object, ssl_context: object, *callables: object) -> None:
    """Check the settings of outbound calls and clocks. Raises `ConfigurationError`."""
    if number("http_timeout", http_timeout, above=True) > _LONGEST_TIMEOUT:
        raise ConfigurationError("http_timeout must be at most 300 seconds: no caller waits longer for an answer")
    if any(not callable(one) or is_lazy(one) for one in callables):
        raise ConfigurationError(
            "clock, monotonic and jitter must be plain functions without arguments that return seconds"
        )
    if not (ssl_context is None or isinstance(ssl_context, ssl.SSLContext)):
        raise ConfigurationError(
            "ssl_context must be an ssl.SSLContext, such as ssl.create_default_context(cafile=...)"
        )
