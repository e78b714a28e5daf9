"""Digest what a task is made from: its code, and its inputs as they are before it runs.

The key is the digest of the input parameters, the identities of the input artifacts, the declared
outputs, and the image, command and unresolved arguments (semantics.md, Caching). A custom
`cacheKey` replaces all of that except the component's name.

A text parameter that names a file of this machine counts with the file's size and time of change,
so that an edited file is read again: on the cloud a path names a bucket, here it names files that
people edit (decision 6). The same is true for an artifact. When it is a folder, all files in it
count.

Keys are in the databases of users. A change of what is digested, or of its form, makes all earlier
results useless.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any, Final

from kfgcp.engine.file_states import FileStates, TooManyFilesError
from kfgcp.engine.requirements import is_kfp
from kfgcp.engine.task_run import TaskRun
from kfgcp.spec.graph import Component, Container
from kfgcp.spec.lightweight import recognise

# Made once: a cached task needs eight digests, and `json.dumps` makes an encoder each time.
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def note_inputs(node: TaskRun, states: FileStates) -> None:
    """Record the inputs of a task as they are before it runs.

    Only digests are kept, because values may be large.

    Args:
        node: the task.
        states: gives the states of the files that its inputs name.
    """
    container = node.component.executor
    assert isinstance(container, Container)
    params = node.inputs.params
    node.made_from = {
        "params": {name: digest(value) for name, value in params.items()},
        "files": _parameter_files(node, states),
        "artifacts": _input_artifacts(node, states),
        "outputs": _declared_outputs(node.component),
        "image": container.image,
        "command": digest([container.command, container.args]),
    }
    mounts = container.cluster.mounts
    if mounts:
        node.made_from["volumes"] = digest([f"{mount.source} at {mount.path}" for mount in mounts])


def task_key(node: TaskRun) -> str:
    """Return the digest of a task's code and inputs, whatever its `cacheKey`."""
    return digest(node.made_from)


def key_parts(node: TaskRun) -> dict[str, Any]:
    """Return what the key of a task in the cache is made of."""
    assert node.task is not None
    if node.task.cache_key:
        return {"component": node.component.name, "key": node.task.cache_key}
    return node.made_from


def source_parts(node: TaskRun) -> dict[str, Any]:
    """Return digests of what a task's command is made of.

    They are not part of the key. They tell which part of the command is different.
    """
    container = node.component.executor
    assert isinstance(container, Container)
    function = recognise(container)
    if function is None or not node.made_from:
        return {}
    packages = [text for text in function.requirements if not is_kfp(text)]
    kfp = [text for text in function.requirements if is_kfp(text)]
    return {
        "source": digest([function.function, function.source]),
        "packages": digest([packages, function.index_options]),
        "kfp": digest(kfp),
    }


def has_unseen_inputs(node: TaskRun) -> bool:
    """Return whether changes in a task's inputs cannot be seen.

    A custom cache key does not depend on the inputs.
    """
    assert node.task is not None
    return bool(node.unseen_reason) and not node.task.cache_key


def digest(value: object) -> str:
    """Return the digest of a JSON value. The order of the keys in objects does not count."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


def _parameter_files(node: TaskRun, states: FileStates) -> dict[str, str]:
    """Return the states of the files that parameters name."""
    files: dict[str, str] = {}
    for name, value in node.inputs.params.items():
        state = states.parameter_state(value)
        if state:
            files[name] = state
    return files


def _input_artifacts(node: TaskRun, states: FileStates) -> dict[str, str]:
    """Return digests of the input artifacts and their files."""
    digests: dict[str, str] = {}
    node.unseen_reason = ""
    for name, items in node.inputs.artifacts.items():
        try:
            artifacts = [
                (item.identity, states.artifact_state(item.uri, node.ready_after)) for item in items
            ]
            digests[name] = digest(artifacts)
        except TooManyFilesError as problem:
            node.unseen_reason = str(problem)
            # Not equal to any other, so the task is never taken for an earlier one.
            digests[name] = uuid.uuid4().hex
    return digests


def _declared_outputs(component: Component) -> str:
    params = {name: declared.type for name, declared in component.output_params.items()}
    artifacts: dict[str, list[object]] = {}
    for name, declared_artifact in component.output_artifacts.items():
        artifacts[name] = [declared_artifact.type, dict(declared_artifact.metadata)]
    return digest([params, artifacts])
