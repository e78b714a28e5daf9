"""Retries of tasks."""

import pytest
from kfp import dsl

import argo_record
import recorded_runs
from kfgcp.semantics.values import Values
from kfgcp.spec.load import load

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def fails_until(count: int, file: str) -> int:
    import os

    with open(file, "a") as log:
        log.write("x")
    previous_attempts = os.path.getsize(file)
    print(f"attempt {previous_attempts}")
    if previous_attempts < count:
        raise ValueError(f"attempt {previous_attempts} fails")
    return previous_attempts


@dsl.component(base_image=IMAGE)
def status_of(status: dsl.PipelineTaskFinalStatus) -> str:
    import json

    return json.dumps([status.state, status.error_message])


@pytest.mark.rule("Control flow: maxRetryCount N means N extra attempts, after failure only")
@pytest.mark.parametrize(
    ("retries", "state", "attempts"),
    [(0, "FAILED", 1), (1, "FAILED", 2), (2, "SUCCEEDED", 3), (5, "SUCCEEDED", 3)],
)
def test_extra_attempts(retries, state, attempts, execute, task, tmp_path, log):
    @dsl.pipeline(name="retries")
    def pipeline(file: str):
        fails_until(count=3, file=file).set_retry(retries, backoff_duration="0s")

    run = execute(pipeline, {"file": str(tmp_path / "count")})

    failing_task = task(run, "fails-until")
    assert run.state == state
    assert (failing_task.state, failing_task.attempts) == (state, attempts)
    assert [log(run, "fails-until", n)[0] for n in range(1, attempts + 1)] == [
        f"attempt {n}" for n in range(1, attempts + 1)
    ]
    assert (failing_task.error is None) == (state == "SUCCEEDED")


@pytest.mark.rule("Control flow: maxRetryCount N means N extra attempts, after failure only")
def test_a_success_is_not_repeated(execute, task, tmp_path):
    @dsl.pipeline(name="retries")
    def pipeline(file: str):
        fails_until(count=1, file=file).set_retry(5, backoff_duration="0s")

    assert task(execute(pipeline, {"file": str(tmp_path / "count")}), "fails-until").attempts == 1


@pytest.mark.rule(
    "Control flow: retry on a nested pipeline applies to each container inside without a policy of"
    " its own"
)
@pytest.mark.parametrize("name", ["retry-sub", "retry-bad", "retry-good", "retry-loop"])
def test_attempts_are_those_recorded_on_kubeflow(name, simulate):
    """The recorded servers had no defaults of workflows: with those that 2.17.0 ships nothing is
    retried."""
    workflow = recorded_runs.workflow(name)
    attempts = argo_record.phases_of_attempts(workflow)
    tried = {path: [] for path in attempts}

    def behave(node):
        phase = attempts[node.path][len(tried[node.path])]
        tried[node.path].append(phase)
        return Values({"Output": "done"}) if phase == "Succeeded" else "it failed"

    root = simulate(load(str(recorded_runs.pipeline(name))), behave).root

    assert tried == attempts
    assert root.state == workflow["phase"].upper()


@pytest.mark.rule(
    "Control flow: retry on a nested pipeline applies to each container inside without a policy of"
    " its own"
)
def test_a_policy_of_a_nested_pipeline_is_that_of_its_containers(execute, compiled, task, tmp_path):
    @dsl.pipeline(name="innermost")
    def innermost(file: str):
        fails_until(count=9, file=file)

    @dsl.pipeline(name="inner")
    def inner(file: str, others: str):
        fails_until(count=3, file=file)
        fails_until(count=9, file=others).set_retry(1, backoff_duration="0s")
        innermost(file=others)

    @dsl.pipeline(name="retries")
    def pipeline(file: str, others: str):
        inner(file=file, others=others)

    spec = compiled(pipeline)
    spec["root"]["dag"]["tasks"]["inner"]["retryPolicy"] = {
        "maxRetryCount": 2,
        "backoffDuration": "0s",
    }
    run = execute(spec, {"file": str(tmp_path / "count"), "others": str(tmp_path / "others")})

    tasks = {
        path: task(run, path)
        for path in ("inner/fails-until", "inner/fails-until-2", "inner/innermost/fails-until")
    }
    assert {path: (one.state, one.attempts) for path, one in tasks.items()} == {
        "inner/fails-until": ("SUCCEEDED", 3),
        "inner/fails-until-2": ("FAILED", 2),
        "inner/innermost/fails-until": ("FAILED", 3),
    }
    assert task(run, "inner").attempts == 0


