"""What the runs of a server name by ids: experiments, and versions of pipelines.

The server never changes what an id means, so each id is looked up once and then remembered.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from kfgcp.backends.kubeflow import filters
from kfgcp.backends.kubeflow.messages import (
    ExperimentAnswer,
    RunAnswer,
    VersionReference,
    check_experiment,
    check_version,
    without_platform_spec,
)
from kfgcp.backends.run_values import read_spec
from kfgcp.backends.service import ServiceRecords
from kfgcp.errors import BadAnswer, NotFound, NotWhole, Refused
from kfgcp.services.client import ServiceClient

API: Final = "apis/v2beta1"

# The server sends at most 200 items in a page. Experiments are small.
PAGE: Final = 200
CONFLICT: Final = 409

# The kinds of `names` in the store.
_NAMES: Final = "experiment"
_IDS: Final = "experiment id"
_VERSIONS: Final = "pipeline version"


class Experiments:
    """The experiments of a place, by id and by name. Threads may share it.

    Args:
        http: the pipelines API.
        records: remembers names and ids between commands.
        place: that of the service.
        namespace: of the experiments, empty when none is set.
    """

    def __init__(
        self, http: ServiceClient, records: ServiceRecords, place: str, namespace: str
    ) -> None:
        self._http = http
        self._records = records
        self._place = place
        self._scope = {"namespace": namespace} if namespace else {}
        # The ids of experiments that are known to be there now, by name.
        self._current_ids: dict[str, str] = {}
        self._lock = threading.RLock()
        self._names = records.names(place, _NAMES)

    def name(self, experiment_id: str) -> str:
        """Return the name of an experiment, "" when it was deleted.

        It costs a request when the name is not remembered.
        """
        with self._lock:
            if experiment_id and experiment_id not in self._names:
                self._remember({experiment_id: self._read_name(experiment_id)})
            return self._names.get(experiment_id, "")

    def name_in_list(self, experiment_id: str) -> str:
        """Return the name of an experiment as `name` does.

        When it is not remembered, read all experiments at once: a list has runs of many.
        """
        with self._lock:
            if experiment_id and experiment_id not in self._names:
                # Experiments that are not in the list were deleted.
                self._remember({experiment_id: "", **self._read_all_names()})
            return self._names.get(experiment_id, "")

    def id_of(self, name: str) -> str | None:
        """Return the id of an experiment, None when there is none.

        It costs a request when the id is not remembered.
        """
        remembered_id = self._records.names(self._place, _IDS).get(name)
        if remembered_id is not None:
            return remembered_id
        experiment_id = self._find(name)
        if experiment_id is not None:
            self._records.remember_names(self._place, _IDS, {name: experiment_id})
        return experiment_id

    def forget(self, name: str) -> None:
        """Forget the id of an experiment, because it is not valid any more."""
        self._records.remember_names(self._place, _IDS, {}, gone=[name])

    def ensure(self, name: str) -> str:
        """Return the id that an experiment has now.

        Create the experiment when there is none of that name.
        """
        if name not in self._current_ids:
            self._current_ids[name] = self._find(name) or self._create(name)
        return self._current_ids[name]

    def _read_name(self, experiment_id: str) -> str:
        try:
            answer = self._http.get(f"{API}/experiments/{quote(experiment_id)}")
        except NotFound:
            return ""
        return check_experiment(answer).get("display_name") or ""

    def _read_all_names(self) -> dict[str, str]:
        pages = self._http.pages(f"{API}/experiments", self._scope, "experiments", size=PAGE)
        names: dict[str, str] = {}
        for experiment in _readable(pages):
            names[experiment["experiment_id"]] = experiment.get("display_name") or ""
        return names

    def _find(self, name: str) -> str | None:
        """Return the id of the experiment that the service takes for the one of that name.

        MySQL and MariaDB compare names without regard to case and trailing spaces: a filter on
        "churn" finds "Churn", and no other experiment can have that name. With PostgreSQL both may
        be there, and only the exact one is found.
        """
        filter_text = filters.format_filter([filters.predicate("display_name", "EQUALS", name)])
        params = {**self._scope, "filter": filter_text}
        pages = self._http.pages(f"{API}/experiments", params, "experiments", size=PAGE)
        experiments = list(_readable(pages))
        exact = [experiment for experiment in experiments if experiment.get("display_name") == name]
        candidates = exact or experiments
        return candidates[0]["experiment_id"] if candidates else None

    def _create(self, name: str) -> str:
        """Create an experiment and return its id.

        Somebody else may create it at the same time.
        """
        body = {"display_name": name, **self._scope}
        try:
            answer = self._http.post(f"{API}/experiments", body=body, repeatable=True)
            return check_experiment(answer)["experiment_id"]
        except Refused as refused:
            # The service has each name only once.
            experiment_id = self._find(name) if refused.status == CONFLICT else None
            if experiment_id is None:
                raise
            return experiment_id

    def _remember(self, names: Mapping[str, str]) -> None:
        self._names.update(names)
        self._records.remember_names(self._place, _NAMES, names)


class Versions:
    """The specs of versions of pipelines that the server has. Threads may share it.

    Args:
        http: the pipelines API.
        records: has the specs of earlier runs.
        place: that of the service.
    """

    def __init__(self, http: ServiceClient, records: ServiceRecords, place: str) -> None:
        self._http = http
        self._records = records
        self._place = place
        self._specs: dict[str, Mapping[str, Any] | None] = {}
        self._lock = threading.RLock()

    def spec(self, run: RunAnswer, *, ask: bool) -> Mapping[str, Any] | None:
        """Return the spec of a run that names a version and does not contain the spec.

        None when it is not remembered, was deleted, or may not be read.

        Args:
            run: as the service answered.
            ask: read it from the server when it is not remembered, once.
        """
        reference = run.get("pipeline_version_reference") or VersionReference()
        version = reference.get("pipeline_version_id") or ""
        if not version:
            return None
        with self._lock:
            if version not in self._specs:
                recorded_spec = self._recorded_spec(version)
                if recorded_spec is None and not ask:
                    return None
                pipeline = reference.get("pipeline_id") or ""
                self._specs[version] = recorded_spec or self._read(pipeline, version)
            return self._specs[version]

    def _recorded_spec(self, version: str) -> Mapping[str, Any] | None:
        digest = self._records.names(self._place, _VERSIONS).get(version)
        return None if digest is None else self._records.spec(digest)

    def _read(self, pipeline: str, version: str) -> Mapping[str, Any] | None:
        try:
            answer = self._http.get(f"{API}/pipelines/{quote(pipeline)}/versions/{quote(version)}")
        except Refused:
            # It was deleted, or it is in a namespace of others, although its runs can be seen.
            return None
        documents = check_version(answer)
        spec, _ = read_spec(without_platform_spec(documents))
        if spec is not None:
            self._records.remember_names(self._place, _VERSIONS, {version: spec.version})
        return documents


def is_same_name(one: str, other: str) -> bool:
    """Return whether MySQL takes two names for one.

    Example:
        >>> is_same_name("default", "Default ")
        True
    """
    return one.rstrip(" ").casefold() == other.rstrip(" ").casefold()


def _readable(items: Iterable[object]) -> Iterator[ExperimentAnswer]:
    """Yield the experiments of a list. One that cannot be read is left out with a note."""
    for item in items:
        try:
            experiment = check_experiment(item)
        except BadAnswer as error:
            warnings.warn(f"An experiment is left out: {error.message}", NotWhole, stacklevel=2)
            continue
        yield experiment
