"""A PipelineSpec as a graph of typed nodes: what the engine runs and the checks look at.

The wire form (proto JSON) ends here. `build` expects a spec that `kfgcp.spec.validate` accepted; it reads every field
that has a meaning at run time and keeps no reference to the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kfgcp.model import TaskKind
from kfgcp.spec.json_values import whole, with_numbers_of
from kfgcp.spec.platform import NOTHING, ClusterConfig, executor_configs

ALL_COMPLETED = "ALL_UPSTREAM_TASKS_COMPLETED"


@dataclass(frozen=True, slots=True)
class Constant:
    value: Any


@dataclass(frozen=True, slots=True)
class FromInput:
    """An input of the DAG that the task stands in."""

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
class ParamDef:
    """A parameter of a component. type: KFP's name, NUMBER_INTEGER for example. literals: what is allowed, () all."""

    type: str
    optional: bool = False
    has_default: bool = False
    default: Any = None
    literals: tuple[Any, ...] = ()


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
    longest: float = 3600.0

    def wait(self, failures: int) -> float:
        """Seconds before the next attempt after so many failures; huge factors do not overflow."""
        seconds = self.backoff
        for _ in range(failures - 1):
            if seconds >= self.longest:
                break
            seconds *= self.factor
        return min(seconds, self.longest)


@dataclass(frozen=True, slots=True)
class Iterator:
    """A loop over items: a `raw` JSON text, or the value of a parameter or artifact input of the task."""

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
    """A command in an image; arguments still hold their placeholders. cluster: what it asks of Kubernetes."""

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    resources: Mapping[str, Any]
    cluster: ClusterConfig = NOTHING


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
class Dag:
    """Tasks by key, in an order in which each comes after its upstream; outputs: the first producer that has it."""

    tasks: Mapping[str, TaskDef]
    param_outputs: Mapping[str, tuple[FromTask, ...]]
    artifact_outputs: Mapping[str, tuple[FromTask, ...]]


@dataclass(frozen=True, slots=True)
class Component:
    """A component: its interface, and either a DAG or an executor."""

    name: str
    params: Mapping[str, ParamDef]
    artifacts: Mapping[str, ArtifactDef]
    output_params: Mapping[str, ParamDef]
    output_artifacts: Mapping[str, ArtifactDef]
    dag: Dag | None = None
    executor: Executor | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    name: str
    root: Component
    components: Mapping[str, Component]

    def component(self, task: TaskDef) -> Component:
        return self.components[task.component]

    @property
    def images(self) -> list[str]:
        """Of its containers, each once."""
        executors = [component.executor for component in self.components.values()]
        return sorted({each.image for each in executors if isinstance(each, Container)})


def kind_of(task: TaskDef, component: Component) -> TaskKind:
    """What a task of a run is, by its definition and what it runs."""
    if task.iterator is not None:
        return TaskKind.LOOP
    if component.dag is not None:
        return TaskKind.DAG
    return TaskKind.IMPORTER if isinstance(component.executor, Importer) else TaskKind.CONTAINER


def build(spec: Mapping[str, Any], platform_spec: Mapping[str, Any] | None = None) -> Graph:
    """The graph of a valid PipelineSpec, with what its platform spec says of its containers."""
    cluster = executor_configs(platform_spec)
    executors = {
        label: _executor(body, cluster.get(label, NOTHING))
        for label, body in ((spec.get("deploymentSpec") or {}).get("executors") or {}).items()
    }
    components = {name: _component(name, body, executors) for name, body in (spec.get("components") or {}).items()}
    return Graph(
        name=spec["pipelineInfo"]["name"],
        root=_component("root", spec["root"], executors),
        components=components,
    )


def _component(name: str, body: Mapping[str, Any], executors: Mapping[str, Executor]) -> Component:
    inputs, outputs = body.get("inputDefinitions") or {}, body.get("outputDefinitions") or {}
    return Component(
        name=name,
        params={key: _param(value) for key, value in (inputs.get("parameters") or {}).items()},
        artifacts={key: _artifact(value) for key, value in (inputs.get("artifacts") or {}).items()},
        output_params={key: _param(value) for key, value in (outputs.get("parameters") or {}).items()},
        output_artifacts={key: _artifact(value) for key, value in (outputs.get("artifacts") or {}).items()},
        dag=_dag(body["dag"]) if "dag" in body else None,
        executor=executors[body["executorLabel"]] if "executorLabel" in body else None,
    )


_OLD_TYPES = {"INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE"}


def _param(body: Mapping[str, Any]) -> ParamDef:
    kind = body.get("parameterType") or body.get("type") or "STRING"
    kind = _OLD_TYPES.get(kind, kind)
    return ParamDef(
        type=kind,
        optional=bool(body.get("isOptional")) or "defaultValue" in body,
        has_default="defaultValue" in body,
        default=with_numbers_of(kind, body.get("defaultValue")),
        literals=tuple(with_numbers_of(kind, literal) for literal in body.get("literals") or ()),
    )


def _artifact(body: Mapping[str, Any]) -> ArtifactDef:
    kind = body.get("artifactType") or {}
    return ArtifactDef(
        type=kind.get("schemaTitle") or "system.Artifact",
        version=kind.get("schemaVersion") or "",
        is_list=bool(body.get("isArtifactList")),
        optional=bool(body.get("isOptional")),
        schema=kind.get("instanceSchema") or "",
        metadata=whole(body.get("metadata") or {}),
    )


