"""What goes wrong before or beside a run, at the real command line: a line with the cause, one with
the mend."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from kfgcp import api, testing
from kfgcp.cli import main
from kfgcp.testing import VertexStandIn
from kfgcp_command import Command
from patience import REQUEST, WaitFor
from service_fixtures import Reply, Server

TOKEN = "ya29.not-a-real-token"  # noqa: S105


@pytest.fixture
def cloud(home: Path) -> Iterator[VertexStandIn]:
    """A stand-in; the environment `cloud` of the project leads there and is the default one."""
    with testing.vertex(mode="instant") as env:
        (home / "kfgcp.toml").write_text(env.toml("cloud"))
        yield env


def setting(key: str, value: str) -> dict[str, str]:
    return {f"KFGCP_ENV_CLOUD_{key.upper()}": value}


@pytest.mark.parametrize(
    ("key", "value", "cause", "mend"),
    [
        ("project", "other", "denied on resource project other", "gcloud projects describe other"),
        (
            "location",
            "us-central1",
            "us-central1 was not found",
            "location (us-central1) of the environment",
        ),
        ("pipeline_root", "gs://nobodys/runs", "bucket gs://nobodys of the", "pipeline_root"),
        (
            "service_account",
            "x@acme.iam.gserviceaccount.com",
            "act as service_account",
            "iam.serviceAccountUser on x@",
        ),
        ("network", "default", 'network "default"', "network"),
        ("encryption_key", "mine", 'kms_key_name "mine"', "encryption_key"),
    ],
)
def test_a_setting_that_the_service_refuses(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
    key: str,
    value: str,
    cause: str,
    mend: str,
) -> None:
    cloud.service_accounts = {"runner@acme.iam.gserviceaccount.com"}

    for mode in ((), ("--detach",), ("--json",)):
        error, hint = fails(5, "run", pipeline("echo"), *mode, env=setting(key, value))

        assert cause in error
        assert mend in hint
        nothing_was_started(cloud.jobs())


@pytest.mark.parametrize(
    ("key", "value", "cause", "mend"),
    [
        ("pipeline_root", "runs", "pipeline_root is 'runs'", "gs://BUCKET"),
        ("failure_policy", "often", "failure_policy is 'often'", "slow, fast"),
        ("auth", "magic", "auth is 'magic'", "Set auth to one of"),
        ("api_endpoint", "vertex", "api_endpoint is 'vertex', not a URL", "https://HOST"),
    ],
)
def test_a_setting_that_cannot_be_right(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
    key: str,
    value: str,
    cause: str,
    mend: str,
) -> None:
    error, hint = fails(2, "run", pipeline("echo"), env=setting(key, value))

    assert cause in error
    assert mend in hint
    assert len(cloud.requests) == 0
    nothing_was_started(cloud.jobs())


def test_an_exhausted_quota(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    cloud.fail_next("429", method="POST", retry_after=90)

    error, hint = fails(5, "run", pipeline("echo"))

    assert "429 RESOURCE_EXHAUSTED" in error
    assert "asks to wait 90 s" in hint
    assert f"console.cloud.google.com/iam-admin/quotas?project={cloud.project}" in hint
    nothing_was_started(cloud.jobs())


def test_an_expired_login(
    cloud: VertexStandIn,
    home: Path,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    file = home / "token"
    file.write_text(TOKEN)
    cloud.accept_tokens("another")
    env = setting("auth", "token-file") | setting("token_file", str(file))

    for verb in (("run", pipeline("echo")), ("list", "--env", "cloud")):
        error, hint = fails(5, *verb, env=env)
        assert "did not accept the sign-in" in error
        assert f"Write a new token to {file}" in hint
        assert TOKEN not in error + hint
    nothing_was_started(cloud.jobs())


def test_no_login(
    cloud: VertexStandIn,
    home: Path,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    nowhere = {
        "GOOGLE_APPLICATION_CREDENTIALS": str(home / "nothing.json"),
        "NO_GCE_CHECK": "true",
        "CLOUDSDK_CONFIG": str(home / "gcloud"),
        "HOME": str(home),
    }

    error, hint = fails(5, "run", pipeline("echo"), env=setting("auth", "google") | nowhere)

    assert "nothing.json" in error
    assert "gcloud auth application-default login" in hint
    nothing_was_started(cloud.jobs())


@pytest.mark.parametrize("verb", ["run", "list"])
def test_an_unknown_host(
    cloud: VertexStandIn,
    home: Path,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
    verb: str,
) -> None:
    (home / "token").write_text(TOKEN)
    env = setting("api_endpoint", "https://vertex.invalid") | setting("auth", "token-file")
    arguments = (verb, pipeline("echo")) if verb == "run" else (verb, "--env", "cloud")

    error, hint = fails(5, *arguments, env=env | setting("token_file", str(home / "token")))

    assert "vertex.invalid" in error
    assert hint
    nothing_was_started(cloud.jobs())


def test_nobody_at_the_address(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    error, hint = fails(
        5, "run", pipeline("echo"), env=setting("api_endpoint", f"http://127.0.0.1:{port}")
    )

    assert "127.0.0.1" in error
    assert hint
    nothing_was_started(cloud.jobs())


@pytest.mark.parametrize(
    ("body", "kind", "cause"),
    [
        (b"<html><title>Welcome</title>", "text/html", "web page"),
        (b"\x00\xff garbage", "application/json", "cannot be read as JSON"),
        (b"[1, 2]", "application/json", "is JSON, but not an object"),
        (b'{"name": "projects/x"', "application/json", "cannot be read as JSON"),
        (b"{}", "application/json", "Vertex AI answered with a pipeline job without name"),
        (
            (
                b'{"name": "projects/p/locations/l/pipelineJobs/other", "createTime":'
                b' "2026-01-02T03:04:05Z"}'
            ),
            "application/json",
            "answered with a different run",
        ),
        (b"ok", "text/plain", "text/plain, not JSON"),
    ],
)
def test_a_server_that_answers_garbage(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
    server: Server,
    reply: type[Reply],
    body: bytes,
    kind: str,
    cause: str,
) -> None:
    server.always(lambda asked: reply(body, headers={"Content-Type": kind}))

    error, hint = fails(5, "run", pipeline("echo"), env=setting("api_endpoint", server.url))

    assert cause in error
    assert hint
    assert [asked.method for asked in server.asked if asked.method == "POST"] == ["POST"]
    nothing_was_started()


def test_a_run_that_may_have_been_made_is_named(
    cloud: VertexStandIn,
    kfgcp: Command,
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    cloud.fail_next("garbage", method="POST")  # it is made, and the answer is a broken page

    error, hint = fails(5, "run", pipeline("echo"))

    (run_id,) = cloud.jobs()
    assert f"kfgcp does not know whether the run {run_id} was created." in error
    assert hint.endswith(f"kfgcp show {run_id}")
    assert kfgcp("show", run_id, "--json").json["run_id"] == run_id


@pytest.mark.parametrize(
    "jobs",
    [
        *("[3]", '[{"name": 3}]', '[{"state": "PIPELINE_STATE_RUNNING"}]', '{"name": 1}', '"x"'),
    ],
)
def test_a_server_that_lists_garbage(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    server: Server,
    reply: type[Reply],
    jobs: str,
) -> None:
    server.always(lambda asked: reply(f'{{"pipelineJobs": {jobs}}}'.encode()))

    error, hint = fails(5, "list", "--env", "cloud", env=setting("api_endpoint", server.url))

    assert "Vertex AI" in error
    assert hint
    nothing_was_started()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('"labels": 3', "labels is 3, not an object"),
        ('"state": []', "state is a list, not text"),
        (
            '"displayName": 1180591620717411303424',
            "displayName is 1180591620717411303424, not text",
        ),
        (
            '"runtimeConfig": {"parameterValues": [1]}',
            "runtimeConfig.parameterValues is a list, not an object",
        ),
        (
            '"runtimeConfig": {"parameters": {"n": {"intValue": "x"}}}',
            "n.intValue is 'x', not a whole number of 64",
        ),
        ('"jobDetail": {"taskDetails": [null]}', "jobDetail.taskDetails[0] is null, not an object"),
        ('"updateTime": "soon"', "updateTime is 'soon', not a time"),
    ],
)
def test_a_run_that_cannot_be_read_is_left_out_of_a_list(
    cloud: VertexStandIn,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    reply: type[Reply],
    fields: str,
    problem: str,
) -> None:
    created = '"createTime": "2026-01-02T03:04:05Z"'
    jobs = f'[{{"name": "p/bad", {created}, {fields}}}, {{"name": "p/good", {created}}}]'
    server.always(lambda asked: reply(f'{{"pipelineJobs": {jobs}}}'.encode()))
    monkeypatch.setenv("KFGCP_ENV_CLOUD_API_ENDPOINT", server.url)

    code = main._exit_code(["list", "--env", "cloud", "--json"])

    out, err = capsys.readouterr()
    assert code == 0, err
    assert [run["run_id"] for run in json.loads(out)] == ["good"]
    assert "A run of cloud is left out: Vertex AI answered with a pipeline job p/bad whose " in err
    assert problem in err


def test_a_pipeline_that_is_too_large(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    cloud.max_request_bytes = 1000

    error, hint = fails(5, "run", pipeline("echo"))

    assert "payload size exceeds the limit" in error
    assert "smaller" in hint
    nothing_was_started(cloud.jobs())


@pytest.mark.parametrize(
    ("label", "mend"),
    [
        ("Team=growth", "team=growth"),
        ("team=Growth & Co", "team=growth-co"),
        ("1=a", "The name must start with a letter"),
    ],
)
def test_a_label_that_google_refuses(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
    label: str,
    mend: str,
) -> None:
    error, hint = fails(5, "run", pipeline("echo"), "--label", label)

    assert f"Google refuses the label {label} (V207)." in error
    assert mend in hint
    assert len(cloud.requests) == 0
    nothing_was_started(cloud.jobs())


def test_a_number_that_would_change(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    error, hint = fails(2, "run", pipeline("one_fails"), "-p", f"x={2**53 + 1}")

    assert f"The parameter x contains {2**53 + 1}" in error
    assert "STRING" in hint
    assert len(cloud.requests) == 0
    nothing_was_started(cloud.jobs())


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ("show",),
            ("logs",),
            ("logs", "--follow"),
            ("watch",),
            ("cancel",),
            ("delete", "--yes"),
            ("rerun",),
        ),
        ("compare", "also-not-there"),
    ],
)
def test_a_run_that_is_not_there(
    cloud: VertexStandIn,
    nothing_was_started: Callable[..., None],
    fails: Callable[..., tuple[str, str]],
    arguments: tuple[str, ...],
) -> None:
    verb, *more = arguments

    error, hint = fails(5, verb, "train-0000", *more)

    assert error == "There is no run 'train-0000'."
    assert hint == "To see all runs: kfgcp list"
    nothing_was_started(cloud.jobs())


def test_a_task_that_is_not_there(
    cloud: VertexStandIn,
    kfgcp: Command,
    fails: Callable[..., tuple[str, str]],
    pipeline: Callable[[str], Path],
) -> None:
    run = kfgcp("run", pipeline("echo"), "--json", env={"KFGCP_ENV": "cloud"}).json["run_id"]

    for verb in (("logs", run, "nobody"), ("rerun", run, "--from", "nobody")):
        error, hint = fails(2, *verb)
        assert f"Run {run} has no task 'nobody'." in error
        assert hint == "The tasks of the run: say."
    assert cloud.jobs() == [run]


def test_a_run_that_is_deleted_while_it_is_watched(
    cloud: VertexStandIn,
    kfgcp: Command,
    home: Path,
    pipeline: Callable[[str], Path],
    eventually: WaitFor,
) -> None:
    cloud.instant.seconds = 600.0
    run = kfgcp("run", pipeline("echo"), "--detach", env={"KFGCP_ENV": "cloud"}).out.strip()
    watching = kfgcp.start("watch", run, env={"KFGCP_ENV": "cloud"})
    place = f"projects/{cloud.project}/locations/{cloud.location}"
    url = f"{cloud.api_endpoint}/v1/{place}/pipelineJobs/{run}"
    before = len(cloud.requests)
    eventually(lambda: cloud.requests.count("GET", f"*/pipelineJobs/{run}", since=before) > 1)

    assert requests.post(f"{url}:cancel", json={}, timeout=REQUEST).status_code == 200
    assert requests.delete(url, timeout=REQUEST).status_code == 200
    done = kfgcp.end(watching)

    assert done.code in (5, 6), done.err
    assert "Traceback" not in done.err
    if done.code == 5:  # it was not seen as cancelled in between
        error, hint = (
            line for line in done.err.splitlines() if line.startswith(("error:", "hint:"))
        )
        assert f"Run {run} was deleted: " in error
        assert f"kfgcp show {run}" in hint
    assert [(stored_run.run_id, stored_run.state.value) for stored_run in api.list()] == [
        (run, "CANCELLED")
    ]
