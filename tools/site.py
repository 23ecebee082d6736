"""Gathers the pages of the documentation site: python tools/site.py DIRECTORY
Looks at the built one: python tools/site.py --check DIRECTORY

What is in docs/ keeps its place; the documents at the root go to project/; the decisions get a list of themselves.
Links are turned accordingly, so that each is right where its document is kept, on a code host, and on the site. A link
to what is no page (an example, the licence) becomes its text.

The built site must load nothing from elsewhere: no font, script, style or picture. It must have the tables of settings.
"""

import os
import re
import shutil
import sys
from html.parser import HTMLParser
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


# What makes a browser fetch something while it shows a page; `rel` of those links that it fetches.
LOADED = {"src", "srcset", "poster", "data", "background"}
FETCHED = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect", "manifest", "apple-touch-icon"}
ELSEWHERE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""", re.IGNORECASE)
TABLES = 40  # of settings in the reference, at least: one for each class


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


class Loads(HTMLParser):
    """Finds what a page makes a browser fetch from elsewhere. The theme fetches a script where it finds `mermaid`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One element."""
        values = {name: value or "" for name, value in attrs}
        loaded = [values[name] for name in LOADED & values.keys()]
        if tag == "link" and FETCHED & set(values.get("rel", "").lower().split()):
            loaded.append(values.get("href", ""))
        loaded += IN_STYLE.findall(values.get("style", ""))
        self.found += [one for one in loaded if ELSEWHERE.match(one)]
        if "mermaid" in values.get("class", "").split():
            self.found.append("mermaid")


def loads(site: Path) -> list[str]:
    """What the built site would fetch from elsewhere, with the file that does."""
    found = []
    for path in sorted(site.rglob("*")):
        if path.suffix in {".html", ".svg"}:
            page = Loads()
            page.feed(path.read_text("utf-8"))
            found += [f"{path.relative_to(site)}: {one}" for one in page.found]
        elif path.suffix == ".css":
            urls = IN_STYLE.findall(path.read_text("utf-8"))
            found += [f"{path.relative_to(site)}: {one}" for one in urls if ELSEWHERE.match(one)]
    return found


def check(site: Path) -> str | None:
    """What is wrong with the built site."""
    if found := loads(site):
        return "loaded from elsewhere: " + ", ".join(found)
    if (site / "reference.html").read_text("utf-8").count("<th>setting</th>") < TABLES:
        return "reference.html lacks the tables of settings that tools/reference.py makes"
    return None


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        sys.exit(check(Path(sys.argv[2])))
    gather(ROOT, Path(sys.argv[1]))
