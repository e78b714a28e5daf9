"""A report as workflow commands, which GitHub Actions shows as annotations of lines.

The commands and their escapes are those of `command.ts` in actions/toolkit (packages/core/src). A
runner shows at most 10 errors, 10 warnings and 10 notices for each step, and prints all of them
(docs.github.com, "Workflow commands"). So errors come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kfgcp.plain_text import plain
from kfgcp.rules.findings import Severity
from kfgcp.rules.formats.sentences import format_finding
from kfgcp.rules.report import Report, Row

_COMMANDS: Final = {
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.NOTE: "notice",
    Severity.NOT_JUDGED: "notice",
}

# `escapeData` and `escapeProperty` of actions/toolkit. The percent sign must come first, because
# the others are replaced by texts with a percent sign.
_DATA_ESCAPES: Final = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY_ESCAPES: Final = _DATA_ESCAPES | {":": "%3A", ",": "%2C"}


def format_github(report: Report) -> str:
    """Return a command for each finding and each note, one line each; "" without any.

    Suppressed findings have no command.
    """
    lines = [_format_row(row) for row in report.rows]
    lines += [_format_note(note) for note in report.notes]
    return "".join(f"{line}\n" for line in lines)


def _format_row(row: Row) -> str:
    properties = {}
    if row.location is not None:
        properties = {"file": plain(row.location.file), "line": str(row.location.line)}
    properties["title"] = f"kfgcp {plain(row.finding.rule)}"
    message = format_finding(row)
    if row.finding.hint:
        message += f"\n{plain(row.finding.hint)}"
    return _format_command(_COMMANDS[row.worst], properties, message)


def _format_note(note: str) -> str:
    return _format_command("notice", {"title": "kfgcp check"}, plain(note))


def _format_command(command: str, properties: Mapping[str, str], message: str) -> str:
    """Return `::command key=value,key=value::message`."""
    pairs = []
    for key, value in properties.items():
        pairs.append(f"{key}={_escape(value, _PROPERTY_ESCAPES)}")
    return f"::{command} {','.join(pairs)}::{_escape(message, _DATA_ESCAPES)}"


def _escape(text: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in text)
