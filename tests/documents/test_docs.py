"""What the documents say is so: links lead somewhere, code runs, commands exist."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from real_servers import ROOT, clean

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
# ```python runs; ```python compile is only compiled, because it needs something that is not there; with a title it is a
# file among others of its page, see test_docs_code.
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text("utf-8"))


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    headings = re.findall(r"^#+ +(.*)$", prose(document), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


def blocks() -> list:
    found = []
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        for match in FENCE.finditer(text):
            kind, *flags = match["kind"].split() or [""]
            if kind == "python" and "title=" not in match["kind"]:
                line = text.count("\n", 0, match.start()) + 2
                found.append(pytest.param(document, line, match["code"], flags, id=f"{name(document)}:{line}"))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    for match in LINK.finditer(prose(document)):
        path, _, anchor = match["target"].partition("#")
        if path.startswith(("http://", "https://", "mailto:")):
            continue
        target = (document.parent / unquote(path)).resolve() if path else document
        assert target.exists(), f"{match['target']} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{match['target']}: no such heading"


@pytest.mark.parametrize(("document", "line", "code", "flags"), blocks())
def test_code_runs(document, line, code, flags, tmp_path):
    source = "\n" * (line - 1) + code  # so that a traceback names the document's line
    compile(source, name(document), "exec")
    if "compile" in flags:
        return
    script = tmp_path / "block.py"
    script.write_text(source, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", script], env=clean({}), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(
            re.findall(r"\bmake ([a-z][a-z-]*)(?=`|\s{2,}|$| ARGS| KEEP)", document.read_text("utf-8"), re.MULTILINE)
        )
        assert named <= targets, f"{name(document)}: {named - targets}"


def test_ci_runs_what_the_readme_says():
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert re.search(r"^make test\b", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)


def test_decisions_are_complete():
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(record.name[:4]) for record in records]
    assert len(set(numbers)) == len(numbers)
    for record in records:
        text = record.read_text("utf-8")
        assert text.startswith(f"# {record.name[:4]}: "), record.name
        for part in ("**Context.**", "**Options.**", "**Choice.**", "**Cost.**"):
            assert part in text, f"{record.name}: {part}"


def test_architecture_names_every_module():
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    package = ROOT / "src" / "tokenguard"
    for module in package.iterdir():
        if module.name not in {"__pycache__", "py.typed"}:
            label = f"{module.name}/" if module.is_dir() else module.name
            assert label in page, f"ARCHITECTURE.md does not show {label}"
