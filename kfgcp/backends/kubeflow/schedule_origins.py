"""Tell which schedule started a run whose recurring run does not exist any more.

The server keeps no description of a deleted recurring run. But its runs still say something:

- The name of a run begins with the name of the schedule: the controller names a run after the
  object of the recurring run, its number and a hash (NextResourceName in scheduled_workflow.go).
  The name of the object is the name of the schedule without other characters than `a-z`, `0-9` and
  `-`, cut to 25 characters (toSWFCRDResourceGeneratedName in template.go), and five characters that
  Kubernetes adds (`GenerateName` in v2_template.go).
- The run names its version in the registry (ReportWorkflowResource in resource_manager.go), and the
  version has the project as a marker.

Two schedules whose names share the first 25 characters have different objects. Kubernetes refuses a
name that is taken, and the server identifies a recurring run by the UID of its object (CreateJob in
resource_manager.go; the name is not unique in model/job.go). Read at the tags 2.5.0, 2.14.3 and
2.17.0. But the names of their runs look alike, so such a run can belong to either schedule.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import quote

from kfgcp.backends.kubeflow.messages import RunAnswer
from kfgcp.backends.kubeflow.names import API
from kfgcp.backends.kubeflow.version_markers import read_markers
from kfgcp.backends.kubeflow.version_messages import check_version_answer
from kfgcp.backends.schedule_labels import project_label
from kfgcp.backends.versions import PROJECT_MARKER
from kfgcp.errors import BackendError
from kfgcp.services.client import ServiceClient

_MAX_GENERATED_NAME: Final = 25


class Origins:
    """Finds the schedules of a project by the runs that they have started.

    Args:
        http: the client of the pipelines API.
        project: the name of the project as the value of a label.
        schedules: the names of its schedules.
    """

    def __init__(self, http: ServiceClient, project: str, schedules: Collection[str]) -> None:
        self.project = project
        self._http = http
        self._schedules = sorted(schedules)
        # The id of a version -> its project, "" when it cannot be read.
        self._projects: dict[str, str] = {}

    def schedules_of(self, run: RunAnswer) -> list[str]:
        """Return the schedules of the project that may have started a run, by its name."""
        name = run.get("display_name") or ""
        return [schedule for schedule in self._schedules if may_be_run_of(name, schedule)]

    def project_of(self, run: RunAnswer) -> str:
        """Return the project of the version that a run was started from.

        It is the value of a label, "" when the run names no version, or it cannot be read.
        """
        reference = run.get("pipeline_version_reference") or {}
        pipeline_id = reference.get("pipeline_id") or ""
        version_id = reference.get("pipeline_version_id") or ""
        if not pipeline_id or not version_id:
            return ""
        if version_id not in self._projects:
            self._projects[version_id] = self._read_project(pipeline_id, version_id)
        return self._projects[version_id]

    def _read_project(self, pipeline_id: str, version_id: str) -> str:
        pipeline = quote(pipeline_id, safe="")
        path = f"{API}/pipelines/{pipeline}/versions/{quote(version_id, safe='')}"
        try:
            markers = read_markers(check_version_answer(self._http.get(path)))
        except BackendError:
            # The version was deleted, for example. That must not hide the run.
            return ""
        marker = markers.get(PROJECT_MARKER, "")
        return project_label(marker) if marker else ""


def may_be_run_of(run_name: str, schedule: str) -> bool:
    """Return whether the name of a run is one that the runs of a schedule get.

    Example:
        >>> may_be_run_of("churn-dailyx2b4c-7-3094868430", "Churn_daily")
        False
        >>> may_be_run_of("churn-dailyx2b4c-7-3094868430", "churn-daily")
        True
    """
    base = re.sub("[^a-z0-9-]+", "", schedule.lower()) or "job-"
    pattern = re.escape(base[:_MAX_GENERATED_NAME]) + "[a-z0-9]{5}-[0-9]+-[0-9]+"
    return re.fullmatch(pattern, run_name) is not None
