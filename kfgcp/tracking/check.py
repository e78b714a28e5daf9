"""Check a pipeline for environments: which rules apply there, and what they find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress as ignoring
from dataclasses import dataclass, field, replace

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.registry import BUILT_IN, naming_distribution, plugin_of
from kfgcp.config import FILE_NAME, Environment, Project
from kfgcp.config_pipelines import ProjectPipeline
from kfgcp.errors import BackendError, ConfigError, UsageError
from kfgcp.options import RunOptions
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import Part, RuleFinding
from kfgcp.rules.general import choose_rules, general_rules
from kfgcp.rules.ignored import Place, finding_place
from kfgcp.rules.report import Report, Row, Suppression, merge_copies, merge_findings
from kfgcp.rules.rule import Rule, Target, judge
from kfgcp.rules.suppress import notes_about, suggest_rule, suppress
from kfgcp.rules.versions import Version, format_version, parse_version
from kfgcp.spec import params as spec_params
from kfgcp.spec.load import Spec
from kfgcp.spec.source_map import Location, SourceMap, read_source_map
from kfgcp.store.store import Store
from kfgcp.tracking import named_pipelines
from kfgcp.tracking.targets import target_of
from kfgcp.tracking.translation import translate_for


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How to check.

    Attributes:
        server: the version of the servers, for backends that have versions. "" is the newest one.
        select: ids and families of rules; all when empty.
        ignore: ids and families of rules to leave out.
        params: values of parameters, as a run would get them.
        run_options: how the pipeline would be run.
    """

    server: str = ""
    select: Sequence[str] = ()
    ignore: Sequence[str] = ()
    params: Mapping[str, object] = field(default_factory=dict)
    run_options: RunOptions = field(default_factory=RunOptions)


def check(
    project: Project,
    spec: Spec,
    envs: Sequence[str],
    options: CheckOptions | None = None,
    store: Store | None = None,
) -> Report:
    """Return what the rules say about a pipeline in several environments.

    Args:
        project: the project of the environments.
        spec: the pipeline.
        envs: the names of the environments, in the order of the columns. A name that is given twice
            counts once.
        options: how to check.
        store: knows the versions of servers that kfgcp has seen. None when nothing was recorded.

    Raises:
        ConfigError: there is no such environment, or [check] ignores a rule that does not exist.
        UsageError: a rule does not exist, or the version of the server is not a version.
        ParamError: a parameter is unknown or of the wrong type.
        BackendError: a rule of another distribution failed.
    """
    options = options or CheckOptions()
    server = _parse_server(options.server)
    environments = [project.env(name) for name in dict.fromkeys(envs)]
    all_rules = _known_rules(project)
    _refuse_unknown_rules(project, all_rules)
    chosen = {rule.id for rule in choose_rules(all_rules, options.select, options.ignore)}
    pipelines = _contexts_by_env(spec, environments, options.params)
    named_pipelines.check_schedules(project, spec)
    notes: list[str] = []
    targets = []
    findings: dict[str, list[RuleFinding]] = {}
    applied: set[str] = set()
    for env in environments:
        version, note = _choose_version(env, server, store)
        if note:
            notes.append(note)
        target = target_of(project, env, version, options.run_options)
        rules = [rule for rule in rules_for(env.backend) if rule.id in chosen]
        applied.update(rule.id for rule in rules)
        targets.append(target)
        findings[env.name] = _judge_for(env, rules, pipelines[env.name], target)
    if server is not None and not any(target.version for target in targets):
        notes.append(
            "--server has no effect, because the backends of these environments have no"
            " server versions"
        )
    source_map = read_source_map(spec)
    rows = merge_copies(locate(row, source_map) for row in merge_findings(findings))
    notes += notes_about(source_map.comments, (rule.id for rule in all_rules))
    shown, suppressed = suppress(rows, source_map.comments, suppressions(project))
    rules = [rule for rule in all_rules if rule.id in applied]
    return Report(spec.name, spec.version, targets, shown, suppressed, notes, rules)


