"""Model registries in folders of this machine, of Cloud Storage and of S3, and of Vertex AI."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from kfgcp.testing import VertexStandIn, vertex
from kfgcp_components.registries import Registry, RegistryError, open_registry
from kfgcp_components.registries.base import Details, ModelFiles, Version, list_files
from kfgcp_components.registries.folder import FolderRegistry
from kfgcp_components.ship.fetch_model.logic import fetch_version
from kfgcp_components.ship.promote_model.logic import promote
from kfgcp_components.ship.register_model.logic import register
from kfgcp_components.storage import StorageError, Store, open_store
from patience import PROCESS
from s3_servers import REGION, S3Server, forget_s3_settings, gofakes3, moto

STORES = ["file", "gs", "gofakes3", "moto"]
BUCKET = "models"


def serve_vertex(mode: str) -> Iterator[VertexStandIn]:
    """Serve Vertex AI and Cloud Storage. Without the package, as with kfp 2.10, the test skips."""
    pytest.importorskip("google.cloud.aiplatform_v1", reason="needs google-cloud-aiplatform")
    with vertex(mode=mode) as env:
        yield env


@pytest.fixture(scope="module")
def stand_in() -> Iterator[VertexStandIn]:
    yield from serve_vertex("engine")


def serve_bucket(program: Callable[[], AbstractContextManager[S3Server]]) -> Iterator[S3Server]:
    """Serve an empty bucket with one of the S3 servers."""
    with program() as server:
        server.client().create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield server


@pytest.fixture(scope="module")
def gofakes3_server() -> Iterator[S3Server]:
    yield from serve_bucket(gofakes3)


@pytest.fixture(scope="module")
def moto_server() -> Iterator[S3Server]:
    yield from serve_bucket(moto)


@pytest.fixture
def folder_of_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], str]:
    """Return a function that gives the URI of an empty folder in a kind of store."""

    def folder_uri(kind: str) -> str:
        if kind == "file":
            return (tmp_path / "registry").as_uri()
        if kind == "gs":
            env: VertexStandIn = request.getfixturevalue("stand_in")
            return f"gs://{env.bucket}/{tmp_path.name}/registry"
        server: S3Server = request.getfixturevalue(f"{kind}_server")
        forget_s3_settings(monkeypatch, tmp_path)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        return f"s3://{BUCKET}/{tmp_path.name}"

    return folder_uri


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, folder_of_store: Callable[[str], str]) -> Store:
    return open_store(folder_of_store(request.param))


@pytest.fixture(params=[*STORES, "vertex"])
def registry_name(request: pytest.FixtureRequest, folder_of_store: Callable[[str], str]) -> str:
    """Return the name of a registry without models, of each kind."""
    if request.param != "vertex":
        return folder_of_store(request.param)
    # A model stays in a stand-in, so each test has its own.
    env = request.getfixturevalue("own_stand_in")
    return f"projects/{env.project}/locations/{env.location}"


@pytest.fixture
def own_stand_in() -> Iterator[VertexStandIn]:
    yield from serve_vertex("instant")


MakeModel = Callable[..., tuple[Path, str]]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Return a function that writes a model, and gives its folder and a URI for `upload`."""

    def make(text: str) -> tuple[Path, str]:
        folder = tmp_path / f"model-{text}"
        (folder / "trees").mkdir(parents=True)
        (folder / "model.json").write_text(json.dumps({"text": text}))
        (folder / "trees" / "one tree.bin").write_bytes(text.encode() * 1000)
        return folder, f"gs://stand-in-project-pipelines/{tmp_path.name}/{text}"

    return make


def upload(folder: Path, uri: str) -> None:
    store = open_store(uri)
    for file in ("model.json", "trees/one tree.bin"):
        store.replace(file, folder / file)


# -- stores


def test_an_object_is_created_once(store: Store) -> None:
    assert store.read("a/b.json") is None
    assert store.create("a/b.json", b"first") is True
    assert store.create("a/b.json", b"second") is False
    assert store.read("a/b.json") == b"first"


def test_of_many_threads_one_creates_an_object(store: Store) -> None:
    results: list[bool] = []
    start = threading.Barrier(6)

    def create(number: int) -> None:
        start.wait(PROCESS)
        results.append(store.create("who", f"{number}".encode()))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PROCESS)
    assert sorted(results) == [False] * 5 + [True]


