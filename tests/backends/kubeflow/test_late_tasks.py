"""The server tells the end of a run before that of its tasks."""

import copy
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

import recorded_runs
from json_types import JsonDict
from kfgcp.backends.base import RunRef
from kfgcp.backends.kubeflow import late_tasks
from kfgcp.backends.kubeflow.late_tasks import JUST_ENDED, read_with_late_tasks
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.model import TaskState

END = datetime.fromisoformat("2026-11-29T08:57:12Z").timestamp()
"""When the recorded run param-none ended."""


def late(answer: JsonDict) -> JsonDict:
    """The run as it was read between the record of its end and those of its nodes."""
    changed = copy.deepcopy(answer)
    for detail in changed["run_details"]["task_details"]:
        if detail.get("state") == "FAILED":
            detail["state"] = "RUNNING"
    return changed


class Looks:
    """Answers to several looks, the last of them again and again; a clock; the pauses between the
    looks."""

    def __init__(self, *answers: JsonDict, now: float = END) -> None:
        self.answers = list(answers)
        self.now = now
        self.pauses: list[float] = []

    def read(self) -> JsonDict:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def result(self) -> JsonDict:
        return read_with_late_tasks(self.read, clock=lambda: self.now, sleep=self.sleep)


@pytest.fixture
def whole() -> JsonDict:
    return recorded_runs.read("param-none")


def test_a_run_with_late_tasks_is_read_again(whole: JsonDict) -> None:
    looks = Looks(late(whole), whole)

    assert looks.result() == whole
    assert looks.pauses == [1.0]


def test_it_is_read_three_times_at_most(whole: JsonDict) -> None:
    looks = Looks(late(whole))

    assert looks.result() == late(whole)
    assert looks.pauses == [1.0, 3.0]


@pytest.mark.parametrize("after", [JUST_ENDED + 1, -JUST_ENDED - 1])
def test_what_still_runs_a_minute_after_the_end_stays_so(whole: JsonDict, after: float) -> None:
    looks = Looks(late(whole), now=END + after)

    assert looks.result() == late(whole)
    assert looks.pauses == []


def test_a_run_whose_tasks_have_ended_is_read_once(whole: JsonDict) -> None:
    looks = Looks(whole)

    assert looks.result() == whole
    assert looks.pauses == []


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.update(state="RUNNING"),
        lambda run: run.update(finished_at="1970-01-01T00:00:00Z"),
        lambda run: run.pop("finished_at"),
        lambda run: run.update(run_details={}),
        lambda run: run.pop("run_details"),
        lambda run: [
            detail.pop("display_name", None) for detail in run["run_details"]["task_details"]
        ],
    ],
)
def test_other_runs_are_read_once(whole: JsonDict, change: Callable[[JsonDict], object]) -> None:
    answer = late(whole)
    change(answer)
    looks = Looks(answer)

    looks.result()

    assert looks.pauses == []


def test_the_failed_driver_of_a_task_is_seen_when_it_is_late(
    home: Path, whole: JsonDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way. Without the second look the task would be SKIPPED for good."""
    monkeypatch.setattr(late_tasks, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(late_tasks, "JUST_ENDED", float("inf"))
    with recorded_runs.serve(["param-none"]) as server:
        (home / "kfgcp.toml").write_text(
            f'[env.recorded]\nbackend = "kubeflow"\nhost = "{server.url}"\nauth = "anonymous"\n'
        )
        run_id = whole["run_id"]
        server.later_runs[run_id] = [server.runs[run_id]]
        server.runs[run_id] = late(server.runs[run_id])
        project = load_project()

        run = open_backend(project, project.env("recorded")).get(RunRef("recorded", run_id))

    assert next(task.state for task in run.tasks if task.path == "say") is TaskState.FAILED
    assert server.asked.count(("GET", f"{recorded_runs.RUNS}{run_id}")) == 2
