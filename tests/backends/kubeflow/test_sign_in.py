"""Where the Kubeflow Pipelines of an environment is, and which tokens its requests have."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.backends.kubeflow.sign_in import address_and_tokens
from kfgcp.config import Environment
from kfgcp.errors import AuthError, ConfigError
from kfgcp.services.client import ServiceClient
from kfgcp.settings import Setting
from service_fixtures import Server

Client = Callable[..., ServiceClient]


def _env(**settings: str) -> Environment:
    return Environment(
        "dev", "kubeflow", {key: Setting(value, "test") for key, value in settings.items()}
    )


# -- inside a cluster


def test_the_projected_token_of_a_pod(
    tmp_path: Path, server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet replaces it every hour, by turning a link."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    (tmp_path / "data").symlink_to("one")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "data" / "token"))
    address, source = address_and_tokens(_env(auth="in-cluster", host=server.url))
    server.answers({}, {})
    client(address, source).get("x")

    (tmp_path / "turned").symlink_to("two")
    (tmp_path / "turned").rename(tmp_path / "data")
    client(address, source).get("x")

    assert [asked.headers["authorization"] for asked in server.asked] == [
        "Bearer one",
        "Bearer two",
    ]


def test_a_pod_without_a_projected_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH", raising=False)

    with pytest.raises(AuthError) as caught:
        address_and_tokens(_env(auth="in-cluster"))[1].get()

    assert (
        caught.value.message
        == "The token file /var/run/secrets/kubeflow/pipelines/token cannot be read: No such file"
        " or directory."
    )
    assert caught.value.hint.startswith(
        "Give the pod a projected service account token for the audience pipelines.kubeflow.org"
    )


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "http://ml-pipeline-ui.kubeflow.svc"),
        ({"kube_namespace": "kfp"}, "http://ml-pipeline-ui.kfp.svc"),
        ({"kube_service": "ml-pipeline"}, "http://ml-pipeline.kubeflow.svc:8888"),
        ({"host": "http://kfp.ml.svc.cluster.local:8080"}, "http://kfp.ml.svc.cluster.local:8080"),
        ({"api_endpoint": "http://127.0.0.1:1"}, "http://127.0.0.1:1"),
    ],
)
def test_the_usual_address_inside_a_cluster(settings: dict[str, str], address: str) -> None:
    assert address_and_tokens(_env(auth="in-cluster", **settings))[0] == address


# -- the address


def test_the_address_is_the_host_unless_an_emulator_is_named() -> None:
    google = _env(host="https://kfp.example")
    emulator = _env(host="https://kfp.example", api_endpoint="http://127.0.0.1:1")

    assert address_and_tokens(google)[0] == "https://kfp.example"
    assert address_and_tokens(emulator)[0] == "http://127.0.0.1:1"
    with pytest.raises(ConfigError, match=r"Environment 'dev' has no host\."):
        address_and_tokens(_env())
