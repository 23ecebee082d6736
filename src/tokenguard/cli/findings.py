"""What `doctor` finds: a status, the finding, and the next step if one is needed.

Owns: the shape. Must not know: what is examined.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "note", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `next_step` is empty if nothing needs to be done."""

    issuer: str
    area: str
    status: Status
    text: str
    next_step: str = ""


@dataclass(slots=True)
class Findings:
    """The findings about one issuer, in order."""

    issuer: str
    found: list[Finding] = field(default_factory=list[Finding])

    def add(self, area: str, status: Status, text: str, next_step: str = "") -> None:
        """Add one."""
        self.found.append(Finding(self.issuer, area, status, text, next_step))
