"""Look up experiments and pipeline versions by id. Runs contain only their ids.

The server never uses an id twice. So each id is looked up once and then remembered.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
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

# How many experiments a page has. The server sends at most 200 items in a page.
PAGE: Final = 200

# The status when an experiment with the same name exists.
CONFLICT: Final = 409

# `ServiceRecords` keeps three mappings for this module, each under one of these words: the name of
# an experiment by its id, the id by the name, and the digest of a spec by the id of the pipeline
# version. The words are in the database, so they cannot change.
_NAME_BY_ID: Final = "experiment"
_ID_BY_NAME: Final = "experiment id"
_DIGEST_BY_VERSION_ID: Final = "pipeline version"


class Experiments:
    """The experiments of a service, by id and by name. Threads may share this object.

    Args:
        http: the client of the pipelines API.
        records: keeps names and ids from one command to the next.
        place: identifies the service in the records. Each `backend_ref` of its runs begins with
            this text.
        namespace: the namespace of the experiments, "" when none is set.
    """

    def __init__(
        self, http: ServiceClient, records: ServiceRecords, place: str, namespace: str
    ) -> None:
        self._http = http
        self._records = records
        self._place = place
        self._scope = {"namespace": namespace} if namespace else {}
        # The ids of experiments that this process has found or created on the server, by name.
        self._confirmed_ids: dict[str, str] = {}
        self._lock = threading.RLock()
        self._names = records.names(place, _NAME_BY_ID)

    def name(self, experiment_id: str) -> str:
        """Return the name of an experiment, "" when the experiment was deleted.

        This costs a request when the name is not remembered.
        """
        with self._lock:
            if experiment_id and experiment_id not in self._names:
                self._remember({experiment_id: self._read_name(experiment_id)})
            return self._names.get(experiment_id, "")

    def name_in_list(self, experiment_id: str) -> str:
        """Return the name of an experiment, for use in a list of runs.

        When the name is not remembered, all experiments are read at once, because a list has runs
        of many experiments.
        """
        with self._lock:
            if experiment_id and experiment_id not in self._names:
                # Experiments that are not in the list were deleted.
                self._remember({experiment_id: "", **self._read_all_names()})
            return self._names.get(experiment_id, "")

    def find_id(self, name: str) -> str | None:
        """Return the id of an experiment, None when the experiment does not exist.

        This costs a request when the id is not remembered.
        """
        remembered_id = self._records.names(self._place, _ID_BY_NAME).get(name)
        if remembered_id is not None:
            return remembered_id
        experiment_id = self._find(name)
        if experiment_id is not None:
            self._records.remember_names(self._place, _ID_BY_NAME, {name: experiment_id})
        return experiment_id

    def forget(self, name: str) -> None:
        """Forget the id of an experiment, because it is not valid any more."""
        self._records.remember_names(self._place, _ID_BY_NAME, {}, gone=[name])

    def ensure(self, name: str) -> str:
        """Return the id of an experiment, from the server and not from the records.

        Create the experiment when it does not exist.
        """
        if name not in self._confirmed_ids:
            self._confirmed_ids[name] = self._find(name) or self._create(name)
        return self._confirmed_ids[name]

    def _read_name(self, experiment_id: str) -> str:
        try:
            answer = self._http.get(f"{API}/experiments/{quote(experiment_id)}")
        except NotFound:
            return ""
        return check_experiment(answer).get("display_name") or ""

    def _read_all_names(self) -> dict[str, str]:
        """Return the names of all experiments by id."""
        names: dict[str, str] = {}
        for experiment in self._list({}):
            names[experiment["experiment_id"]] = experiment.get("display_name") or ""
        return names

    def _find(self, name: str) -> str | None:
        """Return the id of an experiment on the server, None when the server does not find it.

        MySQL and MariaDB ignore case and trailing spaces when they compare names. There, a filter
        for "churn" finds "Churn", and an experiment "churn" cannot exist beside it. With
        PostgreSQL both may exist, and a filter finds only the exact name.
        """
        filter_text = filters.format_filter([filters.predicate("display_name", "EQUALS", name)])
        experiments = list(self._list({"filter": filter_text}))
        exact = [experiment for experiment in experiments if experiment.get("display_name") == name]
        candidates = exact or experiments
        return candidates[0]["experiment_id"] if candidates else None

    def _list(self, params: Mapping[str, str]) -> Iterator[ExperimentAnswer]:
        """Yield the experiments of a list. Leave out experiments that cannot be read."""
        all_params = {**self._scope, **params}
        for item in self._http.pages(f"{API}/experiments", all_params, "experiments", size=PAGE):
            try:
                experiment = check_experiment(item)
            except BadAnswer as error:
                warnings.warn(f"An experiment is left out: {error.message}", NotWhole, stacklevel=2)
                continue
            yield experiment

    def _create(self, name: str) -> str:
        """Create an experiment, and return its id.

        When somebody else creates the same experiment at the same time, return the id of that
        experiment.
        """
        body = {"display_name": name, **self._scope}
        try:
            answer = self._http.post(f"{API}/experiments", body=body, repeatable=True)
            return check_experiment(answer)["experiment_id"]
        except Refused as refused:
            # The server refuses a second experiment with the same name.
            experiment_id = self._find(name) if refused.status == CONFLICT else None
            if experiment_id is None:
                raise
            return experiment_id

    def _remember(self, names: Mapping[str, str]) -> None:
        self._names.update(names)
        self._records.remember_names(self._place, _NAME_BY_ID, names)


class Versions:
    """The specs of pipeline versions on the server. Threads may share this object.

    Args:
        http: the client of the pipelines API.
        records: has the specs of recorded runs.
        place: identifies the service in the records, as for `Experiments`.
    """

    def __init__(self, http: ServiceClient, records: ServiceRecords, place: str) -> None:
        self._http = http
        self._records = records
        self._place = place
        self._specs: dict[str, Mapping[str, Any] | None] = {}
        self._lock = threading.RLock()

    def spec(self, run: RunAnswer, *, read_specs: bool) -> Mapping[str, Any] | None:
        """Return the spec of the pipeline version that a run was started from.

        Return None when the run has no version, or when its spec cannot be read.

        Args:
            run: the answer of the server.
            read_specs: read the spec from the server when it is not recorded. A spec is read at
                most once.
        """
        reference = run.get("pipeline_version_reference") or VersionReference()
        version_id = reference.get("pipeline_version_id") or ""
        if not version_id:
            return None
        with self._lock:
            if version_id not in self._specs:
                recorded_spec = self._recorded_spec(version_id)
                if recorded_spec is None and not read_specs:
                    return None
                pipeline_id = reference.get("pipeline_id") or ""
                self._specs[version_id] = recorded_spec or self._read(pipeline_id, version_id)
            return self._specs[version_id]

    def _recorded_spec(self, version_id: str) -> Mapping[str, Any] | None:
        digest = self._records.names(self._place, _DIGEST_BY_VERSION_ID).get(version_id)
        return None if digest is None else self._records.spec(digest)

    def _read(self, pipeline_id: str, version_id: str) -> Mapping[str, Any] | None:
        path = f"{API}/pipelines/{quote(pipeline_id)}/versions/{quote(version_id)}"
        try:
            answer = self._http.get(path)
        except Refused:
            # The version was deleted, or the user may read its runs but not the version itself.
            return None
        pipeline_spec = check_version(answer)
        parsed_spec, _ = read_spec(without_platform_spec(pipeline_spec))
        if parsed_spec is not None:
            # `Spec.version` is the digest of the spec.
            digests = {version_id: parsed_spec.version}
            self._records.remember_names(self._place, _DIGEST_BY_VERSION_ID, digests)
        return pipeline_spec


def is_same_name(one: str, other: str) -> bool:
    """Return whether two names are equal for MySQL, which ignores case and trailing spaces.

    Example:
        >>> is_same_name("default", "Default ")
        True
    """
    return one.rstrip(" ").casefold() == other.rstrip(" ").casefold()
