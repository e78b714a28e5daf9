"""The version of a pipeline: a digest of its PipelineSpec, equal for files that mean the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, Final

from kfgcp.spec.json_values import JsonObject, normalize_numbers

# The version of the SDK that the KFP compiler writes into the pip command of a lightweight
# component: `'kfp==2.14.0' '--no-deps'`. No `--no-deps` follows a pin of the user.
_KFP_PIN: Final = re.compile(r"""(['"])kfp==[^'"\s]+\1(?=\s+(['"])--no-deps\2)""")

# In these fields of pipeline_spec.proto, an empty value and a missing field mean the same.
_INTERFACE_FIELDS: Final = ("parameters", "artifacts")
_COMPONENT_FIELDS: Final = ("inputDefinitions", "outputDefinitions")
_DAG_FIELDS: Final = ("outputs",)
_TASK_FIELDS: Final = ("cachingOptions", "inputs", "dependentTasks")
_CONTAINER_FIELDS: Final = ("command", "args", "env", "resources")


def digest(pipeline_spec: JsonObject) -> str:
    """Return `sha256:` and the hexadecimal digest of the canonical form of a PipelineSpec.

    These do not change the digest:

    - the order of keys, the style of the file, comments, and `2` instead of `2.0`;
    - the version of the SDK: `sdkVersion`, and the `kfp==` pin that the compiler writes into the
      shell prelude of a lightweight component. A pin in the packages to install, in source or in
      arguments counts, because the user asked for it;
    - the order of `dependentTasks`, which is a set;
    - empty mappings and lists in fields where a missing field means the same: a task's
      cachingOptions, inputs and dependentTasks, a component's input and output definitions, a DAG's
      outputs, a container's command, args, env and resources.

    Every other difference changes the digest, also an empty default or constant.

    Example:
        >>> first = digest({"sdkVersion": "kfp-2.14.0", "pipelineInfo": {"name": "hello"}})
        >>> second = digest({"pipelineInfo": {"name": "hello"}, "sdkVersion": "kfp-2.17.0"})
        >>> first == second
        True
    """
    text = canonical_json(normalize(pipeline_spec))
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def canonical_json(value: Any) -> str:
    """Return a JSON value as its canonical JSON text: sorted keys, no spaces, `1` instead of `1.0`.

    Raises:
        ValueError: the value holds a number that JSON cannot carry.

    Example:
        >>> canonical_json({"b": [1.0, 0.5, None], "a": "x"})
        '{"a":"x","b":[1,0.5,null]}'
    """
    return json.dumps(
        normalize_numbers(value),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


def normalize(spec: JsonObject) -> dict[str, Any]:
    """Return a copy of a PipelineSpec in which only the parts remain that `digest` counts."""
    normal = {key: value for key, value in spec.items() if key != "sdkVersion"}
    if isinstance(normal.get("root"), dict):
        normal["root"] = _normalize_component(normal["root"])
    components = normal.get("components")
    if isinstance(components, dict):
        normal["components"] = {
            name: _normalize_component(component) for name, component in components.items()
        }
    deployment = normal.get("deploymentSpec")
    if isinstance(deployment, dict) and isinstance(deployment.get("executors"), dict):
        executors = {
            label: _normalize_executor(executor)
            for label, executor in deployment["executors"].items()
        }
        normal["deploymentSpec"] = {**deployment, "executors": executors}
    return normal


def _normalize_component(component: Any) -> Any:
    if not isinstance(component, dict):
        return component
    normal = dict(component)
    for field in _COMPONENT_FIELDS:
        if field in normal:
            normal[field] = _without_empty(normal[field], _INTERFACE_FIELDS)
    normal = _without_empty(normal, _COMPONENT_FIELDS)
    if isinstance(normal.get("dag"), dict):
        normal["dag"] = _normalize_dag(normal["dag"])
    return normal


def _normalize_dag(dag: JsonObject) -> Any:
    normal = dict(dag)
    if "outputs" in normal:
        normal["outputs"] = _without_empty(normal["outputs"], _INTERFACE_FIELDS)
    tasks = normal.get("tasks")
    if isinstance(tasks, dict):
        normal["tasks"] = {key: _normalize_task(task) for key, task in tasks.items()}
    return _without_empty(normal, _DAG_FIELDS)


def _normalize_task(task: Any) -> Any:
    if not isinstance(task, dict):
        return task
    normal = dict(task)
    if "inputs" in normal:
        normal["inputs"] = _without_empty(normal["inputs"], _INTERFACE_FIELDS)
    if isinstance(normal.get("dependentTasks"), list):
        normal["dependentTasks"] = sorted(set(map(str, normal["dependentTasks"])))
    return _without_empty(normal, _TASK_FIELDS)


def _normalize_executor(executor: Any) -> Any:
    if not isinstance(executor, dict) or not isinstance(executor.get("container"), dict):
        return executor
    container = _without_empty(executor["container"], _CONTAINER_FIELDS)
    command = container.get("command")
    if isinstance(command, list) and _has_pip_prelude(command):
        command = list(command)
        command[2] = _KFP_PIN.sub(r"\1kfp\1", command[2])
        container["command"] = command
    return {**executor, "container": container}


def _has_pip_prelude(command: list[Any]) -> bool:
    """Return whether a command runs a lightweight component that installs packages.

    The KFP compiler writes `sh -c PRELUDE sh -ec SCRIPT SOURCE`. The prelude installs the packages,
    and the script runs KFP's executor.
    """
    if len(command) <= 3 or not all(isinstance(word, str) for word in command):
        return False
    has_prelude = command[:2] == ["sh", "-c"] and "pip install" in command[2]
    runs_executor = any("kfp.dsl.executor_main" in word for word in command[3:])
    return has_prelude and runs_executor


def _without_empty(body: Any, fields: Iterable[str]) -> Any:
    """Return a copy of a mapping without the named fields that hold an empty mapping or list."""
    if not isinstance(body, dict):
        return body
    empty = {field for field in fields if body.get(field) in ({}, [])}
    return {key: value for key, value in body.items() if key not in empty}
