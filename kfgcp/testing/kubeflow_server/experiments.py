"""Experiments: `/apis/v2beta1/experiments`. `Default` is there from the start, in each namespace."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.errors import exists, invalid, not_found
from kfgcp.testing.kubeflow_server.messages import body_of, query_of, stamp, text_of, without_empty
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
                "last_run_created_at": stamp(self.last_run),
            }
        )


class Experiments:
    """The experiments of a server. archived: called with the id of one that is archived, together with its runs."""

    def __init__(self, access: Access, archived: Callable[[str], None]) -> None:
        self._access = access
        self._archived = archived
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
        body = body_of(request, ("display_name", "description", "namespace", "experiment_id", "created_at"))
        name, namespace = text_of(body, "display_name"), self._access.place(text_of(body, "namespace"))
        around = "Failed to create a new experiment"
        if not name:
            raise invalid("Experiment name is empty. Please specify a valid experiment name", around)
        self._access.check(namespace, "create", "experiments", around)
        with self._lock:
            if self.named(name, namespace):
                raise exists(f"The name {name} already exists. Please specify a new name", around)
            return Response(body=self._add(name, namespace, text_of(body, "description")).view())

    def get(self, request: Request, experiment: str) -> Response:
        return Response(body=self.allowed(experiment, "get", "Failed to fetch an experiment").view())

    def list_all(self, request: Request) -> Response:
        query = query_of(request)
        namespace = self._access.place(query.get("namespace", ""))
        self._access.check(namespace, "list", "experiments", "Failed to list experiments")
        items = [item for item in self.all() if item.namespace == namespace]
        found, total, token = lists.listed(items, query, _FIELDS, lambda item: item.id)
        return Response(body=lists.answer("experiments", [item.view() for item in found], total, token))

    def delete(self, request: Request, experiment: str) -> Response:
        self.allowed(experiment, "delete", "Failed to delete an experiment")
        with self._lock:
            self._experiments.pop(experiment, None)
        return Response()

    def archive(self, request: Request, experiment: str) -> Response:
        self.allowed(experiment, "archive", "Failed to archive an experiment").archived = True
        self._archived(experiment)
        return Response()

    def unarchive(self, request: Request, experiment: str) -> Response:
        self.allowed(experiment, "unarchive", "Failed to unarchive an experiment").archived = False
        return Response()

    # -- for the other parts

    def all(self) -> list[Experiment]:
        with self._lock:
            return list(self._experiments.values())

    def named(self, name: str, namespace: str) -> Experiment | None:
        found = (item for item in self.all() if item.namespace == namespace and item.name.lower() == name.lower())
        return next(found, None)

    def default(self, namespace: str) -> Experiment:
        """The experiment of runs that name none."""
        with self._lock:
            return self.named(DEFAULT, namespace) or self._add(DEFAULT, namespace, _DEFAULT_TEXT)

    def of(self, name: str, namespace: str) -> Experiment:
        """The experiment of that name, which is made when there is none."""
        with self._lock:
            return self.named(name, namespace) or self._add(name, namespace, "")

    def allowed(self, experiment: str, verb: str, *around: str) -> Experiment:
        """The experiment, when it is there and the caller may do that.

        Raises:
            KfpError: NOT_FOUND or DENIED.
        """
        found = self._experiments.get(experiment)
        if found is None:
            raise not_found("Experiment", experiment, *around)
        self._access.check(found.namespace, verb, "experiments", *around)
        return found

    def _add(self, name: str, namespace: str, description: str) -> Experiment:
        made = Experiment(str(uuid.uuid4()), name, namespace, description, int(time.time()))
        self._experiments[made.id] = made
        return made
