"""Run a whole pipeline in a test, with replacements for tasks.

The scheduler of the local engine decides which tasks run: conditions, loops, exit handlers and
retries behave as in a real run. Nothing is written to a state folder or read from a cache. The
function of a task without a replacement runs in this process, with the source that KFP compiled.
"""

# Without `from __future__ import annotations`: the doctest below would inherit it, and KFP refuses
# components whose annotations are texts.

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from weakref import WeakKeyDictionary

from kfgcp.errors import UsageError
from kfgcp.model import ErrorInfo, RunState, TaskKind, TaskState
from kfgcp.semantics import importers
from kfgcp.semantics.inputs import add_defaults, build_root_inputs
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.placeholders import fill_constant
from kfgcp.semantics.scheduler import Scheduler
from kfgcp.semantics.values import ValueProblem, Values, as_record
from kfgcp.spec import params as spec_params
from kfgcp.spec.graph import Component, Container, Graph, Importer, build
from kfgcp.spec.lightweight import recognise
from kfgcp.spec.load import Spec
from kfgcp.testing.component_runs import source_function
from kfgcp.testing.in_process import Function, run_function
from kfgcp.testing.kept_folder import KeptFolder
from kfgcp.testing.replacements import (
    Fails,
    Replacement,
    Returns,
    build_outputs,
)
from kfgcp.testing.results import PipelineResult, TaskResult, read_artifacts
from kfgcp.testing.task_patterns import find_tasks, matches, task_components
from kfgcp.tracking import named_pipelines
from kfgcp.tracking.pipelines import PipelineLike, load_pipeline
from kfgcp.workspace import Workspace

_STATES = {
    TaskState.SUCCEEDED: RunState.SUCCEEDED,
    TaskState.FAILED: RunState.FAILED,
    TaskState.CANCELLED: RunState.CANCELLED,
}

# Compiling takes longer than a test run, and the tests of a file run the same pipeline many times.
_specs: WeakKeyDictionary[Any, tuple[Spec, Graph]] = WeakKeyDictionary()


def run(
    pipeline: PipelineLike,
    replace: Mapping[str, Replacement] | None = None,
    *,
    params: Mapping[str, object] | None = None,
    env: str | None = None,
    smoke: bool = False,
    folder: str | os.PathLike[str] | None = None,
) -> PipelineResult:
    """Run a pipeline in this process, with replacements for tasks.

    A failed run raises nothing, so a test can assert what happened.

    Args:
        pipeline: as in `kfgcp.submit`: the pipeline itself, a file, or a name in kfgcp.toml.
        replace: pattern of tasks -> what they do instead. A pattern is the name of a task or its
            path, with `*` for any text; the first one that fits a task counts.
        params: values of parameters; the others have the values in kfgcp.toml, else their
            defaults.
        env: the environment whose parameters in kfgcp.toml are used; the default one when None.
        smoke: use the parameters of the smoke run in kfgcp.toml.
        folder: where artifacts are written. None makes a temporary folder, which is removed
            when neither the result nor one of its artifacts is used any more.

    Raises:
        UsageError: a pattern matches no task, a replacement does not fit the component, or a task
            without a replacement runs an image.
        ParamError: a parameter is unknown, missing or of the wrong type.
        SpecError: the pipeline does not compile or is not a valid spec.

    Example:
        >>> from kfp import dsl
        >>> from kfgcp.testing import fails, returns, run
        >>> @dsl.component(base_image="python:3.12")
        ... def train(rate: float) -> float:
        ...     raise RuntimeError("too slow for a test")
        >>> @dsl.component(base_image="python:3.12")
        ... def deploy(score: float): ...
        >>> @dsl.pipeline
        ... def churn(rate: float = 0.1):
        ...     trained = train(rate=rate)
        ...     with dsl.If(trained.output > 0.8):
        ...         deploy(score=trained.output)
        >>> run(churn, {"train": returns(0.7)}).skipped("deploy")
        True
        >>> run(churn, {"train": returns(0.9)}).task("deploy").inputs
        {'score': 0.9}
        >>> run(churn, {"train": returns(0.9), "deploy": fails("quota")}).error
        'quota'
    """
    workspace = Workspace.default()
    spec, graph = _load(workspace, pipeline, env)
    components = task_components(graph)
    replacements = _Replacements.check(replace or {}, components)
    submit_folder = Path.cwd() if spec.entry is None else spec.entry.folder
    if spec.entry is not None or smoke:
        env_name = workspace.project.env(env).name
        params = named_pipelines.collect_values(spec, env_name, params or {}, smoke=smoke)
    values = spec_params.resolve(spec.params, params or {})
    try:
        inputs = build_root_inputs(
            graph.root, values, lambda uri, name: _locate(uri, name, submit_folder)
        )
    except ValueProblem as problem:
        raise UsageError(f"Wrong parameters: {problem}.") from None
    test_run = _TestRun(graph, inputs, replacements, KeptFolder(folder), submit_folder)
    return test_run.execute(components)


