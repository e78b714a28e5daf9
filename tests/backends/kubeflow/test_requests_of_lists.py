"""How many requests lists cost: one for those that are shown, and what each run costs only when
that is wanted."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

import kfgcp as public
from exchanges import exchange
from json_types import JsonDict
from kfgcp import api
from kfgcp.backends.kubeflow.service import PAGE_SIZE
from kfgcp.errors import NotWhole
from kfgcp.model import RunState
from kfgcp.query import RunFilter
from kfgcp.testing import KubeflowStandIn, kubeflow
from kfgcp.testing.server import Request, Response
from kfgcp_command import Command
from patience import REQUEST, Answer, wait_for

RUNS, EXPERIMENTS = "/apis/v2beta1/runs", "/apis/v2beta1/experiments"


@pytest.fixture
def server(home: Path) -> Iterator[KubeflowStandIn]:
    """A stand-in that makes results up; the environment `gke` of the current project leads
    there."""
    with kubeflow(mode="instant") as started:
        (home / "kfgcp.toml").write_text(started.toml("gke"))
        yield started


@pytest.fixture
def cost(
    server: KubeflowStandIn,
) -> Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]]:
    """What a call gives, and the requests that it cost by what they asked for."""

    def measure(call: Callable[[], Answer]) -> tuple[Answer, dict[str, int]]:
        mark = len(server.requests)
        result = call()
        kinds: Counter[str] = Counter()
        for request in server.requests.select(since=mark):
            whole = {RUNS: "runs", EXPERIMENTS: "experiments"}.get(request.path)
            part = "metadata" if "ml_metadata" in request.path else request.path.split("/")[3]
            kinds[whole or part] += 1
        return result, dict(kinds)

    return measure


def mine(**labels: str) -> str:
    """The description that kfgcp gives to a run."""
    all_labels = {"pipeline": "seeded", "experiment": "churn", **labels}
    return "kfgcp: " + json.dumps(all_labels, separators=(",", ":"))


def test_a_list_is_one_request_however_many_runs_there_are(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    kfgcp: Command,
) -> None:
    seeded = server.seed(
        10_000, metrics={"accuracy": 0.5}, experiment="churn", description=lambda number: mine()
    )

    done, first = cost(lambda: kfgcp("list", "--limit", "50", "--json"))

    assert first == {"runs": 1}
    assert server.requests.select(path=RUNS)[0].query["page_size"] == "50"
    assert [run["run_id"] for run in done.json] == seeded[:-51:-1]
    assert {(run["pipeline"], run["experiment"], run["state"]) for run in done.json} == {
        ("seeded", "churn", "SUCCEEDED")
    }
    assert {run["metrics"] for run in done.json} == {None}, "the metrics were not read"

    again, second = cost(lambda: kfgcp("list", "--limit", "50", "--json"))
    assert second == {"runs": 1}
    assert again.json == done.json


@pytest.fixture
def unconverted(server: KubeflowStandIn, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two runs: one that the server answers as recorded servers answer a row that they cannot
    convert, and another."""
    broken, whole = server.seed(2)
    row = {**exchange("run-get-not-converted").answer, "run_id": broken}
    handle = server.handle

    def with_a_broken_row(request: Request) -> Response:
        response = handle(request)
        if request.path == f"{RUNS}/{broken}":
            return Response(200, row)
        if request.path == RUNS and isinstance(response.body, dict):
            rows = response.body.get("runs", [])
            response.body["runs"] = [row if run["run_id"] == broken else run for run in rows]
        return response

    monkeypatch.setattr(server, "handle", with_a_broken_row)
    return broken, whole


NOT_CONVERTED = (
    "Failed to convert internal run representation to its API counterpart due to missing pipeline"
    " source: Invalid input error: Failed to parse the pipeline source."
)


@pytest.mark.recorded(
    "Kubeflow: runs that the server cannot convert", "api-2.17.0/run-get-not-converted"
)
def test_a_run_that_the_server_cannot_convert_is_left_out_with_a_note(
    unconverted: tuple[str, str],
) -> None:
    broken, whole = unconverted

    with pytest.warns(NotWhole) as notes:
        runs = api.list(RunFilter(env="gke"))

    assert [run.run_id for run in runs] == [whole]
    assert [str(note.message) for note in notes] == [
        f"A run of gke is left out: Kubeflow Pipelines cannot read run {broken}: {NOT_CONVERTED}"
    ]


