"""A token endpoint that is hostile on the wire: each answer has its outcome, in time, and no text is secret."""

import asyncio
import gzip
import json
import logging
import re
import socket
import ssl
import traceback
from types import SimpleNamespace
from urllib.parse import parse_qs

import jwt
import pytest
from certificates import contexts
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hostile_server import HostileServer, KeepingServer, respond
from listeners import held_port
from wire_server import whole

from tokenguard import TokenRefusedError, TokenUnavailableError
from tokenguard.client import TokenSource

SECRET = "s3cret-of-orders-0123456789"
TOKEN = "token-0123456789-abcdef"
GOOD = json.dumps({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 600}).encode()


def source(server, client_secret=SECRET, **settings):
    settings = {"http_timeout": 30, "allow_insecure_http": True, "token_endpoint": f"{server.url}/token", **settings}
    return TokenSource("https://auth.example.com/", "orders", client_secret, **settings)


def ask(world, tokens, **asked):
    if world == "threads":
        return tokens.token(**asked)
    return asyncio.run(tokens.token_async(**asked))


def failure(world, server, error=TokenUnavailableError, **settings):
    with source(server, **settings) as tokens, pytest.raises(error) as caught:
        ask(world, tokens)
    said = "".join(traceback.format_exception(caught.value))
    assert SECRET not in said
    assert TOKEN not in said
    return caught.value


worlds = pytest.mark.parametrize("world", ["threads", "loops"])


@worlds
def test_a_good_answer(world):
    with HostileServer(respond(body=GOOD)) as server, source(server) as tokens:
        assert ask(world, tokens).access_token == TOKEN
        [request] = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /token HTTP/1.1\r\n")
    assert body == b"grant_type=client_credentials"


@worlds
def test_102_a_redirect_replays_no_secret(world):
    with HostileServer(respond(body=GOOD)) as elsewhere:
        behaviour = respond("307 Temporary Redirect", Location=f"{elsewhere.url}/token")
        with HostileServer(behaviour) as server:
            assert failure(world, server).__cause__.kind == "status_307"
        assert elsewhere.requests == []


@worlds
def test_a_request_that_is_sent_again_has_an_assertion_and_a_proof_of_its_own(world, caplog):
    """A server may have read the first one, and accepts each `jti` once. What either sent stays out of texts."""
    caplog.set_level(logging.DEBUG, "tokenguard")
    assertions, proofs = [], []

    def behave(connection, body):
        assertions.append(parse_qs(body.decode())["client_assertion"][0])
        proofs.append(re.search(rb"(?im)^dpop: *(\S+)", server.requests[-1])[1].decode())
        if len(assertions) == 1:
            connection.sendall(whole(b'{"error":"use_dpop_nonce"}', "400 Bad Request", DPoP_Nonce="n1"))
        elif len(assertions) == 2:
            connection.shutdown(socket.SHUT_RDWR)
        else:
            error = {"error": "invalid_request", "error_description": f"what is {assertions[-1][-80:]}"}
            connection.sendall(whole(json.dumps(error).encode(), "400 Bad Request"))

    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signing = {"client_auth": "private_key_jwt", "private_key": pem, "private_key_algorithm": "ES256", "dpop": True}
    with KeepingServer(behave) as server:
        error = failure(world, server, TokenRefusedError, client_secret=None, **signing)
        assert server.connections == 2
    for sent in (assertions, proofs):
        jtis = {jwt.decode(one, options={"verify_signature": False})["jti"] for one in sent}
        assert len(jtis) == len(sent) == 3
    assert [jwt.decode(one, options={"verify_signature": False}).get("nonce") for one in proofs] == [None, "n1", "n1"]
    assert (error.error, error.error_description) == ("invalid_request", None)
    assert assertions[-1][-80:] not in f"{error}{caplog.text}"


