"""What tools/site.py makes of the documents."""

import runpy

import pytest
from real_servers import ROOT

SITE = runpy.run_path(str(ROOT / "tools" / "site.py"))

CODE = '![a](a.svg)\n\n```python {}title="x.py"\n[no](README.md)\n```\n'
DOCUMENTS = {
    "README.md": "# It\n[why](docs/why.md#so) [all](docs/decisions) [licence](LICENSE) [out](https://example.com/a.md)\n",
    "LICENSE": "as is\n",
    "docs/why.md": "# Why\n[`it`](../README.md) [here](#why) `[no](link)`\n" + CODE.format("compile "),
    "docs/a.svg": "<svg/>\n",
    "docs/decisions/0001-so.md": "# 0001: So\n[why](../why.md)\n",
}
PAGES = {
    "project/readme.md": "# It\n[why](../why.md#so) [all](../decisions/index.md) licence [out](https://example.com/a.md)\n",
    "why.md": "# Why\n[`it`](project/readme.md) [here](#why) `[no](link)`\n" + CODE.format(""),
    "a.svg": "<svg/>\n",
    "decisions/0001-so.md": "# 0001: So\n[why](../why.md)\n",
    "decisions/index.md": "# Decisions\n\n- [0001: So](0001-so.md)\n",
}


@pytest.fixture
def root(tmp_path):
    for path, text in DOCUMENTS.items():
        place = tmp_path / "repository" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    return tmp_path / "repository"


def test_pages_and_their_links(root, tmp_path):
    into = tmp_path / "pages"
    into.mkdir()
    (into / "stale.md").write_text("from before", "utf-8")
    SITE["gather"](root, into)
    made = {path.relative_to(into).as_posix(): path.read_text("utf-8") for path in into.rglob("*") if path.is_file()}
    assert made == PAGES


@pytest.mark.parametrize(
    "element",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/a.css">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<img src="HTTPS://img.example/a.png">',
        '<div style="background: url(https://img.example/a.png)"></div>',
        '<pre class="mermaid"><code>graph</code></pre>',
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(element, tmp_path):
    (tmp_path / "page.html").write_text(f"<p>text</p>{element}", "utf-8")
    assert len(SITE["loads"](tmp_path)) == 1


def test_a_style_sheet_that_loads_from_elsewhere_is_found(tmp_path):
    (tmp_path / "site.css").write_text("@import 'https://fonts.example/a.css'; a { b: url(look/c.svg) }", "utf-8")
    assert SITE["loads"](tmp_path) == ["site.css: https://fonts.example/a.css"]


def test_links_and_files_of_the_site_are_no_loads(tmp_path):
    (tmp_path / "page.html").write_text(
        '<a href="https://example.com/">out</a><link rel="canonical" href="https://example.com/a">'
        '<img src="look/a.svg"><link rel="icon" href="../look/mark.svg"><script src="a.js"></script>',
        "utf-8",
    )
    assert SITE["loads"](tmp_path) == []


def test_a_reference_without_tables_is_found(tmp_path):
    (tmp_path / "reference.html").write_text("<p>names</p>", "utf-8")
    assert "tables" in SITE["check"](tmp_path)
