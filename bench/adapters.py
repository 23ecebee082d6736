"""What each adapter adds to a remembered request in process, above its framework's own empty middleware or interceptor.

An adapter is a module `contenders/adapter_NAME.py`, in a process of its own. For each way into an application, a
workload such as "django middleware, sync", it enters two contenders: `empty`, the framework with something of the same
kind that does nothing, and `tokenguard`. Nothing else names it.
"""

from __future__ import annotations

from typing import Any

from interleave import HERE, Plan, Team, contest, summary

MODULES = tuple(sorted(path.stem for path in (HERE / "contenders").glob("adapter_*.py")))


def ways(module: str, plan: Plan, base: str) -> list[str]:
    """The workloads of a module."""
    team = Team("main", (module,), base, plan)
    try:
        found: list[str] = team.ask(do="workloads", of="empty")
    finally:
        team.close()
    return found


def measure(plan: Plan, base: str, modules: tuple[str, ...] = MODULES) -> dict[str, Any]:
    """For each way, the two contenders and what ours is above the other."""
    return {
        way: summary(contest(way, [("main", (module,))], plan, base), "empty")
        for module in modules
        for way in ways(module, plan, base)
    }
