"""Caching of tasks: the key of what a task would be made from, and the outputs of an earlier
success with that key.

The key is the digest of the input parameters, the identities of the input artifacts, the declared
outputs, and the image, command and unresolved arguments (semantics.md, Caching); a custom
`cacheKey` replaces all of that but the component's name. A text parameter that names a file of this
machine counts with the file's size and time of change, so that an edited file is read again: on the
cloud a path names a bucket, here it names what people edit. The same is true for an artifact. When
it is a folder, all files in it count.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kfgcp import file_uris
from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.engine.file_states import FileStates, TooManyFilesError
from kfgcp.engine.requirements import is_kfp
from kfgcp.engine.task_run import TaskRun
from kfgcp.model import Cache
from kfgcp.semantics.values import ArtifactValue, Values
from kfgcp.services.storage import objects
from kfgcp.services.storage.problems import StorageProblem
from kfgcp.services.storage.uris import is_bucket_uri
from kfgcp.spec.graph import Container
from kfgcp.spec.lightweight import recognise
from kfgcp.store.rows import CacheEntry, DeletedSuccess, Origin
from kfgcp.store.store import Store

_REMEMBERED = 1000
"""How many earlier successes of a task are read at most to say why it was not cached."""
_COMPARED = 20
"""How many of them a task is compared with at most when none of them had the same inputs."""
_TRIED = 100
"""At most this many successes with the same key are tried until one still has its files."""
SAME = "same code and inputs"
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
"""Made once, because a cached task needs eight digests and `json.dumps` makes an encoder each
time."""
_ITERATION = re.compile(r"\[\d+\]")


class TaskCache:
    """The cache as one run sees it.

    Args:
        store: where entries are.
        pipeline: the runs of one pipeline name share their entries.
        run_id: the run that new entries belong to.
        override: True or False switches caching on or off for every task; None follows the spec.
        buckets: where buckets are.
    """

    def __init__(
        self,
        store: Store,
        pipeline: str,
        run_id: str,
        override: bool | None,
        buckets: BucketSettings = DEFAULTS,
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._run_id = run_id
        self._override = override
        self._buckets = buckets
        self._earlier: dict[str, _Earlier] = {}  # by task
        self._own: set[str] = (
            set()
        )  # keys of this run's successes, which may not be in the store yet

    def look_up(self, node: TaskRun, lost: str | None = None) -> Values | None:
        """Return the outputs of an earlier success, None when the task must run; `node.cache` says
        why.

        The caller holds the `FileUse` lock until it has recorded that this run uses the outputs.

        Args:
            node: the task.
            lost: why the outputs of a run that this one repeats cannot be used, None when that is
                not the case.
        """
        if not self._enabled(node):
            by = "for this task" if self._override is None else "for this run"
            node.cache = Cache(False, f"caching is off {by}")
            return None
        if node.must_run:
            node.cache = Cache(False, "it, or a task it depends on, was asked to run again")
            return None
        if _is_unseen(node):
            node.cache = Cache(False, node.unseen)
            return None
        parts = _parts(node)
        key = _digest(parts)
        problem: str | None = None
        for entry in self._successes(key):
            unusable = why_unusable(
                entry.outputs, entry.known_run or entry.origin.run_id, self._buckets
            )
            if unusable is None:
                node.cache = Cache(True, f"{_likeness(node)} as in {_named(entry)}")
                node.origin = entry.origin
                return values_of(entry.outputs)
            problem = problem or unusable.reason
            if unusable.is_unreachable:  # each further request could take as long
                break
        if problem is None and self._has_own(key):
            # Equal tasks of one run all run, whichever comes first.
            which = (
                f"a task with the {_likeness(node)}"
                if node.task and node.task.cache_key
                else "an identical task"
            )
            problem = (
                f"only {which} of this run succeeded before, and tasks of one run do not share"
                " outputs"
            )
        problem = problem or lost or self._why_deleted(node, key) or self._why_not(node, parts)
        node.cache = Cache(False, problem)
        return None

    def _successes(self, key: str) -> Iterator[CacheEntry]:
        """Yield the successes of other runs with a key, the newest first."""
        entry: CacheEntry | None = None
        for _ in range(_TRIED):
            entry = self._store.find_cached(
                self._pipeline, key, other_than=self._run_id, older_than=entry
            )
            if entry is None:
                return
            yield entry

    def _has_own(self, key: str) -> bool:
        """Return whether a task of this run succeeded with a key, which may have been before an
        interruption."""
        if key in self._own:
            return True
        newest = self._store.find_cached(self._pipeline, key)
        return newest is not None and newest.origin.run_id == self._run_id

    def _enabled(self, node: TaskRun) -> bool:
        assert node.task is not None
        return node.task.cache if self._override is None else self._override

    def entry(self, node: TaskRun, at: str) -> CacheEntry | None:
        """Return what to keep of a success, None when no later task can use it."""
        if not self._enabled(node) or _is_unseen(node):
            return None
        parts = _parts(node)
        key = _digest(parts)
        self._own.add(key)
        outputs = kept(node.outputs)
        return CacheEntry(
            pipeline=self._pipeline,
            key=key,
            task=_task_name(node),
            origin=Origin(self._run_id, node.path, node.attempts),
            stored_at=at,
            parts=parts | _details(node),
            outputs=outputs,
            has_files=has_files(outputs),
        )

    def _why_deleted(self, node: TaskRun, key: str) -> str | None:
        """Return the reason when the run that had the same code and inputs was deleted."""
        deleted = self._store.find_deleted(self._pipeline, key)
        return None if deleted is None else why_deleted(deleted, _likeness(node))

    def _why_not(self, node: TaskRun, parts: Mapping[str, Any]) -> str:
        """What is different in the earlier success that differs least, the newest one of
        several."""
        task = _task_name(node)
        if task not in self._earlier:
            earlier = self._store.earlier_parts(self._pipeline, task, self._run_id, _REMEMBERED)
            self._earlier[task] = _Earlier(
                earlier[:_COMPARED], {_inputs_key(p): p for p in reversed(earlier)}
            )
        earlier = self._earlier[task].closest(parts)
        if not earlier:
            return "no earlier success of this task"
        now = {**parts, **_details(node)}
        differences = [_differences(before, now) for before in earlier]
        return min(differences, key=_Differences.count).text()


def _is_unseen(node: TaskRun) -> bool:
    """Return whether changes in a task's inputs cannot be seen. A custom cache key does not depend
    on the inputs."""
    assert node.task is not None
    return bool(node.unseen) and not node.task.cache_key


def _likeness(node: TaskRun) -> str:
    """Return what a task has in common with a success with the same key."""
    assert node.task is not None
    return "same cache key" if node.task.cache_key else SAME


def _named(entry: CacheEntry) -> str:
    return (
        f"run {entry.known_run}"
        if entry.known_run
        else f"run {entry.origin.run_id}, which was deleted"
    )


def why_deleted(success: DeletedSuccess, likeness: str = SAME) -> str:
    """Return why a task runs again: a run was deleted.

    Args:
        success: a success of the deleted run.
        likeness: what the task has in common with the success.
    """
    if success.had_files:
        return f"the files of run {success.run_id} were deleted with it"
    return f"run {success.run_id}, which had the {likeness}, was deleted"


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why outputs cannot be used. is_unreachable: they may exist, but their store does not
    answer."""

    reason: str
    is_unreachable: bool = False


