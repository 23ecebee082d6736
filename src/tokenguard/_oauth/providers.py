"""What is known of well-known providers, as data: one `Provider` each, and what their names must look like.

Owns: the facts, each with the page of the provider's documentation that states it (docs/presets.md repeats them for
people). Must not know: how a setting is used; `Issuer` turns a provider into settings.

A preset only narrows what a plain issuer accepts, or names the claims in which this provider sends what others send
in others. Signature, issuer, audience, times and kind are checked as for every issuer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from tokenguard._jose.algorithms import DEFAULT
from tokenguard._oauth.party import MachineSign, RolePath, claim_names, expected_values
from tokenguard.errors import ConfigurationError

_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*(?::[0-9]{1,5})?", re.ASCII)
GUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_GUID: Final = re.compile(GUID, re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)
_POOL: Final = re.compile(r"(?P<region>[a-z]{2,}(?:-[a-z0-9]+)+)_[A-Za-z0-9]+", re.ASCII)
_ACCOUNT: Final = re.compile(r"[a-z0-9][a-z0-9.-]*:[a-z0-9][a-z0-9.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider. `issuer` and `jwks_uri` are templates; without `jwks_uri` the keys are discovered.

    The other fields are the settings of `Issuer` of the same names. `documentation` are the pages that state it.
    """

    issuer: str
    documentation: tuple[str, ...]
    jwks_uri: str | None = None
    algorithms: tuple[str, ...] = DEFAULT
    token_types: tuple[str | None, ...] | None = None
    audience_claims: tuple[str, ...] = ("aud",)
    scope_claims: tuple[str, ...] = ("scope",)
    role_claims: tuple[RolePath, ...] = ()
    client_id_claims: tuple[str, ...] = ("client_id",)
    required_claims: tuple[str, ...] = ()
    claim_values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    machine_signs: tuple[MachineSign, ...] = ()

    def settings(
        self, overrides: Mapping[str, Any], values: Mapping[str, Any] = MappingProxyType({}), /, **names: str
    ) -> dict[str, Any]:
        """The settings of an `Issuer`, `names` filled into the templates. `values` are claims that the preset's own
        arguments hold to.

        `overrides` replace the data, except that `required_claims` and `claim_values` add to it. Raises
        `ConfigurationError` where they would replace what the preset sets.
        """
        settings: dict[str, Any] = {
            "url": self.issuer.format(**names),
            "jwks_uri": None if self.jwks_uri is None else self.jwks_uri.format(**names),
            "algorithms": self.algorithms,
            "token_types": self.token_types,
            "audience_claims": self.audience_claims,
            "scope_claims": self.scope_claims,
            "role_claims": self.role_claims,
            "client_id_claims": self.client_id_claims,
            "machine_signs": self.machine_signs,
        }
        if "jwks" in overrides:
            settings["jwks_uri"] = None
        settings |= overrides
        more = claim_names("required_claims", overrides.get("required_claims", ()))
        settings["required_claims"] = (*self.required_claims, *more)
        held = {**self.claim_values, **values}
        added = dict(expected_values(overrides.get("claim_values", {})))
        for claim in added.keys() & held.keys():
            raise ConfigurationError(f"claim_values: the preset sets {claim} itself: leave it out")
        settings["claim_values"] = {**held, **added}
        return settings


