"""How the cost grows: token size, issuers, keys, required scopes, remembered tokens, held headers.

One process, one thread; the points of a series are measured in turns, and each beside the same yardstick, so that a
change of pace hits all of them. What should be constant is given as a ratio of its last point to its first.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

import corpus
from contest import Sample, calibrate, each
from interleave import Plan, spread

Point = tuple[float, Sample]


def _issuer(algorithm: str = "EdDSA", url: str = corpus.ISSUER) -> Any:
    from tokenguard.testing import FakeIssuer

    return FakeIssuer(url, audience=corpus.AUDIENCE, algorithm=algorithm, client_id="web-shop-frontend")


def _mint(issuer: Any, count: int, **claims: object) -> list[str]:
    return [
        issuer.mint(corpus.SCOPE, expires_in=86_400, sub=f"auth|{number:032x}", **claims) for number in range(count)
    ]


def _validator(issuers: Any, size: int) -> Any:
    from tokenguard import TokenValidator

    return TokenValidator(issuers, corpus.AUDIENCE, token_cache_size=size)


def _settings(issuer: Any, jwks: Any = None) -> Any:
    from tokenguard import Issuer

    return Issuer(issuer.url, jwks=jwks or issuer.jwks())


def token_size(algorithm: str, plan: Plan) -> dict[str, list[Point]]:
    """New and remembered tokens of 1 to 16 kB: a list of group names makes them large."""
    issuer = _issuer(algorithm)
    new, known = [], []
    for kilobytes in (1, 2, 4, 8, 12, 15.9):
        groups: list[str] = []
        while len(issuer.mint(corpus.SCOPE, groups=groups)) < kilobytes * 1024 - 60:
            groups.append(f"group-{len(groups):04d}-of-the-company")
        tokens = _mint(issuer, 60, groups=groups)
        new.append((len(tokens[0]) / 1024, each(_validator(_settings(issuer), 20).validate, tokens)))
        remembering = _validator(_settings(issuer), 1_000)
        for token in tokens:
            remembering.validate(token)
        known.append((len(tokens[0]) / 1024, each(remembering.validate, tokens)))
    return {"new": new, "remembered": known}


def issuers(plan: Plan) -> dict[str, list[Point]]:
    new, known = [], []
    largest = 100 if plan.quick else 1_000
    everybody = [_issuer(url=f"https://auth-{number:04d}.example.com/") for number in range(largest)]
    for count in (1, 10, 100, 1_000):
        if count > largest:
            continue
        some = everybody[:count]
        settings = [_settings(one) for one in some]
        tokens = [token for one in some[:: max(1, count // 50)] for token in _mint(one, 200 // min(count, 50))]
        new.append((count, each(_validator(settings, 20).validate, tokens)))
        remembering = _validator(settings, 1_000)
        for token in tokens:
            remembering.validate(token)
        known.append((count, each(remembering.validate, tokens)))
    return {"new": new, "remembered": known}


def keys(plan: Plan) -> dict[str, list[Point]]:
    new, known = [], []
    for count in (1, 3, 10, 30, 100):
        issuer = _issuer()
        for _ in range(count - 1):
            issuer.add_key()
        tokens = _mint(issuer, 200)
        new.append((count, each(_validator(_settings(issuer), 20).validate, tokens)))
        remembering = _validator(_settings(issuer), 1_000)
        for token in tokens:
            remembering.validate(token)
        known.append((count, each(remembering.validate, tokens)))
    return {"new": new, "remembered": known}


def required_scopes(plan: Plan) -> dict[str, list[Point]]:
    from tokenguard.requirements import required

    issuer = _issuer()
    names = [f"area-{number:02d}:read" for number in range(50)]
    tokens = [issuer.mint(" ".join(names), expires_in=86_400) for _ in range(50)]
    as_string, prepared = [], []
    remembering = _validator(_settings(issuer), 1_000)
    for token in tokens:
        remembering.validate(token)
    for count in (1, 5, 10, 20, 50):
        scope = " ".join(names[:count])
        as_string.append((count, each(partial(remembering.validate, scope=scope), tokens)))
        prepared.append((count, each(partial(remembering.validate, scope=required(scope)), tokens)))
    return {"remembered, scope as a string": as_string, "remembered, behind an adapter": prepared}


def cache_fill(plan: Plan) -> dict[str, list[Point]]:
    """Asking for tokens among 0 to 100,000 remembered ones.

    "A few" are the same 50 tokens at any fill: what the look-up itself costs. "Any" goes through all of them, so that
    the processor finds less and less of them in its caches; one SHA-256 of the same tokens shows how much of that is
    the memory of the tokens themselves.
    """
    import random

    import memory

    size = 10_000 if plan.quick else 100_000
    tokens = list(memory.mint(size))
    random.Random(1).shuffle(tokens)
    few, everything, digest = [], [], []
    for count in (50, 1_000, 10_000, 100_000):
        if count > size:
            continue
        remembering = memory.symmetric_validator(4 * size)
        for token in tokens[:count]:
            remembering.validate(token)
        few.append((count, each(remembering.validate, tokens[:50])))
        everything.append((count, each(remembering.validate, tokens[:count])))
        digest.append((count, each(sha256_of, tokens[:count])))
    return {"remembered, a few of them": few, "remembered, any of them": everything, "one SHA-256 of any": digest}


def sha256_of(token: str) -> bytes:
    return sha256(token.encode()).digest()


def take_turns(samples: list[Sample], rounds: int, milliseconds: float) -> list[list[float]]:
    """Microseconds of CPU that each sample takes, round by round, in an order that rotates."""
    counts = [calibrate(sample, milliseconds) for sample in samples]
    taken: list[list[float]] = [[] for _ in samples]
    for round_ in range(rounds):
        turn = round_ % len(samples)
        for place in [*range(turn, len(samples)), *range(turn)]:
            start = time.process_time_ns()
            samples[place](counts[place])
            taken[place].append((time.process_time_ns() - start) / counts[place] / 1e3)
    return taken


def measure_series(series: dict[str, list[Point]], plan: Plan) -> dict[str, Any]:
    """Microseconds of CPU at every point, rounds in turns over all points of all lines."""
    places = [(name, at, sample) for name, points in series.items() for at, sample in points]
    taken = take_turns([sample for _, _, sample in places], plan.rounds, plan.milliseconds)
    lines: dict[str, Any] = {}
    for (name, at, _), values in zip(places, taken, strict=True):
        lines.setdefault(name, []).append({"at": at, "microseconds": spread(values)})
    for name, points in list(lines.items()):
        first, last = (points[end]["microseconds"]["median"] for end in (0, -1))
        lines[name] = {"points": points, "last_over_first": last / first}
    return lines


SERIES: dict[str, Callable[[Plan], dict[str, list[Point]]]] = {
    "token size (kB), RS256": partial(token_size, "RS256"),
    "issuers": issuers,
    "keys of the issuer": keys,
    "required scopes": required_scopes,
    "remembered tokens": cache_fill,
}


def measure(plan: Plan) -> dict[str, Any]:
    found = {}
    for name, make in SERIES.items():
        found[name] = measure_series(make(plan), plan)
        gc.collect()
    return found
