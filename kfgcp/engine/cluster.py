"""Give a task what it would get from a cluster: secrets, config maps and volumes.

The variables of a secret or config map come from variables with the same names in the user's
environment. A volume is the folder of this machine at the path where the volume would be mounted. A
task fails before it starts when a variable or folder that it needs does not exist here. Settings
that cannot change a result are ignored, and a note names them (semantics.md, Running a task).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from kfgcp.engine.secrets import Secrets
from kfgcp.semantics.values import ValueProblem
from kfgcp.spec.graph import Component, Container, Graph
from kfgcp.spec.lightweight import recognise
from kfgcp.spec.platform import WORKSPACE, ClusterConfig, Variables


def variables(
    config: ClusterConfig,
    *,
    environ: Mapping[str, str] | None = None,
    known: Collection[str] = (),
) -> dict[str, str]:
    """Return the variables that a task would get from a cluster, with their values here.

    Args:
        config: the settings of the task for a cluster.
        environ: the environment of the user, None for the environment of this process.
        known: variables to leave out, because `kfgcp.engine.secrets` has their values.

    Raises:
        ValueProblem: a variable that is not optional is not set here.
    """
    environ = os.environ if environ is None else environ
    # When two settings have a variable of the same name, the last setting counts, as in a pod.
    declared: dict[str, Variables] = {}
    for variables_setting in config.variables:
        for name in variables_setting.names:
            if name not in known:
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
    """Return the folders of this machine that a task uses instead of volumes.

    Args:
        config: the settings of the task for a cluster.
        in_container: whether the task runs in a container. An empty folder can be mounted at any
            path of a container. A process sees the folders of this machine as they are.

    Returns:
        Path in the task -> path here, `""` for an empty folder.

    Raises:
        ValueProblem: the folder of a volume that is not optional does not exist here.
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


def notes(
    graph: Graph, pipeline: Mapping[str, str], secrets: Secrets, *, all_in_containers: bool
) -> Iterator[str]:
    """Yield notes for the user about settings that have another effect here than on a cluster.

    Each note is one line.

    Args:
        graph: the pipeline.
        pipeline: the settings of the pipeline as a whole, see
            `kfgcp.spec.platform.pipeline_settings`.
        secrets: the secrets whose places on this machine are known.
        all_in_containers: whether functions run in containers too.
    """
    # Setting -> the components that have it.
    ignored: dict[str, list[str]] = {}
    for key, setting in pipeline.items():
        # A workspace is not ignored: the tasks get a folder for it.
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
        yield from _variable_notes(name, container.cluster, secrets)
        yield from _mount_notes(name, container.cluster, in_container)
    yield from secrets.notes(graph)
    if ignored:
        phrases = [f"{setting} of {', '.join(names)}" for setting, names in ignored.items()]
        yield "ignored on this machine: " + "; ".join(phrases)


def _ignored_settings(container: Container, in_container: bool) -> Iterator[str]:
    """Yield the settings of a container that have no effect here, in the user's words."""
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


def _variable_notes(name: str, config: ClusterConfig, secrets: Secrets) -> Iterator[str]:
    covered = secrets.covers(config)
    for variable in config.variables:
        names = [key for key in variable.names if key not in covered]
        present = [key for key in names if key in os.environ]
        missing = [key for key in names if key not in os.environ]
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
