"""Model registries in folders: damaged records and files, and tasks at the same time."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from kfgcp_components.registries import Registry, RegistryError, open_registry
from kfgcp_components.registries.base import Details, ModelFiles, Version, list_files
from kfgcp_components.registries.folder import FolderRegistry
from kfgcp_components.ship.fetch_model.logic import fetch_version
from kfgcp_components.ship.register_model.logic import register
from kfgcp_components.storage import Store
from patience import PROCESS
from registered_models import MakeModel


def test_of_two_tasks_that_promote_at_once_one_fails(store: Store, make_model: MakeModel) -> None:
    registry: Registry = FolderRegistry(store)
    versions = []
    for text in ("one", "two", "three"):
        folder, uri = make_model(text)
        versions.append(registry.register("churn", ModelFiles.read(folder, uri), Details()).version)
    registry.move_alias("churn", "champion", versions[0], None)
    errors: list[str] = []
    start = threading.Barrier(2)

    def move(version: str) -> None:
        start.wait(PROCESS)
        try:
            registry.move_alias("churn", "champion", version, versions[0])
        except RegistryError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=move, args=(version,)) for version in versions[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PROCESS)

    winner = registry.read_alias("churn", "champion")
    assert winner in versions[1:]
    assert len(errors) == 1
    assert f"has {winner}, not {versions[0]}" in errors[0]


def test_a_version_without_its_record_is_not_there_and_is_completed(
    store: Store, make_model: MakeModel
) -> None:
    """As after an attempt that was killed while it uploaded."""
    registry = FolderRegistry(store)
    folder, uri = make_model("one")
    model = ModelFiles.read(folder, uri)
    version_id = f"v-{model.digest[:12]}"
    store.create(f"churn/versions/{version_id}/model/model.json", b"half")

    assert registry.find("churn", version_id) is None
    version = registry.register("churn", model, Details(run_id="run-1"))

    assert version.version == version_id
    key = f"churn/versions/{version_id}/model/model.json"
    assert store.read(key) == (folder / "model.json").read_bytes()
    record = json.loads(store.read(f"churn/versions/{version_id}/version.json") or b"")
    assert (record["run_id"], record["files"]) == ("run-1", ["model.json", "trees/one tree.bin"])


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"version": 3}'])
def test_a_damaged_registry_is_one_line(store: Store, content: bytes) -> None:
    store.create("churn/aliases/champion/00000001.json", content)

    with pytest.raises(RegistryError, match=r"00000001\.json is not a") as error:
        FolderRegistry(store).read_alias("churn", "champion")
    assert "\n" not in str(error.value)


@pytest.fixture
def version(store: Store, make_model: MakeModel) -> Version:
    """A version of the model churn in a store."""
    folder, uri = make_model("one")
    return FolderRegistry(store).register("churn", ModelFiles.read(folder, uri), Details())


def damage(store: Store, version: Version, kind: str, tmp_path: Path) -> None:
    """Change the files of a version behind the back of the registry."""
    key = f"churn/versions/{version.version}/model/trees/one tree.bin"
    # The same size, as after a bad disk.
    changed_file = tmp_path / "changed"
    changed_file.write_bytes(b"onE" * 1000)
    if kind == "changed":
        store.replace(key, changed_file)
        return
    remove_object(store, key)


def remove_object(store: Store, key: str) -> None:
    """Remove an object with the client of its service."""
    bucket, _, prefix = store.uri.partition("://")[2].partition("/")
    if store.uri.startswith("file:"):
        Path(url2pathname(urlsplit(store.uri).path), key).unlink()
    elif store.uri.startswith("gs:"):
        storage = pytest.importorskip("google.cloud.storage")
        client = storage.Client.create_anonymous_client()
        client.bucket(bucket).blob(f"{prefix}/{key}").delete()
    else:
        import boto3

        client = boto3.session.Session().client("s3")
        client.delete_object(Bucket=bucket, Key=f"{prefix}/{key}")


@pytest.mark.parametrize(
    ("kind", "difference"),
    [
        ("missing", "{resource} has lost trees/one tree.bin; register the same model again"),
        ("changed", "the files of {resource} have changed: their digest is {changed} and was {id}"),
    ],
)
def test_a_damaged_version_is_refused_and_repaired_by_registering_it_again(
    store: Store, version: Version, tmp_path: Path, kind: str, difference: str
) -> None:
    damage(store, version, kind, tmp_path)
    damaged_tree = hashlib.sha256(b"onE" * 1000).hexdigest()
    description = hashlib.sha256(b'{"text": "one"}').hexdigest()
    listing = f"model.json\0{description}\0trees/one tree.bin\0{damaged_tree}\0"
    expected = difference.format(
        resource=version.resource,
        changed=hashlib.sha256(listing.encode()).hexdigest()[:12],
        id=version.version.removeprefix("v-"),
    )

    with pytest.raises(RegistryError) as error:
        fetch_version(store.uri, "churn", version.version, tmp_path / "damaged")
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "damaged").exists()

    again = register(store.uri, "churn", tmp_path / "model-one", "")
    fetch_version(store.uri, "churn", version.version, tmp_path / "repaired")
    assert again == version
    tree = tmp_path / "repaired/trees/one tree.bin"
    assert tree.read_bytes() == b"one" * 1000


def test_a_file_that_was_not_registered_is_not_fetched(
    store: Store, version: Version, tmp_path: Path
) -> None:
    store.create(f"churn/versions/{version.version}/model/extra.py", b"print('hello')")

    fetch_version(store.uri, "churn", version.version, tmp_path / "model")

    assert list_files(tmp_path / "model") == [Path("model.json"), Path("trees/one tree.bin")]


def test_files_that_are_whole_are_not_written_again(tmp_path: Path, make_model: MakeModel) -> None:
    folder, uri = make_model("one")
    registry = str(tmp_path / "registry")
    version = register(registry, "churn", folder, uri)
    model = tmp_path / "registry/churn/versions" / version.version / "model"
    (model / "model.json").write_text("changed")
    inode = (model / "trees/one tree.bin").stat().st_ino

    register(registry, "churn", folder, uri)

    assert (model / "model.json").read_text() == '{"text": "one"}'
    assert (model / "trees/one tree.bin").stat().st_ino == inode


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"files": ["model.json"]}, "has a wrong version.json"),
        ({"digest": "0" * 64, "files": ["model.json"]}, "has a wrong version.json"),
        ({"digest": "DIGEST"}, "has a wrong version.json"),
        ({"digest": "DIGEST", "files": [1]}, "has a wrong version.json"),
        ({"digest": "DIGEST", "files": ["../version.json"]}, "has a file outside its folder"),
    ],
)
def test_a_record_that_does_not_fit_its_version_is_refused(
    tmp_path: Path, make_model: MakeModel, record: dict[str, object], message: str
) -> None:
    folder, uri = make_model("one")
    registry = str(tmp_path / "registry")
    version = register(registry, "churn", folder, uri)
    stored = tmp_path / "registry/churn/versions" / version.version / "version.json"
    digest = json.loads(stored.read_text())["digest"]
    stored.write_text(json.dumps(record).replace("DIGEST", digest))

    with pytest.raises(RegistryError, match=message) as error:
        fetch_version(registry, "churn", version.version, tmp_path / "model")
    assert version.version in str(error.value)
    assert "\n" not in str(error.value)


def test_a_relative_path_on_a_service_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFGCP_SUBMIT_DIR", raising=False)

    with pytest.raises(ValueError, match="models is a path on your machine, and this task runs"):
        open_registry("models")
