"""Schedules that are applied to a simulated service, for tests of the steps."""

from __future__ import annotations

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.schedules import DesiredSchedule, ScheduleFacts
from kfgcp.cron import Timetable
from kfgcp.deploy.schedules.converge import Clock, Done, converge
from kfgcp.deploy.schedules.steps import StepKind
from kfgcp.options import RunOptions
from kfgcp.spec.load import from_documents
from simulated_schedules import WITH_UPDATE, WITHOUT_UPDATE, SimulatedService

# Vertex AI when the change is not one that an update can make.
ONLY_REPLACES = ScheduleFacts()
SERVICES = {
    "update": WITH_UPDATE,
    "replace": ONLY_REPLACES,
    "replace-disabled": WITHOUT_UPDATE,
}


def desired_schedule(
    text: str,
    every_minutes: int,
    *,
    catch_up: bool = True,
    paused: bool = False,
    max_active: int = 1,
) -> DesiredSchedule:
    """Return a schedule whose pipeline contains a text."""
    spec = from_documents(
        [
            {
                "schemaVersion": "2.1.0",
                "pipelineInfo": {"name": "churn"},
                "root": {"dag": {"tasks": {"say": {"componentRef": {"name": "comp-say"}}}}},
                "components": {"comp-say": {"executorLabel": "exec-say"}},
                "deploymentSpec": {
                    "executors": {"exec-say": {"container": {"image": "i", "args": [text]}}}
                },
            }
        ],
        "churn.yaml",
    )
    return DesiredSchedule(
        project="shop",
        name="churn-daily",
        timetable=Timetable.parse(every=f"{every_minutes}m"),
        request=SubmitRequest(spec=spec, params={}, options=RunOptions()),
        catch_up=catch_up,
        paused=paused,
        max_active=max_active,
    )


def apply(service: SimulatedService, desired: DesiredSchedule | None) -> Done:
    clock = Clock(now=lambda: service.now + service.skew, sleep=service.advance)
    return converge(service, "shop", "churn-daily", desired, service.list_schedules(), clock=clock)


def kinds(done: Done) -> list[StepKind]:
    return [step.kind for step in done.steps]
