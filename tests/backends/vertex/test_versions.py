"""Versions of pipelines in Artifact Registry."""

import hashlib
from dataclasses import replace

import pytest

from kfgcp import testing
from kfgcp.backends.versions import SupportsVersions, digest_text
from kfgcp.errors import BadAnswer, NotFound, SpecError, UsageError
from kfgcp.testing.server import Request, Response
from kfgcp.workspace import Workspace
from registered_versions import (
    FILE,
    OTHER_TEXT,
    OTHER_VERSION,
    PACKAGE,
    REGISTRY,
    TEXT,
    TEXT_TAG,
    UPLOAD,
    UPLOADS,
    VERSION,
    VERSION_TAG,
    counts,
    files,
    tags,
)

# -- uploads


def test_an_upload_has_its_markers_in_two_tags_and_in_the_file(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    entry = registry.upload(UPLOAD)

    ref = "sha256:" + hashlib.sha256(FILE.encode()).hexdigest()
    [listed] = registry.list_versions("churn")
    assert files(cloud) == [FILE]
    assert tags(cloud) == {VERSION_TAG: ref, TEXT_TAG: ref}
    assert (entry.pipeline, entry.ref, entry.version) == ("churn", ref, VERSION)
    assert (entry.text_digest, entry.project, entry.tags) == (digest_text(TEXT), "growth", ())
    assert entry.address == f"{REGISTRY}/churn/{ref}"
    assert entry.created_at == listed.created_at != ""
    assert listed == replace(
        entry, version=VERSION[:19], text_digest=digest_text(TEXT)[:19], project=""
    )
    assert listed.has_version(VERSION)
    assert listed.has_text(digest_text(TEXT))
    assert registry.registry == REGISTRY
    assert registry.list_pipelines() == ["churn"]


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.rstrip("\n"),
        "\n\n" + TEXT + "# äöü 日本語 🚀\n",
        FILE,
        "---\n" + TEXT + "---\nplatforms: {kubernetes: {deploymentSpec: {executors: {}}}}\n",
    ],
    ids=["plain", "CRLF", "no line feed at the end", "not ASCII", "with markers", "two documents"],
)
def test_the_text_comes_back_exactly(registry: SupportsVersions, text: str) -> None:
    upload = replace(UPLOAD, text=text)

    entry = registry.upload(upload)
    [listed] = registry.list_versions("churn")

    assert registry.read_text(entry) == registry.read_text(listed) == text
    assert digest_text(registry.read_text(listed)).startswith(listed.text_digest)


