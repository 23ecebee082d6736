"""The login page and authorization codes of the test issuer; every verdict is the real validator's."""

import base64
import hashlib
import threading
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import jwt
import pytest

from tokenguard.errors import InvalidTokenError, Reason
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.testing.browsers import is_loopback

BACK = "http://127.0.0.1:8000/docs/oauth2-redirect"
PAGE = "http://localhost:8000"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ASKED = {
    "response_type": "code",
    "client_id": "client",
    "redirect_uri": BACK,
    "scope": "orders:read",
    "state": "U3VuIE5v==&x y+z",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def issuer(clock):
    issuer = FakeIssuer(clock=clock)
    issuer.add_person("alice", tenant="north", roles=["admin"])
    issuer.add_person("bob", sub="bob@example.com", key="a claim of any name", header=1)
    return issuer


@pytest.fixture
def http(issuer):
    with httpx.Client(transport=issuer.transport) as client:
        yield client


class Form(HTMLParser):
    """The fields and buttons of the only form of a page."""

    def __init__(self, text):
        super().__init__()
        self.fields, self.buttons, self.forms, self.tags = {}, [], 0, set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.add(tag)
        self.forms += tag == "form"
        if tag == "input":
            self.fields[given["name"]] = given["value"]
        if tag == "button":
            self.buttons.append((given["name"], given["value"]))


def asked(**changes):
    return {name: value for name, value in {**ASKED, **changes}.items() if value is not None}


def authorize(http, issuer, **changes):
    return http.get(issuer.authorization_endpoint, params=asked(**changes))


def choose(http, issuer, name="person", value="alice", headers=None, **changes):
    """Press a button on the page, as a browser would."""
    form = Form(authorize(http, issuer, **changes).text)
    assert (name, value) in form.buttons
    return http.post(issuer.authorization_endpoint, data={**form.fields, name: value}, headers=headers)


def way_back(answer):
    """Where the person is sent back to, and with what."""
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "no-store"
    place, _, query = answer.headers["location"].partition("?")
    assert "+" not in query  # decodeURIComponent would leave it
    return place, dict(parse_qsl(query, strict_parsing=True))


def code_of(http, issuer, **options):
    return way_back(choose(http, issuer, **options))[1]["code"]


def redeem(http, issuer, code, auth=None, headers=None, **changes):
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "client_id": "client"}
    form |= {"code_verifier": VERIFIER, **changes}
    sent = {name: value for name, value in form.items() if value is not None}
    return http.post(issuer.token_endpoint, data=sent, auth=auth, headers=headers)


def error_of(answer):
    return answer.status_code, answer.json()["error"]


# -------------------------------------------------------------------------------------------------------- the whole way


def test_a_person_logs_in_and_gets_a_token(http, issuer, clock):
    place, parameters = way_back(choose(http, issuer))
    assert place == BACK
    assert set(parameters) == {"code", "state", "iss"}
    assert (parameters["state"], parameters["iss"]) == (ASKED["state"], issuer.url)
    answer = redeem(http, issuer, parameters["code"])
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["scope"], body["expires_in"]) == ("Bearer", "orders:read", 3600)
    token = issuer.validator().validate(body["access_token"], scope="orders:read")
    assert (token.subject, token.client_id, token.roles) == ("alice", "client", {"admin"})
    assert token.claims["tenant"] == "north"
    assert token.claims["auth_time"] == int(clock())
    assert token.expires_at == int(clock()) + 3600


def test_claims_of_a_person_have_any_name_and_win(http, issuer):
    token = redeem(http, issuer, code_of(http, issuer, value="bob")).json()["access_token"]
    claims = issuer.validator().validate(token).claims
    assert (claims["sub"], claims["key"], claims["header"]) == ("bob@example.com", "a claim of any name", 1)


def test_common_claims_are_in_every_token(http, issuer):
    issuer.common_claims = {"tenant": "south", "level": 3, "expires_in": "x"}
    by_code = redeem(http, issuer, code_of(http, issuer)).json()["access_token"]
    form = {"grant_type": "client_credentials"}
    by_client = http.post(issuer.token_endpoint, data=form, auth=("client", issuer.client_secret)).json()
    for raw, tenant in ((by_code, "north"), (by_client["access_token"], "south"), (issuer.mint(), "south")):
        claims = issuer.validator().validate(raw).claims
        assert (claims["tenant"], claims["level"], claims["expires_in"]) == (tenant, 3, "x")