def _contexts_by_env(
    spec: Spec, environments: Iterable[Environment], params: Mapping[str, object]
) -> dict[str, PipelineContext]:
    """Return the pipeline with its known parameters, for each environment.

    A pipeline of kfgcp.toml can have different parameters in each environment. Another pipeline has
    one context, so rules that do not depend on the environment judge it once.
    """
    named_pipelines.check_param_sets(spec)
    if spec.entry is None:
        context = PipelineContext(spec, spec_params.resolve_known(spec.params, params))
        return {env.name: context for env in environments}
    contexts = {}
    for env in environments:
        values = named_pipelines.collect_values(spec, env.name, params)
        contexts[env.name] = PipelineContext(spec, spec_params.resolve_known(spec.params, values))
    return contexts


def find_suppressed_places(
    project: Project, request: SubmitRequest, store: Store | None
) -> frozenset[Place]:
    """Return the places of the findings about a run that comments suppress."""
    env = project.env(request.options.env)
    version, _ = _choose_version(env, None, store)
    target = target_of(project, env, version, request.options)
    pipeline = PipelineContext(request.spec, request.params)
    findings = _judge_for(env, rules_for(env.backend), pipeline, target)
    source_map = read_source_map(request.spec)
    rows = [locate(row, source_map) for row in merge_findings({env.name: findings})]
    _, suppressed = suppress(rows, source_map.comments, {})
    return frozenset(finding_place(row.finding) for row in suppressed)


def choose_envs(
    project: Project,
    envs: Sequence[str],
    *,
    all_envs: bool = False,
    entry: ProjectPipeline | None = None,
) -> list[str]:
    """Return the names of the environments to check for.

    Args:
        project: the project.
        envs: the names that the user gave. Without names, the environments of `entry` are chosen,
            else the default one.
        all_envs: choose all environments of the project, in the order of kfgcp.toml.
        entry: the pipeline in kfgcp.toml, None when it is not declared there.

    Raises:
        UsageError: the user gave names, and also chose all.
        ConfigError: `all_envs`, and an environment is not valid.
    """
    if not all_envs:
        declared_envs = entry.envs if entry is not None else ()
        return list(envs or declared_envs) or [project.env().name]
    if envs:
        raise UsageError("Give the names of environments, or check all environments, not both.")
    for name in project.invalid_environments:
        # This raises the error of the environment.
        project.env(name)
    return list(project.environments)


def rules_for(backend: str) -> tuple[Rule, ...]:
    """Return the rules for environments of a backend: the general ones and its own.

    Raises:
        ConfigError: the distribution of the backend cannot be used.
    """
    plugin = plugin_of(backend)
    if plugin.rules is None:
        return general_rules()
    with naming_distribution(backend, "failed in rules"):
        return general_rules() + tuple(plugin.rules())


def locate(row: Row, source_map: SourceMap) -> Row:
    """Return a row with the line that must change."""
    return replace(row, location=_find_location(row.finding, source_map))


def suppressions(project: Project) -> dict[str, Suppression]:
    """Return the rules that [check] of kfgcp.toml ignores, with the reasons."""
    return {rule: Suppression(reason, FILE_NAME) for rule, reason in project.ignored_rules.items()}


def _known_rules(project: Project) -> list[Rule]:
    """Return the rules of our backends and of those that the project uses, sorted by their ids.

    A name in `--ignore` is correct although no environment of this check has the rule.

    Raises:
        UsageError: two backends have a rule with the same id.
    """
    backends = dict.fromkeys(BUILT_IN)
    backends |= dict.fromkeys(env.backend for env in project.environments.values())
    rules: dict[str, Rule] = {}
    for backend in backends:
        # An environment of a broken backend fails only when it is checked.
        with ignoring(ConfigError):
            for rule in rules_for(backend):
                if rules.setdefault(rule.id, rule) != rule:
                    raise UsageError(
                        f"The backend '{backend}' has a rule {rule.id}, and another backend has a"
                        " rule with the same id.",
                        hint="Remove one of the two backends, or ask its author to give the rule"
                        " another id.",
                    )
    return [rules[rule_id] for rule_id in sorted(rules)]


