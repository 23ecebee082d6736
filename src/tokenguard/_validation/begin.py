"""The beginning of a validation: a remembered token at once, everything else to the steps.

Owns: the path that nearly every request takes, and the clocks, read once. Must not know: the order of the checks
(`steps`), threads, loops.

The short form here finds that a remembered verdict still holds, or finds nothing: then `Validation.recheck` repeats the
checks, one by one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from math import isfinite
from typing import Final, NoReturn, Protocol, cast

from tokenguard._flow.effects import Effect, Flow
from tokenguard._flow.wall_time import wall_time
from tokenguard._validation.memory import Memory
from tokenguard._validation.revocation import Watching
from tokenguard._validation.steps import Reading, Validation
from tokenguard._validation.verdict import Verdict
from tokenguard.errors import ConfigurationError, InvalidTokenError, Reason, TokenGuardError
from tokenguard.request import ResourceRequest
from tokenguard.requirements import Requirement
from tokenguard.token import AccessToken

NO_STACK: Final = "the stack is used up: validate nearer to its start, or raise the recursion limit"


class Run(Watching, Protocol):
    """What observes one validation."""

    def note(self, required: tuple[str, ...], *, remembered: bool) -> None:
        """The token was looked up."""
        ...


class Start:
    """Where each validation of one validator starts."""

    __slots__ = ("_clock", "_leeway", "_memory", "_monotonic", "_most_bytes", "_validation")

    def __init__(
        self,
        validation: Validation,
        memory: Memory[Verdict],
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        leeway: float,
        max_token_bytes: int,
    ) -> None:
        self._validation = validation
        self._memory = memory
        self._clock = None if clock is wall_time else clock  # without a call of its own for each remembered token
        self._monotonic = monotonic
        self._leeway = leeway
        self._most_bytes = max_token_bytes

    def begin(
        self,
        token: bytes,
        requirement: Requirement,
        is_token: Callable[[bytes], bool] | None = None,
        run: Run | None = None,
        request: ResourceRequest | None = None,
        reading: Reading | None = None,
    ) -> AccessToken | Flow[AccessToken] | None:
        """A remembered token at once, else the flow that validates. No generator, no await on the first way, and no
        lock, but for a token that was unused for a generation of them.

        `is_token` says whether `token` is a credential at all; a remembered one is. Result: None where it is not, or is
        too long for a token: the caller finds out what is wrong.
        """
        if is_token is not None and not 0 < len(token) <= self._most_bytes:
            return None
        try:
            digest = sha256(token).digest()
            memory = self._memory
            verdict = memory.young.get(digest) or memory.get_old(digest)
            if run is not None:
                run.note(requirement.scopes, remembered=verdict is not None)
            if verdict is None and is_token is not None and not is_token(token):
                return None
            try:
                now = (self._clock or time.time)()
                mono = self._monotonic()
            except Exception as error:  # a clock's error is never a verdict, whatever its class
                raise unexpected(error) from error
            if verdict is not None:
                known, starts, ends, basis = verdict
                if (
                    basis.is_usual
                    and mono < basis.source.quiet_until
                    and basis.keys is basis.source.keys
                    and ends > now - self._leeway
                    and starts <= now + self._leeway
                ):
                    if not requirement.usual_scopes <= known.scopes:
                        requirement.check(known, request, now, self._leeway)
                    return known
            if not (type(now) is type(mono) is float and isfinite(now + mono)):
                _check_clocks(now, mono)
            return self._validation.validate(token, digest, verdict, now, mono, requirement, run, request, reading)
        except TokenGuardError:
            raise
        except RecursionError:
            self._end_without_stack(token)
        except Exception as error:
            raise unexpected(error) from error

    def begin_dpop(
        self, token: bytes, requirement: Requirement, run: Run | None, request: ResourceRequest
    ) -> AccessToken | Flow[AccessToken]:
        """The same for a token that was sent under `DPoP`: what `request` proves is asked for each time."""
        try:
            digest = sha256(token).digest()
            verdict = self._memory.get(digest)
            if run is not None:
                run.note(requirement.scopes, remembered=verdict is not None)
            try:
                now, mono = (self._clock or time.time)(), self._monotonic()
            except Exception as error:
                raise unexpected(error) from error
            _check_clocks(now, mono)
            begun = self._validation.validate(token, digest, verdict, now, mono, requirement, run, request)
            return begun if isinstance(begun, AccessToken) else _at_once(begun)
        except TokenGuardError:
            raise
        except RecursionError:
            self._end_without_stack(token)
        except Exception as error:
            raise unexpected(error) from error

    def _end_without_stack(self, token: bytes) -> NoReturn:
        if self._memory.get(sha256(token).digest()) is not None:  # it was valid, and is not parsed again: our own fault
            raise ConfigurationError(NO_STACK) from None
        raise InvalidTokenError(reason=Reason.MALFORMED) from None  # what nests in it is the sender's choice (28)

    def check(self, token: AccessToken, requirement: Requirement, request: ResourceRequest | None) -> None:
        """Whether a token that was validated before meets one more requirement. Raises as `begin`."""
        try:
            now = (self._clock or time.time)()
        except Exception as error:
            raise unexpected(error) from error
        _check_clocks(now)
        requirement.check(token, request, now, self._leeway)


def _at_once(flow: Flow[AccessToken]) -> AccessToken | Flow[AccessToken]:
    """The value of a flow that has nothing to wait for, without a driver; else the flow, which goes on from there."""
    try:
        effect = next(flow)
    except StopIteration as end:
        return cast("AccessToken", end.value)
    return _going_on(flow, effect)


def _going_on(flow: Flow[AccessToken], effect: Effect) -> Flow[AccessToken]:
    try:
        while True:
            try:
                value = yield effect
            except Exception as error:  # noqa: BLE001 - the flow decides what it means
                effect = flow.throw(error)
            else:
                effect = flow.send(value)
    except StopIteration as end:
        return cast("AccessToken", end.value)
    finally:
        flow.close()


def unexpected(error: Exception) -> ConfigurationError:
    """What a validation raises in place of an unexpected exception."""
    return ConfigurationError(f"an unexpected {type(error).__name__} stopped the validation: see the cause")


def _check_clocks(*values: object) -> None:
    for value in values:
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            raise ConfigurationError("clock and monotonic must return a finite number of seconds")
