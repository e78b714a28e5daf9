"""Caching of tasks: the key of what a task would be made from, and the outputs of an earlier success with that key.

The key is the digest of the input parameters, the identities of the input artifacts, the declared outputs, and the
image, command and unresolved arguments (semantics.md, Caching); a custom `cacheKey` replaces all of that but the
component's name. A text parameter that names a file of this machine counts with the file's size and time of change, so
that an edited file is read again: on the cloud a path names a bucket, here it names what people edit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Any

from kfgcp.engine import remote
from kfgcp.engine.nodes import Node
from kfgcp.engine.values import ArtifactValue, Values
from kfgcp.model import Cache
from kfgcp.spec.graph import Container
from kfgcp.store.rows import CacheEntry
from kfgcp.store.store import Store

_LONGEST_PATH = 4096
_ITERATION = re.compile(r"\[\d+\]")


class TaskCache:
    """The cache as one run sees it.

    Args:
        store: where entries are.
        pipeline: the runs of one pipeline name share their entries.
        run_id: the run that new entries belong to.
        override: True or False switches caching on or off for every task; None follows the spec.
    """

    def __init__(self, store: Store, pipeline: str, run_id: str, override: bool | None) -> None:
        self._store = store
        self._pipeline = pipeline
        self._run_id = run_id
        self._override = override

    def look_up(self, node: Node) -> Values | None:
        """The outputs of an earlier success, None when the task must run; `node.cache` says why."""
        assert node.task is not None
        enabled = node.task.cache if self._override is None else self._override
        if not enabled:
            by = "for this task" if self._override is None else "for this run"
            node.cache = Cache(False, f"caching is off {by}")
            return None
        if node.must_run:
            node.cache = Cache(False, "it, or a task it depends on, was asked to run again")
            return None
        parts = _parts(node)
        found = self._store.find_cached(self._pipeline, _digest(parts))
        if found is None or found.run_id == self._run_id:  # equal tasks of one run all run, whichever comes first
            node.cache = Cache(False, self._why_not(node, parts))
            return None
        if missing := gone(found.outputs):
            node.cache = Cache(False, f"the output of run {found.run_id} is gone: {missing}")
            return None
        node.cache = Cache(True, f"same code and inputs as in run {found.run_id}")
        return values_of(found.outputs)

    def entry(self, node: Node, at: str) -> CacheEntry | None:
        """What to keep of a success, None when caching is off for the task."""
        if node.cache is None or node.cache.reason.startswith("caching is off"):
            return None
        parts = _parts(node)
        key = _digest(parts)
        return CacheEntry(
            *(self._pipeline, key, _ITERATION.sub("", node.path), self._run_id, at),
            parts,
            kept(node.outputs),
        )

    def _why_not(self, node: Node, parts: Mapping[str, Any]) -> str:
        before = self._store.newest_cached(self._pipeline, _ITERATION.sub("", node.path))
        if before is None:
            return "no earlier success of this task"
        changed = [
            name
            for kind in ("params", "artifacts")
            for name in sorted({*parts.get(kind, {}), *before.parts.get(kind, {})})
            if parts.get(kind, {}).get(name) != before.parts.get(kind, {}).get(name)
        ]
        if changed:
            return f"inputs changed: {', '.join(changed)}"
        if parts.get("files") != before.parts.get("files"):
            return "a file that a parameter names has changed"
        if parts.get("key") != before.parts.get("key"):
            return "the cache key changed"
        if parts.get("volumes") != before.parts.get("volumes"):
            return "the volumes changed"
        if parts.get("image") != before.parts.get("image"):
            return "the image changed"
        return "the code of the component changed"


def note_inputs(node: Node, submit_dir: str) -> None:
    """Keeps what a task is made from, as it is before the task runs: digests, so that large values are not kept.

    Args:
        node: the task.
        submit_dir: where relative paths among its parameters lead from.
    """
    container = node.component.executor
    assert isinstance(container, Container)
    component = node.component
    node.made_from = {
        "params": {name: _digest(value) for name, value in node.inputs.params.items()},
        "files": {name: at for name, v in node.inputs.params.items() if (at := _state_of_file(v, submit_dir))},
        "artifacts": {
            name: _digest([(item.identity, _state_of_file(item.uri, submit_dir)) for item in items])
            for name, items in node.inputs.artifacts.items()
        },
        "outputs": _digest(
            [
                {name: declared.type for name, declared in component.output_params.items()},
                {name: [kind.type, dict(kind.metadata)] for name, kind in component.output_artifacts.items()},
            ]
        ),
        "image": container.image,
        "command": _digest([container.command, container.args]),
    }
    if container.cluster.mounts:
        node.made_from["volumes"] = _digest([f"{mount.source} at {mount.path}" for mount in container.cluster.mounts])


def key_of(node: Node) -> str:
    """The digest of a task's code and inputs, whatever its `cacheKey`."""
    return _digest(node.made_from)


def _parts(node: Node) -> dict[str, Any]:
    assert node.task is not None
    if node.task.cache_key:
        return {"component": node.component.name, "key": node.task.cache_key}
    return node.made_from


def _state_of_file(value: Any, submit_dir: str) -> str | None:
    """Size and time of change of the file that a parameter names, None when it names none."""
    if not isinstance(value, str) or not 0 < len(value) < _LONGEST_PATH or "\0" in value:
        return None
    try:
        found = Path(submit_dir, value.removeprefix("file://")).stat()
    except OSError:
        return None
    return f"{found.st_size} {found.st_mtime_ns}" if S_ISREG(found.st_mode) else None


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def kept(outputs: Values) -> dict[str, Any]:
    """Outputs as the store keeps them; `values_of` is the way back."""
    return {
        "params": dict(outputs.params),
        "artifacts": {name: [_artifact(item) for item in items] for name, items in outputs.artifacts.items()},
    }


def _artifact(item: ArtifactValue) -> dict[str, Any]:
    kept = {name: getattr(item, name) for name in ArtifactValue.__slots__}
    there = item.stored or (_local(item.uri) and os.path.exists(item.uri))
    return kept | {"metadata": dict(item.metadata), "stored": there}


def values_of(kept: Mapping[str, Any]) -> Values:
    """Outputs that the store kept."""
    return Values(
        kept["params"],
        {name: tuple(ArtifactValue(**item) for item in items) for name, items in kept["artifacts"].items()},
    )


def gone(kept: Mapping[str, Any]) -> str | None:
    """The first artifact that was stored and is not there any more, or cannot be reached."""
    uris = (item["uri"] for items in kept["artifacts"].values() for item in items if item["stored"])
    return next(
        (uri for uri in uris if not (remote.exists(uri) if remote.is_remote(uri) else os.path.exists(uri))), None
    )


def _local(uri: str) -> bool:
    return uri.startswith("/")
