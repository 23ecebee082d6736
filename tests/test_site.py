"""What tools/site.py makes of the documents."""

import runpy

import pytest
from serving import ROOT

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
