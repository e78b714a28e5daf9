"""Give a task what it would get from a cluster: secrets, config maps and volumes.

The variables of a secret or config map come from variables with the same names in the user's
environment. A volume is the folder of this machine at the path where the volume would be mounted. A
task fails before it starts when a variable or folder that it needs does not exist here
(semantics.md, Running a task). The rules of the local backend name what the engine ignores.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping

from kfgcp.engine.secrets import Secrets
from kfgcp.semantics.values import ValueProblem
from kfgcp.spec.graph import Container, Graph
from kfgcp.spec.lightweight import recognise
from kfgcp.spec.platform import ClusterConfig, Variables


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
                f"the environment variable {name} is not set: on a cluster, it comes from the"
                f" {setting.source}; on this machine, set it in your shell"
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
                f"the folder {mount.path} does not exist: on a cluster, it is the {mount.source};"
                " on this machine, create the folder"
            )
    return paths


def missing(graph: Graph, secrets: Secrets, *, all_in_containers: bool) -> Iterator[str]:
    """Yield a line for each variable or folder that a task needs and this machine does not have.

    Args:
        graph: the pipeline.
        secrets: the secrets whose places on this machine are known.
        all_in_containers: whether functions run in containers too.
    """
    for component in graph.components.values():
        container = component.executor
        if not isinstance(container, Container):
            continue
        name = component.name.removeprefix("comp-")
        in_container = all_in_containers or recognise(container) is None
        yield from _missing_variables(name, container.cluster, secrets)
        yield from _missing_folders(name, container.cluster, in_container)
    yield from secrets.notes(graph)


def _missing_variables(name: str, config: ClusterConfig, secrets: Secrets) -> Iterator[str]:
    covered = secrets.covers(config)
    for variable in config.variables:
        names = [key for key in variable.names if key not in covered]
        unset_names = [key for key in names if key not in os.environ]
        if unset_names and not variable.optional:
            yield (
                f"component {name} will fail if it starts, because these variables of the"
                f" {variable.source} are not set on this machine: {', '.join(unset_names)}"
            )


def _missing_folders(name: str, config: ClusterConfig, in_container: bool) -> Iterator[str]:
    for mount in config.mounts:
        if mount.optional or (in_container and mount.scratch) or os.path.exists(mount.path):
            continue
        yield (
            f"component {name} will fail if it starts: {mount.path} ({mount.source}) does not exist"
            " on this machine"
        )
