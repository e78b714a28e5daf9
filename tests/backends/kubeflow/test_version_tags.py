"""Tags of users on pipeline versions of Kubeflow Pipelines, which has tags from 2.17 on."""

from collections.abc import Callable

import pytest
import requests

from json_types import JsonDict
from kfgcp import testing
from kfgcp.backends.versions import RegisteredVersion
from kfgcp.errors import BackendError, BadAnswer, NotFound, Unsupported, UsageError
from kfgcp.testing import KubeflowStandIn
from kfgcp.testing.server import Request, Response
from kubeflow_registries import MakeUpload, OpenRegistry
from patience import REQUEST


@pytest.fixture
def entries(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> list[RegisteredVersion]:
    """Return two entries of a pipeline, the older one first."""
    registry = open_registry(tag_server.host)
    return [registry.upload(upload_of()), registry.upload(upload_of("# other\n"))]


def tags_by_ref(registry_host: str, open_registry: OpenRegistry) -> dict[str, tuple[str, ...]]:
    listed = open_registry(registry_host).list_versions("churn")
    return {entry.ref: entry.tags for entry in listed}


def server_tags(server: KubeflowStandIn, entry: RegisteredVersion) -> JsonDict:
    """Return the tags of a version as the server has them."""
    pipeline_id, _, version_id = entry.ref.partition("/")
    url = f"{server.host}/apis/v2beta1/pipelines/{pipeline_id}/versions/{version_id}"
    tags: JsonDict = requests.get(url, timeout=REQUEST).json()["tags"]
    return tags


def test_a_tag_is_set_moved_and_removed(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    older, newer = entries
    registry = open_registry(tag_server.host)

    registry.set_tag(older, "v1.4.0")
    registry.set_tag(older, "main")
    registry.set_tag(newer, "main")
    assert tags_by_ref(tag_server.host, open_registry) == {
        older.ref: ("v1.4.0",),
        newer.ref: ("main",),
    }
    # A key has no full stop (pipeline_tags.go).
    assert server_tags(tag_server, older)["kfgcp-tag-v1,4,0"] == "1"

    registry.set_tag(older, "main")
    registry.remove_tag(older, "v1.4.0")
    registry.remove_tag(newer, "main")
    assert tags_by_ref(tag_server.host, open_registry) == {older.ref: ("main",), newer.ref: ()}
    assert "kfgcp-tag-main" not in server_tags(tag_server, newer)


def test_a_tag_that_points_to_the_entry_already_makes_no_write(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    registry = open_registry(tag_server.host)
    registry.set_tag(entries[0], "main")
    before = len(tag_server.requests)

    registry.set_tag(entries[0], "main")
    registry.remove_tag(entries[1], "main")

    assert tag_server.requests.count("PATCH", since=before) == 0


def test_tags_of_other_people_and_markers_stay(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    registry = open_registry(tag_server.host)
    pipeline_id, _, version_id = entries[0].ref.partition("/")
    markers = server_tags(tag_server, entries[0])
    url = f"{tag_server.host}/apis/v2beta1/pipelines/{pipeline_id}/versions/{version_id}"
    other_tags = {"team": "growth"}
    requests.patch(url, json={"tags": markers | other_tags}, timeout=REQUEST).raise_for_status()

    registry.set_tag(entries[0], "main")
    assert server_tags(tag_server, entries[0]) == markers | other_tags | {"kfgcp-tag-main": "1"}
    registry.remove_tag(entries[0], "main")

    assert server_tags(tag_server, entries[0]) == markers | other_tags


def test_a_move_that_is_cut_off_has_moved_the_tag(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    """Two versions have the tag then. The one with the higher number counts."""
    older, newer = entries
    registry = open_registry(tag_server.host)
    registry.set_tag(newer, "main")
    tag_server.fail_next("403", method="PATCH", path=f"*{newer.ref.partition('/')[2]}")

    with pytest.raises(BackendError):
        registry.set_tag(older, "main")

    expected = {older.ref: ("main",), newer.ref: ()}
    assert tags_by_ref(tag_server.host, open_registry) == expected
    # The removal of the tag does not bring the old one back.
    open_registry(tag_server.host).remove_tag(older, "main")
    assert set(tags_by_ref(tag_server.host, open_registry).values()) == {()}


@pytest.mark.parametrize("kind", ["lost", "reset", "503", "garbage"])
def test_a_tag_is_set_when_the_server_fails(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    entries: list[RegisteredVersion],
    kind: str,
) -> None:
    registry = open_registry(tag_server.host)
    tag_server.fail_next(kind, method="PATCH")

    try:
        registry.set_tag(entries[0], "main")
    except BackendError:
        # A page instead of JSON may come from a sign-in, so it is not requested again.
        assert kind == "garbage"

    assert tags_by_ref(tag_server.host, open_registry)[entries[0].ref] == ("main",)


@pytest.mark.parametrize("version", ["2.5.0", "2.14.3", "2.16.1"])
@pytest.mark.parametrize("tells_version", [True, False])
def test_older_servers_have_no_tags(
    open_registry: OpenRegistry, upload_of: MakeUpload, version: str, tells_version: bool
) -> None:
    with testing.kubeflow(mode="instant", version=version) as server:
        server.tells_version = tells_version
        registry = open_registry(server.host)
        entry = registry.upload(upload_of())

        with pytest.raises(Unsupported, match="has no tags for versions") as refusal:
            registry.set_tag(entry, "main")
        registry.remove_tag(entry, "main")

        assert "2.17" in refusal.value.hint
        assert registry.list_versions("churn")[0].tags == ()


@pytest.mark.parametrize(
    "tag", ["", " ", "a b", "a,b", "a/b", ".a", "-a", "é", "a\n", "sha256:ab", "t" * 54]
)
def test_bad_tags_are_refused_before_a_request(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    entries: list[RegisteredVersion],
    tag: str,
) -> None:
    registry = open_registry(tag_server.host)
    before = len(tag_server.requests)

    with pytest.raises(UsageError, match="cannot have the tag") as refusal:
        registry.set_tag(entries[0], tag)

    assert len(tag_server.requests) == before
    assert "\n" not in refusal.value.message


def test_a_version_has_at_most_20_tags_with_the_markers(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    registry = open_registry(tag_server.host)
    for number in range(16):
        registry.set_tag(entries[0], f"t{number}")

    with pytest.raises(Unsupported, match="has 20 tags"):
        registry.set_tag(entries[0], "t16")
    registry.set_tag(entries[0], "t15")

    assert len(registry.list_versions("churn")[1].tags) == 16


def test_tags_that_are_equal_for_mysql_are_refused(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    """The key is in the primary key of the table (model/pipeline_custom_metadata.go)."""
    registry = open_registry(tag_server.host)
    registry.set_tag(entries[0], "main")

    with pytest.raises(UsageError, match="has the tag 'main' already"):
        registry.set_tag(entries[0], "Main")


def test_a_deleted_version_gets_no_tag(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    registry = open_registry(tag_server.host)
    tag_server.pipelines.remove_version(entries[0].ref.partition("/")[2])

    with pytest.raises(NotFound, match="was deleted"):
        registry.set_tag(entries[0], "main")
    registry.remove_tag(entries[0], "main")
    with pytest.raises(NotFound):
        registry.read_text(entries[0])


def test_a_dropped_tag_is_an_error(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    entries: list[RegisteredVersion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handle = tag_server.handle

    def without_tags(request: Request) -> Response:
        response = handle(request)
        if request.method == "PATCH" and isinstance(response.body, dict):
            return Response(response.status, {**response.body, "tags": {}})
        return response

    monkeypatch.setattr(tag_server, "handle", without_tags)

    with pytest.raises(BadAnswer, match="dropped the tag kfgcp-"):
        open_registry(tag_server.host).set_tag(entries[0], "main")


# -- several processes at the same time


def act_before(
    server: KubeflowStandIn,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[], object],
    method: str,
    ending: str,
    after: bool = False,
) -> None:
    """Do something before or after the first request with a method and the end of a path."""
    handle = server.handle
    acts = [act]

    def handle_with_act(request: Request) -> Response:
        if not acts or request.method != method or not request.path.endswith(ending):
            return handle(request)
        once = acts.pop()
        if after:
            response = handle(request)
            once()
            return response
        once()
        return handle(request)

    monkeypatch.setattr(server, "handle", handle_with_act)


def patch_tags(server: KubeflowStandIn, entry: RegisteredVersion, tags: JsonDict) -> None:
    pipeline_id, _, version_id = entry.ref.partition("/")
    url = f"{server.host}/apis/v2beta1/pipelines/{pipeline_id}/versions/{version_id}"
    requests.patch(url, json={"tags": tags}, timeout=REQUEST).raise_for_status()


def test_a_fixed_tag_does_not_move(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    older, newer = entries
    registry = open_registry(tag_server.host)
    registry.set_tag(older, "v1", fixed=True)
    registry.set_tag(older, "v1", fixed=True)

    with pytest.raises(UsageError, match=r"The tag v1 of churn points to .* cannot move to"):
        registry.set_tag(newer, "v1", fixed=True)

    assert tags_by_ref(tag_server.host, open_registry) == {older.ref: ("v1",), newer.ref: ()}


def test_a_fixed_tag_that_another_process_sets_at_the_same_time_is_taken_back(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    entries: list[RegisteredVersion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older, newer = entries
    markers = server_tags(tag_server, older)

    def rival() -> None:
        patch_tags(tag_server, older, markers | {"kfgcp-tag-v1": "1"})

    act_before(tag_server, monkeypatch, rival, "PATCH", newer.ref.partition("/")[2])

    with pytest.raises(UsageError, match=r"The tag v1 of churn points to .* cannot move to"):
        open_registry(tag_server.host).set_tag(newer, "v1", fixed=True)

    assert tags_by_ref(tag_server.host, open_registry) == {older.ref: ("v1",), newer.ref: ()}
    assert "kfgcp-tag-v1" not in server_tags(tag_server, newer)


def test_a_claim_of_a_killed_process_does_not_take_a_fixed_tag(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    older, newer = entries
    open_registry(tag_server.host).set_tag(older, "v1", fixed=True)

    patch_tags(tag_server, newer, server_tags(tag_server, newer) | {"kfgcp-tag-v1": "0"})

    assert tags_by_ref(tag_server.host, open_registry) == {older.ref: ("v1",), newer.ref: ()}


@pytest.mark.parametrize(
    ("method", "after"),
    [("GET", False), ("PATCH", True)],
    ids=["after the list", "after the own request, with tags from before it"],
)
def test_a_tag_that_another_process_adds_at_the_same_time_stays(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    entries: list[RegisteredVersion],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    after: bool,
) -> None:
    entry = entries[0]
    markers = server_tags(tag_server, entry)

    def rival() -> None:
        patch_tags(tag_server, entry, markers | {"kfgcp-tag-main": "1"})

    act_before(tag_server, monkeypatch, rival, method, entry.ref.partition("/")[2], after)

    open_registry(tag_server.host).set_tag(entry, "stable")

    tags = tags_by_ref(tag_server.host, open_registry)
    assert tags[entry.ref] == ("main", "stable")


def test_a_tag_that_another_process_removes_at_the_same_time_is_not_restored(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    entries: list[RegisteredVersion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = entries[0]
    open_registry(tag_server.host).set_tag(entry, "main")

    def rival() -> None:
        tags = server_tags(tag_server, entry)
        del tags["kfgcp-tag-main"]
        patch_tags(tag_server, entry, tags)

    act_before(tag_server, monkeypatch, rival, "PATCH", entry.ref.partition("/")[2], after=True)

    open_registry(tag_server.host).set_tag(entry, "stable")

    assert tags_by_ref(tag_server.host, open_registry)[entry.ref] == ("stable",)


# -- the limits, before an upload


@pytest.mark.parametrize("count", [16, 17])
def test_the_number_of_tags_is_checked_before_an_upload(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, count: int
) -> None:
    """A version has at most 20 tags (pipeline_tags.go), and kfgcp's own are 4."""
    registry = open_registry(tag_server.host)
    names = [f"build-{number}" for number in range(count)]

    if count == 16:
        registry.require_tags(names)
        return
    with pytest.raises(Unsupported, match="The new version would have 21 tags"):
        registry.require_tags(names)


def test_the_number_of_tags_of_an_entry_is_checked_before_a_write(
    tag_server: KubeflowStandIn, open_registry: OpenRegistry, entries: list[RegisteredVersion]
) -> None:
    registry = open_registry(tag_server.host)
    tags = server_tags(tag_server, entries[0]) | {f"team-{number}": "x" for number in range(15)}
    patch_tags(tag_server, entries[0], tags)
    before = len(tag_server.requests)

    registry.require_tags(["main"], entries[0])
    with pytest.raises(Unsupported, match="would have 21 tags"):
        registry.require_tags(["main", "stable"], entries[0])

    assert tag_server.requests.count("PATCH", since=before) == 0
