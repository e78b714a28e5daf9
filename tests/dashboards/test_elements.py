"""What the parts of pages give away: files of tables."""

import csv
import io

from kfgcp_dashboard import elements
from kfgcp_dashboard.elements import Column


def test_a_saved_table_has_no_formulas() -> None:
    columns = {"name": Column("=title"), "value": Column("Value", "number")}
    rows = [
        {"name": "=1+1", "value": -1.5},
        {"name": "@SUM(1)", "value": "-1.5"},
        {"name": ["-"], "value": None},
    ]

    saved = elements.to_csv(columns, rows).decode()

    assert list(csv.reader(io.StringIO(saved))) == [
        ["'=title", "Value"],
        ["'=1+1", "-1.5"],
        ["'@SUM(1)", "-1.5"],
        ['["-"]', ""],
    ]
