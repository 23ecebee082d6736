"""Every public class and function: its name, its parameters in their order, and the default of each.

Callers rely on all of it. A parameter that is not listed here may be added, keyword-only and with a default; one that
is listed neither changes nor moves.
"""

import importlib
import inspect
import random
import time
from inspect import Parameter

import pytest

import tokenguard
from tokenguard import Reason
from tokenguard._flow.wall_time import wall_time
from tokenguard.gateway import DEFAULT

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
CLOCKS = "clock=wall_time, monotonic=time.monotonic"
MIDDLEWARE = "scope=(), require=None, public=(), optional=False, header=None"
ANSWERS = "realm=None, resource_metadata=None, show_reason=False"
INTERCEPTOR = "(validator, *, require=(), methods={}, public=(), realm=None, show_reason=False)"
AUTH = "(tokens, origin, *, scope=None, resource=None, audience=None)"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"

SIGNATURES = {
    # What every import of tokenguard has.
    "tokenguard.TokenValidator": (
        f"(issuer, audience, *, leeway=30, {CLOCKS}, checks=(), max_token_bytes=16_384, token_cache_size=10_000,"
        " http_timeout=5, allow_insecure_http=False, transport=None, ssl_context=None, revocations=None, clients=None,"
        " dpop=None, mtls=None, jitter=random.random)"
    ),
    "tokenguard.TokenValidator.validate": "(self, raw, *, scope=(), require=None, request=None)",
    "tokenguard.TokenValidator.validate_async": "(self, raw, *, scope=(), require=None, request=None)",
    "tokenguard.TokenValidator.from_env": '(prefix="TOKENGUARD_", **settings)',
    "tokenguard.TokenValidator.from_mapping": '(mapping, prefix="TOKENGUARD_", **settings)',
    "tokenguard.TokenValidator.warm_up": "(self)",
    "tokenguard.TokenValidator.warm_up_async": "(self)",
    "tokenguard.TokenValidator.is_ready": "(self)",
    "tokenguard.TokenValidator.state": "(self)",
    "tokenguard.TokenValidator.close": "(self)",
    "tokenguard.TokenValidator.aclose": "(self)",
    "tokenguard.Issuer": (
        "(url, *, jwks_uri=None, jwks=None, algorithms=ALGORITHMS, audience=None, profile='jwt', introspection=None,"
        " jwks_max_age=600, jwks_max_stale=3600, jwks_cooldown=30, jwks_bearer_token=None, clients=None,"
        " token_types=None, required_claims=(), claim_values=FACTORY, audience_claims=('aud',),"
        " scope_claims=('scope', 'scp'), role_claims=('roles',), client_id_claims=('client_id',), tenant=None)"
    ),
    "tokenguard.Issuers": "(find, *, max_issuers=1_000)",
    "tokenguard.Issuers.template": "(pattern, tenants, *, claim=None, max_issuers=1_000, **settings)",
    "tokenguard.Issuers.entra": "(tenants, version=2, *, max_issuers=1_000, **settings)",
    "tokenguard.DPoP": (
        "(base_url, *, required=False, algorithms=ALGORITHMS, max_age=60, max_proof_bytes=8192, nonce_secret=None,"
        " nonce_max_age=300, replay=None, max_proofs=1_000_000)"
    ),
    "tokenguard.MutualTLS": "(header=None, format=None, trusted=(), *, required=False)",
    "tokenguard.ResourceMetadata": (
        "(resource, *, authorization_servers=None, scopes_supported=None, resource_name=None,"
        " resource_documentation=None, more=FACTORY)"
    ),
    "tokenguard.Issuer.auth0": "(domain, **settings)",
    "tokenguard.Issuer.okta": "(domain, server='default', **settings)",
    "tokenguard.Issuer.entra": "(tenant_id, *, version=2, **settings)",
    "tokenguard.Issuer.cognito": "(user_pool_id, **settings)",
    "tokenguard.Issuer.keycloak": "(base_url, realm, **settings)",
    "tokenguard.Issuer.google": "(service_accounts, **settings)",
    "tokenguard.Issuer.kubernetes": "(url=None, service_accounts=None, *, in_cluster=False, **settings)",
    "tokenguard.Issuer.github_actions": "(owner_ids, **settings)",
    "tokenguard.Issuer.pingone": "(environment_id, **settings)",
    "tokenguard.Issuer.zitadel": "(domain, **settings)",
    "tokenguard.Issuer.google_iap": "(audience=None, **settings)",
    "tokenguard.Issuer.cloudflare_access": "(team, **settings)",
    "tokenguard.Introspection": (
        "(client_id=None, client_secret=None, *, endpoint=None, client_auth='client_secret_basic', when='opaque',"
        " cache_ttl=30, negative_ttl=5, stale_ttl=0, require_audience=True, bearer_token=None, private_key=None,"
        " private_key_id=None, private_key_algorithm='RS256', ssl_context=None)"
    ),
    "tokenguard.RevocationList": "(store=None, *, max_entries=100_000)",
    "tokenguard.RevocationList.revoke": "(self, issuer, token_id, until)",
    "tokenguard.RevocationList.revoke_client": "(self, issuer, client_id, issued_before, until)",
    "tokenguard.RevocationList.revoke_subject": "(self, issuer, subject, issued_before, until)",
    "tokenguard.RevocationList.revoke_async": "(self, issuer, token_id, until)",
    "tokenguard.RevocationList.revoke_client_async": "(self, issuer, client_id, issued_before, until)",
    "tokenguard.RevocationList.revoke_subject_async": "(self, issuer, subject, issued_before, until)",
    "tokenguard.AccessToken": (
        "(*, issuer, subject=None, client_id=None, audience=(), scopes=frozenset(), expires_at=None, issued_at=None,"
        " not_before=None, token_id=None, claims=FACTORY, roles=frozenset(), is_machine=None,"
        " confirmation=FACTORY, tenant=None)"
    ),
    "tokenguard.AccessToken.has_scope": "(self, *scopes)",
    "tokenguard.ResourceRequest": "(method, url, scheme='Bearer', proof=None, certificate=None, headers=())",
    "tokenguard.SecretFile": "(path)",
    # Errors.
    "tokenguard.RejectedError": "(*, reason)",
    "tokenguard.MissingTokenError": "(*, reason=Reason.MISSING)",
    "tokenguard.InvalidRequestError": "(*, reason=Reason.MALFORMED)",
    "tokenguard.InvalidTokenError": "(*, reason=Reason.INVALID_CLAIM)",
    "tokenguard.InsufficientScopeError": "(required=(), *, reason=Reason.SCOPE)",
    "tokenguard.InsufficientAuthenticationError": (
        "(acr_values=(), max_age=None, required=(), *, reason=Reason.AUTHENTICATION)"
    ),
    "tokenguard.InvalidProofError": "(*, reason=Reason.PROOF)",
    "tokenguard.NonceRequiredError": "(nonce, *, reason=Reason.NONCE)",
    "tokenguard.UnavailableError": "(*, retry_after=1)",
    "tokenguard.KeysUnavailableError": "(*, retry_after=1)",
    "tokenguard.IntrospectionUnavailableError": "(*, retry_after=1)",
    "tokenguard.TokenUnavailableError": "(*, retry_after=1)",
    "tokenguard.TokenRefusedError": "(error=None, error_description=None)",
    # What an API answers and requires.
    "tokenguard.challenge.reject": f"(error, *, {ANSWERS})",
    "tokenguard.challenge.Rejection": "(status, headers, body)",
    "tokenguard.checks.ClaimEquals": "(name, value)",
    "tokenguard.checks.ClientAllowList": "(clients, claims=('client_id',))",
    "tokenguard.checks.MaxAge": "(seconds, claim='iat')",
    "tokenguard.checks.RequireClaims": "(names)",
    "tokenguard.requirements.Scope": "(*scopes)",
    "tokenguard.requirements.Role": "(*roles)",
    "tokenguard.requirements.Acr": "(*values)",
    "tokenguard.requirements.MaxAge": "(seconds)",
    "tokenguard.requirements.Bound": "()",
    # Adapters.
    "tokenguard.observe.ObservingAsgiMiddleware": "(app, validator, *, scope=(), public=(), on_verdict=None)",
    "tokenguard.observe.ObservingWsgiMiddleware": "(app, validator, *, scope=(), public=(), on_verdict=None)",
    "tokenguard.routes.audit": "(app)",
    "tokenguard.testing.assert_all_routes_guarded": "(app, public=())",
    "tokenguard.asgi.BearerMiddleware": f"(app, validator, *, {MIDDLEWARE}, subprotocol=None, {ANSWERS})",
    "tokenguard.wsgi.BearerMiddleware": f"(app, validator, *, {MIDDLEWARE}, {ANSWERS})",
    "tokenguard.starlette.require_scope": "(*scopes, optional=False)",
    "tokenguard.starlette.require": "(*requirements)",
    "tokenguard.fastapi.BearerToken": f"(validator, *, optional=False, header=None, {ANSWERS})",
    "tokenguard.fastapi.BearerToken.require": "(self, *requirements)",
    "tokenguard.fastapi.add_error_handler": "(app, bearer=None)",
    "tokenguard.flask.TokenGuard": f"(app=None, validator=None, *, header=None, {ANSWERS})",
    "tokenguard.flask.TokenGuard.init_app": "(self, app, validator=None)",
    "tokenguard.flask.TokenGuard.protect": "(self, views, scope=(), public=())",
    "tokenguard.flask.require_scope": "(*scopes, optional=False)",
    "tokenguard.flask.require": "(*requirements)",
    "tokenguard.mcp.TokenVerifier": "(validator, *, resource=None)",
    "tokenguard.mcp.TokenVerifier.verify_token": "(self, token)",
    "tokenguard.gateway.Gateway": (
        f"(validator, routes, *, trusted_proxies=('127.0.0.1', '::1'), claims=DEFAULT, {ANSWERS}, client_address=None,"
        " failures=None)"
    ),
    "tokenguard.gateway.Route": "(path, *, methods=None, scope=None, require=None, public=False)",
    "tokenguard.gateway.FailureLimit": "(failures=20, seconds=60, max_addresses=10_000)",
    "tokenguard.django.BearerMiddleware": "(get_response)",
    "tokenguard.django.require": "(*requirements)",
    "tokenguard.fastmcp.TokenGuardProvider": (
        "(validator, *, base_url, authorization_servers=None, required_scopes=(), scopes_supported=None,"
        " resource_base_url=None, resource_name=None, resource_documentation=None, challenge_scopes=None, realm=None,"
        " show_reason=False)"
    ),
    "tokenguard.fastmcp.TokenGuardProvider.verify_token": "(self, token)",
    "tokenguard.drf.BearerAuthentication": "()",
    "tokenguard.drf.Requires": "(*requirements)",
    "tokenguard.drf.exception_handler": "(exc, context)",
    "tokenguard.drf.RefusedRequest": "(rejection)",
    "tokenguard.grpc.BearerInterceptor": INTERCEPTOR,
    "tokenguard.grpc.AioBearerInterceptor": INTERCEPTOR,
    "tokenguard.grpc.current_token": "()",
    "tokenguard.aiohttp.setup": f"(app, validator, *, {MIDDLEWARE}, {ANSWERS})",
    "tokenguard.aiohttp.require": "(*requirements)",
    "tokenguard.litestar.TokenGuardPlugin": f"(validator, *, {MIDDLEWARE}, {ANSWERS})",
    "tokenguard.litestar.require": "(*requirements)",
    # The calling side.
    "tokenguard.client.TokenSource": (
        "(issuer, client_id=None, client_secret=None, *, scope=(), resource=(), audience=(), token_endpoint=None,"
        " client_auth='client_secret_basic', private_key=None, private_key_id=None, private_key_algorithm='RS256',"
        " client_assertion=None, assertion_audience=None, subject_token=None, subject_token_type=ACCESS_TOKEN,"
        " parameters=None, dpop=False, default_lifetime=300, cache_size=1_000, http_timeout=5,"
        f" {CLOCKS}, jitter=random.random, allow_insecure_http=False, transport=None, ssl_context=None)"
    ),
    "tokenguard.client.TokenSource.from_env": '(prefix="TOKENGUARD_CLIENT_", **settings)',
    "tokenguard.client.TokenSource.token": "(self, *, scope=None, resource=None, audience=None, subject_token=None)",
    "tokenguard.client.TokenSource.token_async": (
        "(self, *, scope=None, resource=None, audience=None, subject_token=None)"
    ),
    "tokenguard.client.TokenSource.discard": "(self, token)",
    "tokenguard.client.TokenSource.warm_up": "(self)",
    "tokenguard.client.TokenSource.warm_up_async": "(self)",
    "tokenguard.client.TokenSource.state": "(self)",
    "tokenguard.client.TokenSource.close": "(self)",
    "tokenguard.client.TokenSource.aclose": "(self)",
    "tokenguard.client.SecretFile": "(path)",
    "tokenguard.httpx.AccessTokenAuth": AUTH,
    "tokenguard.requests.AccessTokenAuth": AUTH,
    # Operators, stores.
    "tokenguard.audit.enable": (
        f"(validator, *, accepted=False, request_id_header=None, per_second=10, burst=100, fields=None, {CLOCKS})"
    ),
    "tokenguard.otel.instrument": "(validator, *, meter_provider=None, tracer_provider=None)",
    "tokenguard.redis.RedisStore": (
        "(url_or_clients, *, prefix='tokenguard:', local_copy_max_age=0, local_copy_size=10_000, timeout=1,"
        f" max_connections=50, {CLOCKS})"
    ),
    "tokenguard.redis.RedisStore.close": "(self)",
    "tokenguard.redis.RedisStore.aclose": "(self)",
    # The test kit.
    "tokenguard.testing.FakeIssuer": (
        "(url='https://issuer.example', *, audience='https://api.example.com', algorithm='RS256', clock=wall_time,"
        " client_id='client', jwks_uri=None)"
    ),
    "tokenguard.testing.FakeIssuer.serve": "(self, *, port=0)",
    "tokenguard.testing.FakeIssuer.validator": "(self, issuer=None, **settings)",
}