AUTH0: Final = Provider(
    issuer="https://{domain}/",
    token_types=("JWT", "at+jwt"),
    role_claims=(("permissions",),),
    client_id_claims=("client_id", "azp"),
    required_claims=("sub",),
    machine_signs=(("sub", "ends", "@clients", True), ("sub", "present", "", False)),
    documentation=("https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles",),
)
OKTA: Final = Provider(
    issuer="https://{domain}/oauth2/{server}",
    scope_claims=("scp",),
    role_claims=(("groups",),),
    client_id_claims=("cid",),
    required_claims=("sub", "cid"),
    machine_signs=(("uid", "present", "", False), ("sub", "same_as", "cid", True)),
    documentation=(
        "https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/",
        "https://developer.okta.com/docs/guides/validate-access-tokens/",
    ),
)
# App-only tokens: idtyp is sure but optional; a delegated token has scp; roles without scp are an application's.
_ENTRA_SIGNS: Final[tuple[MachineSign, ...]] = (
    ("idtyp", "is", "app", True),
    ("idtyp", "present", "", False),
    ("scp", "present", "", False),
    ("roles", "present", "", True),
)
ENTRA_V2: Final = Provider(
    issuer="https://{host}/{tenant}/v2.0",
    jwks_uri="https://{host}/{tenant}/discovery/v2.0/keys",
    token_types=("JWT",),
    scope_claims=("scp",),
    role_claims=(("roles",),),
    client_id_claims=("azp",),
    required_claims=("sub", "azp"),  # an ID token has no azp, and the same issuer, typ and, for one's own app, audience
    claim_values={"ver": "2.0"},
    machine_signs=_ENTRA_SIGNS,
    documentation=(
        "https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference",
        "https://learn.microsoft.com/entra/identity-platform/access-tokens",
        "https://learn.microsoft.com/entra/identity-platform/optional-claims-reference",
    ),
)
ENTRA_V1: Final = Provider(
    issuer="https://sts.windows.net/{tenant}/",
    jwks_uri="https://{host}/{tenant}/discovery/keys",
    token_types=("JWT",),
    scope_claims=("scp",),
    role_claims=(("roles",),),
    client_id_claims=("appid",),
    required_claims=("sub", "appid"),
    claim_values={"ver": "1.0"},
    machine_signs=_ENTRA_SIGNS,
    documentation=ENTRA_V2.documentation,
)
COGNITO: Final = Provider(
    issuer="https://cognito-idp.{region}.{suffix}/{pool}",
    jwks_uri="https://cognito-idp.{region}.{suffix}/{pool}/.well-known/jwks.json",
    audience_claims=("aud", "client_id"),  # aud is there only for tokens that were asked for with a resource
    role_claims=(("cognito:groups",),),
    required_claims=("sub", "client_id"),
    claim_values={"token_use": "access"},
    machine_signs=(("username", "present", "", False), ("sub", "same_as", "client_id", True)),
    documentation=(
        "https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html",
        "https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html",
    ),
)
KEYCLOAK: Final = Provider(
    issuer="{base}/realms/{realm}",
    token_types=("JWT", "at+jwt"),
    role_claims=(("realm_access", "roles"),),
    client_id_claims=("azp",),
    required_claims=("azp",),
    claim_values={"typ": ("Bearer", "DPoP")},  # the second where it is bound to a key
    machine_signs=(
        ("preferred_username", "starts", "service-account-", True),
        ("preferred_username", "present", "", False),
    ),
    documentation=(
        "https://www.keycloak.org/docs/latest/server_admin/index.html#_service_accounts",
        "https://www.keycloak.org/docs/latest/server_admin/index.html#_audience",
    ),
)
GOOGLE: Final = Provider(
    issuer="https://accounts.google.com",
    jwks_uri="https://www.googleapis.com/oauth2/v3/certs",
    token_types=("JWT",),
    scope_claims=(),
    client_id_claims=("azp",),
    required_claims=("sub", "email"),
    claim_values={"email_verified": True},
    machine_signs=(("email", "ends", ".gserviceaccount.com", True), ("email", "present", "", False)),
    documentation=(
        "https://cloud.google.com/docs/authentication/token-types#id",
        "https://cloud.google.com/run/docs/authenticating/service-to-service",
    ),
)
KUBERNETES: Final = Provider(
    issuer="{url}",
    token_types=(None, "JWT"),
    scope_claims=(),
    client_id_claims=(),
    required_claims=("sub", "kubernetes.io"),
    machine_signs=(("sub", "starts", "system:serviceaccount:", True),),
    documentation=(
        "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",
        "https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery",
    ),
)
GITHUB_ACTIONS: Final = Provider(
    issuer="{url}",
    token_types=("JWT",),
    scope_claims=(),
    client_id_claims=(),
    required_claims=("sub", "repository", "repository_owner_id"),
    machine_signs=(("sub", "present", "", True),),
    documentation=("https://docs.github.com/actions/reference/security/oidc",),
)
PINGONE: Final = Provider(
    issuer="https://{domain}/{environment}/as",
    required_claims=("client_id",),
    machine_signs=(("sub", "present", "", False), ("sub", "absent", "", True)),
    documentation=(
        "https://developer.pingidentity.com/pingone-api/foundations/authentication-concepts/access-tokens-and-id-tokens/token-claims.html",
    ),
)
ZITADEL: Final = Provider(
    issuer="https://{domain}",
    role_claims=(("urn:zitadel:iam:org:project:roles",),),
    client_id_claims=("client_id", "azp"),
    required_claims=("sub",),
    documentation=("https://zitadel.com/docs/apis/openidoauth/claims",),
)

