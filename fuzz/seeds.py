"""Write the seeds of every target: `python fuzz/seeds.py DIRECTORY`.

The vectors are the corpus, so a find that became a vector is a seed from then on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path

SEPARATOR = b"\n---\n"
TESTS = Path(__file__).parent.parent / "tests"
VECTORS = TESTS / "vectors"
sys.path.extend([str(TESTS), str(TESTS / "support")])


def decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def as_signed(token: str) -> bytes | None:
    """Header and payload of a vector, to be signed anew with the fuzz target's own secret."""
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        return None
    try:
        header, payload = decoded(parts[0]), decoded(parts[1])
    except ValueError:
        return None
    for name in ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"):
        header = header.replace(f'"{name}"'.encode(), b'"HS256"')
    for name in ("rsa", "p256", "p384", "p521", "ed"):
        header = header.replace(f'"kid":"{name}"'.encode(), b'"kid":"oct"')
    return b"S" + header + SEPARATOR + payload


def answers() -> list[bytes]:
    """Token answers: each status with each body, each odd value of a member."""
    good = {"access_token": "abc", "token_type": "Bearer", "expires_in": 600, "scope": "a"}
    odd = [None, True, 0, -1, 1.5, 10**40, "", "600", "a b", "a\r\nb", [], {}, "DPoP", "N_A"]
    bodies = [json.dumps({**good, name: value}) for name in good for value in odd]
    bodies += ["", "[]", "<html>", '{"error":"invalid_client","error_description":"s3cret-0123456789-abcdef"}']
    bodies += [json.dumps({"error": code}) for code in ("slow_down", "use_dpop_nonce", "odd", 5, None)]
    head = 'application/json\n{}\nBearer realm="x", error="invalid_token", DPoP error=use_dpop_nonce\n'
    fields = ("5", "Wed, 18 May 2033 03:33:30 GMT")
    found = [f"200\n{head.format('')}{body}" for body in bodies]
    found += [f"{status}\n{head.format(field)}{bodies[-5]}" for status in (401, 403, 429, 500, 503) for field in fields]
    return [one.encode() for one in found]


def proofs() -> list[bytes]:
    """Every vector of a proof, as it is sent, and to be signed anew by the fuzz target's own key, which is `@X@`."""
    from proofs import Maker, vectors

    maker, found = Maker("EdDSA"), []
    for vector in vectors().values():
        try:
            made = vector.make(maker)
        except (KeyError, AssertionError):  # of a member that this kind of key does not have
            continue
        for proof in [made] if isinstance(made, str) else made:
            found.append(proof.encode("utf-8", "surrogateescape"))
            parts = proof.split(".")
            try:
                header, payload = decoded(parts[0]), decoded(parts[1])
            except (IndexError, ValueError):
                continue
            header = header.replace(maker.key.jwk["x"].encode(), b"@X@")
            ath = maker.claims()["ath"].encode()
            found.append(b"S" + header + SEPARATOR + payload.replace(ath, b"@ATH@"))
    return found


def certificates() -> list[bytes]:
    """Every vector of a field, each under every format."""
    from certificate_fields import BAD, GOOD

    values = {value for fields in (*GOOD.values(), *BAD.values()) for value in fields.values()}
    return [bytes([form]) + value.encode("latin-1") for value in sorted(values) for form in range(5)]


def paths() -> list[bytes]:
    from gateway_paths import ODD, PLAIN

    return [*ODD, *PLAIN]


def seeds() -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {
        "token": [],
        "header": [],
        "jwks": [],
        "introspection": [],
        "token_answer": answers(),
        "proof": proofs(),
        "certificate": certificates(),
        "gateway_path": paths(),
    }
    for path in sorted(VECTORS.glob("*.json")):
        file = json.loads(path.read_text())
        for setting in file["settings"].values():
            found["jwks"] += [
                one["served"].encode("utf-8", "surrogatepass") for one in setting["issuers"] if "served" in one
            ]
            found["jwks"] += [json.dumps(one["jwks"]).encode() for one in setting["issuers"] if "jwks" in one]
        for vector in file["vectors"]:
            if "token" in vector:
                token = vector["token"]
                found["token"].append(token.encode("utf-8", "surrogatepass"))
                found["header"].append(f"Bearer {token}\n".encode("latin-1", "replace"))
                signed = as_signed(token)
                if signed is not None:
                    found["token"].append(signed)
                    payload = signed.partition(SEPARATOR)[2]
                    if payload[:1] == b"{":
                        answer = b'200 application/json\n{"active":true,"token_type":"Bearer",' + payload[1:]
                        found["introspection"].append(answer)
            else:
                values = [*vector["authorization"], vector.get("query", "")]
                found["header"].append("\n".join(values).encode("latin-1", "replace"))
    metadata = {"issuer": "https://issuer.example", "jwks_uri": "https://issuer.example/jwks"}
    found["jwks"].append(json.dumps(metadata).encode())
    for body in (
        '{"active":false}',
        '{"active":"true"}',
        '{"active":1}',
        "[]",
        "",
        '{"error":"invalid_client"}',
        "<html>",
    ):
        found["introspection"] += [f"{status} application/json\n{body}".encode() for status in (200, 401, 500)]
    return found


if __name__ == "__main__":
    for target, contents in seeds().items():
        folder = Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for content in contents:
            if len(content) <= 20_000:
                (folder / hashlib.sha256(content).hexdigest()[:20]).write_bytes(content)
        print(target, len(list(folder.iterdir())))