def test_a_run_that_the_server_cannot_convert_is_shown_with_its_error(
    unconverted: tuple[str, str], fails: Callable[..., tuple[str, str]]
) -> None:
    broken, _ = unconverted

    error, hint = fails(5, "show", broken)

    assert error == f"Kubeflow Pipelines cannot read run {broken}: {NOT_CONVERTED}"
    assert "the server's database is damaged" in hint


def test_a_run_that_was_running_when_it_could_still_be_read_does_not_end_a_list(
    server: KubeflowStandIn, pipeline: Callable[[str], Path]
) -> None:
    (other,) = server.seed(1, age=7200)
    server.instant.seconds = 3600
    run_id = public.submit(str(pipeline("two_scores")), env="gke").run_id
    assert public.show(run_id).state is RunState.RUNNING
    server.runs.find(run_id).unreadable = True

    with pytest.warns(
        NotWhole,
        match=f"kfgcp shows the last known state of run {run_id} of gke: .* cannot read run",
    ):
        runs = api.list(RunFilter(env="gke"), limit=5, metrics=False)

    assert [(run.run_id, run.state) for run in runs] == [
        (run_id, RunState.RUNNING),
        (other, RunState.SUCCEEDED),
    ]


def test_an_experiment_that_cannot_be_read_is_left_out_with_a_note(
    server: KubeflowStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.seed(1, experiment="mine")
    handle = server.handle

    def with_a_broken_row(request: Request) -> Response:
        response = handle(request)
        if request.path == EXPERIMENTS and isinstance(response.body, dict):
            response.body["experiments"] = ["text", *response.body.get("experiments", [])]
        return response

    monkeypatch.setattr(server, "handle", with_a_broken_row)

    with pytest.warns(NotWhole, match="answered with 'text' instead of an experiment"):
        runs = api.list(RunFilter(env="gke"))

    assert [run.experiment for run in runs] == ["mine"]


def test_names_of_experiments_of_others_are_one_request_once(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    kfgcp: Command,
) -> None:
    for number in range(30):
        server.seed(1, experiment=f"of others {number}")

    done, first = cost(lambda: kfgcp("list", "--limit", "30", "--json"))
    assert first == {"runs": 1, "experiments": 1}
    assert {run["experiment"] for run in done.json} == {
        f"of others {number}" for number in range(30)
    }

    _, second = cost(lambda: kfgcp("list", "--limit", "30", "--json"))
    assert second == {"runs": 1}


def test_metrics_that_were_not_read_are_named_and_read_on_request(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    kfgcp: Command,
) -> None:
    one, other = server.seed(2, metrics={"accuracy": 0.5}, description=mine())

    done = kfgcp("list")
    assert done.out.count("…") == 2
    assert "kfgcp list --metrics" in done.err
    assert "accuracy" not in done.out

    shown, requests_of_show = cost(lambda: kfgcp("show", one, "--json"))
    assert [metric["value"] for metric in shown.json["metrics"]] == [0.5]
    assert requests_of_show["metadata"] == 4
    metrics = {run["run_id"]: run["metrics"] for run in kfgcp("list", "--json").json}
    assert metrics == {one: shown.json["metrics"], other: None}

    read, requests_of_metrics = cost(lambda: kfgcp("list", "--metrics"))
    assert read.out.count("accuracy=0.5") == 2
    assert "…" not in read.out
    assert "--metrics" not in read.err
    assert requests_of_metrics == {"runs": 1, "metadata": 4}


def test_runs_reads_what_lists_have_left_out(
    server: KubeflowStandIn, cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]]
) -> None:
    month = 40 * 86400.0
    (old,) = server.seed(1, metrics={"accuracy": 0.25}, age=month)
    new = server.seed(120, metrics={"accuracy": 0.5})
    api.list(limit=121, metrics=False)

    frame, first = cost(public.runs)
    assert dict(frame["metrics.train.accuracy"].value_counts()) == {0.5: 120, 0.25: 1}
    assert first["metadata"] == 4 * 121
    assert [request.path for request in server.requests.select(path=f"{RUNS}/*")] == [
        f"{RUNS}/{old}"
    ], "the list has the run of the old experiment"

    again, second = cost(public.runs)
    assert len(again) == 121
    assert set(again["run_id"]) == {old, *new}
    assert second == {"runs": 2}


