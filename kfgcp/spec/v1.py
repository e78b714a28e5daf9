"""Find names of KFP 1 in a user's file, and say what KFP 2 has instead.

The names come from the KFP SDK 1.8. Many examples on the web still use them.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Final

_COMPONENT = "decorate the function with @dsl.component"
_CONTAINER = (
    "write a function that returns dsl.ContainerSpec and decorate it with @dsl.container_component"
)
_KUBERNETES = "use the functions of kfp.kubernetes (package kfp-kubernetes) on the task"
_PLACEHOLDER = "use dsl.PIPELINE_JOB_ID_PLACEHOLDER"

# Dotted name of KFP 1 -> what to do in KFP 2. A name that ends in a dot stands for all names that
# begin with it. The first match counts, so `kfp.v2.google.` comes before `kfp.v2.`.
NAMES: Final = {
    "kfp.dsl.ContainerOp": _CONTAINER,
    "kfp.dsl.BaseOp": _CONTAINER,
    "kfp.dsl.InitContainer": _CONTAINER,
    "kfp.dsl.Sidecar": _CONTAINER,
    "kfp.dsl.UserContainer": _CONTAINER,
    "kfp.dsl.ResourceOp": (
        "apply the manifest from inside a component, or use a function of kfp.kubernetes for it"
    ),
    "kfp.dsl.VolumeOp": (
        "use kubernetes.CreatePVC and kubernetes.mount_pvc (package kfp-kubernetes)"
    ),
    "kfp.dsl.VolumeSnapshotOp": "take the snapshot from inside a component",
    "kfp.dsl.PipelineVolume": "use kubernetes.mount_pvc (package kfp-kubernetes)",
    "kfp.dsl.PipelineParam": "use the arguments of the pipeline function and task.output directly",
    "kfp.dsl.PipelineConf": "use dsl.PipelineConfig, or set the value on the tasks",
    "kfp.dsl.get_pipeline_conf": "use dsl.PipelineConfig, or set the value on the tasks",
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
    "kfp.gcp.": (
        "give the permissions to the service account of the run, and set resources on the task"
    ),
    "kfp.aws.": _KUBERNETES,
    "kfp.azure.": _KUBERNETES,
    "kfp.onprem.": _KUBERNETES,
    "kfp.v2.google.": "submit the pipeline with kfgcp run --env ENV",
    "kfp.v2.": "import the same name from kfp: `from kfp import compiler, dsl`",
}

# Method of a task in KFP 1 -> what to do in KFP 2.
METHODS: Final = {
    "add_affinity": _KUBERNETES,
    "add_env_variable": "use task.set_env_variable(name, value)",
    "add_init_container": "do the work in a separate task that runs before",
    "add_node_selector": "use kubernetes.add_node_selector (package kfp-kubernetes)",
    "add_pod_annotation": "use kubernetes.add_pod_annotation (package kfp-kubernetes)",
    "add_pod_label": "use kubernetes.add_pod_label (package kfp-kubernetes)",
    "add_pvolumes": "use kubernetes.mount_pvc (package kfp-kubernetes)",
    "add_sidecar": "do the work in the component, or in a separate task",
    "add_toleration": "use kubernetes.add_toleration (package kfp-kubernetes)",
    "add_volume": "use kubernetes.mount_pvc (package kfp-kubernetes)",
    "add_volume_mount": "use kubernetes.mount_pvc (package kfp-kubernetes)",
    "apply": "instead of .apply(f), " + _KUBERNETES,
    "container": (
        "set it on the task itself: task.set_cpu_limit('2'), task.set_env_variable(name, value)"
    ),
    "execution_options": "use task.set_caching_options(False)",
    "set_image_pull_policy": "use kubernetes.set_image_pull_policy (package kfp-kubernetes)",
    "set_timeout": "use kubernetes.set_timeout (package kfp-kubernetes)",
}


@dataclass(frozen=True)
class Use:
    """A use of KFP 1.

    Attributes:
        line: the line in the file, from 1.
        name: the name as the file has it.
        replacement: what to write in KFP 2.
    """

    line: int
    name: str
    replacement: str


def find(source: str, error: BaseException, line: int | None) -> Use | None:
    """Return the use of KFP 1 that caused an error, None for another cause.

    Args:
        source: the Python file.
        error: what importing or compiling it raised.
        line: the line of the file that raised it.

    Example:
        >>> source = "from kfp import dsl\\nop = dsl.ContainerOp(name='a')\\n"
        >>> error = AttributeError("module 'kfp.dsl' has no attribute 'ContainerOp'")
        >>> use = find(source, error, line=2)
        >>> use.line, use.name
        (2, 'dsl.ContainerOp')
    """
    method = re.search(r"'PipelineTask' object has no attribute '(\w+)'", str(error))
    if method is not None and method[1] in METHODS:
        return Use(line or 1, f"task.{method[1]}", METHODS[method[1]])
    # Other errors do not come from a name that is missing.
    if not isinstance(error, (AttributeError, ImportError, TypeError, NameError)):
        return None
    for use in _find_uses(source):
        last_part = use.name.rpartition(".")[2]
        is_named = re.search(rf"'(?:[\w.]+\.)?{re.escape(last_part)}'", str(error))
        if use.line == line or is_named:
            return use
    return None


def _find_uses(source: str) -> list[Use]:
    """Return the uses of KFP 1 in a file, by line."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    # The names that imports define, and the dotted names that they stand for.
    imported: dict[str, str] = {}
    uses: list[Use] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                target = f"{node.module}.{alias.name}"
                imported[alias.asname or alias.name] = target
                uses += _look_up(target, node.lineno, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                # `import a.b` defines `a`, and `import a.b as c` defines `c` for a.b.
                top = alias.name.partition(".")[0]
                if alias.asname:
                    imported[alias.asname] = alias.name
                else:
                    imported[top] = top
                uses += _look_up(alias.name, node.lineno, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = _dotted_name(node)
            head, _, rest = name.partition(".")
            if head in imported:
                line = node.end_lineno or node.lineno
                uses += _look_up(f"{imported[head]}.{rest}", line, name)
    return sorted(uses, key=lambda use: use.line)


def _look_up(target: str, line: int, name: str) -> list[Use]:
    """Return the use of a dotted name, [] when it is not a name of KFP 1.

    Args:
        target: the dotted name, `kfp.dsl.ContainerOp` for example.
        line: the line in the file.
        name: the name as the file has it.
    """
    # kfp.v2.dsl of KFP 1.8 had the names of kfp.dsl.
    without_v2 = target.replace("kfp.v2.", "kfp.", 1)
    for key, replacement in NAMES.items():
        is_below = key.endswith(".") and f"{target}.".startswith(key)
        if without_v2 == key or is_below:
            return [Use(line, name, replacement)]
    return []


def _dotted_name(node: ast.expr) -> str:
    """Return `a.b.c` for attributes of a name, "" for attributes of anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    parts.append(node.id)
    return ".".join(reversed(parts))
