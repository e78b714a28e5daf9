"""Exit handlers, final statuses, ignore_upstream_failure, cancelling."""

import json

import pytest
from kfp import dsl

from kfgcp import api
from kfgcp.semantics.values import Values
from patience import PROCESS

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def good(x: int = 1) -> int:
    return x


@dsl.component(base_image=IMAGE)
def bad() -> int:
    raise ValueError("on purpose")


@dsl.component(base_image=IMAGE)
def slow(file: str) -> int:
    import pathlib
    import time

    pathlib.Path(file).touch()
    time.sleep(3600)
    return 1


@dsl.component(base_image=IMAGE)
def report(status: dsl.PipelineTaskFinalStatus, note: str = "") -> str:
    import json

    status_fields = [status.state, status.pipeline_task_name, status.pipeline_job_resource_name]
    return json.dumps([*status_fields, status.error_code, status.error_message, note])


@dsl.component(base_image=IMAGE)
def state_of(status: dsl.PipelineTaskFinalStatus) -> str:
    return status.state


@pytest.mark.rule("Control flow: exit-handler-N is a DAG and the exit task runs after it")
@pytest.mark.rule("Control flow: the final status is state, task name, job resource name and error")
def test_the_exit_task_after_a_success(execute, states, written):
    @dsl.pipeline(name="handled")
    def handled(note: str = "it's {{$}}"):
        with dsl.ExitHandler(report(note=note)):
            first = good(x=1)
            good(x=first.output)

    run = execute(handled)

    assert run.state == "SUCCEEDED"
    assert states(run) == {
        "exit-handler-1": "SUCCEEDED",
        "exit-handler-1/good": "SUCCEEDED",
        "exit-handler-1/good-2": "SUCCEEDED",
        "report": "SUCCEEDED",
    }
    assert written(run, "report") == [
        "SUCCEEDED",
        "exit-handler-1",
        f"local/handled-{run.run_id}",
        None,
        None,
        "it's {{$}}",
    ]
    ended = {task.path: (task.started_at, task.ended_at) for task in run.tasks}
    assert ended["report"][0] >= ended["exit-handler-1"][1]


@pytest.mark.rule("Control flow: the exit task runs whatever happened in its exit handler")
@pytest.mark.rule("Control flow: the final status is state, task name, job resource name and error")
@pytest.mark.rule("Control flow: the run is FAILED when something inside the exit handler failed")
def test_the_exit_task_after_a_failure(execute, states, written):
    @dsl.pipeline(name="handled")
    def handled():
        with dsl.ExitHandler(report()):
            bad()
            good()

    run = execute(handled)

    assert run.state == "FAILED"
    assert states(run) == {
        "exit-handler-1": "FAILED",
        "exit-handler-1/bad": "FAILED",
        "exit-handler-1/good": "SUCCEEDED",
        "report": "SUCCEEDED",
    }
    state, task, job, code, message, _ = written(run, "report")
    assert (state, task, job) == ("FAILED", "exit-handler-1", f"local/handled-{run.run_id}")
    assert isinstance(code, int)
    assert "on purpose" in message
    assert run.error.task == "exit-handler-1/bad"


@pytest.mark.rule("Control flow: the exit task runs whatever happened in its exit handler")
def test_the_exit_task_of_a_handler_that_was_skipped(execute, states, task):
    @dsl.pipeline(name="handled")
    def handled():
        first = bad()
        with dsl.ExitHandler(state_of()):
            good(x=first.output)

    run = execute(handled)

    assert run.state == "FAILED"
    assert states(run) == {"bad": "FAILED", "exit-handler-1": "SKIPPED", "state-of": "SUCCEEDED"}
    # one of the three states of a final status: it did not fail, and did not do its work
    assert task(run, "state-of").outputs == {"Output": "CANCELLED"}


@pytest.mark.rule("Control flow: the exit task runs whatever happened in its exit handler")
def test_the_exit_task_may_be_a_pipeline(execute, states, task):
    @dsl.pipeline(name="clean")
    def clean(status: dsl.PipelineTaskFinalStatus, x: int = 3):
        first = good(x=x)
        good(x=first.output)

    @dsl.pipeline(name="handled")
    def handled():
        with dsl.ExitHandler(clean()):
            bad()

    run = execute(handled)

    assert run.state == "FAILED"
    assert states(run) == {
        "exit-handler-1": "FAILED",
        "exit-handler-1/bad": "FAILED",
        "clean": "SUCCEEDED",
        "clean/good": "SUCCEEDED",
        "clean/good-2": "SUCCEEDED",
    }
    assert task(run, "clean/good-2").outputs == {"Output": 3}


@pytest.mark.rule("Control flow: the run is FAILED when something inside the exit handler failed")
def test_a_failed_exit_task_fails_the_run(execute, states):
    @dsl.pipeline(name="handled")
    def handled():
        with dsl.ExitHandler(bad()):
            good()

    run = execute(handled)

    assert run.state == "FAILED"
    assert states(run) == {
        "exit-handler-1": "SUCCEEDED",
        "exit-handler-1/good": "SUCCEEDED",
        "bad": "FAILED",
    }


