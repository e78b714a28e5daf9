"""How many requests reading runs costs: what has ended is read once, what has not changed is not
read again."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import kfgcp as public
from kfgcp.errors import BackendError
from kfgcp.query import RunFilter
from kfgcp.testing import VertexStandIn
from kfgcp_command import Command
from patience import PROCESS, Answer

DEV = RunFilter(env="dev")


@pytest.fixture
def cost(service: VertexStandIn) -> Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]]:
    """What a call gives, and the requests that it cost: lists, gets, others."""

    def measure(call: Callable[[], Answer]) -> tuple[Answer, dict[str, int]]:
        mark = len(service.requests)
        result = call()
        kinds: Counter[str] = Counter()
        for request in service.requests.select(since=mark):
            last = request.path.rpartition("/")[2]
            kinds[
                "others"
                if request.method != "GET"
                else "lists"
                if last == "pipelineJobs"
                else "gets"
            ] += 1
        return result, dict(kinds)

    return measure


def test_a_thousand_runs_are_read_once_and_never_again(
    service: VertexStandIn, cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]]
) -> None:
    seeded = service.seed(
        1000, params={"lr": lambda number: number / 1000}, metrics={"accuracy": 0.5}
    )

    runs, first = cost(lambda: public.list(DEV))
    assert first == {"lists": 10, "gets": 1000}
    assert [run.run_id for run in runs] == seeded[::-1]
    assert sorted(run.params["lr"] for run in runs) == [number / 1000 for number in range(1000)]
    assert {metric.value for run in runs for metric in run.metrics} == {0.5}

    again, second = cost(lambda: public.list(DEV))
    assert second == {"lists": 1}
    assert again == runs

    service.seed(150, step=0.01)
    all_of_them, third = cost(lambda: public.list(DEV))
    assert len(all_of_them) == 1150
    assert third == {"lists": 2, "gets": 150}


def test_a_run_that_has_ended_is_shown_without_a_request(
    service: VertexStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    kfgcp: Command,
) -> None:
    (run_id,) = service.seed(1, metrics={"accuracy": 0.5})
    assert kfgcp("list", "--env", "dev").code == 0

    shown, requests = cost(lambda: kfgcp("show", run_id, "--json"))
    assert shown.json["metrics"][0]["value"] == 0.5
    assert [task["path"] for task in shown.json["tasks"]] == ["train"]
    assert requests == {}

    _, listed = cost(lambda: kfgcp("list", "--env", "dev"))
    assert listed == {"lists": 1}
    _, offline = cost(lambda: kfgcp("list", "--env", "dev", "--no-refresh"))
    assert offline == {}


def test_the_end_of_a_failed_run_s_log_is_read_once(
    service: VertexStandIn, cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]]
) -> None:
    (run_id,) = service.seed(1, failing={"train": "no memory"})
    _, listed = cost(lambda: public.list(DEV))
    assert listed == {"lists": 1, "gets": 1}

    handle, first = cost(lambda: public.show(run_id))
    assert handle.snapshot.error.message == "no memory"
    assert first == {
        "gets": 1,
        "others": 1,
    }  # the job once more, for its attempts, and their entries

    _, second = cost(lambda: public.show(run_id))
    assert second == {}


def test_submitting_is_one_request_and_reading_the_end_another(
    service: VertexStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    pipeline: Callable[[str], Path],
) -> None:
    handle, submitted = cost(lambda: public.submit(str(pipeline("echo")), env="dev"))
    assert submitted == {"others": 1}
    assert handle.snapshot.params == {"text": "hello"}

    _, waited = cost(lambda: handle.wait(PROCESS))
    assert waited == {"gets": 1}
    _, shown = cost(lambda: public.show(handle.run_id))
    assert shown == {}
    _, listed = cost(lambda: public.list(DEV))
    assert listed == {"lists": 1}


def test_what_was_read_before_an_error_is_not_read_again(
    service: VertexStandIn, cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]]
) -> None:
    service.seed(250)
    service.fail_next("403", path="*-49")  # the 201st, newest first

    with pytest.raises(BackendError, match="403"):
        public.list(DEV)
    stored_count = len(public.list(DEV, refresh=False))
    assert 0 < stored_count < 250

    runs, requests = cost(lambda: public.list(DEV))
    assert len(runs) == 250
    assert requests == {"lists": 3, "gets": 250 - stored_count}


def test_environments_that_share_a_place_are_asked_once(
    service: VertexStandIn,
    cost: Callable[[Callable[[], Answer]], tuple[Answer, dict[str, int]]],
    home: Path,
) -> None:
    (home / "kfgcp.toml").write_text(service.toml("dev") + service.toml("also-dev"))
    service.seed(3)

    with warnings.catch_warnings():
        warnings.simplefilter("error", public.NotRefreshed)
        runs, requests = cost(public.list)

    assert len(runs) == 3
    assert requests == {"lists": 1, "gets": 3}
