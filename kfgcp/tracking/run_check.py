"""Check a pipeline before a run: refuse what cannot run, and warn of what may surprise.

Only the rules that are true everywhere are judged here. A backend judges its own rules, because it
may have to ask its server for the version.

Most pipelines have no comment that suppresses a rule. So the modules that read comments are
imported late: their imports take 10 ms.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from kfgcp.backends.base import SubmitRequest
from kfgcp.config import Project
from kfgcp.rules.before_run import refuse_errors, refuse_unpinned_images, warning_lines
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.general import general_rules
from kfgcp.rules.ignored import Ignored, Place
from kfgcp.rules.rule import judge
from kfgcp.spec.pipeline_files import may_suppress_rules
from kfgcp.spec.wire import may_need_translation
from kfgcp.store.store import Store
from kfgcp.tracking.targets import target_of

# Notes, and what cannot be judged, are too common to be shown at every run.
_SHOWN_SEVERITIES: Final = (Severity.ERROR, Severity.WARNING)


def check_before_run(project: Project, request: SubmitRequest) -> list[str]:
    """Return a line for each warning of the general rules about a run, in the words of `check`.

    A repetition has no warnings, because they were shown before its first run.

    Raises:
        UsageError: an image of the project is not pinned, and the run is for a service.
        Unsupported: a general rule has found an error.
    """
    findings = _find_problems(project, request)
    refuse_unpinned_images(findings)
    refuse_errors(findings)
    if request.repeats is not None:
        return []
    return warning_lines(findings)


def require_pinned_images(project: Project, request: SubmitRequest) -> None:
    """Refuse a run that a service would get with an image that is not pinned, as `submit` does.

    Raises:
        UsageError: there is such an image.
    """
    refuse_unpinned_images(_find_problems(project, request))


def with_ignored_findings(
    project: Project, request: SubmitRequest, store: Store | None
) -> SubmitRequest:
    """Return a request with the findings that the user ignores, in kfgcp.toml or in comments."""
    places: frozenset[Place] = frozenset()
    if may_suppress_rules(request.spec):
        from kfgcp.tracking.check import find_suppressed_places

        places = find_suppressed_places(project, request, store)
    return replace(request, ignored=Ignored(frozenset(project.ignored_rules), places))


def _find_problems(project: Project, request: SubmitRequest) -> list[RuleFinding]:
    """Return the errors and warnings about a run that the user has not suppressed."""
    env = project.env(request.options.env)
    target = target_of(project, env, None, request.options)
    spec = request.spec
    with_translation = may_need_translation(spec.pipeline_spec, spec.platform_spec)
    rules = [
        rule
        for rule in general_rules(with_translation=with_translation)
        if rule.severity in _SHOWN_SEVERITIES and rule.id not in request.ignored.rules
    ]
    findings = judge(rules, PipelineContext(spec, request.params), target)
    return [
        finding
        for finding in findings
        if finding.severity in _SHOWN_SEVERITIES and not request.ignored.covers(finding)
    ]
