"""Things that the runs of a server name by ids: experiments, and versions of pipelines.

The server never changes an id, so each name is asked for once and then remembered.
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
PAGE: Final = 200
"""What the server gives at most; experiments are small."""
CONFLICT: Final = 409
_NAMES, _IDS, _VERSIONS = "experiment", "experiment id", "pipeline version"


class Experiments:
    """The experiments of a place, by id and by name. Threads may share it."""

    def __init__(
        self, http: ServiceClient, records: ServiceRecords, place: str, namespace: str
    ) -> None:
        self._http, self._records, self._place = http, records, place
        self._scope = {"namespace": namespace} if namespace else {}
        self._ensured: dict[str, str] = {}
        self._lock = threading.RLock()
        self._names = records.names(place, _NAMES)

    def name(self, experiment_id: str) -> str:
        """Return the name of an experiment, "" when it was deleted. It costs a request when it is
        not remembered."""
        with self._lock:
            if experiment_id and experiment_id not in self._names:
                try:
                    answer = self._http.get(f"{API}/experiments/{quote(experiment_id)}")
                    name = check_experiment(answer).get("display_name") or ""
                except NotFound:
                    name = ""
                self._remember({experiment_id: name})
            return self._names.get(experiment_id, "")

    def name_in_list(self, experiment_id: str) -> str:
        """Return the name of an experiment as `name` does. When it is not remembered, read all
        experiments at once."""
        with self._lock:
            if experiment_id and experiment_id not in self._names:
                pages = self._http.pages(
                    f"{API}/experiments", self._scope, "experiments", size=PAGE
                )
                names = {experiment_id: ""}
                for experiment in _readable(pages):
                    names[experiment["experiment_id"]] = experiment.get("display_name") or ""
                self._remember(names)
            return self._names.get(experiment_id, "")

    def id_of(self, name: str) -> str | None:
        """Return the id of an experiment, None when there is none. It costs a request when it is
        not remembered."""
        remembered = self._records.names(self._place, _IDS).get(name)
        if remembered is not None:
            return remembered
        experiment_id = self._find(name)
        if experiment_id is not None:
            self._records.remember_names(self._place, _IDS, {name: experiment_id})
        return experiment_id

    def forget(self, name: str) -> None:
        """Forget the id of an experiment, because it is not valid any more."""
        self._records.remember_names(self._place, _IDS, {}, gone=[name])

    def ensure(self, name: str) -> str:
        """Return the id that an experiment has now. Create the experiment when there is none of
        that name."""
        if name not in self._ensured:
            self._ensured[name] = self._find(name) or self._make(name)
        return self._ensured[name]

    def _find(self, name: str) -> str | None:
        """Return the id of the experiment that the service takes for the one of that name.

        MySQL and MariaDB compare names without regard to case and trailing spaces: a filter on
        "churn" finds "Churn", and no other experiment can have that name. With PostgreSQL both may
        be there, and only the exact one is found.
        """
        filter_text = filters.format_filter([filters.predicate("display_name", "EQUALS", name)])
        params = {**self._scope, "filter": filter_text}
        experiments = list(
            _readable(self._http.pages(f"{API}/experiments", params, "experiments", size=PAGE))
        )
        exact = [experiment for experiment in experiments if experiment.get("display_name") == name]
        best = exact or experiments
        return str(best[0]["experiment_id"]) if best else None

    def _make(self, name: str) -> str:
        """Create an experiment and return its id, also when somebody else creates it at the same
        time."""
        try:
            answer = self._http.post(
                f"{API}/experiments", body={"display_name": name, **self._scope}, repeatable=True
            )
            return str(check_experiment(answer)["experiment_id"])
        except Refused as refused:
            # The service has each name only once.
            experiment_id = self._find(name) if refused.status == CONFLICT else None
            if experiment_id is None:
                raise
            return experiment_id

    def _remember(self, names: Mapping[str, str]) -> None:
        self._names.update(names)
        self._records.remember_names(self._place, _NAMES, names)


def is_same_name(one: str, other: str) -> bool:
    """Return whether MySQL takes two names for one."""
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


class Versions:
    """The specs of versions of pipelines that the server has. Threads may share it."""

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
                recorded = self._recorded_spec(version)
                if recorded is None and not ask:
                    return None
                pipeline = reference.get("pipeline_id") or ""
                self._specs[version] = recorded or self._read(pipeline, version)
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
