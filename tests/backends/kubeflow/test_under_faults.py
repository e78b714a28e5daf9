"""Runs are submitted to a server that fails and that cannot be told to make a run once: each is
made once or not at all, and nobody is told otherwise."""

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

import kfgcp as public
from exchanges import VERSIONS, Exchange, exchange
from held import HeldRequest
from kfgcp.backends.kubeflow import create_run as creating
from kfgcp.backends.kubeflow.request import parse_description
from kfgcp.errors import AuthError, BackendError, Refused, Unreachable, Unsupported
from kfgcp.query import RunFilter
from kfgcp.spec.load import Spec
from kfgcp.testing import KubeflowStandIn
from kfgcp.testing.server import Request, Response
from kfgcp_command import Command
from patience import PROCESS, REQUEST, wait_for
from trials import Trial

RUNS = "*/runs"
API = "/apis/v2beta1"
TOO_LONG = 61
"""Seconds of a Retry-After that no call waits for: the budget of one is 60."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks for a lost run at once and once more, where nothing is carried out late."""
    monkeypatch.setattr(creating, "LOOKUP_PAUSES", (0.0, 0.01))
    monkeypatch.setattr(creating, "PAUSE", 0.01)


def answer_with(
    cluster: KubeflowStandIn,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    recorded: Exchange,
) -> None:
    """Let a stand-in answer one kind of request as a recorded server did."""
    handle = cluster.handle

    def answer(request: Request) -> Response:
        if (request.method, request.path) == (method, path):
            return Response(recorded.status, recorded.answer)
        return handle(request)

    monkeypatch.setattr(cluster, "handle", answer)


def _runs(env: KubeflowStandIn) -> list[Any]:
    """All runs, as the service lists them to somebody who asks without kfgcp."""
    runs: list[Any] = []
    token = ""
    while True:
        asked = {"page_size": "200", "page_token": token}
        page = requests.get(f"{env.host}{API}/runs", params=asked, timeout=REQUEST).json()
        runs += page.get("runs", [])
        token = page.get("next_page_token", "")
        if not token:
            return runs


def _ids(env: KubeflowStandIn) -> list[str]:
    return [run["run_id"] for run in _runs(env)]


def _most(env: KubeflowStandIn) -> int:
    """How many runs the submission has that has most of them."""
    return max(
        Counter(parse_description(run["description"])["submission"] for run in _runs(env)).values()
    )


@pytest.mark.trial("submissions to Kubeflow, of whose requests every fifth fails")
def test_each_submission_makes_one_run_at_most_when_every_fifth_request_fails(
    cluster: KubeflowStandIn,
    spec: Spec,
    submit_all: Callable[..., list[str | BackendError]],
    impatient: None,
    trial: Trial,
) -> None:
    count = trial.size(sample=150, proof=2000)
    kinds = ("500", "503", "429", "reset", "lost", "garbage")
    cluster.instant.seconds = 3600
    cluster.faults(0.2, kinds, seed=trial.random().randrange(1000), path=RUNS)

    results = submit_all(spec, count, env="cloud", experiment="Churn & Co. +1%")

    cluster.faults(0)
    met = Counter(request.fault for request in cluster.requests.select("POST", RUNS))
    assert min(met[kind] for kind in kinds) >= count * 0.01
    answered = {result for result in results if isinstance(result, str)}
    failed = [result for result in results if isinstance(result, BackendError)]
    run_names = {run["run_id"]: run["display_name"] for run in _runs(cluster)}
    assert len(answered) + len(failed) == count
    assert answered <= set(run_names)
    assert {run_names[run] for run in run_names.keys() - answered} <= {
        _named(error) for error in failed if error.unknown
    }
    assert len(failed) < count * 0.05, "only requests with unusable answers are not tried again"
    assert sorted(run_names.values()) == sorted(set(run_names.values()))
    assert _most(cluster) == 1
    assert sorted(run.run_id for run in public.list()) == sorted(run_names)
    names = {experiment.name for experiment in cluster.experiments.all()}
    assert names == {"Default", "Churn & Co. +1%"}
    trial.count("submissions", count)


