"""A server of Kubeflow Pipelines with one version in its registry, for tests of schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import requests

from json_types import JsonDict
from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.kubeflow.filters import PAGE_KEYS
from kfgcp.backends.kubeflow.locks import KubeflowLocks
from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.names import Experiments
from kfgcp.backends.kubeflow.schedule_origins import Origins
from kfgcp.backends.kubeflow.schedule_runs import RecurringRunIds
from kfgcp.backends.kubeflow.schedules import KubeflowSchedules
from kfgcp.backends.kubeflow.server_errors import KubeflowErrors
from kfgcp.backends.kubeflow.server_version import Server
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.kubeflow.versions import KubeflowVersions
from kfgcp.backends.schedules import DesiredSchedule
from kfgcp.backends.service import Cancellation
from kfgcp.backends.versions import VersionUpload
from kfgcp.cron import Timetable
from kfgcp.model import Run
from kfgcp.options import RunOptions
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.client import ServiceClient
from kfgcp.settings import Setting
from kfgcp.spec.load import Spec, from_text
from kfgcp.spec.registered import RegisteredRef
from kfgcp.testing import KubeflowStandIn
from patience import REQUEST

# A pipeline with two parameters. The comment stands for another text of it.
TEXT = """\
pipelineInfo: {name: churn}
schemaVersion: 2.1.0
sdkVersion: kfp-2.14.6
root:
  inputDefinitions:
    parameters:
      lr: {parameterType: NUMBER_DOUBLE, defaultValue: 0.5, isOptional: true}
      day: {parameterType: STRING, defaultValue: monday, isOptional: true}
  dag:
    tasks:
      say:
        taskInfo: {name: say}
        cachingOptions: {}
        componentRef: {name: comp-say}
        inputs: {parameters: {text: {componentInputParameter: day}}}
components:
  comp-say:
    executorLabel: exec-say
    inputDefinitions: {parameters: {text: {parameterType: STRING}}}
deploymentSpec:
  executors:
    exec-say: {container: {image: 'python:3.12', args: [NAME]}}
"""


class MemoryRecords:
    """Keeps what a service remembers. It is a `ServiceRecords`."""

    def __init__(self) -> None:
        self.remembered: dict[tuple[str, str], dict[str, str]] = {}

    def names(self, place: str, kind: str) -> dict[str, str]:
        return dict(self.remembered.get((place, kind), {}))

    def remember_names(
        self, place: str, kind: str, names: Mapping[str, str], *, gone: Iterable[str] = ()
    ) -> None:
        kept = self.remembered.setdefault((place, kind), {})
        kept.update(names)
        for name in gone:
            kept.pop(name, None)

    def spec(self, version: str) -> dict[str, Any] | None:
        return None

    def cancellation(self, backend_ref: str) -> Cancellation | None:
        return None

    def complete_since(self, place: str) -> str | None:
        return None


def refuse_start(request: SubmitRequest) -> Run:
    raise AssertionError("the test starts no run")


@dataclass
class ScheduleServer:
    """A server, and how to reach it.

    Attributes:
        stand_in: the server.
        make_client: makes a client whose retries do not wait.
        settings: keys of the environment besides its host.
        records: what kfgcp remembers.
    """

    stand_in: KubeflowStandIn
    make_client: Callable[..., ServiceClient]
    settings: dict[str, Any] = field(default_factory=dict)
    records: MemoryRecords = field(default_factory=MemoryRecords)
    entries: dict[str, Spec] = field(default_factory=dict)
    client: ServiceClient | None = None

    def http(self) -> ServiceClient:
        """Return the client of the server. There is one, because a test may have many processes."""
        if self.client is None:
            self.client = self.make_client(
                self.stand_in.host,
                Anonymous(),
                service=SERVICE,
                paging=PAGE_KEYS,
                errors=KubeflowErrors(),
            )
        return self.client

    def schedules(
        self,
        start: Callable[[SubmitRequest], Run] = refuse_start,
        now: Callable[[], datetime] | None = None,
    ) -> KubeflowSchedules:
        """Return the schedules as a new process sees them."""
        http = self.http()
        values = {"host": self.stand_in.host, "auth": "anonymous", **self.settings}
        settings = KubeflowSettings.of({key: Setting(value, "t") for key, value in values.items()})
        experiments = Experiments(http, self.records, "here/", settings.namespace or "")
        scope = {"namespace": settings.namespace} if settings.namespace else {}
        origins = Origins(http, "shop", ["churn-daily"])
        ids = RecurringRunIds(http, scope, self.records, "here/", origins)
        return KubeflowSchedules(http, Server(http), settings, experiments, ids, start, now)

    def locks(self, **options: Any) -> KubeflowLocks:
        return KubeflowLocks(self.http(), "", **options)

    def entry(self, name: str = "a") -> Spec:
        """Return a pipeline of the registry. Another name makes another version."""
        if name not in self.entries:
            spec = from_text(TEXT.replace("NAME", name), "churn.yaml")
            upload = VersionUpload("shop", "churn", spec.version, TEXT.replace("NAME", name))
            http = self.http()
            registry = KubeflowVersions(http, Server(http), self.stand_in.host, "")
            entry = registry.upload(upload)
            registered = RegisteredRef(entry.ref, spec.version, entry.address)
            self.entries[name] = replace(spec, registered=registered)
        return self.entries[name]

    def desired(
        self,
        version: str = "a",
        *,
        cron: str | None = "0 6 * * 1-5",
        every: str | None = None,
        params: Mapping[str, Any] | None = None,
        options: RunOptions | None = None,
        **changes: Any,
    ) -> DesiredSchedule:
        """Return a schedule of a version of the pipeline."""
        chosen = options or RunOptions(env="gke", experiment="nightly", labels={"team": "growth"})
        request = SubmitRequest(
            spec=self.entry(version),
            params={"lr": 0.5, "day": "monday"} if params is None else params,
            options=chosen,
        )
        timetable = Timetable.parse(cron=None if every else cron, every=every)
        plain = DesiredSchedule("shop", "churn-daily", timetable, request)
        return replace(plain, **changes)

    # -- the server itself

    def get(self, path: str) -> JsonDict:
        """Return an answer of the API."""
        answer = requests.get(f"{self.stand_in.host}/apis/v2beta1/{path}", timeout=REQUEST)
        answer.raise_for_status()
        body: JsonDict = answer.json()
        return body

    def post(self, path: str, body: JsonDict) -> JsonDict:
        """Send a POST, and return the answer."""
        url = f"{self.stand_in.host}/apis/v2beta1/{path}"
        answer = requests.post(url, json=body, timeout=REQUEST)
        answer.raise_for_status()
        created: JsonDict = answer.json()
        return created

    def recurring_runs(self) -> list[JsonDict]:
        """Return all recurring runs, the oldest first."""
        items: list[JsonDict] = self.get("recurringruns").get("recurringRuns", [])
        return items
