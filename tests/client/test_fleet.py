"""The simulation of a fleet in bench/fleet.py says what docs/client.md shows of it."""

import subprocess
import sys

import pytest
from real_servers import ROOT, clean

SCRIPT = ROOT / "bench" / "fleet.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the sdist comes without bench/")


def test_the_table_is_what_the_simulation_prints():
    done = subprocess.run(
        [sys.executable, SCRIPT], env=clean({}), capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout in (ROOT / "docs" / "client.md").read_text("utf-8")