def test_a_client_may_authenticate_and_may_have_opaque_tokens(http, issuer):
    issuer.add_client("client", "hush", token_format="opaque")
    code = code_of(http, issuer)
    assert error_of(redeem(http, issuer, code, auth=("client", "wrong"))) == (401, "invalid_client")
    answer = redeem(http, issuer, code, auth=("client", "hush"), client_id=None)  # nothing was used up yet
    asking = issuer.as_issuer(introspection=issuer.introspection())
    assert issuer.validator(asking).validate(answer.json()["access_token"]).subject == "alice"


@pytest.mark.parametrize("place", ["authorization", "token"])
@pytest.mark.parametrize("name", ["resource", "audience"])
def test_a_target_may_be_named_at_either_endpoint(http, issuer, place, name):
    target = {name: "https://other.example"}
    at_first, later = (target, {}) if place == "authorization" else ({}, target)
    answer = redeem(http, issuer, code_of(http, issuer, **at_first), **later)
    assert issuer.validator(audience="https://other.example").validate(answer.json()["access_token"])


def test_a_redirect_uri_keeps_its_own_query(http, issuer):
    back = f"{BACK}?a=1"
    _, parameters = way_back(choose(http, issuer, redirect_uri=back))
    assert parameters["a"] == "1"
    assert redeem(http, issuer, parameters["code"], redirect_uri=back).status_code == 200


def test_scope_is_what_the_client_may_have(http, issuer):
    issuer.add_client("client", scopes=["orders:read", "orders:write"])
    assert way_back(authorize(http, issuer, scope="orders:read admin"))[1]["error"] == "invalid_scope"
    answer = redeem(http, issuer, code_of(http, issuer, scope=None))
    assert answer.json()["scope"] == "orders:read orders:write"


# ------------------------------------------------------------------------------------------------------------- metadata


def test_metadata_names_what_is_served(http, issuer):
    issuer.add_client("browser", public=True, scopes=["orders:read", "orders:write"])
    metadata = http.get(issuer.endpoints.url("discovery")).json()
    assert metadata["authorization_endpoint"] == issuer.authorization_endpoint
    assert metadata["grant_types_supported"][0] == "authorization_code"
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert "none" in metadata["token_endpoint_auth_methods_supported"]
    assert metadata["scopes_supported"] == ["orders:read", "orders:write"]


def test_without_people_nothing_of_it_is_there():
    issuer = FakeIssuer()
    with httpx.Client(transport=issuer.transport) as http:
        metadata = http.get(issuer.endpoints.url("discovery")).json()
        assert "authorization_endpoint" not in metadata
        assert "authorization_code" not in metadata["grant_types_supported"]
        assert http.get(issuer.authorization_endpoint).status_code == 404
        credentials = ("client", issuer.client_secret)
        assert error_of(redeem(http, issuer, "x", auth=credentials)) == (400, "unsupported_grant_type")
    assert issuer.counters.authorization == 0


# ------------------------------------------------------------------------------------------------------------- the page


def test_the_page_is_loud_safe_and_complete(http, issuer):
    hostile = '"><script>alert(1)</script>'
    answer = authorize(http, issuer, state=hostile, scope="orders:read <b>")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "For development only" in answer.text
    assert "password" in answer.text
    form = Form(answer.text)
    assert form.forms == 1
    assert form.buttons == [("person", "alice"), ("person", "bob"), ("deny", "deny")]
    assert form.fields == asked(state=hostile, scope="orders:read <b>")
    assert not form.tags & {"script", "b", "img", "link"}
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in answer.headers


def test_nothing_is_given_for_looking_at_the_page(http, issuer):
    """A code comes of a button alone: what a page or a prefetch asks for by GET changes nothing."""
    answer = authorize(http, issuer, person="alice")
    assert answer.status_code == 200
    assert Form(answer.text).fields == ASKED
    assert http.head(issuer.authorization_endpoint, params=ASKED).status_code == 200
    assert http.put(issuer.authorization_endpoint).headers["allow"] == "GET, HEAD, POST"


def test_an_authorization_request_may_be_posted(http, issuer):
    answer = http.post(issuer.authorization_endpoint, data=ASKED)
    assert Form(answer.text).fields == ASKED
    unknown = http.post(issuer.authorization_endpoint, data={**ASKED, "person": "mallory"})
    assert (unknown.status_code, Form(unknown.text).forms) == (200, 1)


def test_a_person_may_say_no(http, issuer):
    place, parameters = way_back(choose(http, issuer, name="deny", value="deny"))
    assert place == BACK
    assert (parameters["error"], parameters["state"], parameters["iss"]) == (
        "access_denied",
        ASKED["state"],
        issuer.url,
    )


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_form_of_another_site_is_refused(http, issuer, origin):
    answer = http.post(issuer.authorization_endpoint, data={**ASKED, "person": "alice"}, headers={"Origin": origin})
    assert (answer.status_code, "location" in answer.headers) == (400, False)
    assert way_back(choose(http, issuer, headers={"Origin": "http://127.0.0.1:9000"}))[1]["code"]


