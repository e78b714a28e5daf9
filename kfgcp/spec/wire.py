"""Read the JSON of a PipelineSpec into the records of `kfgcp.spec.records`.

pipeline_spec.proto defines the fields, and the JSON has their names in camelCase. Other modules use
the records. Only four more modules of `kfgcp.spec` know names of fields, because they handle the
JSON itself: `shapes` and `validate` (which documents are valid), `digest` (which fields count for a
version), and `facts` (every field as a fact, also a field that this version of kfgcp does not
know).

The functions expect valid specs. They treat a part that is missing, or not a mapping, as empty.
"""

from __future__ import annotations

from typing import Any, Final

from kfgcp.spec.json_values import JsonObject, normalize_numbers, normalize_parameter
from kfgcp.spec.platform import NO_CLUSTER_CONFIG, ClusterConfig
from kfgcp.spec.records import (
    MAX_RETRY_WAIT,
    ArtifactDef,
    Binding,
    Constant,
    Container,
    Executor,
    FinalStatus,
    FromInput,
    FromTask,
    Importer,
    Interface,
    Iterator,
    OtherExecutor,
    ParamSpec,
    Retry,
    TaskDef,
)

# The KFP compiler adds inputs to groups (loops, conditions). Their names begin with this prefix.
CHANNEL: Final = "pipelinechannel--"

# Fields of a task and a component whose values only name another part of the document.
REFERENCES: Final = ("componentRef", "executorLabel")

_ALL_COMPLETED: Final = "ALL_UPSTREAM_TASKS_COMPLETED"

# Type of a parameter in schema 2.0.0 (PrimitiveType) -> its name since 2.1.0 (ParameterType).
_OLD_TYPES: Final = {"INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE"}

# Fields for the source of a parameter and of an artifact: for an input of the DAG, for an output of
# a task, and inside the second field for the name of this output.
_SOURCES: Final = (
    ("componentInputParameter", "taskOutputParameter", "outputParameterKey"),
    ("componentInputArtifact", "taskOutputArtifact", "outputArtifactKey"),
)

# pipeline_spec.proto: an unspecified RetryPolicy.backoff_factor is 2.
_DEFAULT_BACKOFF_FACTOR: Final = 2.0


# -- the parts of a document


def pipeline_name(spec: JsonObject) -> str:
    """Return the name of a pipeline."""
    return str(spec["pipelineInfo"]["name"])


def read_root(spec: JsonObject) -> JsonObject:
    """Return the component that is the pipeline itself."""
    return as_mapping(spec.get("root"))


def read_components(spec: JsonObject) -> JsonObject:
    """Return the components of a pipeline by their names, without its root."""
    return as_mapping(spec.get("components"))


def read_executors(spec: JsonObject) -> JsonObject:
    """Return the executors of a pipeline by their labels."""
    return as_mapping(as_mapping(spec.get("deploymentSpec")).get("executors"))


def read_tasks(component: JsonObject) -> JsonObject:
    """Return the tasks of a component by their keys; a component without a DAG has none."""
    return as_mapping(as_mapping(component.get("dag")).get("tasks"))


def may_need_translation(spec: JsonObject, platform_spec: JsonObject | None) -> bool:
    """Return whether a pipeline may ask for a GPU or a secret, which backends name differently."""
    # Secrets of Kubernetes are in the second document.
    if platform_spec:
        return True
    for executor in read_executors(spec).values():
        container = as_mapping(as_mapping(executor).get("container"))
        if container.get("env") or as_mapping(container.get("resources")).get("accelerator"):
            return True
    return False


def is_dag(component: JsonObject) -> bool:
    """Return whether a component consists of tasks."""
    return "dag" in component


def executor_label(component: JsonObject) -> str:
    """Return the label of the executor of a component, "" when it has none."""
    return str(component.get("executorLabel") or "")


def component_name(task: JsonObject) -> str:
    """Return the name of the component that a task runs."""
    return str(as_mapping(task.get("componentRef")).get("name"))


