"""Runs of pipelines from the registry of Kubeflow Pipelines: they name the version."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import kfgcp
from json_types import JsonDict
from kfgcp.backends.base import SubmitRequest, capability
from kfgcp.backends.kubeflow import request as run_request
from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.backends.versions import RegisteredVersion, SupportsVersions
from kfgcp.errors import Refused
from kfgcp.spec.load import Spec, from_text
from kfgcp.spec.registered import RegisteredRef
from kfgcp.store.store import Store
from kfgcp.testing import KubeflowStandIn
from kubeflow_registries import MakeUpload, OpenRegistry
from patience import PROCESS

SETTINGS = KubeflowSettings(host="https://kfp.acme.example")
ADDRESS = "https://kfp.acme.example/#/pipelines/details/p-1/version/v-1"


def registered(spec: Spec, entry: RegisteredVersion | None = None) -> Spec:
    """Return a pipeline as the registry gives it."""
    ref, address = ("p-1/v-1", ADDRESS) if entry is None else (entry.ref, entry.address)
    return replace(spec, registered=RegisteredRef(ref, spec.version, address))


def body_of(request: SubmitRequest) -> JsonDict:
    return run_request.run_body(request, SETTINGS, "e-1", "abc123abc123")


def test_the_body_names_the_version(
    compiled: Callable[[str], Spec], request_of: Callable[..., SubmitRequest]
) -> None:
    spec = compiled("tests/pipelines/echo.py")

    plain = body_of(request_of(spec))
    of_version = body_of(request_of(registered(spec)))

    reference = {"pipeline_id": "p-1", "pipeline_version_id": "v-1"}
    assert of_version.pop("pipeline_version_reference") == reference
    assert plain.pop("pipeline_spec") == spec.pipeline_spec
    assert of_version == plain


@pytest.mark.parametrize("changes", [{"cache": False}, {"cache": True}, {"from_task": "say"}])
def test_a_run_with_other_caching_has_the_pipeline_itself_and_a_note(
    compiled: Callable[[str], Spec],
    request_of: Callable[..., SubmitRequest],
    changes: dict[str, object],
) -> None:
    """`Run` of run.proto has either a version or a spec, and no field for caching."""
    request = request_of(registered(compiled("tests/pipelines/echo.py")), **changes)

    assert "pipeline_version_reference" not in body_of(request)
    assert "pipeline_spec" in body_of(request)
    assert any("caching" in note for note in run_request.notes(request))


def test_a_run_of_a_version_runs_on_every_server(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    home: Path,
) -> None:
    (home / "kfgcp.toml").write_text(registry_server.toml("cloud"))
    upload = upload_of()
    entry = open_registry(registry_server.host).upload(upload)

    run = kfgcp.submit(registered(from_text(upload.text, "churn"), entry), env="cloud")

    (request,) = registry_server.requests.select("POST", "*/runs")
    pipeline_id, _, version_id = entry.ref.partition("/")
    assert request.body["pipeline_version_reference"] == {
        "pipeline_id": pipeline_id,
        "pipeline_version_id": version_id,
    }
    assert "pipeline_spec" not in request.body
    run.wait(timeout=PROCESS)
    (listed,) = kfgcp.runs(env="cloud").to_dict("records")
    assert (listed["version"], listed["state"]) == (upload.version, "SUCCEEDED")


def test_a_run_of_a_deleted_version_is_refused_with_one_line(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    home: Path,
) -> None:
    """The server answers 500 (recorded: run-create-unknown-version), which is not an outage."""
    (home / "kfgcp.toml").write_text(registry_server.toml("cloud"))
    upload = upload_of()
    entry = open_registry(registry_server.host).upload(upload)
    registry_server.pipelines.remove_version(entry.ref.partition("/")[2])

    with pytest.raises(Refused) as refusal:
        kfgcp.submit(registered(from_text(upload.text, "churn"), entry), env="cloud")

    assert refusal.value.message == (
        f"This version of 'echo' was deleted from Kubeflow Pipelines: {entry.address}"
    )
    assert refusal.value.hint == "Push the pipeline again: kfgcp push"
    assert registry_server.requests.count("POST", "*/runs") == 1


def test_the_backend_has_the_registry_of_its_environment(
    registry_server: KubeflowStandIn, upload_of: MakeUpload, home: Path
) -> None:
    (home / "kfgcp.toml").write_text(registry_server.toml("cloud"))
    project = load_project()
    with Store(project.home) as store:
        backend = open_backend(project, project.environments["cloud"], store)
        registry = capability(backend, SupportsVersions)
        assert registry is not None
        entry = registry.upload(upload_of())

        assert registry.list_versions("churn")[0].ref == entry.ref
        assert registry.registry == registry_server.host