@dataclass(frozen=True, slots=True)
class _Replacements:
    """The replacements of a run.

    Attributes:
        by_pattern: the replacements in the order of the test.
        outputs: the outputs of replacements that are not functions: (pattern, name of the
            component) -> outputs.
    """

    by_pattern: Mapping[str, Replacement]
    outputs: Mapping[tuple[str, str], Values]

    @classmethod
    def check(cls, replace: Mapping[str, Replacement], components: Mapping[str, Component]) -> Self:
        """Check replacements against the signatures of the components.

        Raises:
            UsageError: a pattern matches no task, or a replacement does not fit. Or a task without
                a replacement runs an image.
        """
        outputs: dict[tuple[str, str], Values] = {}
        replaced: set[str] = set()
        for pattern, replacement in replace.items():
            subject = f'replace["{pattern}"]'
            if not isinstance(replacement, (Returns, Fails)) and not callable(replacement):
                raise UsageError(
                    f"{subject} must be returns(…), fails(…) or a function, not {replacement!r}."
                )
            for path in find_tasks(pattern, components, subject):
                component = components[path]
                is_first = path not in replaced
                replaced.add(path)
                if isinstance(replacement, Returns) and is_first:
                    key = (pattern, component.name)
                    outputs[key] = build_outputs(replacement, component, subject)
        for path, component in components.items():
            image = _needed_image(component)
            if image is not None and path not in replaced:
                raise UsageError(
                    f"The task {path} runs the image {image}, which a test cannot run.",
                    hint=f'Replace it: replace={{"{path}": returns(…)}}',
                )
        return cls(replace, outputs)

    def find(self, path: str) -> str | None:
        """Return the first pattern that fits a task, None when the task runs its component."""
        for pattern in self.by_pattern:
            if matches(pattern, path):
                return pattern
        return None


