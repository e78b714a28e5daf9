"""Repeating a run without what did not change, and going on with one that was interrupted."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kfgcp import api
from kfgcp.errors import UsageError
from kfgcp.model import Run, RunState, TaskState
from kfgcp.tracking.handle import RunHandle
from kfgcp_command import Command
from patience import PROCESS, wait_for

SOURCE = """
from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

@dsl.component(base_image="python:3.11")
def square(n: int, journal: str) -> int:
    import os
    with open(journal + "/journal", "a") as file:
        file.write(os.environ["KFGCP_TASK"] + chr(10))
    return n * n

@dsl.component(base_image="python:3.11")
def table(n: int, data: Output[Dataset], metrics: Output[Metrics]):
    metrics.log_metric("rows", n)
    open(data.path, "w").write("row" * n)

@dsl.component(base_image="python:3.11")
def length(data: Input[Dataset], limit: int) -> int:
    size = len(open(data.path).read())
    if size > limit:
        raise ValueError(f"{size} is more than {limit}")
    return size

@dsl.pipeline(name="inner")
def inner(n: int, journal: str) -> int:
    one = square(n=n, journal=journal)
    return square(n=one.output, journal=journal).output

@dsl.pipeline(name="repeat")
def pipeline(journal: str, n: int = 2, other: int = 3, limit: int = 1000) -> int:
    first = square(n=n, journal=journal).set_caching_options(False)
    beside = square(n=other, journal=journal).set_caching_options(False)
    nested = inner(n=first.output, journal=journal)
    made = table(n=nested.output).set_caching_options(False)
    return length(data=made.outputs["data"], limit=limit).set_caching_options(False).output
"""


@pytest.fixture
def start(home: Path) -> Callable[..., Run]:
    (home / "repeat.py").write_text(SOURCE, encoding="utf-8")

    def run(**params: Any) -> Run:
        return finish(
            api.submit(
                "repeat.py:pipeline", params={"journal": str(home), **params}, in_process=True
            )
        )

    return run


def finish(handle: RunHandle) -> Run:
    return handle.wait(PROCESS, check=False).snapshot


def states(run: Run) -> dict[str, str]:
    return {task.path: task.state.value for task in run.tasks}


def test_what_failed_runs_again_and_what_succeeded_does_not(
    start: Callable[..., Run], home: Path
) -> None:
    failed = start(limit=10)
    assert states(failed)["length"] == "FAILED"
    assert failed.error is not None
    assert failed.error.message == "ValueError: 768 is more than 10"
    before = (home / "journal").read_text()

    run = finish(api.rerun(failed, params={"limit": 1000}, in_process=True, wait=False))

    assert run.run_id != failed.run_id
    assert run.outputs == {"Output": 768}
    assert states(run) == {
        "square": "CACHED",
        "square-2": "CACHED",
        "inner": "SUCCEEDED",
        "inner/square": "CACHED",
        "inner/square-2": "CACHED",
        "table": "CACHED",
        "length": "SUCCEEDED",
    }
    assert (home / "journal").read_text() == before
    [task] = [task for task in run.tasks if task.path == "table"]
    assert task.cache is not None
    assert task.cache.reason == f"taken from run {failed.run_id}: same code and inputs"
    assert [(metric.task, metric.value) for metric in run.metrics] == [("table", 256)]


def test_a_changed_parameter_runs_only_what_depends_on_it(start: Callable[..., Run]) -> None:
    run = finish(api.rerun(start(), params={"n": 1}, in_process=True, wait=False))
    assert run.outputs == {"Output": 3}
    assert states(run)["square-2"] == "CACHED"
    assert [path for path, state in states(run).items() if state == "SUCCEEDED"] == [
        "square",
        "inner",
        "inner/square",
        "inner/square-2",
        "table",
        "length",
    ]


def test_from_a_task_on_everything_that_depends_on_it_runs_again(start: Callable[..., Run]) -> None:
    first = start()
    run = finish(api.rerun(first, from_task="inner/square-2", in_process=True, wait=False))
    assert states(run) == {
        "square": "CACHED",
        "square-2": "CACHED",
        "inner": "SUCCEEDED",
        "inner/square": "CACHED",
        "inner/square-2": "SUCCEEDED",
        "table": "SUCCEEDED",
        "length": "SUCCEEDED",
    }
    assert run.outputs == first.outputs


LOOPS = """
from kfp import dsl
from kfp.dsl import Dataset, Input

@dsl.component(base_image="python:3.11")
def add(a: int, b: int) -> int:
    return a + b

@dsl.component(base_image="python:3.11")
def total(numbers: list) -> int:
    return sum(sum(each) for each in numbers)

