"""Use what rules found in a run that is about to start: refuse errors, and list warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from kfgcp.errors import Unsupported, UsageError
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.ignored import Ignored
from kfgcp.rules.images import unpinned_image

# A pipeline can have hundreds of components with the same setting.
_MAX_LINES_OF_RULE: Final = 3

_NOTHING_IGNORED: Final = Ignored()


def refuse_errors(findings: Sequence[RuleFinding], ignored: Ignored = _NOTHING_IGNORED) -> None:
    """Refuse a run in which rules found errors.

    Args:
        findings: what the rules found.
        ignored: the findings that the user ignores.

    Raises:
        Unsupported: there are errors. The message is that of the first one, as `check` shows it.
    """
    errors = _select(findings, Severity.ERROR, ignored)
    if not errors:
        return
    message = describe(errors[0])
    if len(errors) > 1:
        message += f", and {len(errors) - 1} more: see kfgcp check"
    raise Unsupported(f"{message[:1].upper()}{message[1:]}.", hint=errors[0].hint)


def refuse_unpinned_images(findings: Sequence[RuleFinding]) -> None:
    """Refuse a run with an image that no registry is known to have.

    Args:
        findings: what the rules found, without the findings that the user ignores.

    Raises:
        UsageError: there is such an image. The message is that of the rule.
    """
    for finding in findings:
        if finding.rule == unpinned_image.id:
            message = describe(finding)
            raise UsageError(f"{message[:1].upper()}{message[1:]}.", hint=finding.hint)


def warning_lines(
    findings: Sequence[RuleFinding], ignored: Ignored = _NOTHING_IGNORED
) -> list[str]:
    """Return a line for each warning, in the words of `check`. Of one rule, the first three.

    Args:
        findings: what the rules found.
        ignored: the findings that the user ignores.
    """
    lines: list[str] = []
    count_by_rule: Counter[str] = Counter()
    for finding in _select(findings, Severity.WARNING, ignored):
        count_by_rule[finding.rule] += 1
        if count_by_rule[finding.rule] <= _MAX_LINES_OF_RULE:
            lines.append(describe(finding))
    for rule, count in count_by_rule.items():
        if count > _MAX_LINES_OF_RULE:
            lines.append(f"{count - _MAX_LINES_OF_RULE} more warnings of {rule}: see kfgcp check")
    return lines


def describe(finding: RuleFinding) -> str:
    """Return what a run says about a finding: the words of `check`, and the id of the rule."""
    return f"{finding.message} ({finding.rule})"


def _select(
    findings: Sequence[RuleFinding], severity: Severity, ignored: Ignored
) -> list[RuleFinding]:
    return [
        finding
        for finding in findings
        if finding.severity is severity and not ignored.covers(finding)
    ]
