"""Experiments: `/apis/v2beta1/experiments`. Each namespace starts with the experiment `Default`.

The texts of errors are those of the recordings experiment-create-taken.json,
experiment-create-long-name.json and experiment-get-unknown.json (tests/recorded/api-*). Texts
without a recording come from the code of KFP: experiment_server.go, api_converter.go and
resource_manager.go. Names that differ only in upper and lower case are equal, as in MySQL.
`last_run_created_at` is 1970 before the first run (experiments-list.json). Runs can be created in
archived experiments (run-create-in-archived-experiment.json).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import (
    KfpError,
    already_exists,
    internal_error,
    invalid_input,
    not_found,
)
from kfgcp.testing.kubeflow_server.filters import Fields
from kfgcp.testing.kubeflow_server.messages import (
    UNIX_EPOCH,
    drop_empty,
    format_time,
    read_body,
    read_query,
    read_text,
)
from kfgcp.testing.server import Request, Response, Route

DEFAULT: Final = "Default"
_DEFAULT_DESCRIPTION: Final = (
    "All runs created without specifying an experiment will be grouped here."
)
# The limit of names since 2.15, in bytes (apiserver/validation/length.go).
MAX_NAME: Final = 128

_BODY_FIELDS: Final = ("display_name", "description", "namespace", "experiment_id", "created_at")
_FIELDS: Final[Fields] = {
    **dict.fromkeys(("id", "experiment_id"), lambda experiment: experiment.id),
    **dict.fromkeys(("name", "display_name"), lambda experiment: experiment.name),
    "created_at": lambda experiment: experiment.created,
    "description": lambda experiment: experiment.description,
    "namespace": lambda experiment: experiment.namespace,
    "storage_state": lambda experiment: experiment.storage_state,
    "last_run_created_at": lambda experiment: experiment.last_run,
}
_LISTABLE: Final = lists.Listable("Experiment", _FIELDS, lambda experiment: experiment.id)
# The contexts of the error when the caller may not use an experiment, the outermost first.
_UNAUTHORIZED_CONTEXTS: Final = ("Failed to authorize the request", "Failed to authorize with API")


@dataclass(eq=False, slots=True)
class Experiment:
    """An experiment.

    Attributes:
        created: Unix time in seconds.
        last_run: when its newest run was created, Unix time in seconds; 0 without a run.
    """

    id: str
    name: str
    namespace: str
    description: str
    created: int
    last_run: int = 0
    archived: bool = False

    @property
    def storage_state(self) -> str:
        """Whether the experiment is archived, in the server's words."""
        return "ARCHIVED" if self.archived else "AVAILABLE"

    def to_json(self) -> JsonObject:
        """Return the experiment as JSON."""
        return drop_empty(
            {
                "experiment_id": self.id,
                "display_name": self.name,
                "description": self.description,
                "created_at": format_time(self.created),
                "namespace": self.namespace,
                "storage_state": self.storage_state,
                "last_run_created_at": format_time(self.last_run) if self.last_run else UNIX_EPOCH,
            }
        )


