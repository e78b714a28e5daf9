"""Show the violations of a schema as an HTML page."""

from __future__ import annotations

from pathlib import Path

from kfgcp_components.data.validate_table.logic import ValidationReport
from kfgcp_components.html_report import paragraph, table, write_page


def write_report(report: ValidationReport, path: str | Path) -> None:
    """Write the page: the verdict, and a row for each check that fails."""
    if report.valid:
        verdict = paragraph(f"All {report.rows} rows fit the schema.", "good")
    else:
        text = f"The table does not fit the schema: {len(report.violations)} checks fail."
        verdict = paragraph(text, "bad")
    rows = []
    for violation in report.violations:
        share = violation.count / report.rows
        examples = []
        for example in violation.examples:
            row = "" if example.row is None else f"row {example.row}: "
            examples.append(f"{row}{example.value}")
        count = f"{violation.count} ({share:.2%})"
        rows.append([violation.column, violation.check, count, "; ".join(examples)])
    head = ["Column", "Check", "Rows", "Examples"]
    write_page(path, "Validation of a table", [verdict, table(head, rows)])