GOOGLE_IAP: Final = Provider(
    issuer="https://cloud.google.com/iap",
    jwks_uri="https://www.gstatic.com/iap/verify/public_key-jwk",
    algorithms=("ES256",),
    token_types=(None, "JWT"),
    scope_claims=(),
    role_claims=(),
    client_id_claims=(),
    required_claims=("sub", "iat"),
    machine_signs=(("email", "ends", ".gserviceaccount.com", True), ("email", "present", "", False)),
    documentation=("https://cloud.google.com/iap/docs/signed-headers-howto",),
)
CLOUDFLARE_ACCESS: Final = Provider(
    issuer="https://{domain}",
    jwks_uri="https://{domain}/cdn-cgi/access/certs",
    algorithms=("RS256",),
    token_types=(None, "JWT"),
    scope_claims=(),
    role_claims=(),
    client_id_claims=("common_name",),  # of a service token, whose sub is ""
    claim_values={"type": "app"},  # "org" is the session of the whole team, and good at no application
    machine_signs=(("common_name", "present", "", True), ("email", "present", "", False)),
    documentation=(
        "https://developers.cloudflare.com/cloudflare-one/identity/authorization-cookie/application-token",
        "https://developers.cloudflare.com/cloudflare-one/identity/authorization-cookie/validating-json",
    ),
)


# -- names -------------------------------------------------------------------------------------------------------------


def host(setting: str, value: object, example: str) -> str:
    """A host, with a port if need be. Raises `ConfigurationError`, for a URL too."""
    return _matching(_HOST, setting, value, f'must be a host without scheme and path: "{example}"')


def entra(version: object) -> Provider:
    """Microsoft Entra ID, by the version of its tokens. Raises `ConfigurationError`."""
    if version not in (1, 2):
        raise ConfigurationError("version must be 1 or 2: requestedAccessTokenVersion in the manifest of the API")
    return ENTRA_V2 if version == 2 else ENTRA_V1


def guid(setting: str, value: object) -> str:
    """A GUID in lower case, as it is in tokens. Raises `ConfigurationError`, for `common` and the like too."""
    return _matching(
        _GUID, setting, value, "must be a GUID in lower case; common, organizations and consumers are no issuer"
    )


def name(setting: str, value: object, example: str) -> str:
    """One path segment. Raises `ConfigurationError`."""
    return _matching(_NAME, setting, value, f'must be a name such as "{example}"')


def pool(value: object) -> dict[str, str]:
    """The parts of a Cognito user pool id: `region`, the domain's `suffix`, `pool`. Raises `ConfigurationError`."""
    found = _matching(_POOL, "user_pool_id", value, 'must be a user pool id such as "eu-central-1_AbCdEfGhI"')
    region = found.partition("_")[0]
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return {"region": region, "suffix": suffix, "pool": found}


def service_account(value: object) -> str:
    """The `sub` of a Kubernetes service account given as `namespace:name`. Raises `ConfigurationError`."""
    text = 'must hold names such as "payments:worker", namespace first'
    return "system:serviceaccount:" + _matching(_ACCOUNT, "service_accounts", value, text)


def _matching(pattern: re.Pattern[str], setting: str, value: object, text: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise ConfigurationError(f"{setting} {text}")
    return value
