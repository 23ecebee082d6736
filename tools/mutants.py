"""A sample of mutants outside the rules, and which of them the tests notice: `make mutation-sample SEED=7 COUNT=200`.

`make mutation` changes the rules in every way. What is around them is too much for that: here a seed draws a part. The
tests run once under coverage, with a context for each, in a copy of this tree (`.mutants/`). Each mutant is then given
to tests that ran its line: those of the files that are most about it, then the fastest others.

    python tools/mutants.py SEED COUNT                    draw, from a new copy
    python tools/mutants.py SEED COUNT FILE:LINE ...      all mutants of these lines, from the last copy, with what has
                                                          changed in tests since
"""

from __future__ import annotations

import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".mutants"
TREE = HOME / "tree"
PACKAGE = "src/tokenguard"
# The rules (`_jose`, `_oauth`) are for mutmut; the commands and the test kit are programs for people.
ROOMS = (
    "_issuer",
    "_validation",
    "_adapters",
    "_io",
    "_observe",
    "_setup",
    "_flow",
    "fastapi",
    "flask",
    "redis",
    "otel",
)
SETTINGS = ("issuer", "introspection", "revocations", "secret_file", "presets", "requirements", "request", "_settings")
FACADES = (
    "validator",
    "client",
    "audit",
    "asgi",
    "wsgi",
    "starlette",
    "grpc",
    "aiohttp",
    "litestar",
    "httpx",
    "requests",
)

# ---------------------------------------------------------------------------------------------- which tests run a line


def pytest_runtest_logstart(nodeid: str) -> None:
    """As a pytest plugin: what runs from here on, in processes too, is run by this test."""
    from coverage import Coverage

    if measured := Coverage.current():
        measured.switch_context(nodeid)
        settings = measured.config.copy()
        settings.context = nodeid
        os.environ["COVERAGE_PROCESS_CONFIG"] = settings.serialize()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if log := os.environ.get("MUTANTS_TIMES"):
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(json.dumps([report.nodeid, report.duration, report.outcome]) + "\n")


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(TREE / "src"), str(ROOT / "tools")])
    return {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **more}


