"""Writes DIRECTORY/provenance.json: python tools/provenance.py COMMIT DIRECTORY

An in-toto statement (v1) with a SLSA provenance predicate (v1): the digests of what was built, and of what it was built
from. It is not signed here: the index signs it where a trusted publisher uploads it.
"""

import hashlib
import json
import platform
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def digest(path: Path) -> dict[str, str]:
    """The SHA-256 of a file, as in-toto writes digests."""
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def statement(commit: str, directory: Path) -> dict[str, object]:
    """What there is to say about the archives in `directory`."""
    archives = sorted([*directory.glob("*.whl"), *directory.glob("*.tar.gz")])
    if len(archives) != 2:
        sys.exit(f"provenance: a wheel and an sdist are wanted, found {[path.name for path in archives]}")
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": path.name, "digest": digest(path)} for path in archives],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://pypi.org/project/tokenguard-oauth/#make-release",
                "externalParameters": {"target": "make release"},
                "internalParameters": {"python": platform.python_version()},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": commit}},
                    {"name": "release.lock", "digest": digest(ROOT / "release.lock")},
                ],
            },
            "runDetails": {"builder": {"id": "https://pypi.org/project/tokenguard-oauth/#tools/release.sh"}},
        },
    }


if __name__ == "__main__":
    target = Path(sys.argv[2])
    text = json.dumps(statement(sys.argv[1], target), indent=1)
    (target / "provenance.json").write_text(f"{text}\n")
