"""Check a pipeline before a run: refuse what cannot run, and warn of what may surprise.

Only the rules that are true everywhere are judged here. A backend judges its own rules, because it
may have to ask its server for the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.registry import typed_settings
from kfgcp.config import Project
from kfgcp.rules.before_run import refuse_errors, warning_lines
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.general import general_rules
from kfgcp.rules.rule import RuleFinding, Severity, Target, judge
from kfgcp.spec.load import Spec

# An error of these rules is true on every backend, so the run is refused. A backend refuses what it
# cannot run itself.
_REFUSING_FAMILY: Final = "S"

# Notes, and what cannot be judged, are too common to be shown at every run.
_SHOWN_SEVERITIES: Final = (Severity.ERROR, Severity.WARNING)


def check_before_run(project: Project, request: SubmitRequest) -> list[str]:
    """Return a line for each warning of the general rules about a run, in the words of `check`.

    A repetition has no warnings, because they were shown before its first run.

    Raises:
        Unsupported: a rule of the family S has found an error.
    """
    findings = _find_problems(project, request)
    refuse_errors([finding for finding in findings if finding.rule[0] == _REFUSING_FAMILY])
    if request.repeats is not None:
        return []
    return warning_lines(findings)


def _find_problems(project: Project, request: SubmitRequest) -> list[RuleFinding]:
    """Return the errors and warnings about a run that the user has not suppressed."""
    env = project.env(request.options.env)
    target = Target(env.name, env.backend, None, typed_settings(env), request.options)
    rules = [
        rule
        for rule in general_rules()
        if rule.severity in _SHOWN_SEVERITIES and rule.id not in project.ignored_rules
    ]
    findings = judge(rules, PipelineContext(request.spec, request.params), target)
    problems = [finding for finding in findings if finding.severity in _SHOWN_SEVERITIES]
    # Most pipelines have no problems. Reading their files takes longer than the rules.
    return _without_suppressed(project, request.spec, problems) if problems else []


def _without_suppressed(
    project: Project, spec: Spec, findings: Sequence[RuleFinding]
) -> list[RuleFinding]:
    """Return the findings that no comment and no [check] of kfgcp.toml suppresses."""
    # Imported only here: the imports take 10 ms, and most runs do not need them.
    from kfgcp.rules.report import merge_findings
    from kfgcp.rules.suppress import suppress
    from kfgcp.spec.source_map import read_source_map
    from kfgcp.tracking.check import locate, suppressions

    source_map = read_source_map(spec)
    rows = [locate(row, source_map) for row in merge_findings({"": findings})]
    shown, _ = suppress(rows, source_map.comments, suppressions(project))
    return [row.finding for row in shown]
