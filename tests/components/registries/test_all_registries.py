"""What all model registries do: those in folders, and that of Vertex AI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kfgcp_components.registries import RegistryError, open_registry
from kfgcp_components.ship.fetch_model.logic import fetch_version
from kfgcp_components.ship.promote_model.logic import promote
from kfgcp_components.ship.register_model.logic import register
from registered_models import MakeModel


def test_the_same_files_are_the_same_version(
    registry_name: str, registered: list[str], tmp_path: Path
) -> None:
    uri = f"gs://stand-in-project-pipelines/{tmp_path.name}/one"

    again = register(registry_name, "churn", tmp_path / "model-one", uri)

    assert again.version == registered[0]
    assert len(set(registered)) == 2


def test_an_alias_names_a_version_that_can_be_fetched(
    registry_name: str, registered: list[str], tmp_path: Path
) -> None:
    assert fetch_version(registry_name, "churn", "champion", tmp_path / "x", required=False) is None
    assert list((tmp_path / "x").iterdir()) == []

    assert promote(registry_name, "churn", registered[0], "champion", "none") == ""
    assert (
        promote(registry_name, "churn", registered[1], "champion", registered[0]) == (registered[0])
    )
    version = fetch_version(registry_name, "churn", "champion", tmp_path / "fetched")

    assert version is not None
    assert version.version == registered[1]
    assert json.loads((tmp_path / "fetched/model.json").read_text()) == {"text": "two"}
    assert (tmp_path / "fetched/trees/one tree.bin").read_bytes() == b"two" * 1000
    old_version = fetch_version(registry_name, "churn", registered[0], tmp_path / "old")
    assert old_version is not None
    assert json.loads((tmp_path / "old/model.json").read_text()) == {"text": "one"}


def test_an_alias_that_was_moved_meanwhile_is_not_moved(
    registry_name: str, registered: list[str]
) -> None:
    promote(registry_name, "churn", registered[1], "champion")

    for expected in ("none", "v-000000000000"):
        with pytest.raises(RegistryError, match=f"has {registered[1]}, not .*moved meanwhile"):
            promote(registry_name, "churn", registered[0], "champion", expected)
    assert open_registry(registry_name).read_alias("churn", "champion") == registered[1]


def test_a_promotion_that_is_tried_again_changes_nothing(
    registry_name: str, registered: list[str]
) -> None:
    promote(registry_name, "churn", registered[1], "champion")
    previous = [
        promote(registry_name, "churn", registered[0], "champion", registered[1]) for _ in range(2)
    ]

    # Vertex AI does not keep the earlier version of an alias.
    on_vertex = registry_name.startswith("projects/")
    assert previous == [registered[1], "" if on_vertex else registered[1]]
    assert open_registry(registry_name).read_alias("churn", "champion") == registered[0]


def test_a_version_that_does_not_exist_is_not_promoted(
    registry_name: str, registered: list[str]
) -> None:
    with pytest.raises(RegistryError, match="churn has no version v-ffffffffffff"):
        promote(registry_name, "churn", "v-ffffffffffff", "champion")
    assert open_registry(registry_name).read_alias("churn", "champion") is None


@pytest.mark.parametrize("name", ["", "Churn", "a/b", "../x", "x" * 64, "a b", "über"])
def test_a_name_that_a_model_cannot_have(
    registry_name: str, make_model: MakeModel, name: str
) -> None:
    folder, uri = make_model("one")
    with pytest.raises(RegistryError, match="cannot be named"):
        register(registry_name, name, folder, uri)


@pytest.mark.parametrize("alias", ["", "2", "Champion", "a", "../x", "a_b", "v-0123456789ab"])
def test_a_text_that_cannot_be_an_alias(
    registry_name: str, registered: list[str], alias: str
) -> None:
    with pytest.raises(RegistryError, match="cannot be an alias"):
        promote(registry_name, "churn", registered[0], alias)


def test_a_required_version_that_is_missing(registry_name: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="has no churn@champion; register and promote"):
        fetch_version(registry_name, "churn", "champion", tmp_path / "model")


def test_a_model_without_files_is_not_registered(registry_name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        with pytest.raises(RegistryError, match="has no files"):
            register(registry_name, "churn", tmp_path / folder, "gs://b/empty")


def test_an_alias_is_not_promoted_as_a_version(registry_name: str, registered: list[str]) -> None:
    promote(registry_name, "churn", registered[0], "challenger")

    for version in ("challenger", "../../other/versions/v-000000000000"):
        with pytest.raises(RegistryError, match="churn has no version"):
            promote(registry_name, "churn", version, "champion")
    assert open_registry(registry_name).read_alias("churn", "champion") is None


def test_a_fetch_that_is_tried_again_replaces_the_files(
    registry_name: str, registered: list[str], tmp_path: Path
) -> None:
    (tmp_path / "model/trees").mkdir(parents=True)
    (tmp_path / "model/model.json").write_text("half")

    fetch_version(registry_name, "churn", registered[0], tmp_path / "model")

    assert json.loads((tmp_path / "model/model.json").read_text()) == {"text": "one"}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"Team": "growth"}, "a label cannot have the key 'Team'; use at most 63 lowercase"),
        ({"1team": "growth"}, "a label cannot have the key '1team'"),
        ({"k" * 64: "x"}, "a label cannot have the key 'kkk"),
        ({"team": "Growth & Co"}, "the label 'team' cannot have the value 'Growth & Co'"),
        ({"team": "x" * 64}, "the label 'team' cannot have the value 'xxx"),
        ({"kfgcp-run": "x"}, "kfgcp sets the label 'kfgcp-run' itself; choose another key"),
        ({f"l{i}": "x" for i in range(63)}, "the model has 63 labels; use at most 62"),
    ],
)
def test_labels_that_google_refuses_are_refused_before_anything_is_written(
    tmp_path: Path, make_model: MakeModel, labels: dict[str, object], message: str
) -> None:
    folder, uri = make_model("one")

    with pytest.raises(RegistryError) as error:
        register(str(tmp_path / "registry"), "churn", folder, uri, labels=labels)

    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "registry").exists()


def test_labels_at_the_limits_are_accepted(tmp_path: Path, make_model: MakeModel) -> None:
    folder, uri = make_model("one")
    labels: dict[str, object] = {f"l{i}": "" for i in range(61)}
    labels["k" * 63] = "x" * 63
    assert register(str(tmp_path / "registry"), "churn", folder, uri, labels=labels).version


def test_a_location_that_is_not_complete() -> None:
    with pytest.raises(ValueError, match="write projects/PROJECT/locations/LOCATION"):
        open_registry("projects/acme-ml")