def as_mapping(value: object) -> JsonObject:
    """Return the value if it is a mapping, else an empty mapping.

    Example:
        >>> as_mapping({"name": "train"})
        {'name': 'train'}
        >>> as_mapping(None)
        {}
    """
    return value if isinstance(value, dict) else {}


# -- reading


def read_inputs(component: JsonObject) -> Interface:
    """Return the inputs of a component."""
    return _read_interface(component.get("inputDefinitions"))


def read_outputs(component: JsonObject) -> Interface:
    """Return the outputs of a component."""
    return _read_interface(component.get("outputDefinitions"))


def read_root_params(spec: JsonObject) -> dict[str, ParamSpec]:
    """Return the parameters of a pipeline, then its input artifacts, each in the order of the spec.

    The user can give a value for all of them.
    """
    definitions = as_mapping(read_root(spec).get("inputDefinitions"))
    params = {}
    for name, body in as_mapping(definitions.get("parameters")).items():
        params[name] = _read_param(name, body)
    for name, body in as_mapping(definitions.get("artifacts")).items():
        params[name] = ParamSpec(
            name=name,
            type="ARTIFACT_LIST" if body.get("isArtifactList") else "ARTIFACT",
            optional=bool(body.get("isOptional")),
            description=body.get("description", ""),
        )
    return params


def read_task(key: str, body: JsonObject) -> TaskDef:
    """Return a task of a DAG.

    Example:
        >>> task = read_task("train", {
        ...     "componentRef": {"name": "comp-train"},
        ...     "inputs": {"parameters": {"rows": {"taskOutputParameter": {
        ...         "producerTask": "count", "outputParameterKey": "Output"}}}},
        ... })
        >>> task.component, task.upstream
        ('comp-train', ('count',))
    """
    inputs = as_mapping(body.get("inputs"))
    trigger = as_mapping(body.get("triggerPolicy"))
    caching = as_mapping(body.get("cachingOptions"))
    params = _read_bindings(inputs.get("parameters"))
    artifacts = _read_bindings(inputs.get("artifacts"))
    upstream = set(body.get("dependentTasks") or ())
    # A task waits for all tasks that its inputs come from, even if dependentTasks lacks them.
    for binding in list(params.values()) + list(artifacts.values()):
        if isinstance(binding.source, (FromTask, FinalStatus)):
            upstream.add(binding.source.task)
    return TaskDef(
        key=key,
        label=as_mapping(body.get("taskInfo")).get("name") or key,
        component=component_name(body),
        params=params,
        artifacts=artifacts,
        upstream=tuple(sorted(upstream)),
        condition=trigger.get("condition") or "",
        runs_always=trigger.get("strategy") == _ALL_COMPLETED,
        iterator=read_iterator(body),
        retry=_read_retry(as_mapping(body.get("retryPolicy"))),
        cache=bool(caching.get("enableCache")),
        cache_key=caching.get("cacheKey") or "",
    )


def read_binding(body: object) -> Binding:
    """Return where an input of a task comes from, a parameter or an artifact.

    Example:
        >>> read_binding({"componentInputParameter": "rate"})
        Binding(source=FromInput(name='rate'), selector='')
    """
    fields = as_mapping(body)
    selector = fields.get("parameterExpressionSelector") or ""
    for component_input, task_output, key in _SOURCES:
        if component_input in fields:
            return Binding(FromInput(fields[component_input]), selector)
        if task_output in fields:
            output = as_mapping(fields[task_output])
            return Binding(FromTask(output.get("producerTask", ""), output.get(key, "")), selector)
    if "taskFinalStatus" in fields:
        status = as_mapping(fields["taskFinalStatus"])
        return Binding(FinalStatus(status.get("producerTask", "")), selector)
    return Binding(read_value(fields.get("runtimeValue")), selector)