@dataclass(slots=True)
class _TestRun:
    """The execution of one run.

    Attributes:
        started: the nodes in the order in which they started first.
        exceptions: the exceptions of components that really ran, by path.
    """

    graph: Graph
    inputs: Values
    replacements: _Replacements
    folder: KeptFolder
    submit_folder: Path
    started: dict[Node, None] = field(default_factory=dict)
    exceptions: dict[str, BaseException] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)

    def execute(self, components: Mapping[str, Component]) -> PipelineResult:
        """Run all tasks, and return the result."""
        scheduler = Scheduler(self.graph, Node, self.inputs, constants=self._constants)
        all_nodes: dict[Node, None] = {}
        scheduler.start()
        while True:
            all_nodes |= dict.fromkeys(scheduler.take_changed())
            if scheduler.done:
                break
            self._run_task(scheduler, scheduler.ready.popleft())
        first_error = scheduler.first_error
        nodes = list(self.started) + [node for node in all_nodes if node not in self.started]
        tasks = [self._task_result(node) for node in nodes if node.component.dag is None]
        return PipelineResult(
            state=_STATES[scheduler.root.state],
            tasks=[task for task in tasks if task is not None],
            outputs=as_record(scheduler.root.outputs),
            error="" if first_error is None else first_error.message,
            folder=self.folder.path,
            components=components,
            keeper=self.folder,
        )

    def _run_task(self, scheduler: Scheduler[Node], node: Node) -> None:
        """Run an attempt of a task, and report its end to the scheduler."""
        node.attempts += 1
        self.started[node] = None
        try:
            outputs = self._outputs(node)
        except UsageError:
            # The test itself is wrong, so the run does not count as a failed one.
            raise
        except (Exception, SystemExit) as error:
            if not isinstance(error, (_FailedError, ValueProblem)):
                self.exceptions[node.path] = error
            retry_delay = scheduler.record_failure(node, ErrorInfo(_describe(error), node.path))
            # A test does not wait for the time between two attempts.
            if retry_delay is not None:
                scheduler.requeue(node)
        else:
            self.exceptions.pop(node.path, None)
            scheduler.record_success(node, outputs)

    def _outputs(self, node: Node) -> Values:
        pattern = self.replacements.find(node.path)
        if pattern is None:
            return self._run_component(node)
        replacement = self.replacements.by_pattern[pattern]
        subject = f'replace["{pattern}"]'
        if isinstance(replacement, Returns):
            return self.replacements.outputs[pattern, node.component.name]
        if not isinstance(replacement, Fails):
            replacement = replacement(self._task_inputs(node))
            if isinstance(replacement, Returns):
                return build_outputs(replacement, node.component, subject)
        if not isinstance(replacement, Fails):
            raise UsageError(f"{subject} must return returns(…) or fails(…), not {replacement!r}.")
        raise _FailedError(replacement.message)

    def _run_component(self, node: Node) -> Values:
        executor = node.component.executor
        if isinstance(executor, Importer):
            return self._import(node, executor)
        assert isinstance(executor, Container)
        name = node.component.name
        if name not in self.functions:
            self.functions[name] = source_function(node.component, self.folder.path / "components")
        inputs = add_defaults(node.inputs, node.component)
        variables = {"KFGCP_TASK": node.path, "KFGCP_SUBMIT_DIR": str(self.submit_folder)}
        constants = self._constants(node)
        for key, value in executor.env.items():
            label = f"the variable {key}"
            variables |= fill_constant({key: value}, inputs.params, constants, label)
        folder = self.folder.path / node.path / str(node.attempts)
        return run_function(self.functions[name], node.component, inputs, folder, variables)

    def _import(self, node: Node, importer: Importer) -> Values:
        params = node.inputs.params
        constants = self._constants(node)
        raw_uri = importers.read_uri(importer, params, constants)
        uri = _locate(raw_uri, "to import", self.submit_folder)
        return importers.build_outputs(
            node.component, importer, params, constants, uri=uri, made_by=""
        )

    def _constants(self, node: Node) -> Mapping[str, str]:
        """Return the values of the placeholders of the job and of a task."""
        job = f"{self.graph.name}-test"
        return {
            "pipeline_job_name": job,
            "pipeline_job_resource_name": f"test/{job}",
            "pipeline_job_uuid": "test",
            "pipeline_job_create_time_utc": "2000-01-01T00:00:00Z",
            "pipeline_job_schedule_time_utc": "2000-01-01T00:00:00Z",
            "pipeline_root": str(self.folder.path),
            "workspace_path": str(self.folder.path / "workspace"),
            "pipeline_task_name": node.task.key if node.task else "",
            "pipeline_task_uuid": f"test/{node.path}",
        }

    def _task_result(self, node: Node) -> TaskResult | None:
        """Return the result of a task, None for a loop or group."""
        if node.kind not in (TaskKind.CONTAINER, TaskKind.IMPORTER):
            return None
        error = node.error.message if node.error is not None else ""
        return TaskResult(
            path=node.path,
            state=node.state,
            attempts=node.attempts,
            inputs=self._task_inputs(node),
            outputs=dict(node.outputs.params),
            artifacts=read_artifacts(node.outputs, self.folder),
            error=error if node.state is TaskState.FAILED else "",
            exception=self.exceptions.get(node.path),
        )

    def _task_inputs(self, node: Node) -> dict[str, object]:
        values = add_defaults(node.inputs, node.component)
        return {**values.params, **read_artifacts(values, self.folder)}


class _FailedError(Exception):
    """A replacement that fails."""


def _load(workspace: Workspace, pipeline: PipelineLike, env: str | None) -> tuple[Spec, Graph]:
    if isinstance(pipeline, (str, Path, Spec)):
        spec = load_pipeline(workspace, pipeline, env)
        return spec, build(spec.pipeline_spec, spec.platform_spec)
    if pipeline not in _specs:
        spec = load_pipeline(workspace, pipeline, env)
        _specs[pipeline] = (spec, build(spec.pipeline_spec, spec.platform_spec))
    return _specs[pipeline]


def _needed_image(component: Component) -> str | None:
    """Return the image of a component that is not a Python function, None for other components."""
    container = component.executor
    if isinstance(container, Container) and recognise(container) is None:
        return container.image
    return None


def _locate(uri: str, name: str, folder: Path) -> str:
    """Return the absolute path of a local artifact, and a remote address unchanged."""
    subject = f"the artifact {name}"
    if not importers.is_local(uri, subject):
        return uri
    path = folder / uri.removeprefix("file://")
    if not path.exists():
        raise ValueProblem(f"{subject} does not exist: {path}")
    return str(path)


def _describe(error: BaseException) -> str:
    if isinstance(error, (_FailedError, ValueProblem)):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
