"""The instruments about DPoP proofs that OpenTelemetry asks for at each collection: used ones, the store, nonces.

Owns: their names, and their values if there are several validators. Must not know: keys, verdicts, what a proof is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, Meter, Observation

if TYPE_CHECKING:
    from tokenguard._validation.binding import ProofFigures
    from tokenguard.validator import TokenValidator


def observe_proofs(meter: Meter, validators: Mapping[TokenValidator, object]) -> None:
    """Make the instruments. `validators` are read at each collection; one without `dpop` has no values."""

    def fullest() -> list[tuple[int, int]]:
        found = [used for validator in list(validators) if (used := validator.used_proofs) is not None]
        return sorted(found, key=lambda used: used[0] / used[1])[-1:]

    def figures() -> list[ProofFigures]:
        return [found for validator in list(validators) if (found := validator.proof_figures) is not None]

    def proofs(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count) for count, _most in fullest()]

    def most_proofs(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(most) for _count, most in fullest()]

    def failures(_: CallbackOptions) -> Iterable[Observation]:
        found = figures()
        return [Observation(sum(one.store_failures for one in found))] if found else []

    def nonce_age(_: CallbackOptions) -> Iterable[Observation]:
        ages = [one.nonce_age for one in figures() if one.nonce_age is not None]
        return [Observation(max(ages))] if ages else []

    meter.create_observable_gauge(
        "tokenguard.dpop.proofs",
        [proofs],
        unit="{proof}",
        description="Used DPoP proofs that are remembered; of several validators those of the fullest.",
    )
    meter.create_observable_gauge(
        "tokenguard.dpop.max_proofs",
        [most_proofs],
        unit="{proof}",
        description="How many used DPoP proofs can be remembered: full is 503.",
    )
    meter.create_observable_counter(
        "tokenguard.dpop.store.failures",
        [failures],
        unit="{proof}",
        description="Good DPoP proofs that could not be recorded as used: the store failed, or the memory is full.",
    )
    meter.create_observable_gauge(
        "tokenguard.dpop.nonce.age",
        [nonce_age],
        unit="s",
        description="Age of the nonce in the last DPoP proof that was accepted; of several validators the oldest.",
    )