ANSWERS = {
    "too large": (respond(body=b" " * 600_000 + GOOD), "too_large"),
    "a bomb": (respond(body=gzip.compress(b" " * 50_000_000), Content_Encoding="gzip"), "too_large"),
    "another encoding": (respond(body=GOOD, Content_Encoding="br"), "content_encoding"),
    "a page": (respond(body=b"<html>", content_type="text/html"), "not_json"),
    "deep": (respond(body=b'{"a":' * 10_000), "not_json"),
    "twice": (respond(body=b'{"access_token":"a",' + GOOD[1:]), "not_json"),
    "line ends": (respond(body=b'{"access_token":"a\\r\\nx: y"}'), "unusable_access_token"),
    "10 MB": (respond(body=b'{"access_token":"' + b"a" * 500_000 + b'"}'), "unusable_access_token"),
    "no HTTP": (lambda connection, _: connection.sendall(b"SSH-2.0\r\n\r\n"), None),
    "nothing": (lambda connection, _: None, "disconnected"),
    "half": (lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), None),
}


@worlds
@pytest.mark.parametrize("name", ANSWERS)
def test_108_odd_answers_are_no_token(world, name, caplog):
    caplog.set_level(logging.DEBUG, "tokenguard")
    behaviour, kind = ANSWERS[name]
    with HostileServer(behaviour) as server:
        error = failure(world, server)
        assert len(server.requests) <= 2
    assert kind is None or error.__cause__.kind == kind
    assert SECRET not in caplog.text


@worlds
@pytest.mark.parametrize(("name", "asked"), [("nothing", 1), ("half", 2), ("a page", 2)])
def test_105_a_server_that_closes_without_an_answer_is_out_of_reach(world, name, asked):
    with HostileServer(ANSWERS[name][0]) as server, source(server, jitter=lambda: 1.0, monotonic=lambda: 0.0) as tokens:
        for scope in ("a", "b"):
            with pytest.raises(TokenUnavailableError):
                ask(world, tokens, scope=scope)
        assert len(server.requests) == asked


@worlds
def test_a_server_that_drips_is_left_in_time(world):
    """Without a bound on the whole, the connection that ends after ten seconds would be another failure."""

    def drip(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b" ")
            server.pause(0.1)

    with HostileServer(drip) as server:
        assert failure(world, server, http_timeout=1).__cause__.kind == "timeout"


@worlds
def test_107_a_refusal_that_sends_the_secret_back(world, caplog):
    caplog.set_level(logging.DEBUG, "tokenguard")

    def echo(connection, _):
        sent = server.requests[-1].split(b"Basic ")[1].split(b"\r\n")[0].decode()
        body = {"error": f"invalid_client {SECRET}", "error_description": f"{sent} and {SECRET}"}
        respond("401 Unauthorized", json.dumps(body).encode())(connection, b"")

    with HostileServer(echo) as server:
        error = failure(world, server, TokenRefusedError)
    assert (error.error, error.error_description) == (None, None)
    assert SECRET not in caplog.text


@worlds
def test_nobody_there(world):
    with held_port() as port:
        server = SimpleNamespace(url=f"http://127.0.0.1:{port}")
        assert failure(world, server).__cause__.kind == "unreachable"


@worlds
def test_a_certificate_that_does_not_verify_gets_no_secret(world, tmp_path):
    context, trusting = contexts(tmp_path)
    with HostileServer(respond(body=GOOD), context=context) as server:
        assert failure(world, server, allow_insecure_http=False).__cause__.kind == "certificate"
        assert server.requests == []
        with source(server, allow_insecure_http=False, ssl_context=trusting) as tokens:
            assert ask(world, tokens).access_token == TOKEN


@worlds
def test_a_client_certificate_loaded_again_counts_from_the_next_request(world, tmp_path):
    server_context, client_context = contexts(tmp_path)
    now = [0.0]
    folders = [tmp_path / name for name in ("unknown", "known")]
    for folder in folders:
        folder.mkdir()
        contexts(folder)
    server_context.load_verify_locations(folders[1] / "server.pem")
    server_context.verify_mode = ssl.CERT_REQUIRED
    settings = {"client_auth": "tls_client_auth", "ssl_context": client_context, "allow_insecure_http": False}
    with (
        HostileServer(respond(body=GOOD), context=server_context) as server,
        source(server, monotonic=lambda: now[0], **settings) as tokens,
    ):
        client_context.load_cert_chain(folders[0] / "server.pem")
        with pytest.raises(TokenUnavailableError):
            ask(world, tokens)
        client_context.load_cert_chain(folders[1] / "server.pem")
        now[0] += 60
        assert ask(world, tokens).access_token == TOKEN
    assert len(server.requests) == 1