MEANT = {
    "ACCESS_TOKEN": ACCESS_TOKEN,
    "ALGORITHMS": ALGORITHMS,
    "DEFAULT": DEFAULT,
    "FACTORY": inspect.signature(tokenguard.AccessToken).parameters["claims"].default,  # a new mapping for each
    "Reason": Reason,
    "random": random,
    "time": time,
    "wall_time": wall_time,
}


def found(name: str):
    module, rest = name, []
    while True:
        try:
            there = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
        else:
            break
    for one in rest:
        there = getattr(there, one)
    return there


def written(signature: str) -> list[Parameter]:
    made = {}
    exec(f"def function{signature}: ...", dict(MEANT), made)
    return list(inspect.signature(made["function"]).parameters.values())


@pytest.mark.parametrize("name", SIGNATURES)
def test_parameters_and_defaults_are_what_callers_rely_on(name):
    there = inspect.signature(found(name)).parameters
    listed = written(SIGNATURES[name])
    reported = [(one.name, one.kind, one.default) for one in listed]
    assert [
        (one.name, there[one.name].kind, there[one.name].default) for one in listed if one.name in there
    ] == reported
    # A type too: True is 1, and 30 is 30.0, to `==`.
    assert [type(there[one.name].default) for one in listed] == [type(one.default) for one in listed]
    positional = [one.name for one in there.values() if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
    assert positional == [one.name for one in listed if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
    further = [one for one in there.values() if one.name not in {each.name for each in listed}]
    assert all(one.kind is Parameter.KEYWORD_ONLY and one.default is not Parameter.empty for one in further)


def test_every_public_name_of_the_package_is_listed_or_is_no_function():
    unlisted = {name for name in tokenguard.__all__ if f"tokenguard.{name}" not in SIGNATURES}
    # Bases that nobody makes, what is read and never made, a list of words.
    assert unlisted == {"TokenGuardError", "ConfigurationError", "IssuerState", "KeyState", "Reason"}
    assert all(hasattr(tokenguard, name) for name in tokenguard.__all__)


ERRORS = {  # each with its base and the code that a client sees
    "TokenGuardError": (Exception, None),
    "ConfigurationError": ("TokenGuardError", None),
    "RejectedError": ("TokenGuardError", None),
    "MissingTokenError": ("RejectedError", None),
    "InvalidRequestError": ("RejectedError", "invalid_request"),
    "InvalidTokenError": ("RejectedError", "invalid_token"),
    "InsufficientScopeError": ("RejectedError", "insufficient_scope"),
    "InsufficientAuthenticationError": ("RejectedError", "insufficient_user_authentication"),
    "InvalidProofError": ("RejectedError", "invalid_dpop_proof"),
    "NonceRequiredError": ("RejectedError", "use_dpop_nonce"),
    "TokenRefusedError": ("TokenGuardError", None),
    "UnavailableError": ("TokenGuardError", None),
    "KeysUnavailableError": ("UnavailableError", None),
    "IntrospectionUnavailableError": ("UnavailableError", None),
    "TokenUnavailableError": ("UnavailableError", None),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_tree_with_the_codes_that_clients_see(name):
    base, code = ERRORS[name]
    error = getattr(tokenguard, name)
    assert error.__bases__ == (getattr(tokenguard, base) if isinstance(base, str) else base,)
    assert getattr(error, "error", None) == code


def test_reasons_are_the_words_of_logs_and_metrics():
    words = {
        "malformed",
        "algorithm",
        "type",
        "unknown_key",
        "signature",
        "issuer",
        "audience",
        "missing_claim",
        "invalid_claim",
        "expired",
        "not_yet_valid",
        "issued_in_future",
        "client",
        "revoked",
        "confirmation",
        "proof",
        "proof_target",
        "proof_time",
        "nonce",
        "replay",
        "missing",
        "multiple",
        "scope",
        "role",
        "authentication",
    }
    assert words <= set(Reason)
    assert all(reason == reason.value == reason.name.lower() for reason in Reason)
