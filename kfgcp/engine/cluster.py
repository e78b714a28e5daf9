"""What a cluster would give a task, and what stands in for it on this machine: variables and
folders of the user.

A secret or config map as variables is taken from the variables of that name in the user's
environment, a volume from the folder at the place where it would be mounted. What has no stand-in
fails the task before it starts; what cannot change a result is only named (semantics.md, Running a
task).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from kfgcp.semantics.values import ValueProblem
from kfgcp.spec.graph import Component, Container, Graph
from kfgcp.spec.lightweight import recognise
from kfgcp.spec.platform import WORKSPACE, ClusterConfig


def variables(config: ClusterConfig, *, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that stand in for what the cluster would set.

    Raises:
        ValueProblem: one that the task cannot do without is not set here.
    """
    environ = os.environ if environ is None else environ
    wanted = {name: each for each in config.variables for name in each.names}
    for name, each in wanted.items():
        if name not in environ and not each.optional:
            raise ValueProblem(
                f"{name} comes from the {each.source} on a cluster; here, set the variable {name}"
            )
    return {name: environ[name] for name in wanted if name in environ}


def folders(config: ClusterConfig, *, in_container: bool) -> dict[str, str]:
    """The folders of this machine that stand in for volumes: path in the task -> path here, `""`
    for an empty one.

    Raises:
        ValueProblem: one that the task cannot do without is not here. A container can be given an
            empty folder anywhere, a process sees this machine as it is.
    """
    found = {}
    for mount in config.mounts:
        if in_container and mount.scratch:
            found[mount.path] = ""
        elif os.path.exists(mount.path):
            found[mount.path] = mount.path
        elif not mount.optional:
            raise ValueProblem(
                f"{mount.path} is the {mount.source} on a cluster; here, make that folder"
            )
    return found


def notes(graph: Graph, pipeline: Mapping[str, str], *, all_in_containers: bool) -> Iterator[str]:
    """What tasks ask of a cluster and this machine does not give, or gives in another way: a line
    each.

    Args:
        graph: the pipeline.
        pipeline: what the pipeline as a whole asks for, `kfgcp.spec.platform.pipeline_settings`.
        all_in_containers: whether functions run in containers too.
    """
    unheeded: dict[str, list[str]] = {}
    for setting, word in pipeline.items():
        # A workspace is a folder here.
        if setting != WORKSPACE:
            unheeded.setdefault(word, []).append("the pipeline")
    for component in graph.components.values():
        container = component.executor
        if not isinstance(container, Container):
            continue
        contained = all_in_containers or recognise(container) is None
        for word in _unheeded(container, contained):
            unheeded.setdefault(word, []).append(_name(component))
        yield from _stand_ins(_name(component), container.cluster, contained)
    if unheeded:
        yield "not heeded on this machine: " + "; ".join(
            f"{word} of {', '.join(on)}" for word, on in unheeded.items()
        )


def _unheeded(container: Container, contained: bool) -> Iterator[str]:
    resources = container.resources
    if not contained and any("cpu" in key.lower() or "memory" in key.lower() for key in resources):
        yield "cpu and memory"
    accelerator = resources.get("accelerator")
    if isinstance(accelerator, Mapping) and accelerator:
        kind = accelerator.get("resourceType") or accelerator.get("type")
        yield f"accelerator {kind} x {accelerator.get('resourceCount') or accelerator.get('count')}"
    yield from container.cluster.placement


def _stand_ins(name: str, config: ClusterConfig, contained: bool) -> Iterator[str]:
    for each in config.variables:
        missing = [variable for variable in each.names if variable not in os.environ]
        if missing and not each.optional:
            yield (
                f"{name} will fail if it starts: {', '.join(missing)} of the {each.source} is not"
                " set here"
            )
        elif len(missing) < len(each.names):
            there = [variable for variable in each.names if variable not in missing]
            yield (
                f"{name} takes {', '.join(there)} from this environment, not from the {each.source}"
            )
    for mount in config.mounts:
        if contained and mount.scratch:
            continue
        if os.path.exists(mount.path):
            yield f"{name} takes {mount.path} of this machine for the {mount.source}"
        elif not mount.optional:
            yield f"{name} will fail if it starts: {mount.path} ({mount.source}) is not here"


def _name(component: Component) -> str:
    return component.name.removeprefix("comp-")