@pytest.mark.rule("Control flow: retry of container tasks only")
def test_an_importer_is_not_retried(simulate):
    tried = []

    @dsl.pipeline(name="retries")
    def pipeline():
        dsl.importer(artifact_uri="/nobody/has/this", artifact_class=dsl.Dataset).set_retry(
            2, backoff_duration="0s"
        )

    def behave(node):
        tried.append(node.path)
        return "not there"

    assert simulate(pipeline, behave).root.state == "FAILED"
    assert tried == ["importer"]


@pytest.mark.rule(
    "Control flow: the wait is backoffDuration times factor^k, capped by backoffMaxDuration"
)
@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        ({"backoffDuration": "2s", "backoffFactor": 3.0}, [2, 6, 18, 54]),
        ({"backoffDuration": "1.5s"}, [1.5, 3, 6, 12]),
        (
            {"backoffDuration": "10s", "backoffFactor": 2.0, "backoffMaxDuration": "30s"},
            [10, 20, 30, 30],
        ),
        ({"backoffDuration": "1000s", "backoffFactor": 10.0}, [1000, 3600, 3600, 3600]),
        ({"backoffDuration": "7200s", "backoffMaxDuration": "9000s"}, [3600, 3600, 3600, 3600]),
        ({"backoffDuration": "4s", "backoffFactor": 1.0}, [4, 4, 4, 4]),
        ({}, [0, 0, 0, 0]),
        (
            {"backoffDuration": "1s", "backoffFactor": 1e200, "backoffMaxDuration": "5s"},
            [1, 5, 5, 5],
        ),
    ],
)
def test_the_waits(policy, waits, compiled, simulate, monkeypatch):
    from kfgcp.semantics.scheduler import Scheduler

    @dsl.pipeline(name="retries")
    def pipeline(file: str):
        fails_until(count=9, file=file).set_retry(4)

    spec = compiled(pipeline)
    spec["root"]["dag"]["tasks"]["fails-until"]["retryPolicy"] = {"maxRetryCount": 4, **policy}
    recorded_waits = []
    record_failure = Scheduler.record_failure

    def record_wait(self, *args):
        wait = record_failure(self, *args)
        recorded_waits.append(wait)
        return wait

    monkeypatch.setattr(Scheduler, "record_failure", record_wait)
    simulate(spec, lambda node: "no", {"file": ""})

    assert recorded_waits == [*waits, None]


@pytest.mark.rule("Control flow: maxRetryCount N means N extra attempts, after failure only")
def test_the_final_status_of_a_task_that_succeeded_after_a_failure_has_no_error(
    execute, task, tmp_path, compiled
):
    @dsl.pipeline(name="retries")
    def pipeline(file: str):
        with dsl.ExitHandler(status_of()):
            fails_until(count=2, file=file).set_retry(1, backoff_duration="0s")

    spec = compiled(pipeline)
    handler = spec["components"].pop("comp-exit-handler-1")
    inner = handler["dag"]["tasks"]["fails-until"]
    inner["inputs"]["parameters"]["file"]["componentInputParameter"] = "file"
    spec["root"]["dag"]["tasks"]["exit-handler-1"] = inner
    run = execute(spec, {"file": str(tmp_path / "count")})

    assert task(run, "status-of").outputs == {"Output": '["SUCCEEDED", null]'}


@pytest.mark.rule("Control flow: failure_policy fast stops launching anything new")
def test_fail_fast_forgets_retries_that_wait(compiled, simulate, states, tmp_path):
    @dsl.pipeline(name="retries")
    def pipeline():
        fails_until(count=9, file="a").set_retry(3, backoff_duration="0s")
        fails_until(count=9, file="b")

    tried = []

    def behave(node):
        tried.append(node.path)
        return "no"

    scheduler = simulate(pipeline, behave, limit=1, fail_fast=True)

    # the second ends the run while the first waits for its next attempt
    assert states(scheduler) == {"fails-until": "FAILED", "fails-until-2": "FAILED"}
    assert tried == ["fails-until", "fails-until-2"]


@pytest.mark.rule("Control flow: failure_policy fast stops launching anything new")
def test_fail_fast_launches_nothing_that_waits(simulate, states):
    @dsl.pipeline(name="waits")
    def pipeline():
        fails_until(count=9, file="a")
        last = fails_until(count=1, file="b")
        fails_until(count=1, file="c").after(last)

    scheduler = simulate(pipeline, lambda node: "no", limit=1, fail_fast=True)

    assert states(scheduler) == {
        "fails-until": "FAILED",
        "fails-until-2": "SKIPPED",
        "fails-until-3": "SKIPPED",
    }
