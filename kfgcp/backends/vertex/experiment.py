"""Add runs to Vertex AI Experiments.

In ML Metadata, an experiment is a context, and each run has a context, too. kfgcp makes the context
of the run a child of the context of the experiment. The service creates the context of a run some
time after the run. So kfgcp adds a run to its experiment when kfgcp reads the run, not when it
submits the run.

kfgcp does this in environments with `experiment_tracking = true`. The names of schemas and requests
come from the REST reference of `metadataStores.contexts`.
"""

from __future__ import annotations

import re
from typing import Final

from kfgcp.backends.vertex.messages import PipelineJob
from kfgcp.errors import BackendError, NotFound, Refused, UsageError
from kfgcp.labels import SUBMISSION, label_value
from kfgcp.services.client import ServiceClient

# The type of the context of an experiment.
_SCHEMA: Final = {"schemaTitle": "system.Experiment", "schemaVersion": "0.0.1"}
# The ids that a context may have.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
# The HTTP status when the context exists already.
_CONFLICT: Final = 409


class Experiments:
    """The experiments of one project and location. Threads may share the object."""

    def __init__(self, http: ServiceClient, parent: str) -> None:
        self._http = http
        self._contexts_path = f"{parent}/metadataStores/default/contexts"
        self._added_contexts: set[str] = set()

    def ensure(self, name: str) -> None:
        """Create the experiment with this name, unless it exists.

        Raises:
            UsageError: Vertex AI does not accept the name.
            BackendError: the service did not create the experiment.
        """
        if not _NAME.fullmatch(name):
            example = label_value(name) or "default"
            raise UsageError(
                f"{name!r} cannot be the name of an experiment in Vertex AI.",
                hint=(f"Use at most 128 lowercase letters, digits and -. For example: {example}"),
            )
        try:
            self._http.get(f"v1/{self._contexts_path}/{name}")
            return
        except NotFound:
            pass
        body = {"displayName": name, **_SCHEMA, "metadata": {"experiment_deleted": False}}
        try:
            self._http.post(
                f"v1/{self._contexts_path}", params={"contextId": name}, body=body, repeatable=True
            )
        except Refused as refused:
            # After a conflict the experiment exists: another process created it, or an earlier try
            # of this request did, whose answer was lost.
            if refused.status != _CONFLICT:
                raise

    def join(self, job: PipelineJob) -> None:
        """Add the run of a job to its experiment.

        This does nothing when kfgcp did not submit the run, when the run has no context yet, or
        when the run is already in the experiment. Errors of the service are ignored, because the
        next read of the run tries again.
        """
        labels = job.get("labels") or {}
        context = (job.get("jobDetail") or {}).get("pipelineRunContext") or {}
        context_name = context.get("name", "")
        experiment = labels.get("experiment")
        # Only the runs that kfgcp submitted have the label SUBMISSION.
        if not experiment or SUBMISSION not in labels:
            return
        if not context_name or context_name in self._added_contexts:
            return
        for parent in context.get("parentContexts") or []:
            if parent.endswith(f"/contexts/{experiment}"):
                return
        try:
            self._http.post(
                f"v1/{self._contexts_path}/{experiment}:addContextChildren",
                body={"childContexts": [context_name]},
                repeatable=True,
            )
        except BackendError:
            return
        self._added_contexts.add(context_name)
