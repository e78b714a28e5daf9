"""The result of a check: what was found for each environment, and where in the files it is."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp.model import JsonValue
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.rule import Rule, Target
from kfgcp.spec.source_lines import Location, without_number

# From the worst to the most harmless, for sorting.
_ORDER: Final = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Suppression:
    """Why a finding is not shown.

    Attributes:
        reason: the reason that the user wrote.
        origin: where it is written: `pipelines/churn.py:12`, `kfgcp.toml` or `--ignore`.
    """

    reason: str
    origin: str


@dataclass(frozen=True, slots=True)
class Row:
    """A finding, and the environments that it is true of.

    Attributes:
        finding: the finding in the first of these environments.
        severities: how bad it is in each of them, by their names.
        location: the line that must change, None when it is not known.
        suppression: why it is not shown, None for a finding that is shown.
    """

    finding: RuleFinding
    severities: Mapping[str, Severity]
    location: Location | None = None
    suppression: Suppression | None = None

    @property
    def worst(self) -> Severity:
        """How bad it is where it is worst."""
        return min(self.severities.values(), key=_ORDER.index)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON."""
        finding = self.finding
        severities = {env: str(severity) for env, severity in self.severities.items()}
        data: dict[str, JsonValue] = {
            "rule": finding.rule,
            "severity": str(self.worst),
            "message": finding.message,
            "hint": finding.hint,
            "task": finding.task or None,
            "component": finding.component or None,
            "envs": dict(severities),
            "file": None,
            "line": None,
            "suppressed": None,
        }
        if self.location is not None:
            data["file"] = self.location.file
            data["line"] = self.location.line
        if self.suppression is not None:
            data["suppressed"] = {
                "reason": self.suppression.reason,
                "origin": self.suppression.origin,
            }
        return data


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` says about a pipeline.

    Attributes:
        pipeline: the name of the pipeline.
        version: of the pipeline, `sha256:…`.
        targets: the environments that were checked, in the order of the user.
        rows: what was found, the worst first.
        suppressed: what was found and is not shown, because the user gave a reason.
        notes: what to know about the check itself, a line for each: a version of a server that is
            not known, for example.
        rules: the rules that were applied, sorted by their ids.
    """

    pipeline: str
    version: str
    targets: Sequence[Target]
    rows: Sequence[Row]
    suppressed: Sequence[Row] = ()
    notes: Sequence[str] = ()
    rules: Sequence[Rule] = ()

    def runs_on(self, env: str) -> bool:
        """Return whether nothing that was found prevents a run in an environment."""
        return all(row.severities.get(env) is not Severity.ERROR for row in self.rows)

    @property
    def ok(self) -> bool:
        """Whether it runs in all environments that were checked."""
        return all(row.worst is not Severity.ERROR for row in self.rows)

    def count(self, severity: Severity) -> int:
        """Return how many findings are this bad where they are worst."""
        return sum(row.worst is severity for row in self.rows)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON.

        The value is `{"pipeline", "version", "ok", "envs": [{"env", "backend", "server", "runs"}],
        "findings": [...], "suppressed": [...], "notes": [...]}`.
        """
        envs: list[JsonValue] = []
        for target in self.targets:
            server = ".".join(str(part) for part in target.version or ()) or None
            envs.append(
                {
                    "env": target.env,
                    "backend": target.backend,
                    "server": server,
                    "runs": self.runs_on(target.env),
                }
            )
        return {
            "pipeline": self.pipeline,
            "version": self.version,
            "ok": self.ok,
            "envs": envs,
            "findings": [row.to_dict() for row in self.rows],
            "suppressed": [row.to_dict() for row in self.suppressed],
            "notes": list(self.notes),
        }


def merge_findings(findings_by_env: Mapping[str, Sequence[RuleFinding]]) -> list[Row]:
    """Return a row for each finding, with the environments that have it; the worst rows first.

    Findings of the same rule about the same part with the same message are one row.
    """
    first: dict[tuple[str, str, str, str], RuleFinding] = {}
    severities: dict[tuple[str, str, str, str], dict[str, Severity]] = {}
    for env, findings in findings_by_env.items():
        for finding in findings:
            key = (finding.rule, finding.task, finding.component, finding.message)
            first.setdefault(key, finding)
            severities.setdefault(key, {})[env] = finding.severity
    rows = [Row(finding, severities[key]) for key, finding in first.items()]
    # Sorting keeps the order of the pipeline within a rule.
    return sorted(rows, key=lambda row: (_ORDER.index(row.worst), row.finding.rule))


def merge_copies(rows: Iterable[Row]) -> list[Row]:
    """Return the rows without those that repeat another row for a copy of its component.

    KFP writes a component once more, as `comp-train-2`, when its tasks have different settings. In
    a Python file, both are the same lines.
    """
    first: dict[Hashable, Row] = {}
    for number, row in enumerate(rows):
        finding = row.finding
        key: Hashable = number
        if finding.component and row.location is not None:
            name = finding.component.removeprefix("comp-")
            message = finding.message.replace(f"component {name}", "component", 1)
            severities = frozenset(row.severities.items())
            key = (finding.rule, row.location, without_number(name), message, severities)
        first.setdefault(key, row)
    return list(first.values())
