"""Certificates over real connections: gunicorn that ends TLS itself, nginx in front of uvicorn."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import time
from base64 import b64encode
from contextlib import contextmanager

import httpx
import pytest
from certificates import Authority
from listeners import held_port
from real_servers import EXAMPLES, GUNICORN, SERVED, UVICORN, serve, settings

from tokenguard.testing import FakeIssuer

AUDIENCE = "https://api.example.com"


@pytest.fixture(scope="module")
def issuer():
    fake = FakeIssuer(audience=AUDIENCE, client_id="orders-client")
    with fake.serve():
        yield fake


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


def client_for(authority, certificate=None):
    context = ssl.create_default_context(cafile=authority.path)
    if certificate is not None:
        context.load_cert_chain(certificate[0], certificate[1])
    return httpx.Client(verify=context, timeout=60, trust_env=False)


def asked(client, url, token, *fields):
    return client.get(url, headers=[("Authorization", f"Bearer {token}"), *fields]).status_code


def test_gunicorn_gives_the_certificate_of_its_connection(issuer, authority):
    ours, other = authority.issue("client"), authority.issue("other")
    path, key, _ = authority.issue("server")
    tls = ("--certfile", str(path), "--keyfile", str(key), "--ca-certs", str(authority.path), "--cert-reqs", "1")
    app = ("mtls_app:app", "--chdir", str(EXAMPLES), *tls)
    token = issuer.mint("orders:read", bound_to=ours[2])
    with serve(GUNICORN, app, settings(issuer.url, AUDIENCE)) as running:
        url = running.url.replace("http:", "https:") + "/orders"
        with client_for(authority, ours) as client:
            answer = client.get(url, headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.text.split()[0]) == (200, "orders-client")
            assert asked(client, url, issuer.mint("orders:read")) == 401  # required
        with client_for(authority, other) as client:
            assert asked(client, url, token) == 401
        with client_for(authority) as client:
            assert asked(client, url, token) == 401


NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_client_certificate {authority};
    ssl_verify_client optional;
    location / {{
      proxy_pass {upstream};
      proxy_set_header X-Client-Cert $ssl_client_escaped_cert;
    }}
  }}
}}
"""


@contextmanager
def nginx(authority, upstream, directory):
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("needs nginx: apt-get install nginx-light")
    certificate, key, _ = authority.issue("proxy")
    with held_port() as port:
        written = NGINX.format(
            directory=directory,
            port=port,
            certificate=certificate,
            key=key,
            authority=authority.path,
            upstream=upstream,
        )
        path = directory / "nginx.conf"
        path.write_text(written)
        process = subprocess.Popen([program, "-c", path, "-p", directory], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            yield f"https://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def test_nginx_sends_the_certificate_and_replaces_what_clients_write(issuer, authority, tmp_path):
    from urllib.parse import quote

    ours, other = authority.issue("client"), authority.issue("other")
    token = issuer.mint("orders:read", bound_to=ours[2])
    spoofed = ("X-Client-Cert", quote(ours[0].read_text(), safe=""))
    configured = {
        **settings(issuer.url, AUDIENCE),
        "TOKENGUARD_MTLS_HEADER": "X-Client-Cert",
        "TOKENGUARD_MTLS_FORMAT": "pem",
        "TOKENGUARD_MTLS_TRUSTED": "127.0.0.1",
    }
    app = ("guarded:app", "--app-dir", str(SERVED), "--no-proxy-headers")
    with serve(UVICORN, app, configured) as running, nginx(authority, running.url, tmp_path) as front:
        url = f"{front}/orders"
        with client_for(authority, ours) as client:
            assert asked(client, url, token) == 200
            assert asked(client, url, token, ("X-Client-Cert", "x")) == 200
            # a client that lets the proxy take the field off, or another one claim to be trusted
            assert asked(client, url, token, ("Connection", "X-Client-Cert")) == 200
        with client_for(authority, other) as client:
            assert asked(client, url, token) == 401
            assert asked(client, url, token, spoofed) == 401
            assert asked(client, url, token, spoofed, spoofed) == 401
        with client_for(authority) as client:
            assert asked(client, url, token) == 401
            assert asked(client, url, token, spoofed) == 401
            assert asked(client, url, token, spoofed, ("X-Forwarded-For", "127.0.0.1")) == 401
            assert asked(client, url, issuer.mint("orders:read")) == 200
    # without the proxy, the peer is somebody who is not trusted
    configured["TOKENGUARD_MTLS_TRUSTED"] = "192.0.2.1"
    with serve(UVICORN, app, configured) as running, httpx.Client(trust_env=False, timeout=60) as client:
        assert asked(client, f"{running.url}/orders", token, spoofed, ("X-Forwarded-For", "192.0.2.1")) == 401


def test_why_the_peers_address_must_be_left_alone(issuer, authority):
    from urllib.parse import quote

    ours = authority.issue("client")
    token = issuer.mint("orders:read", bound_to=ours[2])
    configured = {
        **settings(issuer.url, AUDIENCE),
        "TOKENGUARD_MTLS_HEADER": "X-Client-Cert",
        "TOKENGUARD_MTLS_FORMAT": "pem",
        "TOKENGUARD_MTLS_TRUSTED": "192.0.2.1",
    }
    app = ("guarded:app", "--app-dir", str(SERVED), "--forwarded-allow-ips", "*")
    with serve(UVICORN, app, configured) as running, httpx.Client(trust_env=False, timeout=60) as client:
        spoofed = ("X-Client-Cert", quote(ours[0].read_text(), safe=""))
        # documented, and why doctor asks: with this setting of the server a client names its own address
        assert asked(client, f"{running.url}/orders", token, spoofed, ("X-Forwarded-For", "192.0.2.1")) == 200


COUNTING = """
from pathlib import Path

from tokenguard import MutualTLS, TokenValidator
from tokenguard.asgi import BearerMiddleware

served = Path(__file__).with_name("served")


async def application(scope, receive, send):
    if scope["type"] == "http":
        with served.open("a") as file:
            file.write(scope["path"] + chr(10))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


validator = TokenValidator.from_env(mtls=MutualTLS("X-Client-Cert", "der", ["10.0.0.0/8", "unix"]))
app = BearerMiddleware(application, validator)
"""


def test_a_connection_that_was_reset_is_no_unix_socket(issuer, authority, tmp_path):
    """uvicorn does not know its peer any more, and serves the request that came on it."""
    (tmp_path / "counting.py").write_text(COUNTING)
    ours = authority.issue("client")
    bound = issuer.mint("orders:read", bound_to=ours[2])
    der = b64encode(ssl.PEM_cert_to_DER_cert(ours[0].read_text())).decode()
    fields = f"Host: x\r\nAuthorization: Bearer {bound}\r\nX-Client-Cert: {der}\r\nContent-Length: 0"
    app = ("counting:app", "--app-dir", str(tmp_path), "--no-proxy-headers")
    with serve(UVICORN, app, settings(issuer.url, AUDIENCE)) as running:
        address = ("127.0.0.1", int(running.url.rpartition(":")[2]))
        for _ in range(20):
            with socket.create_connection(address, timeout=20) as sending:
                sending.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets it
                sending.sendall(f"POST /transfer HTTP/1.1\r\n{fields}\r\n\r\n".encode())
        assert running.get("/orders", issuer.mint("orders:read")).status_code == 200
    assert set((tmp_path / "served").read_text().split()) == {"/orders"}
