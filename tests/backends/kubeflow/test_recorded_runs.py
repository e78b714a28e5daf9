"""Every recorded run is read as Argo recorded it: see `argo_record` for what is compared."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import argo_record
import recorded_runs
from argo_record import Expected
from kfgcp.backends.base import RunRef
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.executions_from_mlmd import Metadata
from kfgcp.backends.kubeflow.read_run import Where, read_run
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.errors import NotWhole
from kfgcp.model import Run, Task
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.services.client import ServiceClient
from recorded_runs import RecordedServer

NAMES = recorded_runs.names()
EXIT_TASKS_NOT_REACHED = {"exit-driver": {"ending"}}
"""Argo has no node of an exit task whose exit handler did not run."""
PODS_BEFORE_A_RETRY = {("fail-sub", "fail-dep/fail"): 1}
"""`:retry` removes the nodes that failed from Argo's record. The run's state_history and the two
logs of attempts in ML Metadata, eleven minutes apart, tell that one pod ran before."""
RETRIED_AT = {"fail-sub": "2026-11-29T08:52:34Z"}
"""The time of the second RUNNING in the run's state_history."""


@pytest.fixture(scope="module")
def server() -> Iterator[RecordedServer]:
    """The recorded Kubeflow Pipelines on loopback, with all runs."""
    with recorded_runs.serve(NAMES) as started:
        yield started


@pytest.fixture(scope="module")
def read(server: RecordedServer) -> Callable[[str], Run]:
    """Read a recorded run through a socket, as the backend does."""
    metadata = Metadata(ServiceClient(server.url, Anonymous(), service="ML Metadata"))

    def read_recorded(name: str) -> Run:
        answer = recorded_runs.read(name)
        executions = metadata.read_executions(answer["run_id"])
        return read_run(answer, Where(server.url, "recorded"), executions=executions)[0]

    return read_recorded


def test_all_runs_are_there() -> None:
    assert len(NAMES) == 51


@pytest.mark.recorded(
    "Kubeflow: tasks, states, iterations, attempts, values and errors of a run", "cluster-2.17.0"
)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_read_as_argo_recorded_it(read: Callable[[str], Run], name: str) -> None:
    workflow = recorded_runs.workflow(name)
    expected = argo_record.expected_tasks(workflow, recorded_runs.metadata(name))

    run = read(name)

    tasks = {task.path: task for task in run.tasks}
    assert run.state == argo_record.run_state(workflow)
    not_reached = {path for path in tasks if path not in expected}
    assert not_reached == EXIT_TASKS_NOT_REACHED.get(name, set())
    assert {tasks[path].state.value for path in not_reached} <= {"SKIPPED"}
    assert {path: task.state.value for path, task in tasks.items() if path in expected} == {
        path: task.state for path, task in expected.items()
    }
    for path, task in expected.items():
        if task.state == "CANCELLED":
            task.latest = recorded_runs.run_answer(name)["finished_at"]
            assert tasks[path].ended_at == run.ended_at, path
        _check_task(name, tasks[path], task)
    _check_errors(run, expected)


def _check_task(name: str, task: Task, expected: Expected) -> None:
    if expected.kind is not None:
        assert task.kind.value == expected.kind, task.path
    before_a_retry = PODS_BEFORE_A_RETRY.get((name, task.path), 0)
    assert task.attempts == expected.attempts + before_a_retry, task.path
    if expected.kind in ("container", "importer"):
        assert dict(task.inputs) == expected.inputs, task.path
        assert dict(task.outputs) == expected.outputs, task.path
    assert (task.cache is not None and task.cache.hit) == (expected.state == "CACHED"), task.path
    assert (task.started_at is not None) == (expected.state != "SKIPPED"), task.path
    assert task.ended_at is not None or expected.state == "SKIPPED", task.path
    if task.started_at and task.ended_at:
        earliest = expected.earliest
        if task.path == "fail-dep" or (name, task.path) in PODS_BEFORE_A_RETRY:
            earliest = RETRIED_AT.get(name, earliest)
        # Argo has whole seconds.
        assert (
            earliest[:19] <= task.started_at[:19] <= task.ended_at[:19] <= expected.latest[:19]
        ), task.path