# ------------------------------------------------------------------------------------------------ errors of the request


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"client_id": "stranger"},
        {"redirect_uri": None},
        {"redirect_uri": ""},
        {"redirect_uri": "https://app.example/back"},
        {"redirect_uri": "http://127.0.0.1.evil.example/"},
        {"redirect_uri": "http://127.0.0.1@evil.example/"},
        {"redirect_uri": "http://evil.example\\@127.0.0.1/"},
        {"redirect_uri": "http://localhost.evil.example/"},
        {"redirect_uri": "http://127.0.0.1:8000/#x"},
        {"redirect_uri": "http://127.0.0.1:8000/\r\nX: y"},
        {"redirect_uri": "//127.0.0.1/"},
        {"redirect_uri": "javascript://localhost/%0aalert(1)"},
        {"redirect_uri": "http://0.0.0.0/"},
        {"redirect_uri": "http://[::ffff:10.0.0.1]/"},
        {"redirect_uri": "http://10.0.0.1/"},
    ],
)
def test_an_untrusted_way_back_is_never_taken(http, issuer, changes):
    for method in ("GET", "POST"):
        given = asked(**changes) | {"person": "alice", "response_type": "token"}
        sent = {"params": given} if method == "GET" else {"data": given}
        answer = http.request(method, issuer.authorization_endpoint, **sent)
        assert (answer.status_code, "location" in answer.headers) == (400, False)
        assert Form(answer.text).forms == 0


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_a_repeated_client_or_way_back_is_not_trusted(http, issuer, name):
    answer = http.get(issuer.authorization_endpoint, params=[*ASKED.items(), (name, ASKED[name])])
    assert (answer.status_code, "location" in answer.headers) == (400, False)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": CHALLENGE + "="}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_other_errors_go_back_to_the_application(http, issuer, changes, error):
    place, parameters = way_back(authorize(http, issuer, **changes))
    assert place == BACK
    assert (parameters["error"], parameters["state"], parameters["iss"]) == (error, ASKED["state"], issuer.url)
    assert parameters["error_description"].isascii()
    assert "code" not in parameters


def test_a_repeated_parameter_and_a_repeated_state(http, issuer):
    answer = http.get(issuer.authorization_endpoint, params=[*ASKED.items(), ("scope", "x")])
    assert way_back(answer)[1]["error"] == "invalid_request"
    _, parameters = way_back(http.get(issuer.authorization_endpoint, params=[*ASKED.items(), ("state", "x")]))
    assert (parameters["error"], "state" in parameters) == ("invalid_request", False)


def test_without_a_state_there_is_none(http, issuer):
    assert set(way_back(choose(http, issuer, state=None))[1]) == {"code", "iss"}


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (urlencode(ASKED), "text/plain"),
        (urlencode(ASKED) + "&x=%ff", "application/x-www-form-urlencoded"),
        (b"\xff=1", "application/x-www-form-urlencoded"),
        ("a=1&" * 1001, None),
    ],
)
def test_what_cannot_be_read_is_no_request(http, issuer, content, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = http.post(issuer.authorization_endpoint, content=content, headers=headers)
    assert answer.status_code == 400
    assert "text/html" in answer.headers["content-type"]


# ---------------------------------------------------------------------------------------------------------------- codes


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code": None}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"code_verifier": None}, "invalid_request"),
        ({"code": "made-up"}, "invalid_grant"),
        ({"redirect_uri": BACK + "/"}, "invalid_grant"),
        ({"redirect_uri": BACK.replace("127.0.0.1", "localhost")}, "invalid_grant"),
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, "invalid_grant"),
        ({"code_verifier": "v" * 42}, "invalid_grant"),
        ({"code_verifier": "\xe9" * 43}, "invalid_grant"),
        ({"client_id": "other"}, "invalid_grant"),
        ({"client_id": "stranger"}, "invalid_client"),
        ({"client_id": None}, "invalid_client"),
    ],
)
def test_a_code_is_bound_to_its_request(http, issuer, changes, error):
    issuer.add_client("other", public=True)
    code = code_of(http, issuer)
    answer = redeem(http, issuer, **{"code": code, **changes})
    assert error_of(answer) == (401 if error == "invalid_client" else 400, error)
    if error == "invalid_grant" and "code" not in changes:  # an attempt that fails uses it up
        assert error_of(redeem(http, issuer, code)) == (400, "invalid_grant")


def test_a_code_is_good_for_a_minute(http, issuer, clock):
    first, second = code_of(http, issuer), code_of(http, issuer)
    clock.advance(59)
    assert redeem(http, issuer, first).status_code == 200
    clock.advance(1)
    assert error_of(redeem(http, issuer, second)) == (400, "invalid_grant")


