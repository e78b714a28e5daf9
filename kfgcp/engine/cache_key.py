"""Compute the cache key of a task from its code and from its inputs before it runs.

The key is the digest of the input parameters, the identities of the input artifacts, the declared
outputs, and the image, command and unresolved arguments (semantics.md, Caching). With a custom
`cacheKey`, the key is the digest of the `cacheKey` and the component's name only.

A text parameter may name a file of this machine. On the cloud a path names a bucket, but here it
names a file that people edit (decision 6). So the key also includes the size of the file and the
time of its last change, and an edited file is read again. The same is true for an artifact. When
the artifact is a folder, all files in it count.

Users have keys in their databases. Any change in how this module computes a key makes all earlier
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

# A cached task needs eight digests, and `json.dumps` would make a new encoder for each of them.
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def digest_code_and_inputs(node: TaskRun, states: FileStates) -> None:
    """Set `node.digests` to the digests of a task's code and inputs.

    The engine calls this before the task runs, because the task may change its input files.

    Args:
        node: the task.
        states: the states of the files that the inputs of the task name.
    """
    container = node.component.executor
    assert isinstance(container, Container)
    params = node.inputs.params
    node.digests = {
        "params": {name: digest(value) for name, value in params.items()},
        "files": _parameter_files(node, states),
        "artifacts": _input_artifacts(node, states),
        "outputs": _declared_outputs(node.component),
        "image": container.image,
        "command": digest([container.command, container.args]),
    }
    mounts = container.cluster.mounts
    if mounts:
        node.digests["volumes"] = digest([f"{mount.source} at {mount.path}" for mount in mounts])


def task_key(node: TaskRun) -> str:
    """Return the digest of a task's code and inputs. A custom `cacheKey` has no effect on it."""
    return digest(node.digests)


def key_parts(node: TaskRun) -> dict[str, Any]:
    """Return the values from which the cache key of a task is computed."""
    assert node.task is not None
    if node.task.cache_key:
        return {"component": node.component.name, "key": node.task.cache_key}
    return node.digests


def source_parts(node: TaskRun) -> dict[str, Any]:
    """Return digests of the parts of a task's command, {} when it is not a lightweight component.

    They are not part of the key. When the command has changed, they show which part has changed.
    """
    container = node.component.executor
    assert isinstance(container, Container)
    function = recognise(container)
    if function is None or not node.digests:
        return {}
    packages = [text for text in function.requirements if not is_kfp(text)]
    kfp_pins = [text for text in function.requirements if is_kfp(text)]
    return {
        "source": digest([function.function, function.source]),
        "packages": digest([packages, function.index_options]),
        "kfp": digest(kfp_pins),
    }


def has_unseen_inputs(node: TaskRun) -> bool:
    """Return whether a task may have changed inputs that its key does not show.

    A custom cache key does not depend on the inputs, so this is False for it.
    """
    assert node.task is not None
    return bool(node.unseen_changes_reason) and not node.task.cache_key


def digest(value: object) -> str:
    """Return the digest of a JSON value. The order of the keys in objects does not matter."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


def _parameter_files(node: TaskRun, states: FileStates) -> dict[str, str]:
    """Return the states of the files that parameters name, by the names of the parameters."""
    files: dict[str, str] = {}
    for name, value in node.inputs.params.items():
        state = states.parameter_state(value)
        if state:
            files[name] = state
    return files


def _input_artifacts(node: TaskRun, states: FileStates) -> dict[str, str]:
    """Return the digests of the input artifacts and their files, by the names of the inputs.

    Also set `node.unseen_changes_reason`.
    """
    digests: dict[str, str] = {}
    node.unseen_changes_reason = ""
    for name, items in node.inputs.artifacts.items():
        artifacts: list[tuple[str, str | None]] = []
        try:
            for item in items:
                state = states.artifact_state(item.uri, node.ended_when_ready)
                artifacts.append((item.identity, state))
            digests[name] = digest(artifacts)
        except TooManyFilesError as problem:
            node.unseen_changes_reason = str(problem)
            # This is different from every other digest. So the task never uses an earlier result.
            digests[name] = uuid.uuid4().hex
    return digests


def _declared_outputs(component: Component) -> str:
    """Return the digest of the types of the outputs."""
    params = {name: declared.type for name, declared in component.output_params.items()}
    artifacts: dict[str, list[object]] = {}
    for name, declared_artifact in component.output_artifacts.items():
        artifacts[name] = [declared_artifact.type, dict(declared_artifact.metadata)]
    return digest([params, artifacts])