def test_runs_of_the_same_name_are_distinguished(
    cluster: KubeflowStandIn,
    spec: Spec,
    submit_all: Callable[..., list[str | BackendError]],
    impatient: None,
) -> None:
    """Only the submission tells one from the others. Without garbage every one of them succeeds."""
    cluster.faults(0.2, ("503", "429", "reset", "lost"), seed=5)

    results = submit_all(spec, 150, env="cloud", name="nightly 100% a+b")

    cluster.faults(0)
    assert [result for result in results if isinstance(result, BackendError)] == []
    assert sorted(_ids(cluster)) == sorted(map(str, results))
    assert _most(cluster) == 1


def test_an_error_of_submit_says_whether_the_run_may_have_started(
    cluster: KubeflowStandIn,
    spec: Spec,
    submit_all: Callable[..., list[str | BackendError]],
    impatient: None,
) -> None:
    """Half of the requests are not tried again, as the server asks for more patience than there is;
    so are looks."""
    public.submit(spec, env="cloud").delete()  # the experiment is there
    cluster.faults(0.5, ("503", "429", "lost", "garbage"), seed=11, path=RUNS, retry_after=TOO_LONG)

    results = submit_all(spec, 200, env="cloud")

    cluster.faults(0)
    named = {run["display_name"]: run["run_id"] for run in _runs(cluster)}
    answered = {result for result in results if isinstance(result, str)}
    failed = [result for result in results if isinstance(result, BackendError)]
    in_doubt = {_named(error) for error in failed if error.unknown}
    assert len(answered) + len(failed) == 200
    assert len(answered) >= 50
    assert len(failed) >= 50
    assert answered <= set(named.values())
    assert {name for name, run in named.items() if run not in answered} <= in_doubt
    assert in_doubt & set(named), "no lost request created a run, so the test proves nothing"
    assert all("not known" not in error.message for error in failed if not error.unknown)
    assert any(not error.unknown for error in failed)
    assert _most(cluster) == 1


def _named(error: BackendError) -> str:
    match = re.search(r"kfgcp does not know whether the run '(.+)' was created\.", error.message)
    assert match, error.message
    assert error.hint.endswith("kfgcp list")
    return match[1]


# -- a request that is carried out after its connection is gone