def test_files_are_replaced_listed_and_downloaded(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    for text in ("old", "new"):
        file.write_text(text)
        store.replace("folder/x y", file)
    store.create("folder/sub/z", b"z")
    store.create("folder-2", b"other")

    assert store.keys("folder/") == ["folder/sub/z", "folder/x y"]
    assert store.keys("folder/x") == ["folder/x y"]
    assert store.keys("missing/") == []
    store.download("folder/x y", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "new"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "the URI of the folder is empty"),
        ("https://host/folder", "cannot use https://host/folder"),
        ("gs:///folder", "names no bucket"),
        ("s3://", "names no bucket"),
    ],
)
def test_a_uri_that_is_not_a_folder(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_store(uri)


# -- registries


@pytest.fixture
def registered(registry_name: str, make_model: MakeModel) -> list[str]:
    """Register two versions of the model churn, and return their ids."""
    versions = []
    for text in ("one", "two"):
        folder, uri = make_model(text)
        if registry_name.startswith("projects/"):
            upload(folder, uri)
        versions.append(register(registry_name, "churn", folder, uri).version)
    return versions


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


# -- Vertex AI


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


def test_marks_of_folders_are_not_files(store: Store, tmp_path: Path) -> None:
    """Cloud Storage FUSE and consoles mark a folder with an empty object."""
    if store.uri.startswith("file:"):
        pytest.skip("a file system has folders")
    store.create("churn/", b"")
    store.create("churn/a", b"a")

    assert store.keys("churn/") == ["churn/a"]


def test_names_of_objects_are_taken_as_they_are(stand_in: VertexStandIn) -> None:
    assert open_store("gs://bucket/run#1/a%20b/").uri == "gs://bucket/run#1/a%20b"


def test_a_relative_path_on_a_service_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFGCP_SUBMIT_DIR", raising=False)

    with pytest.raises(ValueError, match="models is a path on your machine, and this task runs"):
        open_registry("models")


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


class Refusal(BaseHTTPRequestHandler):
    """Refuses each request of a client of Cloud Storage and of S3, as their servers do."""

    content_type = "application/json"
    content = b'{"error": {"code": 403, "message": "no access\\nfor you"}}'

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(403)
        self.send_header("Content-Type", self.content_type)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        # An answer to HEAD has no content (RFC 9110, 9.3.2). The client does not read it, so it can
        # close the connection while the server writes.
        if self.command != "HEAD":
            self.wfile.write(self.content)

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 - the names of http.server

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["gs", "s3"])
def refusing_store(
    request: pytest.FixtureRequest,
    refusing_server: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Store:
    """A store whose server answers each request with 403."""
    pytest.importorskip("google.cloud.storage" if request.param == "gs" else "boto3")
    forget_s3_settings(monkeypatch, tmp_path)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", refusing_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return open_store(f"{request.param}://locked/registry")


@pytest.mark.parametrize("method", ["read", "create", "replace", "keys", "download"])
def test_a_refusal_of_a_store_is_one_line_that_names_the_uri(
    refusing_store: Store, tmp_path: Path, method: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    arguments: dict[str, tuple[object, ...]] = {
        "create": ("a.json", b"x"),
        "replace": ("a.json", file),
        "download": ("a.json", file),
    }

    with pytest.raises(StorageError) as error:
        getattr(refusing_store, method)(*arguments.get(method, ("a.json",)))

    assert str(error.value).startswith(f"cannot use {refusing_store.uri}")
    assert "403" in str(error.value) or "Forbidden" in str(error.value)
    assert "credentials" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_not_blamed_on_the_store(store: Store, tmp_path: Path) -> None:
    if store.uri.startswith("file:"):
        pytest.skip("a folder has no client library")
    store.create("large", bytes(1 << 20))
    # Each write to this device fails as on a full disk. A client may remove the link.
    (tmp_path / "full").symlink_to("/dev/full")

    with pytest.raises(StorageError) as error:
        store.download("large", tmp_path / "full")

    message = f"cannot use {store.uri}/large: [Errno 28] No space left on device, on this machine"
    assert str(error.value) == message


def test_a_file_that_cannot_be_written_is_not_blamed_on_the_store(
    store: Store, tmp_path: Path
) -> None:
    if store.uri.startswith("file:"):
        pytest.skip("a folder has no client library")
    store.create("small", b"x")

    with pytest.raises(StorageError, match=r"missing.*, on this machine$") as error:
        store.download("small", tmp_path / "missing/file")
    assert "credentials" not in str(error.value)


def test_all_keys_of_a_store(store: Store, tmp_path: Path) -> None:
    (tmp_path / "beside").touch()
    assert store.keys("") == []
    store.create("b/2", b"")
    store.create("a", b"")
    assert store.keys("") == ["a", "b/2"]
    assert store.keys("b/") == ["b/2"]


def test_a_list_of_a_folder_reads_only_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path / "store"))
    store.create("a/sub/1", b"")
    store.create("b/2", b"")
    folders: list[str] = []
    scandir = os.scandir

    def record(path: str) -> object:
        folders.append(os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", record)

    assert store.keys("a/") == ["a/sub/1"]
    assert set(folders) == {str(tmp_path / "store/a"), str(tmp_path / "store/a/sub")}


def test_a_bucket_that_does_not_exist_is_not_an_empty_registry(stand_in: VertexStandIn) -> None:
    store = open_store("gs://no-such-bucket/registry")
    with pytest.raises(StorageError, match="cannot use gs://no-such-bucket/registry/a: 404"):
        store.read("a")


def test_missing_credentials_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("google.cloud.storage")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(StorageError, match=r"^cannot use gs://bucket/folder: .*missing\.json"):
        open_store("gs://bucket/folder")


def test_a_server_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("boto3")
    forget_s3_settings(monkeypatch, tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=r"^cannot use s3://bucket/folder: .*connect"):
        open_store("s3://bucket/folder").keys("")


def test_a_location_that_is_not_complete() -> None:
    with pytest.raises(ValueError, match="write projects/PROJECT/locations/LOCATION"):
        open_registry("projects/acme-ml")
