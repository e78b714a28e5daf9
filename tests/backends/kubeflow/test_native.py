"""The run in kfp's own client: at the same host, with tokens that are renewed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import kfgcp as public
from hostile_http import Connection, hostile_server
from kfgcp.backends.kubeflow.native import pipeline_run
from kfgcp.errors import BackendError, NotFound, Unreachable
from kfgcp.services.auth.tokens import Anonymous
from kfgcp.testing import KubeflowStandIn, kubeflow
from kfgcp.testing.server import Request, Response
from patience import PROCESS, REQUEST


@pytest.fixture
def server(home: Path) -> Iterator[KubeflowStandIn]:
    with kubeflow(mode="instant") as started:
        (home / "kfgcp.toml").write_text(started.toml("gke"))
        yield started


def test_it_is_the_run_object_of_the_client(server: KubeflowStandIn) -> None:
    (run_id,) = server.seed(1)

    native = public.show(run_id).native()

    assert (native.run_id, native.run_info.state) == (run_id, "SUCCEEDED")
    assert native.wait_for_run_completion(PROCESS).display_name == "seeded 0"


def test_its_token_is_renewed_for_each_request(server: KubeflowStandIn, home: Path) -> None:
    (run_id,) = server.seed(1)
    settings = server.toml("gke").replace(
        'auth = "anonymous"', 'auth = "token-file"\ntoken_file = "token"'
    )
    (home / "kfgcp.toml").write_text(settings)
    (home / "token").write_text("first")
    server.accept_tokens("first")
    native = public.show(run_id).native()
    server.accept_tokens("second-one")
    (home / "token").write_text("second-one")

    assert native.wait_for_run_completion(PROCESS).run_id == run_id


def test_environment_variables_of_the_client_do_not_sign_it_in_otherwise(
    server: KubeflowStandIn, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = server.seed(1)
    settings = server.toml("gke").replace(
        'auth = "anonymous"', 'auth = "token-file"\ntoken_file = "token"'
    )
    (home / "kfgcp.toml").write_text(settings)
    (home / "token").write_text("mine")
    server.accept_tokens("mine")
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "another.apps.googleusercontent.com")

    assert public.show(run_id).native().run_id == run_id


def test_a_run_of_several_users_is_in_its_namespace(home: Path) -> None:
    with kubeflow(mode="instant", multi_user=True) as server:
        (home / "kfgcp.toml").write_text(server.toml("gke"))
        (run_id,) = server.seed(1)

        assert public.show(run_id).native().run_id == run_id


def test_a_run_that_is_gone_there_is_not_found(server: KubeflowStandIn) -> None:
    import requests

    (run_id,) = server.seed(1)
    handle = public.show(run_id)
    requests.delete(f"{server.host}/apis/v2beta1/runs/{run_id}", timeout=REQUEST).raise_for_status()

    with pytest.raises(NotFound, match=run_id):
        handle.native()


def test_what_the_client_raises_is_one_of_our_errors(server: KubeflowStandIn) -> None:
    (run_id,) = server.seed(1)
    handle = public.show(run_id)
    server.fail_next("503", times=9, path="*/runs/*")

    with pytest.raises(BackendError, match="client of Kubeflow Pipelines failed: 503"):
        handle.native()


def test_an_answer_that_the_client_cannot_read_is_one_of_our_errors(
    server: KubeflowStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = server.seed(1)
    handle = public.show(run_id)
    answer = server.handle

    def not_packed(request: Request) -> Response:
        return replace(answer(request), headers={"Content-Encoding": "gzip"})

    monkeypatch.setattr(server, "handle", not_packed)

    with pytest.raises(
        BackendError, match=r"client of Kubeflow Pipelines failed: .*failed to decode"
    ):
        handle.native()


def test_a_server_that_sends_a_byte_at_a_time() -> None:
    def trickle(connection: Connection) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        connection.trickle(b" " * 100_000)

    with hostile_server(trickle) as server, pytest.raises(Unreachable) as caught:
        pipeline_run(server.url, Anonymous(), "", None, "run", seconds=1)

    assert caught.value.message == "Kubeflow Pipelines did not answer the client of kfp within 1 s."
