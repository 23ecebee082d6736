"""Memory: what a remembered token takes, that a flood stays within the bound, and how long the slowest eviction stops
everything.

Each question gets a process of its own. Tokens are signed with HS256, which is quick to mint: what is remembered of a
token does not hold its signature.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import corpus
from interleave import Plan


def mint(count: int, prefix: str = "", *, groups: int = 0) -> Iterator[str]:
    """Distinct tokens with the claims of the corpus, and so many groups on top."""
    import hmac
    from base64 import urlsafe_b64encode
    from hashlib import sha256

    def segment(data: bytes) -> bytes:
        return urlsafe_b64encode(data).rstrip(b"=")

    header = segment(b'{"typ":"at+jwt","alg":"HS256","kid":"key-1"}')
    expires = int(time.time()) + 86_400
    for number in range(count):
        claims = {
            "iss": corpus.ISSUER,
            "sub": f"auth|{prefix}{number:032x}",
            "aud": corpus.AUDIENCE,
            "client_id": "web-shop-frontend",
            "iat": expires - 86_500,
            "exp": expires,
            "jti": f"{number:016x}",
            "scope": corpus.SCOPE,
        }
        if groups:
            claims["groups"] = [f"group-{number % 97:02d}-{place:04d}" for place in range(groups)]
        signed = header + b"." + segment(json.dumps(claims, separators=(",", ":")).encode())
        yield (signed + b"." + segment(hmac.digest(b"s" * 32, signed, sha256))).decode()


def symmetric_validator(size: int) -> Any:
    from tokenguard import Issuer, TokenValidator

    key = {"kty": "oct", "kid": "key-1", "alg": "HS256", "k": "c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M"}
    issuer = Issuer(corpus.ISSUER, jwks={"keys": [key]}, algorithms="HS256")
    return TokenValidator(issuer, corpus.AUDIENCE, token_cache_size=size)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def per_token(count: int, *, traced: bool, groups: int = 0, read: bool = False) -> dict[str, float]:
    """Bytes for each of `count` remembered tokens: as the allocator counts them, or as the kernel does. `read`: a
    handler looked at the claims of each."""
    import tracemalloc

    validator = symmetric_validator(2 * count)
    for token in mint(200, "warm"):
        validator.validate(token)
    gc.collect()
    if traced:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if traced else resident_bytes()
    for token in mint(count, groups=groups):
        judged = validator.validate(token)
        if read:
            judged.claims  # noqa: B018
    gc.collect()
    after = tracemalloc.get_traced_memory()[0] if traced else resident_bytes()
    payload = next(mint(1, groups=groups)).split(".")[1]
    return {"tokens": count, "bytes": (after - before) / count, "payload_bytes": len(payload) * 3 // 4}


def flood(count: int, size: int) -> dict[str, Any]:
    """`count` distinct tokens through a cache of `size`: resident memory on the way, and the time that each took.

    A call into which a garbage collection falls is told apart: that pause is the interpreter's, not an eviction's.
    """
    validator = symmetric_validator(size)
    validate = validator.validate
    clock = time.perf_counter_ns
    resident, spent = [], []
    gc.collect()
    empty = resident_bytes()
    # The tokens are minted beforehand in batches, so that only `validate` is timed.
    step = max(count // 50, 1)
    minted = mint(count)
    slowest, slowest_uncollected = [], []
    collections, pause, began = 0, 0, 0

    def collecting(phase: str, _: dict[str, int]) -> None:
        nonlocal collections, pause, began
        if phase == "start":
            collections, began = collections + 1, clock()
        else:
            pause = max(pause, clock() - began)

    gc.callbacks.append(collecting)
    for _ in range(count // step):
        batch = [next(minted) for _ in range(step)]
        times, uncollected = [], [0]
        for token in batch:
            seen, start = collections, clock()
            validate(token)
            times.append(clock() - start)
            if seen == collections:
                uncollected.append(times[-1])
        spent.append(median(times) / 1e3)
        slowest.append(max(times) / 1e3)
        slowest_uncollected.append(max(uncollected) / 1e3)
        del batch
        resident.append((resident_bytes() - empty) / 1e6)
    gc.callbacks.remove(collecting)
    return {
        "tokens": count,
        "size": size,
        "step": step,
        "resident_megabytes": resident,
        "median_microseconds": spent,
        "slowest_microseconds": slowest,
        "slowest_uncollected_microseconds": slowest_uncollected,
        "longest_collection_microseconds": pause / 1e3,
    }


def junk(count: int, size: int) -> dict[str, Any]:
    """`count` forged tokens against a full cache: nothing is remembered, and nothing that was is forgotten."""
    from tokenguard import InvalidTokenError

    validator = symmetric_validator(size)
    known = list(mint(size))
    for token in known:
        validator.validate(token)
    held = len(validator._memory)  # noqa: SLF001 - there is no public count, and none is needed
    refused = 0
    for token in mint(count, "junk"):
        try:
            validator.validate(token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBA"))
        except InvalidTokenError:
            refused += 1
    return {"forged": count, "refused": refused, "held_before": held, "held_after": len(validator._memory)}  # noqa: SLF001


_QUESTIONS = {"per_token": per_token, "flood": flood, "junk": junk}


def measure(plan: Plan) -> dict[str, Any]:
    many, million = (10_000, 50_000) if plan.quick else (100_000, 1_000_000)
    return {
        "per_token_resident": _ask("per_token", count=many, traced=False),
        "per_token_traced": _ask("per_token", count=many, traced=True),
        "per_token_read": _ask("per_token", count=many, traced=False, read=True),
        "per_token_large": _ask("per_token", count=many // 10, traced=False, groups=100),
        "flood_default": _ask("flood", count=million, size=10_000),
        "flood_large": _ask("flood", count=million, size=min(100_000, million // 5)),
        "junk": _ask("junk", count=million // 10, size=1_000),
    }


def _ask(question: str, **arguments: Any) -> Any:
    done = subprocess.run(
        [sys.executable, __file__, question, json.dumps(arguments)], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps(_QUESTIONS[sys.argv[1]](**json.loads(sys.argv[2]))))
