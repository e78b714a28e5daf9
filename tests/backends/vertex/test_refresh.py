"""How runs elsewhere come into the store, and what that costs in requests."""

import json
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from kfgcp import api, testing
from kfgcp.backends.base import Backend, RunRef
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.errors import NotFound, Unreachable
from kfgcp.model import RunState
from kfgcp.query import RunFilter
from kfgcp.store.store import Store
from kfgcp.testing import VertexStandIn
from patience import PROCESS, REQUEST, WaitFor

JOBS = "*/pipelineJobs"
ONE = "*/pipelineJobs/*"
DAY = 86400.0


@pytest.fixture
def cloud(home: Path) -> Iterator[VertexStandIn]:
    """A stand-in that makes jobs up; the environment `cloud` of the project leads there."""
    with testing.vertex(mode="instant") as env:
        (home / "kfgcp.toml").write_text(env.toml("cloud"))
        yield env


def backend(env: str = "cloud") -> Backend:
    project = load_project()
    return open_backend(project, project.env(env))


class Counted:
    """Requests since the last look: (lists, gets, all)."""

    def __init__(self, env: VertexStandIn) -> None:
        self._env = env
        self._since = len(env.requests)

    def __call__(self) -> tuple[int, int, int]:
        log, since = self._env.requests, self._since
        self._since = len(log)
        return (
            log.count("GET", JOBS, since=since),
            log.count("GET", ONE, since=since),
            len(log) - since,
        )


@pytest.fixture
def counted(cloud: VertexStandIn) -> Counted:
    return Counted(cloud)


@pytest.fixture
def create(cloud: VertexStandIn, pipeline: Callable[[str], Path]) -> Callable[..., None]:
    """Makes a job as somebody else does, who has no kfgcp: with the id given."""
    import yaml

    spec = next(iter(yaml.safe_load_all(pipeline("two_scores").read_text())))

    def make(job_id: str, env: VertexStandIn = cloud, **more: Any) -> None:
        url = f"{env.api_endpoint}/v1/projects/{env.project}/locations/{env.location}/pipelineJobs"
        body = {
            "displayName": job_id,
            "pipelineSpec": spec,
            "runtimeConfig": {"gcsOutputDirectory": env.pipeline_root},
        }
        answer = requests.post(
            url, params={"pipelineJobId": job_id}, json=body | more, timeout=REQUEST
        )
        assert answer.status_code == 200, answer.text

    return make


def test_a_refresh_costs_a_request_a_page_and_one_for_each_run_that_has_ended(
    cloud: VertexStandIn, counted: Counted
) -> None:
    run_ids = cloud.seed(
        130, step=1.0, params={"lr": lambda n: n / 8}, metrics={"accuracy": lambda n: n / 256}
    )

    runs = api.list()

    assert counted() == (2, 130, 132)
    assert [run.run_id for run in runs] == run_ids[::-1]
    assert [run.params["lr"] for run in runs[:3]] == [129 / 8, 128 / 8, 127 / 8]
    assert [metric.value for metric in runs[0].metrics] == [129 / 256]


def test_what_has_ended_is_never_read_again(cloud: VertexStandIn, counted: Counted) -> None:
    run_ids = cloud.seed(20, age=5.0)
    api.list()
    counted()

    assert len(api.list()) == 20
    assert counted() == (1, 0, 1)
    api.show(run_ids[3])
    assert counted() == (0, 0, 0)
    new = cloud.seed(2, step=0.1)
    assert [run.run_id for run in api.list()][:2] == new[::-1]
    assert counted() == (1, 2, 3)
    api.list(refresh=False)
    api.compare(run_ids[:4])
    assert counted() == (0, 0, 0)


def test_only_what_changed_is_listed(cloud: VertexStandIn, counted: Counted) -> None:
    cloud.seed(250, age=3600.0, step=10.0)
    api.list()
    assert counted() == (3, 250, 253)

    api.list()

    assert counted() == (1, 0, 1)
    (asked,) = cloud.requests.select("GET", JOBS)[-1:]
    assert asked.query["filter"].startswith('update_time>="')
    assert "jobDetail" not in asked.query["readMask"]
    assert "pipelineSpec.pipelineInfo" in asked.query["readMask"]


