"""Describe a task of a PipelineSpec by flat facts, which can be compared one by one.

The key of a fact is a word of `WORDS` and a name: `("input", "lr")`, `("env", "HOME")`,
`("image", "")`. Its value is plain JSON. The source of an input is one of these:

- `{"constant": …}`
- `{"input": name}`, an input of the DAG around the task
- `{"task": key, "output": name}`, an output of another task
- `{"status_of": key}`, the final status of another task

A CEL expression that is applied to the source is under `selector`. A field without a word of its
own is the fact `("other", field)`, so that no difference is lost. pipeline_spec.proto defines the
fields.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from kfgcp.spec.credentials import mask_credentials
from kfgcp.spec.json_values import JsonObject, normalize_numbers
from kfgcp.spec.lightweight import Lightweight, recognise
from kfgcp.spec.records import Constant, Container, FinalStatus, FromInput, FromTask
from kfgcp.spec.wire import (
    as_mapping,
    read_binding,
    read_executor,
    read_producers,
    read_value,
)

# The words of facts, in the order in which messages name the facts of a task or a pipeline.
WORDS: Final = (
    "task",
    "name",
    "description",
    "pipeline root",
    "schema",
    "parameter",
    "artifact",
    "output",
    "image",
    "package",
    "code",
    "command",
    "args",
    "env",
    "resource",
    "accelerator",
    "importer",
    "executor",
    "input",
    "dependency",
    "condition",
    "trigger",
    "iterator",
    "parallelism",
    "retry",
    "caching",
    "platform",
    "component",
    "other",
)

Facts = dict[tuple[str, str], Any]

# Field -> the word of its fact. These facts have no name, because the word says which field it is.
_PIPELINE_WORDS: Final = {"schemaVersion": "schema", "defaultPipelineRoot": "pipeline root"}
_INFO_WORDS: Final = {"name": "name", "description": "description"}
_TRIGGER_WORDS: Final = {"condition": "condition", "strategy": "trigger"}

_INTERFACE_WORDS: Final = {"parameters": "parameter", "artifacts": "artifact"}

# Field of a declared parameter or artifact -> its shorter name in facts.
_DEFINITION_FIELDS: Final = {
    "parameterType": "type",
    "defaultValue": "default",
    "isOptional": "optional",
    "isArtifactList": "list",
    "schemaTitle": "type",
    "schemaVersion": "version",
}


def pipeline_facts(spec: JsonObject) -> Facts:
    """Return the facts of a pipeline, without its tasks, its parameters and its outputs.

    Example:
        >>> pipeline_facts({"pipelineInfo": {"name": "hello"}, "schemaVersion": "2.1.0"})
        {('name', ''): 'hello', ('schema', ''): '2.1.0'}
    """
    facts: Facts = {}
    for field, value in spec.items():
        if field == "pipelineInfo":
            facts |= _record_facts(value, _INFO_WORDS)
        elif field == "deploymentSpec":
            facts |= _named_facts("other", value, without=("executors",))
        elif field in _PIPELINE_WORDS:
            facts[_PIPELINE_WORDS[field], ""] = value
        elif field not in ("root", "components"):
            facts["other", field] = value
    return facts


def task_facts(key: str, task: JsonObject) -> Facts:
    """Return the facts that a DAG holds about one of its tasks.

    Args:
        key: the key of the task. The name of the task is a fact only if it differs from the key.
        task: the task.
    """
    facts: Facts = {}
    for field, value in task.items():
        match field:
            case "componentRef":
                facts |= _named_facts("other", value, without=("name",))
            case "taskInfo":
                info = {name: item for name, item in as_mapping(value).items() if item != key}
                facts |= _record_facts(info, {"name": "name"})
            case "inputs":
                for sources in as_mapping(value).values():
                    for name, source in as_mapping(sources).items():
                        facts["input", name] = _describe_binding(source)
            case "dependentTasks":
                facts["dependency", ""] = value
            case "triggerPolicy":
                facts |= _record_facts(value, _TRIGGER_WORDS)
            case "parameterIterator" | "artifactIterator":
                facts |= _iterator_facts(value)
            case "iteratorPolicy":
                facts |= _named_facts("parallelism", value, main="parallelismLimit")
            case "retryPolicy":
                facts |= _named_facts("retry", value)
            case "cachingOptions":
                facts |= _named_facts("caching", value, main="enableCache")
            case _:
                facts["other", field] = value
    return facts


def component_facts(component: JsonObject) -> Facts:
    """Return the facts of a component: its inputs and outputs, and the sources of a DAG's outputs.

    The tasks of a DAG are left out, because they have facts of their own.
    """
    facts: Facts = {}
    outputs: dict[str, dict[str, Any]] = {}
    for field, value in component.items():
        match field:
            case "executorLabel":
                pass
            case "inputDefinitions":
                for kind, definitions in as_mapping(value).items():
                    word = _INTERFACE_WORDS.get(kind, "other")
                    for name, definition in as_mapping(definitions).items():
                        facts[word, name] = _describe_definition(definition)
            case "outputDefinitions":
                for definitions in as_mapping(value).values():
                    for name, definition in as_mapping(definitions).items():
                        outputs.setdefault(name, {}).update(_describe_definition(definition))
            case "dag":
                facts |= _named_facts("other", value, without=("tasks", "outputs"))
                for dag_outputs in as_mapping(as_mapping(value).get("outputs")).values():
                    for name, output in as_mapping(dag_outputs).items():
                        outputs.setdefault(name, {})["from"] = _describe_producers(output)
            case _:
                facts["other", field] = value
    return facts | _named_facts("output", outputs)


def executor_facts(executor: JsonObject) -> Facts:
    """Return the facts of an executor.

    The source and the packages of a lightweight component are facts of their own. The fact of the
    command does not contain the source.
    """
    facts: Facts = {}
    for kind, body in executor.items():
        if kind == "container":
            facts |= _container_facts(as_mapping(body))
        elif kind == "importer":
            for field, value in as_mapping(body).items():
                if field == "artifactUri":
                    facts["importer", field] = _describe_source(read_value(value))
                else:
                    facts["importer", field] = value
        else:
            facts["executor", kind] = body
    return facts


def read_lightweight(executor: JsonObject) -> Lightweight | None:
    """Return the Python function that an executor runs, None for any other executor."""
    container = read_executor(executor)
    return recognise(container) if isinstance(container, Container) else None


def _record_facts(body: object, words: Mapping[str, str]) -> Facts:
    """Return the facts of a record.

    Args:
        body: the record.
        words: field -> the word of its fact. Other fields get the word `other`.
    """
    facts: Facts = {}
    for field, value in as_mapping(body).items():
        if field in words:
            facts[words[field], ""] = value
        else:
            facts["other", field] = value
    return facts


def _named_facts(
    word: str, body: object, *, main: str = "", without: Collection[str] = ()
) -> Facts:
    """Return the facts of a record. They all have the same word, and the fields are their names.

    Args:
        word: the word of all facts.
        body: the record.
        main: the field whose fact has no name, "" for none.
        without: fields to leave out.
    """
    facts: Facts = {}
    for field, value in as_mapping(body).items():
        if field not in without:
            facts[word, "" if field == main else field] = value
    return facts


def _describe_binding(body: object) -> dict[str, Any]:
    """Return where a task's input comes from."""
    binding = read_binding(body)
    source = _describe_source(binding.source)
    if binding.selector:
        source["selector"] = binding.selector
    return source


