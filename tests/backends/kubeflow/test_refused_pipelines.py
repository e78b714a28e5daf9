"""What a server cannot run is refused before anything is made, and what is doubtful is said."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kfgcp
from kfgcp import api
from kfgcp.backends.kubeflow import BACKEND
from kfgcp.backends.kubeflow.seen_version import remember_version, seen_version
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.registry import load_project
from kfgcp.backends.store_records import StoreRecords
from kfgcp.config import Environment
from kfgcp.errors import NotFound, Unsupported
from kfgcp.rules.versions import parse_version
from kfgcp.spec.load import Spec, from_documents
from kfgcp.store.store import Store
from kfgcp.testing import KubeflowStandIn, kubeflow
from kfgcp_command import Command
from kubeflow_rule_pipelines import container, task
from kubeflow_rule_pipelines import pipeline as pipeline_with


def spec_with(**fields: Any) -> Spec:
    """A pipeline whose container has these fields."""
    return from_documents([pipeline_with(executor=container(**fields))], "p")


def retried() -> Spec:
    work = task("c", retryPolicy={"maxRetryCount": 2})
    return from_documents([pipeline_with({"work": work})], "p")


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("2.14.3", (2, 14, 3)),
        ("v2.5.0-rc.1", (2, 5, 0)),
        ("2.0", (2, 0)),
        ("1.8.5", (1, 8, 5)),
        ("unknown", None),
        ("", None),
        ("dev-2.1", None),
        (None, None),
        (2.5, None),
        ("v1." + "9" * 5000, (1, 999999999)),
        ("9" * 5000 + ".1", None),
    ],
)
def test_versions_are_read_from_what_servers_call_themselves(
    tag: object, version: tuple[int, ...] | None
) -> None:
    assert parse_version(tag) == version


# -- against a server


def in_project(home: Path, server: KubeflowStandIn) -> None:
    (home / "kfgcp.toml").write_text(server.toml("gke"))


@pytest.fixture
def older(home: Path) -> Iterator[KubeflowStandIn]:
    with kubeflow(mode="instant", version="2.5.0") as server:
        in_project(home, server)
        yield server


def test_a_pipeline_that_the_server_is_too_old_for_is_refused_before_anything_is_made(
    older: KubeflowStandIn, kfgcp: Command, pipeline: Callable[[str], Path]
) -> None:
    done = kfgcp(
        "run", pipeline("shapes"), "--env", "gke", "-p", "uri=gs://b/x", "--experiment", "new"
    )

    assert done.code == 5
    task = "Task total collects the outputs of a loop (dsl.Collected)"
    assert f"{task}: Kubeflow Pipelines supports this since 2.14." in done.err
    assert "This server is 2.5.0." in done.err
    assert "Upgrade the server" in done.err
    assert [request.method for request in older.requests] == ["GET"], (
        "the version of the server is asked once"
    )


def test_doubtful_settings_are_reported_before_the_run(older: KubeflowStandIn, home: Path) -> None:
    spec = spec_with(env=[{"name": "X", "value": "{{$.inputs.parameters['x']}}"}])

    with pytest.warns(
        api.NotHeeded, match="component c has a placeholder in an environment variable"
    ):
        handle = api.submit(spec, env="gke")

    assert any("component c has a placeholder" in note for note in handle.notes)
    assert older.requests.count(path="*/healthz") == 0, "the version makes no difference"


def test_the_version_is_asked_once_for_all_submissions(older: KubeflowStandIn) -> None:
    spec = retried()

    for _ in range(3):
        assert api.submit(spec, env="gke").notes == []

    assert older.requests.count(path="*/healthz") == 1


def test_a_server_without_a_version_counts_as_new_and_is_reported(
    older: KubeflowStandIn,
) -> None:
    older.tells_version = False

    with pytest.warns(
        api.NotHeeded,
        match=r"does not report its version.*older than 2\.5: task work has set_retry",
    ):
        api.submit(retried(), env="gke")


def test_a_custom_job_of_vertex_is_refused_with_the_way_to_run_it(older: KubeflowStandIn) -> None:
    document = pipeline_with(executor={"customJob": {"customJob": {}}})
    custom_job = from_documents([document], "p")

    with pytest.raises(
        Unsupported, match="Component c is a custom job, which only Vertex AI runs"
    ) as caught:
        api.submit(custom_job, env="gke")

    assert "Vertex AI" in caught.value.hint
    assert older.requests.count(method="POST") == 0


def test_a_server_before_2_0_is_named_as_too_old(
    home: Path, pipeline: Callable[[str], Path]
) -> None:
    with kubeflow(mode="instant", version="1.8.5") as server:
        in_project(home, server)
        for name in ("echo", "guarded"):
            with pytest.raises(
                Unsupported, match=r"Kubeflow Pipelines 1\.8\.5, which has only the API v1beta1"
            ) as caught:
                api.submit(str(pipeline(name)), env="gke")
            assert "Upgrade" in caught.value.hint
        assert server.requests.count(method="POST") == 0


def test_another_server_is_not_called_an_old_kubeflow(
    home: Path, pipeline: Callable[[str], Path]
) -> None:
    with kubeflow(mode="instant") as server:
        in_project(home, server)
        text = (
            (home / "kfgcp.toml")
            .read_text()
            .replace(f'host = "{server.host}"', f'host = "{server.host}/nowhere"')
        )
        (home / "kfgcp.toml").write_text(text)
        with pytest.raises(NotFound):
            api.submit(str(pipeline("echo")), env="gke")


# -- the version that was read last


def test_the_version_that_a_submission_read_is_remembered(
    older: KubeflowStandIn, environment_of: Callable[..., Environment], home: Path
) -> None:
    project = load_project(home)
    env = project.env("gke")

    def seen() -> object:
        assert BACKEND.seen_version is not None
        with Store(project.home) as store:
            return BACKEND.seen_version(env, StoreRecords(store))

    api.submit(from_documents([pipeline_with()], "p"), env="gke")
    assert seen() is None, "no rule needed the version"

    api.submit(retried(), env="gke")
    assert seen() == (2, 5, 0)
    requests = older.requests.count()
    assert seen() == (2, 5, 0)
    assert older.requests.count() == requests, "the version is known without a request"


def test_the_check_takes_the_version_that_was_read_last(
    older: KubeflowStandIn, environment_of: Any, home: Path
) -> None:
    file = home / "p.json"
    file.write_text(json.dumps(retried().pipeline_spec))

    before = kfgcp.check(file, ["gke"])
    api.submit(retried(), env="gke")
    requests = older.requests.count()
    after = kfgcp.check(file, ["gke"])

    assert before.targets[0].version == BACKEND.newest_release
    assert after.targets[0].version == (2, 5, 0)
    assert older.requests.count() == requests, "without a request"
    assert not any("the newest release that kfgcp knows" in note for note in after.notes)


def test_a_version_on_the_command_line_wins_over_the_one_that_was_read_last(
    older: KubeflowStandIn, environment_of: Any, home: Path
) -> None:
    file = home / "p.json"
    file.write_text(json.dumps(retried().pipeline_spec))
    api.submit(retried(), env="gke")

    report = kfgcp.check(file, ["gke"], server="2.14.0")

    assert report.targets[0].version == (2, 14, 0)


class _Records(dict[tuple[str, str], dict[str, str]]):
    """Keeps names in memory, and counts how often they are written."""

    writes = 0

    def names(self, place: str, kind: str) -> dict[str, str]:
        return self.get((place, kind), {})

    def remember_names(self, place: str, kind: str, names: dict[str, str], **gone: Any) -> None:
        self.writes += 1
        self[place, kind] = self.names(place, kind) | names


def test_a_version_is_remembered_for_its_server_and_written_once(
    environment_of: Callable[..., Environment],
) -> None:
    env, other = environment_of(), environment_of(host="https://other.acme.example")
    records: Any = _Records()
    place = KubeflowSettings.of(env.settings).place

    for version in ((2, 14, 3), (2, 14, 3), (2, 17, 0)):
        remember_version(records, place, version)

    assert seen_version(env, records) == (2, 17, 0)
    assert seen_version(other, records) is None
    assert records.writes == 2
