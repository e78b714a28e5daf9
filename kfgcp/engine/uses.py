"""Find which attempts of other runs a run uses. Their files are kept as long as the run."""

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

# Only the end of the path counts: the state folder may be reached through a link, or may have been
# moved.
_RUN_FOLDER: Final = re.compile(r"/artifacts/[^/]+/([0-9a-f]{12})(?=/|$)")
_RUN_ID: Final = re.compile(r"[0-9a-f]{12}")


class Uses:
    """The uses of other runs by the tasks of one run: outputs from the cache, single artifacts.

    A task uses an artifact of another run when it imports it, receives it as an input, or when a
    component reports the file that it read as its output. An artifact that is a folder above
    attempts uses all of these attempts.

    Args:
        store: knows the attempts of other runs.
        run_id: the run.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._recorded: set[Origin] = set()
        self._artifacts = os.path.realpath(store.file.parent / "artifacts")
        # Run -> folder of an attempt, below the folder of the run -> attempt.
        self._folders: dict[str, dict[str, Origin]] = {}
        # The runs whose attempts were read from the store.
        self._read: set[str] = set()
        # The attempts at a path that is not in a folder of this run.
        self._by_path: dict[str, Sequence[Origin]] = {}

    def root_uses(self, artifacts: Mapping[str, Sequence[ArtifactValue]]) -> Iterator[Use]:
        """Yield the uses by the inputs of a run, also by those that no task reads."""
        return self._new("", artifacts)

    def task_uses(self, node: TaskRun) -> Iterator[Use]:
        """Yield the uses by a task that no earlier task of the run has.

        The origin of its outputs is always among them.
        """
        if node.kind not in (TaskKind.CONTAINER, TaskKind.IMPORTER):
            return
        if node.origin is not None:
            self._note(node.origin)
            yield Use(node.path, node.origin, cached=True)
        yield from self._new(node.path, node.inputs.artifacts)
        yield from self._new(node.path, node.outputs.artifacts)

    def _new(self, task: str, artifacts: Mapping[str, Sequence[ArtifactValue]]) -> Iterator[Use]:
        """Yield the uses of artifacts that are not recorded yet."""
        for items in artifacts.values():
            for item in items:
                for origin in self._origins_of(item.uri):
                    if origin not in self._recorded:
                        self._note(origin)
                        yield Use(task, origin)

    def _note(self, origin: Origin) -> None:
        self._recorded.add(origin)
        folders = self._folders.setdefault(origin.run_id, {})
        folders[attempt_folder(origin.path, origin.attempt)] = origin

    def _origins_of(self, uri: str) -> Sequence[Origin]:
        """Return the attempts of other runs whose files an artifact contains.

        The artifact is inside the folder of one attempt, or is a folder that contains attempts.
        """
        path = file_uris.to_path(uri)
        if not path.startswith("/"):
            return ()
        if path not in self._by_path:
            origins = self._origins_at(path)
            if origins is None:
                return ()
            self._by_path[path] = origins
        return self._by_path[path]

    def _origins_at(self, path: str) -> Sequence[Origin] | None:
        """Return the attempts of other runs at a path, None when it is in a folder of this run."""
        # After a link, ".." leads to another place than the text of the path shows.
        origins = self._origins_in_runs(path) if "/../" not in path else ()
        if origins is None or origins:
            return origins
        try:
            real = os.path.realpath(path)
        except ValueError:
            # The text cannot be a file name, for example because of a zero byte.
            return ()
        if real == self._artifacts or os.path.dirname(real) == self._artifacts:
            return self._origins_below(real)
        return () if real == path else self._origins_in_runs(real)

    def _origins_in_runs(self, path: str) -> Sequence[Origin] | None:
        """Return the attempts at a path that shows its run, None when that is this run."""
        for match in _RUN_FOLDER.finditer(path):
            if match[1] == self._run_id:
                return None
            origins = self._origins_in_run(match[1], path[match.end() + 1 :].rstrip("/"))
            if origins:
                return origins
        return ()

    def _origins_below(self, folder: str) -> Sequence[Origin]:
        """Return the attempts of other runs below the folder of a pipeline, or of all pipelines."""
        run_ids = set()
        for place, names, _ in os.walk(folder):
            run_ids |= {name for name in names if _RUN_ID.fullmatch(name)}
            if place != self._artifacts:
                # The folders of runs are directly below a pipeline. The walk does not go deeper.
                names.clear()
        run_ids.discard(self._run_id)
        origins: list[Origin] = []
        for run_id in sorted(run_ids):
            origins += self._origins_in_run(run_id, "")
        return origins

    def _origins_in_run(self, run_id: str, place: str) -> Sequence[Origin]:
        """Return the attempt of a run that a place in its folder belongs to.

        When the place is above attempts, return all of them.
        """
        folders: Mapping[str, Origin] = self._folders.get(run_id, {})
        origin = _attempt_around(folders, place)
        if origin is None:
            # Most artifacts come from the cache, whose origins are known without the store.
            folders = self._read_folders(run_id)
            origin = _attempt_around(folders, place)
        if origin is not None:
            return (origin,)
        above = f"{place}/" if place else ""
        return [origin for folder, origin in folders.items() if folder.startswith(above)]

    def _read_folders(self, run_id: str) -> Mapping[str, Origin]:
        """Return the attempts of a run by their folders."""
        folders = self._folders.setdefault(run_id, {})
        if run_id not in self._read:
            self._read.add(run_id)
            for last in self._store.last_attempts(run_id):
                for number in range(1, last.attempt + 1):
                    folders[attempt_folder(last.path, number)] = Origin(run_id, last.path, number)
        return folders


def _attempt_around(folders: Mapping[str, Origin], place: str) -> Origin | None:
    """Return the attempt whose folder is a place or above it."""
    parts = place.split("/")
    for end in range(1, len(parts) + 1):
        origin = folders.get("/".join(parts[:end]))
        if origin is not None:
            return origin
    return None