def test_a_whole_page_of_the_list_is_read_without_a_request_for_each_run(
    server: KubeflowStandIn, cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]]
) -> None:
    server.seed(PAGE_SIZE + 20, metrics={"accuracy": 0.5})

    runs, first = cost(api.list)

    assert {metric.value for run in runs for metric in run.metrics} == {0.5}
    assert first == {"runs": 2, "experiments": 1, "metadata": 4 * (PAGE_SIZE + 20)}


def test_a_state_and_an_age_are_chosen_by_the_server(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    kfgcp: Command,
) -> None:
    server.seed(300, description=mine(), age=86400)
    failed = server.seed(2, failing={"train": "no"}, description=mine(), age=3600)
    server.seed(300, description=mine(), step=1)

    done, first = cost(lambda: kfgcp("list", "--state", "FAILED", "--json"))
    assert first == {"runs": 1}
    assert [run["run_id"] for run in done.json] == failed[::-1]

    done, second = cost(
        lambda: kfgcp("list", "--since", "2h", "--state", "FAILED", "--state", "RUNNING", "--json")
    )
    assert second == {"runs": 1}
    assert len(done.json) == 2


def test_an_experiment_is_chosen_by_the_server_which_is_asked_for_its_id_once(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    kfgcp: Command,
) -> None:
    (run_id,) = server.seed(1, experiment="churn", description=mine())
    server.seed(300)

    done, first = cost(lambda: kfgcp("list", "--experiment", "churn", "--json"))
    assert first == {"runs": 1, "experiments": 1}
    assert [run["run_id"] for run in done.json] == [run_id]

    _, second = cost(lambda: kfgcp("list", "--experiment", "churn", "--json"))
    assert second == {"runs": 1}

    _, default = cost(lambda: kfgcp("list", "--experiment", "default", "--json"))
    assert default["runs"] == 1, "the server calls the experiment Default"

    done, third = cost(lambda: kfgcp("list", "--experiment", "nobody's", "--json"))
    assert third == {"experiments": 1}
    assert done.json == []


def test_an_experiment_that_was_created_again_has_another_id(
    server: KubeflowStandIn, kfgcp: Command
) -> None:
    server.seed(1, experiment="churn", description=mine())
    assert len(kfgcp("list", "--experiment", "churn", "--json").json) == 1
    experiments = requests.get(f"{server.host}{EXPERIMENTS}", timeout=REQUEST).json()["experiments"]
    (churn,) = [
        experiment["experiment_id"]
        for experiment in experiments
        if experiment["display_name"] == "churn"
    ]
    requests.delete(f"{server.host}{EXPERIMENTS}/{churn}", timeout=REQUEST).raise_for_status()
    (new,) = server.seed(1, experiment="churn", description=mine())

    listed = kfgcp("list", "--experiment", "churn", "--limit", "1", "--json").json

    assert [run["run_id"] for run in listed] == [new]


def test_labels_are_chosen_by_the_server(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    kfgcp: Command,
) -> None:
    """It may find more than was asked for: `Ann` too, which is left out here."""
    server.seed(
        1000,
        description=lambda number: mine(
            user="ann" if number % 10 == 0 else "bob", git=f"{number:04d}" + "a" * 36
        ),
    )
    server.seed(20, description=mine(user="Ann"))

    done, first = cost(lambda: kfgcp("list", "--label", "user=ann", "--limit", "15", "--json"))
    assert first == {"runs": 3}, "the pages have the 20 other runs, then 15"
    assert [run["labels"]["git"][:4] for run in done.json] == [
        f"{number:04d}" for number in range(990, 849, -10)
    ][:15]

    done, second = cost(
        lambda: kfgcp("list", "--label", "git=0007", "--label", "user=bob", "--json")
    )
    assert second == {"runs": 1}, "the run is the 1013th of 1020"
    assert len(done.json) == 1

    done, third = cost(lambda: kfgcp("list", "--label", "user=nobody", "--json"))
    assert third == {"runs": 1}
    assert done.json == []


