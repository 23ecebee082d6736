"""Gathers the pages of the documentation site: python tools/site.py DIRECTORY

What is in docs/ keeps its place; the documents at the root go to project/; the decisions get a list of themselves.
Links are turned accordingly, so that each is right where its document is kept, on a code host, and on the site. A link
to what is no page (an example, the licence) becomes its text.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parent.parent
AT_ROOT = ("README", "ARCHITECTURE", "SECURITY", "CONTRIBUTING", "CHANGELOG")
DECISIONS = "decisions/index.md"

FENCE_OR_LINK = re.compile(
    r"^(?P<fence>(?P<ticks>`{3,})\w*)(?P<flags>[^\n]*)(?P<code>\n.*?^(?P=ticks)[ ]*$)|`[^`\n]+`(?!\])"
    r"|(?<!!)\[(?P<text>(?:`[^`\n]*`|[^\]`\n])*)\]\((?P<target>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)


def places(root: Path) -> dict[Path, str]:
    """Where each document goes, relative to the site's pages."""
    docs = root / "docs"
    found = {path: path.relative_to(docs).as_posix() for path in sorted(docs.glob("**/*.md"))}
    found |= {root / f"{name}.md": f"project/{name.lower()}.md" for name in AT_ROOT if (root / f"{name}.md").exists()}
    found[docs / "decisions"] = DECISIONS
    found[docs] = "index.md"
    return found


def turned(text: str, document: Path, where: dict[Path, str]) -> str:
    """The text with its links pointing to pages. Code stays as it is."""
    here = Path(where[document]).parent

    def link(match: re.Match[str]) -> str:
        if match["fence"]:
            # `compile` and its like are for our tests; the generator takes settings only.
            return match["fence"] + " ".join(["", *re.findall(r'\w+="[^"]*"', match["flags"])]) + match["code"]
        target = match["target"]
        if target is None or re.match(r"[a-z][a-z0-9+.-]*:|#", target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        place = where.get((document.parent / unquote(path)).resolve())
        if place is None:
            return match["text"]
        return f"[{match['text']}]({os.path.relpath(place, here)}{hash_}{anchor})"

    return FENCE_OR_LINK.sub(link, text)


def gather(root: Path, into: Path) -> None:
    """Write all pages, and nothing else, into a directory."""
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(root / "docs", into, ignore=shutil.ignore_patterns("*.md"))
    where = places(root)
    for document, place in where.items():
        if document.is_file():
            page = into / place
            page.parent.mkdir(exist_ok=True)
            page.write_text(turned(document.read_text("utf-8"), document, where), "utf-8")
    lines = ["# Decisions", ""]
    for record in (path for path in where if path.parent.name == "decisions"):
        title = record.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({record.name})")
    (into / DECISIONS).write_text("\n".join([*lines, ""]), "utf-8")


if __name__ == "__main__":
    gather(ROOT, Path(sys.argv[1]))
