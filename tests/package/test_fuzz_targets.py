"""The fuzz targets run: each over its own seeds, without the fuzzer, which is not everywhere."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"

pytestmark = pytest.mark.skipif(not (FUZZ / "seeds.py").exists(), reason="the sdist comes without fuzz/")

# In a process of its own: the targets turn logging off.
RUN = """
import contextlib, importlib, sys, types
sys.modules["atheris"] = types.SimpleNamespace(instrument_imports=lambda **_: contextlib.nullcontext())
import seeds
target = importlib.import_module(f"fuzz_{sys.argv[1]}")
chosen = seeds.seeds()[sys.argv[1]]
for seed in chosen:
    target.one(seed)
print(len(chosen))
"""


TARGETS = ["token", "header", "jwks", "introspection", "token_answer", "proof", "certificate", "gateway_path"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_holds_for_its_seeds(target):
    done = subprocess.run(
        [sys.executable, "-c", RUN, target], cwd=FUZZ, stdout=subprocess.PIPE, check=True, text=True, timeout=120
    )
    assert int(done.stdout) >= 50
