"""Stand-ins for what a cluster would give a task: variables and folders of the user.

A secret or config map as variables is taken from the variables of that name in the user's
environment, a volume from the folder at the place where it would be mounted. A task without a
stand-in that it needs fails before it starts. Settings that cannot change a result are only named
(semantics.md, Running a task).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from kfgcp.semantics.values import ValueProblem
from kfgcp.spec.graph import Component, Container, Graph
from kfgcp.spec.lightweight import recognise
from kfgcp.spec.platform import WORKSPACE, ClusterConfig, Variables


def variables(config: ClusterConfig, *, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that stand in for those of a cluster.

    Args:
        config: what the task asks of a cluster.
        environ: the environment of the user, None for that of this process.

    Raises:
        ValueProblem: one that the task cannot do without is not set here.
    """
    environ = os.environ if environ is None else environ
    # When two settings give one name, the last one counts, as it does in a pod.
    declared: dict[str, Variables] = {}
    for variables_setting in config.variables:
        for name in variables_setting.names:
            declared[name] = variables_setting
    values: dict[str, str] = {}
    for name, setting in declared.items():
        if name in environ:
            values[name] = environ[name]
        elif not setting.optional:
            raise ValueProblem(
                f"{name} comes from the {setting.source} on a cluster; here, set the variable"
                f" {name}"
            )
    return values


def folders(config: ClusterConfig, *, in_container: bool) -> dict[str, str]:
    """Return the folders of this machine that stand in for volumes.

    Args:
        config: what the task asks of a cluster.
        in_container: a container can be given an empty folder anywhere. A process sees this machine
            as it is.

    Returns:
        Path in the task -> path here, `""` for an empty folder.

    Raises:
        ValueProblem: one that the task cannot do without is not here.
    """
    paths: dict[str, str] = {}
    for mount in config.mounts:
        if in_container and mount.scratch:
            paths[mount.path] = ""
        elif os.path.exists(mount.path):
            paths[mount.path] = mount.path
        elif not mount.optional:
            raise ValueProblem(
                f"{mount.path} is the {mount.source} on a cluster; here, make that folder"
            )
    return paths


def notes(graph: Graph, pipeline: Mapping[str, str], *, all_in_containers: bool) -> Iterator[str]:
    """Yield what tasks ask of a cluster that this machine lacks or gives in another way.

    Each is a line.

    Args:
        graph: the pipeline.
        pipeline: what the pipeline as a whole asks for, `kfgcp.spec.platform.pipeline_settings`.
        all_in_containers: whether functions run in containers too.
    """
    # Setting -> who asks for it.
    ignored: dict[str, list[str]] = {}
    for key, setting in pipeline.items():
        # A workspace is a folder here.
        if key != WORKSPACE:
            ignored.setdefault(setting, []).append("the pipeline")
    for component in graph.components.values():
        container = component.executor
        if not isinstance(container, Container):
            continue
        name = _short_name(component)
        in_container = all_in_containers or recognise(container) is None
        for setting in _ignored_settings(container, in_container):
            ignored.setdefault(setting, []).append(name)
        yield from _variable_notes(name, container.cluster)
        yield from _mount_notes(name, container.cluster, in_container)
    if ignored:
        phrases = [f"{setting} of {', '.join(names)}" for setting, names in ignored.items()]
        yield "ignored on this machine: " + "; ".join(phrases)


def _ignored_settings(container: Container, in_container: bool) -> Iterator[str]:
    resources = container.resources
    has_limits = any("cpu" in key.lower() or "memory" in key.lower() for key in resources)
    if has_limits and not in_container:
        yield "cpu and memory"
    accelerator = resources.get("accelerator")
    if isinstance(accelerator, Mapping) and accelerator:
        kind = accelerator.get("resourceType") or accelerator.get("type")
        count = accelerator.get("resourceCount") or accelerator.get("count")
        yield f"accelerator {kind} x {count}"
    yield from container.cluster.placement


def _variable_notes(name: str, config: ClusterConfig) -> Iterator[str]:
    for variable in config.variables:
        present = [text for text in variable.names if text in os.environ]
        missing = [text for text in variable.names if text not in os.environ]
        if missing and not variable.optional:
            yield (
                f"{name} will fail if it starts, because these variables of the {variable.source}"
                f" are not set on this machine: {', '.join(missing)}"
            )
        elif present:
            yield (
                f"{name} takes {', '.join(present)} from this environment, not from the"
                f" {variable.source}"
            )


def _mount_notes(name: str, config: ClusterConfig, in_container: bool) -> Iterator[str]:
    for mount in config.mounts:
        if in_container and mount.scratch:
            continue
        if os.path.exists(mount.path):
            yield f"{name} uses {mount.path} of this machine instead of the {mount.source}"
        elif not mount.optional:
            yield (
                f"{name} will fail if it starts: {mount.path} ({mount.source}) does not exist on"
                " this machine"
            )


def _short_name(component: Component) -> str:
    return component.name.removeprefix("comp-")