class Experiments:
    """The experiments of a server.

    Args:
        access: checks what the caller may do.
        on_archive: called with the id of each experiment that is archived.
        creation: gives ids and times, and the version of the server.
    """

    def __init__(
        self, access: Access, on_archive: Callable[[str], None], creation: Creation
    ) -> None:
        self._access = access
        self._on_archive = on_archive
        self._creation = creation
        self._experiments_by_id: dict[str, Experiment] = {}
        self._lock = threading.RLock()
        for namespace in access.namespaces or [""]:
            self.get_default(namespace)

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the API below a path."""
        experiments = f"{base}/experiments"
        experiment = experiments + "/{experiment_id}"
        return [
            Route("POST", experiments, self.create),
            Route("GET", experiments, self.list_all),
            Route("GET", experiment, self.get),
            Route("DELETE", experiment, self.delete),
            Route("POST", experiment + ":archive", self.archive),
            Route("POST", experiment + ":unarchive", self.unarchive),
        ]

    # -- methods of the API

    def create(self, request: Request) -> Response:
        """Create an experiment."""
        lenient = not self._creation.version.is_modern
        body = read_body(request, _BODY_FIELDS, lenient=lenient)
        name = read_text(body, "display_name")
        namespace = self._access.normalize_namespace(read_text(body, "namespace"))
        self._check_name(name)
        context = "Failed to create a experiment"
        self._access.check(namespace, "create", "experiments", context, *_UNAUTHORIZED_CONTEXTS)
        with self._lock:
            if self.find_by_name(name, namespace):
                message = (
                    f"Failed to create a new experiment. The name {name} already exists. Please"
                    " specify a new name"
                )
                raise already_exists(message, context)
            experiment = self._add(name, namespace, read_text(body, "description"))
            return Response(body=experiment.to_json())

    def get(self, request: Request, experiment_id: str) -> Response:
        """Return an experiment."""
        experiment = self._get_allowed(experiment_id, "get", "Failed to fetch experiment")
        return Response(body=experiment.to_json())

    def list_all(self, request: Request) -> Response:
        """Return a page of the experiments in a namespace."""
        query = read_query(request)
        namespace = self._access.normalize_namespace(query.get("namespace", ""))
        self._access.check(
            namespace,
            "list",
            "experiments",
            "List experiments failed",
            "Failed to authorize with API",
        )
        experiments = [item for item in self.all() if item.namespace == namespace]
        try:
            page, total, token = lists.list_page(experiments, query, _LISTABLE)
        except KfpError as error:
            raise error.within("Failed to create list options") from None
        items = [experiment.to_json() for experiment in page]
        return Response(body=lists.format_page("experiments", items, total, token))

    def delete(self, request: Request, experiment_id: str) -> Response:
        """Delete an experiment."""
        self._get_allowed(experiment_id, "delete", "Failed to delete experiment")
        with self._lock:
            self._experiments_by_id.pop(experiment_id, None)
        return Response()

    def archive(self, request: Request, experiment_id: str) -> Response:
        """Archive an experiment and its runs, and disable its recurring runs."""
        experiment = self._get_allowed(experiment_id, "archive", "Failed to archive experiment")
        experiment.archived = True
        self._on_archive(experiment_id)
        return Response()

    def unarchive(self, request: Request, experiment_id: str) -> Response:
        """Restore an archived experiment, but not its runs."""
        experiment = self._get_allowed(experiment_id, "unarchive", "Failed to unarchive experiment")
        experiment.archived = False
        return Response()

    # -- for the other parts of the server

    def all(self) -> list[Experiment]:
        """Return the experiments, the oldest first."""
        with self._lock:
            return list(self._experiments_by_id.values())

    def find_by_name(self, name: str, namespace: str) -> Experiment | None:
        """Return the experiment with a name, None if there is none."""
        for experiment in self.all():
            if experiment.namespace == namespace and experiment.name.lower() == name.lower():
                return experiment
        return None

    def get_default(self, namespace: str) -> Experiment:
        """Return the experiment `Default` of a namespace. Create it if it does not exist."""
        return self.get_or_create(DEFAULT, namespace, _DEFAULT_DESCRIPTION)

    def get_or_create(self, name: str, namespace: str, description: str = "") -> Experiment:
        """Return the experiment with a name. Create it if it does not exist."""
        with self._lock:
            experiment = self.find_by_name(name, namespace)
            return experiment or self._add(name, namespace, description)

    def get_any(self, experiment_id: str, *contexts: str) -> Experiment:
        """Return an experiment, whether the caller may use it or not.

        Args:
            experiment_id: the id of the experiment.
            contexts: what the server was doing, the outermost step first, for the error.

        Raises:
            KfpError: NOT_FOUND.
        """
        experiment = self._experiments_by_id.get(experiment_id)
        if experiment is None:
            raise not_found("Experiment", experiment_id, *contexts)
        return experiment

    # -- helpers

    def _get_allowed(self, experiment_id: str, verb: str, context: str) -> Experiment:
        """Return an experiment if it exists and the caller may use it.

        Raises:
            KfpError: NOT_FOUND or PERMISSION_DENIED.
        """
        experiment = self.get_any(experiment_id, context)
        self._access.check(
            experiment.namespace, verb, "experiments", context, *_UNAUTHORIZED_CONTEXTS
        )
        return experiment

    def _check_name(self, name: str) -> None:
        """Raise an error with the status 500 for an empty or too long name (api_converter.go)."""
        is_limited = self._creation.version.limits_names
        problem = None
        if not name:
            problem = invalid_input("Experiment must have a non-empty name")
        elif is_limited and len(name.encode()) > MAX_NAME:
            problem = invalid_input(f"Experiment.Name length cannot exceed {MAX_NAME}")
        if problem is None:
            return
        error = internal_error(problem, "Failed to convert API experiment to model experiment")
        raise error.within(
            "[ExperimentServer]: Failed to create a experiment due to conversion error"
        )

    def _add(self, name: str, namespace: str, description: str) -> Experiment:
        experiment = Experiment(
            self._creation.new_id(), name, namespace, description, self._creation.now()
        )
        self._experiments_by_id[experiment.id] = experiment
        return experiment
