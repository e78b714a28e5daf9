"""The JSON of a PipelineSpec, read into records. The field names are those of the PipelineSpec
proto, in camelCase.

Other modules use the records. Only four more modules of the spec know names of fields, because
they handle the JSON itself: `shapes` and `validate` (which documents are valid), `digest` (what
does not count for a version), and `facts` (every field as a fact, also fields that this version
of kfgcp does not know).

The readers expect valid specs. A part that is missing, or is not a mapping, reads as empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kfgcp.spec.json_values import normalize_numbers, normalize_parameter
from kfgcp.spec.platform import NO_CLUSTER_CONFIG, ClusterConfig

CHANNEL: Final = "pipelinechannel--"
"""What the KFP compiler writes before the names of inputs of a group that the user did not
write."""

REFERENCES: Final = ("componentRef", "executorLabel")
"""Fields of a task and a component whose values only name another part of the document."""

_ALL_COMPLETED: Final = "ALL_UPSTREAM_TASKS_COMPLETED"
_OLD_TYPES: Final = {"INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE"}
"""Types of parameters in schema 2.0.0, and their names since 2.1.0."""
_FROM_BACKEND: Final = ("TASK_FINAL_STATUS", "TASK_CONFIG")
_ARTIFACTS: Final = ("ARTIFACT", "ARTIFACT_LIST")
_SOURCES: Final = (
    ("componentInputParameter", "taskOutputParameter", "outputParameterKey"),
    ("componentInputArtifact", "taskOutputArtifact", "outputArtifactKey"),
)
"""Of a parameter and an artifact: an input of the DAG, an output of a task, and the name of that
output."""
_LONGEST_WAIT: Final = 3600.0


# -- records


@dataclass(frozen=True, slots=True)
class Constant:
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
    """How another task of the same DAG ended."""

    task: str


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a task's input comes from; `selector` is a CEL expression applied to the value."""

    source: Constant | FromInput | FromTask | FinalStatus
    selector: str = ""


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """A parameter that a pipeline or component declares, or an input artifact that a pipeline
    declares.

    Attributes:
        name: as in the function's signature.
        type: KFP's parameterType, `NUMBER_INTEGER` for example; `ARTIFACT` or `ARTIFACT_LIST` for
            an input artifact, whose value is a URI or a list of them.
        default: None without one.
        has_default: whether there is a default.
        optional: whether it is declared optional.
        description: from the docstring, or empty.
        literals: the values that are allowed; empty when all are.
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
        """Whether a component can do without a value for it."""
        return self.optional or self.has_default

    @property
    def required(self) -> bool:
        """Whether the user must give a value."""
        return not (self.may_be_missing or self.is_from_backend)

    @property
    def is_from_backend(self) -> bool:
        """Whether the backend gives the value, never the user."""
        return self.type in _FROM_BACKEND

    @property
    def is_artifact(self) -> bool:
        return self.type in _ARTIFACTS


@dataclass(frozen=True, slots=True)
class ArtifactDef:
    """An artifact of a component. type: schema title; `schema` holds a custom instance schema."""

    type: str
    version: str = ""
    is_list: bool = False
    optional: bool = False
    schema: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry:
    """Extra attempts after a failure; waits are seconds: backoff * factor**k, at most `longest`."""

    count: int
    backoff: float = 0.0
    factor: float = 2.0
    longest: float = _LONGEST_WAIT

    def wait(self, failures: int) -> float:
        """Return the seconds before the next attempt after so many failures; huge factors do not
        overflow."""
        seconds = self.backoff
        for _ in range(failures - 1):
            if seconds >= self.longest:
                break
            seconds *= self.factor
        return min(seconds, self.longest)


@dataclass(frozen=True, slots=True)
class Iterator:
    """A loop over items: a `raw` JSON text, or the value of a parameter or artifact input of the
    task."""

    item: str
    raw: str | None = None
    input: str | None = None
    artifacts: bool = False
    limit: int = 0


@dataclass(frozen=True, slots=True)
class TaskDef:
    """A task of a DAG. `upstream`: the tasks it waits for, those its inputs come from included."""

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


@dataclass(frozen=True, slots=True)
class Container:
    """A command in an image; arguments still hold their placeholders. cluster: what it asks of
    Kubernetes."""

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    resources: Mapping[str, Any]
    cluster: ClusterConfig = NO_CLUSTER_CONFIG


@dataclass(frozen=True, slots=True)
class Importer:
    uri: Binding
    type: ArtifactDef
    metadata: Mapping[str, Any]
    reimport: bool


@dataclass(frozen=True, slots=True)
class OtherExecutor:
    """An executor that only some backend knows: `resolver`, `customJob`."""

    kind: str


Executor = Container | Importer | OtherExecutor


@dataclass(frozen=True, slots=True)
class Interface:
    """The inputs or the outputs of a component, by their names."""

    params: Mapping[str, ParamSpec]
    artifacts: Mapping[str, ArtifactDef]


# -- the parts of a document


def pipeline_name(spec: Mapping[str, Any]) -> str:
    """Return the name of a pipeline."""
    return str(spec["pipelineInfo"]["name"])


def read_root(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the component that is the pipeline itself."""
    return as_mapping(spec.get("root"))


