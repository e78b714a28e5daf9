"""Versions whose text was translated for an environment: the version stays that of the pipeline."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from kfgcp.backends.local.versions import LocalVersions
from kfgcp.deploy.versions.names import parse_version_name
from kfgcp.deploy.versions.push import UNCHANGED, UPLOADED, Pushed, prepare_push, run_push
from kfgcp.deploy.versions.resolve import find_version, read_spec
from kfgcp.errors import UsageError
from kfgcp.model import Run
from kfgcp.services.client import ServiceClient
from kfgcp.spec.load import Spec, from_text
from kfgcp.spec.registered import RegisteredRef
from kfgcp.spec.write import to_yaml
from kfgcp.store.request import StoredRequest
from kfgcp.store.store import Store
from kfgcp.workspace import Workspace
from patience import REQUEST

if TYPE_CHECKING:
    from kfgcp.testing import VertexStandIn

TEXT = """
pipelineInfo: {name: greet}
schemaVersion: 2.1.0
root: {dag: {tasks: {say: {componentRef: {name: comp-say}}}}}
components: {comp-say: {executorLabel: exec-say}}
deploymentSpec:
  executors:
    exec-say:
      container: {image: "python:3.12", env: [{name: TOKEN, value: "secret:TOKEN"}]}
"""
PACKAGE = (
    "/v1/projects/stand-in-project/locations/europe-west4/repositories/pipelines/packages/greet"
)
ADDRESS = "https://europe-west4-kfp.pkg.dev/acme/pipelines/greet/sha256:" + "1" * 64


@pytest.fixture
def registry(home: Path) -> LocalVersions:
    return LocalVersions(home / "registry")


@pytest.fixture
def spec() -> Spec:
    return from_text(TEXT, "greet.yaml")


def _sent(secret: str) -> Spec:
    """Return the pipeline as an environment runs it, with another place of its secret."""
    return from_text(TEXT.replace("secret:TOKEN", secret), "greet.yaml")


def _push(registry: LocalVersions, spec: Spec, sent: Spec, *tags: str) -> Pushed:
    return run_push(registry, prepare_push("acme", spec, sent, to_yaml(sent), tags), "dev")


def test_a_changed_translation_is_a_new_text_of_the_same_version(
    registry: LocalVersions, spec: Spec
) -> None:
    first = _push(registry, spec, _sent("projects/1/secrets/a"), "v1", "stable")
    assert _push(registry, spec, _sent("projects/1/secrets/a")).action == UNCHANGED

    second = _push(registry, spec, _sent("projects/1/secrets/b"), "stable")

    assert (first.action, second.action) == (UPLOADED, UPLOADED)
    assert first.version == second.version == spec.version
    assert first.entry.ref != second.entry.ref
    name = parse_version_name(f"greet@{spec.version}")
    assert find_version(registry, name, "dev").ref == second.entry.ref
    with pytest.raises(UsageError, match=r"cannot move to .* with another text"):
        _push(registry, spec, _sent("projects/1/secrets/b"), "v1")


def test_the_loaded_pipeline_is_the_text_with_the_version_that_was_pushed(
    registry: LocalVersions, spec: Spec
) -> None:
    sent = _sent("projects/1/secrets/a")
    pushed = _push(registry, spec, sent, "v1")

    loaded = read_spec(registry, pushed.entry, "greet@v1")

    assert loaded.pipeline_spec == sent.pipeline_spec
    assert loaded.version == spec.version != sent.version
    assert loaded.origin == "greet@v1"


@pytest.mark.parametrize("recorded", [True, False])
def test_a_part_of_the_version_is_completed_from_recorded_runs(
    registry: LocalVersions, spec: Spec, recorded: bool
) -> None:
    pushed = _push(registry, spec, _sent("projects/1/secrets/a"))
    # Artifact Registry has 32 digits, in a label.
    entry = replace(pushed.entry, version=spec.version[: len("sha256:") + 32])
    versions = [spec.version] if recorded else []

    loaded = read_spec(registry, entry, "greet@latest", lambda prefix: versions)

    assert loaded.version == (spec.version if recorded else entry.version)


def test_a_part_of_the_version_is_completed_from_the_text(
    registry: LocalVersions, spec: Spec
) -> None:
    pushed = _push(registry, spec, spec)
    entry = replace(pushed.entry, version=spec.version[: len("sha256:") + 32])

    assert read_spec(registry, entry, "greet@latest").version == spec.version


def test_a_version_of_others_has_the_digest_of_its_text(
    registry: LocalVersions, spec: Spec
) -> None:
    entry = replace(_push(registry, spec, spec).entry, version="", text_digest="")

    assert read_spec(registry, entry, "greet@latest").version == spec.version


# -- the store


def test_the_store_prefers_the_original_of_a_version(
    store: Store, make_run: Callable[..., Run], spec: Spec
) -> None:
    translated = _sent("projects/1/secrets/a").pipeline_spec

    def add(run_id: str, pipeline_spec: dict[str, Any]) -> None:
        run = make_run(run_id, version=spec.version, pipeline="greet")
        store.add_run(run, pipeline_spec=pipeline_spec, request=StoredRequest())

    add("aaaa00000001", translated)
    assert store.spec(spec.version) == translated
    add("aaaa00000002", spec.pipeline_spec)
    assert store.spec(spec.version) == spec.pipeline_spec
    add("aaaa00000003", translated)
    assert store.spec(spec.version) == spec.pipeline_spec


def test_a_request_keeps_the_entry_of_the_registry() -> None:
    registered = RegisteredRef("sha256:1", "sha256:2", "greet@sha256:2", "dev")
    request = StoredRequest(registered=registered)

    assert StoredRequest.from_dict(request.to_dict()) == request
    # An earlier version of kfgcp did not write the key.
    older = {name: value for name, value in request.to_dict().items() if name != "registered"}
    assert StoredRequest.from_dict(older).registered is None


def test_a_run_on_vertex_names_the_version_of_artifact_registry(
    service: "VertexStandIn", home: Path
) -> None:
    """The field templateUri of PipelineJob, and the digest instead of a tag."""
    registered = RegisteredRef("sha256:" + "1" * 64, "sha256:" + "2" * 64, ADDRESS, "dev")
    text = TEXT.replace('{name: TOKEN, value: "secret:TOKEN"}', "{name: WORD, value: hello}")
    plain = from_text(text, "greet@v1")
    loaded = replace(plain, registered=registered, template=ADDRESS)

    with Workspace.open() as workspace:
        run = workspace.submit(loaded, env="dev")
        run.wait()
        repeated = workspace.rerun(run)
        refs = [run.ref.run_id, repeated.ref.run_id]
        requests = [workspace.store.request(run_id) for run_id in refs]

    assert run.snapshot.version == repeated.snapshot.version == registered.version
    assert [request.registered for request in requests if request] == [registered, registered]
    creations = service.requests.select("POST", "*/pipelineJobs")
    assert [request.body["templateUri"] for request in creations] == [ADDRESS, ADDRESS]


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_repeated_run_sends_the_text_that_its_template_uri_names(
    service: "VertexStandIn", home: Path, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    """Another run records the pipeline before its translation, and the translation changes."""
    monkeypatch.setitem(ServiceClient.__init__.__kwdefaults__, "sleep", lambda seconds: None)
    config = service.toml("dev")
    place = "projects/1/secrets/a/versions/1"
    table = f'\n[env.dev.secrets]\nTOKEN = {{ secret_manager = "{place}" }}\n'
    (home / "kfgcp.toml").write_text(config + table)
    (home / "greet.yaml").write_text(TEXT)
    with Workspace.open() as workspace:
        workspace.push("greet.yaml", "dev", ["v1"])
        run = workspace.submit("greet@v1", env="dev")
        workspace.submit("greet.yaml", env="dev")
    changed = "projects/1/secrets/b/versions/1"
    (home / "kfgcp.toml").write_text(config + table.replace(place, changed))
    if is_deleted:
        requests.delete(f"{service.api_endpoint}{PACKAGE}", timeout=REQUEST).raise_for_status()

    with Workspace.open() as workspace:
        workspace.rerun(run.ref.run_id)

    bodies = [request.body for request in service.requests.select("POST", "*/pipelineJobs")]
    first, _, repeated = bodies
    if is_deleted:
        assert changed in str(repeated["pipelineSpec"])
        assert "templateUri" not in repeated
    else:
        assert place in str(first["pipelineSpec"])
        assert repeated["pipelineSpec"] == first["pipelineSpec"]
        assert repeated["templateUri"] == first["templateUri"]
