"""Provider presets: `Issuer.auth0(...)` and its like.

Owns: what each provider is asked for (a tenant, a pool, a realm) and rejecting what cannot be one. Must not know: what
the settings do. The facts are data, in `_oauth.providers`; docs/presets.md cites them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from tokenguard._oauth import providers
from tokenguard._platform.pod import Pod
from tokenguard._settings import fetched_url, strings, switch
from tokenguard.errors import ConfigurationError

__all__ = ["Presets"]


class Presets:
    """The presets of `Issuer`. `settings` are those of `Issuer` and replace the preset's own, except that
    `required_claims` and `claim_values` add to them. Each raises `ConfigurationError` with what to write instead, also
    for `claim_values` of a claim to which the preset itself gives a value."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __init__(self, url: str, **settings: Any) -> None: ...

    @classmethod
    def auth0(cls, domain: str, **settings: Any) -> Self:
        """Auth0. `domain`: the tenant's, `example.eu.auth0.com`, or a custom one. `roles` are its `permissions`."""
        domain = providers.host("domain", domain, "example.eu.auth0.com")
        return cls(**providers.AUTH0.settings(settings, domain=domain))

    @classmethod
    def okta(cls, domain: str, server: str = "default", **settings: Any) -> Self:
        """Okta. `domain`: `example.okta.com`. `server`: a custom authorization server; tokens of the org's own server
        are for Okta alone."""
        domain = providers.host("domain", domain, "example.okta.com")
        server = providers.name("server", server, "default")
        return cls(**providers.OKTA.settings(settings, domain=domain, server=server))

    @classmethod
    def entra(
        cls, tenant_id: str, *, version: Literal[1, 2] = 2, host: str = "login.microsoftonline.com", **settings: Any
    ) -> Self:
        """Microsoft Entra ID, one tenant. `version`: `requestedAccessTokenVersion` in the API's manifest, where null is
        1. `host`: that of another cloud."""
        provider = providers.entra(version)
        tenant_id = providers.guid("tenant_id", tenant_id)
        host = providers.host("host", host, "login.microsoftonline.us")
        return cls(**provider.settings(settings, tenant=tenant_id, host=host))

    @classmethod
    def cognito(cls, user_pool_id: str, **settings: Any) -> Self:
        """Amazon Cognito. Without a resource in the request its tokens have no `aud`: then `audience` names app client
        ids."""
        return cls(**providers.COGNITO.settings(settings, **providers.pool(user_pool_id)))

    @classmethod
    def keycloak(cls, base_url: str, realm: str, *, roles_of: str | None = None, **settings: Any) -> Self:
        """Keycloak. `base_url`: `https://sso.example.com`. `roles_of`: take this client's roles, not the realm's."""
        if roles_of is not None:
            settings.setdefault("role_claims", [("resource_access", roles_of, "roles")])
        base = fetched_url("base_url", base_url).removesuffix("/")
        realm = providers.name("realm", realm, "production")
        return cls(**providers.KEYCLOAK.settings(settings, base=base, realm=realm))

    @classmethod
    def google(cls, service_accounts: str | Iterable[str], **settings: Any) -> Self:
        """Google-signed identity tokens of these `service_accounts` (e-mail addresses). Anyone can get one for any
        audience, so the accounts must be named."""
        accounts = strings("service_accounts", service_accounts, example='{"name@project.iam.gserviceaccount.com"}')
        return cls(**providers.GOOGLE.settings(settings, {"email": accounts}))

    @classmethod
    def kubernetes(
        cls,
        url: str | None = None,
        service_accounts: str | Iterable[str] | None = None,
        *,
        in_cluster: bool = False,
        **settings: Any,
    ) -> Self:
        """Projected service account tokens of a cluster. `url`: its `--service-account-issuer`. `service_accounts`:
        `namespace:name`, None for all of the cluster. `in_cluster=True`, in a pod: the keys come from the API server's
        inner address, with the pod's own token and CA; `url` is then by default what issued that token."""
        if switch("in_cluster", in_cluster):
            pod = Pod.here()
            url = pod.issuer() if url is None else url
            settings = pod.settings() | settings
        if url is None:
            raise ConfigurationError(
                "url must be given: the cluster's --service-account-issuer; in a pod of it write in_cluster=True"
            )
        values: dict[str, list[str]] = {}
        if service_accounts is not None:
            accounts = strings("service_accounts", service_accounts, example='{"payments:worker"}')
            values["sub"] = [providers.service_account(account) for account in accounts]
        return cls(**providers.KUBERNETES.settings(settings, values, url=url))

    @classmethod
    def github_actions(
        cls,
        owner_ids: str | Iterable[str],
        *,
        url: str = "https://token.actions.githubusercontent.com",
        **settings: Any,
    ) -> Self:
        """GitHub Actions. `owner_ids`: numeric ids of the accounts whose workflows may call. Any workflow on GitHub can
        get a token for any audience, and names can change hands. Narrow further with
        `claim_values={"repository": "octo-org/octo-repo"}`."""
        owners = strings("owner_ids", owner_ids, example='owner_ids={"9919"}')
        if not all(owner.isdecimal() and owner.isascii() for owner in owners):
            raise ConfigurationError("owner_ids must hold numeric ids, as strings: names can change hands")
        return cls(**providers.GITHUB_ACTIONS.settings(settings, {"repository_owner_id": owners}, url=url))

    @classmethod
    def pingone(cls, environment_id: str, *, domain: str = "auth.pingone.com", **settings: Any) -> Self:
        """PingOne. `domain`: the region's, such as `auth.pingone.eu`, or a custom one."""
        environment_id = providers.guid("environment_id", environment_id)
        domain = providers.host("domain", domain, "auth.pingone.eu")
        return cls(**providers.PINGONE.settings(settings, domain=domain, environment=environment_id))

    @classmethod
    def zitadel(cls, domain: str, *, project_id: str | None = None, **settings: Any) -> Self:
        """ZITADEL. `domain`: the instance's. `project_id`: take that project's roles. For opaque tokens add
        `introspection`."""
        if project_id is not None:
            project = providers.name("project_id", project_id, "344374183645413380")
            settings.setdefault("role_claims", f"urn:zitadel:iam:org:project:{project}:roles")
        return cls(
            **providers.ZITADEL.settings(settings, domain=providers.host("domain", domain, "example.zitadel.cloud"))
        )

    @classmethod
    def google_iap(cls, audience: str | Iterable[str] | None = None, **settings: Any) -> Self:
        """Google Identity-Aware Proxy, whose tokens come in the field `X-Goog-IAP-JWT-Assertion`. `audience`: what the
        console calls the signed header's audience, `/projects/NUMBER/global/backendServices/ID`; None for the
        validator's."""
        return cls(**providers.GOOGLE_IAP.settings({"audience": audience, **settings}))

    @classmethod
    def cloudflare_access(cls, team: str, **settings: Any) -> Self:
        """Cloudflare Access, whose tokens come in the field `Cf-Access-Jwt-Assertion`; the audience is the
        application's AUD tag. `team`: its name, or its domain, `example.cloudflareaccess.com`. Service tokens have an
        empty `sub`, which reads as absent here; their client id is `common_name`."""
        domain = providers.host("team", team, "example.cloudflareaccess.com")
        if "." not in domain:
            domain += ".cloudflareaccess.com"
        made = cls(**providers.CLOUDFLARE_ACCESS.settings(settings, domain=domain))
        object.__setattr__(made, "has_empty_subjects", True)
        return made


NAMES: Final = tuple(name for name, one in vars(Presets).items() if isinstance(one, classmethod))