def test_a_running_run_is_listed_until_it_has_ended_and_then_read_once(
    cloud: VertexStandIn, counted: Counted, create: Callable[..., None], eventually: WaitFor
) -> None:
    cloud.instant.seconds = 86400
    create("slow-1")
    counted()

    (run,) = api.list()
    assert (run.state, counted()) == (RunState.RUNNING, (1, 0, 1))

    cloud.finish_runs()
    (run,) = api.list(RunFilter(states=[RunState.SUCCEEDED]))
    assert counted() == (1, 1, 2)
    assert run.run_id == "slow-1"
    api.list()
    assert counted() == (1, 0, 1)


def test_a_run_that_has_ended_is_not_listed_as_going_on(
    cloud: VertexStandIn, counted: Counted, create: Callable[..., None]
) -> None:
    cloud.instant.seconds = 86400
    create("slow-1")
    going_on = RunFilter(states=[RunState.PENDING, RunState.RUNNING])
    assert [run.run_id for run in api.list(going_on, limit=20)] == ["slow-1"]
    cloud.finish_runs()
    assert api.list(going_on, limit=20) == []
    counted()

    assert [run.state for run in api.list(limit=20)] == [RunState.SUCCEEDED]
    assert counted() == (1, 0, 1), "the run was read when it no longer matched"


def test_a_run_that_was_deleted_is_not_listed_as_going_on(
    cloud: VertexStandIn, create: Callable[..., None]
) -> None:
    cloud.instant.seconds = 600.0
    create("gone-1")
    assert [run.state for run in api.list(limit=20)] == [RunState.RUNNING]
    url = f"{cloud.api_endpoint}/v1/{backend().place}gone-1"
    assert requests.post(f"{url}:cancel", json={}, timeout=REQUEST).status_code == 200
    assert requests.delete(url, timeout=REQUEST).status_code == 200

    assert [run.state for run in api.list(limit=20)] == [RunState.CANCELLED]


def test_a_failed_run_is_read_once_and_its_log_when_it_is_looked_at(
    cloud: VertexStandIn, counted: Counted
) -> None:
    (failed,) = cloud.seed(1, failing={"train": "no luck"})
    (row,) = api.list()
    assert counted() == (1, 1, 2)
    assert (row.state, row.error and row.error.message) == (RunState.FAILED, "no luck")

    first = api.show(failed).snapshot
    lists, gets, every = counted()
    second = api.show(failed).snapshot

    assert (lists, gets, every) == (0, 1, 2), (
        "one request for the attempts of the job and one for the log"
    )
    assert counted() == (0, 0, 0)
    assert first == second
    assert first.error is not None
    assert first.error.log_tail == ("train is made up",)


def test_a_log_that_could_not_be_read_is_asked_for_again(
    cloud: VertexStandIn, counted: Counted
) -> None:
    (failed,) = cloud.seed(1, failing={"train": "no luck"})
    api.list()
    cloud.fail_next("403", path="*/entries:list")

    first = api.show(failed).snapshot
    second = api.show(failed).snapshot

    assert first.error is not None
    assert second.error is not None
    assert (first.error.message, first.error.log_tail) == ("no luck", ())
    assert second.error.log_tail == ("train is made up",)
    counted()
    api.show(failed)
    assert counted() == (0, 0, 0), "the run is stored now"


