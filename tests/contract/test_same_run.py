"""One pipeline on each backend: the runs have the same data, except for names, times and URIs.

The comparison leaves out only: ids and names made of ids, times, the environment, URIs, the reason
why a task did not come from the cache, a label that Vertex AI adds, and the file of metrics, which
Kubeflow Pipelines 3.0 does not have.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import kfgcp
from json_types import JsonDict
from kfgcp.model import Run
from kfgcp.testing import KubeflowStandIn, VertexStandIn
from kfgcp.tracking.handle import RunHandle
from kfgcp_command import Command
from patience import PROCESS

RunsOf = Callable[[bool], list[RunHandle]]
"""From the parameter `broken` of the pipeline to the run on each backend."""

BACKENDS = ("local", "vertex", "kubeflow", "kubeflow 3.0")
ENVIRONMENTS = {name: re.sub("[ .]", "-", name) for name in BACKENDS}
DIFFERENT_KEYS = (
    "run_id",
    "env",
    "backend",
    "backend_ref",
    "url",
    "name",
    "created_at",
    "started_at",
    "ended_at",
)
LABELS = ("env", "submission", "vertex-ai-pipelines-run-billing-id")
URI = re.compile(r"(?:file|gs)://\S*?/everything/[0-9a-f]+/")
WORKING_FOLDER = re.compile(r"/\S*/kfgcp-[0-9a-f]+/programs/[0-9a-f]+-")
JOB = re.compile(r"\blocal/everything-[0-9a-f]{12}\b")
PRODUCTS = {
    (row, column): x * y for row, x in enumerate((1, 2)) for column, y in enumerate((3, 4, 5))
}


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    pipeline: Callable[[str], Path],
    open_stand_in: Callable[[ExitStack, str], VertexStandIn | KubeflowStandIn],
) -> Iterator[RunsOf]:
    """Return a function that runs the pipeline `everything` on all backends, in their order.

    The project is the current folder.
    """
    folder = tmp_path_factory.mktemp("all")
    handles: dict[bool, list[RunHandle]] = {}
    file = pipeline("everything")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as change:
        change.chdir(folder)
        tables = ['[env.local]\nbackend = "local"\n']
        stand_ins = {}
        for name in BACKENDS[1:]:
            stand_ins[name] = open_stand_in(stack, name)
            tables.append(stand_ins[name].toml(ENVIRONMENTS[name]))
        (folder / "kfgcp.toml").write_text("".join(tables))

        def run_everywhere(broken: bool) -> list[RunHandle]:
            if broken not in handles:
                params = {"marker": str(folder / f"marker-{broken}"), "broken": broken}
                handles[broken] = []
                for name in BACKENDS:
                    # Tasks reach the bucket of one stand-in at a time.
                    if name in stand_ins:
                        change.setenv("STORAGE_EMULATOR_HOST", stand_ins[name].storage_endpoint)
                    handle = kfgcp.submit(
                        str(file), env=ENVIRONMENTS[name], params=params, cache=False
                    )
                    handles[broken].append(handle.wait(PROCESS, check=False))
            return handles[broken]

        yield run_everywhere


def comparable_data(run: Run) -> JsonDict:
    """Return the data of a run that must be equal on all backends.

    Tasks are by their path, and artifacts by task and name.
    """
    data = run.to_dict()
    for key in DIFFERENT_KEYS:
        del data[key]
    data["labels"] = {name: value for name, value in data["labels"].items() if name not in LABELS}
    for task in data["tasks"]:
        del task["started_at"], task["ended_at"]
        task["cache"] = task["cache"] and task["cache"]["hit"]
    data["tasks"] = {task["path"]: task for task in data["tasks"]}
    data["artifacts"] = {
        f"{artifact_data['task']}/{artifact_data['name']}": artifact_data
        for artifact_data in data["artifacts"]
    }
    for artifact in data["artifacts"].values():
        if artifact["type"] == "system.Metrics":
            del artifact["uri"]
            data["tasks"][artifact["task"]]["outputs"].pop(artifact["name"], None)
    return dict(_without_locations(data))


def _without_locations(value: object) -> Any:
    if isinstance(value, str):
        value = JOB.sub("JOB", WORKING_FOLDER.sub("PROGRAMS/", value))
        return URI.sub("ROOT/", value)
    if isinstance(value, dict):
        return {key: _without_locations(item) for key, item in value.items()}
    return [_without_locations(item) for item in value] if isinstance(value, list) else value


def _types(value: object) -> object:
    if isinstance(value, dict):
        return {key: _types(item) for key, item in value.items()}
    return [_types(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.feature("Runs: the same run as on the others, all but ids, times and places")
def test_the_run_is_the_same(runs: RunsOf, backend: str, broken: bool) -> None:
    """Each backend is compared with the next backend."""
    number = BACKENDS.index(backend)
    one, other = (
        runs(broken)[position % len(BACKENDS)].snapshot for position in (number, number + 1)
    )

    assert (one.env, other.env == one.env) == (ENVIRONMENTS[backend], False)
    assert comparable_data(one) == comparable_data(other)
    assert _types(comparable_data(one)) == _types(comparable_data(other)), (
        "the values are equal but their types differ, such as 36 and 36.0, or 1 and true"
    )


def test_the_run_is_what_the_pipeline_says(runs: RunsOf) -> None:
    """The values are written by hand, because two empty runs would also be the same."""
    for handle in runs(False):
        run = handle.snapshot
        tasks = {task.path: task for task in run.tasks}
        assert (run.state, run.error) == ("SUCCEEDED", None)
        assert run.outputs == {"chosen": "middle", "total": 36, "again": "second"}
        assert {path for path, task in tasks.items() if task.state == "SKIPPED"} == {
            "condition-branches-1/condition-2",
            "condition-branches-1/condition-4",
            "condition-5",
        }
        assert tasks["condition-5"].inputs == {"pipelinechannel--n": 5}
        assert tasks["second-time"].attempts == 2
        for (row, column), product in PRODUCTS.items():
            times = tasks[f"for-loop-6[{row}]/for-loop-7[{column}]/times"]
            assert (times.outputs, times.attempts) == ({"Output": product}, 1)
        assert tasks["total"].inputs == {"numbers": [[3, 4, 5], [6, 8, 10]]}
        assert tasks["report"].outputs == {"Output": "SUCCEEDED"}
        assert handle.metrics == {"score/metrics/points": 36}


def test_a_failure_is_what_the_pipeline_says(runs: RunsOf) -> None:
    for handle in runs(True):
        run = handle.snapshot
        tasks = {task.path: task for task in run.tasks}
        assert run.state == "FAILED"
        assert (run.error.task, run.error.message) == (
            "exit-handler-8/fragile",
            "ValueError: broken on purpose",
        )
        assert tasks["exit-handler-8"].error == tasks["exit-handler-8/fragile"].error == run.error
        assert tasks["exit-handler-8/say-6"].state == "SKIPPED"
        assert tasks["report"].outputs == {"Output": "FAILED"}


def test_tasks_are_in_the_order_they_started(runs: RunsOf) -> None:
    for handle in runs(False):
        started = [
            (task.started_at, task.path) for task in handle.snapshot.tasks if task.started_at
        ]
        assert started == sorted(started, key=lambda started_task: started_task[0]), (
            handle.snapshot.backend
        )


@pytest.mark.parametrize("broken", [False, True])
def test_a_comparison_shows_the_environment_and_nothing_else(runs: RunsOf, broken: bool) -> None:
    comparison = kfgcp.compare(runs(broken))

    different = [
        (difference.group, difference.name, difference.values)
        for difference in comparison.differences
        if difference.group != "durations"
    ]
    assert different == [("run", "environment", tuple(ENVIRONMENTS.values()))]


def test_so_does_the_command(runs: RunsOf, command: Command) -> None:
    result = command("compare", *[handle.run_id for handle in runs(False)], "--json")

    assert result.code == 0, result.err
    different = [
        difference
        for difference in result.json["differences"]
        if difference["group"] != "durations"
    ]
    assert [
        (difference["group"], difference["name"], difference["values"]) for difference in different
    ] == [("run", "environment", list(ENVIRONMENTS.values()))]
