"""The findings that a run does not mention, because the user gave reasons.

Every request has one of these, so this module imports no rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from kfgcp.rules.findings import RuleFinding

Place: TypeAlias = tuple[str, str, str, str]
"""A rule, the task and the component that it is about, and the part that must change. Findings with
equal places have the same line."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The findings that the user ignores.

    Attributes:
        rules: the ids of the rules that kfgcp.toml ignores.
        places: the places of the findings that comments suppress.
    """

    rules: frozenset[str] = frozenset()
    places: frozenset[Place] = frozenset()

    def covers(self, finding: RuleFinding) -> bool:
        """Return whether the user ignores a finding."""
        return finding.rule in self.rules or finding_place(finding) in self.places


def finding_place(finding: RuleFinding) -> Place:
    """Return the place of a finding."""
    return (finding.rule, finding.task, finding.component, finding.part)
