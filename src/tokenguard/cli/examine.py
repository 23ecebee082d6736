"""The examinations of `doctor`: metadata, keys and their freshness, introspection credentials.

Owns: asking each URL that the validator asks, reading the answers by its rules, and words for the findings. Must not
know: the verdict, connections.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from tokenguard._flow.effects import explained
from tokenguard._flow.messages import Response
from tokenguard._issuer.freshness import MAX_AGE, MIN_AGE, lifetime, max_age
from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._jose import jwk, key_set, strict_json
from tokenguard._oauth import server_metadata
from tokenguard._oauth.introspection_messages import AnswerError, Fault, build_request, read_answer
from tokenguard.cli import causes
from tokenguard.cli.findings import Findings
from tokenguard.cli.output import duration, shown
from tokenguard.cli.probe import Exchange, Prober
from tokenguard.introspection import Introspection

_REACH: Final = "check the address, DNS, firewall and proxy between this host and the issuer"
_FAILS: Final = "the issuer, or a proxy in front of it, fails: try again later, and ask its operator"
_FAULTS: Final = {
    Fault.OUT_OF_REACH: "the server is too busy or down; ask its operator",
    Fault.CREDENTIALS: "give this API valid credentials there, and the right to introspect",
    Fault.REQUEST: "the server rejects the request; compare client_auth with what it supports",
    Fault.ANSWER: "the URL is not an introspection endpoint; correct endpoint",
}


def discovery(found: Findings, prober: Prober, issuer: str) -> dict[str, Any] | None:
    """The metadata, from the first place that has it (contract: four places, in order)."""
    failed = False
    for url in server_metadata.places(issuer):
        exchange = prober.get(url)
        if exchange.response is None:
            found.add("discovery", "fault", f"{url}: {exchange.error}", _step(exchange))
            return None
        document = server_metadata.read(exchange.response.status, exchange.response.body, issuer)
        if document is not None:
            found.add("discovery", "ok", f"{url}: metadata of this issuer, equal byte for byte")
            return document
        _explain_place(found, exchange, exchange.response, issuer)
        failed |= exchange.response.status >= 500
    step = _FAILS if failed else "correct the issuer, or give its jwks_uri"
    found.add("discovery", "fault", "no metadata of this issuer at any place", step)
    return None


def _status(response: Response) -> str:
    redirect = ", a redirect, which is not followed" if _redirects(response) else ""
    return f"status {response.status}{redirect}"


def _redirects(response: Response) -> bool:
    return 300 <= response.status < 400


def _step(exchange: Exchange) -> str:
    """What to do about an exchange without a usable answer."""
    if exchange.response is not None:
        if _redirects(exchange.response):
            to = shown(exchange.response.headers.get("location"))
            return (
                "write the URL that answers without a redirect, and compare it with the issuer's pages;"
                f" this leads to {to}"
            )
        return _FAILS if exchange.response.status >= 500 else "the server answers, but not with keys: correct jwks_uri"
    return explained(exchange.error.partition(":")[0]).partition("; ")[2] or _REACH


def _explain_place(found: Findings, exchange: Exchange, response: Response, issuer: str) -> None:
    url = exchange.url
    if response.status != 200:
        found.add("discovery", "note", f"{url}: {_status(response)}", _step(exchange) if _redirects(response) else "")
        return
    try:
        named = strict_json.parse_object(response.body).get("issuer")
    except ValueError:
        found.add("discovery", "note", f"{url}: {causes.of_json(response.body)}")
        return
    text = f"{url}: its issuer is {shown(named)}, not {shown(issuer)}"
    if isinstance(named, str) and named.rstrip("/") == issuer.rstrip("/"):
        text += "; it differs only by a slash at its end"
    found.add("discovery", "warning", text, "write the issuer exactly as the tokens' iss has it; no slash is ignored")


def keys(
    found: Findings,
    prober: Prober,
    authority: Authority,
    document: dict[str, Any] | None,
    *,
    allow_insecure_http: bool,
) -> None:
    """The key set: whether each key is usable, and what the cache headers mean."""
    issuer = authority.issuer
    if issuer.static_keys is not None:
        count = len(issuer.static_keys.keys)
        step = "rotate by changing the configuration; a URL would rotate by itself"
        found.add("keys", "note", f"{count} static keys; nothing is fetched", step)
        return
    url = issuer.jwks_uri
    if url is None:
        if document is None:
            return
        url = _named(authority, document, "jwks_uri", allow_insecure_http=allow_insecure_http)
        if url is None:
            text = f"the metadata's jwks_uri cannot be used: {shown(document.get('jwks_uri'))}"
            found.add("keys", "fault", text, _step_of_jwks_uri(authority))
            return
    exchange = prober.get(url)
    if urlsplit(url).netloc != urlsplit(issuer.url).netloc:
        found.add("keys", "note", f"the keys are on another host: {urlsplit(url).netloc}")
    if exchange.response is None or exchange.response.status != 200:
        status = _status(exchange.response) if exchange.response else exchange.error
        found.add("keys", "fault", f"{url}: {status}", _step(exchange))
        return
    if _key_set(found, url, exchange.response.body, frozenset(issuer.allowed)):
        _freshness(found, exchange.response.headers, issuer.jwks_max_age, issuer.jwks_max_stale)


def _named(authority: Authority, document: dict[str, Any], name: str, *, allow_insecure_http: bool) -> str | None:
    """The endpoint that the metadata names, where the validator would ask it: of an issuer that was looked up on its
    own host only."""
    url = server_metadata.endpoint(document, name, authority.url, allow_insecure_http=allow_insecure_http)
    if url is None or authority.is_listed or server_metadata.is_same_host(url, authority.url):
        return url
    return None


def _step_of_jwks_uri(authority: Authority) -> str:
    where = "" if authority.is_listed else " on the issuer's own host"
    return f"it must be an https URL{where}; give jwks_uri if the metadata cannot be corrected"


def _key_set(found: Findings, url: str, body: bytes, allowed: frozenset[str]) -> bool:
    try:
        document = strict_json.parse_object(body)
    except ValueError:
        found.add("keys", "fault", f"{url}: {causes.of_json(body)}", "this is no JWK set; correct jwks_uri")
        return False
    try:
        usable = key_set.import_set(document)
    except key_set.KeySetError as error:
        is_metadata = "keys" not in document and "jwks_uri" in document
        step = (
            "this is the issuer's metadata: leave jwks_uri out" if is_metadata else "let the issuer publish usable keys"
        )
        found.add("keys", "fault", f"{url}: {error}".replace("_", " "), step)
        usable = key_set.KeySet(())
    members = document.get("keys")
    for member in members if isinstance(members, list) else ():
        _key(found, member, allowed)
    fitting = [key for key in usable.keys if not key.algorithms.isdisjoint(allowed)]
    if usable.keys and not fitting:
        step = "add the issuer's algorithm to algorithms, or let it sign with an allowed one"
        found.add("keys", "fault", "no key fits an allowed algorithm", step)
    for kid in sorted({key.kid for key in fitting if key.kid is not None}):
        if any(len(usable.fitting(kid, alg)) > 1 for alg in allowed):
            step = "let the issuer give each key its own kid"
            found.add("keys", "fault", f"several keys are named {shown(kid)}: its tokens are rejected", step)
    return bool(fitting)


def _key(found: Findings, member: Any, allowed: frozenset[str]) -> None:
    kid = shown(member.get("kid")) if isinstance(member, Mapping) and "kid" in member else "without kid"
    if isinstance(member, Mapping) and member.get("kty") != "oct" and "d" in member:
        step = "the issuer must replace this key now: everybody that fetched the set can sign"
        found.add("keys", "fault", f"key {kid} is published with its private members", step)
    try:
        key = jwk.import_key(member)
    except jwk.UnusableKeyError as error:
        found.add("keys", "note", f"key {kid} is skipped: {error}")
        return
    serves = ", ".join(sorted(key.algorithms & allowed)) or "nothing that is allowed"
    found.add("keys", "ok", f"key {kid} ({key.material[0]}) serves {serves}")


def _freshness(found: Findings, headers: Mapping[str, str], default: float, stale: float) -> None:
    sent = max_age(headers.get("cache-control", ""))
    fresh = lifetime(headers, default)
    says = f"Cache-Control is {shown(headers['cache-control'])}" if "cache-control" in headers else "no Cache-Control"
    if sent is None:
        meaning = f"no max-age to go by, so jwks_max_age: {duration(fresh)}"
    elif not MIN_AGE <= sent <= MAX_AGE:
        meaning = f"max-age is out of our bounds, so {duration(fresh)}"
    else:
        meaning = f"fresh for {duration(fresh)}"
    text = f"{says}: {meaning}; then refreshed in the background, and if that fails used for {duration(stale)} more"
    found.add("caching", "ok", text)
    found.add("caching", "note", f"a key that is withdrawn stops verifying within {duration(fresh)}")


def introspection(
    found: Findings,
    prober: Prober,
    authority: Authority,
    settings: Introspection,
    document: dict[str, Any] | None,
    *,
    allow_insecure_http: bool,
) -> None:
    """Whether the endpoint accepts this API's credentials: it is asked about an invented token."""
    url = settings.endpoint
    if url is None:
        url = _named(authority, document or {}, "introspection_endpoint", allow_insecure_http=allow_insecure_http)
    if url is None:
        found.add("introspection", "fault", "the metadata names no usable introspection_endpoint", "give endpoint")
        return
    credentials = settings.credentials(issuer=authority.url, now=time.time(), jti=secrets.token_urlsafe(16))
    exchange = prober.send(build_request(url, f"tokenguard-doctor-{secrets.token_urlsafe(24)}", credentials))
    if exchange.response is None:
        found.add("introspection", "fault", f"{url}: {exchange.error}", _step(exchange))
        return
    try:
        answer = read_answer(exchange.response)
    except AnswerError as error:
        code = f", error {shown(error.code)}" if error.code else ""
        what = _status(exchange.response) if _redirects(exchange.response) else error.kind.replace("_", " ")
        text = f"{url}: {what}{code}: {error.fault.value.replace('_', ' ')}"
        found.add("introspection", "fault", text, _FAULTS[error.fault])
        return
    if answer.get("active") is False:
        found.add("introspection", "ok", f"{url}: our credentials are accepted ({settings.client_auth})")
    else:
        step = "do not trust this endpoint: it must answer active: false"
        found.add("introspection", "fault", f"{url}: an invented token is not called inactive", step)
