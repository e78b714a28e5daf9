"""Experiments: `/apis/v2beta1/experiments`. `Default` is there from the start, in each namespace.

The texts are those of experiment-create-taken.json, experiment-create-long-name.json and
experiment-get-unknown.json, the others those of experiment_server.go, api_converter.go and
resource_manager.go. Names are compared without regard to case, as MySQL does. `last_run_created_at`
is 1970 before the first run (experiments-list.json). Archived experiments take runs
(run-create-in-archived-experiment.json).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import KfpError, exists, internal, invalid, not_found
from kfgcp.testing.kubeflow_server.messages import (
    UNFINISHED,
    body_of,
    query_of,
    stamp,
    text_of,
    without_empty,
)
from kfgcp.testing.server import Request, Response, Route

DEFAULT: Final = "Default"
_DEFAULT_TEXT: Final = "All runs created without specifying an experiment will be grouped here."
_FIELDS: Final[lists.Fields] = {
    **dict.fromkeys(("id", "experiment_id"), lambda item: item.id),
    **dict.fromkeys(("name", "display_name"), lambda item: item.name),
    "created_at": lambda item: item.created,
    "description": lambda item: item.description,
    "namespace": lambda item: item.namespace,
    "storage_state": lambda item: item.storage_state,
    "last_run_created_at": lambda item: item.last_run,
}
_LISTABLE: Final = lists.Listable("Experiment", _FIELDS, lambda item: item.id)
MAX_NAME: Final = 128
"""Bytes of a name, since 2.15."""


@dataclass(eq=False, slots=True)
class Experiment:
    """created, last_run: Unix times in seconds; 0 without a run."""

    id: str
    name: str
    namespace: str
    description: str
    created: int
    last_run: int = 0
    archived: bool = False

    @property
    def storage_state(self) -> str:
        return "ARCHIVED" if self.archived else "AVAILABLE"

    def view(self) -> Mapping[str, Any]:
        return without_empty(
            {
                "experiment_id": self.id,
                "display_name": self.name,
                "description": self.description,
                "created_at": stamp(self.created),
                "namespace": self.namespace,
                "storage_state": self.storage_state,
                "last_run_created_at": stamp(self.last_run) if self.last_run else UNFINISHED,
            }
        )


class Experiments:
    """The experiments of a server.

    Args:
        access: who may do what.
        archived: called with the id of one that is archived, together with its runs.
        creation: gives ids and times, and the version of the server.
    """

    def __init__(self, access: Access, archived: Callable[[str], None], creation: Creation) -> None:
        self._access = access
        self._archived = archived
        self._creation = creation
        self._experiments: dict[str, Experiment] = {}
        self._lock = threading.RLock()
        for namespace in access.namespaces or [""]:
            self.default(namespace)

    def routes(self, base: str) -> list[Route]:
        many, one = base + "/experiments", base + "/experiments/{experiment}"
        return [
            Route("POST", many, self.create),
            Route("GET", many, self.list_all),
            Route("GET", one, self.get),
            Route("DELETE", one, self.delete),
            Route("POST", one + ":archive", self.archive),
            Route("POST", one + ":unarchive", self.unarchive),
        ]

    def create(self, request: Request) -> Response:
        body = body_of(
            request,
            ("display_name", "description", "namespace", "experiment_id", "created_at"),
            lenient=not self._creation.version.is_modern,
        )
        name, namespace = (
            text_of(body, "display_name"),
            self._access.place(text_of(body, "namespace")),
        )
        self._check_name(name)
        around = "Failed to create a experiment"
        self._access.check(
            namespace,
            "create",
            "experiments",
            around,
            "Failed to authorize the request",
            "Failed to authorize with API",
        )
        with self._lock:
            if self.named(name, namespace):
                text = (
                    f"Failed to create a new experiment. The name {name} already exists. Please"
                    " specify a new name"
                )
                raise exists(text, around)
            return Response(body=self._add(name, namespace, text_of(body, "description")).view())

    def get(self, request: Request, experiment: str) -> Response:
        return Response(body=self.allowed(experiment, "get", "Failed to fetch experiment").view())

    def list_all(self, request: Request) -> Response:
        query = query_of(request)
        namespace = self._access.place(query.get("namespace", ""))
        self._access.check(
            namespace,
            "list",
            "experiments",
            "List experiments failed",
            "Failed to authorize with API",
        )
        items = [item for item in self.all() if item.namespace == namespace]
        try:
            page, total, token = lists.listed(items, query, _LISTABLE)
        except KfpError as error:
            raise error.within("Failed to create list options") from None
        return Response(
            body=lists.answer("experiments", [item.view() for item in page], total, token)
        )

    def delete(self, request: Request, experiment: str) -> Response:
        self.allowed(experiment, "delete", "Failed to delete experiment")
        with self._lock:
            self._experiments.pop(experiment, None)
        return Response()

    def archive(self, request: Request, experiment: str) -> Response:
        self.allowed(experiment, "archive", "Failed to archive experiment").archived = True
        self._archived(experiment)
        return Response()

    def unarchive(self, request: Request, experiment: str) -> Response:
        self.allowed(experiment, "unarchive", "Failed to unarchive experiment").archived = False
        return Response()

    # -- for the other parts

    def all(self) -> list[Experiment]:
        with self._lock:
            return list(self._experiments.values())

    def named(self, name: str, namespace: str) -> Experiment | None:
        for item in self.all():
            if item.namespace == namespace and item.name.lower() == name.lower():
                return item
        return None

    def default(self, namespace: str) -> Experiment:
        """The experiment of runs that name none."""
        with self._lock:
            return self.named(DEFAULT, namespace) or self._add(DEFAULT, namespace, _DEFAULT_TEXT)

    def of(self, name: str, namespace: str) -> Experiment:
        """The experiment of that name, which is made when there is none."""
        with self._lock:
            return self.named(name, namespace) or self._add(name, namespace, "")

    def allowed(self, experiment: str, verb: str, *around: str) -> Experiment:
        """Return the experiment, when it is there and the caller may do that.

        Raises:
            KfpError: NOT_FOUND or DENIED.
        """
        known = self.existing(experiment, *around)
        self._access.check(
            known.namespace,
            verb,
            "experiments",
            *around,
            "Failed to authorize the request",
            "Failed to authorize with API",
        )
        return known

    def existing(self, experiment: str, *around: str) -> Experiment:
        """Return the experiment, whoever asks.

        Raises:
            KfpError: NOT_FOUND.
        """
        known = self._experiments.get(experiment)
        if known is None:
            raise not_found("Experiment", experiment, *around)
        return known

    # -- helpers

    def _check_name(self, name: str) -> None:
        """Refuse a name that is empty or too long: 500 (api_converter.go)."""
        around = "Failed to convert API experiment to model experiment"
        problem = None
        if not name:
            problem = invalid("Experiment must have a non-empty name")
        elif self._creation.version.limits_names and len(name.encode()) > MAX_NAME:
            problem = invalid(f"Experiment.Name length cannot exceed {MAX_NAME}")
        if problem is not None:
            outer = "[ExperimentServer]: Failed to create a experiment due to conversion error"
            raise internal(problem, around).within(outer)

    def _add(self, name: str, namespace: str, description: str) -> Experiment:
        experiment = Experiment(
            self._creation.new_id(), name, namespace, description, self._creation.now()
        )
        self._experiments[experiment.id] = experiment
        return experiment
