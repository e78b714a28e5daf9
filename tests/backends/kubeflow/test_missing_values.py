"""ML Metadata is away: runs are shown without their values, which is said, and the values come when
it is back."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kfgcp as public
from json_types import JsonDict
from kfgcp import api
from kfgcp.backends.kubeflow import executions_from_mlmd as metadata
from kfgcp.store.rows import ReadLevel
from kfgcp.store.store import Store
from kfgcp.testing import KubeflowStandIn
from kfgcp_command import Command

CALLS = "/ml_metadata.*"
MISSING = "Runs of cloud are shown without values, metrics and artifacts: ML Metadata"


@pytest.fixture
def seeded(cluster: KubeflowStandIn) -> list[str]:
    """Three runs that have ended, with metrics."""
    return cluster.seed(3, metrics={"accuracy": 0.5}, params={"lr": lambda number: number / 10})


@pytest.fixture
def shown(kfgcp: Command) -> Callable[[str], tuple[JsonDict, str]]:
    """A run as `kfgcp show --json` prints it, and the note beside it, empty when there is none."""

    def show(run: str) -> tuple[JsonDict, str]:
        done = kfgcp("show", run, "--json")
        assert done.code == 0, done.err
        assert "Traceback" not in done.err
        lines = done.err.splitlines()
        assert len(lines) <= 1, "the note is printed more than once"
        return done.json, lines[0].removeprefix("note: ") if lines else ""

    return show


def without_values(run: JsonDict) -> bool:
    assert run["state"] == "SUCCEEDED"
    assert run["tasks"], "the tasks of the workflow are missing"
    return (
        not run["metrics"]
        and not run["artifacts"]
        and all(not task["outputs"] for task in run["tasks"])
    )


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("404", "refused POST"),
        ("503", "failed to answer POST"),
        ("403", "refused POST"),
        ("401", "did not accept the sign-in"),
        ("garbage", "did not answer GetContextByTypeAndName: the answer is not gRPC-Web"),
        ("reset", "closed the connection"),
    ],
)
def test_a_run_is_shown_without_values_and_says_why_and_they_come_later(
    cluster: KubeflowStandIn,
    seeded: list[str],
    shown: Callable[[str], tuple[JsonDict, str]],
    fault: str,
    why: str,
    kfgcp: Command,
) -> None:
    cluster.faults(1, [fault], path=CALLS, retry_after=61 if fault == "503" else None)

    run, note = shown(seeded[0])

    assert without_values(run)
    assert note.startswith(MISSING)
    assert why in note
    assert run["params"] == {"lr": 0.0}, "these fields come from the pipelines API"

    cluster.faults(0)
    run, note = shown(seeded[0])
    assert note == ""
    assert [metric["value"] for metric in run["metrics"]] == [0.5]
    assert [task["path"] for task in run["tasks"]] == ["train"]

    mark = len(cluster.requests)
    assert shown(seeded[0]) == (run, "")
    assert len(cluster.requests) == mark, "the run is complete now and not read again"


def test_a_service_that_hangs_does_not_keep_the_run_from_being_shown(
    cluster: KubeflowStandIn, seeded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipelines API answers; the calls of ML Metadata have no end."""
    monkeypatch.setattr(metadata, "SECONDS", 0.5)
    hang(cluster)

    with pytest.warns(
        api.NotWhole, match=rf"^{MISSING}: 127\.0\.0\.1 did not send a whole answer within 0\.5 s"
    ):
        handle = public.show(seeded[0])

    (call,) = cluster.requests.select("POST", CALLS)
    assert call.status is None, "the call continues"
    assert handle.state == "SUCCEEDED"
    assert [task.path for task in handle.tasks] == ["train"]
    with Store(Path(".kfgcp")) as store:
        assert store.read_level(seeded[0]) is ReadLevel.PARTIAL


def hang(cluster: KubeflowStandIn) -> None:
    """Calls of ML Metadata wait until the stand-in is closed."""
    call = cluster.metadata.call

    def wait(request: Any) -> Any:
        cluster._server._stopped.wait()
        return call(request)

    cluster.metadata.call = wait  # type: ignore[method-assign]


def test_a_server_that_has_no_tasks_of_a_run_is_reported(
    cluster: KubeflowStandIn, seeded: list[str]
) -> None:
    """Kubeflow Pipelines 3.0 has no ML Metadata: a run of the server that was there before has no
    tasks any more."""
    cluster.keeps_tasks = True

    note = f"Run {seeded[0]} of cloud is shown without tasks: the API server has no tasks"
    with pytest.warns(api.NotWhole, match=note):
        public.show(seeded[0])
    with pytest.warns(api.NotWhole):
        assert [run.state for run in public.list()] == ["SUCCEEDED"] * 3
    assert cluster.requests.count("GET", "*/artifacts") == 1


