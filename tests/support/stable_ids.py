"""A plugin of pytest for `make mutation`: a test has the same id whenever one process collects it.

pytest keeps what `ids=` made of the parameters, and escapes it once more at each later collection. mutmut collects the
tests once, and again for each mutant, in a copy of that process: a test with a backslash in its id would not be found.
Then no test runs, and mutmut takes that for a mutant that was noticed. So what pytest keeps is unescaped here.
"""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc):
    marks = [mark._param_ids_from for mark in metafunc.definition.iter_markers("parametrize")]
    new = [mark for mark in marks if mark is not None and mark._param_ids_generated is None]
    yield
    for mark in new:
        ids = [one.encode("ascii").decode("unicode_escape") for one in mark._param_ids_generated]
        object.__setattr__(mark, "_param_ids_generated", ids)  # a frozen dataclass
