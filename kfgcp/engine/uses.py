"""Which attempts of other runs a run uses. Their files are kept as long as the run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from kfgcp import file_uris
from kfgcp.engine.layout import attempt_folder
from kfgcp.engine.nodes import Node
from kfgcp.engine.values import ArtifactValue
from kfgcp.model import TaskKind
from kfgcp.store.rows import Origin, Use
from kfgcp.store.store import Store

# Only the end of the path counts: the state folder may be reached through a link, or may have been moved.
_IN_RUN = re.compile(r"/artifacts/[^/]+/([0-9a-f]{12})/(.+)", re.DOTALL)


class Uses:
    """Finds what the tasks of one run use of other runs: outputs from the cache, and single artifacts.

    A task uses an artifact of another run when it imports it, receives it as an input, or when a component reports the
    file that it read as its output.

    Args:
        store: knows the attempts of other runs.
        run_id: the run.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._recorded: set[Origin] = set()
        self._by_folder: dict[tuple[str, str], Origin] = {}
        self._read: set[str] = set()  # runs whose attempts were read from the store

    def of_root(self, artifacts: Mapping[str, Sequence[ArtifactValue]]) -> Iterator[Use]:
        """Yield what a run uses from its beginning: the artifacts that it was given, taken by a task or not."""
        for items in artifacts.values():
            for item in items:
                origin = self._origin_of(item.uri)
                if origin is not None and origin not in self._recorded:
                    self._note(origin)
                    yield Use("", origin)

    def of(self, node: Node) -> Iterator[Use]:
        """Yield what a task uses and no earlier task of the run used, and always the origin of its outputs."""
        if node.kind not in (TaskKind.CONTAINER, TaskKind.IMPORTER):
            return
        if node.origin is not None:
            self._note(node.origin)
            yield Use(node.path, node.origin, cached=True)
        for values in (node.inputs, node.outputs):
            for items in values.artifacts.values():
                for item in items:
                    origin = self._origin_of(item.uri)
                    if origin is not None and origin not in self._recorded:
                        self._note(origin)
                        yield Use(node.path, origin)

    def _note(self, origin: Origin) -> None:
        self._recorded.add(origin)
        self._by_folder[origin.run_id, attempt_folder(origin.path, origin.attempt)] = origin

    def _origin_of(self, uri: str) -> Origin | None:
        """Return the attempt of another run in whose folder a file lies."""
        match = _IN_RUN.search(file_uris.to_path(uri))
        if match is None or match[1] == self._run_id:
            return None
        run_id, place = match.groups()
        origin = self._look_up(run_id, place)
        if origin is None and run_id not in self._read:
            self._read.add(run_id)
            for attempt in self._store.last_attempts(run_id):
                for number in range(1, attempt.attempt + 1):
                    folder = attempt_folder(attempt.path, number)
                    self._by_folder[run_id, folder] = Origin(run_id, attempt.path, number)
            origin = self._look_up(run_id, place)
        return origin

    def _look_up(self, run_id: str, place: str) -> Origin | None:
        parts = place.split("/")
        for end in range(1, len(parts) + 1):
            origin = self._by_folder.get((run_id, "/".join(parts[:end])))
            if origin is not None:
                return origin
        return None