def _check_errors(run: Run, expected: dict[str, Expected]) -> None:
    groups = {path for path in expected if any(_is_inside(other, path) for other in expected)}
    failed = {path for path, task in expected.items() if task.state == "FAILED"}
    assert {task.path for task in run.tasks if task.error is not None} == failed
    for task in run.tasks:
        if task.error is None:
            continue
        assert task.error.task in failed - groups
        if task.path in groups:
            assert _is_inside(task.error.task or "", task.path)
        else:
            assert task.error.task == task.path
    if run.state.value != "FAILED":
        assert run.error is None
        return
    assert run.error is not None
    culprit = run.error.task or ""
    assert culprit in failed - groups
    # It ended before, or in the same seconds as, everything else that failed; Argo sees an end some
    # seconds late.
    assert all(expected[path].latest >= expected[culprit].earliest for path in failed - groups)


def _is_inside(path: str, group: str) -> bool:
    return path.startswith((f"{group}/", f"{group}["))


@pytest.mark.parametrize("name", ["hello", "caching", "retry-sub", "loop-artifacts"])
def test_a_run_is_shown_as_it_is_read(
    home: Path, server: RecordedServer, read: Callable[[str], Run], name: str
) -> None:
    """The whole way: the environment's address, the API, ML Metadata, the store."""
    (home / "kfgcp.toml").write_text(_settings(server))
    run_id = recorded_runs.read(name)["run_id"]

    project = load_project()
    shown = open_backend(project, project.env("recorded")).get(RunRef("recorded", run_id))

    expected = read(name)
    assert (shown.state, shown.started_at, shown.ended_at) == (
        expected.state,
        expected.started_at,
        expected.ended_at,
    )
    assert [_facts(task) for task in shown.tasks] == [_facts(task) for task in expected.tasks]
    assert (shown.metrics, shown.artifacts, shown.outputs) == (
        expected.metrics,
        expected.artifacts,
        expected.outputs,
    )


def _settings(server: RecordedServer) -> str:
    return f'[env.recorded]\nbackend = "kubeflow"\nhost = "{server.url}"\nauth = "anonymous"\n'


def _facts(task: Task) -> Any:
    return (
        task.path,
        task.state,
        task.attempts,
        task.inputs,
        task.outputs,
        task.started_at,
        task.ended_at,
    )


@pytest.mark.parametrize(
    "failure",
    [
        mlmd.encode_error(mlmd.NOT_FOUND, "no context"),
        mlmd.encode_error(13, "disk full"),
        b"<html>Sign in</html>",
    ],
    ids=["the run is unknown", "an error", "something else"],
)
def test_ml_metadata_may_answer_for_one_run_and_not_for_the_next(
    home: Path, failure: bytes, recwarn: pytest.WarningsRecorder
) -> None:
    """The next is shown by the nodes of its workflow, and one line says what is missing."""
    with recorded_runs.serve(["hello", "values"]) as server:
        (home / "kfgcp.toml").write_text(_settings(server))
        values = recorded_runs.read("values")["run_id"]
        assert server.metadata is not None
        server.metadata.failures[values] = failure
        project = load_project()
        backend = open_backend(project, project.env("recorded"))

        first = backend.get(RunRef("recorded", recorded_runs.read("hello")["run_id"]))
        second = backend.get(RunRef("recorded", values))

    assert {task.path: task.outputs for task in first.tasks} == {"say": {"Output": "HI"}}
    expected = argo_record.expected_tasks(
        recorded_runs.workflow("values"), recorded_runs.metadata("values")
    )
    assert {task.path: (task.state.value, dict(task.outputs)) for task in second.tasks} == {
        path: (task.state, {}) for path, task in expected.items()
    }
    (note,) = [
        str(warning.message) for warning in recwarn if issubclass(warning.category, NotWhole)
    ]
    assert "without values" in note
    assert "\n" not in note