def _dag(body: Mapping[str, Any]) -> Dag:
    tasks = {key: _task(key, value) for key, value in (body.get("tasks") or {}).items()}
    outputs = body.get("outputs") or {}
    params = {}
    for name, output in (outputs.get("parameters") or {}).items():
        one, several = output.get("valueFromParameter"), output.get("valueFromOneof") or {}
        selectors = [one] if one else several.get("parameterSelectors") or []
        params[name] = tuple(FromTask(s["producerSubtask"], s["outputParameterKey"]) for s in selectors)
    artifacts = {
        name: tuple(
            FromTask(s["producerSubtask"], s["outputArtifactKey"]) for s in output.get("artifactSelectors") or []
        )
        for name, output in (outputs.get("artifacts") or {}).items()
    }
    return Dag(_in_order(tasks), params, artifacts)


def _in_order(tasks: Mapping[str, TaskDef]) -> dict[str, TaskDef]:
    """The tasks sorted so that each comes after its upstream, ties by name: the same order in every run."""
    from graphlib import TopologicalSorter

    sorter = TopologicalSorter({key: task.upstream for key, task in sorted(tasks.items())})
    return {key: tasks[key] for key in sorter.static_order()}


def _task(key: str, body: Mapping[str, Any]) -> TaskDef:
    inputs, trigger = body.get("inputs") or {}, body.get("triggerPolicy") or {}
    caching = body.get("cachingOptions") or {}
    params = {name: _param_binding(value) for name, value in (inputs.get("parameters") or {}).items()}
    artifacts = {name: _artifact_binding(value) for name, value in (inputs.get("artifacts") or {}).items()}
    upstream = set(body.get("dependentTasks") or ())
    for binding in (*params.values(), *artifacts.values()):
        if isinstance(binding.source, (FromTask, FinalStatus)):
            upstream.add(binding.source.task)
    return TaskDef(
        key=key,
        label=(body.get("taskInfo") or {}).get("name") or key,
        component=body["componentRef"]["name"],
        params=params,
        artifacts=artifacts,
        upstream=tuple(sorted(upstream)),
        condition=trigger.get("condition") or "",
        runs_always=trigger.get("strategy") == ALL_COMPLETED,
        iterator=_iterator(body),
        retry=_retry(body.get("retryPolicy")),
        cache=bool(caching.get("enableCache")),
        cache_key=caching.get("cacheKey") or "",
    )


def _param_binding(body: Mapping[str, Any]) -> Binding:
    selector = body.get("parameterExpressionSelector") or ""
    if "componentInputParameter" in body:
        return Binding(FromInput(body["componentInputParameter"]), selector)
    if "taskOutputParameter" in body:
        output = body["taskOutputParameter"]
        return Binding(FromTask(output["producerTask"], output["outputParameterKey"]), selector)
    if "taskFinalStatus" in body:
        return Binding(FinalStatus(body["taskFinalStatus"]["producerTask"]), selector)
    return Binding(_runtime_value(body.get("runtimeValue") or {}), selector)


def _artifact_binding(body: Mapping[str, Any]) -> Binding:
    if "componentInputArtifact" in body:
        return Binding(FromInput(body["componentInputArtifact"]))
    output = body["taskOutputArtifact"]
    return Binding(FromTask(output["producerTask"], output["outputArtifactKey"]))


def _runtime_value(body: Mapping[str, Any]) -> Constant | FromInput:
    """A ValueOrRuntimeParameter; `constantValue` and `runtimeParameter` are its forms in schema 2.0.0."""
    if "runtimeParameter" in body:
        return FromInput(body["runtimeParameter"])
    if "constantValue" in body:
        return Constant(whole(next(iter(body["constantValue"].values()), None)))
    return Constant(whole(body.get("constant")))


def _iterator(body: Mapping[str, Any]) -> Iterator | None:
    limit = int((body.get("iteratorPolicy") or {}).get("parallelismLimit") or 0)
    if loop := body.get("parameterIterator"):
        items = loop.get("items") or {}
        return Iterator(loop["itemInput"], raw=items.get("raw"), input=items.get("inputParameter"), limit=limit)
    if loop := body.get("artifactIterator"):
        source = (loop.get("items") or {}).get("inputArtifact")
        return Iterator(loop["itemInput"], input=source, artifacts=True, limit=limit)
    return None


def _retry(body: Mapping[str, Any] | None) -> Retry | None:
    if not body or not body.get("maxRetryCount"):
        return None
    longest = _seconds(body.get("backoffMaxDuration")) or 3600.0
    return Retry(
        count=int(body["maxRetryCount"]),
        backoff=_seconds(body.get("backoffDuration")),
        factor=float(body.get("backoffFactor") or 2.0),
        longest=min(longest, 3600.0),
    )


def _seconds(text: str | None) -> float:
    """A proto Duration in JSON form: `1.5s`."""
    return float(text.removesuffix("s")) if text else 0.0


def _executor(body: Mapping[str, Any], cluster: ClusterConfig) -> Executor:
    if container := body.get("container"):
        return Container(
            image=container.get("image") or "",
            command=tuple(container.get("command") or ()),
            args=tuple(container.get("args") or ()),
            env={pair["name"]: pair.get("value") or "" for pair in container.get("env") or ()},
            resources=whole(container.get("resources") or {}),
            cluster=cluster,
        )
    if importer := body.get("importer"):
        schema = importer.get("typeSchema") or {}
        return Importer(
            uri=Binding(_runtime_value(importer.get("artifactUri") or {})),
            type=_artifact({"artifactType": schema}),
            metadata=whole(importer.get("metadata") or {}),
            reimport=bool(importer.get("reimport")),
        )
    return OtherExecutor(next(iter(body), "unknown"))
