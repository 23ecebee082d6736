"""`make demo-gateway`, for real: all of it, and what it does when something is not as expected."""

import os
import shutil
import subprocess
import sys

import pytest
from real_servers import EXAMPLES, clean

DEMO = EXAMPLES / "gateway" / "demo.py"
pytestmark = [
    pytest.mark.skipif(not DEMO.exists(), reason="the sdist comes without examples"),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light"),
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node: apt-get install nodejs"),
]


def demo(environment):
    # A session of its own, so that whatever it left behind would be found by it.
    process = subprocess.Popen(
        [sys.executable, str(DEMO)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=clean(environment),
    )
    out, err = process.communicate(timeout=300)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    return process.returncode, out, err


def test_all_as_expected_and_nothing_left_running():
    code, out, err = demo({})
    assert code == 0, out + err
    assert "UNEXPECTED" not in out
    assert "30 of 30 rows as expected" in out


def test_an_unexpected_answer_fails_and_shows_the_logs():
    """With a token that is good for nothing, said to be good."""
    program = f"""
import runpy, sys
demo = runpy.run_path({str(DEMO)!r})
def short(demo, issuer):
    demo.row("said to be good", "200 to reports", "nonsense")
    return issuer.mint()
main = demo["main"]
main.__globals__.update(with_tokens=short, over_time=short, with_losses=lambda *_: None)
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, env=clean({}), check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("UNEXPECTED") == 2
    assert "--- gateway wrote:" in done.stdout
    assert "0 of 2 rows as expected" in done.stdout


def test_without_nginx():
    code, out, err = demo({"PATH": ""})
    assert (code, out) == (2, "")
    assert err == "demo-gateway: needs nginx and node: apt-get install nginx-light nodejs\n"
