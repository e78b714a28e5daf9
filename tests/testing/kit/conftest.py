"""Each test of the kit begins in an empty folder, without variables of kfgcp."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _empty_project(home: Path) -> None:
    """Use the fixture `home` in each test."""
