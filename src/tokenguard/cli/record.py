"""What `check` writes down: each check with its status, and what the token has yielded so far.

Owns: the shapes, and that a check is made only once what it needs is there. Must not know: what is checked.
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
    """One check. `reason` is the validation's word where it failed."""

    name: str
    status: Status
    expected: str
    found: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a token is judged by. `keys` gives the keys at hand, None where they cannot be had."""

    authorities: Mapping[str, Authority]
    keys: Callable[[Authority], KeySet | None]
    now: float
    leeway: float
    max_token_bytes: int
    required: Requirement

    @property
    def algorithms(self) -> frozenset[str]:
        """What any of the issuers allows."""
        return frozenset[str]().union(*(authority.algorithms for authority in self.authorities.values()))


class FailedError(Exception):
    """A check found something else than it expected."""

    def __init__(self, reason: Reason, found: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.found = found


class OutOfReachError(Exception):
    """A check could not be made: the keys cannot be had."""


@dataclass(slots=True)
class Record:
    """The steps so far, and what they brought to light: an attribute is None until a check has yielded it."""

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
        """Make a check, or note that it is not reached: None. What it returns is what was found."""
        if check is None:
            self.steps.append(Step(name, "not reached", expected))
            return
        try:
            self.steps.append(Step(name, "passed", expected, check()))
        except FailedError as failed:
            self.steps.append(Step(name, "failed", expected, failed.found, failed.reason))
        except OutOfReachError:
            self.steps.append(Step(name, "unknown", expected, "the keys cannot be had"))


def refusal(rule: Callable[..., object], *arguments: Any, **settings: Any) -> Reason | None:
    """The reason for which a rule refuses, None where it does not."""
    try:
        rule(*arguments, **settings)
    except RejectedError as error:
        return error.reason
    except ValueError:  # of a parser: the validation reports it as malformed
        return Reason.MALFORMED
    return None


def hold(found: str, rule: Callable[..., object], *arguments: Any, **settings: Any) -> str:
    """`found`, if the rule holds. Raises `FailedError`."""
    reason = refusal(rule, *arguments, **settings)
    if reason is not None:
        raise FailedError(reason, found)
    return found
