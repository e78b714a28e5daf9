"""What a task of a PipelineSpec is, as flat facts that can be compared one by one.

A fact has a word of `WORDS` and a name: `("input", "lr")`, `("env", "HOME")`, `("image", "")`. Its
value is plain JSON. Where a value comes from is `{"constant": …}`, `{"input": name}` of the DAG
around the task, `{"task": key, "output": name}`, or `{"status_of": key}`; a CEL expression applied
to it is under `selector`. What has no word of its own is a fact too, `("other", field)`, so that
nothing is lost. The fields are those of the PipelineSpec proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kfgcp.spec.credentials import mask_credentials
from kfgcp.spec.json_values import normalize_numbers
from kfgcp.spec.lightweight import Lightweight, recognise
from kfgcp.spec.records import Constant, Container, FinalStatus, FromInput, FromTask
from kfgcp.spec.wire import (
    as_mapping,
    read_binding,
    read_executor,
    read_producers,
    read_value,
)

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
"""What can be told of a task or a pipeline, in the order in which it is told."""

Facts = dict[tuple[str, str], Any]


def of_pipeline(spec: Mapping[str, Any]) -> Facts:
    """What a pipeline says beside its tasks, its parameters and its outputs."""
    words = {"schemaVersion": "schema", "defaultPipelineRoot": "pipeline root"}
    facts: Facts = {}
    for field, value in spec.items():
        if field == "pipelineInfo":
            known = {"name": "name", "description": "description"}
            facts |= {
                (known.get(key, "other"), "" if key in known else key): each
                for key, each in _items(value)
            }
        elif field == "deploymentSpec":
            facts |= {("other", key): each for key, each in _items(value) if key != "executors"}
        elif field not in ("root", "components"):
            facts[(words[field], "") if field in words else ("other", field)] = value
    return facts


def of_task(key: str, task: Mapping[str, Any]) -> Facts:
    """What a DAG says of one of its tasks; its name counts where it is not the key."""
    facts: Facts = {}
    for field, value in task.items():
        match field:
            case "componentRef":
                facts |= {("other", name): each for name, each in _items(value) if name != "name"}
            case "taskInfo":
                words = {"name": ("name", "")}
                facts |= {
                    words.get(name, ("other", name)): each
                    for name, each in _items(value)
                    if each != key
                }
            case "inputs":
                facts |= {
                    ("input", name): _source(each)
                    for _, group in _items(value)
                    for name, each in _items(group)
                }
            case "dependentTasks":
                facts["dependency", ""] = value
            case "triggerPolicy":
                words = {"condition": ("condition", ""), "strategy": ("trigger", "")}
                facts |= {words.get(name, ("other", name)): each for name, each in _items(value)}
            case "parameterIterator" | "artifactIterator":
                facts |= _iterator(value)
            case "iteratorPolicy":
                facts |= _group("parallelism", value, "parallelismLimit")
            case "retryPolicy":
                facts |= _group("retry", value)
            case "cachingOptions":
                facts |= _group("caching", value, "enableCache")
            case _:
                facts["other", field] = value
    return facts


def of_component(component: Mapping[str, Any]) -> Facts:
    """The interface of a component; of a DAG also where its outputs come from. Its tasks are not
    looked at."""
    facts: Facts = {}
    outputs: dict[str, dict[str, Any]] = {}
    for field, value in component.items():
        match field:
            case "executorLabel":
                pass
            case "inputDefinitions":
                for group, definitions in _items(value):
                    word = {"parameters": "parameter", "artifacts": "artifact"}.get(group, "other")
                    facts |= {(word, name): _definition(each) for name, each in _items(definitions)}
            case "outputDefinitions":
                for _, definitions in _items(value):
                    for name, each in _items(definitions):
                        outputs.setdefault(name, {}).update(_definition(each))
            case "dag":
                facts |= {
                    ("other", key): each
                    for key, each in _items(value)
                    if key not in ("tasks", "outputs")
                }
                for _, group in _items(as_mapping(value).get("outputs")):
                    for name, each in _items(group):
                        outputs.setdefault(name, {})["from"] = _producers(each)
            case _:
                facts["other", field] = value
    return facts | {("output", name): each for name, each in outputs.items()}


def of_executor(executor: Mapping[str, Any]) -> Facts:
    """What an executor runs; the source of a lightweight component and its packages stand apart
    from the command."""
    facts: Facts = {}
    for kind, body in executor.items():
        if kind == "container":
            facts |= _container(as_mapping(body))
        elif kind == "importer":
            facts |= {
                ("importer", field): _origin(read_value(value)) if field == "artifactUri" else value
                for field, value in _items(body)
            }
        else:
            facts["executor", kind] = body
    return facts


def lightweight(executor: Mapping[str, Any]) -> Lightweight | None:
    """The Python function that an executor runs, None when it runs anything else."""
    container = read_executor(executor)
    return recognise(container) if isinstance(container, Container) else None


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    yield from as_mapping(value).items()


def _group(word: str, value: Any, main: str = "") -> Facts:
    """The fields of a record under one word; the main one needs no name."""
    return {(word, "" if name == main else name): each for name, each in _items(value)}


def _source(body: Any) -> dict[str, Any]:
    """Return where a task's input comes from."""
    binding = read_binding(body)
    source = _origin(binding.source)
    if binding.selector:
        source["selector"] = binding.selector
    return source