@dataclass(frozen=True, slots=True)
class _Earlier:
    """Parts of a task's successes in other runs: the newest ones, newest first, and the newest of
    each inputs."""

    newest: list[dict[str, Any]]
    by_inputs: Mapping[str, dict[str, Any]]

    def closest(self, parts: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the success that had the same inputs, or else the newest ones: a loop has one for
        each item."""
        same = self.by_inputs.get(_inputs_key(parts))
        return self.newest if same is None else [same]


def _inputs_key(parts: Mapping[str, Any]) -> str:
    return _digest(
        [parts.get("params"), parts.get("artifacts"), parts.get("files"), parts.get("component")]
    )


@dataclass(frozen=True, slots=True)
class _Differences:
    """What is different in two successes. inputs: names of parameters and artifacts; others: what
    else, in words."""

    inputs: tuple[str, ...]
    others: tuple[str, ...]

    def count(self) -> int:
        return len(self.inputs) + len(self.others)

    def text(self) -> str:
        reasons = [f"inputs changed: {', '.join(self.inputs)}"] if self.inputs else []
        return (
            "; ".join([*reasons, *self.others])
            or "no earlier success with the same code and inputs"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> _Differences:
    if before.get("key") != now.get("key"):
        return _Differences((), ("the cache key changed",))
    params = _changed_names(before, now, "params")
    files = set(_changed_names(before, now, "files")) - set(params)
    others = ["a file that a parameter names has changed"] if files else []
    if before.get("component") != now.get("component"):
        others.append("the name of the component changed")
    if before.get("volumes") != now.get("volumes"):
        others.append("the volumes changed")
    if before.get("image") != now.get("image"):
        others.append("the image changed")
    if before.get("command") != now.get("command"):
        others.append(_command_difference(before, now))
    elif before.get("outputs") != now.get("outputs"):
        others.append("the code of the component changed")
    return _Differences((*params, *_changed_names(before, now, "artifacts")), tuple(others))


def _changed_names(before: Mapping[str, Any], now: Mapping[str, Any], kind: str) -> list[str]:
    old, new = before.get(kind, {}), now.get(kind, {})
    return [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def _command_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Why the command is another one: KFP writes the packages and its own version beside the user's
    code."""
    if "source" in before and before["source"] == now.get("source"):
        if before["packages"] != now["packages"]:
            return "packages_to_install changed"
        if before["kfp"] != now["kfp"]:
            return "another version of kfp compiled the component"
    return "the code of the component changed"


def _details(node: TaskRun) -> dict[str, Any]:
    """What a command is made of, for reasons: digests that are no part of the key."""
    container = node.component.executor
    assert isinstance(container, Container)
    function = recognise(container)
    if function is None or not node.made_from:
        return {}
    packages = [text for text in function.requirements if not is_kfp(text)]
    pins = [text for text in function.requirements if is_kfp(text)]
    return {
        "source": _digest([function.function, function.source]),
        "packages": _digest([packages, function.index_options]),
        "kfp": _digest(pins),
    }


def _task_name(node: TaskRun) -> str:
    """The path of a task without the numbers of iterations."""
    return _ITERATION.sub("", node.path)


def note_inputs(node: TaskRun, states: FileStates) -> None:
    """Record the inputs of a task as they are before it runs. Digests are kept, because values may
    be large.

    Args:
        node: the task.
        states: gives the states of the files that its inputs name.
    """
    container = node.component.executor
    assert isinstance(container, Container)
    component = node.component
    artifacts = {}
    node.unseen = ""
    for name, items in node.inputs.artifacts.items():
        try:
            looks = [
                (item.identity, states.of_artifact(item.uri, node.ready_after)) for item in items
            ]
            artifacts[name] = _digest(looks)
        except TooManyFilesError as problem:
            node.unseen = str(problem)
            artifacts[name] = uuid.uuid4().hex  # equal to no other
    node.made_from = {
        "params": {name: _digest(value) for name, value in node.inputs.params.items()},
        "files": {
            name: at for name, v in node.inputs.params.items() if (at := states.of_parameter(v))
        },
        "artifacts": artifacts,
        "outputs": _digest(
            [
                {name: declared.type for name, declared in component.output_params.items()},
                {
                    name: [kind.type, dict(kind.metadata)]
                    for name, kind in component.output_artifacts.items()
                },
            ]
        ),
        "image": container.image,
        "command": _digest([container.command, container.args]),
    }
    if container.cluster.mounts:
        node.made_from["volumes"] = _digest(
            [f"{mount.source} at {mount.path}" for mount in container.cluster.mounts]
        )


def key_of(node: TaskRun) -> str:
    """The digest of a task's code and inputs, whatever its `cacheKey`."""
    return _digest(node.made_from)


def _parts(node: TaskRun) -> dict[str, Any]:
    assert node.task is not None
    if node.task.cache_key:
        return {"component": node.component.name, "key": node.task.cache_key}
    return node.made_from


def _digest(value: Any) -> str:
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


def kept(outputs: Values) -> dict[str, Any]:
    """Outputs as the store keeps them; `values_of` is the way back."""
    return {
        "params": dict(outputs.params),
        "artifacts": {
            name: [_artifact(item) for item in items] for name, items in outputs.artifacts.items()
        },
    }


def _artifact(item: ArtifactValue) -> dict[str, Any]:
    kept = {name: getattr(item, name) for name in ArtifactValue.__slots__}
    path = _local_path(item.uri)
    stored = item.stored or (path is not None and os.path.exists(path))
    return kept | {"metadata": dict(item.metadata), "stored": stored}


def values_of(kept: Mapping[str, Any]) -> Values:
    """Outputs that the store kept."""
    return Values(
        kept["params"],
        {
            name: tuple(ArtifactValue(**item) for item in items)
            for name, items in kept["artifacts"].items()
        },
    )


def has_files(outputs: Mapping[str, Any]) -> bool:
    """Return whether outputs, in the form that the store keeps, contain files."""
    return any(item["stored"] for items in outputs["artifacts"].values() for item in items)


def why_unusable(
    outputs: Mapping[str, Any], run_id: str, buckets: BucketSettings = DEFAULTS
) -> Unusable | None:
    """Return why the stored artifacts among outputs cannot be used, None when all of them are
    there.

    Args:
        outputs: in the form that the store keeps.
        run_id: the run that they are from.
        buckets: where buckets are.
    """
    for items in outputs["artifacts"].values():
        for item in items:
            uri = item["uri"]
            try:
                there = not item["stored"] or _exists(uri, buckets)
            except StorageProblem as problem:
                return Unusable(
                    f"the files of run {run_id} cannot be reached: {problem}", is_unreachable=True
                )
            if not there:
                return Unusable(f"the files of run {run_id} were deleted")
    return None


def deleted_files(kept: Mapping[str, Any]) -> list[str]:
    """Return the paths on this machine where an artifact was stored and nothing exists any more."""
    items = [item for items in kept["artifacts"].values() for item in items]
    paths = [_local_path(item["uri"]) for item in items if item["stored"]]
    return [path for path in paths if path is not None and not os.path.exists(path)]


def _exists(uri: str, buckets: BucketSettings) -> bool:
    return (
        objects.exists(uri, buckets)
        if is_bucket_uri(uri)
        else os.path.exists(file_uris.to_path(uri))
    )


def _local_path(uri: str) -> str | None:
    """Return the path on this machine that a URI means, None when it means something else."""
    path = file_uris.to_path(uri)
    return path if path.startswith("/") else None
