"""The jobs of Cloud Scheduler that a stand-in lists: ListJobs of google.cloud.scheduler_v1."""

from __future__ import annotations

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.server import Request, Response, Route


class SchedulerJobs:
    """The jobs of a location. A test adds them to `jobs`; they start nothing.

    Attributes:
        jobs: the jobs, each as the message Job in JSON.
    """

    def __init__(self) -> None:
        self.jobs: list[JsonObject] = []

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the service. base: the path of a location."""
        return [Route("GET", base + "/jobs", self.list_all, ("pageSize", "pageToken"))]

    def list_all(self, request: Request, **_: str) -> Response:
        """Answer ListJobs with one page."""
        # In the JSON mapping of Protocol Buffers, an empty list is left out.
        return Response(body={"jobs": list(self.jobs)} if self.jobs else {})
