"""Runs that were recorded on a server of Kubeflow Pipelines 3.0, as the backend reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from json_types import JsonDict
from kfgcp.backends.kubeflow.executions_from_server import check_tasks, make_executions
from kfgcp.backends.kubeflow.messages import check_run, read_pipeline
from kfgcp.backends.kubeflow.pod_attempts import read_pods
from kfgcp.backends.kubeflow.read_run import Where, read_run
from kfgcp.model import Run, Task, TaskState
from kfgcp.spec.json_values import JsonObject

RECORDINGS: Final = Path(__file__).parents[1] / "recorded" / "api-3.0-branch"
FULL: Final = (
    "cached-full",
    "failed-full",
    "fresh-full",
    "reported-succeeded-full",
    "running-full",
    "shapes-full",
    "succeeded-full",
    "terminated-ended",
)
WHERE: Final = Where("https://kfp.acme.example", "gke")


def recorded(name: str) -> JsonDict:
    """Return the recorded answer with a run."""
    text = (RECORDINGS / f"run-get-{name}.json").read_text(encoding="utf-8")
    answer: dict[str, Any] = json.loads(text)["answer"]
    return answer


def run_from(answer: JsonObject) -> tuple[Run, str]:
    """Return the run of an answer, and the problem of the first task that cannot be read."""
    body = check_run(answer)
    graph = read_pipeline(body)[1]
    tasks, problem = check_tasks(body.get("tasks") or ())
    executions = make_executions(tasks, graph) if graph is not None else []
    return read_run(body, WHERE, executions=executions)[0], problem


def run_of_recording(name: str) -> Run:
    """Return the run of a recorded answer. Fail if a task cannot be read."""
    run, problem = run_from(recorded(name))
    assert problem == ""
    return run


def states(run: Run) -> dict[str, TaskState]:
    """Return the states of the tasks of a run by their paths."""
    return {task.path: task.state for task in run.tasks}


def task_at(run: Run, path: str) -> Task:
    """Return the task at a path."""
    return next(task for task in run.tasks if task.path == path)


def pods(answer: JsonObject) -> dict[str, list[str]]:
    """Return the pods of the tasks in an answer by their paths."""
    body = check_run(answer)
    graph = read_pipeline(body)[1]
    assert graph is not None
    return read_pods(body, make_executions(check_tasks(body["tasks"])[0], graph))


def named(answer: JsonObject, name: str) -> Any:
    """Return the task with a name, as the server answers it."""
    return next(task for task in answer["tasks"] if task["name"] == name)