def _origin(source: Constant | FromInput | FromTask | FinalStatus) -> dict[str, Any]:
    match source:
        case FromInput(name):
            return {"input": name}
        case FromTask(task, output):
            return {"task": task, "output": output}
        case FinalStatus(task):
            return {"status_of": task}
        case Constant(value):
            return {"constant": value}


def _producers(output: Any) -> list[dict[str, Any]]:
    """Return the tasks that may have an output of a DAG, the first that ran counts."""
    return [_origin(producer) for producer in read_producers(output)]


_SHORTER = {
    "parameterType": "type",
    "defaultValue": "default",
    "isOptional": "optional",
    "isArtifactList": "list",
    "schemaTitle": "type",
    "schemaVersion": "version",
}


def _definition(body: Any) -> dict[str, Any]:
    """A parameter or artifact of a component: `{"type": "NUMBER_DOUBLE", "default": 0.1,
    "optional": true}`."""
    flat = {key: value for key, value in _items(body) if key != "artifactType"}
    flat |= as_mapping(as_mapping(body).get("artifactType"))
    return {_SHORTER.get(key, key): normalize_numbers(value) for key, value in flat.items()}


def _iterator(body: Any) -> Facts:
    """What a loop goes over: the JSON text of its items, or an input of the task."""
    facts: Facts = {}
    for field, value in _items(body):
        if field == "items":
            items = as_mapping(value)
            facts["iterator", "items"] = items.get(
                "raw", {"input": items.get("inputParameter", items.get("inputArtifact"))}
            )
        else:
            facts["iterator", "item" if field == "itemInput" else field] = value
    return facts


def _container(body: Mapping[str, Any]) -> Facts:
    facts: Facts = {}
    for field, value in body.items():
        match field:
            case "image" | "command" | "args":
                facts[field, ""] = value
            case "env" if isinstance(value, list):
                facts |= {
                    ("env", str(as_mapping(pair).get("name"))): as_mapping(pair).get("value", "")
                    for pair in value
                }
            case "resources":
                facts |= {
                    ("resource", key): each for key, each in _items(value) if key != "accelerator"
                }
                facts |= {
                    ("accelerator", key): each
                    for key, each in _items(as_mapping(value).get("accelerator"))
                }
            case _:
                facts["other", field] = value
    if function := lightweight({"container": body}):
        facts["code", ""] = function.source
        packages = [*function.requirements, *function.index_options]
        facts["package", ""] = [mask_credentials(text, packages) for text in packages]
        # The command installs the packages, so it contains the addresses of indexes too.
        facts["command", ""] = [
            mask_credentials(str(part), packages) for part in body["command"][:-1]
        ]
    return facts
