"""The record of `check`: each check with its status, and the parts of the token that are known so far.

Owns: the shapes, and that a check runs only when the parts that it needs are known. Must not know: what is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tokenguard._issuer.trusted_issuer import Authority
from tokenguard._jose.jwk import Key
from tokenguard._jose.key_set import KeySet
from tokenguard.errors import Reason, RejectedError
from tokenguard.requirements import Requirement

Status = Literal["passed", "failed", "unknown", "not reached", "warning"]


@dataclass(frozen=True, slots=True)
class Step:
    """One check. `reason`: the validation's reason if it failed."""

    name: str
    status: Status
    expected: str
    found: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a token is checked against. `keys` gives an issuer's keys, None if they are unavailable."""

    authorities: Mapping[str, Authority]
    keys: Callable[[Authority], KeySet | None]
    now: float
    leeway: float
    max_token_bytes: int
    required: Requirement

    @property
    def algorithms(self) -> frozenset[str]:
        """The algorithms that any of the issuers allows."""
        return frozenset[str]().union(*(authority.algorithms for authority in self.authorities.values()))


class FailedError(Exception):
    """A check did not find what it expected."""

    def __init__(self, reason: Reason, found: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.found = found


class KeysUnknownError(Exception):
    """A check cannot run: the keys are unavailable."""


@dataclass(slots=True)
class Record:
    """The steps so far, and the parts that they found: an attribute is None until a check has set it."""

    around: Surroundings
    steps: list[Step] = field(default_factory=list[Step])
    segments: tuple[str, ...] | None = None
    parts: tuple[bytes | None, ...] = (None, None, None)
    members: dict[str, Any] | None = None
    claims: dict[str, Any] | None = None
    authority: Authority | None = None
    alg: str | None = None
    fitting: list[Key] | None = None
    key: Key | None = None

    def step(self, name: str, expected: str, check: Callable[[], str] | None) -> None:
        """Run a check and record what it found; None records a check that is not reached."""
        if check is None:
            self.steps.append(Step(name, "not reached", expected))
            return
        try:
            self.steps.append(Step(name, "passed", expected, check()))
        except FailedError as failed:
            self.steps.append(Step(name, "failed", expected, failed.found, failed.reason))
        except KeysUnknownError:
            self.steps.append(Step(name, "unknown", expected, "the keys are unavailable"))


def rejection(rule: Callable[..., object], *arguments: Any, **settings: Any) -> Reason | None:
    """The reason for which a rule rejects, None if it accepts."""
    try:
        rule(*arguments, **settings)
    except RejectedError as error:
        return error.reason
    except ValueError:  # of a parser: the validation reports it as malformed
        return Reason.MALFORMED
    return None


def hold(found: str, rule: Callable[..., object], *arguments: Any, **settings: Any) -> str:
    """`found`, if the rule accepts. Raises `FailedError`."""
    reason = rejection(rule, *arguments, **settings)
    if reason is not None:
        raise FailedError(reason, found)
    return found
