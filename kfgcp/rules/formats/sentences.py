"""Sentences about a finding that several formats share."""

from __future__ import annotations

from kfgcp.plain_text import plain
from kfgcp.rules.findings import Severity
from kfgcp.rules.report import Row


def format_finding(row: Row) -> str:
    """Return the message of a finding and its environments in one line.

    Example:
        >>> from kfgcp.rules.rule import RuleFinding
        >>> finding = RuleFinding("K101", Severity.ERROR, "task a loops over artifacts")
        >>> format_finding(Row(finding, {"gke": Severity.ERROR, "kind": Severity.WARNING}))
        'task a loops over artifacts (error: gke; warning: kind)'
    """
    return f"{plain(row.finding.message)} ({format_environments(row)})"


def format_environments(row: Row) -> str:
    """Return the environments of a finding, with the severity where they differ.

    Example:
        >>> from kfgcp.rules.rule import RuleFinding
        >>> finding = RuleFinding("K101", Severity.ERROR, "task a loops over artifacts")
        >>> format_environments(Row(finding, {"gke": Severity.ERROR, "kind": Severity.ERROR}))
        'gke, kind'
    """
    envs_by_severity: dict[Severity, list[str]] = {}
    for env, severity in row.severities.items():
        envs_by_severity.setdefault(severity, []).append(plain(env))
    if len(envs_by_severity) == 1:
        return ", ".join(envs_by_severity[row.worst])
    severities = [severity for severity in Severity if severity in envs_by_severity]
    return "; ".join(
        f"{severity}: {', '.join(envs_by_severity[severity])}" for severity in severities
    )


def collect_hints(rows: list[Row]) -> list[tuple[str, str]]:
    """Return the hints of findings with the rules that give them, each hint once.

    Args:
        rows: the findings, in the order of the hints.

    Returns:
        Pairs: the ids of the rules, `K101, K102`, and the hint.
    """
    rules_by_hint: dict[str, list[str]] = {}
    for row in rows:
        hint = plain(row.finding.hint)
        if hint:
            rules = rules_by_hint.setdefault(hint, [])
            if row.finding.rule not in rules:
                rules.append(row.finding.rule)
    return [(", ".join(rules), hint) for hint, rules in rules_by_hint.items()]
