"""Vertex AI Experiments: a run's context in ML Metadata becomes a child of its experiment's.

Asked for with `experiment_tracking = true`; names of schemas and requests are those of the REST
reference of `metadataStores.contexts`. The service makes the context of a run some time after the
run, so the two are joined when the run is looked at and not when it is submitted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from kfgcp.errors import BackendError, NotFound, Refused, UsageError
from kfgcp.labels import SUBMISSION, label_value
from kfgcp.services.client import ServiceClient

_SCHEMA: Final = {"schemaTitle": "system.Experiment", "schemaVersion": "0.0.1"}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_CONFLICT: Final = 409


class Experiments:
    """The experiments of one project and location. Threads may share it."""

    def __init__(self, http: ServiceClient, parent: str) -> None:
        self._http = http
        self._contexts = f"{parent}/metadataStores/default/contexts"
        self._joined: set[str] = set()

    def ensure(self, name: str) -> None:
        """Makes the experiment when it is not there.

        Raises:
            UsageError: Vertex AI takes no such name.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"Vertex AI takes no experiment named {name!r}.",
                hint="Lowercase letters, digits and -, at most 128. For example: "
                + (label_value(name) or "default"),
            )
        try:
            self._http.get(f"v1/{self._contexts}/{name}")
            return
        except NotFound:
            pass
        body = {"displayName": name, **_SCHEMA, "metadata": {"experiment_deleted": False}}
        try:
            self._http.post(
                f"v1/{self._contexts}", params={"contextId": name}, body=body, repeatable=True
            )
        except Refused as refused:
            if refused.status != _CONFLICT:  # somebody else, or an earlier try, made it
                raise

    def join(self, job: Mapping[str, Any]) -> None:
        """Joins a run of ours to its experiment, once its context is there; does nothing when it is
        joined already."""
        labels = job.get("labels") or {}
        context = (job.get("jobDetail") or {}).get("pipelineRunContext") or {}
        experiment = labels.get("experiment")
        if (
            not context.get("name")
            or not experiment
            or SUBMISSION not in labels
            or context["name"] in self._joined
        ):
            return
        wanted = f"{self._contexts}/{experiment}"
        if any(
            str(parent).endswith(f"/contexts/{experiment}")
            for parent in context.get("parentContexts") or ()
        ):
            return
        try:
            body = {"childContexts": [context["name"]]}
            self._http.post(f"v1/{wanted}:addContextChildren", body=body, repeatable=True)
        except BackendError:  # a run can be observed without it; it is tried again at the next look
            return
        self._joined.add(context["name"])