def read_value(body: object) -> Constant | FromInput:
    """Return a ValueOrRuntimeParameter.

    Example:
        >>> read_value({"constant": 3.0})
        Constant(value=3)
    """
    fields = as_mapping(body)
    if "runtimeParameter" in fields:
        return FromInput(fields["runtimeParameter"])
    # Schema 2.0.0 has {"constantValue": {"stringValue": "a"}}, schema 2.1.0 {"constant": "a"}.
    if "constantValue" in fields:
        values = list(as_mapping(fields["constantValue"]).values())
        return Constant(normalize_numbers(values[0]) if values else None)
    return Constant(normalize_numbers(fields.get("constant")))


def read_producers(output: object) -> tuple[FromTask, ...]:
    """Return the outputs of tasks that an output of a DAG may come from.

    The output of the first task that ran counts.
    """
    fields = as_mapping(output)
    selectors = list(fields.get("artifactSelectors") or ())
    if fields.get("valueFromParameter"):
        selectors.append(fields["valueFromParameter"])
    selectors += as_mapping(fields.get("valueFromOneof")).get("parameterSelectors") or ()
    producers = []
    for body in selectors:
        selector = as_mapping(body)
        key = selector.get("outputParameterKey", selector.get("outputArtifactKey", ""))
        producers.append(FromTask(selector.get("producerSubtask", ""), key))
    return tuple(producers)


def read_dag_outputs(component: JsonObject, kind: str) -> dict[str, tuple[FromTask, ...]]:
    """Return the outputs of tasks that each output of a DAG may come from, see `read_producers`.

    Args:
        component: the component with the DAG.
        kind: `parameters` or `artifacts`.
    """
    outputs = as_mapping(as_mapping(component.get("dag")).get("outputs"))
    return {name: read_producers(body) for name, body in as_mapping(outputs.get(kind)).items()}


def read_iterator(task: JsonObject) -> Iterator | None:
    """Return the items that a task loops over, None when it is not a loop."""
    limit = int(as_mapping(task.get("iteratorPolicy")).get("parallelismLimit") or 0)
    loop = as_mapping(task.get("parameterIterator"))
    if loop:
        items = as_mapping(loop.get("items"))
        return Iterator(
            item=loop.get("itemInput", ""),
            raw=items.get("raw"),
            input=items.get("inputParameter"),
            limit=limit,
        )
    loop = as_mapping(task.get("artifactIterator"))
    if loop:
        return Iterator(
            item=loop.get("itemInput", ""),
            input=as_mapping(loop.get("items")).get("inputArtifact"),
            artifacts=True,
            limit=limit,
        )
    return None


def read_executor(body: JsonObject, cluster: ClusterConfig = NO_CLUSTER_CONFIG) -> Executor:
    """Return what an executor runs.

    Args:
        body: the executor.
        cluster: the settings of the platform spec for the executor.
    """
    container = as_mapping(body.get("container"))
    if container:
        env = {}
        for variable in container.get("env") or ():
            env[str(variable.get("name"))] = variable.get("value") or ""
        return Container(
            image=container.get("image") or "",
            command=tuple(container.get("command") or ()),
            args=tuple(container.get("args") or ()),
            env=env,
            resources=normalize_numbers(container.get("resources") or {}),
            cluster=cluster,
        )
    importer = as_mapping(body.get("importer"))
    if importer:
        return Importer(
            uri=Binding(read_value(importer.get("artifactUri"))),
            type=_read_artifact({"artifactType": importer.get("typeSchema") or {}}),
            metadata=normalize_numbers(importer.get("metadata") or {}),
            reimport=bool(importer.get("reimport")),
        )
    return OtherExecutor(next(iter(body), "unknown"))


# -- writing


def set_task_caching(task: dict[str, Any], enabled: bool) -> None:
    """Switch the caching of a task on or off, in place. A custom cacheKey stays.

    Example:
        >>> task = {"cachingOptions": {"enableCache": True, "cacheKey": "v1"}}
        >>> set_task_caching(task, False)
        >>> task
        {'cachingOptions': {'cacheKey': 'v1'}}
    """
    options = dict(as_mapping(task.get("cachingOptions")))
    # The KFP compiler leaves the field out when caching is off, and proto JSON leaves out false.
    options.pop("enableCache", None)
    if enabled:
        options["enableCache"] = True
    task["cachingOptions"] = options


