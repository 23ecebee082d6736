"""`Issuers`: authorization servers that come and go while the service runs, one for each customer.

Owns: asking the application which one belongs to an `iss`, and the patterns of those that differ in a tenant's name.
Must not know: keys, what is kept of an issuer (`_issuer.directory`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container
from typing import Any, Final, Literal, Self
from weakref import WeakValueDictionary

from tokenguard._flow.forks import Lock
from tokenguard._oauth import party, providers
from tokenguard._oauth.tenant_pattern import TenantPattern
from tokenguard._settings import is_lazy, whole
from tokenguard.errors import ConfigurationError, UnavailableError
from tokenguard.issuer import Issuer

__all__ = ["Issuers"]

Find = Callable[[str], Issuer | None]
Tenants = Container[str] | Callable[[str], bool]

_LONGEST: Final = 512  # characters of an iss that is asked for: it comes from anybody
_NAME: Final = "tenant-name"  # with which the settings of a template are tried out


class Issuers:
    """Authorization servers that are looked up in the application's own registry, again for each token.

    - `find`: a fast plain callable `(iss)` that returns the `Issuer` registered under exactly this string, or None. It
      gets what any client can write into a token, at most 512 characters. It is called at every use of every token, so
      an issuer that it no longer returns is rejected at once. Another object for an `iss` starts anew, with keys of its
      own; the same object keeps them
    - `max_issuers`: how many are kept with their keys. Default 1000

    An `UnavailableError` of `find` leaves as it is. Anything else that it raises, a coroutine function, or a result
    that is neither None nor the `Issuer` of this `iss`, is a `ConfigurationError`.
    """

    def __init__(self, find: Find, *, max_issuers: int = 1_000) -> None:
        if not callable(find) or is_lazy(find):
            raise ConfigurationError("find must be a plain function (iss) that returns an Issuer or None")
        self.find: Final = find
        self.max_issuers: Final = whole("max_issuers", max_issuers, minimum=1)

    @classmethod
    def template(
        cls, pattern: str, tenants: Tenants, *, claim: str | None = None, max_issuers: int = 1_000, **settings: Any
    ) -> Self:
        """Issuers whose URLs differ in the name of a tenant.

        - `pattern`: such as `"https://login.example.com/{tenant}/v2.0"`. `{tenant}` is one whole segment of the path,
          or the first label of a host whose rest has at least two
        - `tenants`: which ones are accepted: a collection, asked by `in` and not copied, or a fast plain callable whose
          answer is True
        - `claim`: a claim that must be the tenant's name as well, such as `"tid"`. Default None
        - `settings`: those of `Issuer`, for each of them; in `jwks_uri` `{tenant}` may stand as in `pattern`, without
          it all share one set of keys

        `Issuer.tenant`, and so `AccessToken.tenant`, is the name. Raises `ConfigurationError`.
        """
        return cls(_Template(pattern, tenants, claim, settings), max_issuers=max_issuers)

    @classmethod
    def entra(
        cls,
        tenants: Tenants,
        version: Literal[1, 2] = 2,
        *,
        host: str = "login.microsoftonline.com",
        max_issuers: int = 1_000,
        **settings: Any,
    ) -> Self:
        """Microsoft Entra ID, many tenants: `Issuer.entra` for each of `tenants`, which are GUIDs in lower case, with
        `tid` checked. The other arguments are those of `template` and of `Issuer.entra`."""
        provider = providers.entra(version)
        host = providers.host("host", host, "login.microsoftonline.us")
        made = provider.settings(settings, host=host, tenant="{tenant}")
        pattern = made.pop("url")
        template = _Template(pattern, tenants, "tid", made, shape=providers.GUID)
        return cls(template, max_issuers=max_issuers)

    @property
    def example(self) -> Issuer | None:
        """One of a template's, which differ in a name alone; None where nothing is known before one is found."""
        return self.find.example if isinstance(self.find, _Template) else None

    def look_up(self, iss: str) -> Issuer | None:
        """What is registered for `iss`. Raises as the class says."""
        if not 0 < len(iss) <= _LONGEST:
            return None
        try:
            found: object = self.find(iss)
        except UnavailableError:
            raise
        except Exception as error:
            raise ConfigurationError("the find function of Issuers raised an exception: see the cause") from error
        if found is None or (isinstance(found, Issuer) and found.url == iss):
            return found
        if inspect.iscoroutine(found):
            found.close()  # it is never awaited, and must not warn of that
        raise ConfigurationError("find must return None, or the Issuer whose url is this very iss")


class _Template:
    """`find` of a pattern. The `Issuer` of a tenant is the same object for as long as it is referred to."""

    def __init__(
        self, pattern: object, tenants: Any, claim: object, settings: dict[str, Any], *, shape: str = ""
    ) -> None:
        if isinstance(tenants, str | bytes) or not (isinstance(tenants, Container) or callable(tenants)):
            raise ConfigurationError('tenants must be a collection such as {"acme"}, or a plain function (tenant)')
        if callable(tenants) and is_lazy(tenants):
            raise ConfigurationError("tenants must be a plain function: a coroutine is never awaited")
        if not (claim is None or (isinstance(claim, str) and claim)):
            raise ConfigurationError('claim must be the name of a claim, such as "tid"')
        if settings.get("tenant") is not None:
            raise ConfigurationError("tenant is set by the pattern: leave it out")
        values = dict(party.expected_values(settings.get("claim_values", {})))
        if claim in values:
            raise ConfigurationError(f"claim_values: {claim} must be the tenant's name already: leave it out")
        self._tenants = tenants
        self._claim = claim
        self._values = values
        self._settings = settings
        self._pattern = TenantPattern("pattern", pattern)
        jwks_uri = settings.get("jwks_uri")
        self._jwks_uri: TenantPattern | None = None
        if isinstance(jwks_uri, str) and "{" in jwks_uri:
            self._jwks_uri = TenantPattern("jwks_uri", jwks_uri)
        is_label = self._jwks_uri is not None and self._jwks_uri.is_label
        self._match = self._pattern.reader(shape, is_label=is_label).fullmatch
        self._made: WeakValueDictionary[str, Issuer] = WeakValueDictionary()
        self._lock = Lock()
        self.example: Final = self._make(_NAME)
        check_introspection(self.example)

    def __call__(self, iss: str) -> Issuer | None:
        found = self._match(iss)
        if found is None or not self._has(found[1]):
            return None
        issuer = self._made.get(iss)
        if issuer is None:
            with self._lock:
                issuer = self._made[iss] = self._made.get(iss) or self._make(found[1])
        return issuer

    def _has(self, tenant: str) -> bool:
        if isinstance(self._tenants, Container):
            return tenant in self._tenants
        answer: object = self._tenants(tenant)
        if inspect.iscoroutine(answer):
            answer.close()
        return answer is True

    def _make(self, tenant: str) -> Issuer:
        settings: dict[str, Any] = {**self._settings, "tenant": tenant}
        if self._jwks_uri is not None:
            settings["jwks_uri"] = self._jwks_uri.fill(tenant)
        if self._claim is not None:
            settings["claim_values"] = {**self._values, self._claim: tenant}
        return Issuer(self._pattern.fill(tenant), **settings)


def check_introspection(issuer: Issuer) -> None:
    """Raise `ConfigurationError` where an issuer of `Issuers` would be shown tokens of others."""
    if issuer.introspection is not None and issuer.introspection.when != "always":
        raise ConfigurationError(
            'an issuer of Issuers may have introspection with when="always" only: an opaque token does not name'
            " its issuer, and it must never be shown to another server"
        )
