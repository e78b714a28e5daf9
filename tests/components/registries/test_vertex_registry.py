"""The Model Registry of Vertex AI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfgcp.testing import VertexStandIn
from kfgcp_components.registries import RegistryError, open_registry
from kfgcp_components.registries.base import Details, ModelFiles
from kfgcp_components.ship.fetch_model.logic import fetch_version
from kfgcp_components.ship.promote_model.logic import promote
from kfgcp_components.ship.register_model.logic import register
from kfgcp_components.storage import open_store
from registered_models import MakeModel, upload


def test_the_client_of_google_sees_versions_labels_and_aliases(
    own_stand_in: VertexStandIn, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    folder, uri = make_model("one")
    upload(folder, uri)
    registry_name = f"projects/{own_stand_in.project}/locations/{own_stand_in.location}"
    version = register(
        registry_name,
        "churn",
        folder,
        uri,
        description="trained on May",
        labels={"team": "growth", "rows": 100},
        run_id="train-20261130",
    )
    promote(registry_name, "churn", version.version, "champion")

    aiplatform.init(
        project=own_stand_in.project,
        location=own_stand_in.location,
        api_endpoint=own_stand_in.api_endpoint,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    model = aiplatform.Model("churn@champion")
    assert (model.display_name, model.uri) == ("churn", uri)
    assert model.version_description == "trained on May"
    assert sorted(model.version_aliases) == ["champion", "default"]
    assert model.labels["team"] == "growth"
    assert model.labels["rows"] == "100"
    assert model.labels["kfgcp-run"] == "train-20261130"
    assert len(model.labels["kfgcp-digest"]) == 32


def test_two_attempts_that_upload_at_once_leave_one_version(
    own_stand_in: VertexStandIn, make_model: MakeModel
) -> None:
    """As when the answer of the first upload is lost: the service has added the version."""
    folder, uri = make_model("one")
    upload(folder, uri)
    registry_name = f"projects/{own_stand_in.project}/locations/{own_stand_in.location}"
    registry = open_registry(registry_name)
    model = ModelFiles.read(folder, uri)
    registry._upload("churn", model, Details())  # type: ignore[attr-defined]
    registry._upload("churn", model, Details())  # type: ignore[attr-defined]
    registry.move_alias("churn", "champion", "2", None)

    version = registry.register("churn", model, Details())

    assert version.version == "1"
    # Somebody may use the other version already.
    assert registry.read_alias("churn", "champion") == "2"


def test_a_second_first_version_is_added_to_the_model_of_the_other_task(
    own_stand_in: VertexStandIn, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when two tasks register the first version at once: both see no model."""
    registry_name = f"projects/{own_stand_in.project}/locations/{own_stand_in.location}"
    models = []
    for text in ("one", "two"):
        folder, uri = make_model(text)
        upload(folder, uri)
        models.append(ModelFiles.read(folder, uri))
    first, second = open_registry(registry_name), open_registry(registry_name)
    first.register("churn", models[0], Details())
    answers: list[object] = [None]
    read = second._get  # type: ignore[attr-defined]
    monkeypatch.setattr(second, "_get", lambda name: answers.pop() if answers else read(name))

    version = second._upload("churn", models[1], Details())  # type: ignore[attr-defined]

    assert version.version == "2"


def test_vertex_ai_needs_a_model_in_cloud_storage(
    own_stand_in: VertexStandIn, make_model: MakeModel
) -> None:
    registry_name = f"projects/{own_stand_in.project}/locations/{own_stand_in.location}"
    folder, _ = make_model("one")

    with pytest.raises(RegistryError, match=r"cannot read the model at file:///.*pipeline_root"):
        register(registry_name, "churn", folder, folder.as_uri())


def test_a_refusal_of_vertex_ai_is_one_line(
    own_stand_in: VertexStandIn, make_model: MakeModel
) -> None:
    folder, uri = make_model("one")

    with pytest.raises(
        RegistryError, match=r"Vertex AI cannot read churn in projects/other/.*: "
    ) as error:
        register("projects/other/locations/europe-west4", "churn", folder, uri)
    assert "\n" not in str(error.value)


def test_files_that_have_changed_in_the_bucket_are_not_fetched(
    own_stand_in: VertexStandIn, make_model: MakeModel, tmp_path: Path
) -> None:
    registry_name = f"projects/{own_stand_in.project}/locations/{own_stand_in.location}"
    folder, uri = make_model("one")
    upload(folder, uri)
    version = register(registry_name, "churn", folder, uri).version
    open_store(uri).create("extra.py", b"print('hello')")

    with pytest.raises(RegistryError) as error:
        fetch_version(registry_name, "churn", version, tmp_path / "model")

    message = str(error.value)
    assert message.startswith(f"the files of {registry_name}/models/churn@1 have changed: ")
    assert message.endswith("; register the model again as a new version")
    assert not (tmp_path / "model").exists()


def test_a_model_of_another_client_has_no_digest_and_is_fetched(
    own_stand_in: VertexStandIn, make_model: MakeModel, tmp_path: Path
) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    folder, uri = make_model("one")
    upload(folder, uri)
    aiplatform.init(
        project=own_stand_in.project,
        location=own_stand_in.location,
        api_endpoint=own_stand_in.api_endpoint,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    aiplatform.Model.upload(
        model_id="churn", display_name="churn", artifact_uri=uri, serving_container_image_uri="i"
    )

    registry_name = f"projects/{own_stand_in.project}/locations/{own_stand_in.location}"
    fetch_version(registry_name, "churn", "1", tmp_path / "model")

    assert json.loads((tmp_path / "model/model.json").read_text()) == {"text": "one"}
