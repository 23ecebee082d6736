"""Certificates for tests, the only maker of them: signed by an authority or by themselves; files, TLS contexts."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


class Authority:
    """A CA in `directory`. `issue(name)` gives the paths of a certificate and its key, and the certificate as DER."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key, self._name = _new_key(), _name("test authority")
        certificate = _sign(self._name, self._key, self._name, self._key, is_authority=True)
        self.path = directory / "ca.pem"
        self.path.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path, bytes]:
        key = _new_key()
        certificate = _sign(_name(name), key, self._name, self._key)
        path, key_path = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_path.write_bytes(_private(key))
        return path, key_path, certificate.public_bytes(Encoding.DER)


def self_signed(host: str = HOST, days: int = 1) -> tuple[bytes, bytes]:
    """The key and the certificate, as PEM, of a server that signs its own, good for `days` from now on."""
    key, name = _new_key(), _name(host)
    certificate = _sign(name, key, name, key, is_authority=True, host=host, days=days)
    return _private(key), certificate.public_bytes(Encoding.PEM)


def self_signed_file(directory: Path, host: str = HOST, days: int = 1) -> Path:
    """The same in one file."""
    path = directory / "server.pem"
    path.write_bytes(b"".join(self_signed(host, days)))
    return path


def contexts(directory: Path, host: str = HOST, days: int = 1) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for `host`: the server's context, and a client's that trusts it."""
    path = self_signed_file(directory, host, days)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=path)


def _new_key():
    return ec.generate_private_key(ec.SECP256R1())


def _private(key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _sign(name, key, issuer, issuer_key, *, is_authority=False, host=HOST, days=1):
    now = dt.datetime.now(dt.UTC)
    names = [x509.IPAddress(ipaddress.ip_address(host)), x509.DNSName("localhost")]
    builder = (
        x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=400))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        # What X509_STRICT asks for, which Python 3.13 turns on (RFC 5280 sections 4.2.1.1 to 4.2.1.3).
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())