@pytest.mark.rule("Control flow: failure_policy fast stops launching anything new")
def test_fail_fast_runs_exit_tasks_all_the_same(execute, states):
    @dsl.pipeline(name="handled")
    def handled():
        with dsl.ExitHandler(state_of()):
            bad()
            last = good(x=1)
            good(x=last.output)

    run = execute(handled, fail_fast=True, max_parallel=1)

    assert states(run) == {
        "exit-handler-1": "FAILED",
        "exit-handler-1/bad": "FAILED",
        "exit-handler-1/good": "SKIPPED",
        "exit-handler-1/good-2": "SKIPPED",
        "state-of": "SUCCEEDED",
    }


@pytest.mark.rule("Control flow: the exit task runs whatever happened in its exit handler")
def test_the_exit_task_of_a_cancelled_run(home, tmp_path, eventually, states):
    @dsl.pipeline(name="handled")
    def handled(file: str):
        with dsl.ExitHandler(state_of()):
            first = slow(file=file)
            good(x=first.output)

    from google.protobuf import json_format

    from kfgcp.spec.load import from_documents

    spec = from_documents([json_format.MessageToDict(handled.pipeline_spec)], "test")
    started = tmp_path / "started"
    handle = api.submit(spec, params={"file": str(started)}, in_process=True)
    eventually(started.exists)
    run = handle.cancel().wait(PROCESS, check=False).snapshot

    assert run.state == "CANCELLED"
    assert states(run) == {
        "exit-handler-1": "CANCELLED",
        "exit-handler-1/slow": "CANCELLED",
        "exit-handler-1/good": "CANCELLED",
        "state-of": "SUCCEEDED",
    }
    assert next(task for task in run.tasks if task.path == "state-of").outputs == {
        "Output": "CANCELLED"
    }


@pytest.mark.rule(
    "Control flow: ignore_upstream_failure runs with the defaults of what the failed upstream did"
    " not produce"
)
def test_ignore_upstream_failure(execute, states, task):
    @dsl.pipeline(name="ignores")
    def ignores():
        first = bad()
        last = good(x=first.output).ignore_upstream_failure()
        good(x=last.output)
        good(x=first.output)

    run = execute(ignores)

    assert run.state == "FAILED"
    assert states(run) == {
        "bad": "FAILED",
        "good": "SUCCEEDED",
        "good-2": "SUCCEEDED",
        "good-3": "SKIPPED",
    }
    assert task(run, "good").outputs == {"Output": 1}


@pytest.mark.rule(
    "Control flow: ignore_upstream_failure runs with the defaults of what the failed upstream did"
    " not produce"
)
def test_ignore_upstream_failure_takes_what_was_produced(execute, task):
    @dsl.pipeline(name="ignores")
    def ignores():
        first = good(x=5)
        good(x=first.output).ignore_upstream_failure()

    assert task(execute(ignores), "good-2").outputs == {"Output": 5}


@pytest.mark.rule(
    "Control flow: ignore_upstream_failure runs with the defaults of what the failed upstream did"
    " not produce"
)
def test_the_status_of_an_ignored_failure(execute, written):
    @dsl.pipeline(name="plain")
    def plain():
        first = bad()
        report(note="x").after(first).ignore_upstream_failure()

    run = execute(plain)

    assert written(run, "report")[:2] == ["FAILED", "bad"]


@pytest.mark.rule("Control flow: a task that cannot be given its inputs fails")
def test_an_ignored_failure_without_a_default_fails(execute, compiled, states, task):
    @dsl.pipeline(name="ignores")
    def ignores():
        first = bad()
        good(x=first.output).ignore_upstream_failure()

    spec = compiled(ignores)
    del spec["components"]["comp-good"]["inputDefinitions"]["parameters"]["x"]["defaultValue"]
    spec["components"]["comp-good"]["inputDefinitions"]["parameters"]["x"].pop("isOptional", None)
    run = execute(spec)

    assert states(run) == {"bad": "FAILED", "good": "FAILED"}
    assert (
        "input 'x' has no value: task 'bad' has no output 'Output'"
        in task(run, "good").error.message
    )


@pytest.mark.rule("Control flow: the final status is state, task name, job resource name and error")
def test_the_final_status_on_the_wire(simulate):
    @dsl.pipeline(name="handled")
    def handled():
        with dsl.ExitHandler(state_of()):
            bad()

    seen = []

    def behave(node):
        if node.path == "state-of":
            seen.append(json.loads(json.dumps(node.inputs.params)))
            return Values({"Output": ""})
        return 'broken: it\'s "bad"'

    simulate(handled, behave)

    assert seen == [
        {
            "status": {
                "state": "FAILED",
                "pipelineTaskName": "exit-handler-1",
                "pipelineJobResourceName": "",
                "error": {"code": 1, "message": 'broken: it\'s "bad"'},
            }
        }
    ]


@pytest.mark.rule("Control flow: the final status is state, task name, job resource name and error")
def test_the_final_status_without_an_error_is_as_on_kubeflow(simulate):
    """kfp 2.10 in an image reads the fields of `error` also when there is none."""

    @dsl.pipeline(name="handled")
    def handled():
        with dsl.ExitHandler(state_of()):
            bad()

    received = []

    def behave(node):
        if node.path == "state-of":
            received.append(json.loads(json.dumps(node.inputs.params["status"])))
            return Values({"Output": ""})
        return Values()

    simulate(handled, behave)

    assert [status["error"] for status in received] == [{}]
