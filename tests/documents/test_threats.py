"""The page of threats: each has a test or a vector that is there, and the page says what the table says."""

from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location

import pytest
from real_servers import ROOT


@pytest.fixture(scope="module")
def threats():
    spec = spec_from_file_location("threats", ROOT / "tools" / "threats.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_threat_has_a_test_and_the_page_says_so(threats, capsys):
    assert threats.main(["--check"]) == 0, capsys.readouterr().err


def threat(number, *tests):
    return {"number": number, "attack": "a", "rule": "r", "tests": list(tests)}


@pytest.mark.parametrize(
    ("held", "fault"),
    [
        ([threat(1)], "1: no test and no vector"),
        ([threat(1, "oauth/test_bearer::nothing_of_this_name")], "is not there"),
        ([threat(1, "oauth/test_nowhere::no_field_is_no_credential")], "is not there"),
        ([threat(2, "oauth/test_bearer::no_field_is_no_credential")], "numbers"),
    ],
)
def test_a_threat_without_a_test_is_found(threats, held, fault):
    (found,) = threats.faults([{"title": "t", "threats": held}], Counter())
    assert fault in found


def test_a_vector_is_as_good_as_a_test(threats):
    assert threats.faults([{"title": "t", "threats": [threat(1)]}], Counter({"1": 3})) == []
    assert "| 1 | a | r | 3 vectors |" in threats.page([{"title": "t", "threats": [threat(1)]}], Counter({"1": 3}))
