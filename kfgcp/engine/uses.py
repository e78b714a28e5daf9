"""Find the attempts of other runs whose files a run uses.

The store records these uses. A deletion of the other run then keeps the files that are still used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from kfgcp import file_uris
from kfgcp.engine.layout import attempt_folder
from kfgcp.engine.task_run import TaskRun
from kfgcp.model import TaskKind
from kfgcp.semantics.values import ArtifactValue
from kfgcp.store.rows import Origin, Use
from kfgcp.store.store import Store

# The pattern does not contain the state folder, because the state folder may have been moved, or a
# path may lead to it through a link.
_RUN_FOLDER: Final = re.compile(r"/artifacts/[^/]+/([0-9a-f]{12})(?=/|$)")
_RUN_ID: Final = re.compile(r"[0-9a-f]{12}")


class Uses:
    """The uses of files of other runs by the tasks of one run.

    A task uses all outputs of an attempt when it takes them from the cache. It uses a single
    artifact of another run when it imports the artifact, receives it as an input, or reports it as
    its own output. When the artifact is a folder that contains the folders of attempts, the task
    uses all these attempts.

    Args:
        store: the store, which has the attempts of other runs.
        run_id: the run.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._recorded: set[Origin] = set()
        self._artifacts_folder = os.path.realpath(store.file.parent / "artifacts")
        # Run id -> folder of an attempt, relative to the folder of the run -> the attempt.
        self._attempts_by_run: dict[str, dict[str, Origin]] = {}
        # The ids of the runs whose attempts were read from the store.
        self._complete_runs: set[str] = set()
        # Path -> the attempts of other runs at this path. A path in a folder of this run has no
        # entry.
        self._attempts_by_path: dict[str, Sequence[Origin]] = {}

    def root_uses(self, artifacts: Mapping[str, Sequence[ArtifactValue]]) -> Iterator[Use]:
        """Yield the uses by the input artifacts of the run itself, even if no task reads them."""
        return self._new_uses("", artifacts)

    def task_uses(self, node: TaskRun) -> Iterator[Use]:
        """Yield the uses by a task, except those that an earlier task of the run already has.

        The use of `node.origin` is always yielded.
        """
        if node.kind not in (TaskKind.CONTAINER, TaskKind.IMPORTER):
            return
        if node.origin is not None:
            self._remember(node.origin)
            yield Use(node.path, node.origin, cached=True)
        yield from self._new_uses(node.path, node.inputs.artifacts)
        yield from self._new_uses(node.path, node.outputs.artifacts)

    def _new_uses(
        self, task: str, artifacts: Mapping[str, Sequence[ArtifactValue]]
    ) -> Iterator[Use]:
        """Yield the uses by artifacts that this object has not yielded before."""
        for items in artifacts.values():
            for item in items:
                for origin in self._find_attempts(item.uri):
                    if origin not in self._recorded:
                        self._remember(origin)
                        yield Use(task, origin)

    def _remember(self, origin: Origin) -> None:
        self._recorded.add(origin)
        attempts = self._attempts_by_run.setdefault(origin.run_id, {})
        attempts[attempt_folder(origin.path, origin.attempt)] = origin

    def _find_attempts(self, uri: str) -> Sequence[Origin]:
        """Return the attempts of other runs whose files an artifact contains.

        The artifact is inside the folder of one attempt, or is a folder that contains the folders
        of attempts.
        """
        path = file_uris.to_path(uri)
        if not path.startswith("/"):
            return ()
        if path not in self._attempts_by_path:
            origins = self._attempts_at(path)
            if origins is None:
                return ()
            self._attempts_by_path[path] = origins
        return self._attempts_by_path[path]

    def _attempts_at(self, path: str) -> Sequence[Origin] | None:
        """Return the attempts of other runs at a path, None when it is in a folder of this run."""
        # If a part of the path is a link, ".." after it does not lead to the folder before it. Then
        # only the real path shows the run.
        origins: Sequence[Origin] | None = ()
        if "/../" not in path:
            origins = self._attempts_in_text(path)
        if origins is None or origins:
            return origins
        try:
            real_path = os.path.realpath(path)
        except ValueError:
            # The text cannot be a file name, for example because of a zero byte.
            return ()
        is_all_pipelines = real_path == self._artifacts_folder
        is_pipeline = os.path.dirname(real_path) == self._artifacts_folder
        if is_all_pipelines or is_pipeline:
            return self._attempts_below(real_path)
        return () if real_path == path else self._attempts_in_text(real_path)

    def _attempts_in_text(self, path: str) -> Sequence[Origin] | None:
        """Return the attempts at a path whose text contains the id of their run.

        Returns:
            The attempts. None when the run is this run.
        """
        for match in _RUN_FOLDER.finditer(path):
            run_id = match[1]
            if run_id == self._run_id:
                return None
            relative_path = path[match.end() + 1 :].rstrip("/")
            origins = self._attempts_in_run(run_id, relative_path)
            if origins:
                return origins
        return ()

    def _attempts_below(self, folder: str) -> Sequence[Origin]:
        """Return the attempts of other runs below the folder of a pipeline, or of all pipelines."""
        run_ids = set()
        for parent, names, _ in os.walk(folder):
            run_ids |= {name for name in names if _RUN_ID.fullmatch(name)}
            if parent != self._artifacts_folder:
                # `parent` is the folder of a pipeline and contains the folders of runs. `os.walk`
                # visits no folder that is removed from the list.
                names.clear()
        run_ids.discard(self._run_id)
        origins: list[Origin] = []
        for run_id in sorted(run_ids):
            origins += self._attempts_in_run(run_id, "")
        return origins

    def _attempts_in_run(self, run_id: str, path: str) -> Sequence[Origin]:
        """Return the attempts of a run at a path, which is relative to the folder of the run.

        Returns:
            One attempt when the path is inside the folder of an attempt. Otherwise all attempts
            below the path.
        """
        attempts: Mapping[str, Origin] = self._attempts_by_run.get(run_id, {})
        origin = _find_enclosing(attempts, path)
        if origin is None:
            # This comes second, because most artifacts come from the cache, and the attempts that
            # made them are known without a read of the store.
            attempts = self._read_attempts(run_id)
            origin = _find_enclosing(attempts, path)
        if origin is not None:
            return (origin,)
        prefix = f"{path}/" if path else ""
        return [origin for folder, origin in attempts.items() if folder.startswith(prefix)]

    def _read_attempts(self, run_id: str) -> Mapping[str, Origin]:
        """Return all attempts of a run, by their folders."""
        attempts = self._attempts_by_run.setdefault(run_id, {})
        if run_id not in self._complete_runs:
            self._complete_runs.add(run_id)
            for last in self._store.last_attempts(run_id):
                for number in range(1, last.attempt + 1):
                    attempts[attempt_folder(last.path, number)] = Origin(run_id, last.path, number)
        return attempts


def _find_enclosing(attempts: Mapping[str, Origin], path: str) -> Origin | None:
    """Return the attempt whose folder is `path` or contains it, None when there is none."""
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        origin = attempts.get("/".join(parts[:end]))
        if origin is not None:
            return origin
    return None