def read_components(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the components of a pipeline by their names, without its root."""
    return as_mapping(spec.get("components"))


def read_executors(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the executors of a pipeline by their labels."""
    return as_mapping(as_mapping(spec.get("deploymentSpec")).get("executors"))


def read_tasks(component: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tasks of a component by their keys; a component without a DAG has none."""
    return as_mapping(as_mapping(component.get("dag")).get("tasks"))


def is_dag(component: Mapping[str, Any]) -> bool:
    """Return whether a component consists of tasks."""
    return "dag" in component


def executor_label(component: Mapping[str, Any]) -> str:
    """Return the label of the executor of a component, "" when it has none."""
    return str(component.get("executorLabel") or "")


def component_name(task: Mapping[str, Any]) -> str:
    """Return the name of the component that a task runs."""
    return str(as_mapping(task.get("componentRef")).get("name"))


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty mapping."""
    return value if isinstance(value, dict) else {}


# -- reading


def read_inputs(component: Mapping[str, Any]) -> Interface:
    """Return the inputs of a component."""
    return _read_interface(component.get("inputDefinitions"))


def read_outputs(component: Mapping[str, Any]) -> Interface:
    """Return the outputs of a component."""
    return _read_interface(component.get("outputDefinitions"))


def read_root_params(spec: Mapping[str, Any]) -> dict[str, ParamSpec]:
    """Return what the user can give to a pipeline: its parameters, then its input artifacts.

    Both are in the order of the spec.
    """
    definitions = as_mapping(read_root(spec).get("inputDefinitions"))
    params = {
        name: _read_param(name, body)
        for name, body in as_mapping(definitions.get("parameters")).items()
    }
    for name, body in as_mapping(definitions.get("artifacts")).items():
        params[name] = ParamSpec(
            name=name,
            type="ARTIFACT_LIST" if body.get("isArtifactList") else "ARTIFACT",
            optional=bool(body.get("isOptional")),
            description=body.get("description", ""),
        )
    return params


def read_task(key: str, body: Mapping[str, Any]) -> TaskDef:
    """Return a task of a DAG."""
    inputs = as_mapping(body.get("inputs"))
    trigger = as_mapping(body.get("triggerPolicy"))
    caching = as_mapping(body.get("cachingOptions"))
    params = {
        name: read_binding(source) for name, source in as_mapping(inputs.get("parameters")).items()
    }
    artifacts = {
        name: read_binding(source) for name, source in as_mapping(inputs.get("artifacts")).items()
    }
    return TaskDef(
        key=key,
        label=as_mapping(body.get("taskInfo")).get("name") or key,
        component=component_name(body),
        params=params,
        artifacts=artifacts,
        upstream=tuple(sorted(_upstream(body, [*params.values(), *artifacts.values()]))),
        condition=trigger.get("condition") or "",
        runs_always=trigger.get("strategy") == _ALL_COMPLETED,
        iterator=read_iterator(body),
        retry=_read_retry(as_mapping(body.get("retryPolicy"))),
        cache=bool(caching.get("enableCache")),
        cache_key=caching.get("cacheKey") or "",
    )


def read_binding(body: Any) -> Binding:
    """Return where an input of a task comes from, a parameter or an artifact."""
    body = as_mapping(body)
    selector = body.get("parameterExpressionSelector") or ""
    for component_input, task_output, key in _SOURCES:
        if component_input in body:
            return Binding(FromInput(body[component_input]), selector)
        if task_output in body:
            output = as_mapping(body[task_output])
            return Binding(FromTask(output.get("producerTask", ""), output.get(key, "")), selector)
    if "taskFinalStatus" in body:
        return Binding(
            FinalStatus(as_mapping(body["taskFinalStatus"]).get("producerTask", "")), selector
        )
    return Binding(read_value(body.get("runtimeValue")), selector)


def read_value(body: Any) -> Constant | FromInput:
    """Return a ValueOrRuntimeParameter; `constantValue` and `runtimeParameter` are its forms in
    schema 2.0.0."""
    body = as_mapping(body)
    if "runtimeParameter" in body:
        return FromInput(body["runtimeParameter"])
    if "constantValue" in body:
        return Constant(
            normalize_numbers(next(iter(as_mapping(body["constantValue"]).values()), None))
        )
    return Constant(normalize_numbers(body.get("constant")))


def read_producers(output: Any) -> tuple[FromTask, ...]:
    """Return the tasks that an output of a DAG may come from. The first one that ran counts."""
    output = as_mapping(output)
    selectors = list(output.get("artifactSelectors") or ())
    if output.get("valueFromParameter"):
        selectors.append(output["valueFromParameter"])
    selectors += as_mapping(output.get("valueFromOneof")).get("parameterSelectors") or ()
    producers = []
    for selector in map(as_mapping, selectors):
        key = selector.get("outputParameterKey", selector.get("outputArtifactKey", ""))
        producers.append(FromTask(selector.get("producerSubtask", ""), key))
    return tuple(producers)


def read_dag_outputs(component: Mapping[str, Any], kind: str) -> dict[str, tuple[FromTask, ...]]:
    """Return where the outputs of a DAG come from.

    Args:
        component: the DAG.
        kind: `parameters` or `artifacts`.
    """
    outputs = as_mapping(as_mapping(component.get("dag")).get("outputs"))
    return {name: read_producers(body) for name, body in as_mapping(outputs.get(kind)).items()}


def read_iterator(task: Mapping[str, Any]) -> Iterator | None:
    """Return what a task loops over, None when it is not a loop."""
    limit = int(as_mapping(task.get("iteratorPolicy")).get("parallelismLimit") or 0)
    if loop := as_mapping(task.get("parameterIterator")):
        items = as_mapping(loop.get("items"))
        item = loop.get("itemInput", "")
        return Iterator(item, raw=items.get("raw"), input=items.get("inputParameter"), limit=limit)
    if loop := as_mapping(task.get("artifactIterator")):
        source = as_mapping(loop.get("items")).get("inputArtifact")
        return Iterator(loop.get("itemInput", ""), input=source, artifacts=True, limit=limit)
    return None


def read_executor(body: Mapping[str, Any], cluster: ClusterConfig = NO_CLUSTER_CONFIG) -> Executor:
    """Return what an executor runs.

    Args:
        body: the executor.
        cluster: what the platform spec says about it.
    """
    if container := as_mapping(body.get("container")):
        return Container(
            image=container.get("image") or "",
            command=tuple(container.get("command") or ()),
            args=tuple(container.get("args") or ()),
            env={
                str(pair.get("name")): pair.get("value") or ""
                for pair in container.get("env") or ()
            },
            resources=normalize_numbers(container.get("resources") or {}),
            cluster=cluster,
        )
    if importer := as_mapping(body.get("importer")):
        schema = importer.get("typeSchema") or {}
        return Importer(
            uri=Binding(read_value(importer.get("artifactUri"))),
            type=_read_artifact({"artifactType": schema}),
            metadata=normalize_numbers(importer.get("metadata") or {}),
            reimport=bool(importer.get("reimport")),
        )
    return OtherExecutor(next(iter(body), "unknown"))


# -- writing


def set_task_caching(task: dict[str, Any], enabled: bool) -> None:
    """Switch the caching of a task on or off. A custom cacheKey stays."""
    options = {
        name: value
        for name, value in as_mapping(task.get("cachingOptions")).items()
        if name != "enableCache"
    }
    if enabled:
        options["enableCache"] = True
    task["cachingOptions"] = options


def _read_interface(definitions: Any) -> Interface:
    definitions = as_mapping(definitions)
    return Interface(
        params={
            name: _read_param(name, body)
            for name, body in as_mapping(definitions.get("parameters")).items()
        },
        artifacts={
            name: _read_artifact(body)
            for name, body in as_mapping(definitions.get("artifacts")).items()
        },
    )


def _read_param(name: str, body: Mapping[str, Any]) -> ParamSpec:
    kind = body.get("parameterType") or body.get("type") or "STRING"
    kind = _OLD_TYPES.get(kind, kind)
    return ParamSpec(
        name=name,
        type=kind,
        default=normalize_parameter(kind, body.get("defaultValue")),
        has_default="defaultValue" in body,
        optional=bool(body.get("isOptional")),
        description=body.get("description", ""),
        literals=tuple(
            normalize_parameter(kind, literal) for literal in body.get("literals") or ()
        ),
    )


def _read_artifact(body: Mapping[str, Any]) -> ArtifactDef:
    kind = body.get("artifactType") or {}
    return ArtifactDef(
        type=kind.get("schemaTitle") or "system.Artifact",
        version=kind.get("schemaVersion") or "",
        is_list=bool(body.get("isArtifactList")),
        optional=bool(body.get("isOptional")),
        schema=kind.get("instanceSchema") or "",
        metadata=normalize_numbers(body.get("metadata") or {}),
    )


def _upstream(task: Mapping[str, Any], bindings: list[Binding]) -> set[str]:
    upstream = set(task.get("dependentTasks") or ())
    for binding in bindings:
        if isinstance(binding.source, (FromTask, FinalStatus)):
            upstream.add(binding.source.task)
    return upstream


def _read_retry(policy: Mapping[str, Any]) -> Retry | None:
    if not policy.get("maxRetryCount"):
        return None
    longest = _seconds(policy.get("backoffMaxDuration")) or _LONGEST_WAIT
    return Retry(
        count=int(policy["maxRetryCount"]),
        backoff=_seconds(policy.get("backoffDuration")),
        factor=float(policy.get("backoffFactor") or 2.0),
        longest=min(longest, _LONGEST_WAIT),
    )


def _seconds(text: str | None) -> float:
    """Return the seconds of a proto Duration in JSON form: `1.5s`."""
    return float(text.removesuffix("s")) if text else 0.0