def test_a_run_that_is_made_late_is_not_made_again(
    cluster: KubeflowStandIn, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first looks there is nothing yet: the run is made before the third one."""
    looked_twice = threading.Event()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            looked_twice.set()
            wait_for(lambda: cluster.runs.all())

    monkeypatch.setattr(creating, "time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(cluster._server, "before_late_work", lambda: looked_twice.wait(REQUEST))
    cluster.fail_next("late", method="POST", path=RUNS)

    handle = public.submit(spec, env="cloud")

    assert _ids(cluster) == [handle.run_id]
    assert pauses == [0.0, 0.5, 1.0]
    assert cluster.requests.count("POST", RUNS) == 1
    assert public.show(handle.run_id).wait(PROCESS).state == "SUCCEEDED"


def test_of_two_that_were_made_after_all_the_older_one_stays(
    cluster: KubeflowStandIn, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request takes longer than there is patience, and is carried out while the second
    one waits."""
    monkeypatch.setattr(creating, "LOOKUP_PAUSES", (0.0,))
    public.submit(spec, env="cloud").delete()  # the experiment is there
    mark = len(cluster.requests)
    threads: list[int] = []
    made_late = threading.Event()
    handle_request = cluster.handle

    def wait_for_the_second_request() -> None:
        threads.append(threading.get_ident())
        wait_for(lambda: cluster.requests.count("POST", RUNS, since=mark) == 2)

    def handle_late_one_first(request: Any) -> Any:
        is_late = threading.get_ident() in threads
        if request.method == "POST" and request.path.endswith("/runs") and not is_late:
            assert made_late.wait(REQUEST)
        response = handle_request(request)
        if is_late:
            made_late.set()
        return response

    monkeypatch.setattr(cluster._server, "before_late_work", wait_for_the_second_request)
    monkeypatch.setattr(cluster, "handle", handle_late_one_first)
    cluster.fail_next("late", method="POST", path=RUNS)

    handle = public.submit(spec, env="cloud")

    assert cluster.requests.count("POST", RUNS, since=mark) == 2
    assert _ids(cluster) == [handle.run_id]
    (deleted,) = cluster.requests.select("DELETE", since=mark)
    assert deleted.path != f"{API}/runs/{handle.run_id}"


def test_a_run_is_found_again_by_a_clock_that_is_an_hour_fast(
    cluster: KubeflowStandIn, spec: Spec, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.time
    monkeypatch.setattr(
        "kfgcp.backends.kubeflow.service.time", SimpleNamespace(time=lambda: clock() + 3600)
    )
    cluster.fail_next("lost", method="POST", path=RUNS)

    handle = public.submit(spec, env="cloud", name="nightly")

    assert _ids(cluster) == [handle.run_id]
    assert cluster.requests.count("POST", RUNS) == 1


# -- answers that leave no doubt, and those that do


def test_a_server_that_says_itself_that_it_failed_is_asked_again_and_leaves_no_doubt(
    cluster: KubeflowStandIn, spec: Spec, impatient: None
) -> None:
    cluster.fail_next("500", times=4, method="POST", path=RUNS)

    with pytest.raises(Unreachable, match=r"500 INTERNAL") as caught:
        public.submit(spec, env="cloud")

    assert not caught.value.unknown
    assert "not known" not in caught.value.message
    assert _runs(cluster) == []
    assert cluster.requests.count("POST", RUNS) == 4


def test_a_gateway_that_gave_up_waiting_leaves_doubt(
    cluster: KubeflowStandIn, spec: Spec, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """504 says nothing of what goes on behind the gateway."""
    cluster.fail_next("504", times=4, method="POST", path=RUNS)

    with pytest.raises(Unreachable) as caught:
        public.submit(spec, env="cloud", name="mine")

    assert caught.value.unknown
    assert _named(caught.value) == "mine"


def test_a_refusal_after_a_lost_answer_leaves_the_doubt(
    cluster: KubeflowStandIn, spec: Spec, impatient: None
) -> None:
    public.submit(spec, env="cloud").delete()
    cluster.fail_next("reset", method="POST", path=RUNS)
    cluster.fail_next("403", method="POST", path=RUNS)

    with pytest.raises(Refused, match="403") as caught:
        public.submit(spec, env="cloud", name="mine")

    assert caught.value.unknown
    assert _named(caught.value) == "mine"


REFUSED_WITH_500 = {
    "run-create-does-not-compile": (
        'error processing component name="comp-say": executor(label="exec-say"): '
        "non-container and non-importer executor not implemented"
    ),
    "run-create-nameless": "Run name cannot be empty",
    "run-create-no-source": "Failed to fetch a template with an empty pipeline spec manifest",
    "run-create-schema-2.0.0": (
        "KFP only supports schema version 2.1.0, but the pipeline spec has version 2.0.0: "
        "pipeline spec is invalid"
    ),
    "run-create-too-big": "etcdserver: request is too large",
    "run-create-unknown-field": "unknown template format: pipeline spec is invalid",
    "run-create-unknown-version": "PipelineVersion b not found",
}
"""Recorded answers to `POST runs` with status 500 -> how the cause ends."""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", REFUSED_WITH_500)
def test_a_refusal_with_status_500_is_not_an_outage(
    cluster: KubeflowStandIn, spec: Spec, monkeypatch: pytest.MonkeyPatch, name: str, version: str
) -> None:
    """It is sent once, leaves no doubt, and its cause is one line without the trace."""
    refused = exchange(name, version)
    answer_with(cluster, monkeypatch, "POST", f"{API}/runs", refused)

    with pytest.raises(Refused) as caught:
        public.submit(spec, env="cloud")

    assert caught.value.message.startswith("Kubeflow Pipelines refused POST apis/v2beta1/runs: ")
    assert caught.value.message.endswith(f"{REFUSED_WITH_500[name]} (500 INTERNAL).")
    assert len(caught.value.message) < 300
    assert not caught.value.unknown
    assert cluster.requests.count("POST", RUNS) == 1


@pytest.mark.recorded(
    "Kubeflow: a pipeline that the server cannot read", "api-2.17.0/run-create-unknown-field"
)
@pytest.mark.parametrize(
    ("version", "advice"),
    [
        (
            "2.17.0",
            (
                "This server is 2.17.0. Compile the pipeline with the kfp of that release: pip"
                " install 'kfp==2.17.*'"
            ),
        ),
        (
            "2.5.0",
            "This server is 2.5.0. Compile the pipeline with an older kfp: pip install 'kfp<2.14'",
        ),
        (
            "unknown",
            (
                "Compile the pipeline with the kfp of the server's release, or remove features that"
                " this"
            ),
        ),
    ],
)
@pytest.mark.parametrize("name", ["run-create-unknown-field", "run-create-does-not-compile"])
def test_a_pipeline_that_the_server_cannot_read_comes_with_the_kfp_that_it_reads(
    cluster: KubeflowStandIn,
    spec: Spec,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    version: str,
    advice: str,
) -> None:
    answer_with(cluster, monkeypatch, "POST", f"{API}/runs", exchange(name))
    health = replace(exchange("healthz"), answer={"tag_name": version})
    answer_with(cluster, monkeypatch, "GET", f"{API}/healthz", health)

    with pytest.raises(Refused) as caught:
        public.submit(spec, env="cloud")

    assert caught.value.hint.startswith(advice)


def test_an_experiment_that_the_server_refuses_with_500_is_asked_for_once(
    cluster: KubeflowStandIn, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(
        cluster, monkeypatch, "POST", f"{API}/experiments", exchange("experiment-create-long-name")
    )

    with pytest.raises(
        Refused, match=r": Experiment\.Name length cannot exceed 128 \(500 INTERNAL\)"
    ):
        public.submit(spec, env="cloud", experiment="new")

    assert cluster.requests.count("POST", f"{API}/experiments") == 1


def test_a_name_that_is_too_long_is_refused_before_anything_is_sent(
    cluster: KubeflowStandIn, spec: Spec
) -> None:
    with pytest.raises(Unsupported, match="256 characters"):
        public.submit(spec, env="cloud", name="n" * 256)
    with pytest.raises(Unsupported, match="129 bytes"):
        public.submit(spec, env="cloud", experiment="e" * 129)

    assert cluster.requests.count("POST") == 0


def test_a_refusal_by_itself_leaves_none(cluster: KubeflowStandIn, spec: Spec) -> None:
    cluster.fail_next("403", method="POST", path=RUNS)

    with pytest.raises(Refused, match="403") as caught:
        public.submit(spec, env="cloud")

    assert not caught.value.unknown
    assert cluster.requests.count("GET", RUNS) == 0


def test_a_web_page_instead_of_the_new_run(cluster: KubeflowStandIn, spec: Spec) -> None:
    """It is made, and what comes back is a broken page."""
    cluster.fail_next("garbage", method="POST", path=RUNS)

    handle = public.submit(spec, env="cloud")

    assert _ids(cluster) == [handle.run_id]
    assert cluster.requests.count("POST", RUNS) == 1


def test_a_sign_in_that_ends_in_between_leaves_doubt(cluster: KubeflowStandIn, spec: Spec) -> None:
    public.submit(spec, env="cloud").delete()
    cluster.fail_next("lost", method="POST", path=RUNS)
    cluster.fail_next("401", path=RUNS)

    with pytest.raises(BackendError) as caught:
        public.submit(spec, env="cloud", name="mine")

    assert _named(caught.value) == "mine"
    assert [run.name for run in public.list()] == ["mine"]


def test_an_address_where_nobody_answers_leaves_no_doubt(
    cluster: KubeflowStandIn, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the experiment is known already."""
    public.submit(spec, env="cloud").delete()

    monkeypatch.setenv("KFGCP_ENV_CLOUD_HOST", "http://127.0.0.1:9")
    with pytest.raises(Unreachable) as caught:
        public.submit(spec, env="cloud")

    assert not caught.value.unknown
    assert "not known" not in caught.value.message


# -- experiments


@pytest.mark.parametrize(
    "name",
    [
        "churn",
        "a+b",
        "100%",
        "%41",
        "\u00fc \U0001f600",
        'quoted "it\'s" \\',
        "{{$}}",
        "' OR 1=1 --",
        "x" * 120,
    ],
)
def test_an_experiment_of_any_name_is_made_once_and_found_again(
    cluster: KubeflowStandIn, spec: Spec, name: str, home: Path
) -> None:
    first = public.submit(spec, env="cloud", experiment=name)
    with ThreadPoolExecutor(
        1
    ) as another_thread:  # has a backend of its own, which knows no experiment
        second = another_thread.submit(public.submit, spec, env="cloud", experiment=name).result()

    assert {experiment.name for experiment in cluster.experiments.all()} == {"Default", name}
    for handle in (first, second):
        assert public.show(handle.run_id).snapshot.experiment == name


def test_a_run_in_an_experiment_that_differs_in_case_keeps_the_name_that_it_was_given(
    cluster: KubeflowStandIn, spec: Spec
) -> None:
    """As on MySQL: "default" is the "Default" that every server has."""
    handle = public.submit(spec, env="cloud", experiment="default")
    assert [experiment.name for experiment in cluster.experiments.all()] == ["Default"]

    handle.wait(PROCESS)

    assert public.show(handle.run_id).snapshot.experiment == "default"
    assert [run.run_id for run in public.list(RunFilter(env="cloud", experiment="default"))] == [
        handle.run_id
    ]


def test_eight_threads_that_start_in_a_new_experiment_make_it_once(
    cluster: KubeflowStandIn, spec: Spec, submit_all: Callable[..., list[str | BackendError]]
) -> None:
    cluster.latency = 0.05
    results = submit_all(spec, 8, env="cloud", experiment="new")

    assert [result for result in results if isinstance(result, BackendError)] == []
    assert [experiment.name for experiment in cluster.experiments.all()] == ["Default", "new"]
    assert len(_runs(cluster)) == 8


def test_an_experiment_whose_making_was_not_answered(cluster: KubeflowStandIn, spec: Spec) -> None:
    cluster.fail_next("lost", method="POST", path="*/experiments")

    public.submit(spec, env="cloud", experiment="new")

    assert [experiment.name for experiment in cluster.experiments.all()] == ["Default", "new"]
    assert len(_runs(cluster)) == 1


# -- the process


def test_a_submission_that_is_killed_is_one_run_or_none_and_the_next_list_has_it(
    cluster: KubeflowStandIn, pipeline: Callable[[str], Path], kfgcp: Command
) -> None:
    """A process is killed when it has asked anything, when its request for a run has arrived, when
    the run is made, or when the answer is on its way."""
    for number in range(8):
        moment = ("asked", "arrived", "made", "answered")[number % 4]
        mark = len(cluster.requests)
        held = None
        if moment == "asked":
            held = HeldRequest(cluster, "GET", "*")
        elif moment != "answered":
            held = HeldRequest(cluster, "POST", RUNS, after_work=moment == "made")
        process = kfgcp.start(
            "run", pipeline("echo"), "--env", "cloud", "--detach", "--name", f"kill-{number}"
        )
        if held is not None:
            assert held.reached.wait(PROCESS)
        else:
            wait_for(partial(_is_answered, cluster, "POST", RUNS, since=mark))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        if held is not None:
            assert out == ""
            held.release()
            # A request that has arrived is carried out, though nobody waits for its answer.
            wait_for(partial(_is_answered, cluster, None, "*", since=mark))
        created = [run for run in _runs(cluster) if run["display_name"] == f"kill-{number}"]
        assert len(created) == (0 if moment == "asked" else 1)

    listed = kfgcp("list", "--env", "cloud", "--limit", "100", "--json")
    assert listed.code == 0, listed.err
    assert sorted(run["run_id"] for run in listed.json) == sorted(_ids(cluster))
    assert _most(cluster) == 1


def _is_answered(env: KubeflowStandIn, method: str | None, path: str, *, since: int) -> bool:
    """Whether there is such a request, and every one of them was answered."""
    requests = env.requests.select(method, path, since=since)
    return bool(requests) and all(request.status is not None for request in requests)


def test_a_login_page_for_a_new_run_says_that_its_creation_is_uncertain(
    cluster: KubeflowStandIn, spec: Spec, impatient: None
) -> None:
    """Every answer is one, the looks' too."""
    public.submit(spec, env="cloud").delete()
    cluster.fail_next("garbage", times=2, path=RUNS)

    with pytest.raises(AuthError) as caught:
        public.submit(spec, env="cloud", name="mine")

    assert _named(caught.value) == "mine"
