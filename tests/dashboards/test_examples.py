"""The examples in docstrings of the dashboard's pure modules are true."""

import doctest
from types import ModuleType

import pytest

from kfgcp_dashboard import links, text
from kfgcp_dashboard.charts import trends


@pytest.mark.parametrize("module", [links, text, trends], ids=lambda module: module.__name__)
def test_the_examples_are_true(module: ModuleType) -> None:
    results = doctest.testmod(module)

    assert results.attempted > 0
    assert results.failed == 0
