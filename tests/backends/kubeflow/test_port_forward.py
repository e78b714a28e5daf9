"""The way through kubectl: real processes, of a script that forwards real connections to a
stand-in."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfgcp import api
from kfgcp.backends.kubeflow.sign_in import address_and_tokens
from kfgcp.config import Environment
from kfgcp.errors import BackendError, Unreachable
from kfgcp.services.auth import port_forward
from kfgcp.services.client import ServiceClient
from kfgcp.settings import Setting
from patience import PROCESS, WaitFor
from service_fixtures import Kubectl, ReceivedRequest, Reply, Server

Client = Callable[..., ServiceClient]


def _env(**settings: str) -> Environment:
    all_settings = {"auth": "port-forward"} | settings
    return Environment(
        "gke", "kubeflow", {key: Setting(value, "test") for key, value in all_settings.items()}
    )


def _http(client: Client, **settings: str) -> ServiceClient:
    address, tokens = address_and_tokens(_env(**settings))
    return client(address, tokens)


def test_requests_go_through_kubectl(kubectl: Kubectl, server: Server, client: Client) -> None:
    server.answers({"n": 1}, {"n": 2})
    http = _http(client)
    assert kubectl.calls == []  # not before the first request

    assert [http.get("x"), http.get("x")] == [{"n": 1}, {"n": 2}]
    (call,) = kubectl.calls
    assert call[:-1] == ["port-forward", "-n", "kubeflow", "svc/ml-pipeline-ui"]
    assert call[-1].endswith(":80")
    assert "authorization" not in server.asked[0].headers


def test_the_settings_say_where_to(kubectl: Kubectl, server: Server, client: Client) -> None:
    server.answers({})

    _http(client, kube_context="prod", kube_namespace="ml", kube_service="ml-pipeline").get("x")

    (call,) = kubectl.calls
    assert call[:-1] == ["--context", "prod", "port-forward", "-n", "ml", "svc/ml-pipeline"]
    assert call[-1].endswith(":8888")  # the API server's own port


def test_one_kubectl_serves_all_that_want_the_same(
    kubectl: Kubectl, server: Server, client: Client, reply: type[Reply]
) -> None:
    server.always(lambda asked: reply())
    clients = [_http(client) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda http: http.get("x"), clients)) == [{}] * 4

    assert len(kubectl.calls) == 1
    assert address_and_tokens(_env())[1] is address_and_tokens(_env())[1]


@pytest.mark.parametrize("word", ["die", "lose"])
def test_it_is_started_again_on_the_same_port(
    kubectl: Kubectl, server: Server, client: Client, eventually: WaitFor, word: str
) -> None:
    """When it has ended, and when it says that it lost the pod and lives on, as older ones do."""
    server.answers({"n": 1}, {"n": 2})
    http = _http(client)
    http.get("x")
    tokens = address_and_tokens(_env())[1]
    assert isinstance(tokens, port_forward.PortForward)
    kubectl.tell(word)
    eventually(lambda: tokens._kubectl is not None and not tokens._kubectl.is_forwarding)

    assert http.get("x") == {"n": 2}
    assert len(kubectl.calls) == 2
    assert kubectl.calls[0] == kubectl.calls[1]
    eventually(lambda: len(kubectl.alive) == 1)


def test_what_kubectl_complains_of(
    kubectl: Kubectl, eventually: WaitFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SAYS", "error: timed out waiting for the condition")
    _, tokens = address_and_tokens(_env(kube_context="prod"))

    with pytest.raises(Unreachable) as caught:
        tokens.get()

    assert caught.value.message == (
        "kubectl cannot forward a port to svc/ml-pipeline-ui in the namespace kubeflow: "
        "error: timed out waiting for the condition."
    )
    assert caught.value.hint.startswith(
        "To see the output of kubectl: kubectl --context prod port-forward -n kubeflow"
        " svc/ml-pipeline-ui "
    )
    eventually(lambda: kubectl.alive == [])


def test_it_works_again_once_the_cluster_does(
    kubectl: Kubectl, server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SAYS", "Unable to connect to the server")
    server.answers({"ok": 1})
    http = _http(client)
    with pytest.raises(Unreachable, match=r"Unable to connect to the server\. Tried 3 times"):
        http.get("x")
    monkeypatch.delenv("FAKE_SAYS")

    assert http.get("x") == {"ok": 1}


def test_a_kubectl_that_never_listens(
    kubectl: Kubectl, eventually: WaitFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_forward, "START_SECONDS", 0.3)
    (kubectl.folder / "kubectl").write_text(
        '#!/bin/sh\necho "$$" port-forward >> "$FAKE_LOG"\nexec sleep 60\n'
    )

    with pytest.raises(Unreachable, match=r"kubectl did not listen within 0\.3 s"):
        address_and_tokens(_env())[1].get()

    eventually(lambda: kubectl.alive == [])


def test_a_port_that_somebody_else_took(kubectl: Kubectl) -> None:
    """Nothing is sent to whoever has it."""
    address, tokens = address_and_tokens(_env())
    assert isinstance(tokens, port_forward.PortForward)
    tokens._reserved.close()
    with (
        socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))),
        pytest.raises(Unreachable, match="Address already in use"),
    ):
        tokens.get()


def test_without_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_forward, "_port_forwards", {})
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BackendError) as caught:
        address_and_tokens(_env())[1].get()

    assert caught.value.message == 'auth = "port-forward" needs kubectl, which is not on the PATH.'
    assert "gcloud components install kubectl" in caught.value.hint


def test_the_doctor_goes_through_it(
    kubectl: Kubectl, server: Server, reply: type[Reply], home: Path
) -> None:
    (home / "kfgcp.toml").write_text('[env.gke]\nbackend = "kubeflow"\nauth = "port-forward"\n')

    def answer(asked: ReceivedRequest) -> Reply:
        if asked.path.endswith("/artifacts"):  # of KFP 3.0
            return reply({"message": "Not Found", "code": 5}, status=404)
        return reply({"runs": []} if asked.path.endswith("/runs") else {"tag_name": "2.14.3"})

    server.always(answer)

    results = {result.check: result for result in api.doctor("gke")}

    assert results["kubectl"].detail.startswith("forwards http://127.0.0.1:")
    assert results["kubectl"].detail.endswith(" to svc/ml-pipeline-ui in the namespace kubeflow")
    assert (results["version"].detail, results["rbac"].ok, results["metadata"].ok) == (
        "2.14.3",
        True,
        None,
    )
    assert len(kubectl.calls) == 1


PROGRAM = textwrap.dedent("""
    import os, signal, sys
    from kfgcp.backends.kubeflow.sign_in import address_and_tokens
    from kfgcp.config import Environment
    from kfgcp.settings import Setting
    env = Environment("gke", "kubeflow", {"auth": Setting("port-forward", "")})
    address, tokens = address_and_tokens(env)
    tokens.get()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have left it ignored
    print("ready", flush=True)
    if sys.argv[1] != "end":
        signal.pause()
    """)


@pytest.mark.parametrize("how", ["end", "SIGTERM", "SIGINT", "SIGKILL"])
def test_it_ends_with_the_process(
    kubectl: Kubectl, environment: Callable[[], dict[str, str]], eventually: WaitFor, how: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if how != "end":
            assert len(kubectl.alive) == 1
            process.send_signal(getattr(signal, how))
        process.wait(PROCESS)
    finally:
        process.kill()
        process.communicate()

    eventually(lambda: kubectl.alive == [])


def test_a_process_that_was_forked_does_not_end_it(
    kubectl: Kubectl, server: Server, client: Client
) -> None:
    server.answers({}, {})
    http = _http(client)
    http.get("x")

    child = os.fork()
    if child == 0:
        try:
            address_and_tokens(_env())[1].close()  # type: ignore[attr-defined]
        finally:
            os._exit(0)
    os.waitpid(child, 0)

    assert http.get("x") == {}
    assert len(kubectl.calls) == 1