def test_pipelines_are_looked_for_page_by_page_until_there_are_enough(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    kfgcp: Command,
) -> None:
    server.seed(1000, description=mine())

    done, first = cost(lambda: kfgcp("list", "--pipeline", "seeded", "--limit", "3", "--json"))
    assert first == {"runs": 1}
    assert len(done.json) == 3

    done, second = cost(lambda: kfgcp("list", "--label", "pipeline=none", "--limit", "3", "--json"))
    assert second == {"runs": 1000 // PAGE_SIZE}
    assert done.json == []


def test_pipelines_of_a_time_that_was_read_are_looked_for_among_what_has_changed(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    kfgcp: Command,
) -> None:
    server.seed(500, description=mine(user="bob"))
    assert len(api.list()) == 500
    server.seed(1, description=mine(user="ann", pipeline="train"))

    done, request_counts = cost(
        lambda: kfgcp("list", "--label", "pipeline=train", "--since", "1d", "--json")
    )

    assert len(done.json) == 1
    assert request_counts == {"runs": 2}


def test_runs_that_do_not_match_any_more_are_asked_for_at_once(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    home: Path,
) -> None:
    def spec(number: int) -> JsonDict:
        return {
            "display_name": f"run {number}",
            "description": mine(),
            "pipeline_spec": seeded["pipeline_spec"],
        }

    (first,) = server.seed(1, description=mine())
    seeded = requests.get(f"{server.host}{RUNS}/{first}", timeout=REQUEST).json()
    server.instant.seconds = 3600
    run_ids = [
        requests.post(f"{server.host}{RUNS}", json=spec(number), timeout=REQUEST).json()["run_id"]
        for number in range(30)
    ]
    going_on = RunFilter(states=[RunState.RUNNING, RunState.PENDING])
    assert {run.run_id for run in api.list(going_on, limit=20, metrics=False)} <= set(run_ids)
    for run in run_ids:
        requests.post(f"{server.host}{RUNS}/{run}:terminate", timeout=REQUEST).raise_for_status()

    rows, request_counts = cost(lambda: api.list(going_on, limit=20, metrics=False))

    assert rows == []
    assert request_counts == {"runs": 2}


def test_a_run_that_its_owner_retried_is_read_again(
    server: KubeflowStandIn, cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]]
) -> None:
    (run_id,) = server.seed(1, failing={"train": "no memory"}, description=mine())
    assert public.show(run_id).state is RunState.FAILED
    server.instant.seconds = 3600
    requests.post(f"{server.host}{RUNS}/{run_id}:retry", timeout=REQUEST).raise_for_status()

    assert [run.state for run in api.list(limit=5, metrics=False)] == [RunState.RUNNING]
    handle = public.show(run_id)
    assert (handle.state, handle.snapshot.error, handle.snapshot.ended_at) == (
        RunState.RUNNING,
        None,
        None,
    )


def test_a_retry_that_ended_in_the_same_state_is_found_by_its_end(server: KubeflowStandIn) -> None:
    (run_id,) = server.seed(1, failing={"train": "no memory"}, description=mine(), age=7200)
    server.instant.seconds = 3600

    def retry_and_terminate() -> None:
        for verb in ("retry", "terminate"):
            requests.post(
                f"{server.host}{RUNS}/{run_id}:{verb}", timeout=REQUEST
            ).raise_for_status()

    retry_and_terminate()
    before = public.show(run_id).snapshot
    # The server has whole seconds.
    second_after = datetime.fromisoformat(before.ended_at or "").timestamp() + 1
    wait_for(lambda: time.time() > second_after)
    retry_and_terminate()

    (listed,) = api.list()

    assert (before.state, listed.state) == (RunState.CANCELLED, RunState.CANCELLED)
    assert (listed.ended_at or "") > (before.ended_at or "")
    assert public.show(run_id).snapshot.tasks != before.tasks


def test_a_retried_run_is_seen_by_a_reading_of_what_has_changed(server: KubeflowStandIn) -> None:
    (run_id,) = server.seed(1, failing={"train": "no memory"}, age=7200)
    server.seed(1)
    assert [run.state for run in api.list()] == [RunState.SUCCEEDED, RunState.FAILED]
    server.instant.seconds = 3600
    requests.post(f"{server.host}{RUNS}/{run_id}:retry", timeout=REQUEST).raise_for_status()

    assert [run.state for run in api.list()] == [RunState.SUCCEEDED, RunState.RUNNING]


