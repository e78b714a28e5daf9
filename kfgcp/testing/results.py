"""The results of test runs: of one component, and of a whole pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfgcp.errors import UsageError
from kfgcp.model import RunState, TaskState
from kfgcp.semantics.values import Values
from kfgcp.settings import did_you_mean
from kfgcp.spec.graph import Component
from kfgcp.testing.replacements import ONLY_OUTPUT, TestArtifact
from kfgcp.testing.task_patterns import find_tasks, matches

Metric = int | float

# In these states a task did not start.
_NOT_STARTED = (TaskState.PENDING, TaskState.SKIPPED, TaskState.CANCELLED)


@dataclass(frozen=True, slots=True)
class ComponentResult:
    """What a component returned and wrote.

    Attributes:
        outputs: the output parameters by name. `Output` is the name of a single returned value.
        artifacts: the output artifacts by name; a list of artifacts for a list.
        folder: the folder with the files of the artifacts.
        keeper: keeps a temporary folder as long as the result is used.
    """

    outputs: Mapping[str, Any]
    artifacts: Mapping[str, Any]
    folder: Path
    keeper: object = field(default=None, repr=False, compare=False)

    @property
    def output(self) -> Any:
        """The single value that the component returned.

        Raises:
            UsageError: the component returned nothing, or several outputs with names.
        """
        if ONLY_OUTPUT not in self.outputs:
            names = ", ".join(sorted(self.outputs)) or "none"
            raise UsageError(
                "The component does not return a single value.", hint=f"Its outputs: {names}."
            )
        return self.outputs[ONLY_OUTPUT]

    @property
    def metrics(self) -> dict[str, Metric]:
        """The numbers in the metadata of all output artifacts, by name."""
        metrics: dict[str, Metric] = {}
        for item in self.artifacts.values():
            for one in item if isinstance(item, list) else [item]:
                metrics |= _numbers(one)
        return metrics


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task of a test run.

    Attributes:
        path: its path, such as `for-loop-1[2]/train`.
        state: its state.
        attempts: how often it was started.
        inputs: its inputs by name. Artifacts are of the type TestArtifact, or lists of them.
        outputs: its output parameters by name.
        artifacts: its output artifacts by name.
        error: why it failed, "" when it did not fail.
        exception: the exception of a component that really ran and failed, else None.
    """

    path: str
    state: TaskState
    attempts: int
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    artifacts: Mapping[str, Any]
    error: str = ""
    exception: BaseException | None = None

    @property
    def metrics(self) -> dict[str, Metric]:
        """The numbers in the metadata of its output artifacts, by name."""
        return ComponentResult(self.outputs, self.artifacts, Path()).metrics


@dataclass(frozen=True, slots=True, repr=False)
class PipelineResult:
    """A test run of a pipeline.

    Attributes:
        state: how the run ended.
        tasks: the tasks in the order in which they started, then the tasks that did not start. The
            tasks inside a skipped condition are not listed.
        outputs: the outputs of the pipeline by name.
        error: the first failure of the run, "" without one.
        folder: the folder with the files of artifacts.
        components: the components of all tasks, by paths without numbers of iterations.
        keeper: keeps a temporary folder as long as the result is used.
    """

    state: RunState
    tasks: Sequence[TaskResult]
    outputs: Mapping[str, Any]
    error: str
    folder: Path
    components: Mapping[str, Component]
    keeper: object = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether the run succeeded."""
        return self.state is RunState.SUCCEEDED

    def ran(self, pattern: str) -> bool:
        """Return whether a task started, with a replacement or its component.

        Args:
            pattern: the name or path of the task, with `*` for any text. When it means several
                tasks, one of them is enough.

        Raises:
            UsageError: the pipeline has no such task.
        """
        return any(task.state not in _NOT_STARTED for task in self._find(pattern))

    def skipped(self, pattern: str) -> bool:
        """Return whether no task of the pattern started. It is the opposite of `ran`."""
        return not self.ran(pattern)

    def failed(self, pattern: str) -> bool:
        """Return whether a task of the pattern failed.

        Raises:
            UsageError: the pipeline has no such task.
        """
        return any(task.state is TaskState.FAILED for task in self._find(pattern))

    def task(self, pattern: str) -> TaskResult:
        """Return the only task of a pattern.

        Raises:
            UsageError: the pipeline has no such task, several tasks match, or the task is inside a
                condition or loop that did not run.
        """
        tasks = self._find(pattern)
        if len(tasks) != 1:
            paths = ", ".join(task.path for task in tasks) or "none in this run"
            raise UsageError(
                f"'{pattern}' must mean one task of the run, but it means {len(tasks)}.",
                hint=f"Matching tasks: {paths}.",
            )
        return tasks[0]

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics by `task/artifact/name`, as `RunHandle.metrics` has them."""
        metrics: dict[str, Metric] = {}
        for task in self.tasks:
            for name, item in task.artifacts.items():
                if not isinstance(item, list):
                    for key, number in _numbers(item).items():
                        metrics[f"{task.path}/{name}/{key}"] = number
        return metrics

    def metric(self, name: str) -> Metric:
        """Return a metric by its name, or by its whole key.

        Raises:
            UsageError: no metric or several metrics have this name.
        """
        metrics = self.metrics
        keys = [key for key in metrics if name in (key, key.rpartition("/")[2])]
        if len(keys) != 1:
            suggestion = did_you_mean(name, metrics)
            raise UsageError(
                f"{len(keys)} metrics of the run have the name '{name}'.",
                hint=f"{suggestion}Metrics: {', '.join(sorted(metrics)) or 'none'}.",
            )
        return metrics[keys[0]]

    def _find(self, pattern: str) -> list[TaskResult]:
        find_tasks(pattern, self.components, f"'{pattern}'")
        return [task for task in self.tasks if matches(pattern, task.path)]

    def __repr__(self) -> str:
        """Return the tasks with their states. pytest shows it when an assertion fails."""
        lines = [f"<run {self.state.value}"]
        for task in self.tasks:
            error = f"  {task.error}" if task.error else ""
            lines.append(f"  {task.state.value:9}  {task.path}{error}")
        return "\n".join(lines) + ">"


def read_artifacts(values: Values, keeper: object) -> dict[str, TestArtifact | list[TestArtifact]]:
    """Return the artifacts of inputs or outputs: each a TestArtifact, or a list of several.

    Args:
        values: the inputs or outputs.
        keeper: the KeptFolder that keeps their files.
    """
    artifacts: dict[str, TestArtifact | list[TestArtifact]] = {}
    for name, items in values.artifacts.items():
        results = [TestArtifact(item.uri, item.metadata, keeper) for item in items]
        artifacts[name] = results[0] if len(results) == 1 else results
    return artifacts


def _numbers(item: TestArtifact) -> dict[str, Metric]:
    return {name: value for name, value in item.metadata.items() if _is_number(value)}


def _is_number(value: object) -> bool:
    # In Python a bool is an int.
    return isinstance(value, (int, float)) and not isinstance(value, bool)