def test_a_code_is_good_once_and_its_token_falls_with_a_second_use(http, issuer):
    asking = issuer.as_issuer(introspection=issuer.introspection(when="always", cache_ttl=0))
    code = code_of(http, issuer)
    token = redeem(http, issuer, code).json()["access_token"]
    validator = issuer.validator(asking)
    assert validator.validate(token)
    assert error_of(redeem(http, issuer, code)) == (400, "invalid_grant")
    with pytest.raises(InvalidTokenError) as refusal:
        validator.validate(token)
    assert refusal.value.reason is Reason.REVOKED
    assert error_of(redeem(http, issuer, code)) == (400, "invalid_grant")


def test_of_many_at_once_one_redeems(issuer):
    with httpx.Client(transport=issuer.transport) as http:
        code = code_of(http, issuer)
    barrier, answers = threading.Barrier(8), []

    def attempt():
        with httpx.Client(transport=issuer.transport) as http:
            barrier.wait(60)
            answers.append(redeem(http, issuer, code).status_code)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [200] + [400] * 7


def test_codes_are_bounded(http, issuer, monkeypatch):
    monkeypatch.setattr("tokenguard.testing.codes._REMEMBERED", 2)
    first, *others = [code_of(http, issuer) for _ in range(3)]
    assert error_of(redeem(http, issuer, first)) == (400, "invalid_grant")
    assert [redeem(http, issuer, code).status_code for code in others] == [200, 200]


def test_a_public_client_redeems_codes_and_gets_no_other_token(http, issuer):
    issuer.add_client("browser", public=True)
    assert redeem(http, issuer, code_of(http, issuer, client_id="browser"), client_id="browser").status_code == 200
    form = {"grant_type": "client_credentials", "client_id": "browser"}
    assert error_of(http.post(issuer.token_endpoint, data=form)) == (400, "unauthorized_client")
    form["client_id"] = "client"  # which has a secret, and needs it for anything but a code
    assert error_of(http.post(issuer.token_endpoint, data=form)) == (401, "invalid_client")


# ----------------------------------------------------------------------------------------------------------------- CORS


@pytest.mark.parametrize("endpoint", ["discovery", "jwks", "token", "revocation"])
def test_pages_on_loopback_may_read(http, issuer, endpoint):
    url = issuer.endpoints.url(endpoint)
    asks = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    flown = http.options(url, headers=asks)
    assert (flown.status_code, flown.content) == (204, b"")
    assert flown.headers["access-control-allow-origin"] == PAGE
    allowed = flown.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "x-requested-with"} <= set(allowed)
    method = "POST" if endpoint in {"token", "revocation"} else "GET"
    assert method in flown.headers["access-control-allow-methods"].split(", ")
    answer = http.request(method, url, headers={"Origin": PAGE})  # an error is readable, too
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost.evil.example", "http://localhost:8000/x", "http://10.0.0.1", ""],
)
def test_pages_from_elsewhere_may_not(http, issuer, origin):
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
        answer = http.request(method, issuer.jwks_uri, headers=headers)
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-origin" not in answer.headers


def test_options_that_is_no_preflight_and_endpoints_for_no_page(http, issuer):
    assert http.options(issuer.jwks_uri, headers={"Origin": PAGE}).status_code == 405
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    for url in (issuer.introspection_endpoint, issuer.authorization_endpoint):
        answer = http.options(url, headers=headers)
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (405, False)
    assert "vary" not in http.get(issuer.jwks_uri).headers


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1",
        "https://127.8.9.10:1/x?y",
        "http://LOCALHOST:3000",
        "http://[::1]:8000/",
        "http://a.localhost",
    ],
)
def test_loopback(url):
    assert is_loopback(url)


# ------------------------------------------------------------------------------------------------------- over real HTTP


def test_the_whole_way_over_a_socket(issuer):
    with issuer.serve(), httpx.Client(trust_env=False) as http:
        parameters = way_back(choose(http, issuer))[1]
        assert parameters["iss"] == issuer.url
        headers = {"Origin": PAGE}
        answer = redeem(http, issuer, parameters["code"], headers=headers)
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert jwt.decode(answer.json()["access_token"], options={"verify_signature": False})["iss"] == issuer.url
        asks = {**headers, "Access-Control-Request-Method": "POST"}
        flown = http.options(issuer.token_endpoint, headers=asks)
        assert (flown.status_code, "content-length" in flown.headers) == (204, False)  # RFC 9110 section 8.6
        assert http.get(issuer.jwks_uri).status_code == 200  # on the same connection
        assert urlsplit(issuer.authorization_endpoint).hostname == "127.0.0.1"