@pytest.fixture
def reference(server: KubeflowStandIn, pipeline: Callable[[str], Path]) -> dict[str, str]:
    """A version of `echo` that is kept on the server."""
    with pipeline("echo").open("rb") as file:
        uploaded = requests.post(
            f"{server.host}/apis/v2beta1/pipelines/upload?name=hello",
            files={"uploadfile": file},
            timeout=REQUEST,
        ).json()
    versions = requests.get(
        f"{server.host}/apis/v2beta1/pipelines/{uploaded['pipeline_id']}/versions", timeout=REQUEST
    ).json()["pipeline_versions"]
    return {key: versions[0][key] for key in ("pipeline_id", "pipeline_version_id")}


def test_a_pipeline_that_only_others_may_see_hides_no_runs(
    server: KubeflowStandIn, reference: dict[str, str]
) -> None:
    sent = {"display_name": "of others", "pipeline_version_reference": reference}
    requests.post(f"{server.host}{RUNS}", json=sent, timeout=REQUEST).raise_for_status()
    server.seed(1)
    server.faults(1, ["403"], path="*/versions/*")

    assert set(public.runs()["pipeline"]) == {"of others", "seeded"}


def test_the_pipeline_of_a_version_is_read_once_for_all_its_runs(
    server: KubeflowStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    reference: dict[str, str],
    kfgcp: Command,
) -> None:
    for number in range(5):
        sent = {"display_name": f"run {number}", "pipeline_version_reference": reference}
        requests.post(f"{server.host}{RUNS}", json=sent, timeout=REQUEST).raise_for_status()

    done, first = cost(lambda: kfgcp("list", "--json"))
    assert first == {"runs": 1, "experiments": 1}
    assert {run["pipeline"] for run in done.json} == {f"run {number}" for number in range(5)}, (
        "the pipelines of the runs are not known yet"
    )

    runs, second = cost(api.list)
    assert {run.pipeline for run in runs} == {"echo"}
    assert second == {"runs": 1, "pipelines": 1, "metadata": 20}
    requests.post(
        f"{server.host}{RUNS}",
        json={"display_name": "new", "pipeline_version_reference": reference},
        timeout=REQUEST,
    ).raise_for_status()

    done, third = cost(lambda: kfgcp("list", "--json"))
    assert third == {"runs": 1}
    assert {run["pipeline"] for run in done.json} == {"echo"}


def test_a_run_that_was_deleted_after_its_end_stays_as_it_was_listed(
    server: KubeflowStandIn, kfgcp: Command
) -> None:
    deleted, _ = server.seed(2, description=mine())
    listed = kfgcp("list", "--json").json[1]
    requests.delete(f"{server.host}{RUNS}/{deleted}", timeout=REQUEST).raise_for_status()

    done = kfgcp("show", deleted, "--json")

    assert (done.json["state"], done.json["error"], done.json["ended_at"]) == (
        "SUCCEEDED",
        None,
        listed["ended_at"],
    )
    assert done.err.startswith(f"note: Run {deleted} was deleted (")
    assert "). kfgcp shows its last record." in done.err
    assert kfgcp("show", deleted, "--json").json == done.json


def test_a_run_that_was_deleted_before_it_was_read_is_asked_for_once(
    server: KubeflowStandIn,
) -> None:
    deleted, left = server.seed(2, failing={"train": "no"}, age=40 * 86400.0)
    api.list(limit=2, metrics=False)
    requests.delete(f"{server.host}{RUNS}/{deleted}", timeout=REQUEST).raise_for_status()

    for _ in range(2):
        frame = public.runs()

        assert dict(zip(frame["run_id"], frame["state"], strict=True)) == {
            deleted: "FAILED",
            left: "FAILED",
        }
        assert server.requests.count("GET", f"{RUNS}/{deleted}") == 1


def test_a_clock_that_was_a_year_fast_hides_no_runs_later(
    server: KubeflowStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.seed(2)
    clock = time.time
    with monkeypatch.context() as wrong:
        wrong.setattr(
            "kfgcp.backends.mirror.time", SimpleNamespace(time=lambda: clock() + 365 * 86400)
        )
        assert len(public.runs()) == 0, "no run is of the last 30 days"

    assert len(public.runs()) == 2
