"""What a server calls things that its runs name by ids: experiments, and the pipelines of versions.

Ids are given once and for all, so what was told is kept in the store, and asked for once.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from kfgcp.backends.kubeflow import filters
from kfgcp.backends.kubeflow.messages import SERVICE, VERSION, read_experiment
from kfgcp.backends.reading import read_spec
from kfgcp.errors import BadAnswer, NotFound, NotWhole, Refused
from kfgcp.services.client import ServiceClient
from kfgcp.services.fields import read
from kfgcp.store.store import Store

API: Final = "apis/v2beta1"
PAGE: Final = 200
"""What the server gives at most; experiments are small."""
CONFLICT: Final = 409
_NAMES, _IDS, _VERSIONS = "experiment", "experiment id", "pipeline version"


class Experiments:
    """The experiments of a place, by id and by name. Threads may share it."""

    def __init__(self, http: ServiceClient, store: Store, place: str, namespace: str) -> None:
        self._http, self._store, self._place = http, store, place
        self._scope = {"namespace": namespace} if namespace else {}
        self._ensured: dict[str, str] = {}
        self._lock = threading.RLock()
        self._names = store.names(place, _NAMES)

    def name(self, experiment_id: str) -> str:
        """Of one experiment, empty when it is gone; a request when it is not known."""
        with self._lock:
            if experiment_id and experiment_id not in self._names:
                try:
                    found = read_experiment(self._http.get(f"{API}/experiments/{quote(experiment_id)}"))
                except NotFound:
                    found = {}
                self._learn({experiment_id: str(found.get("display_name") or "")})
            return self._names.get(experiment_id, "")

    def name_in_list(self, experiment_id: str) -> str:
        """The same for runs of a list: when one is not known, all are asked for."""
        with self._lock:
            if experiment_id and experiment_id not in self._names:
                pages = self._http.pages(f"{API}/experiments", self._scope, "experiments", size=PAGE)
                found = {each["experiment_id"]: each.get("display_name") or "" for each in _readable(pages)}
                self._learn({experiment_id: "", **found})
            return self._names.get(experiment_id, "")

    def id_of(self, name: str) -> str | None:
        """Of the experiment of that name, None when there is none; a request when it is not known."""
        known = self._store.names(self._place, _IDS).get(name)
        if known is not None:
            return known
        found = self._find(name)
        if found is not None:
            self._store.set_names(self._place, _IDS, {name: found})
        return found

    def forget(self, name: str) -> None:
        """Its id is not valid any more."""
        self._store.set_names(self._place, _IDS, {}, gone=[name])

    def ensure(self, name: str) -> str:
        """The id of an experiment as it is now; it is made when there is none of that name."""
        if name not in self._ensured:
            self._ensured[name] = self._find(name) or self._make(name)
        return self._ensured[name]

    def _find(self, name: str) -> str | None:
        """Return the id of the experiment that the service takes for the one of that name.

        MySQL and MariaDB compare names without regard to case and trailing spaces: a filter on "churn" finds "Churn",
        and no other experiment can have that name. With PostgreSQL both may be there, and only the exact one is found.
        """
        wanted = filters.text([filters.predicate("display_name", "EQUALS", name)])
        pages = self._http.pages(f"{API}/experiments", {**self._scope, "filter": wanted}, "experiments", size=PAGE)
        found = [*_readable(pages)]
        exact = [experiment for experiment in found if experiment.get("display_name") == name]
        best = exact or found
        return str(best[0]["experiment_id"]) if best else None

    def _make(self, name: str) -> str:
        """Makes it, unless somebody else does at the same time: the service has each name once."""
        try:
            made = self._http.post(f"{API}/experiments", body={"display_name": name, **self._scope}, repeatable=True)
            return str(read_experiment(made)["experiment_id"])
        except Refused as refused:
            found = self._find(name) if refused.status == CONFLICT else None
            if found is None:
                raise
            return found

    def _learn(self, names: Mapping[str, str]) -> None:
        self._names.update(names)
        if self._store.writable:
            self._store.set_names(self._place, _NAMES, names)


def is_same_name(one: str, other: str) -> bool:
    """Return whether MySQL takes two names for one."""
    return one.rstrip(" ").casefold() == other.rstrip(" ").casefold()


def _readable(items: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The experiments of a list; one that cannot be read is left out with a note."""
    for item in items:
        try:
            experiment = read_experiment(item)
        except BadAnswer as error:
            warnings.warn(f"An experiment is left out: {error.message}", NotWhole, stacklevel=2)
            continue
        yield experiment


class Versions:
    """The specs of versions of pipelines that are kept on the server. Threads may share it."""

    def __init__(self, http: ServiceClient, store: Store, place: str) -> None:
        self._http, self._store, self._place = http, store, place
        self._specs: dict[str, Any] = {}
        self._lock = threading.RLock()

    def spec(self, run: Mapping[str, Any], *, ask: bool) -> Any:
        """The spec of a run that names a version instead of holding one; None when it is not known, gone or forbidden.

        Args:
            run: body of the service.
            ask: read it from the server when it is not known, once.
        """
        reference = run.get("pipeline_version_reference") or {}
        version = reference.get("pipeline_version_id") or ""
        if not version:
            return None
        with self._lock:
            if version not in self._specs:
                found = self._kept(version)
                if found is None and not ask:
                    return None
                self._specs[version] = found or self._read(str(reference.get("pipeline_id") or ""), version)
            return self._specs[version]

    def _kept(self, version: str) -> Any:
        digest = self._store.names(self._place, _VERSIONS).get(version)
        return None if digest is None else self._store.spec(digest)

    def _read(self, pipeline: str, version: str) -> Any:
        try:
            answer = self._http.get(f"{API}/pipelines/{quote(pipeline)}/versions/{quote(version)}")
        except Refused:  # it is gone, or in a namespace of others, whose runs are seen all the same
            return None
        found = read(answer, VERSION, service=SERVICE, thing="a pipeline version").get("pipeline_spec") or {}
        document = found.get("pipeline_spec")
        spec, _ = read_spec(document or found)
        if spec is not None and self._store.writable:
            self._store.set_names(self._place, _VERSIONS, {version: spec.version})
        return found
