"""The features of a pipeline that a server of Kubeflow Pipelines cannot run.

A server may be too old for a feature, or only Vertex AI may have the feature.

The rules read only the spec and its graph. kfgcp refuses a feature when the pipeline would not run
to its end. kfgcp shows a note when the result is doubtful, because the server ignores the feature
silently or an issue is open. The versions come from the public release notes and source
(kubeflow/pipelines, CHANGELOG.md and backend/src/v2). The numbers are its pull requests and issues:

    never     customJob and resolver executors, artifactIterator, a condition on an importer itself:
              the server's compiler refuses these (argocompiler/dag.go). The issue about values of
              the run in environment variables is open (#13034).
    2.3       empty folders (#10913).
    2.4       outputs of nested pipelines and of branches, dsl.OneOf (#11196; before, a task with
              this input fails: #10039), images and resources from parameters (#11404, #11501),
              limits of loops (#10798), cache keys (#11434), exit tasks as hooks of the workflow
              (#11470).
    2.5       placeholders of the run and the task (#11599), retries of tasks (#11673).
    2.14      dsl.Collected (#11725), dsl.PipelineTaskFinalStatus (#11953), workspaces (#11982),
              retries of nested pipelines (#11908), parameters of nested pipelines that are left out
              (#11980).
    2.17      importers in loops (#10860) and loops in exit handlers (#12390, seen with 2.14.3):
              both work in 2.17.0 (recorded: cluster-2.17.0/importer-loop and exit-loop). The
              release that fixed these bugs is not known.

Features that a server supports in a different way than documented are in differences.py.

Two things are not confirmed: the behaviour of a server that is too old for a feature, unless an
issue describes it, and the behaviour of google-cloud-pipeline-components, which call Vertex AI from
a container.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from kfgcp.backends.kubeflow.differences import DIFFERENCES, METRICS, has_metrics
from kfgcp.backends.kubeflow.task_contexts import Feature, TaskContext, Version, walk_tasks
from kfgcp.spec import platform
from kfgcp.spec.graph import (
    Binding,
    FinalStatus,
    FromTask,
    Importer,
    OtherExecutor,
    TaskDef,
    build,
)
from kfgcp.spec.load import Spec

# The first version that has the API v2beta1.
OLDEST: Final = (2, 0)

# The first version that gives a pipeline its workspace.
WORKSPACE: Final = (2, 14)

# Text may follow the number: `2.5.0-rc.1`. Nine digits are enough for every release.
_VERSION: Final = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?")
_RUN_PLACEHOLDER: Final = re.compile(
    r"\{\{\$\.(?:pipeline_job|pipeline_task)_(?:name|uuid|resource_name)\}\}"
)
_GOOGLE_COMPONENTS: Final = "google-cloud-pipeline-components"


@dataclass(frozen=True, slots=True)
class Lack:
    """A feature of a task that some servers lack, or support in a different way.

    Attributes:
        task: the path of the task, "" for the pipeline as a whole.
        feature: the feature.
    """

    task: str
    feature: Feature

    @property
    def is_refused(self) -> bool:
        return not self.feature.note

    @property
    def depends_on_version(self) -> bool:
        return self.feature.since is not None or self.feature.first_affected is not None

    def is_true_of(self, version: Version | None) -> bool:
        """Return whether a server of a version lacks the feature. None is the newest version."""
        since, first_affected = self.feature.since, self.feature.first_affected
        if version is None:
            return since is None
        if since is not None and version >= since:
            return False
        return first_affected is None or version >= first_affected

    def __str__(self) -> str:
        feature = self.feature
        owner = f"task {self.task}" if self.task else "the pipeline"
        if feature.differs:
            return f"{owner} {feature.text}: on Kubeflow, {feature.note}"
        support = "Kubeflow Pipelines does not support this"
        if feature.since:
            support = f"Kubeflow Pipelines supports this since {format_version(feature.since)}"
        if feature.note:
            support = f"{support}; {feature.note}"
        return f"{owner} {feature.text}: {support}"


def lacks(spec: Spec, version: Version | None) -> list[Lack]:
    """Return the features of a spec that a server lacks, refused features first.

    Args:
        spec: the pipeline.
        version: the version of the server, None for the newest version.
    """
    true_lacks = [lack for lack in possible_lacks(spec) if lack.is_true_of(version)]
    return sorted(true_lacks, key=lambda lack: not lack.is_refused)


def possible_lacks(spec: Spec) -> Iterator[Lack]:
    """Yield the features of a spec that some servers lack, for each task with the feature."""
    if platform.WORKSPACE in platform.pipeline_settings(spec.platform_spec):
        yield Lack("", WORKSPACE_FEATURE)
    graph = build(spec.pipeline_spec, spec.platform_spec)
    if has_metrics(graph):
        yield Lack("", METRICS)
    features = FEATURES + DIFFERENCES
    for context in walk_tasks(graph):
        for feature in features:
            if feature.applies(context):
                yield Lack(context.path, feature)


def parse_version(tag: object) -> Version | None:
    """Return the version in the tag of a server, None when the tag has no version.

    Example:
        >>> parse_version("v2.5.0-rc.1")
        (2, 5, 0)
        >>> parse_version("unknown") is None
        True
    """
    match = _VERSION.match(tag) if isinstance(tag, str) else None
    if match is None:
        return None
    return tuple(int(part) for part in match.groups() if part is not None)


def format_version(version: Version) -> str:
    """Return a version as text.

    Example:
        >>> format_version((2, 14, 3))
        '2.14.3'
    """
    return ".".join(str(part) for part in version)


# -- rules: whether a task has a feature


def _bindings(context: TaskContext) -> Iterator[Binding]:
    yield from context.task.params.values()
    yield from context.task.artifacts.values()


def _has_executor(kind: str) -> Callable[[TaskContext], bool]:
    """Return the rule for a kind of executor that only Vertex AI has."""

    def applies(context: TaskContext) -> bool:
        executor = context.component.executor
        return isinstance(executor, OtherExecutor) and executor.kind == kind

    return applies


def _loops_over_artifacts(context: TaskContext) -> bool:
    return context.task.iterator is not None and context.task.iterator.artifacts


def _is_conditional_importer(context: TaskContext) -> bool:
    return isinstance(context.component.executor, Importer) and bool(context.task.condition)


def _takes_loop_output(context: TaskContext) -> bool:
    return any(source.iterator is not None for source in _source_tasks(context))


def _takes_group_output(context: TaskContext) -> bool:
    """Return whether an input is the output of a DAG that is not a loop."""
    for source in _source_tasks(context):
        is_group = context.graph.component(source).dag is not None
        if is_group and source.iterator is None:
            return True
    return False


def _source_tasks(context: TaskContext) -> Iterator[TaskDef]:
    for binding in _bindings(context):
        if isinstance(binding.source, FromTask):
            yield context.tasks[binding.source.task]


def _takes_final_status(context: TaskContext) -> bool:
    return any(isinstance(binding.source, FinalStatus) for binding in _bindings(context))


def _has_image_parameter(context: TaskContext) -> bool:
    return context.container is not None and _has_placeholder(context.container.image)


def _has_resource_parameter(context: TaskContext) -> bool:
    return context.container is not None and _has_placeholder(context.container.resources)


def _limits_iterations(context: TaskContext) -> bool:
    return context.task.iterator is not None and context.task.iterator.limit > 0


def _has_cache_key(context: TaskContext) -> bool:
    return bool(context.task.cache_key)


def _is_exit_task(context: TaskContext) -> bool:
    return context.task.runs_always


def _reads_own_name(context: TaskContext) -> bool:
    container = context.container
    if container is None:
        return False
    arguments = [*container.command, *container.args]
    return any(_RUN_PLACEHOLDER.search(argument) for argument in arguments)


def _is_retried_task(context: TaskContext) -> bool:
    return context.task.retry is not None and context.component.dag is None


def _is_retried_pipeline(context: TaskContext) -> bool:
    return context.task.retry is not None and context.component.dag is not None


def _leaves_parameter_out(context: TaskContext) -> bool:
    """Return whether a nested pipeline has a parameter without a default and a value."""
    if context.component.dag is None:
        return False
    for name, param in context.component.params.items():
        if param.optional and not param.has_default and name not in context.task.params:
            return True
    return False


def _has_empty_folder(context: TaskContext) -> bool:
    return context.container is not None and any(
        mount.scratch for mount in context.container.cluster.mounts
    )


def _is_importer_in_loop(context: TaskContext) -> bool:
    if not isinstance(context.component.executor, Importer):
        return False
    return any(group.iterator is not None for group in context.groups)


def _is_loop_in_exit_handler(context: TaskContext) -> bool:
    return context.in_exit_handler and context.task.iterator is not None


def _has_run_value_in_variable(context: TaskContext) -> bool:
    if context.container is None:
        return False
    return any(_has_placeholder(value) for value in context.container.env.values())


def _is_google_component(context: TaskContext) -> bool:
    return context.container is not None and _GOOGLE_COMPONENTS in context.container.image


def _has_placeholder(values: object) -> bool:
    return "{{$" in str(values)


WORKSPACE_FEATURE: Final = Feature("has a workspace", lambda context: False, WORKSPACE)
# The features of single tasks, refused features first.
FEATURES: Final = (
    Feature("is a custom job, which only Vertex AI runs", _has_executor("customJob")),
    Feature("asks a resolver for artifacts", _has_executor("resolver")),
    Feature("is a loop over artifacts", _loops_over_artifacts),
    Feature("is an importer with a condition of its own", _is_conditional_importer),
    Feature("collects the outputs of a loop (dsl.Collected)", _takes_loop_output, (2, 14)),
    Feature(
        "takes the final status of another task (dsl.PipelineTaskFinalStatus)",
        _takes_final_status,
        (2, 14),
    ),
    Feature(
        "takes an output of a nested pipeline, a branch or dsl.OneOf", _takes_group_output, (2, 4)
    ),
    Feature("has an image that a parameter names", _has_image_parameter, (2, 4)),
    Feature(
        "has resources that a parameter names",
        _has_resource_parameter,
        (2, 4),
        "it may start without them",
    ),
    Feature(
        "limits how many iterations run at once",
        _limits_iterations,
        (2, 4),
        "all of them start at once",
    ),
    Feature("has a cache key", _has_cache_key, (2, 4), "the key is ignored"),
    Feature("runs at the exit of others", _is_exit_task, (2, 4), "it may not run after a failure"),
    Feature(
        "asks for the name or id of its run or task",
        _reads_own_name,
        (2, 5),
        "it may get the text of the placeholder instead of the value",
    ),
    Feature(
        "is tried again after a failure", _is_retried_task, (2, 5), "it may be tried once only"
    ),
    Feature(
        "is a nested pipeline that is tried again",
        _is_retried_pipeline,
        (2, 14),
        "it is tried once",
    ),
    Feature(
        "is a nested pipeline with a parameter left out",
        _leaves_parameter_out,
        (2, 14),
        "a task that uses the parameter fails",
    ),
    Feature(
        "mounts an empty folder (kubernetes.empty_dir_mount)",
        _has_empty_folder,
        (2, 3),
        "the folder does not exist",
    ),
    Feature("is an importer in a loop", _is_importer_in_loop, (2, 17), "it fails on older servers"),
    Feature(
        "is a loop inside an exit handler",
        _is_loop_in_exit_handler,
        (2, 17),
        "it fails on older servers",
    ),
    Feature(
        "has a value of the run in an environment variable",
        _has_run_value_in_variable,
        None,
        "the variable has the text of the placeholder instead of the value",
    ),
    Feature(
        "is from google-cloud-pipeline-components",
        _is_google_component,
        None,
        "it calls Vertex AI, and needs the permissions and outputs of a run there",
    ),
)
