"""S17: every vector with DEBUG logging, warnings and tracebacks captured.

Nothing of a token, a secret or a private key is in a log record, a response, a `repr` or an exception's text, and no
raw control character is in a record.
"""

import asyncio
import json
import logging
import sys
import traceback
import warnings

import pytest
from vector_runs import FILES, Protected, fields_of
from vectors import minting as m

from tokenguard import ConfigurationError, Introspection, Issuer, TokenGuardError, TokenValidator, asgi, wsgi
from tokenguard.testing import Clock, FakeIssuer
from tokenguard.token import freeze

SECRETS = [m.jwk("oct")["k"], m.b64(m.secret("oct.stranger"))] + [
    m.number(value)
    for numbers in (m.private("rsa").private_numbers(),)
    for value in (numbers.d, numbers.p, numbers.q, numbers.dmp1)
]


class Ear(logging.Handler):
    def __init__(self):
        super().__init__(logging.DEBUG)
        self.heard = []

    def emit(self, record):
        text = record.getMessage()
        assert all(character.isprintable() for character in text), f"raw control character in {text!r}"
        if record.exc_info:
            text += "".join(traceback.format_exception(*record.exc_info))
        self.heard.append(text + repr(record.args))


@pytest.fixture
def ear():
    handler, logger = Ear(), logging.getLogger()
    level, guard = logger.level, logging.getLogger("tokenguard")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    guard.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    guard.setLevel(logging.NOTSET)


def parts_of(vector):
    """What must not be heard again: every segment, and the longest words of a credential."""
    sent = [vector["token"]] if "token" in vector else list(vector["authorization"])
    sent += [value for _, value in vector.get("fields", ())] + [vector.get("query", "")]
    words = {word for text in sent for word in text.replace(".", " ").replace("=", " ").split()}
    return {word[:24] for word in words if len(word) >= 16} | {word[-24:] for word in words if len(word) >= 16}


def shown(protected, vector):
    """Everything that a client, an operator or a debugger may see of one vector."""
    if "token" in vector:
        try:
            yield repr(protected.validator.validate(vector["token"], scope=protected.scope))
        except TokenGuardError as error:
            yield "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    if vector["status"] is None:
        return
    for column in protected.columns.values():
        answer = column.ask("GET", vector.get("query", ""), fields_of(vector))
        assert all(value.isprintable() for _, value in answer.headers)
        yield repr(answer.headers) + answer.body.decode()


@pytest.mark.parametrize("file", FILES)
def test_s17_nothing_of_a_token_is_seen_again(file, ear):
    """S17."""
    by_settings = {}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for vector in FILES[file]["vectors"]:
            name = vector["settings"]
            if name not in by_settings:
                by_settings[name] = Protected(FILES[file]["settings"][name])
            seen = "\n".join([*shown(by_settings[name], vector), *ear.heard, *(str(one.message) for one in warned)])
            ear.heard.clear()
            for part in parts_of(vector):
                assert part not in seen, vector["id"]
            for secret in SECRETS:
                assert secret[:16] not in seen, vector["id"]
                assert secret[-16:] not in seen, vector["id"]
    assert not warned


def test_s17_nothing_of_our_own_secrets_is_seen_again(ear):
    """S17: credentials for introspection, opaque tokens, private members that an issuer publishes."""
    clock = Clock()
    issuer = FakeIssuer(clock=clock)
    settings = issuer.introspection(when="always")
    validator = issuer.validator(issuer.as_issuer(introspection=settings))
    raw, opaque = issuer.mint(), issuer.mint_opaque()
    seen = [
        repr(settings),
        repr(validator),
        repr(vars(validator)),
        repr(issuer.as_issuer(introspection=settings)),
        str(validator.state()),
    ]
    for mode in ("refuse", "timeout", "html", None):
        validator = issuer.validator(issuer.as_issuer(introspection=settings))
        for one in (raw, opaque, "opaque-that-nobody-knows-of"):
            try:
                if mode in ("refuse", "timeout"):
                    with issuer.outage(mode):
                        seen.append(repr(validator.validate(one)))
                else:
                    issuer.publish("introspection", f"<p>{one}</p>" if mode else None, status=200)
                    seen.append(repr(validator.validate(one)))
            except TokenGuardError as error:
                seen.append("".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__))
    issuer.publish("introspection", json.dumps({"error": "invalid_client", "error_description": raw}), status=401)
    with pytest.raises(TokenGuardError) as caught:
        issuer.validator(issuer.as_issuer(introspection=settings)).validate(opaque)
    everything = "\n".join([*seen, *ear.heard, "".join(traceback.format_exception(caught.value))])
    for text in (issuer.client_secret, opaque, "opaque-that-nobody", *raw.split(".")):
        assert text[:20] not in everything
    assert "invalid_client" in "".join(ear.heard)


def test_s17_settings_that_are_refused_do_not_show_their_value():
    """S17."""
    secret = "s3cret-s3cret-s3cret"
    url = f"https://u:{secret}@i.example"
    jwk = {"kty": "oct", "k": "c2hvcnQ"}
    mapping = {"TOKENGUARD_ISSUER": "https://i", "TOKENGUARD_AUDIENCE": "a", "TOKENGUARD_LEEWAY": secret}
    attempts = [  # no line of them holds a value, so that a traceback may be searched with all its lines
        lambda: Issuer("https://i.example", jwks_uri=url),
        lambda: TokenValidator(url, "a"),
        lambda: Issuer("https://i.example", jwks={"keys": [jwk]}, algorithms="HS256"),
        lambda: Introspection("c", secret + "\n"),
        lambda: Introspection("c", private_key=secret, client_auth="private_key_jwt"),
        lambda: TokenValidator.from_mapping(mapping),
    ]
    for attempt in attempts:
        with pytest.raises(ConfigurationError) as caught:
            attempt()
        shown = "".join(traceback.format_exception(caught.value))
        assert secret not in shown
        assert "c2hvcnQ" not in shown


def test_a_token_hides_its_other_claims():
    issuer = FakeIssuer()
    validated = issuer.validator().validate(issuer.mint(email="somebody@example.com", scope="secret:scope"))
    assert "somebody" not in repr(validated)
    assert "secret:scope" not in repr(validated)
    assert validated.claims == freeze(dict(validated.claims))


def test_no_frame_under_the_app_holds_the_token_by_itself():
    """What reports errors with local variables knows to leave headers out, but not a local variable."""
    issuer = FakeIssuer()
    raw, seen = issuer.mint(), []

    def look():
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_globals["__name__"].startswith("tokenguard."):
                seen.append(frame.f_code.co_name)
                assert raw not in frame.f_locals.values()
            frame = frame.f_back

    async def asgi_app(scope, receive, send):
        look()

    def wsgi_app(environ, start_response):
        look()
        return []

    async def nothing(*_):
        raise AssertionError("the token was good")

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"authorization", f"Bearer {raw}".encode())]}
    asyncio.run(asgi.BearerMiddleware(asgi_app, issuer.validator())(scope, nothing, nothing))
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_AUTHORIZATION": f"Bearer {raw}"}
    wsgi.BearerMiddleware(wsgi_app, issuer.validator())(environ, nothing)
    assert seen == ["__call__", "__call__"]