def test_the_same_upload_makes_no_second_write(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    first = registry.upload(UPLOAD)
    since = len(cloud.requests)

    assert registry.upload(UPLOAD) == first
    assert counts(cloud, since)[1] == 0


def test_another_text_of_a_version_takes_over_its_tag(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    old = registry.upload(UPLOAD)
    registry.set_tag(old, "v1")
    new = registry.upload(replace(UPLOAD, text=OTHER_TEXT))

    first, second = registry.list_versions("churn")

    assert tags(cloud)[VERSION_TAG] == new.ref
    assert tags(cloud)["v1"] == old.ref
    assert (first.ref, second.ref) == (new.ref, old.ref)
    assert first.has_version(VERSION)
    assert second.has_version(VERSION)
    assert first.has_text(digest_text(OTHER_TEXT))
    assert (second.text_digest, second.tags) == ("", ("v1",))
    assert registry.read_text(second) == TEXT


def test_an_earlier_text_takes_its_tag_back_without_an_upload(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    old = registry.upload(UPLOAD)
    registry.upload(replace(UPLOAD, text=OTHER_TEXT))
    uploads = cloud.requests.count("POST", UPLOADS)

    assert registry.upload(UPLOAD) == old
    assert cloud.requests.count("POST", UPLOADS) == uploads
    assert registry.list_versions("churn")[0].ref == old.ref
    assert tags(cloud)[VERSION_TAG] == old.ref


def test_two_versions_with_one_text_are_two_entries(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    registry.upload(UPLOAD)
    registry.upload(replace(UPLOAD, version=OTHER_VERSION))
    since = len(cloud.requests)

    entries = registry.list_versions("churn")
    registry.upload(UPLOAD)

    assert {entry.version for entry in entries} == {VERSION[:19], OTHER_VERSION[:19]}
    assert all(entry.has_text(digest_text(TEXT)) for entry in entries)
    assert counts(cloud, since)[1] == 0


def test_an_entry_without_its_tags_is_completed(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    cloud.publish("churn", FILE)

    entry = registry.upload(UPLOAD)

    assert files(cloud) == [FILE]
    assert tags(cloud) == {VERSION_TAG: entry.ref, TEXT_TAG: entry.ref}
    assert cloud.requests.count("POST", UPLOADS) == 0


def test_an_entry_of_another_project_with_the_same_text_is_used(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    registry.upload(replace(UPLOAD, project="other"))
    since = len(cloud.requests)

    assert registry.upload(UPLOAD).project == "other"
    assert counts(cloud, since)[1] == 0


# -- reading


def test_a_list_of_ninety_nine_versions_is_one_read(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    for number in range(99):
        text = TEXT.replace("python:3.12", f"python:3.{number}")
        version = digest_text(str(number))
        entry_digits = version.removeprefix("sha256:")[:12]
        text_digits = digest_text(text).removeprefix("sha256:")[:12]
        file = FILE.replace(VERSION, version).replace(TEXT, text)
        tag = f"t-{entry_digits}-{text_digits}"
        cloud.publish("churn", file, f"k-{entry_digits}", tag, f"v{number}")
    since = len(cloud.requests)

    entries = registry.list_versions("churn")

    assert counts(cloud, since) == (1, 0)
    assert [entry.tags for entry in entries] == [(f"v{number}",) for number in range(98, -1, -1)]
    for number, entry in enumerate(reversed(entries)):
        assert entry.has_version(digest_text(str(number)))
        assert entry.text_digest


def test_all_pages_of_a_list_are_read(
    cloud: testing.VertexStandIn, registry: SupportsVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfgcp.backends.vertex.registry_client.PAGE_SIZE", 4)
    for number in range(10):
        cloud.publish("churn", f"{TEXT}# {number}\n", f"v{number}")
        cloud.publish(f"churn-{number}", TEXT)

    assert len(registry.list_versions("churn")) == 10
    assert len(registry.list_pipelines()) == 11


def test_an_entry_of_another_program_has_no_version(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    cloud.publish("churn", TEXT, "latest")

    [entry] = registry.list_versions("churn")

    assert (entry.version, entry.text_digest, entry.tags) == ("", "", ("latest",))
    assert registry.read_text(entry) == TEXT


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (FILE.replace(VERSION, OTHER_VERSION), "the version of its tag"),
        (TEXT, "the version of its tag"),
        (FILE + "# changed\n", "the digest of its tag"),
    ],
)
def test_a_text_that_does_not_fit_its_tags_is_refused(
    cloud: testing.VertexStandIn, registry: SupportsVersions, file: str, problem: str
) -> None:
    cloud.publish("churn", file, VERSION_TAG, TEXT_TAG)
    [entry] = registry.list_versions("churn")

    with pytest.raises(BadAnswer, match=problem):
        registry.read_text(entry)


def test_an_upload_replaces_a_text_that_does_not_fit_its_tags(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    cloud.publish("churn", FILE + "# changed\n", VERSION_TAG, TEXT_TAG)

    entry = registry.upload(UPLOAD)

    assert tags(cloud) == {VERSION_TAG: entry.ref, TEXT_TAG: entry.ref}
    assert registry.read_text(entry) == TEXT


def test_an_entry_that_was_deleted_is_not_found(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    entry = registry.upload(UPLOAD)

    with pytest.raises(NotFound):
        registry.read_text(replace(entry, ref="sha256:" + "0" * 64))
    with pytest.raises(NotFound):
        registry.set_tag(replace(entry, ref="sha256:" + "0" * 64), "v1")


# -- tags


def test_a_tag_is_set_moved_and_removed(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    first = registry.upload(UPLOAD)
    second = registry.upload(replace(UPLOAD, version=OTHER_VERSION))

    registry.set_tag(first, "latest")
    registry.set_tag(second, "latest")
    registry.remove_tag(first, "latest")
    by_ref = {entry.ref: entry.tags for entry in registry.list_versions("churn")}
    registry.remove_tag(second, "latest")
    registry.remove_tag(second, "latest")

    assert by_ref == {first.ref: (), second.ref: ("latest",)}
    assert "latest" not in tags(cloud)


def test_a_tag_that_points_to_its_entry_is_not_written(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    entry = registry.upload(UPLOAD)
    registry.set_tag(entry, "v1")
    since = len(cloud.requests)

    registry.set_tag(entry, "v1")

    assert counts(cloud, since) == (1, 0)


@pytest.mark.parametrize("fault", ["lost", "503", "429", "reset"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_lost_answer_to_a_change_of_a_tag_is_repeated(
    cloud: testing.VertexStandIn, registry: SupportsVersions, method: str, fault: str
) -> None:
    first = registry.upload(UPLOAD)
    second = registry.upload(replace(UPLOAD, version=OTHER_VERSION))
    if method != "POST":
        registry.set_tag(first, "v1")
    cloud.fail_next(fault, method=method, path=f"{PACKAGE}/tags*")

    if method == "DELETE":
        registry.remove_tag(first, "v1")
        assert "v1" not in tags(cloud)
    else:
        registry.set_tag(second, "v1")
        assert tags(cloud)["v1"] == second.ref


@pytest.mark.parametrize("own", [True, False])
def test_a_fixed_tag_that_another_process_creates_at_the_same_time_does_not_move(
    cloud: testing.VertexStandIn,
    registry: SupportsVersions,
    monkeypatch: pytest.MonkeyPatch,
    own: bool,
) -> None:
    first = registry.upload(UPLOAD)
    second = registry.upload(replace(UPLOAD, version=OTHER_VERSION))
    winner = first if own else second
    handle = cloud.handle

    def create_before(request: Request) -> Response:
        if request.method == "POST" and request.path.endswith("/tags"):
            content = cloud.artifact_registry.files("pipelines", "churn")[winner.ref].decode()
            cloud.artifact_registry.publish("p", "pipelines", "churn", content, ["v1"])
        return handle(request)

    monkeypatch.setattr(cloud, "handle", create_before)

    if own:
        registry.set_tag(first, "v1", fixed=True)
    else:
        with pytest.raises(UsageError) as caught:
            registry.set_tag(first, "v1", fixed=True)
        assert caught.value.message == (
            "The tag v1 of churn points to sha256:fedcba987654 and cannot move to"
            " sha256:0123456789ab."
        )
    assert tags(cloud)["v1"] == winner.ref
    assert cloud.requests.count("PATCH") == 0


def test_a_fixed_tag_of_another_version_is_not_moved(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    first = registry.upload(UPLOAD)
    second = registry.upload(replace(UPLOAD, version=OTHER_VERSION))
    registry.set_tag(first, "v1", fixed=True)

    with pytest.raises(UsageError, match="cannot move to sha256:fedcba987654"):
        registry.set_tag(second, "v1", fixed=True)

    assert tags(cloud)["v1"] == first.ref


@pytest.mark.parametrize("tag", ["1.0.0", "Prod", "20260131", "latest"])
def test_a_tag_of_another_client_can_be_read(
    cloud: testing.VertexStandIn, registry: SupportsVersions, tag: str
) -> None:
    cloud.artifact_registry.publish("p", "pipelines", "churn", TEXT, [tag])
    newest = registry.upload(UPLOAD)

    with Workspace.open() as workspace:
        entry = workspace.versions.get(f"churn@{tag}", "dev")

    # NAME@latest means the newest entry. The list shows the tag with this name where it is.
    assert entry.ref == newest.ref if tag == "latest" else entry.tags == (tag,)
    assert [listed.tags for listed in registry.list_versions("churn")] == [(), (tag,)]


def test_digits_without_their_prefix_are_corrected(registry: SupportsVersions) -> None:
    registry.upload(UPLOAD)

    with Workspace.open() as workspace, pytest.raises(UsageError) as caught:
        workspace.versions.get("churn@0123456789ab", "dev")

    assert caught.value.hint.startswith("For a version, write churn@sha256:0123456789ab. ")


HOSTILE = [
    "",
    ".",
    "..",
    "../churn",
    "churn/../other",
    "churn?view=FULL",
    "churn#x",
    "churn%2e",
    "churn\nHost: evil.example",
    "churn\0",
    "\ud800",
    "sha256:" + "0" * 64,
    "x" * 129,
    "Über",
    "{project}",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_no_pipeline_can_have_reads_and_writes_nothing_else(
    cloud: testing.VertexStandIn, registry: SupportsVersions, name: str
) -> None:
    registry.upload(UPLOAD)
    since = len(cloud.requests)

    assert registry.list_versions(name) == []
    with pytest.raises(UsageError, match=r"^[^\x00-\x1f]+$"):
        registry.upload(replace(UPLOAD, pipeline=name))
    sent = [request.path for request in cloud.requests.select(since=since)]
    assert counts(cloud, since)[1] == 0
    assert all("/packages/churn/versions" not in path or name in path for path in sent)


@pytest.mark.parametrize("tag", [*HOSTILE, "a b", "a,b", VERSION_TAG, TEXT_TAG, "-v1", ".v1"])
def test_a_tag_that_cannot_be_is_refused_without_a_request(
    cloud: testing.VertexStandIn, registry: SupportsVersions, tag: str
) -> None:
    entry = registry.upload(UPLOAD)
    since = len(cloud.requests)

    for change in (registry.set_tag, registry.remove_tag):
        with pytest.raises(UsageError, match=r"^[^\x00-\x1f]+$"):
            change(entry, tag)
    assert len(cloud.requests) == since


@pytest.mark.parametrize(
    "change",
    [
        {"text": "a: ["},
        {"text": "a: 1\n"},
        {"text": ""},
        {"text": "\ufeff" + TEXT},
    ],
    ids=["not YAML", "not a pipeline", "empty", "a byte order mark inside"],
)
def test_a_text_that_is_not_a_pipeline_is_refused_without_a_request(
    cloud: testing.VertexStandIn, registry: SupportsVersions, change: dict[str, str]
) -> None:
    with pytest.raises(SpecError):
        registry.upload(replace(UPLOAD, text=change["text"]))
    assert len(cloud.requests) == 0


@pytest.mark.parametrize("project", ["a\nb", "a\rb", "a\u2028b", "\x1b[31m"])
def test_a_project_that_would_break_the_comment_is_refused(
    cloud: testing.VertexStandIn, registry: SupportsVersions, project: str
) -> None:
    with pytest.raises(UsageError, match="cannot be printed"):
        registry.upload(replace(UPLOAD, project=project))
    assert len(cloud.requests) == 0
