"""What a refusal costs, beside one bare RS256 verification: `.venv/bin/python bench/refusal.py [ROUNDS]`.

Every vector of tests/vectors that `validate` refuses, then shapes that grow up to the size cap and beyond. Cost must
grow at most linearly up to the cap and be flat beyond it. Exits with 1 where a token that is refused before its
signature is looked at costs more than 3 verifications; without the extra `fast` such ones take up to 5. One that gets
as far costs what its algorithm and the parser cost in any case. Medians over interleaved rounds; nothing is remembered
between two calls.

Last, requests through the ASGI and WSGI middleware, with audit and telemetry on and nothing left out: what these add to
the same request unwatched, the JSON line of the record included. Exits with 1 where that is more than 3 verifications
for any of them. Telemetry is what its API does without an SDK; one adds a constant of its own, about two verifications
each for metrics and spans.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from vectors import minting as m
from vectors.minting import NOW, jwk, token

from tokenguard import Issuer, TokenGuardError, TokenValidator, asgi, audit, otel, wsgi
from tokenguard._jose import base64url

VECTORS = Path(__file__).parent.parent / "tests" / "vectors"
LIMIT = 3.0


def verification() -> Callable[[], None]:
    """One RS256 verification by `cryptography` alone, of a token of ordinary size."""
    text, _, signature = token().rpartition(".")
    key = m.private("rsa").public_key()
    raw, data, padding, digest = m.sign("RS256", "rsa", text.encode()), text.encode(), PKCS1v15(), hashes.SHA256()
    assert m.b64(raw) == signature
    return lambda: key.verify(raw, data, padding, digest)


def refusal(validator: TokenValidator, raw: str) -> Callable[[], None]:
    def run() -> None:
        try:
            validator.validate(raw)
        except TokenGuardError:
            return

    return run


def cost(run: Callable[[], None], calls: int) -> float:
    started = perf_counter_ns()
    for _ in range(calls):
        run()
    return (perf_counter_ns() - started) / calls / 1000


def vectors() -> dict[str, Callable[[], None]]:
    """Refused vectors with static keys; key sets are fetched once in minutes, and are not what a client can repeat."""
    found: dict[str, Callable[[], None]] = {}
    for path in sorted(VECTORS.glob("*.json")):
        file = json.loads(path.read_text())
        for vector in file["vectors"]:
            settings = file["settings"][vector["settings"]]
            if vector.get("verdict") is None or any("served" in one for one in settings["issuers"]):
                continue
            issuers = [Issuer(**one) for one in settings["issuers"]]
            limit = settings["max_token_bytes"]
            validator = TokenValidator(
                issuers, settings["audience"], clock=lambda: NOW, token_cache_size=0, max_token_bytes=limit
            )
            found[f"{vector['id']} ({vector['verdict']})"] = refusal(validator, vector["token"])
    return found


SHAPES: dict[str, Callable[[int], str]] = {
    "letters": lambda size: "A" * size,
    "dots": lambda size: "." * size,
    "text": lambda size: _forged(b'"' + b"x" * size + b'"'),
    "escapes": lambda size: _forged(b'"' + b"\\n" * (size // 2) + b'"'),
    "unicode": lambda size: _forged(b'"' + b"\\u00e9" * (size // 6) + b'"'),
    "numbers": lambda size: _forged(b"[" + b"0," * (size // 2) + b"0]"),
    "lists": lambda size: _forged(b"[" + b"[]," * (size // 3) + b"0]"),
    "objects": lambda size: _forged(b"[" + b"{}," * (size // 3) + b"0]"),
    "members": lambda size: _forged(b"[" + b'{"":0},' * (size // 7) + b"0]"),
    "names": lambda size: _forged(b"{" + b",".join(b'"%d":0' % number for number in range(size // 9)) + b"}"),
    "opening": lambda size: _forged(b"[" * size),
    "nested": lambda size: _forged(b"[" + (b"[" * 62 + b"]" * 62 + b",") * (size // 125) + b"0]"),
    "texts": lambda size: _forged(b"[" + b'"",' * (size // 3) + b"0]"),
    "kid": lambda size: token({"kid": "k" * size}),
    "digits": lambda size: _forged(b"9" * size),
    "floats": lambda size: _forged(b"[" + b"1.5," * (size // 4) + b"0]"),
}


def _forged(value: bytes) -> str:
    return token(payload=m.dump(m.good_claims())[:-1] + b',"x":' + value + b"}", signature=bytes(256))


# -- requests, watched -------------------------------------------------------------------------------------------------

# What a client may put into one request: (method, path, query, fields). The guard reads `Authorization` anyway.
REQUESTS: dict[str, Callable[[int], tuple[str, str, str, list[tuple[str, str]]]]] = {
    "no credential": lambda _: ("GET", "/orders", "", []),
    "dotted parts": lambda size: ("GET", "/ab", "", [_bearer("ab." * (size // 3))]),
    "long parts": lambda size: ("GET", "/" + "ab" * (size // 2), "", [_bearer(".".join(["ab" * 8] * (size // 17)))]),
    "same parts": lambda size: ("GET", "/ab" * (size // 3), "", [_bearer(".".join(["a" * (size // 4)] * 4))]),
    "nearly found": lambda size: ("GET", "/" + "a" * size, "", [_bearer(("a" * 15 + "b" + "a" * 40 + ".") * 3)]),
    "path": lambda size: ("GET", "/eyJ" * (size // 4), "", [_bearer("x")]),
    "query": lambda size: ("GET", "/", "a=b&" * (size // 4), [_bearer("x")]),
    "method": lambda size: ("A" * size, "/", "", [_bearer("x")]),
    "fields": lambda size: ("GET", "/", "", [*((f"X-{n}", "v") for n in range(size // 64)), _bearer("x")]),
    "request id": lambda size: ("GET", "/", "", [("X-Request-ID", "eyJ" * (size // 3)), _bearer("x")]),
}


def _bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


def _by_asgi(guarded: Any, request: Any) -> Callable[[], None]:
    method, path, query, fields = request
    headers = [(name.lower().encode(), value.encode()) for name, value in fields]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}

    async def send(_: object) -> None: ...

    def run() -> None:
        with suppress(StopIteration):  # nothing in it waits
            guarded(scope, None, send).send(None)

    return run


def _by_wsgi(guarded: Any, request: Any) -> Callable[[], None]:
    method, path, query, fields = request
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fields}
    environ |= {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}

    def run() -> None:
        guarded(dict(environ), lambda *_: None)

    return run


class _Written(logging.Handler):
    """Makes the line of every record, and forgets it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


