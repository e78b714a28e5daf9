"""A report in SARIF 2.1.0, which code scanning of GitHub, GitLab and Azure and editors read.

The sections in comments are those of the standard (OASIS, "Static Analysis Results Interchange
Format (SARIF) Version 2.1.0").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from string import Formatter
from typing import Final
from urllib.parse import quote

from kfgcp import __version__
from kfgcp.model import JsonValue, json_text
from kfgcp.plain_text import plain
from kfgcp.rules.findings import Severity
from kfgcp.rules.formats.sentences import format_finding
from kfgcp.rules.report import Report, Row, Suppression
from kfgcp.rules.rule import Rule
from kfgcp.spec.source_map import Location

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"

# 3.27.10: a result has the level "none" when its kind is not "fail".
_LEVELS: Final = {
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.NOTE: "note",
    Severity.NOT_JUDGED: "none",
}


def format_sarif(report: Report) -> str:
    """Return the report as the text of a SARIF file, with a line end.

    Suppressed findings are results with `suppressions`. The notes of the report are notifications
    of the invocation. "Not judged" is the kind "open": the tool could not decide (3.27.9).
    """
    descriptors = _describe_rules(report)
    indexes = {str(rule["id"]): index for index, rule in enumerate(descriptors)}
    rows = list(report.rows) + list(report.suppressed)
    driver: dict[str, JsonValue] = {
        "name": "kfgcp",
        "version": __version__,
        "rules": list(descriptors),
    }
    notifications = [_format_note(note) for note in report.notes]
    run: dict[str, JsonValue] = {
        "tool": {"driver": driver},
        # 3.17.3: the part before the last slash names the category of the run. With one for each
        # pipeline, a repository can upload the reports of several pipelines.
        "automationDetails": {"id": f"kfgcp/{plain(report.pipeline)}/"},
        "invocations": [
            {"executionSuccessful": True, "toolConfigurationNotifications": list(notifications)}
        ],
        "results": [_format_result(row, indexes) for row in rows],
        "properties": {"pipelineVersion": report.version, "environments": report.to_dict()["envs"]},
    }
    return json_text({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _format_note(note: str) -> dict[str, JsonValue]:
    return {"level": "note", "message": _message(plain(note))}


# -- rules


def _describe_rules(report: Report) -> list[dict[str, JsonValue]]:
    """Return the rules that were applied, and those of findings that the report does not list."""
    rules = {rule.id: rule for rule in report.rules}
    descriptors = {rule_id: _describe_rule(rule) for rule_id, rule in rules.items()}
    for row in list(report.rows) + list(report.suppressed):
        descriptors.setdefault(row.finding.rule, {"id": row.finding.rule})
    return list(descriptors.values())


def _describe_rule(rule: Rule) -> dict[str, JsonValue]:
    level = "note" if rule.severity is Severity.NOT_JUDGED else _LEVELS[rule.severity]
    descriptor: dict[str, JsonValue] = {
        "id": rule.id,
        "shortDescription": _message(_without_placeholders(rule.message)),
        "fullDescription": _message(rule.source),
        "defaultConfiguration": {"level": level},
    }
    if rule.name:
        # 3.49.7: a name for people, in the style of a programming language.
        descriptor["name"] = "".join(word.capitalize() for word in rule.name.split("_"))
    if rule.hint:
        descriptor["help"] = _message(_without_placeholders(rule.hint))
    return descriptor


def _without_placeholders(template: str) -> str:
    """Return the message of a rule for all pipelines.

    Example:
        >>> _without_placeholders("{task} loops over {count} artifacts")
        'TASK loops over COUNT artifacts'
    """
    text = ""
    for literal, placeholder, _, _ in Formatter().parse(template):
        text += literal + (placeholder or "").upper()
    return text


# -- results


def _format_result(row: Row, rule_indexes: Mapping[str, int]) -> dict[str, JsonValue]:
    finding = row.finding
    is_open = row.worst is Severity.NOT_JUDGED
    text = format_finding(row)
    if finding.hint:
        text += f". {plain(finding.hint)}"
    envs: dict[str, JsonValue] = {env: str(severity) for env, severity in row.severities.items()}
    result: dict[str, JsonValue] = {
        "ruleId": finding.rule,
        "ruleIndex": rule_indexes[finding.rule],
        "kind": "open" if is_open else "fail",
        "level": _LEVELS[row.worst],
        "message": _message(text),
        "locations": _format_locations(row),
        # 3.27.23: either all results of a run have this property, or none.
        "suppressions": _format_suppressions(row.suppression),
        "properties": {"environments": envs},
    }
    return result


def _format_locations(row: Row) -> list[JsonValue]:
    """Return the line in the file, and the task or component as a logical location."""
    location: dict[str, JsonValue] = {}
    if row.location is not None:
        location["physicalLocation"] = _format_physical_location(row.location)
    logical_locations: list[JsonValue] = []
    for kind, name in (("task", row.finding.task), ("component", row.finding.component)):
        if name:
            logical_locations.append({"kind": kind, "fullyQualifiedName": plain(name)})
    if logical_locations:
        location["logicalLocations"] = logical_locations
    return [location] if location else []


def _format_physical_location(location: Location) -> dict[str, JsonValue]:
    return {
        "artifactLocation": {"uri": _format_uri(location.file)},
        "region": {"startLine": location.line},
    }


def _format_uri(file: str) -> str:
    """Return the URI of a file: relative for a relative path.

    Example:
        >>> _format_uri("my pipelines/a:b.py"), _format_uri("/data/a.py")
        ('my%20pipelines/a%3Ab.py', 'file:///data/a.py')
    """
    path = PurePosixPath(file)
    # `surrogateescape` restores the bytes of a file name that is not UTF-8.
    encoded_path = quote(str(path), safe="/", errors="surrogateescape")
    return f"file://{encoded_path}" if path.is_absolute() else encoded_path


def _format_suppressions(suppression: Suppression | None) -> list[JsonValue]:
    if suppression is None:
        return []
    file, separator, line = suppression.origin.rpartition(":")
    formatted: dict[str, JsonValue] = {
        # 3.35.3: "inSource" is a comment beside the code, "external" is anything else.
        "kind": "external",
        "status": "accepted",
        "justification": plain(suppression.reason),
    }
    if separator and line.isdigit():
        formatted["kind"] = "inSource"
        formatted["location"] = {
            "physicalLocation": _format_physical_location(Location(file, int(line)))
        }
    return [formatted]


def _message(text: str) -> dict[str, JsonValue]:
    """Return a message object. Viewers must not find placeholders or links in it.

    3.11.5 doubles braces. 3.11.6 makes a link of `[text](target)`, and a blank prevents that.
    """
    escaped = text.replace("{", "{{").replace("}", "}}")
    return {"text": escaped.replace("](", "] (")}
