"""Features that some backends lack: those backends refuse them.

docs/reference/backends.md shows the reason of each skip.
"""

from collections.abc import Callable

import pytest

import kfgcp
from backend_project import BackendProject
from kfgcp import api
from kfgcp.backends.registry import open_backend
from kfgcp.errors import Unsupported
from kfgcp.model import RunState, TaskState
from kfgcp.spec.load import from_documents
from patience import PROCESS

CLUSTER = {"exec-say": {"nodeSelector": {"labels": {"pool": "big"}}}}


def _skip_if_lacking(
    backend_project: BackendProject, reasons: dict[str, str], attempt: Callable[[], object]
) -> None:
    """Skip on a backend that lacks a feature, after it has refused the attempt.

    reasons: the reason for each backend that lacks the feature.
    """
    if backend_project.like in reasons:
        with pytest.raises(Unsupported) as caught:
            attempt()
        assert caught.value.hint
        pytest.skip(f"refused: {reasons[backend_project.like]}")


@pytest.mark.feature("Again: rerun --from a task in a single iteration of a loop")
def test_a_rerun_from_an_iteration(backend_project: BackendProject) -> None:
    first = backend_project.run("shapes", {"uri": backend_project.data})
    path = "for-loop-4[1]/double"
    once = "a single iteration of a loop cannot be repeated"
    _skip_if_lacking(
        backend_project,
        {"vertex": once, "kubeflow": once},
        lambda: kfgcp.rerun(first.run_id, from_task=path),
    )

    again = kfgcp.rerun(first.run_id, from_task=path, timeout=PROCESS)

    states = {task.path: task.state for task in again.snapshot.tasks}
    assert states[path] is TaskState.SUCCEEDED
    assert states["for-loop-4[0]/double"] is states["for-loop-4[2]/double"] is TaskState.CACHED


@pytest.mark.feature("Logs: by time and severity")
def test_logs_by_time_and_severity(backend_project: BackendProject) -> None:
    handle = backend_project.shared("one_fails")
    reasons = {"kubeflow": "without Cloud Logging its logs are lines only"}
    _skip_if_lacking(backend_project, reasons, lambda: list(handle.logs(severity="ERROR")))

    errors = [line.text for line in handle.logs("boom", severity="ERROR")]
    assert "about to fail" not in errors
    if backend_project.like == "local":
        assert (
            errors == []
        )  # on this backend, only lines in JSON have a severity, other lines have DEFAULT
    else:
        assert errors[-1] == "ValueError: no luck with 7"
    assert [
        line.text for line in handle.logs("boom", since=handle.snapshot.created_at)
    ] == handle.task("boom").logs()
    assert list(handle.logs(since="2100-01-01T00:00:00.000Z")) == []


@pytest.mark.feature(
    "Settings: --fail-fast starts nothing new after a failure, and without it all that can run does"
)
@pytest.mark.parametrize("fail_fast", [True, False])
def test_the_failure_policy(backend_project: BackendProject, fail_fast: bool) -> None:
    if fail_fast and backend_project.like == "kubeflow":
        with pytest.warns(api.NotHeeded, match="Kubeflow Pipelines ignores --fail-fast"):
            backend_project.run("two_branches", fail_fast=True, cache=False)
        pytest.skip("refused: named before the run, other branches go on")
    run = backend_project.run("two_branches", fail_fast=fail_fast, cache=False).snapshot

    states = {task.path: task.state for task in run.tasks}
    assert (run.state, states["boom"]) == (RunState.FAILED, TaskState.FAILED)
    assert (states.get("after") is TaskState.SUCCEEDED) is not fail_fast


@pytest.mark.feature(
    "Settings: what a pipeline asks of a cluster and does not get is named before the run"
)
def test_a_setting_of_a_cluster_is_named(backend_project: BackendProject) -> None:
    spec = api.compile(str(backend_project.file("echo")))
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": CLUSTER}}}}
    asking = from_documents([spec.pipeline_spec, platform], "echo")
    if backend_project.like == "kubeflow":
        handle = api.submit(asking, env=backend_project.env)
        assert handle.notes == []
        return  # Kubeflow is on a cluster, so the settings are sent.
    with pytest.warns(api.NotHeeded, match="component say .*: node selector"):
        handle = api.submit(asking, env=backend_project.env)

    assert any("component say" in note for note in handle.notes)
    assert handle.wait(PROCESS).state is RunState.SUCCEEDED


@pytest.mark.feature("Settings: options of the embedded engine are heeded, or named before the run")
def test_an_option_of_another_backend_is_named(backend_project: BackendProject) -> None:
    spec = api.compile(str(backend_project.file("echo")))
    if backend_project.like == "local":
        assert api.submit(spec, env=backend_project.env, max_parallel=1).wait(PROCESS).notes == []
        return
    with pytest.warns(
        api.NotHeeded, match="ignores --max-parallel: only runs on this machine use it"
    ):
        handle = api.submit(spec, env=backend_project.env, max_parallel=1)
    assert handle.wait(PROCESS).state is RunState.SUCCEEDED


@pytest.mark.feature("Python: native() is the run in the official client")
def test_the_official_client(backend_project: BackendProject) -> None:
    handle = backend_project.shared("echo")
    if backend_project.like == "local":
        with pytest.raises(Unsupported, match="has no official client"):
            handle.native()
        pytest.skip("there is none")

    job = handle.native()

    if backend_project.like == "kubeflow":
        assert (job.run_id, job.run_info.state) == (handle.run_id, "SUCCEEDED")
        return
    assert (job.resource_name.rpartition("/")[2], job.state.name) == (
        handle.run_id,
        "PIPELINE_STATE_SUCCEEDED",
    )
    assert (
        open_backend(backend_project.project, backend_project.project.env(backend_project.env)).get(
            handle.ref
        )
        == handle.snapshot
    )
