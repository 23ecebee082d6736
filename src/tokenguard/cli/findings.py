"""What `doctor` finds: a status, what is so, and the next step where one is needed.

Owns: the shape and its order of gravity. Must not know: what is examined.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Gravity = Literal["ok", "note", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is so. `next_step` is empty where nothing needs to be done."""

    issuer: str
    area: str
    status: Gravity
    text: str
    next_step: str = ""


@dataclass(slots=True)
class Findings:
    """What is found of one issuer, in order."""

    issuer: str
    found: list[Finding] = field(default_factory=list[Finding])

    def add(self, area: str, status: Gravity, text: str, next_step: str = "") -> None:
        """Write one down."""
        self.found.append(Finding(self.issuer, area, status, text, next_step))
