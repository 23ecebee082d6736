"""tokenguard: keys warm, everything checked that it always checks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from contest import Sample, Setup, contender, each, each_async, loop
from corpus import AUDIENCE, ISSUER

from contenders.yardstick import ALGORITHMS
from tokenguard import Issuer, TokenValidator

THREADS = 8


def validator(setup: Setup, algorithm: str = "RS256") -> TokenValidator:
    """As the README has it, but for a key set on loopback."""
    made = TokenValidator(
        Issuer(ISSUER, jwks_uri=setup.jwks_uri(algorithm)),
        AUDIENCE,
        allow_insecure_http=True,
        token_cache_size=setup.corpus(algorithm).cache_size,
    )
    made.warm_up()
    return made


def _new(algorithm: str, setup: Setup) -> Sample:
    return each(validator(setup, algorithm).validate, setup.corpus(algorithm).tokens)


def _new_with_scope(setup: Setup) -> Sample:
    return each(partial(validator(setup).validate, scope="orders:read"), setup.corpus().tokens)


def _new_async(setup: Setup) -> Sample:
    return each_async(validator(setup).validate_async, setup.corpus().tokens)


for _algorithm in ALGORITHMS:
    contender(f"new {_algorithm}", "tokenguard")(partial(_new, _algorithm))
contender("new RS256", "tokenguard, again")(partial(_new, "RS256"))
contender("new RS256", "tokenguard, with a scope")(_new_with_scope)
contender("new RS256", "tokenguard, async")(_new_async)


def _known(setup: Setup) -> tuple[TokenValidator, list[str]]:
    made, tokens = validator(setup), setup.corpus().tokens[:50]
    for token in tokens:
        made.validate(token)
    return made, tokens


@contender("remembered", "tokenguard")
def _remembered(setup: Setup) -> Sample:
    made, tokens = _known(setup)
    return each(made.validate, tokens)


contender("remembered", "tokenguard, again")(_remembered)


@contender("remembered", "tokenguard, with a scope")
def _with_scope(setup: Setup) -> Sample:
    made, tokens = _known(setup)
    validate = made.validate
    from contest import going_round

    take = going_round(tokens)

    def sample(count: int) -> None:
        for token in take(count):
            validate(token, scope="orders:read")

    return sample


@contender("remembered", "tokenguard, with a prepared scope")
def _with_prepared_scope(setup: Setup) -> Sample:
    from contest import going_round

    from tokenguard.requirements import required

    made, tokens = _known(setup)
    validate, prepared, take = made.validate, required("orders:read"), going_round(tokens)

    def sample(count: int) -> None:
        for token in take(count):
            validate(token, scope=prepared)

    return sample


@contender("remembered", "tokenguard, async")
def _async(setup: Setup) -> Sample:
    made, tokens = _known(setup)
    loop()
    return each_async(made.validate_async, tokens)


@contender("threads", "one thread")
def _one_thread(setup: Setup) -> Sample:
    made, tokens = _known(setup)
    one = each(made.validate, tokens)
    pool = ThreadPoolExecutor(1)  # handing over costs the same on both sides
    return lambda count: pool.submit(one, count).result()


@contender("threads", f"{THREADS} threads")
def _many_threads(setup: Setup) -> Sample:
    made, tokens = _known(setup)
    pool = ThreadPoolExecutor(THREADS)
    samples = [each(made.validate, tokens) for _ in range(THREADS)]
    return lambda count: [done.result() for done in [pool.submit(one, max(1, count // THREADS)) for one in samples]]
