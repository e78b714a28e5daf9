"""The parts of a pipeline as typed records: inputs, tasks, executors.

`kfgcp.spec.wire` reads them from the JSON of a PipelineSpec, and `kfgcp.spec.graph` joins them to a
graph. A name in brackets is the message or field of pipeline_spec.proto that a record stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from kfgcp.spec.platform import NO_CLUSTER_CONFIG, ClusterConfig

# Seconds. pipeline_spec.proto: an unspecified RetryPolicy.backoff_max_duration is 1 hour.
MAX_RETRY_WAIT: Final = 3600.0

# The backend gives the values of these types, never the user.
_BACKEND_TYPES: Final = frozenset({"TASK_FINAL_STATUS", "TASK_CONFIG"})
_ARTIFACT_TYPES: Final = frozenset({"ARTIFACT", "ARTIFACT_LIST"})


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that the spec itself holds."""

    value: Any


@dataclass(frozen=True, slots=True)
class FromInput:
    """An input of the DAG that the task is in."""

    name: str


@dataclass(frozen=True, slots=True)
class FromTask:
    """An output of another task of the same DAG."""

    task: str
    output: str


@dataclass(frozen=True, slots=True)
class FinalStatus:
    """The final status of another task of the same DAG."""

    task: str


@dataclass(frozen=True, slots=True)
class Binding:
    """Where the value of a task's input comes from.

    Attributes:
        source: the place that holds the value.
        selector: a CEL expression that computes the input from this value
            [parameter_expression_selector]. With "", the input is the value itself.
    """

    source: Constant | FromInput | FromTask | FinalStatus
    selector: str = ""


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """A declared parameter of a pipeline or component, or a declared input artifact of a pipeline.

    Attributes:
        name: its name in the signature of the function.
        type: KFP's parameterType, `NUMBER_INTEGER` for example. An input artifact has the type
            `ARTIFACT` or `ARTIFACT_LIST`, and its value is a URI or a list of URIs.
        default: the default, None when there is none.
        has_default: whether there is a default, which may be None.
        optional: whether it is declared optional.
        description: the description in the docstring, "" for none.
        literals: the only values that are allowed. When it is empty, all values are allowed.
    """

    name: str
    type: str
    default: Any = None
    has_default: bool = False
    optional: bool = False
    description: str = ""
    literals: tuple[Any, ...] = ()

    @property
    def may_be_missing(self) -> bool:
        """Whether a component can run without a value for it."""
        return self.optional or self.has_default

    @property
    def required(self) -> bool:
        """Whether the user must give a value."""
        return not (self.may_be_missing or self.is_from_backend)

    @property
    def is_from_backend(self) -> bool:
        """Whether the backend gives the value, never the user."""
        return self.type in _BACKEND_TYPES

    @property
    def is_artifact(self) -> bool:
        """Whether it is an input artifact of a pipeline."""
        return self.type in _ARTIFACT_TYPES


@dataclass(frozen=True, slots=True)
class ArtifactDef:
    """A declared input or output artifact of a component.

    Attributes:
        type: the schema title, `system.Dataset` for example.
        version: the version of the schema, "" for none.
        is_list: whether it is a list of artifacts.
        optional: whether an input may be missing.
        schema: a custom instance schema, "" for none.
        metadata: the metadata that an output has before the component adds more.
    """

    type: str
    version: str = ""
    is_list: bool = False
    optional: bool = False
    schema: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry:
    """The extra attempts of a task after a failure [RetryPolicy].

    Attributes:
        count: the largest number of extra attempts.
        backoff: seconds to wait after the first failure.
        factor: the number that multiplies the wait after each further failure.
        longest: the longest wait in seconds.
    """

    count: int
    backoff: float = 0.0
    factor: float = 2.0
    longest: float = MAX_RETRY_WAIT

    def wait(self, failures: int) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            failures: the number of failed attempts so far, at least 1.

        Example:
            >>> retry = Retry(count=5, backoff=10, factor=2, longest=60)
            >>> [retry.wait(failures) for failures in (1, 2, 3, 4)]
            [10, 20, 40, 60]
        """
        seconds = self.backoff
        for _ in range(failures - 1):
            # Stop early: a large factor to the power of a large count overflows a float.
            if seconds >= self.longest:
                break
            seconds *= self.factor
        return min(seconds, self.longest)


@dataclass(frozen=True, slots=True)
class Iterator:
    """The items that a task loops over [ParameterIteratorSpec, ArtifactIteratorSpec].

    Attributes:
        item: the name of the input of the loop's body that receives an item.
        raw: the items as JSON text, None when an input has them.
        input: the input of the task that has the items, None when `raw` has them.
        artifacts: whether the items are artifacts.
        limit: how many iterations may run at the same time, 0 for all.
    """

    item: str
    raw: str | None = None
    input: str | None = None
    artifacts: bool = False
    limit: int = 0


@dataclass(frozen=True, slots=True)
class TaskDef:
    """A task of a DAG [PipelineTaskSpec].

    Attributes:
        key: its name in the DAG, unique there.
        label: its name for display.
        component: the name of the component that it runs.
        params: where its input parameters come from.
        artifacts: where its input artifacts come from.
        upstream: the keys of the tasks that it waits for, in alphabetical order. They include the
            tasks that its inputs come from.
        condition: a CEL expression that decides whether it runs, "" for always.
        runs_always: whether it also runs when tasks that it waits for did not succeed
            [ALL_UPSTREAM_TASKS_COMPLETED].
        iterator: the items that it loops over, None when it is not a loop.
        retry: its extra attempts, None for none.
        cache: whether its outputs may come from an earlier run.
        cache_key: a custom cache key, "" for none.
    """

    key: str
    label: str
    component: str
    params: Mapping[str, Binding]
    artifacts: Mapping[str, Binding]
    upstream: tuple[str, ...]
    condition: str = ""
    runs_always: bool = False
    iterator: Iterator | None = None
    retry: Retry | None = None
    cache: bool = False
    cache_key: str = ""


# Without slots, because a cached property needs the dictionary of the object.
@dataclass(frozen=True)
class Container:
    """A command in an image.

    Attributes:
        image: the image.
        command: the entry point; placeholders are not filled in.
        args: the arguments; placeholders are not filled in.
        env: environment variables.
        resources: cpu, memory and accelerators, in the fields of the spec.
        cluster: the settings for Kubernetes.
    """

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    resources: Mapping[str, Any]
    cluster: ClusterConfig = NO_CLUSTER_CONFIG

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the command and of the arguments."""
        return self.command + self.args

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """The words with a text that a backend may replace: `{{$.inputs...}}` for example.

        Most words have none, and some have thousands of lines, so they are searched once.
        """
        return tuple(word for word in self.words if "{{" in word)


@dataclass(frozen=True, slots=True)
class Importer:
    """An executor that makes an artifact from a URI [ImporterSpec].

    Attributes:
        uri: where the URI comes from.
        type: the type of the artifact.
        metadata: the metadata of the artifact; placeholders are not filled in.
        reimport: whether to make a new artifact even if an artifact with this URI exists.
    """

    uri: Binding
    type: ArtifactDef
    metadata: Mapping[str, Any]
    reimport: bool


@dataclass(frozen=True, slots=True)
class OtherExecutor:
    """An executor that only some backends can run: `resolver`, `customJob`."""

    kind: str


Executor = Container | Importer | OtherExecutor


@dataclass(frozen=True, slots=True)
class Interface:
    """The inputs or the outputs of a component, by their names."""

    params: Mapping[str, ParamSpec]
    artifacts: Mapping[str, ArtifactDef]
