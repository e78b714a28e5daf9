"""One pipeline on each backend: all that a run says of itself is the same, but for names, times and
places.

What is left out of the comparison, and nothing else: ids and what is made of them, times, the
environment, URIs, the words in which a backend says why a task did not come from the cache, a label
that Vertex AI adds, and the file of metrics, which Kubeflow Pipelines 3.0 does not have.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import kfgcp
from kfgcp.model import Run
from patience import PROCESS

BACKENDS = ("local", "vertex", "kubeflow", "kubeflow 3.0")
ENVIRONMENTS = {name: re.sub("[ .]", "-", name) for name in BACKENDS}
ITS_OWN = (
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
    open_stand_in: Callable[[ExitStack, str], Any],
) -> Iterator[Callable[[bool], list[Any]]]:
    """Gives the runs of the pipeline `everything` on all, in their order; the project is the
    current folder."""
    folder = tmp_path_factory.mktemp("all")
    made: dict[bool, list[Any]] = {}
    file = pipeline("everything")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as change:
        change.chdir(folder)
        tables = ['[env.local]\nbackend = "local"\n']
        opened = {}
        for name in BACKENDS[1:]:
            opened[name] = open_stand_in(stack, name)
            tables.append(opened[name].toml(ENVIRONMENTS[name]))
        (folder / "kfgcp.toml").write_text("".join(tables))

        def give(broken: bool) -> list[Any]:
            if broken not in made:
                params = {"marker": str(folder / f"marker-{broken}"), "broken": broken}
                made[broken] = []
                for name in BACKENDS:
                    if name in opened:  # tasks reach the bucket of one stand-in at a time
                        change.setenv("STORAGE_EMULATOR_HOST", opened[name].storage_endpoint)
                    handle = kfgcp.submit(
                        str(file), env=ENVIRONMENTS[name], params=params, cache=False
                    )
                    made[broken].append(handle.wait(PROCESS, check=False))
            return made[broken]

        yield give


def told(run: Run) -> dict[str, Any]:
    """All that a run says, without what is its own; tasks and artifacts by where they stand."""
    data = run.to_dict()
    for key in ITS_OWN:
        del data[key]
    data["labels"] = {name: value for name, value in data["labels"].items() if name not in LABELS}
    for task in data["tasks"]:
        del task["started_at"], task["ended_at"]
        task["cache"] = task["cache"] and task["cache"]["hit"]
    data["tasks"] = {task["path"]: task for task in data["tasks"]}
    data["artifacts"] = {f"{each['task']}/{each['name']}": each for each in data["artifacts"]}
    for artifact in data["artifacts"].values():
        if artifact["type"] == "system.Metrics":
            del artifact["uri"]
            data["tasks"][artifact["task"]]["outputs"].pop(artifact["name"], None)
    return dict(_placeless(data))


def _placeless(value: Any) -> Any:
    if isinstance(value, str):
        value = JOB.sub("JOB", WORKING_FOLDER.sub("PROGRAMS/", value))
        return URI.sub("ROOT/", value)
    if isinstance(value, dict):
        return {key: _placeless(each) for key, each in value.items()}
    return [_placeless(each) for each in value] if isinstance(value, list) else value


def _types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _types(each) for key, each in value.items()}
    return [_types(each) for each in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.feature("Runs: the same run as on the others, all but ids, times and places")
def test_the_run_is_the_same(runs: Any, backend: str, broken: bool) -> None:
    """Each is compared with the next one."""
    number = BACKENDS.index(backend)
    one, other = (runs(broken)[each % len(BACKENDS)].snapshot for each in (number, number + 1))

    assert (one.env, other.env == one.env) == (ENVIRONMENTS[backend], False)
    assert told(one) == told(other)
    assert _types(told(one)) == _types(told(other)), "36 is no 36.0, and 1 no true"


def test_the_run_is_what_the_pipeline_says(runs: Any) -> None:
    """Written by hand: empty runs are the same, too."""
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


def test_a_failure_is_what_the_pipeline_says(runs: Any) -> None:
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


def test_tasks_are_in_the_order_they_started(runs: Any) -> None:
    for handle in runs(False):
        started = [
            (task.started_at, task.path) for task in handle.snapshot.tasks if task.started_at
        ]
        assert started == sorted(started, key=lambda each: each[0]), handle.snapshot.backend


@pytest.mark.parametrize("broken", [False, True])
def test_a_comparison_shows_the_environment_and_nothing_else(runs: Any, broken: bool) -> None:
    found = kfgcp.compare(runs(broken))

    different = [
        (each.group, each.name, each.values)
        for each in found.differences
        if each.group != "durations"
    ]
    assert different == [("run", "environment", tuple(ENVIRONMENTS.values()))]


def test_so_does_the_command(runs: Any, command: Any) -> None:
    done = command("compare", *[handle.run_id for handle in runs(False)], "--json")

    assert done.code == 0, done.err
    different = [each for each in done.json["differences"] if each["group"] != "durations"]
    assert [(each["group"], each["name"], each["values"]) for each in different] == [
        ("run", "environment", list(ENVIRONMENTS.values()))
    ]
