"""A change of a pipeline is shown with its values."""

import pytest

from kfgcp.spec.diff import Change
from kfgcp.tracking.changes import format_line, format_tree


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change("train", "env", "changed", "MODE", "debug", name="MODE"), "env MODE: MODE → debug"),
        (Change("train", "env", "added", None, "MODE", name="MODE"), "env MODE: MODE"),
        (Change("train", "env", "removed", "MODE", None, name="MODE"), "env MODE: MODE"),
        (Change("train", "dependency", "added", None, "load", name="load"), "dependency load"),
        (Change("train", "package", "removed", "numpy", None, name="numpy"), "package numpy"),
    ],
)
def test_a_value_that_equals_its_name_is_shown_unless_only_names_count(
    change: Change, text: str
) -> None:
    sign = {"added": "+", "removed": "-", "changed": "~"}[change.kind]

    assert format_line(change) == f"{sign} train: {text}"
    assert [line for _, line in format_tree([change])] == ["  train", f"    {sign} {text}"]
