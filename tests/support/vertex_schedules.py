"""Schedules on a stand-in of Vertex AI, for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from json_types import JsonDict
from kfgcp.backends.base import SubmitRequest, capability
from kfgcp.backends.locks import SupportsLock
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.backends.schedules import DesiredSchedule, LiveSchedule, SupportsSchedules
from kfgcp.cron import Timetable
from kfgcp.deploy.schedules.converge import Clock, Done, converge
from kfgcp.model import JsonValue
from kfgcp.options import RunOptions
from kfgcp.spec.load import Spec, from_documents
from kfgcp.spec.params import resolve
from kfgcp.spec.registered import RegisteredRef

PROJECT = "shop"
VERSION = "sha256:" + "0123456789abcdef" * 4
OTHER_VERSION = "sha256:" + "fedcba9876543210" * 4
REGISTRY = "https://europe-west4-kfp.pkg.dev/stand-in-project/pipelines/churn"
PARENT = "projects/stand-in-project/locations/europe-west4"
SCHEDULES = "/v1/projects/stand-in-project/locations/europe-west4/schedules"
MORNING = Timetable.parse(cron="0 6 * * 1-5", time_zone="Europe/Berlin")


def toml(settings: str) -> str:
    """Return a kfgcp.toml of the project `shop`. settings: the table of the environment."""
    return f'[project]\nname = "{PROJECT}"\n{settings}'


def open_schedules(env: str = "dev") -> SupportsSchedules:
    """Return the schedules of an environment of the project in the current folder."""
    project = load_project()
    schedules = capability(open_backend(project, project.env(env)), SupportsSchedules)
    assert schedules is not None
    return schedules


def open_locks(env: str = "dev") -> SupportsLock:
    """Return the locks of an environment of the project in the current folder."""
    project = load_project()
    locks = capability(open_backend(project, project.env(env)), SupportsLock)
    assert locks is not None
    return locks


def churn(version: str = VERSION, text: str = "a") -> Spec:
    """Return a pipeline of the registry with the parameters `lr`, `rows`, `day` and `tags`.

    Args:
        version: its version.
        text: what its only program gets.
    """
    types = {"lr": "NUMBER_DOUBLE", "rows": "NUMBER_INTEGER", "day": "STRING", "tags": "LIST"}
    params: JsonDict = {}
    inputs: JsonDict = {}
    for name, kind in types.items():
        params[name] = {"parameterType": kind}
        inputs[name] = {"componentInputParameter": name}
    optional = {"lr": 0.1, "rows": 3, "day": "never", "tags": [1, {"a": None}]}
    for name, default in optional.items():
        params[name] |= {"isOptional": True, "defaultValue": default}
    document: JsonDict = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "churn"},
        "root": {
            "inputDefinitions": {"parameters": params},
            "dag": {
                "tasks": {
                    "say": {
                        "taskInfo": {"name": "say"},
                        "componentRef": {"name": "comp-say"},
                        "inputs": {"parameters": inputs},
                    }
                }
            },
        },
        "components": {
            "comp-say": {
                "executorLabel": "exec-say",
                "inputDefinitions": {
                    "parameters": {name: {"parameterType": kind} for name, kind in types.items()}
                },
            }
        },
        "deploymentSpec": {
            "executors": {"exec-say": {"container": {"image": "python:3.12", "args": [text]}}}
        },
    }
    digest = version.removeprefix("sha256:")
    ref = RegisteredRef(f"sha256:{digest}", version, f"{REGISTRY}/sha256:{digest}")
    return replace(from_documents([document], "churn.yaml"), registered=ref)


def desired_schedule(
    name: str = "daily",
    *,
    spec: Spec | None = None,
    params: dict[str, JsonValue] | None = None,
    labels: dict[str, str] | None = None,
    timetable: Timetable = MORNING,
    time_param: str = "",
    catch_up: bool = False,
    max_active: int = 1,
    paused: bool = False,
    fail_fast: bool = False,
    project: str = PROJECT,
) -> DesiredSchedule:
    """Return a schedule. The labels of git and of the user are among those of each run."""
    spec = spec or churn()
    own_labels = {
        "git": "0" * 40,
        "git-dirty": "true",
        "user": "ada",
        "env": "dev",
        **(labels or {}),
    }
    options = RunOptions(env="dev", experiment="nightly", labels=own_labels, fail_fast=fail_fast)
    request = SubmitRequest(spec=spec, params=resolve(spec.params, params or {}), options=options)
    return DesiredSchedule(
        project=project,
        name=name,
        timetable=timetable,
        request=request,
        time_param=time_param,
        catch_up=catch_up,
        max_active=max_active,
        paused=paused,
    )


def apply(
    schedules: SupportsSchedules,
    desired: DesiredSchedule | None,
    name: str = "",
    *,
    machine_ahead: timedelta = timedelta(0),
) -> Done:
    """Bring a schedule to what is desired.

    Args:
        schedules: the service.
        desired: the schedule, None when it must not exist.
        name: its name.
        machine_ahead: how far the clock of this machine is ahead.
    """
    name = name or ("daily" if desired is None else desired.name)
    live = [
        schedule
        for schedule in schedules.list_schedules()
        if (schedule.project, schedule.name) == (PROJECT, name)
    ]
    # No test waits for a moment without a due time.
    clock = Clock(now=lambda: datetime.now(UTC) + machine_ahead, sleep=lambda seconds: None)
    return converge(schedules, PROJECT, name, desired, live, clock=clock)


def only(schedules: SupportsSchedules) -> LiveSchedule:
    """Return the only schedule."""
    [schedule] = schedules.list_schedules()
    return schedule