def test_the_first_list_reads_a_month_and_since_reads_what_is_older(
    cloud: VertexStandIn, counted: Counted
) -> None:
    (ancient,) = cloud.seed(1, age=90 * DAY)
    (older,) = cloud.seed(1, age=40 * DAY)
    (old,) = cloud.seed(1, age=20 * DAY)

    def listed(days: float | None = None) -> list[str]:

        from kfgcp.model import timestamp

        since = None if days is None else timestamp(time.time() - days * DAY)
        return [run.run_id for run in api.list(RunFilter(since=since))]

    assert listed() == [old]
    assert counted() == (1, 1, 2)
    assert listed(50) == [old, older]
    assert counted() == (2, 1, 3), (
        "one request for the changes and one for the runs that were not read yet"
    )
    assert listed(50) == [old, older]
    assert counted() == (1, 0, 1)
    assert listed(100) == [old, older, ancient]
    assert counted() == (2, 1, 3)
    assert listed() == [old, older, ancient], "the run stays in the store"
    assert counted() == (1, 0, 1)
    windows = [
        asked.query["filter"]
        for asked in cloud.requests.select("GET", JOBS)
        if " AND " in asked.query["filter"]
    ]
    assert len(windows) == 2
    assert all("create_time>=" in window and "create_time<" in window for window in windows)


def test_a_first_list_with_since_reads_that_far(cloud: VertexStandIn, counted: Counted) -> None:
    run_ids = cloud.seed(3, age=100 * DAY, step=DAY)

    assert [run.run_id for run in api.list(RunFilter(since="2000-01-01T00:00:00.000Z"))] == run_ids[
        ::-1
    ]
    assert counted() == (1, 3, 4)


def test_an_unknown_run_is_requested_by_its_id(cloud: VertexStandIn, counted: Counted) -> None:
    (ancient,) = cloud.seed(1, age=400 * DAY)
    (recent,) = cloud.seed(1)

    for run in (recent, ancient):
        assert api.show(run).run_id == run
        assert counted() == (0, 1, 1)
    with pytest.raises(NotFound, match="There is no run 'nobody-1'"):
        api.show("nobody-1")
    assert counted() == (1, 1, 2)


def test_an_unknown_run_is_searched_by_its_name(cloud: VertexStandIn, counted: Counted) -> None:
    (run_id,) = cloud.seed(1, display_name="my run")

    assert api.show("my run").run_id == run_id
    assert counted() == (1, 1, 2)


def test_a_fault_in_the_middle_leaves_nothing_out(cloud: VertexStandIn) -> None:
    run_ids = cloud.seed(120, step=1.0)
    cloud.fail_next("403", path=f"*/pipelineJobs/{run_ids[7]}")
    cloud.fail_next("403", path=f"*/pipelineJobs/{run_ids[50]}")

    with pytest.warns(
        api.NotRefreshed, match="kfgcp shows the last known state of the runs of cloud"
    ):
        api.list()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", api.NotRefreshed
        )  # the other fault may have been met: 16 are read at once
        api.list()
    listed = [run.run_id for run in api.list()]

    assert listed == run_ids[::-1]


def test_the_same_job_id_in_two_projects_is_two_runs(
    home: Path, create: Callable[..., None], cloud: VertexStandIn
) -> None:
    with testing.vertex(mode="instant", project="other-project") as other:
        (home / "kfgcp.toml").write_text(cloud.toml("cloud") + other.toml("other"))
        create("train-1")
        create("train-1", other)

        env_and_ref_by_run = {run.run_id: (run.env, run.backend_ref) for run in api.list()}
        assert {run.run_id for run in api.list()} == set(env_and_ref_by_run)

        assert len(env_and_ref_by_run) == 2
        assert sorted(env for env, _ in env_and_ref_by_run.values()) == ["cloud", "other"]
        assert {ref for _, ref in env_and_ref_by_run.values()} == {
            f"projects/{env.project}/locations/{env.location}/pipelineJobs/train-1"
            for env in (cloud, other)
        }
        for run_id, (env, ref) in env_and_ref_by_run.items():
            shown = api.show(run_id).snapshot
            assert (shown.env, shown.backend_ref, len(shown.tasks)) == (env, ref, 2)
        renamed = next(run_id for run_id in env_and_ref_by_run if "@" in run_id)
        api.delete(renamed)
        left = [run.run_id for run in api.list()]
        assert left == ["train-1"]
        assert (cloud.jobs(), other.jobs()).count(["train-1"]) == 1