def test_a_list_says_it_once_and_later_lists_bring_the_values(
    cluster: KubeflowStandIn, seeded: list[str], kfgcp: Command
) -> None:
    cluster.faults(1, ["404"], path=CALLS)

    for form in ((), ("--json",)):
        done = kfgcp("list", "--metrics", "--env", "cloud", *form)
        assert done.code == 0, done.err
        assert done.err.count("note: ") == len(done.err.splitlines()) == 1
        assert MISSING in done.err
        assert "accuracy" not in done.out

    cluster.faults(0)
    done = kfgcp("list", "--metrics", "--env", "cloud", "--json")
    assert done.err == ""
    assert [[metric["value"] for metric in run["metrics"]] for run in done.json] == [[0.5]] * 3
    mark = len(cluster.requests)
    assert kfgcp("list", "--metrics", "--env", "cloud", "--json").json == done.json
    assert cluster.requests.count("POST", CALLS, since=mark) == 0, (
        "the runs are complete and not read again"
    )


def test_a_thousand_runs_ask_an_absent_service_a_few_times_only(
    cluster: KubeflowStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "LATER", 3600.0)
    cluster.seed(1000, metrics={"accuracy": 0.5})
    cluster.faults(1, ["404"], path=CALLS)

    with pytest.warns(api.NotWhole) as caught_warnings:
        first = public.list()
    assert len(first) == 1000
    assert cluster.requests.count("POST", CALLS) <= 16, (
        "more requests than runs that are read at the same time"
    )
    assert len({str(warning.message) for warning in caught_warnings}) == 1

    mark = len(cluster.requests)
    with pytest.warns(api.NotWhole):
        assert public.list() == first
    assert len(cluster.requests) - mark <= 2 + 16 * 2, "too many requests are tried again"


def test_all_of_them_are_read_once_it_is_back(
    cluster: KubeflowStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "LATER", 0.0)
    cluster.seed(100, metrics={"accuracy": 0.5})
    cluster.faults(1, ["404"], path=CALLS)
    with pytest.warns(api.NotWhole):
        assert all(not run.metrics for run in public.list())

    cluster.faults(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", api.NotWhole)
        runs = public.list()

    assert [[metric.value for metric in run.metrics] for run in runs] == [[0.5]] * 100


def test_a_run_that_ends_while_it_is_watched(
    cluster: KubeflowStandIn, pipeline: Callable[[str], Path], kfgcp: Command
) -> None:
    """`run` waits, says what is missing, and succeeds all the same; `show` has the values later."""
    cluster.faults(1, ["404"], path=CALLS)

    done = kfgcp("run", pipeline("two_scores"), "--env", "cloud", "--json")

    assert (done.code, done.json["state"], done.json["artifacts"]) == (0, "SUCCEEDED", [])
    assert done.err.count(MISSING) == 1
    cluster.faults(0)
    assert kfgcp("show", done.json["run_id"], "--json").json["artifacts"]


def test_a_failed_run_names_its_task_without_them(
    cluster: KubeflowStandIn, shown: Callable[[str], tuple[JsonDict, str]]
) -> None:
    (run_id,) = cluster.seed(1, failing={"train": "no memory"})
    cluster.faults(1, ["404"], path=CALLS)

    run, note = shown(run_id)

    assert note.startswith(MISSING)
    assert (run["state"], run["error"]["task"]) == ("FAILED", "train")
    cluster.faults(0)
    run, note = shown(run_id)
    assert note == ""
    assert run["error"]["message"] == run["error"]["log_tail"][-1] == "train is made up"


def test_what_is_written_of_it_in_a_frame(cluster: KubeflowStandIn, seeded: list[str]) -> None:
    cluster.faults(1, ["404"], path=CALLS)

    with pytest.warns(api.NotWhole):
        frame = public.runs(env="cloud")

    assert len(frame) == 3
    assert not [column for column in frame.columns if column.startswith("metrics.")]
    assert sorted(frame["params.lr"]) == [0.0, 0.1, 0.2]
    assert api.list(refresh=False)[0].metrics == ()


def test_no_task_is_running_in_a_run_that_ended_during_an_outage(
    cluster: KubeflowStandIn,
    shown: Callable[[str], tuple[JsonDict, str]],
    kfgcp: Command,
    pipeline: Callable[[str], Path],
) -> None:
    cluster.instant.seconds = 600.0
    run = kfgcp(
        "run", pipeline("shapes"), "-p", "uri=gs://b/x", "--detach", "--env", "cloud"
    ).out.strip()
    going, _ = shown(run)
    assert {task["state"] for task in going["tasks"]} == {"RUNNING"}

    cluster.faults(1, ["404"], path=CALLS)
    kfgcp("cancel", run)
    ended, note = shown(run)

    assert ended["state"] == "CANCELLED"
    assert "RUNNING" not in {task["state"] for task in ended["tasks"]}
    assert note.startswith(MISSING)

    cluster.faults(0)
    complete, note = shown(run)
    assert note == ""
    assert {task["path"] for task in complete["tasks"]} > {"importer", "inner", "total"}
    assert {task["state"] for task in complete["tasks"]} <= {"CANCELLED", "SKIPPED"}


def test_metrics_that_could_not_be_read_are_not_listed_as_none(
    cluster: KubeflowStandIn, seeded: list[str], kfgcp: Command
) -> None:
    cluster.faults(1, ["404"], path=CALLS)
    kfgcp("show", seeded[0])

    assert [run["metrics"] for run in kfgcp("list", "--json").json] == [None, None, None]

    cluster.faults(0)
    kfgcp("show", seeded[0])
    assert [bool(run["metrics"]) for run in kfgcp("list", "--json").json] == [False, False, True]
