"""What a rule is, and what it finds.

A rule is a function with a decorator. The function gets one part of a pipeline and the place where
it would run, and returns whether the rule has something to say about it:

    @task_rule(
        "K101",
        Severity.ERROR,
        "{task} loops over artifacts, which no version of Kubeflow Pipelines can run",
        hint="Loop over the URIs, and import each artifact with dsl.importer in the loop.",
    )
    def loop_over_artifacts(context: TaskContext, target: Target) -> Match:
        \"\"\"The compiler of workflows refuses artifactIterator (argocompiler/dag.go).\"\"\"
        return context.task.iterator is not None and context.task.iterator.artifacts

The docstring names the source: a document, a recording or the code of a service. It is printed in
the reference of rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from types import ModuleType
from typing import Final, TypeAlias

from kfgcp.options import RunOptions
from kfgcp.rules.contexts import ComponentContext, PipelineContext, TaskContext
from kfgcp.rules.findings import Located, Match, NotJudged, Part, RuleFinding, Severity
from kfgcp.rules.versions import Version, format_version
from kfgcp.settings import BackendSettings

_ID: Final = re.compile(r"[A-Z]\d{3}")

# The rules in kfgcp/rules: S spec, P portability, R reproducibility, Y safety.
_GENERAL_FAMILIES: Final = frozenset("SPRY")

# `{task}` in the reason of a `NotJudged`.
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class Runner(Enum):
    """What runs the pipeline of a target."""

    UNKNOWN = "unknown"
    THIS_MACHINE = "this machine"
    STAND_IN = "stand-in"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Target:
    """A place where the pipeline would run.

    Attributes:
        env: the name of the environment.
        backend: the name of its backend.
        version: of the server; None when the backend has no versions, or for the newest one.
        settings: the keys of the environment; None when it is not configured.
        options: how the pipeline would be run.
        runner: what runs the pipeline.
        image_repositories: the names of the project's images, without tags.
    """

    env: str
    backend: str
    version: Version | None = None
    settings: BackendSettings | None = None
    options: RunOptions = field(default_factory=RunOptions)
    runner: Runner = Runner.UNKNOWN
    image_repositories: frozenset[str] = frozenset()


TaskFunction: TypeAlias = Callable[[TaskContext, Target], Match]
ComponentFunction: TypeAlias = Callable[[ComponentContext, Target], Match]
PipelineFunction: TypeAlias = Callable[[PipelineContext, Target], Iterable[Match] | Match]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. Decorators make it of a function, see the text of this module.

    Attributes:
        id: a letter for the family and three digits.
        severity: of what it finds.
        message: of what it finds, with placeholders.
        hint: of what it finds, with placeholders.
        source: where its truth comes from, and what else there is to say.
        since: the first version of the server that is affected, None when all are.
        fixed_in: the first version that is not affected any more, None when none is.
        methods: as in `RuleFinding`.
        part: what must change.
        needs_target: whether a general rule reads the settings of the environment.
    """

    id: str
    severity: Severity
    message: str
    hint: str
    source: str
    name: str
    task_function: TaskFunction | None = None
    component_function: ComponentFunction | None = None
    pipeline_function: PipelineFunction | None = None
    since: Version | None = None
    fixed_in: Version | None = None
    methods: tuple[str, ...] = ()
    part: Part = Part.TASK
    needs_target: bool = False

    @property
    def family(self) -> str:
        """The letter of its family: S, P, R or Y, or that of a backend."""
        return self.id[0]

    def affects(self, version: Version | None) -> bool:
        """Return whether it is true of a version of the server. None is the newest version.

        Example:
            >>> rule = Rule("K201", Severity.ERROR, "", "", "", "", fixed_in=(2, 14))
            >>> rule.affects((2, 5)), rule.affects((2, 14, 3)), rule.affects(None)
            (True, False, False)
        """
        if version is None:
            return self.fixed_in is None
        if self.fixed_in is not None and version >= self.fixed_in:
            return False
        return self.since is None or version >= self.since

    @property
    def depends_on_version(self) -> bool:
        """Whether some versions are affected and others are not."""
        return self.since is not None or self.fixed_in is not None

    @property
    def is_general(self) -> bool:
        """Whether it is not a rule of a backend."""
        return self.family in _GENERAL_FAMILIES

    @property
    def is_same_everywhere(self) -> bool:
        """Whether it finds the same for each target."""
        return self.is_general and not self.needs_target

    def findings(
        self, pipeline: PipelineContext, target: Target, *, any_version: bool = False
    ) -> Iterable[RuleFinding]:
        """Return what the rule finds in a pipeline.

        A rule that finds the same for each target is judged once for each pipeline.

        Args:
            pipeline: the pipeline.
            target: where it would run.
            any_version: judge also when the version of the target is not affected.
        """
        if not self.is_same_everywhere:
            return self._judge(pipeline, target, any_version=any_version)
        findings = pipeline.memo.get(self)
        if findings is None:
            findings = tuple(self._judge(pipeline, target, any_version=any_version))
            pipeline.memo[self] = findings
        return findings

    def _judge(
        self, pipeline: PipelineContext, target: Target, *, any_version: bool
    ) -> Iterator[RuleFinding]:
        if not any_version and not self.affects(target.version):
            return
        target_values = {"env": target.env, "version": format_version(target.version)}
        if self.task_function is not None:
            for task in pipeline.tasks:
                match = self.task_function(task, target)
                if match is not False and match is not None:
                    yield self._finding(match, target_values, task.path, task.component.name)
        elif self.component_function is not None:
            for component in pipeline.components:
                match = self.component_function(component, target)
                if match is not False and match is not None:
                    name = component.component.name
                    yield self._finding(match, target_values, component.task, name)
        elif self.pipeline_function is not None:
            for match in _matches(self.pipeline_function(pipeline, target)):
                yield self._finding(match, target_values)

    def _finding(
        self,
        match: Match,
        target_values: Mapping[str, str],
        task: str = "",
        component: str = "",
    ) -> RuleFinding:
        part = self.part
        given_values: Mapping[str, str] = {}
        if isinstance(match, Located):
            given_values = match.values
            part, task, component = match.part, match.task, match.component
        elif isinstance(match, Mapping):
            given_values = match
        values = {
            "task": f"task {task}" if task else "the pipeline",
            "component": f"component {component.removeprefix('comp-')}",
            **target_values,
        }
        if isinstance(match, NotJudged):
            reason = _fill_placeholders(match.reason, {**values, **match.values})
            message = f"not judged: {_one_line(reason)}"
            return RuleFinding(
                self.id, Severity.NOT_JUDGED, message, "", task, component, part, self.methods
            )
        values.update(given_values)
        message = _fill(self.message, values)
        hint = _fill(self.hint, values)
        return RuleFinding(
            self.id, self.severity, message, hint, task, component, part, self.methods
        )


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Return a message or a hint with its values, on one line."""
    # Most hints have no placeholders, and a large pipeline can have thousands of findings.
    if "{" in template or "}" in template:
        template = template.format_map(values)
    return _one_line(template)


def _fill_placeholders(reason: str, values: Mapping[str, str]) -> str:
    """Return the reason of a `NotJudged` with its placeholders filled in.

    Other braces stay: a rule of another distribution may write the name of an image into the text.
    """
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), reason)


def _one_line(text: str) -> str:
    """Return a text on one line. Values of a pipeline, such as a command, may have several."""
    # A printable text has no white space but the space, and this test is faster than a split.
    if text.isprintable() and "  " not in text:
        return text.strip()
    return " ".join(text.split())


def _matches(result: Iterable[Match] | Match) -> Iterator[Match]:
    if result is None or result is False:
        return
    if result is True or isinstance(result, Mapping | Located | NotJudged):
        yield result
        return
    for match in result:
        if match is not None and match is not False:
            yield match


# -- decorators


def task_rule(
    rule_id: str,
    severity: Severity,
    message: str,
    *,
    hint: str = "",
    since: Version | None = None,
    fixed_in: Version | None = None,
    methods: tuple[str, ...] = (),
    needs_target: bool = False,
) -> Callable[[TaskFunction], Rule]:
    """Make a rule of a function that looks at one task, see the text of this module.

    Args:
        rule_id: a letter for the family and three digits.
        severity: of what it finds.
        message: one line, may contain `{task}` and what the function returns.
        hint: what to do, one line.
        since: the first version of the server that is affected.
        fixed_in: the first version that is not affected any more.
        methods: the methods of a task that write it in Python, such as `set_retry`.
        needs_target: whether a general rule reads the settings of the environment.
    """
    rule = _new_rule(rule_id, severity, message, hint, since, fixed_in, methods)

    def decorate(function: TaskFunction) -> Rule:
        return replace(
            rule,
            source=_read_source(rule_id, function),
            name=function.__name__,
            task_function=function,
            part=Part.TASK,
            needs_target=needs_target,
        )

    return decorate


def component_rule(
    rule_id: str,
    severity: Severity,
    message: str,
    *,
    hint: str = "",
    since: Version | None = None,
    fixed_in: Version | None = None,
    methods: tuple[str, ...] = (),
    part: Part = Part.COMPONENT,
    needs_target: bool = False,
) -> Callable[[ComponentFunction], Rule]:
    """Make a rule of a function that looks at one component; the arguments are as in `task_rule`.

    What it finds is reported once, not for each task that runs the component.

    Args:
        part: what must change. KFP writes the settings of a task, such as its resources, into the
            component. For these it is `Part.TASK`: the first task that runs the component.
    """
    rule = _new_rule(rule_id, severity, message, hint, since, fixed_in, methods)

    def decorate(function: ComponentFunction) -> Rule:
        return replace(
            rule,
            source=_read_source(rule_id, function),
            name=function.__name__,
            component_function=function,
            part=part,
            needs_target=needs_target,
        )

    return decorate


def pipeline_rule(
    rule_id: str,
    severity: Severity,
    message: str,
    *,
    hint: str = "",
    since: Version | None = None,
    fixed_in: Version | None = None,
    methods: tuple[str, ...] = (),
) -> Callable[[PipelineFunction], Rule]:
    """Make a rule of a function that looks at a whole pipeline; see `task_rule` for the arguments.

    The function returns one match, or any number of them.
    """
    rule = _new_rule(rule_id, severity, message, hint, since, fixed_in, methods)

    def decorate(function: PipelineFunction) -> Rule:
        return replace(
            rule,
            source=_read_source(rule_id, function),
            name=function.__name__,
            pipeline_function=function,
            part=Part.PIPELINE,
        )

    return decorate


def _new_rule(
    rule_id: str,
    severity: Severity,
    message: str,
    hint: str,
    since: Version | None,
    fixed_in: Version | None,
    methods: tuple[str, ...],
) -> Rule:
    if not _ID.fullmatch(rule_id):
        raise ValueError(f"{rule_id!r} is not the id of a rule: a capital letter and three digits")
    return Rule(
        rule_id,
        severity,
        message,
        hint,
        source="",
        name="",
        since=since,
        fixed_in=fixed_in,
        methods=methods,
    )


def _read_source(rule_id: str, function: Callable[..., object]) -> str:
    """Return the docstring of a rule on one line."""
    source = " ".join((function.__doc__ or "").split())
    if not source:
        raise ValueError(f"the rule {rule_id} does not name its source in a docstring")
    return source


def rules_of(module: ModuleType) -> tuple[Rule, ...]:
    """Return the rules that a module defines, sorted by their ids.

    Raises:
        ValueError: two of them have the same id.
    """
    rules = [value for value in vars(module).values() if isinstance(value, Rule)]
    return sorted_rules(rules)


def sorted_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return rules sorted by their ids.

    Raises:
        ValueError: two of them have the same id.
    """
    by_id: dict[str, Rule] = {}
    for rule in rules:
        if rule.id in by_id:
            raise ValueError(f"two rules have the id {rule.id}")
        by_id[rule.id] = rule
    return tuple(by_id[rule_id] for rule_id in sorted(by_id))


def judge(rules: Sequence[Rule], pipeline: PipelineContext, target: Target) -> list[RuleFinding]:
    """Return what rules find in a pipeline, errors first, then by rule.

    Args:
        rules: the rules to apply.
        pipeline: the pipeline.
        target: where it would run.
    """
    findings: list[RuleFinding] = []
    for rule in rules:
        findings.extend(rule.findings(pipeline, target))
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))