def test_two_environments_of_one_place_share_its_runs(
    home: Path, cloud: VertexStandIn, counted: Counted, pipeline: Callable[[str], Path]
) -> None:
    (home / "kfgcp.toml").write_text(cloud.toml("dev") + cloud.toml("prod"))
    mine = api.submit(str(pipeline("echo")), env="prod").wait(PROCESS)
    (others,) = cloud.seed(1, age=60.0)
    counted()

    env_by_run = {run.run_id: run.env for run in api.list()}

    assert counted()[0] == 1, "both environments share one list"
    assert env_by_run == {mine.run_id: "prod", others: "dev"}
    assert [run.run_id for run in api.list(RunFilter(env="prod"))] == [mine.run_id]
    assert [run.run_id for run in api.list(RunFilter(env="dev"))] == [others]
    (home / ".kfgcp" / "kfgcp.db").unlink()
    assert {run.run_id: run.env for run in api.list()} == env_by_run, (
        "the label of the run gives its environment"
    )


def test_a_run_of_an_environment_that_is_not_valid_keeps_it(
    home: Path, cloud: VertexStandIn
) -> None:
    file = home / "kfgcp.toml"
    file.write_text(cloud.toml("dev") + cloud.toml("prod") + 'failure_policy = "odd"\n')
    (in_dev,) = cloud.seed(1, age=60.0, labels={"env": "dev"})
    (in_prod,) = cloud.seed(1, age=30.0, labels={"env": "prod"})

    assert [run.run_id for run in api.list(RunFilter(env="dev"), limit=1)] == [in_dev]

    file.write_text(cloud.toml("dev") + cloud.toml("prod"))
    assert {run.run_id: run.env for run in api.list()} == {in_dev: "dev", in_prod: "prod"}


def test_the_newest_runs_of_an_environment_are_found_behind_those_of_another_one_there(
    home: Path, cloud: VertexStandIn
) -> None:
    (home / "kfgcp.toml").write_text(cloud.toml("dev") + cloud.toml("prod"))
    (mine,) = cloud.seed(1, age=60.0, labels={"env": "prod"})
    cloud.seed(5, labels={"env": "dev"})

    assert [run.run_id for run in api.list(RunFilter(env="prod"), limit=2)] == [mine]


def test_a_run_that_was_deleted_while_it_was_watched(
    cloud: VertexStandIn, create: Callable[..., None]
) -> None:
    cloud.instant.seconds = 600.0
    create("gone-1")
    handle = api.show("gone-1")
    assert handle.state is RunState.RUNNING
    url = f"{cloud.api_endpoint}/v1/{backend().place}gone-1"
    assert requests.post(f"{url}:cancel", json={}, timeout=REQUEST).status_code == 200
    assert requests.delete(url, timeout=REQUEST).status_code == 200

    with pytest.raises(NotFound, match="Run gone-1 was deleted: "):
        for _ in api.watch("gone-1"):
            pass

    (row,) = api.list()
    assert (row.run_id, row.state) == ("gone-1", RunState.CANCELLED)
    assert row.error is not None
    assert (
        row.error.message == "the run was deleted on its backend before kfgcp had recorded its end"
    )
    assert row.ended_at is not None


def test_the_record_of_a_run_that_is_gone_can_be_shown_and_deleted(
    cloud: VertexStandIn, pipeline: Callable[[str], Path]
) -> None:
    cloud.instant.seconds = 600.0
    gone = api.submit(str(pipeline("echo")), env="cloud").run_id
    url = f"{cloud.api_endpoint}/v1/{backend().place}{gone}"
    assert requests.post(f"{url}:cancel", json={}, timeout=REQUEST).status_code == 200
    assert requests.delete(url, timeout=REQUEST).status_code == 200
    with pytest.raises(NotFound, match="was deleted"):
        api.show(gone)

    shown = api.show(gone).snapshot
    assert (shown.state, shown.params) == (RunState.CANCELLED, {"text": "hello"})
    assert shown.error is not None
    assert (
        shown.error.message
        == "the run was deleted on its backend before kfgcp had recorded its end"
    )
    api.delete(gone)
    assert api.list() == []


