"""A report in GitHub Flavored Markdown, for a comment or the summary of a job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from kfgcp.plain_text import plain
from kfgcp.rules.formats.sentences import collect_hints
from kfgcp.rules.report import Report, Row

# The characters with a meaning in a line of GFM. Each gets a backslash, which GFM allows before
# every ASCII punctuation character (GFM 6.1), also in the cells of tables.
_MARKUP: Final = re.compile(r"[\\`*_{}\[\]<>()!|~&$]")


def format_markdown(report: Report) -> str:
    """Return a table with the findings as rows and the environments as columns.

    Below the table are the hints, each once, the suppressed findings with their reasons, and the
    notes about the check.
    """
    lines = [f"### kfgcp check: {_escape(report.pipeline)}", ""]
    lines += _format_table(report) if report.rows else ["No findings."]
    hints = collect_hints(list(report.rows))
    if hints:
        lines += ["", "**Hints**", ""]
        lines += [f"- {rules}: {_escape(hint)}" for rules, hint in hints]
    if report.suppressed:
        lines += ["", "**Suppressed**", ""]
        lines += [_format_suppressed(row) for row in report.suppressed]
    if report.notes:
        lines += ["", "**Notes**", ""]
        lines += [f"- {_escape(note)}" for note in report.notes]
    return "\n".join(lines) + "\n"


def _format_table(report: Report) -> list[str]:
    envs = [target.env for target in report.targets]
    headers = ["severity", "rule", "where", "finding"] + envs
    lines = [_format_cells(headers), _format_cells(["---"] * len(headers), escaped=True)]
    for row in report.rows:
        cells = [str(row.worst), row.finding.rule, str(row.location or ""), row.finding.message]
        for env in envs:
            severity = row.severities.get(env)
            cells.append(str(severity) if severity is not None else "")
        lines.append(_format_cells(cells))
    return lines


def _format_cells(cells: Sequence[str], *, escaped: bool = False) -> str:
    texts = cells if escaped else [_escape(cell) for cell in cells]
    return f"| {' | '.join(texts)} |"


def _format_suppressed(row: Row) -> str:
    finding = row.finding
    line = f"- {finding.rule}: {_escape(finding.message)}"
    if row.suppression is None:
        return line
    reason = _escape(row.suppression.reason)
    return f"{line}. Reason: {reason} ({_escape(row.suppression.origin)})"


def _escape(text: str) -> str:
    """Return a text in one line that GFM shows as it is."""
    return _MARKUP.sub(lambda match: f"\\{match[0]}", plain(text))