@dsl.component(base_image="python:3.11")
def size(data: Input[Dataset]) -> int:
    return len(open(data.path).read())

@dsl.pipeline(name="loops")
def pipeline(data: str) -> int:
    imported = dsl.importer(artifact_uri=data, artifact_class=Dataset)
    size(data=imported.output)
    with dsl.ParallelFor([1, 2]) as one:
        with dsl.ParallelFor([10, 20]) as other:
            made = add(a=one, b=other)
    return total(numbers=dsl.Collected(made.output)).output
"""


@pytest.mark.parametrize(
    ("from_task", "again"),
    [
        ("for-loop-2[1]/for-loop-4[0]/add", {"for-loop-2[1]/for-loop-4[0]/add", "total"}),
        ("for-loop-2[1]/for-loop-4[0]", {"for-loop-2[1]/for-loop-4[0]/add", "total"}),
        (
            "for-loop-2[0]",
            {"for-loop-2[0]/for-loop-4[0]/add", "for-loop-2[0]/for-loop-4[1]/add", "total"},
        ),
        (
            "for-loop-2",
            {f"for-loop-2[{i}]/for-loop-4[{j}]/add" for i in (0, 1) for j in (0, 1)} | {"total"},
        ),
        ("importer", {"size"}),
    ],
)
def test_from_a_loop_an_iteration_or_an_importer(
    home: Path, from_task: str, again: set[str]
) -> None:
    (home / "loops.py").write_text(LOOPS, encoding="utf-8")
    first = finish(
        api.submit("loops.py:pipeline", params={"data": str(home / "loops.py")}, in_process=True)
    )
    assert first.outputs == {"Output": 66}
    run = finish(api.rerun(first, from_task=from_task, in_process=True, wait=False))
    assert {
        task.path for task in run.tasks if task.kind == "container" and task.state == "SUCCEEDED"
    } == again
    assert run.outputs == {"Output": 66}


def test_an_interrupted_rerun_continues_with_its_options(home: Path) -> None:
    (home / "chain.py").write_text(
        """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def step(n: int, folder: str, wait: str) -> int:
    import os, time
    open(folder + wait + ".started", "w").close()
    while os.path.exists(folder + wait):
        time.sleep(0.01)
    return n + 1

@dsl.pipeline(name="chain")
def pipeline(folder: str) -> int:
    first = step(n=1, folder=folder, wait="/no")
    second = step(n=first.output, folder=folder, wait="/wait")
    return step(n=second.output, folder=folder, wait="/no").output
""",
        encoding="utf-8",
    )
    first = finish(api.submit("chain.py", params={"folder": str(home)}, in_process=True))
    (home / "wait").touch()
    (home / "wait.started").unlink()
    command = [Path(sys.executable).with_name("kfgcp"), "rerun", first.run_id, "--from", "step"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    wait_for((home / "wait.started").exists)
    process.kill()
    process.wait()
    (home / "wait").unlink()
    run = api.resume().snapshot
    assert states(run) == {"step": "SUCCEEDED", "step-2": "SUCCEEDED", "step-3": "SUCCEEDED"}
    assert run.outputs == {"Output": 4}


def test_from_a_task_that_is_not_there_is_refused(start: Callable[..., Run]) -> None:
    first = start()
    with pytest.raises(UsageError, match="has no task 'nowhere'"):
        api.rerun(first, from_task="nowhere")
    assert len(api.list()) == 1


def test_outputs_that_are_gone_are_made_again(start: Callable[..., Run], home: Path) -> None:
    first = start()
    [data] = [artifact for artifact in first.artifacts if artifact.name == "data"]
    Path(data.uri.removeprefix("file://")).unlink()
    run = finish(api.rerun(first, in_process=True, wait=False))
    assert states(run)["table"] == "SUCCEEDED"
    assert states(run)["inner/square"] == "CACHED"


def test_a_run_that_ended_cannot_be_resumed(start: Callable[..., Run], kfgcp: Command) -> None:
    first = start()
    result = kfgcp("run", "--resume", first.run_id)
    assert result.code == 2
    assert "was not interrupted: it ended as SUCCEEDED" in result.err
    assert f"kfgcp rerun {first.run_id}" in result.err


def test_an_interrupted_run_continues_under_its_own_id(home: Path, kfgcp: Command) -> None:
    (home / "slow.py").write_text(
        """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def once(journal: str) -> str:
    open(journal, "a").write("once ")
    return "done"

@dsl.component(base_image="python:3.11")
def fails(journal: str):
    open(journal, "a").write("fails ")
    raise ValueError("for good")