def watched(rounds: int, bare: Callable[[], None]) -> list[str]:
    """Print what audit and telemetry add to each request, in verifications. Result: those that cost too much."""
    written = _Written()
    written.setFormatter(audit.JsonFormatter())
    logging.getLogger("tokenguard.audit").addHandler(written)
    keys = Issuer(m.ISSUER, jwks={"keys": [jwk("rsa")]})
    plain, seen = (TokenValidator(keys, m.AUDIENCE, clock=lambda: NOW, token_cache_size=0) for _ in range(2))
    audit.enable(seen, request_id_header="X-Request-ID", per_second=None)
    otel.instrument(seen)
    sizes = (1_500, 6_000, 16_384, 65_536, 262_144)
    print("what audit and telemetry add, in verifications" + "".join(f"{size:>10}" for size in sizes))
    dear = []
    for name, make in REQUESTS.items():
        ways: Any = (("asgi", asgi.BearerMiddleware, _by_asgi), ("wsgi", wsgi.BearerMiddleware, _by_wsgi))
        for way, guard, ask in ways:
            line = []
            for size in sizes:
                request = make(size)
                with_, without = (ask(guard(None, one), request) for one in (seen, plain))
                more = median(
                    min(cost(with_, 3) for _ in range(3)) - min(cost(without, 3) for _ in range(3))
                    for _ in range(rounds)
                )
                line.append(more / min(cost(bare, 12) for _ in range(3)))
            if max(line) > LIMIT:
                dear.append(f"{name} ({way})")
            print(f"  {name:<14} {way:<28}" + "".join(f"{ratio:>10.2f}" for ratio in line))
    return dear


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    bare, runs = verification(), vectors()
    seen: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seen[name].append(cost(run, 3) / cost(bare, 12))
    ratios = sorted(((median(values), name) for name, values in seen.items()), reverse=True)
    way = "binascii" if base64url.best() is base64url.BY_BINASCII else "pybase64"
    print(f"{len(ratios)} refused vectors; one verification is {cost(bare, 2_000):.1f} µs; base64 by {way}")
    early = [(ratio, name) for ratio, name in ratios if not name.endswith("(signature)")]
    for title, some in (("dearest, in verifications", ratios), ("before the signature was looked at", early)):
        print(f"{title}:")
        for ratio, name in some[:10]:
            print(f"  {ratio:6.2f}  {name}")
    dear = [name for ratio, name in early if ratio > LIMIT]
    print(f"above {LIMIT:g} before the signature was looked at: {', '.join(dear) or 'none'}")

    validator = TokenValidator(
        Issuer(m.ISSUER, jwks={"keys": [jwk("rsa")]}), m.AUDIENCE, clock=lambda: NOW, token_cache_size=0
    )
    sizes = (1_500, 3_000, 6_000, 11_000, 16_384, 100_000, 1_000_000)
    print("growth, in verifications" + "".join(f"{size:>10}" for size in sizes))
    for name, shape in SHAPES.items():
        line = []
        for size in sizes:
            run = refusal(validator, shape(size))
            line.append(median(cost(run, 5) / cost(bare, 5) for _ in range(rounds)))
        print(f"  {name:<22}" + "".join(f"{ratio:>10.2f}" for ratio in line))
    dear += watched(rounds, bare)
    print(f"above {LIMIT:g}: {', '.join(dear) or 'none'}")
    return 1 if dear else 0


if __name__ == "__main__":
    sys.exit(main())
