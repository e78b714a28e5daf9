"""Runs are submitted to a service that fails: each is made once or not at all, and nobody is told
otherwise."""

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

import kfgcp as public
from held import HeldRequest
from kfgcp.errors import BackendError, StateError, Unreachable
from kfgcp.spec.load import Spec
from kfgcp.store.store import Store
from kfgcp.testing import VertexStandIn
from kfgcp_command import Command
from patience import PROCESS, REQUEST, wait_for
from trials import Trial

CREATES = "*/pipelineJobs"
TOO_LONG = 61
"""Seconds of a Retry-After that no call waits for: the budget of one is 60."""


def _jobs(env: VertexStandIn) -> list[Any]:
    """All jobs, as the service lists them to somebody who asks without kfgcp."""
    url = f"{env.api_endpoint}/v1/projects/{env.project}/locations/{env.location}/pipelineJobs"
    jobs: list[Any] = []
    token = ""
    while True:
        page = requests.get(
            url, params={"pageSize": "100", "pageToken": token}, timeout=REQUEST
        ).json()
        jobs += page["pipelineJobs"]
        token = page.get("nextPageToken", "")
        if not token:
            return jobs


def _submissions(env: VertexStandIn) -> Counter[str]:
    """The jobs by the label that tells one submission from all others."""
    return Counter(job["labels"]["submission"] for job in _jobs(env))


@pytest.mark.trial("submissions to Vertex AI, of whose requests every fifth fails")
def test_each_submission_makes_one_run_when_every_fifth_request_fails(
    service: VertexStandIn,
    spec: Spec,
    submit_all: Callable[..., list[str | BackendError]],
    trial: Trial,
) -> None:
    count = trial.size(sample=150, proof=2000)
    service.faults(0.2, ("503", "429", "reset", "lost"), seed=trial.random().randrange(1000))

    results = submit_all(spec, count)

    service.faults(0)
    met = Counter(request.fault for request in service.requests.select("POST", CREATES))
    assert min(met[kind] for kind in ("503", "429", "reset", "lost")) >= count * 0.02
    assert [result for result in results if isinstance(result, BackendError)] == []
    assert sorted(service.jobs()) == sorted(map(str, results))
    assert len(set(results)) == count
    assert len(_submissions(service)) == count
    assert sorted(run.run_id for run in public.list()) == sorted(map(str, results))
    trial.count("submissions", count)


def test_an_error_of_submit_says_whether_the_run_may_have_started(
    service: VertexStandIn, spec: Spec, submit_all: Callable[..., list[str | BackendError]]
) -> None:
    """Half of the requests are not tried again, as the service asks for more patience than there
    is."""
    service.faults(
        0.5, ("503", "429", "lost", "garbage"), seed=11, method="POST", retry_after=TOO_LONG
    )

    results = submit_all(spec, 200)

    service.faults(0)
    job_ids = set(service.jobs())
    answered = {result for result in results if isinstance(result, str)}
    failed = [result for result in results if isinstance(result, BackendError)]
    in_doubt = {_named(error) for error in failed if error.unknown}
    assert len(answered) + len(failed) == 200
    assert len(answered) >= 50
    assert len(failed) >= 50
    assert answered <= job_ids
    assert job_ids <= answered | in_doubt
    assert in_doubt & job_ids, "no lost request created a run, so the test proves nothing"
    assert all("not known" not in error.message for error in failed if not error.unknown)
    assert max(_submissions(service).values()) == 1


def _named(error: BackendError) -> str:
    match = re.search(r"kfgcp does not know whether the run (\S+) was created\.", error.message)
    assert match, error.message
    assert error.hint.endswith(f"kfgcp show {match[1]}")
    return match[1]


def test_a_submission_that_is_killed_is_one_run_or_none_and_the_next_list_has_it(
    service: VertexStandIn, pipeline: Callable[[str], Path], kfgcp: Command
) -> None:
    """A process is killed when its request has arrived, when its run is made, or when the answer is
    on its way."""
    for number in range(12):
        moment = ("arrived", "made", "answered")[number % 3]
        mark = len(service.requests)
        held = None
        if moment != "answered":
            held = HeldRequest(service, "POST", CREATES, after_work=moment == "made")
        process = kfgcp.start(
            "run", pipeline("echo"), "--env", "dev", "--detach", "--name", f"kill-{number}"
        )
        if held is not None:
            assert held.reached.wait(PROCESS)
        else:
            wait_for(partial(_is_answered, service, since=mark))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        if held is not None:
            assert out == ""
            held.release()
            # A request that has arrived is carried out, though nobody waits for its answer.
            wait_for(partial(_is_answered, service, since=mark))
        created = [job for job in _jobs(service) if job["displayName"] == f"kill-{number}"]
        assert len(created) == 1

    listed = kfgcp("list", "--env", "dev", "--limit", "100", "--json")
    assert listed.code == 0, listed.err
    assert sorted(run["run_id"] for run in listed.json) == sorted(service.jobs())
    assert max(_submissions(service).values()) == 1


def _is_answered(env: VertexStandIn, *, since: int) -> bool:
    creates = env.requests.select("POST", CREATES, since=since)
    return any(request.status is not None for request in creates)


def test_a_run_that_cannot_be_recorded_continues_and_the_error_says_so(
    service: VertexStandIn,
    spec: Spec,
    mount: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = mount("size=2m")
    monkeypatch.setenv("KFGCP_HOME", str(folder))
    with Store(folder):  # SQLite has made its files
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        with pytest.raises(StateError) as caught:
            public.submit(spec, env="dev")

    (run_id,) = service.jobs()
    assert caught.value.message.startswith(
        f"Run {run_id} was submitted and continues, but kfgcp could not record it: The disk of"
    )
    (folder / "filler").unlink()
    assert [run.run_id for run in public.list()] == [run_id]


def test_nothing_is_submitted_from_a_state_folder_that_cannot_be_written(
    service: VertexStandIn,
    spec: Spec,
    mount: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = mount("size=2m")
    monkeypatch.setenv("KFGCP_HOME", str(folder))
    with Store(folder):
        pass
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)

    with pytest.raises(StateError, match=r"The state folder .* cannot be written"):
        public.submit(spec, env="dev")

    assert len(service.requests) == 0


def test_a_run_is_found_again_after_a_long_outage_of_the_connection(
    service: VertexStandIn, spec: Spec
) -> None:
    service.fail_next("lost", method="POST")
    service.fail_next("503", method="POST", retry_after=TOO_LONG)

    with pytest.raises(Unreachable) as caught:
        public.submit(spec, env="dev")

    assert [_named(caught.value)] == service.jobs()
    assert public.show(_named(caught.value)).state == "SUCCEEDED"


def test_an_address_where_nobody_answers_leaves_no_doubt(
    service: VertexStandIn, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFGCP_ENV_DEV_API_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(Unreachable) as caught:
        public.submit(spec, env="dev")

    assert not caught.value.unknown
    assert "not known" not in caught.value.message