def _describe_source(source: Constant | FromInput | FromTask | FinalStatus) -> dict[str, Any]:
    match source:
        case FromInput(name):
            return {"input": name}
        case FromTask(task, output):
            return {"task": task, "output": output}
        case FinalStatus(task):
            return {"status_of": task}
        case Constant(value):
            return {"constant": value}


def _describe_producers(output: object) -> list[dict[str, Any]]:
    """Return the outputs of tasks that an output of a DAG may come from, in their order."""
    return [_describe_source(producer) for producer in read_producers(output)]


def _describe_definition(body: object) -> dict[str, Any]:
    """Return the description of a declared parameter or artifact.

    An example is `{"type": "NUMBER_DOUBLE", "default": 0.1, "optional": true}`.
    """
    fields = dict(as_mapping(body))
    fields |= as_mapping(fields.pop("artifactType", None))
    definition = {}
    for field, value in fields.items():
        definition[_DEFINITION_FIELDS.get(field, field)] = normalize_numbers(value)
    return definition


def _iterator_facts(body: object) -> Facts:
    """Return the facts of a loop. Its items are a JSON text, or an input: `{"input": name}`."""
    facts: Facts = {}
    for field, value in as_mapping(body).items():
        if field == "items":
            items = as_mapping(value)
            source = items.get("inputParameter", items.get("inputArtifact"))
            facts["iterator", "items"] = items.get("raw", {"input": source})
        else:
            facts["iterator", "item" if field == "itemInput" else field] = value
    return facts


def _container_facts(body: JsonObject) -> Facts:
    facts: Facts = {}
    for field, value in body.items():
        match field:
            case "image" | "command" | "args":
                facts[field, ""] = value
            case "env" if isinstance(value, list):
                for item in value:
                    variable = as_mapping(item)
                    facts["env", str(variable.get("name"))] = variable.get("value", "")
            case "resources":
                facts |= _named_facts("resource", value, without=("accelerator",))
                facts |= _named_facts("accelerator", as_mapping(value).get("accelerator"))
            case _:
                facts["other", field] = value
    function = read_lightweight({"container": body})
    if function is not None:
        packages = function.requirements + function.index_options
        facts["code", ""] = function.source
        facts["package", ""] = _mask_all(packages, packages)
        # The command installs the packages, so it also contains the URLs of the indexes.
        facts["command", ""] = _mask_all(body["command"][:-1], packages)
    return facts


def _mask_all(texts: Iterable[Any], sources: Collection[str]) -> list[str]:
    return [mask_credentials(str(text), sources) for text in texts]