@dsl.component(base_image="python:3.11")
def waits(go: str, before: str) -> str:
    import os, time
    open(go + ".started", "w").close()
    while not os.path.exists(go):
        time.sleep(0.01)
    return before + " and on"

@dsl.pipeline(name="slow")
def pipeline(journal: str, go: str) -> str:
    fails(journal=journal)
    return waits(go=go, before=once(journal=journal).output).output
""",
        encoding="utf-8",
    )
    command = [
        Path(sys.executable).with_name("kfgcp"),
        "run",
        "slow.py",
        "-p",
        f"journal={home}/journal",
    ]
    process = subprocess.Popen(
        [*command, "-p", f"go={home}/go"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: (home / "go.started").exists())
    running = api.show()
    refused = kfgcp("run", "--resume", running.run_id)
    assert refused.code == 2
    assert "is still running" in refused.err

    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    listed = kfgcp("list", "--json").json
    assert [run["state"] for run in listed] == ["FAILED"]
    assert f"kfgcp run --resume {running.run_id}" in listed[0]["error"]["message"]

    (home / "go").touch()
    result = kfgcp("run", "--resume", running.run_id, "--json")
    assert result.code == 6, "the task that failed before the interruption did not fail the run"
    run = result.json
    assert run["run_id"] == running.run_id
    assert {task["path"]: task["state"] for task in run["tasks"]} == {
        "once": "SUCCEEDED",
        "fails": "FAILED",
        "waits": "SUCCEEDED",
    }
    assert {task["path"]: task["attempts"] for task in run["tasks"]} == {
        "once": 1,
        "fails": 1,
        "waits": 2,
    }
    assert run["error"]["message"] == "ValueError: for good"
    assert sorted((home / "journal").read_text().split()) == ["fails", "once"], (
        "neither ran a second time"
    )
    assert [run["run_id"] for run in kfgcp("list", "--json").json] == [running.run_id]


def test_repeating_a_run_from_python_gives_the_run_that_ended(start: Callable[..., Run]) -> None:
    first = start()
    run = api.rerun(first, timeout=PROCESS)
    assert run.state is RunState.SUCCEEDED
    assert run.run_id != first.run_id
    assert {task.state for task in run.tasks if task.kind == "container"} == {TaskState.CACHED}


EDITED = """
from kfp import dsl
from steps_of_us import say

@dsl.pipeline(name="edited")
def pipeline(text: str = "before") -> str:
    return say(text=text).output
"""
STEP = """
from kfp import dsl

@dsl.component(base_image="python:3.11")
def say(text: str) -> str:
    return text
"""


def test_a_rerun_after_an_edit_says_that_it_repeats_the_recorded_code(
    kfgcp: Command, home: Path
) -> None:
    (home / "pipelines").mkdir()
    (home / "pipelines" / "p.py").write_text(EDITED)
    (home / "steps_of_us.py").write_text(STEP)
    first = kfgcp("run", "pipelines/p.py:pipeline", "--json")
    assert first.code == 0, first.err
    run_id = first.json["run_id"]

    same = kfgcp("rerun", run_id, "--json")
    assert "was edited" not in same.err

    (home / "steps_of_us.py").write_text(STEP.replace("return text", "return text.upper()"))
    again = kfgcp("rerun", run_id, "-p", "text=after", "--json")
    assert again.json["outputs"] == {"Output": "after"}
    assert (
        f"note: steps_of_us.py was edited after run {run_id}. The rerun uses the code that was"
        " recorded with that run. To run the new code: kfgcp run pipelines/p.py:pipeline"
        in again.err.splitlines()
    )

    # A rerun of a rerun knows it too, from any folder of the project.
    (home / "pipelines" / "p.py").write_text(EDITED + "\n# edited\n")
    (home / "kfgcp.toml").write_text("")
    third = kfgcp("rerun", again.json["run_id"], "--json", cwd=home / "pipelines")
    assert f"{home}/steps_of_us.py were edited" in third.err
    assert third.err.splitlines()[0].startswith("note: p.py, ")
    assert "To run the new code: kfgcp run p.py:pipeline" in third.err


def test_a_rerun_of_a_compiled_file_that_was_written_again_says_so(
    kfgcp: Command, home: Path, pipeline: Callable[[str], Path]
) -> None:
    compiled = home / "chain.yaml"
    compiled.write_text(pipeline("chain").read_text())
    run_id = kfgcp("run", "chain.yaml", "--json").json["run_id"]
    compiled.write_text("# edited\n" + compiled.read_text())

    with pytest.warns(
        api.RecordedCode,
        match=rf"chain\.yaml was edited after run {run_id}.* kfgcp run chain\.yaml",
    ):
        api.rerun(run_id, in_process=True)
