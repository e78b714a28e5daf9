"""Tokens, login pages and namespaces."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from json_types import JsonDict
from kfgcp.backends.kubeflow import mlmd
from kfgcp.errors import UsageError
from kfgcp.testing import KubeflowStandIn, kubeflow
from patience import REQUEST
from stand_in_apis import KubeflowApi


@pytest.fixture
def shared() -> Iterator[KubeflowStandIn]:
    """Return a stand-in in multi-user mode."""
    with kubeflow(mode="instant", multi_user=True, namespaces=("growth", "risk")) as env:
        yield env


@pytest.mark.parametrize("kind", ["401", "redirect", "page"])
def test_a_request_without_a_good_token_is_sent_to_sign_in(quick: KubeflowApi, kind: str) -> None:
    quick.env.accept_tokens("good")
    quick.env.sign_in = kind
    url = f"{quick.env.host}/apis/v2beta1/runs"

    answers = [
        requests.get(
            url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=REQUEST,
            allow_redirects=False,
        )
        for token in ("good", "bad")
    ]
    answers.append(
        requests.post(
            quick.env.host + mlmd.method_path("GetArtifactTypes"),
            timeout=REQUEST,
            allow_redirects=False,
        )
    )

    assert answers[0].json() == {}
    for answer in answers[1:]:
        if kind == "401":
            assert (answer.status_code, answer.json()["code"]) == (401, 16)
        elif kind == "redirect":
            assert answer.status_code == 302
            page = requests.get(answer.headers["Location"], timeout=REQUEST)
            assert page.status_code == 200
            assert "Log in" in page.text
        else:
            assert answer.status_code == 200
            assert answer.headers["Content-Type"].startswith("text/html")
            assert "Log in" in answer.text
    with pytest.raises(UsageError, match=r'sign_in must be .*, not "maybe"'):
        quick.env.sign_in = "maybe"


def test_tokens_are_good_for_so_long_and_until_they_are_expired(
    quick: KubeflowApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(
            f"{quick.env.host}/apis/v2beta1/runs", headers=headers, timeout=REQUEST
        ).status_code

    now = 1000.0
    monkeypatch.setattr("kfgcp.testing.stand_in.time", SimpleNamespace(monotonic=lambda: now))
    quick.env.accept_tokens("a", "b", seconds=60)
    now += 59
    assert status("a") == 200
    now += 1
    assert status("b") == 401
    quick.env.accept_tokens("a", "b")
    assert status("a") == 200
    quick.env.expire_tokens()
    assert (status("a"), status("b")) == (401, 401)


def test_the_callers_namespaces_are_open_and_others_are_denied(
    shared: Any, api_of: type[KubeflowApi], spec_of: Callable[[str], JsonDict]
) -> None:
    api = api_of(shared)
    spec = spec_of("echo")
    growth = api.post("experiments", {"display_name": "churn", "namespace": "growth"})
    api.post(
        "experiments", {"display_name": "churn", "namespace": "risk"}
    )  # a name for each namespace

    run = api.post(
        "runs",
        {"display_name": "x", "experiment_id": growth["experiment_id"], "pipeline_spec": spec},
    )

    assert growth["namespace"] == "growth"
    assert api.get("runs", namespace="growth")["runs"][0]["run_id"] == run["run_id"]
    assert api.get("runs", experiment_id=growth["experiment_id"])["total_size"] == 1
    assert api.get("runs", namespace="risk") == {}
    assert run["service_account"] == "default-editor"
    for method, path, body, query in (
        ("GET", "runs", None, {"namespace": "hr"}),
        ("GET", "experiments", None, {"namespace": "hr"}),
        ("GET", "pipelines", None, {"namespace": "hr"}),
        ("GET", "recurringruns", None, {"namespace": "hr"}),
        ("POST", "experiments", {"display_name": "x", "namespace": "hr"}, {}),
    ):
        status, code, message = api.refused(method, path, body, **query)
        assert (status, code) == (403, 7), path
        assert "PermissionDenied: User 'user@example.com' is not authorized" in message
        assert "Namespace:hr" in message
    assert api.refused("GET", "auth", namespace="growth", verb="GET", resources="VIEWERS")[:2] == (
        404,
        5,
    )
    assert shared.namespace == "growth"


def test_what_loses_its_namespace_is_denied(
    shared: Any, api_of: type[KubeflowApi], spec_of: Callable[[str], JsonDict]
) -> None:
    api = api_of(shared)
    (run,) = shared.seed(1, namespace="risk")
    answer = api.upload('{"pipelineInfo": {}}', namespace="risk")
    assert answer.json()["error_message"] == "unknown template format"  # and not denied
    experiment = api.get(f"runs/{run}")["experiment_id"]
    shared.access.namespaces.remove("risk")

    for method, path in (
        ("GET", f"runs/{run}"),
        ("DELETE", f"runs/{run}"),
        ("POST", f"runs/{run}:archive"),
        ("GET", f"experiments/{experiment}"),
    ):
        assert api.refused(method, path)[:2] == (403, 7), path
    assert api.refused("GET", "runs", experiment_id=experiment)[:2] == (403, 7)
    denied = api.upload('{"pipelineInfo": {}}', namespace="risk")
    assert denied.status_code == 400
    assert denied.json()["error_message"] == "Failed to create a pipeline"


def test_a_namespace_is_needed_where_there_are_users(
    shared: Any, api_of: type[KubeflowApi], spec_of: Callable[[str], JsonDict]
) -> None:
    api = api_of(shared)

    for method, path, body in (
        ("GET", "runs", None),
        ("POST", "experiments", {"display_name": "x"}),
        ("POST", "runs", {"display_name": "x", "pipeline_spec": spec_of("echo")}),
    ):
        status, code, message = api.refused(method, path, body)
        assert (status, code) == (400, 3)
        assert "in multi-user mode" in message
    assert api.get("pipelines") == {}  # those without a namespace are shared
    assert api.get("healthz")["multi_user"] is True


def test_a_namespace_is_not_looked_at_where_there_are_none(quick: KubeflowApi) -> None:
    experiment = quick.post("experiments", {"display_name": "churn", "namespace": "anything"})

    assert "namespace" not in experiment
    assert quick.get("experiments", namespace="other")["total_size"] == 2
    assert quick.env.namespace == ""


def test_kfps_client_works_in_a_namespace(
    shared: Any, pipeline: Callable[[str], Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kfp

    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(home / "context.json"))
    client = kfp.Client(shared.host)
    client.set_user_namespace("risk")

    run = client.create_run_from_pipeline_package(
        str(pipeline("echo")), experiment_name="churn"
    ).run_id
    uploaded = client.upload_pipeline(str(pipeline("echo")), "echo", namespace="risk")

    assert client.get_experiment(experiment_name="churn").namespace == "risk"
    assert [listed_run.run_id for listed_run in client.list_runs().runs] == [run]
    assert client.list_runs(namespace="growth").runs is None
    assert client.list_pipelines(namespace="risk").pipelines[0].pipeline_id == uploaded.pipeline_id
    with pytest.raises(Exception, match="403"):
        client.list_runs(namespace="hr")


def test_faults_are_answered_as_the_server_answers(quick: KubeflowApi) -> None:
    for status, code in ((503, 14), (429, 8), (500, 13), (404, 5)):
        quick.env.fail_next(str(status), retry_after=7)
        assert quick.refused("GET", "runs")[:2] == (status, code)
    quick.env.fail_next("lost", method="POST")
    with pytest.raises(requests.exceptions.ConnectionError):
        quick.post("experiments", {"display_name": "made"})
    assert quick.get("experiments")["total_size"] == 2  # the work was done
    assert quick.env.unused_faults == []


def test_the_paths_of_a_full_kubeflow_are_answered_too(quick: KubeflowApi) -> None:
    quick.env.seed(1)

    answer = requests.get(f"{quick.env.host}/pipeline/apis/v2beta1/runs", timeout=REQUEST)

    assert answer.json()["total_size"] == 1
