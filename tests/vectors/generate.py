"""Write the vectors: `.venv/bin/python tests/vectors/generate.py`. Running it twice writes the same octets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from vectors import about_accepted, about_claims, about_key_sets, about_requests, about_signatures  # noqa: E402
from vectors.collecting import Book  # noqa: E402


def texts() -> dict[str, str]:
    """File names and what belongs into them."""
    Book.ids.clear()
    written = {}
    for part in (about_signatures, about_claims, about_key_sets, about_requests, about_accepted):
        book = part.book()
        body = {"settings": book.settings, "vectors": book.vectors}
        written[f"{book.name}.json"] = json.dumps(body, indent=1) + "\n"
    return written


if __name__ == "__main__":
    for name, text in texts().items():
        (HERE / name).write_text(text, encoding="ascii")
        print(name, len(json.loads(text)["vectors"]))
