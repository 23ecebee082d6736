"""What `doctor` finds: a status, the finding, and the next step if one is needed.

Owns: the shape, which findings are shown where there are many. Must not know: what is examined.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Status = Literal["ok", "note", "warning", "fault"]

MOST_ISSUERS: Final = 10  # that are shown: a person corrects one after the other
MOST_FINDINGS: Final = 50  # of one issuer: a key set may hold thousands of keys
_WORSE: Final[tuple[Status, ...]] = ("ok", "note", "warning", "fault")


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


@dataclass(frozen=True, slots=True)
class Selection:
    """The findings that are shown, the worst issuer first, and how many issuers and findings of theirs are left out.

    - `findings`: of the issuers with the most faults, then with the most warnings, then in the order of configuration;
      those about the settings come last, and are never left out
    - `issuers`: how many were examined
    - `faulty`, `warned`, `well`: how many of those that are left out have a fault, a warning alone, or neither
    - `more`: for each issuer that is shown, how many of its findings are left out: never a worse one than those shown
    """

    findings: list[Finding]
    issuers: int
    faulty: int
    warned: int
    well: int
    more: dict[str, int]


def worst_first(findings: list[Finding]) -> Selection:
    """Select from the findings about any number of issuers."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.issuer, []).append(finding)
    settings = groups.pop("", [])
    ordered = sorted(groups, key=lambda url: (-_count(groups[url], "fault"), -_count(groups[url], "warning")))
    shown = {url: _bounded(groups[url]) for url in ordered[:MOST_ISSUERS]}
    left = [groups[url] for url in ordered[MOST_ISSUERS:]]
    faulty = sum(_count(group, "fault") > 0 for group in left)
    bad = sum(_count(group, "fault") + _count(group, "warning") > 0 for group in left)
    return Selection(
        [*(finding for group in shown.values() for finding in group), *settings],
        len(groups),
        faulty,
        bad - faulty,
        len(left) - bad,
        {url: len(groups[url]) - len(group) for url, group in shown.items() if len(group) < len(groups[url])},
    )


def _count(group: list[Finding], status: Status) -> int:
    return sum(finding.status == status for finding in group)


def _bounded(group: list[Finding]) -> list[Finding]:
    """The worst ones of a group, in their order."""
    places = sorted(range(len(group)), key=lambda place: -_WORSE.index(group[place].status))
    return [group[place] for place in sorted(places[:MOST_FINDINGS])]
