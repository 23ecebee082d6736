"""Mutation judges a mutant by tests that it names: their ids must not change from one collection to the next."""

import os
import subprocess
import sys

PROGRAM = """
import sys
import pytest

class Ids:
    def pytest_collection_modifyitems(self, items):
        found.append([item.nodeid for item in items])

found = []
for _ in range(2):
    pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[Ids()])
print(found[0] == found[1], len(found[0]))
"""
TESTS = r"""
import pytest

@pytest.mark.parametrize("text", ["a\\b", "\x00", "é", "a"], ids=repr)
@pytest.mark.parametrize("other", ["a\\b", "c"])
@pytest.mark.parametrize("more", [1, 2], ids=["x\\y", "z"])
def test(text, other, more): ...
"""


def collected(folder, *arguments):
    (folder / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-c", PROGRAM, *arguments, "test_it.py"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    run = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=120)
    return run.stdout.splitlines()[-1]


def test_ids_stay_the_same_with_the_plugin_alone(tmp_path, request):
    support = request.config.rootpath / "tests" / "support"
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {support}\n")
    assert collected(tmp_path, "-p", "stable_ids") == "True 16"
    assert collected(tmp_path) == "False 16"  # else the plugin is needed no longer
