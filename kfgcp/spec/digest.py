"""The version of a pipeline: a digest of its PipelineSpec, equal for files that mean the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from kfgcp.spec.json_values import normalize_numbers

_KFP_PIN = re.compile(r"""(['"])kfp==[^'"\s]+\1(?=\s+(['"])--no-deps\2)""")


def digest(pipeline_spec: dict[str, Any]) -> str:
    """`sha256:` and the hexadecimal digest of the canonical form of a PipelineSpec.

    These do not change it: the order of keys, the style of the file, comments, `2` for `2.0`; the
    SDK's
        version, both
    `sdkVersion` and the `kfp==` pin that the compiler writes into the shell prelude of a
    lightweight component (and only there: a pin that the user asked for, in the packages to
    install, in source or in arguments, counts); the order of `dependentTasks`, which is a set; and
    empty mappings and lists in the fields where absent means the same: a task's cachingOptions,
    inputs and dependentTasks, a component's
        input and output definitions, a DAG's outputs,
    a container's command, args, env and resources. Everything else counts, an empty default or
    constant included.
    """
    return (
        "sha256:"
        + hashlib.sha256(
            canonical_json(normalize(pipeline_spec)).encode("utf-8", "surrogatepass")
        ).hexdigest()
    )


def canonical_json(value: Any) -> str:
    """The one JSON text of a JSON value: sorted keys, no spaces, integral numbers without a
    fraction.

    Raises:
        ValueError: the value holds a number that JSON cannot carry.
    """
    return json.dumps(
        normalize_numbers(value),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


def normalize(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A PipelineSpec without what does not count for its version, see `digest`; the given one stays
    as it is."""
    normalize = {key: value for key, value in spec.items() if key != "sdkVersion"}
    if isinstance(normalize.get("root"), dict):
        normalize["root"] = _component(normalize["root"])
    if isinstance(normalize.get("components"), dict):
        normalize["components"] = {
            name: _component(each) for name, each in normalize["components"].items()
        }
    deployment = normalize.get("deploymentSpec")
    if isinstance(deployment, dict) and isinstance(deployment.get("executors"), dict):
        executors = {name: _executor(each) for name, each in deployment["executors"].items()}
        normalize["deploymentSpec"] = {**deployment, "executors": executors}
    return normalize


def _component(component: Any) -> Any:
    if not isinstance(component, dict):
        return component
    component = dict(component)
    for field in ("inputDefinitions", "outputDefinitions"):
        if field in component:
            component[field] = _without_empty(component[field], ("parameters", "artifacts"))
    component = _without_empty(component, ("inputDefinitions", "outputDefinitions"))
    dag = component.get("dag")
    if isinstance(dag, dict):
        dag = dict(dag)
        if "outputs" in dag:
            dag["outputs"] = _without_empty(dag["outputs"], ("parameters", "artifacts"))
        if isinstance(dag.get("tasks"), dict):
            dag["tasks"] = {name: _task(task) for name, task in dag["tasks"].items()}
        component["dag"] = _without_empty(dag, ("outputs",))
    return component


def _task(task: Any) -> Any:
    if not isinstance(task, dict):
        return task
    task = dict(task)
    if "inputs" in task:
        task["inputs"] = _without_empty(task["inputs"], ("parameters", "artifacts"))
    if isinstance(task.get("dependentTasks"), list):
        task["dependentTasks"] = sorted(set(map(str, task["dependentTasks"])))
    return _without_empty(task, ("cachingOptions", "inputs", "dependentTasks"))


def _executor(executor: Any) -> Any:
    if not isinstance(executor, dict) or not isinstance(executor.get("container"), dict):
        return executor
    container = _without_empty(executor["container"], ("command", "args", "env", "resources"))
    command = container.get("command")
    if isinstance(command, list) and _is_lightweight(command):
        container["command"] = [*command[:2], _KFP_PIN.sub(r"\1kfp\1", command[2]), *command[3:]]
    return {**executor, "container": container}


def _is_lightweight(command: list[Any]) -> bool:
    """The command starts with a shell prelude that installs packages, and goes on to KFP's
    executor."""
    return (
        len(command) > 3
        and all(isinstance(part, str) for part in command)
        and command[:2] == ["sh", "-c"]
        and "pip install" in command[2]
        and any("kfp.dsl.executor_main" in part for part in command[3:])
    )


def _without_empty(mapping: Any, fields: Iterable[str]) -> Any:
    if not isinstance(mapping, dict):
        return mapping
    empty = {field for field in fields if mapping.get(field) in ({}, [])}
    return {key: value for key, value in mapping.items() if key not in empty}
