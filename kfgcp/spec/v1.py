"""What KFP 1 called things, and what to write today."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_COMPONENT = "decorate the function with @dsl.component"
_CONTAINER = (
    "write a function that returns dsl.ContainerSpec and decorate it with @dsl.container_component"
)
_KUBERNETES = "use the functions of kfp.kubernetes (package kfp-kubernetes) on the task"
_PLACEHOLDER = "use dsl.PIPELINE_JOB_ID_PLACEHOLDER"

# Dotted names; a name that ends in a dot stands for everything below it.
NAMES = {
    "kfp.dsl.ContainerOp": _CONTAINER,
    "kfp.dsl.BaseOp": _CONTAINER,
    "kfp.dsl.InitContainer": _CONTAINER,
    "kfp.dsl.Sidecar": _CONTAINER,
    "kfp.dsl.UserContainer": _CONTAINER,
    "kfp.dsl.ResourceOp": (
        "apply the manifest from inside a component, or use kfp.kubernetes where it can"
    ),
    "kfp.dsl.VolumeOp": (
        "use kubernetes.CreatePVC and kubernetes.mount_pvc (package kfp-kubernetes)"
    ),
    "kfp.dsl.VolumeSnapshotOp": "take the snapshot from inside a component",
    "kfp.dsl.PipelineVolume": "use kubernetes.mount_pvc (package kfp-kubernetes)",
    "kfp.dsl.PipelineParam": "use the pipeline function's arguments and task.output as they are",
    "kfp.dsl.PipelineConf": "use dsl.PipelineConfig, or set it on the tasks",
    "kfp.dsl.get_pipeline_conf": "use dsl.PipelineConfig, or set it on the tasks",
    "kfp.dsl.graph_component": (
        "decorate the function with @dsl.pipeline and call it inside another pipeline"
    ),
    "kfp.dsl.python_component": _COMPONENT,
    "kfp.dsl.RUN_ID_PLACEHOLDER": _PLACEHOLDER,
    "kfp.dsl.EXECUTION_ID_PLACEHOLDER": "use dsl.PIPELINE_TASK_ID_PLACEHOLDER",
    "kfp.components.func_to_container_op": _COMPONENT,
    "kfp.components.func_to_component_text": f"{_COMPONENT}, and compile it",
    "kfp.components.create_component_from_func": _COMPONENT,
    "kfp.components.create_component_from_func_v2": _COMPONENT,
    "kfp.components.create_component_from_airflow_op": (
        "call the operator inside a @dsl.component function"
    ),
    "kfp.components.create_graph_component_from_pipeline_func": (
        "call one @dsl.pipeline function in another"
    ),
    "kfp.components.InputPath": "use dsl.InputPath, or dsl.Input[dsl.Dataset]",
    "kfp.components.OutputPath": "use dsl.OutputPath, or dsl.Output[dsl.Dataset]",
    "kfp.components.InputBinaryFile": "use dsl.Input[dsl.Artifact] and open its path",
    "kfp.components.InputTextFile": "use dsl.Input[dsl.Artifact] and open its path",
    "kfp.components.OutputBinaryFile": "use dsl.Output[dsl.Artifact] and open its path",
    "kfp.components.OutputTextFile": "use dsl.Output[dsl.Artifact] and open its path",
    "kfp.components.ComponentStore": "use kfp.components.load_component_from_url",
    "kfp.components.func_to_component_file": f"{_COMPONENT}, and compile it",
    "kfp.gcp.": "give the rights to the run's service account, and set resources on the task",
    "kfp.aws.": _KUBERNETES,
    "kfp.azure.": _KUBERNETES,
    "kfp.onprem.": _KUBERNETES,
    "kfp.v2.google.": "submit the pipeline with kfgcp run --env ENV",
    "kfp.v2.": "import the same name from kfp: `from kfp import compiler, dsl`",
}

# Methods of a task.
METHODS = {
    "add_affinity": _KUBERNETES,
    "add_env_variable": "use task.set_env_variable(name, value)",
    "add_init_container": "do the work in a task of its own before",
    "add_node_selector": "use kubernetes.add_node_selector (package kfp-kubernetes)",
    "add_pod_annotation": "use kubernetes.add_pod_annotation (package kfp-kubernetes)",
    "add_pod_label": "use kubernetes.add_pod_label (package kfp-kubernetes)",
    "add_pvolumes": "use kubernetes.mount_pvc (package kfp-kubernetes)",
    "add_sidecar": "do the work in the component, or in a task of its own",
    "add_toleration": "use kubernetes.add_toleration (package kfp-kubernetes)",
    "add_volume": "use kubernetes.mount_pvc (package kfp-kubernetes)",
    "add_volume_mount": "use kubernetes.mount_pvc (package kfp-kubernetes)",
    "apply": "call the function that you apply on the task: " + _KUBERNETES,
    "container": (
        "set it on the task itself: task.set_cpu_limit('2'), task.set_env_variable(name, value)"
    ),
    "execution_options": "use task.set_caching_options(False)",
    "set_image_pull_policy": "use kubernetes.set_image_pull_policy (package kfp-kubernetes)",
    "set_timeout": "use kubernetes.set_timeout (package kfp-kubernetes)",
}


@dataclass(frozen=True)
class Use:
    """A use of KFP 1: the line, the name as the file has it, what to write today."""

    line: int
    name: str
    today: str


def find(source: str, error: BaseException, line: int | None) -> Use | None:
    """The use of KFP 1 that an error comes from, if it does.

    Args:
        source: the Python file.
        error: what importing or compiling it raised.
        line: the line of the file that raised it.
    """
    method = re.search(r"'PipelineTask' object has no attribute '(\w+)'", str(error))
    if method and method[1] in METHODS:
        return Use(line or 1, f"task.{method[1]}", METHODS[method[1]])
    if not isinstance(error, (AttributeError, ImportError, TypeError, NameError)):
        return None
    for use in _uses(source):
        last = use.name.rpartition(".")[2]
        if use.line == line or re.search(rf"'(?:[\w.]+\.)?{re.escape(last)}'", str(error)):
            return use
    return None


def _uses(source: str) -> Iterator[Use]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    names: dict[str, str] = {}
    found: list[Use] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                target = f"{node.module}.{alias.name}"
                names[alias.asname or alias.name] = target
                found += _lookup(target, node.lineno, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                found += _lookup(alias.name, node.lineno, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = _chain(node)
            head, _, rest = text.partition(".")
            if head in names:
                found += _lookup(f"{names[head]}.{rest}", node.end_lineno or node.lineno, text)
    yield from sorted(found, key=lambda use: use.line)


def _lookup(target: str, line: int, name: str) -> list[Use]:
    plain = target.replace("kfp.v2.", "kfp.", 1)
    for key, today in NAMES.items():
        if plain == key or (key.endswith(".") and f"{target}.".startswith(key)):
            return [Use(line, name, today)]
    return []


def _chain(node: ast.expr) -> str:
    """`a.b.c` for attributes of a name, otherwise empty."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed([*parts, node.id])) if isinstance(node, ast.Name) else ""
