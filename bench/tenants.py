"""Tenants: what 10,000 issuers that were looked up take, and what a remembered token of one of them costs.

A process of its own. Each tenant has a key of its own, fetched at its first token. The same few tokens are asked for
at any number of tenants, so that what grows is not the memory of the tokens themselves (`growth.cache_fill` has that);
in the same turns those of a listed issuer, and one SHA-256.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import corpus
from contest import each
from growth import sha256_of, take_turns
from interleave import Figures, Plan, spread, summary
from memory import resident_bytes

_PATTERN = "https://login.example.com/{tenant}"
_FEW = 50


def _made(count: int) -> Iterator[tuple[str, str, bytes, list[str]]]:
    """Name, URL of the keys, their document and tokens of so many tenants. A lone one has as many tokens as are asked
    for, the first of many one each."""
    from tokenguard.testing import FakeIssuer

    for number in range(count):
        name = f"tenant-{number:05d}"
        url = _PATTERN.format(tenant=name)
        fake = FakeIssuer(url, audience=corpus.AUDIENCE, algorithm="EdDSA", client_id="web-shop-frontend")
        subjects = range(_FEW if count == 1 else 1)
        tokens = [fake.mint(corpus.SCOPE, expires_in=86_400, sub=f"auth|{subject:032x}") for subject in subjects]
        yield name, f"{url}/jwks", json.dumps(fake.jwks()).encode(), tokens


def _filled(count: int) -> tuple[Any, list[str], dict[str, Any]]:
    """A validator that keeps the keys of so many tenants, a few of its remembered tokens, and what it took."""
    import httpx

    from tokenguard import Issuers, TokenValidator

    made = list(_made(count))
    documents = {url: document for _, url, document, _ in made}
    tenants = frozenset(name for name, *_ in made)
    tokens = [token for *_, several in made for token in several]
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=documents[str(request.url)]))
    issuers = Issuers.template(_PATTERN, tenants, jwks_uri=f"{_PATTERN}/jwks", max_issuers=count)
    validator = TokenValidator(issuers, corpus.AUDIENCE, transport=transport, token_cache_size=4 * len(tokens))
    gc.collect()
    before, began = resident_bytes(), time.process_time()
    for token in tokens:
        validator.validate(token)
    spent = time.process_time() - began  # of all threads; a fetch has one of its own
    gc.collect()
    took = {
        "tenants": count,
        "bytes": (resident_bytes() - before) / count,
        "first_token_microseconds": spent / len(tokens) * 1e6,
        "kept": sum(state.is_proven and state.keys.can_verify for state in validator.state()),
    }
    return validator, tokens[:: max(1, len(tokens) // _FEW)], took


def _listed() -> tuple[Any, list[str]]:
    from tokenguard import Issuer, TokenValidator

    [(name, _, document, tokens)] = _made(1)
    issuer = Issuer(_PATTERN.format(tenant=name), jwks=json.loads(document))
    validator = TokenValidator(issuer, corpus.AUDIENCE)
    for token in tokens:
        validator.validate(token)
    return validator, tokens


def cost(counts: Sequence[int], rounds: int, milliseconds: float) -> dict[str, Any]:
    """Remembered tokens of one of so many tenants, and what the last number of them takes."""
    # The largest first: later ones find memory that earlier ones gave back.
    filled = {count: _filled(count) for count in sorted(counts, reverse=True)}
    listed, tokens = _listed()
    samples = {
        "one SHA-256": each(sha256_of, tokens),
        "tokenguard, a listed issuer": each(listed.validate, tokens),
        **{_name(count): each(filled[count][0].validate, filled[count][1]) for count in counts},
    }
    taken = dict(zip(samples, take_turns(list(samples.values()), rounds, milliseconds), strict=True))
    figures = {name: Figures(cpu=[value * 1e3 for value in values], wall=values) for name, values in taken.items()}
    first, last = (taken[_name(counts[end])] for end in (0, -1))
    return {
        "remembered": summary(figures, "one SHA-256"),
        "last_over_first": median(one / other for one, other in zip(last, first, strict=True)),
        "above_listed_microseconds": spread(
            [one - other for one, other in zip(last, taken["tokenguard, a listed issuer"], strict=True)]
        ),
        "kept": filled[counts[-1]][2],
    }


def _name(count: int) -> str:
    return f"tokenguard, {count:,} tenant{'s' if count > 1 else ''}"


def measure(plan: Plan) -> dict[str, Any]:
    counts = [1, 100, 1_000] if plan.quick else [1, 100, 10_000]
    arguments = {"counts": counts, "rounds": plan.rounds * plan.launches, "milliseconds": plan.milliseconds}
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(arguments)], stdout=subprocess.PIPE, check=True, text=True
    )
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    print(json.dumps(cost(**json.loads(sys.argv[1]))))
