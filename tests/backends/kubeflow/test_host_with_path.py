"""Hosts with a path, `https://HOST/pipeline`, in the layouts that there are; each is a server on
loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

import recorded_runs
from kfgcp.backends.base import Backend, LogFilter, RunRef, SupportsLogs, capability
from kfgcp.backends.kubeflow import mlmd
from kfgcp.backends.kubeflow.addresses import Addresses, remove_path
from kfgcp.backends.kubeflow.doctor import Cluster
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.errors import AuthError, BackendError, NotFound
from kfgcp.model import RunState
from kfgcp.services.client import ServiceClient
from recorded_runs import RecordedServer
from service_fixtures import ReceivedRequest, Reply, Server

NAME = "retry-good"
RUN = RunRef("recorded", recorded_runs.read(NAME)["run_id"])
METADATA = f"/{mlmd.SERVICE}/"
PAGE = b"<!doctype html><html><head><title>Kubeflow Central Dashboard</title></head></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}

Route = Callable[[str], str | None]
"""The path at Kubeflow Pipelines that a path of the host leads to; None when it leads to something
else."""


def of_kubeflow(path: str) -> str | None:
    """The gateway of a whole Kubeflow (virtual services of ml-pipeline-ui and metadata-grpc)."""
    if path.startswith("/pipeline/") and METADATA not in path:
        return path.removeprefix("/pipeline")
    return path if path.startswith(METADATA) else None


def of_own_proxy(path: str) -> str | None:
    """A proxy that removes the path and passes everything on."""
    return path.removeprefix("/pipeline") if path.startswith("/pipeline/") else None


def of_streaming_ui(path: str) -> str | None:
    """A UI server with STREAM_LOGS_FROM_SERVER_API, which has the logs of pods at its root
    alone."""
    if path == "/pipeline/k8s/pod/logs":
        return None
    return path if path == "/k8s/pod/logs" else of_kubeflow(path)


LAYOUTS: dict[str, Route] = {
    "kubeflow": of_kubeflow,
    "own-proxy": of_own_proxy,
    "streaming-ui": of_streaming_ui,
}


@pytest.fixture
def recorded() -> Iterator[RecordedServer]:
    with recorded_runs.serve([NAME]) as started:
        yield started


@pytest.fixture
def host(server: Server, reply: type[Reply], recorded: RecordedServer) -> Callable[..., str]:
    """Start a host of a layout; what is not Kubeflow Pipelines answers with a page of this
    status."""

    def start(route: Route, elsewhere: int = 404) -> str:
        def answer(asked: ReceivedRequest) -> Reply:
            path = route(asked.path)
            if path is None:
                return reply(PAGE, status=elsewhere, headers=HTML)
            target = f"{path}?{urlencode(asked.query)}"
            status, kind, body = recorded.answer(asked.method, target, asked.body)
            return reply(body, status=status, headers={"Content-Type": kind})

        server.always(answer)
        return f"{server.url}/pipeline"

    return start


def logs(backend: Backend) -> SupportsLogs:
    part = capability(backend, SupportsLogs)
    assert part is not None
    return part


@pytest.fixture
def backend(home: Path) -> Callable[[str], Backend]:
    def make(address: str) -> Backend:
        text = f'[env.recorded]\nbackend = "kubeflow"\nhost = "{address}"\nauth = "anonymous"\n'
        (home / "kfgcp.toml").write_text(text)
        project = load_project()
        return open_backend(project, project.env("recorded"))

    return make


@pytest.mark.parametrize(
    ("layout", "elsewhere"),
    [
        ("kubeflow", 404),
        ("kubeflow", 405),
        ("kubeflow", 200),
        ("own-proxy", 404),
        ("own-proxy", 405),
        ("own-proxy", 200),
        ("own-proxy", 401),
        ("own-proxy", 403),
        ("own-proxy", 302),
        ("streaming-ui", 404),
        ("streaming-ui", 200),
    ],
)
def test_values_and_logs_are_found_in_every_layout(
    host: Callable[..., str], backend: Callable[[str], Backend], layout: str, elsewhere: int
) -> None:
    kubeflow = backend(host(LAYOUTS[layout], elsewhere))

    run = kubeflow.get(RUN)

    assert (run.state, run.outputs) == (RunState.SUCCEEDED, {"Output": "attempt 2"})
    assert [line.text for line in logs(kubeflow).logs(RUN, LogFilter(attempt=3))] == ["attempt 2"]


@pytest.mark.parametrize(
    ("layout", "first"), [("kubeflow", METADATA), ("own-proxy", f"/pipeline{METADATA}")]
)
def test_the_address_that_answered_is_remembered(
    host: Callable[..., str],
    backend: Callable[[str], Backend],
    server: Server,
    layout: str,
    first: str,
) -> None:
    kubeflow = backend(host(LAYOUTS[layout]))

    kubeflow.get(RUN)

    calls = [asked.path for asked in server.asked if METADATA in asked.path]
    in_vain = [path for path in calls if not path.startswith(first)]
    assert len(in_vain) == (0 if layout == "kubeflow" else 1)
    assert len(calls) - len(in_vain) == 4, "a run is four calls"


def test_a_pod_that_is_gone_is_not_looked_for_at_the_other_address(
    host: Callable[..., str],
    backend: Callable[[str], Backend],
    server: Server,
    recorded: RecordedServer,
) -> None:
    """The UI server says that itself, so it is the right address."""
    recorded.has_pods = False
    kubeflow = backend(host(of_kubeflow))

    with pytest.raises(NotFound, match=r"its pod .* does not exist any more"):
        list(logs(kubeflow).logs(RUN, LogFilter(attempt=3)))

    assert [asked.path for asked in server.asked if asked.path.endswith("/k8s/pod/logs")] == [
        "/pipeline/k8s/pod/logs"
    ]


def test_a_host_without_ml_metadata_says_so_once(
    host: Callable[..., str], backend: Callable[[str], Backend], server: Server
) -> None:
    kubeflow = backend(host(lambda path: None if METADATA in path else of_kubeflow(path)))

    with pytest.warns(
        UserWarning, match="without values, metrics and artifacts: ML Metadata refused"
    ):
        kubeflow.get(RUN)

    calls = [asked.path for asked in server.asked if METADATA in asked.path]
    assert calls == [
        f"{METADATA}GetContextByTypeAndName",
        f"/pipeline{METADATA}GetContextByTypeAndName",
    ]


def test_doctor_finds_ml_metadata_where_it_is(
    host: Callable[..., str], backend: Callable[[str], Backend]
) -> None:
    for layout in LAYOUTS.values():
        backend(host(layout))

        detail = Cluster(load_project().env("recorded")).metadata()
        assert detail == "ML Metadata answers: it keeps tasks and metrics (Kubeflow Pipelines 2.x)"


# -- the addresses alone


@pytest.mark.parametrize(
    ("address", "root"),
    [
        ("https://kfp.acme.example", "https://kfp.acme.example"),
        ("https://kfp.acme.example/", "https://kfp.acme.example/"),
        ("https://kfp.acme.example/pipeline", "https://kfp.acme.example"),
        ("https://kfp.acme.example:8443/a/b/", "https://kfp.acme.example:8443"),
        ("http://[::1]:3000/pipeline", "http://[::1]:3000"),
    ],
)
def test_the_root_of_an_address(address: str, root: str) -> None:
    assert remove_path(address) == root


@pytest.fixture
def addresses(server: Server, client: Callable[..., ServiceClient]) -> Addresses:
    return Addresses(client(base=f"{server.url}/first"), client(base=f"{server.url}/second"))


@pytest.mark.parametrize("status", [400, 401, 403, 409, 500, 503])
def test_an_address_that_refuses_is_the_right_one(
    addresses: Addresses, server: Server, reply: type[Reply], status: int
) -> None:
    server.answers(reply({"message": "no"}, status=status))

    with pytest.raises(BackendError, match="no"):
        addresses.exchange("GET", "x", retries=0)

    assert [asked.path for asked in server.asked] == ["/first/x"]


def test_when_neither_has_it_the_first_error_is_raised(
    addresses: Addresses, server: Server, reply: type[Reply]
) -> None:
    server.answers(reply(b"first", status=404), reply(b"second", status=404))

    with pytest.raises(NotFound, match="first"):
        addresses.exchange("GET", "x")


def test_when_neither_has_it_both_are_asked_again(
    addresses: Addresses, server: Server, reply: type[Reply]
) -> None:
    """The service may just be starting."""
    server.answers(reply(status=404), reply(status=404), reply(status=404), {"ok": True})

    with pytest.raises(NotFound):
        addresses.exchange("GET", "x")

    assert addresses.exchange("GET", "x").json() == {"ok": True}


def test_pages_at_both_addresses_are_a_sign_in(
    addresses: Addresses, server: Server, reply: type[Reply]
) -> None:
    server.answers(reply(PAGE, headers=HTML), reply(PAGE, headers=HTML))

    with pytest.raises(AuthError, match="Kubeflow Central Dashboard"):
        addresses.exchange("GET", "x").json()
