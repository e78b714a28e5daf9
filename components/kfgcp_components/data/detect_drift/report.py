"""Show a comparison of a table with a reference as an HTML page."""

from __future__ import annotations

from pathlib import Path

from kfgcp_components.data.detect_drift.logic import ColumnDrift, DriftReport
from kfgcp_components.html_report import Html, bars, paragraph, table, write_page


def write_report(report: DriftReport, path: str | Path) -> None:
    """Write the page: the verdict, and a row for each column. Columns with drift come first."""
    verdict = "The table has not drifted"
    if report.drifted:
        verdict = "The table has drifted"
    text = (
        f"{verdict}: {len(report.drifted_columns)} of {len(report.columns)} columns differ from the"
        " reference."
    )
    sizes = f"{report.rows} rows; the reference has {report.reference_rows}."
    body = [paragraph(text, "bad" if report.drifted else "good"), paragraph(sizes)]
    if report.new_columns:
        body.append(paragraph(f"Not in the reference: {', '.join(report.new_columns)}"))
    by_verdict = sorted(report.columns.items(), key=lambda item: not item[1].drifted)
    rows = [_row(name, column) for name, column in by_verdict]
    head = ["Column", "Kind", "Verdict", "PSI", "Jensen-Shannon", "KS", "p (KS)", "p (chi²)"]
    head += ["Missing", "Missing before", "Reference", "Table"]
    body.append(table(head, rows))
    write_page(path, "Drift of a table", body)


def _row(name: str, column: ColumnDrift) -> list[object]:
    verdict = paragraph(column.reason or "no drift", "bad" if column.drifted else "")
    measures = (column.psi, column.js, column.ks, column.ks_p_value, column.chi_squared_p_value)
    cells: list[object] = [name, column.kind, verdict]
    cells.extend(Html("") if value is None else value for value in measures)
    before, now = column.missing or (0.0, 0.0)
    cells += [f"{now:.1%}", f"{before:.1%}", bars(column.reference_shares), bars(column.shares)]
    return cells