def test_a_run_that_was_deleted_after_it_had_ended_stays_in_the_list(
    cloud: VertexStandIn, create: Callable[..., None]
) -> None:
    create("done-1")
    before = api.show("done-1").snapshot
    assert (
        requests.delete(
            f"{cloud.api_endpoint}/v1/{backend().place}done-1", timeout=REQUEST
        ).status_code
        == 200
    )

    assert [run.run_id for run in api.list()] == ["done-1"]
    assert api.show("done-1").snapshot == before
    api.delete("done-1")
    assert api.list() == [], "deleting a run that the service no longer has is not an error"


def test_a_run_that_is_deleted_between_list_and_get_is_left_out(cloud: VertexStandIn) -> None:
    one, two = cloud.seed(2)
    cloud.fail_next("404", path=f"*/pipelineJobs/{one}")

    assert [run.run_id for run in api.list()] == [two]


def test_a_submission_whose_answer_is_lost_makes_one_run(
    cloud: VertexStandIn, counted: Counted, pipeline: Callable[[str], Path]
) -> None:
    for kind in ("lost", "reset", "503"):
        cloud.fail_next(kind, method="POST", path=JOBS)
        handle = api.submit(str(pipeline("echo")), env="cloud")
        assert cloud.jobs()[-1] == handle.run_id
    assert len(cloud.jobs()) == len(api.list()) == 3


def test_a_job_that_is_there_already_is_not_taken_for_ours(
    cloud: VertexStandIn,
    create: Callable[..., None],
    pipeline: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import secrets

    from kfgcp.errors import Refused

    monkeypatch.setattr(secrets, "token_hex", lambda size: "0123456789ab"[: 2 * size])
    create("echo-0123456789ab", labels={"submission": "another"})
    cloud.fail_next("503", method="POST", path=JOBS)

    for _ in ("after a retry", "at once"):
        with pytest.raises(Refused, match="already exists"):
            api.submit(str(pipeline("echo")), env="cloud")
    assert cloud.jobs() == ["echo-0123456789ab"]


def test_what_was_submitted_here_keeps_its_version_and_parameters(
    cloud: VertexStandIn, pipeline: Callable[[str], Path]
) -> None:
    spec = api.compile(str(pipeline("echo")))
    handle = api.submit(str(pipeline("echo")), env="cloud", cache=False, params={"text": "a"}).wait(
        PROCESS
    )

    assert handle.snapshot.version == spec.version, "though the spec that was sent says no caching"
    (row,) = api.list()
    assert (row.version, row.params) == (spec.version, {"text": "a"})
    assert api.spec_of(handle.run_id).pipeline_spec == spec.pipeline_spec


def test_pages_of_a_list_come_from_the_store(cloud: VertexStandIn, counted: Counted) -> None:
    run_ids = cloud.seed(5)
    vertex = backend()

    first = vertex.list(RunFilter(), size=2)
    assert counted() == (1, 5, 6)
    second = vertex.list(RunFilter(), first.next, 2)
    third = vertex.list(RunFilter(), second.next, 2)

    assert [run.run_id for page in (first, second, third) for run in page.items] == run_ids[::-1]
    assert (third.next, counted()) == (None, (0, 0, 0))


def test_an_outage_shows_what_was_last_seen(
    cloud: VertexStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ids = cloud.seed(2)
    api.list()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("KFGCP_ENV_CLOUD_API_ENDPOINT", f"http://127.0.0.1:{port}")

    with pytest.warns(
        api.NotRefreshed, match="kfgcp shows the last known state of the runs of cloud"
    ):
        assert [run.run_id for run in api.list()] == run_ids[::-1]
    with pytest.raises(Unreachable):
        api.list(RunFilter(env="cloud"))


def test_a_store_of_others_runs_is_plain_json(cloud: VertexStandIn, home: Path) -> None:
    (run_id,) = cloud.seed(1, metrics={"accuracy": 0.5})
    api.list()

    with Store(home / ".kfgcp") as store:
        run = store.get(run_id)
    assert json.loads(json.dumps(run.to_dict())) == run.to_dict()
    assert backend().get(RunRef("cloud", run_id)) == run
