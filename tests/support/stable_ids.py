"""A plugin of pytest for `make mutation`: a test has the same id whenever one process collects it.

pytest keeps what `ids=` made of the parameters, and escapes it once more at each later collection. mutmut collects the
tests once, and again for each mutant, in a copy of that process: a test with a backslash in its id would not be found.
Then no test runs, and mutmut takes that for a mutant that was noticed.
"""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    for mark in metafunc.definition.iter_markers("parametrize"):
        if mark._param_ids_from is not None:
            object.__setattr__(mark._param_ids_from, "_param_ids_generated", None)  # a frozen dataclass
