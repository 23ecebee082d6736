"""The instruments that OpenTelemetry asks for at each collection: age, state and fetches of every issuer's keys.

Owns: one set of them for each meter provider, and their values if several validators trust one issuer. Must not know:
verdicts, spans, proofs (`proof_gauges`), how keys are fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from tokenguard._issuer.key_state import State, Tally
from tokenguard.otel.for_provider import ForProvider
from tokenguard.otel.proof_gauges import observe_proofs

if TYPE_CHECKING:
    from tokenguard._issuer.key_state import KeyState
    from tokenguard.validator import TokenValidator

_WORSE: Final[tuple[State, ...]] = ("static", "fresh", "stale", "cold", "expired")
_ISSUER: Final = "tokenguard.issuer"
TENANTS: Final = "tenants"  # all that `Issuers` looks up


class KeyGauges:
    """The observable instruments, made once for each provider.

    If several validators trust one issuer, the gauges show the worst of them, the counters the sum of all. A validator
    whose last attempt failed is worse than one whose keys are older: an idle validator has old keys, which is normal.
    """

    def __init__(self, provider: MeterProvider | None) -> None:
        # Weak: a meter lives as long as the process. The value: whether each issuer has a name of its own.
        self.validators: WeakKeyDictionary[TokenValidator, bool] = WeakKeyDictionary()
        meter = metrics.get_meter("tokenguard", meter_provider=provider)
        meter.create_observable_gauge(
            "tokenguard.keys.age",
            [self._ages],
            unit="s",
            description="Seconds since the issuer's keys were last fetched or confirmed.",
        )
        meter.create_observable_gauge(
            "tokenguard.keys.state",
            [self._states],
            unit="{state}",
            description="1 for the state that the issuer's keys are in, 0 for the others.",
        )
        meter.create_observable_gauge(
            "tokenguard.keys.failing",
            [self._failing],
            unit="{fetch}",
            description="1 while the last attempt to fetch the issuer's keys is one that failed, otherwise 0.",
        )
        meter.create_observable_gauge(
            "tokenguard.keys.usable", [self._counts], unit="{key}", description="Usable keys of the issuer."
        )
        meter.create_observable_counter(
            "tokenguard.keys.fetches", [self._fetches], unit="{fetch}", description="Attempts to fetch the keys."
        )
        meter.create_observable_counter(
            "tokenguard.keys.failures",
            [self._failures],
            unit="{fetch}",
            description="Attempts that brought no usable keys.",
        )
        observe_proofs(meter, self.validators)

    def _keys(self) -> dict[str, list[KeyState]]:
        found: dict[str, list[KeyState]] = {}
        for validator, each_issuer in list(self.validators.items()):
            for state in validator.state():
                if state.is_proven:  # what anybody can make up raises no alarm, and gets no name
                    name = state.issuer if state.is_listed or each_issuer else TENANTS
                    found.setdefault(name, []).append(state.keys)
        for states in found.values():
            states.sort(key=lambda keys: (keys.last_error is not None, _WORSE.index(keys.state), keys.age or 0.0))
        return found

    def _ages(self, _: CallbackOptions) -> Iterable[Observation]:
        ages = {issuer: states[-1].age for issuer, states in self._keys().items()}
        return [Observation(age, {_ISSUER: issuer}) for issuer, age in ages.items() if age is not None]

    def _states(self, _: CallbackOptions) -> Iterable[Observation]:
        return [
            Observation(int(states[-1].state == state), {_ISSUER: issuer, "tokenguard.state": state})
            for issuer, states in self._keys().items()
            for state in _WORSE
        ]

    def _failing(self, _: CallbackOptions) -> Iterable[Observation]:
        failing = {issuer: states[-1].last_error is not None for issuer, states in self._keys().items()}
        return [Observation(int(failed), {_ISSUER: issuer}) for issuer, failed in failing.items()]

    def _counts(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(len(states[-1].key_ids), {_ISSUER: issuer}) for issuer, states in self._keys().items()]

    def _fetches(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._sums(lambda keys: keys.fetches)

    def _failures(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._sums(lambda keys: keys.failures)

    def _sums(self, count: Callable[[KeyState | Tally], int]) -> Iterable[Observation]:
        keys = self._keys()
        keys.pop(TENANTS, None)
        sums = {issuer: sum(map(count, states)) for issuer, states in keys.items()}
        # Issuers that have gone stay counted: a counter never falls.
        validators = [validator for validator, each_issuer in list(self.validators.items()) if not each_issuer]
        directories = [validator._directory for validator in validators]  # noqa: SLF001 - of this very package
        tallies = [directory.tally for directory in directories if not directory.is_empty]
        if tallies:
            sums[TENANTS] = sum(map(count, tallies))
        return [Observation(value, {_ISSUER: issuer}) for issuer, value in sums.items()]


gauges_of: Final = ForProvider(KeyGauges)
"""The instruments of a provider."""
