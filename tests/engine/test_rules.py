"""docs/reference/semantics.md is what docs/reference/generate_rules.py writes."""

import importlib.util
import re
from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_the_committed_table_lists_the_rules_that_are_tested():
    spec = importlib.util.spec_from_file_location("generate_rules", REFERENCE / "generate_rules.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    page = (REFERENCE / "semantics.md").read_text(encoding="utf-8")
    rows = [
        re.split(r"(?<!\\) \| ", line.removeprefix("| "))
        for line in page.splitlines()
        if "::" in line
    ]

    assert [
        (rule.replace("\\|", "|"), test.strip("`")) for rule, test, _ in rows
    ] == module.list_rules()
    assert {passes for _, _, passes in rows} == {"yes |"}
