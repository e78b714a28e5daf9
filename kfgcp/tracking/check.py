"""Check a pipeline for environments: which rules apply there, and what they find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from kfgcp.backends.plugin import BackendPlugin
from kfgcp.backends.registry import plugin_of
from kfgcp.config import Environment, Project
from kfgcp.errors import UsageError
from kfgcp.options import RunOptions
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.general import choose_rules, general_rules
from kfgcp.rules.report import Report, Row, Suppression, merge_findings
from kfgcp.rules.rule import (
    Part,
    Rule,
    RuleFinding,
    Target,
    Version,
    format_version,
    judge,
    parse_version,
)
from kfgcp.rules.suppress import notes_about, suppress
from kfgcp.settings import BackendSettings
from kfgcp.spec.load import Spec
from kfgcp.spec.source_map import Location, SourceMap, read_source_map


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How to check.

    Attributes:
        server: the version of the servers, for backends that have versions. "" is the newest one.
        select: ids and families of rules; all when empty.
        ignore: ids and families of rules to leave out.
        run_options: how the pipeline would be run.
    """

    server: str = ""
    select: Sequence[str] = ()
    ignore: Sequence[str] = ()
    run_options: RunOptions = field(default_factory=RunOptions)


def check(
    project: Project, spec: Spec, envs: Sequence[str], options: CheckOptions | None = None
) -> Report:
    """Return what the rules say about a pipeline in several environments.

    Args:
        project: the project of the environments.
        spec: the pipeline.
        envs: the names of the environments, in the order of the columns.
        options: how to check.

    Raises:
        ConfigError: there is no such environment, or [check] ignores a rule that does not exist.
        UsageError: a rule does not exist, or the version of the server is not a version.
    """
    options = options or CheckOptions()
    environments = [project.env(name) for name in envs]
    all_rules = _rules_by_id(plugin_of(env.backend) for env in environments)
    chosen_rules = choose_rules(all_rules, options.select, options.ignore)
    chosen = {rule.id for rule in chosen_rules}
    pipeline = PipelineContext(spec)
    notes: list[str] = []
    targets = []
    findings: dict[str, list[RuleFinding]] = {}
    for env in environments:
        plugin = plugin_of(env.backend)
        version = _choose_version(plugin, env, options.server, notes)
        target = Target(env.name, env.backend, version, _settings(plugin, env), options.run_options)
        rules = [rule for rule in rules_for(plugin) if rule.id in chosen]
        targets.append(target)
        findings[env.name] = judge(rules, pipeline, target)
    source_map = read_source_map(spec)
    rows = [_with_location(row, source_map) for row in merge_findings(findings)]
    notes += notes_about(source_map.comments, (rule.id for rule in all_rules))
    shown, suppressed = suppress(rows, source_map.comments, _ignored_by(project))
    return Report(spec.name, spec.version, targets, shown, suppressed, notes, chosen_rules)


def rules_for(plugin: BackendPlugin) -> tuple[Rule, ...]:
    """Return the rules for an environment of a backend: the general ones and its own."""
    own_rules = tuple(plugin.rules()) if plugin.rules is not None else ()
    return general_rules() + own_rules


def _rules_by_id(plugins: Iterable[BackendPlugin]) -> list[Rule]:
    rules: dict[str, Rule] = {}
    for plugin in plugins:
        for rule in rules_for(plugin):
            rules[rule.id] = rule
    return [rules[rule_id] for rule_id in sorted(rules)]


def _choose_version(
    plugin: BackendPlugin, env: Environment, server: str, notes: list[str]
) -> Version | None:
    """Return the version of a server to check for. Add a note when it is not the given one.

    Raises:
        UsageError: the text is not a version, or is older than all versions of the backend.
    """
    if not plugin.versions or not server:
        return None
    version = parse_version(server)
    if version is None:
        raise UsageError(
            f"--server {server} is not a version.", hint="Give the number of a release: 2.14.0"
        )
    known = [release for release in plugin.versions if release <= version]
    if not known:
        oldest = format_version(plugin.versions[0])
        raise UsageError(
            f"--server {server} is older than {oldest}, the first version that kfgcp works with."
        )
    # 2.14.3 is a known version, because its release 2.14 is.
    if version[:2] != known[-1][:2]:
        notes.append(
            f"{env.name}: kfgcp does not know version {server}; it is checked as"
            f" {format_version(known[-1])}, the newest older one"
        )
        return known[-1]
    return version


def _settings(plugin: BackendPlugin, env: Environment) -> BackendSettings | None:
    """Return the typed settings of an environment, None when one of them is missing."""
    return None if env.missing else plugin.settings.of(env.settings)


def _with_location(row: Row, source_map: SourceMap) -> Row:
    return replace(row, location=_find_location(row.finding, source_map))


def _find_location(finding: RuleFinding, source_map: SourceMap) -> Location | None:
    """Return the line that must change: of the part itself, or of the nearest part around it."""
    location = None
    if finding.part is Part.COMPONENT:
        location = source_map.find_component(finding.component)
    if location is None and finding.task:
        location = source_map.find_task(finding.task, finding.methods)
    return location or source_map.find_pipeline()


def _ignored_by(project: Project) -> dict[str, Suppression]:
    """Return the rules that [check] of kfgcp.toml ignores, with the reasons."""
    origin = project.file.name if project.file else ""
    return {rule: Suppression(reason, origin) for rule, reason in project.ignored_rules.items()}