def draw_map() -> None:
    """Copy the tree as git knows it, and run the tests once."""
    shutil.rmtree(HOME, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (TREE / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, TREE / name)
    run = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", "-p", "mutants", "-p", "no:cacheprovider"]
    with (HOME / "map.log").open("w", encoding="utf-8") as log:
        subprocess.run(
            run, cwd=TREE, env=environment(MUTANTS_TIMES=str(HOME / "times")), stdout=log, stderr=log, check=False
        )
    # Out of the reach of tests that measure something themselves.
    combine = ["combine", "--quiet", f"--data-file={HOME / 'lines'}", *map(str, TREE.glob(".coverage.*"))]
    subprocess.run([sys.executable, "-m", "coverage", *combine], cwd=TREE, env=environment(), check=False)


# ------------------------------------------------------------------------------------------------------------- mutants


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old`, the octets from `start` to `end` of `file`, is `new`; `scope` are the lines of the function around it."""

    file: str
    line: int
    what: str
    start: int
    end: int
    new: bytes
    scope: tuple[int, int]


SWAPPED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*",
}  # fmt: skip
REMOVABLE = (ast.Expr, ast.AugAssign, ast.Delete, ast.Raise, ast.Break, ast.Continue)
NOT_DRAWN = ("__all__", "__slots__")  # a list of names changes nothing that runs


class Drawer(ast.NodeVisitor):
    """Every mutant of one file, in the order of its text."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file, self.source, self.found = file, source, list[Mutant]()
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.scope = (1, len(self.starts))
        self.statement = 1

    def span(self, node: ast.AST) -> tuple[int, int]:
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> bytes:
        start, end = self.span(node)
        return self.source[start:end]

    def add(self, what: str, node: ast.AST, new: bytes, *, span: tuple[int, int] | None = None) -> None:
        start, end = span or self.span(node)
        lost = self.source[start:end].count(b"\n") - new.count(b"\n")
        if lost and isinstance(node, ast.stmt):
            new += b"\n" * lost  # what follows keeps its line
        self.found.append(Mutant(self.file, node.lineno, what, start, end, new, self.scope))

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                return
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in NOT_DRAWN:
                return
            outer, self.scope = self.scope, self.scope_of(node)
            self.statements(node)
            super().visit(node)
            self.scope = outer
            return
        super().visit(node)

    def scope_of(self, node: ast.stmt) -> tuple[int, int]:
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        return (node.lineno, node.end_lineno or 0) if is_function else self.scope

    def statements(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr(value=ast.Constant()):
                pass
            case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
                self.add("returns nothing", node, b"return None")
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                self.add("removed", node, b"pass")
            case ast.With(items=items) | ast.AsyncWith(items=items) if all(one.optional_vars is None for one in items):
                start = self.span(node)[0]
                self.add("without it", node, b"if 1", span=(start, self.span(items[-1].context_expr)[1]))
            case ast.If() | ast.While():
                self.condition(node.test)
            case _ if isinstance(node, REMOVABLE):
                self.add("removed", node, b"pass")

    def condition(self, test: ast.expr) -> None:
        self.add("negated", test, b"(not (" + self.text(test) + b"))")

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for one in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(one)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - so the base class calls it

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value and ast.unparse(node.annotation) != "TypeAlias":
            self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.condition(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.condition(test)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        word = b" and " if isinstance(node.op, ast.And) else b" or "
        for left_out in node.values:
            rest = word.join(self.text(one) for one in node.values if one is not left_out)
            self.add("operand left out", left_out, b"(" + rest + b")", span=self.span(node))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.add("not left out", node, b"(" + self.text(node.operand) + b")")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            self.between(left, right, SWAPPED[type(operator)])
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in SWAPPED:
            self.between(node.left, node.right, SWAPPED[type(node.op)])
        self.generic_visit(node)

    def between(self, left: ast.expr, right: ast.expr, sign: str) -> None:
        span = (self.span(left)[1], self.span(right)[0])
        closing, opening = (self.source[span[0] : span[1]].count(one) for one in (b")", b"("))
        self.add(f"is {sign}", left, b")" * closing + b" " + sign.encode() + b" " + b"(" * opening, span=span)

    def visit_Call(self, node: ast.Call) -> None:
        for one in node.keywords:
            if one.arg and one.arg != "slots":
                start, end = self.span(one)
                while self.source[end : end + 1] in b" \n":
                    end += 1
                comma = self.source[end : end + 1] == b","
                # Without a comma behind, one stands before it, or nothing.
                before = self.source[:start].rstrip()
                span = (start, end + 1) if comma else (len(before) - before.endswith(b","), end)
                self.add(f"{one.arg} left out", one, b"", span=span)
        if isinstance(node.func, ast.Name) and node.func.id in {"min", "max"}:
            self.add("other end", node.func, b"max" if node.func.id == "min" else b"min")
        if not (isinstance(node.func, ast.Name) and node.func.id in {"cast", "TypeVar", "ParamSpec", "getLogger"}):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.add(f"is {not value}", node, str(not value).encode())
        elif isinstance(value, int | float):
            self.add(f"is {value + 1}", node, str(value + 1).encode())
        elif isinstance(value, str) and value and not any(map(str.isspace, value)) and self.text(node)[:1] in b"\"'":
            self.add(
                "is another text",
                node,
                b'"XX' + self.text(node)[1:-1] + b'"' if self.text(node)[:1] == b'"' else b"'XX'",
            )

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if ast.unparse(node.value).rpartition(".")[2] not in {
            "Literal",
            "Callable",
            "Generator",
            "Memory",
            "list",
            "dict",
        }:
            self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts for people."""


def mutants(tree: Path) -> list[Mutant]:
    files = [tree / PACKAGE / f"{name}.py" for name in (*SETTINGS, *FACADES)]
    for room in ROOMS:
        files += sorted((tree / PACKAGE / room).rglob("*.py"))
    found: list[Mutant] = []
    for file in files:
        drawer = Drawer(str(file.relative_to(tree)), file.read_bytes())
        drawer.visit(ast.parse(drawer.source))
        found += drawer.found
    return found


# -------------------------------------------------------------------------------------------------------------- judging

FIRST, ALL = 10.0, 60.0  # seconds of tests, as the map measured them: the first part, and the most that one mutant gets
THIRD_PARTY = ("pytest", "httpx", "cryptography", "jwt", "starlette", "fastapi", "flask", "redis", "uvicorn")

LOADED = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"


class Map:
    """Which tests ran a line, the fastest first."""

    def __init__(self) -> None:
        from coverage import CoverageData

        self.data = CoverageData(str(HOME / "lines"))
        self.data.read()
        self.times: dict[str, float] = {}
        unfit: set[str] = set()
        for line in (HOME / "times").read_text(encoding="utf-8").splitlines():
            test, duration, outcome = json.loads(line)
            self.times[test] = self.times.get(test, 0) + duration
            if outcome != "passed" or " at 0x" in test:  # a name with an address in it is another one each time
                unfit.add(test)
        for test in unfit:
            del self.times[test]
        self.files: dict[str, float] = {}
        for test, duration in self.times.items():
            self.files[test.partition("::")[0]] = self.files.get(test.partition("::")[0], 0) + duration

    def tests(self, mutant: Mutant) -> tuple[list[str], list[str]]:
        """The tests to begin with, from the few files that are most about this line, and the others."""
        contexts = self.data.contexts_by_lineno(str(TREE / mutant.file))
        found = set(contexts.get(mutant.line, ())) & self.times.keys()
        if not found:  # it runs at import, as a default does: who calls its function, or anything of the module
            first, last = mutant.scope
            found = {
                test for line, tests in contexts.items() if first <= line <= last for test in tests
            } & self.times.keys()
        by_file: dict[str, list[str]] = {}
        for test in found:
            by_file.setdefault(test.partition("::")[0], []).append(test)
        share = {file: sum(self.times[test] for test in tests) / self.files[file] for file, tests in by_file.items()}
        nearest = set(sorted(by_file, key=lambda file: -share[file])[:4])
        begin: list[str] = []
        rest: list[str] = []
        spent = 0.0
        for test in sorted(found, key=lambda test: self.times[test]):
            is_first = test.partition("::")[0] in nearest and spent + self.times[test] < FIRST
            (begin if is_first else rest).append(test)
            spent += self.times[test] if is_first else 0
        for test in list(rest):
            spent += self.times[test]
            if spent > ALL:
                rest.remove(test)
        # File by file: what a module sets up ends with its last test.
        return sorted(begin, key=self.order), sorted(rest, key=self.order)

    def order(self, test: str) -> tuple[float, str]:
        file = test.partition("::")[0]
        return self.files[file], file


def start(tree: Path, mutant: Mutant, tests: list[str]) -> int:
    """A process of its own that has loaded what tests load, in its own group, with this mutant in `tree`."""
    file = tree / mutant.file
    source = (TREE / mutant.file).read_bytes()
    file.write_bytes(source[: mutant.start] + mutant.new + source[mutant.end :])
    if child := os.fork():
        return child
    os.setsid()
    os.chdir(tree)
    with (HOME / f"{tree.name}.log").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(PYTHONPATH=str(tree / "src"), PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(tree / "src")]
    import pytest

    try:
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", LOADED, "--no-header", "--tb=line", *tests])
    except BaseException:  # noqa: BLE001 - a mutant may do anything
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(int(code))


@dataclass(slots=True)
class Trial:
    """One mutant under its tests, `parts` still to come."""

    mutant: Mutant
    tree: Path
    parts: list[list[str]]
    pid: int = 0
    deadline: float = 0.0
    verdict: str = ""

    def go_on(self, times: dict[str, float]) -> None:
        tests = self.parts.pop(0)
        self.deadline = time.monotonic() + 60 + 5 * sum(times.get(test, 20.0) for test in tests)
        self.pid = start(self.tree, self.mutant, tests)

    def is_over(self, times: dict[str, float]) -> bool:
        """Whether there is a verdict; begins the next part where the tests of this one passed."""
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended and time.monotonic() < self.deadline:
            return False
        if not ended:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.verdict = "noticed (hangs)"
        elif status:
            self.verdict = "noticed"
        elif self.parts:
            self.go_on(times)
            return False
        else:
            self.verdict = "SURVIVED"
        (self.tree / self.mutant.file).write_bytes((TREE / self.mutant.file).read_bytes())
        return True


def judge(chosen: list[Mutant], changed: list[str]) -> int:
    """Give every mutant to its tests, JOBS at a time; those of changed files run whole. The number that survives."""
    drawn = Map()
    for name in THIRD_PARTY:
        import_module(name)
    trees = [HOME / f"worker{number}" for number in range(int(os.environ.get("JOBS", "1")))]
    for tree in trees:
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(TREE, tree, ignore=shutil.ignore_patterns(".coverage*"))
        if changed:
            shutil.copytree(ROOT / "tests", tree / "tests", dirs_exist_ok=True)
    waiting, running, survived, done = list(chosen), list[Trial](), 0, 0
    while waiting or running:
        while waiting and len(running) < len(trees):
            mutant = waiting.pop(0)
            taken = {trial.tree for trial in running}
            parts = [[test for test in part if test.partition("::")[0] not in changed] for part in drawn.tests(mutant)]
            trial = Trial(
                mutant, next(tree for tree in trees if tree not in taken), [one for one in (changed, *parts) if one]
            )
            if trial.parts:
                trial.go_on(drawn.times)
                running.append(trial)
            else:
                survived, done = survived + 1, done + 1
                print(f"{mutant.file}:{mutant.line}: {mutant.what}: NO TEST RUNS IT", flush=True)
        for trial in list(running):
            if trial.is_over(drawn.times):
                running.remove(trial)
                done, survived = done + 1, survived + (trial.verdict == "SURVIVED")
                old = (TREE / trial.mutant.file).read_bytes()[trial.mutant.start : trial.mutant.end].decode()
                told = f"{trial.mutant.file}:{trial.mutant.line}: {trial.mutant.what}: {' '.join(old.split())[:90]}"
                print(f"{done:4} {trial.verdict:16} {told}", flush=True)
        time.sleep(0.05)
    print(f"{len(chosen) - survived} of {len(chosen)} mutants noticed: {100 - 100 * survived / len(chosen):.1f} %")
    return survived


def is_changed(name: str) -> bool:
    return not (TREE / name).is_file() or (TREE / name).read_bytes() != (ROOT / name).read_bytes()


def main() -> int:
    seed, count, *lines = sys.argv[1:]
    if not lines and "KEEP" not in os.environ:
        draw_map()
    everything = mutants(TREE)
    if lines:
        chosen = [one for one in everything if f"{one.file}:{one.line}" in lines]
        tests = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").glob("*/test_*.py"))]
        changed = list(filter(is_changed, tests))
    else:
        chosen = random.Random(seed).sample(everything, int(count))
        changed = []
    control = replace(chosen[0], what="nothing", end=chosen[0].start, new=b"")
    if judge([control], changed) == 0:
        print("what changes nothing is noticed: see .mutants/worker0.log")
        return 2
    print(f"{len(chosen)} of {len(everything)} mutants, seed {seed}")
    return int(judge(chosen, changed) > len(chosen) * 0.08)


if __name__ == "__main__":
    sys.exit(main())
