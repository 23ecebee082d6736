"""A verdict with its explanation, for people and for machines.

Owns: the contents, their order and names. Must not know: how the verdict is made. A report does not hold the token
itself, so that it cannot be printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenguard._flow.effects import ExchangeError
from tokenguard._oauth.claims import is_numeric_date
from tokenguard.cli import output
from tokenguard.cli.record import Record, Step
from tokenguard.errors import RejectedError, UnavailableError
from tokenguard.token import AccessToken


@dataclass(frozen=True, slots=True)
class Report:
    """A verdict and its explanation. `token` if it was accepted, else `error`."""

    token: AccessToken | None
    error: RejectedError | UnavailableError | None
    record: Record
    now: float

    @property
    def exit_code(self) -> int:
        """The exit code for the verdict."""
        if self.token is not None:
            return output.ACCEPTED
        return output.REJECTED if isinstance(self.error, RejectedError) else output.COULD_NOT_TELL

    @property
    def verdict(self) -> str:
        """One of the three outcomes."""
        return ("accepted", "rejected", "", "could not tell")[self.exit_code]

    @property
    def cause(self) -> Step | None:
        """The check that explains the verdict: the first that failed for the validator's reason."""
        reason = self.error.reason if isinstance(self.error, RejectedError) else None
        return next((step for step in self.record.steps if step.reason is not None and step.reason is reason), None)

    @property
    def next_step(self) -> str:
        """What to do about it. Constant text."""
        if isinstance(self.error, UnavailableError):
            cause = self.error.__cause__
            kind = f" ({cause.kind})" if isinstance(cause, ExchangeError) else ""
            return f"{self.error}{kind}; tokenguard doctor shows where it fails"
        return str(self.error or "")

    def expires_in(self) -> float | None:
        """Seconds until `exp`, negative once it has passed; None without one that can be read."""
        expires: Any = (self.record.claims or {}).get("exp")
        return expires - self.now if is_numeric_date(expires) and abs(expires) < 1e15 else None

    def key(self) -> dict[str, Any] | None:
        """The key that verified the signature. `age`: seconds since it was fetched, None for a static one."""
        key, authority = self.record.key, self.record.authority
        if key is None or authority is None:
            return None
        state = authority.keys.state()
        kind = {"kid": key.kid, "kty": key.material[0], "algorithms": sorted(key.algorithms)}
        return kind | {"state": state.state, "age": state.age, "fresh_for": state.fresh_for}

    def document(self) -> dict[str, Any]:
        """For machines. Names are stable."""
        reason = self.error.reason if isinstance(self.error, RejectedError) else None
        token = self.token
        return {
            "verdict": self.verdict.replace(" ", "_"),
            "exit_code": self.exit_code,
            "reason": reason,
            "cause": self.cause.name if self.cause else None,
            "next_step": self.next_step or None,
            "judged_at": self.now,
            "expires_in": self.expires_in(),
            "key": self.key(),
            "checks": [
                {
                    "name": step.name,
                    "status": step.status.replace(" ", "_"),
                    "expected": step.expected,
                    "found": step.found or None,
                    "reason": step.reason,
                }
                for step in self.record.steps
            ],
            "token": None
            if token is None
            else {
                "issuer": token.issuer,
                "subject": token.subject,
                "client_id": token.client_id,
                "audience": list(token.audience),
                "scopes": sorted(token.scopes),
                "roles": sorted(token.roles),
                "is_machine": token.is_machine,
                "token_id": token.token_id,
                "expires_at": token.expires_at,
            },
        }

    def print(self) -> None:
        """For people."""
        rows = [(step.status, step.name, step.expected, step.found or step.status) for step in self.record.steps]
        output.table(("check", "expected", "found"), rows)
        output.line()
        left, key = self.expires_in(), self.key()
        if left is not None:
            output.line(
                f"{'expires in' if left > 0 else 'expired'} {output.duration(left)}{'' if left > 0 else ' ago'}"
            )
        if key is not None:
            age = "static" if key["age"] is None else f"fetched {output.duration(key['age'])} ago"
            output.line(f"key {output.shown(key['kid'])} ({key['kty']}, {age})")
        if self.token is not None:
            output.line("accepted", "bold green")
            return
        cause = f", {self.cause.name}: {self.cause.found}" if self.cause else ""
        output.line(f"{self.verdict}{cause}", "bold red" if self.exit_code == output.REJECTED else "bold yellow")
        output.line(f"next: {self.next_step}")