def _refuse_unknown_rules(project: Project, rules: Iterable[Rule]) -> None:
    """Refuse a table [check] that ignores a rule that does not exist."""
    ids = {rule.id for rule in rules}
    unknown = sorted(project.ignored_rules.keys() - ids)
    if unknown:
        raise ConfigError(
            f"{FILE_NAME} [check]: ignore has {', '.join(unknown)}, which is not a rule.",
            hint=f"{suggest_rule(unknown[0], ids)}docs/reference/rules.md lists all rules.",
        )


def _judge_for(
    env: Environment, rules: Sequence[Rule], pipeline: PipelineContext, target: Target
) -> list[RuleFinding]:
    """Return what rules find for an environment.

    General rules see the pipeline as it is written. The rules of the backend see what is sent: the
    pipeline with the GPUs and secrets of the environment.
    """
    general = [rule for rule in rules if rule.is_general]
    own = [rule for rule in rules if not rule.is_general]
    findings = judge(general, pipeline, target)
    with naming_distribution(target.backend, "failed in a rule", error_class=BackendError):
        findings += judge(own, _sent_pipeline(env, pipeline), target)
    return findings


def _sent_pipeline(env: Environment, pipeline: PipelineContext) -> PipelineContext:
    translated = translate_for(env, pipeline.spec)
    if translated is None or not translated.changes:
        return pipeline
    sent_spec = replace(
        pipeline.spec,
        pipeline_spec=dict(translated.pipeline_spec),
        platform_spec=translated.platform_spec,
    )
    return PipelineContext(sent_spec, pipeline.params)


def _parse_server(text: str) -> Version | None:
    """Return the version that the user gave, None without one.

    Raises:
        UsageError: the text is not a version.
    """
    if not text:
        return None
    version = parse_version(text)
    if version is None:
        raise UsageError(
            f"{text!r} is not the version of a server.", hint="Give the number of a release: 2.14.0"
        )
    return version


def _choose_version(
    env: Environment, server: Version | None, store: Store | None
) -> tuple[Version | None, str]:
    """Return the version of a server to check for, and a note about the choice, "" without one.

    Args:
        env: the environment.
        server: the version that the user gave.
        store: knows the version of the server that kfgcp has seen last.

    Raises:
        UsageError: the given version is older than all versions of the backend.
    """
    plugin = plugin_of(env.backend)
    versions = plugin.versions
    if not versions:
        return None, ""
    if server is None:
        server = _seen_version(env, store)
    if server is None:
        newest = plugin.newest_release or versions[-1]
        return newest, (
            f"{env.name}: kfgcp does not know the version of the server, so it applies the rules"
            f" for {format_version(newest)}, the newest known version. For another version:"
            " --server VERSION"
        )
    older_versions = [release for release in versions if release <= server]
    if not older_versions:
        raise UsageError(
            f"The server has version {format_version(server)}, but kfgcp needs"
            f" {format_version(versions[0])} or newer.",
            hint="Upgrade the server, or give another version: --server VERSION",
        )
    # 2.14.3 is a known version, because its release 2.14 is.
    if server[:2] == older_versions[-1][:2]:
        return server, ""
    return older_versions[-1], (
        f"{env.name}: kfgcp does not know version {format_version(server)}, so it applies the"
        f" rules for {format_version(older_versions[-1])}, the newest known version before it"
    )


def _seen_version(env: Environment, store: Store | None) -> Version | None:
    """Return the version of a server that kfgcp has seen last. Send no request."""
    seen_version = plugin_of(env.backend).seen_version
    if seen_version is None or store is None or env.missing:
        return None
    from kfgcp.backends.store_records import StoreRecords

    with naming_distribution(env.backend, "failed in seen_version", error_class=BackendError):
        return seen_version(env, StoreRecords(store))


def _find_location(finding: RuleFinding, source_map: SourceMap) -> Location | None:
    """Return the line that must change: of the part itself, or of the nearest part around it."""
    location = None
    if finding.part is Part.COMPONENT:
        location = source_map.find_component(finding.component, finding.task)
    if location is None and finding.task:
        location = source_map.find_task(finding.task, finding.methods)
    return location or source_map.find_pipeline()