def replace_param(task: dict[str, object], param: str, constant: str) -> None:
    """Give a task a constant instead of a parameter of the pipeline, in place.

    Args:
        task: a task of the pipeline itself.
        param: the name of the parameter.
        constant: the text that the task gets.

    Raises:
        ValueError: the task reads only a part of the parameter.

    Example:
        >>> task = {"inputs": {"parameters": {"text": {"componentInputParameter": "day"}}}}
        >>> replace_param(task, "day", "monday")
        >>> task["inputs"]["parameters"]
        {'text': {'runtimeValue': {'constant': 'monday'}}}
    """
    inputs = as_mapping(task.get("inputs"))
    bindings = dict(as_mapping(inputs.get("parameters")))
    for name, binding in bindings.items():
        if as_mapping(binding).get("componentInputParameter") != param:
            continue
        if binding.get("parameterExpressionSelector"):
            raise ValueError(f"the input {name} reads a part of {param}")
        bindings[name] = {"runtimeValue": {"constant": constant}}
    if bindings:
        task["inputs"] = {**inputs, "parameters": bindings}


# -- helpers of the readers


def _read_interface(body: object) -> Interface:
    definitions = as_mapping(body)
    params = {}
    for name, definition in as_mapping(definitions.get("parameters")).items():
        params[name] = _read_param(name, definition)
    artifacts = {}
    for name, definition in as_mapping(definitions.get("artifacts")).items():
        artifacts[name] = _read_artifact(definition)
    return Interface(params, artifacts)


def _read_param(name: str, body: JsonObject) -> ParamSpec:
    declared_type = body.get("parameterType") or body.get("type") or "STRING"
    parameter_type = _OLD_TYPES.get(declared_type, declared_type)
    default = body.get("defaultValue")
    literals = body.get("literals")
    # Most parameters have neither, and a large pipeline has tens of thousands of parameters.
    if default is not None:
        default = normalize_parameter(parameter_type, default)
    if literals:
        literals = tuple(normalize_parameter(parameter_type, literal) for literal in literals)
    return ParamSpec(
        name=name,
        type=parameter_type,
        default=default,
        has_default="defaultValue" in body,
        optional=bool(body.get("isOptional")),
        description=body.get("description", ""),
        literals=literals or (),
    )


def _read_artifact(body: JsonObject) -> ArtifactDef:
    artifact_type = body.get("artifactType") or {}
    return ArtifactDef(
        type=artifact_type.get("schemaTitle") or "system.Artifact",
        version=artifact_type.get("schemaVersion") or "",
        is_list=bool(body.get("isArtifactList")),
        optional=bool(body.get("isOptional")),
        schema=artifact_type.get("instanceSchema") or "",
        metadata=normalize_numbers(body.get("metadata") or {}),
    )


def _read_bindings(inputs: object) -> dict[str, Binding]:
    return {name: read_binding(source) for name, source in as_mapping(inputs).items()}


def _read_retry(policy: JsonObject) -> Retry | None:
    if not policy.get("maxRetryCount"):
        return None
    longest = _read_duration(policy.get("backoffMaxDuration")) or MAX_RETRY_WAIT
    return Retry(
        count=int(policy["maxRetryCount"]),
        backoff=_read_duration(policy.get("backoffDuration")),
        factor=float(policy.get("backoffFactor") or _DEFAULT_BACKOFF_FACTOR),
        longest=min(longest, MAX_RETRY_WAIT),
    )


def _read_duration(text: str | None) -> float:
    """Return the seconds of a proto Duration in JSON form: `1.5s`."""
    return float(text.removesuffix("s")) if text else 0.0
