"""Starting: the time that `import tokenguard` takes beyond `import jwt` with cryptography, and the first token.

Fresh interpreters in turns. `python bench/start.py` prints the import times alone, for the log of continuous
integration; no figure fails anything.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from statistics import median
from typing import Any

from interleave import Plan, spread

# What jwt imports lazily is what any use of it needs.
PEERS = "import jwt, jwt.algorithms, cryptography.hazmat.primitives.asymmetric.rsa"
OURS = "import tokenguard"
# What is loaded with the first validator is not saved, only later: this counts it in. The key: RFC 7517 appendix A.1.
READY = """
from tokenguard import Issuer, TokenValidator
key = {"kty": "EC", "crv": "P-256", "kid": "1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
       "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}
TokenValidator(Issuer("https://auth.example.com/", jwks={"keys": [key]}), "https://api.example.com")
"""
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( *)(\S+)")


# With bytecode, as anything that is installed has it, and without what coverage would load first.
_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("COVERAGE_")
}


def _imports(statement: str) -> float:
    """Milliseconds of a statement's imports, from -X importtime: the sum of what stands at the top level."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement],
        stderr=subprocess.PIPE,
        check=True,
        text=True,
        env=_ENVIRONMENT,
    )
    lines = [match for match in map(_LINE.match, done.stderr.splitlines()) if match]
    # What the interpreter imports for itself comes first and ends with `site`.
    ends = max((place for place, match in enumerate(lines) if match[4] == "site"), default=-1)
    return sum(int(match[2]) for match in lines[ends + 1 :] if len(match[3]) == 1) / 1e3


def _whole(statement: str) -> float:
    """Milliseconds of CPU of a whole interpreter."""
    before = _children()
    subprocess.run([sys.executable, "-c", statement], check=True, env=_ENVIRONMENT)
    return (_children() - before) * 1e3


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def imports(rounds: int) -> dict[str, Any]:
    statements = {"nothing": "pass", "peers": PEERS, "ours": OURS, "ready": READY}
    for statement in statements.values():
        _whole(statement)  # writes the bytecode
    taken: dict[str, list[float]] = {name: [] for name in statements}
    whole: dict[str, list[float]] = {name: [] for name in statements}
    for round_ in range(rounds):
        names = list(statements)
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            taken[name].append(_imports(statements[name]))
            whole[name].append(_whole(statements[name]))
    pairs = zip(taken["ours"], taken["peers"], strict=True)
    return {
        "importtime_milliseconds": {name: spread(values) for name, values in taken.items()},
        "process_cpu_milliseconds": {name: spread(values) for name, values in whole.items()},
        "above_peers_milliseconds": spread([ours - peers for ours, peers in pairs]),
        "above_peers_cpu_milliseconds": spread(
            [ours - peers for ours, peers in zip(whole["ours"], whole["peers"], strict=True)]
        ),
        "ready_above_peers_milliseconds": spread(
            [ready - peers for ready, peers in zip(taken["ready"], taken["peers"], strict=True)]
        ),
        "rounds": rounds,
    }


_FIRST = """
import json, sys, time
sys.path.insert(0, {here!r})
import corpus
from tokenguard import Issuer, TokenValidator
stored = corpus.load({algorithm!r}, {count})
validator = TokenValidator(Issuer(corpus.ISSUER, jwks_uri={uri!r}), corpus.AUDIENCE, allow_insecure_http=True)
validator.warm_up()
taken = []
for token in stored.tokens[:40]:
    start = time.perf_counter_ns()
    validator.validate(token)
    taken.append(time.perf_counter_ns() - start)
print(json.dumps(taken))
"""


def first_tokens(plan: Plan, jwks_base: str, rounds: int) -> dict[str, Any]:
    """Microseconds of the first tokens of a process after `warm_up`, in order, for each algorithm."""
    results = {}
    for algorithm in ("RS256", "ES256", "EdDSA"):
        script = _FIRST.format(
            here=os.path.dirname(__file__),  # noqa: PTH120 - a string for the script
            algorithm=algorithm,
            count=plan.count,
            uri=f"{jwks_base}/{algorithm}",
        )
        runs = []
        for _ in range(rounds):
            done = subprocess.run(
                [sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True, env=_ENVIRONMENT
            )
            runs.append(json.loads(done.stdout))
        results[algorithm] = {
            "microseconds": [median(run[place] for run in runs) / 1e3 for place in range(len(runs[0]))],
            "first_over_second": spread([run[0] / run[1] for run in runs]),
            "first_over_later": spread([run[0] / median(run[20:]) for run in runs]),
        }
    return results


def measure(plan: Plan, jwks_base: str) -> dict[str, Any]:
    return {
        "imports": imports(5 if plan.quick else 40),
        "first_tokens": first_tokens(plan, jwks_base, 3 if plan.quick else 30),
    }


if __name__ == "__main__":
    found = imports(7)
    for name, figures in found["importtime_milliseconds"].items():
        print(f"-X importtime: {name:8} {figures['median']:6.1f} ms")
    above = found["above_peers_milliseconds"]["median"]
    ready = found["ready_above_peers_milliseconds"]["median"]
    print(f"with a first validator, too: {ready:.1f} ms more than jwt with cryptography")
    cpu = found["above_peers_cpu_milliseconds"]["median"]
    print(f"CPU of the whole process: {cpu:.1f} ms more than with jwt and cryptography alone")
    print(f"import tokenguard takes {above:.1f} ms more than jwt with cryptography (target: at most 25)")
