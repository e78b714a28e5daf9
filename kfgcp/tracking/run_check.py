"""Check a pipeline before a run: refuse what cannot run, and warn of what may surprise.

Only the rules that are true everywhere are judged here. A backend judges its own rules, because it
may have to ask its server for the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.config import Project
from kfgcp.errors import Unsupported
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.general import general_rules
from kfgcp.rules.report import Row, merge_findings
from kfgcp.rules.rule import Severity, Target, judge
from kfgcp.rules.suppress import suppress
from kfgcp.spec.source_map import read_source_map
from kfgcp.tracking.check import locate, read_settings, suppressions

# An error of these rules is true on every backend, so the run is refused. A backend refuses what it
# cannot run itself.
_REFUSING_FAMILY: Final = "S"


def check_before_run(project: Project, request: SubmitRequest) -> list[str]:
    """Return a line for each warning of the general rules about a run.

    A repetition has no warnings, because they were shown before its first run.

    Raises:
        Unsupported: a rule of the family S has found an error. The message is that of the check.
    """
    rows = _find_rows(project, request)
    refused = [row for row in rows if _is_refused(row)]
    if refused:
        raise _refusal(refused)
    if request.repeats is not None:
        return []
    return [describe_row(row) for row in rows]


def describe_row(row: Row) -> str:
    """Return a finding in one line: `train.py:12: task train … (S101)`."""
    where = f"{row.location}: " if row.location is not None else ""
    return f"{where}{row.finding.message} ({row.finding.rule})"


def _find_rows(project: Project, request: SubmitRequest) -> list[Row]:
    """Return the errors and warnings about a run that the user has not suppressed."""
    env = project.env(request.options.env)
    target = Target(env.name, env.backend, None, read_settings(env), request.options)
    shown_severities = (Severity.ERROR, Severity.WARNING)
    ignored = suppressions(project)
    rules = [
        rule
        for rule in general_rules()
        if rule.severity in shown_severities and rule.id not in ignored
    ]
    findings = judge(rules, PipelineContext(request.spec, request.params), target)
    findings = [finding for finding in findings if finding.severity in shown_severities]
    if not findings:
        # Reading the files of the pipeline takes time.
        return []
    source_map = read_source_map(request.spec)
    rows = [locate(row, source_map) for row in merge_findings({env.name: findings})]
    shown, _ = suppress(rows, source_map.comments, ignored)
    return shown


def _is_refused(row: Row) -> bool:
    return row.worst is Severity.ERROR and row.finding.rule.startswith(_REFUSING_FAMILY)


def _refusal(rows: Sequence[Row]) -> Unsupported:
    """Return the error for a pipeline that cannot run, with all reasons."""
    reasons = [describe_row(row) for row in rows]
    hints = [row.finding.hint for row in rows if row.finding.hint]
    return Unsupported(f"{'; '.join(reasons)}.", hint="\n".join(dict.fromkeys(hints)))
