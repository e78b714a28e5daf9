"""Uploads to a server that fails, loses answers, or changes what it gets."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy

import pytest

from exchanges import exchange
from json_types import JsonDict
from kfgcp import testing
from kfgcp.backends.kubeflow.version_messages import check_pipeline, check_version_answer
from kfgcp.backends.versions import RegisteredVersion
from kfgcp.errors import BackendError, BadAnswer, KfgcpError, NotWhole, Refused
from kfgcp.spec.json_values import JsonObject
from kfgcp.testing import KubeflowStandIn
from kfgcp.testing.server import Request, Response
from kubeflow_registries import MakeUpload, OpenRegistry
from service_fixtures import ReceivedRequest, Reply, Server

FAULTS = ["lost", "late", "reset", "garbage", "500", "503", "429"]
WRITES = ["*/pipelines", "*/upload_version"]
RECORDED_VERSIONS = ("2.17.0", "2.14.3", "2.5.0")


def change_answers(
    server: KubeflowStandIn,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Request, JsonDict], object],
) -> None:
    """Let a function change the JSON of each answer."""
    handle = server.handle

    def changed(request: Request) -> Response:
        response = handle(request)
        if not isinstance(response.body, dict):
            return response
        body = json.loads(json.dumps(response.body))
        change(request, body)
        return Response(response.status, body)

    monkeypatch.setattr(server, "handle", changed)


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_failing_write_adds_one_entry(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    kind: str,
    path: str,
) -> None:
    # The second garbage is not needed: the first one has done the work, and kfgcp finds it.
    times = 1 if kind == "garbage" else 2
    registry_server.fail_next(kind, times=times, method="POST", path=path)

    entry = open_registry(registry_server.host).upload(upload_of())

    registry = open_registry(registry_server.host)
    assert registry.list_pipelines() == ["churn"]
    assert [listed.ref for listed in registry.list_versions("churn")] == [entry.ref]


@pytest.mark.parametrize("path", ["*/pipelines", "*/versions", "*/healthz"])
@pytest.mark.parametrize("kind", ["reset", "503", "lost"])
def test_failing_reads_are_repeated(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    kind: str,
    path: str,
) -> None:
    tag_server.fail_next(kind, times=2, method="GET", path=path)

    entry = open_registry(tag_server.host).upload(upload_of())

    assert open_registry(tag_server.host).list_versions("churn")[0].ref == entry.ref


def test_an_upload_that_was_cut_off_after_the_pipeline_is_completed(
    registry_server: KubeflowStandIn, open_registry: OpenRegistry, upload_of: MakeUpload
) -> None:
    registry_server.fail_next("403", method="POST", path="*/upload_version")
    with pytest.raises(BackendError):
        open_registry(registry_server.host).upload(upload_of())

    entry = open_registry(registry_server.host).upload(upload_of())

    registry = open_registry(registry_server.host)
    assert registry.list_pipelines() == ["churn"]
    assert [listed.ref for listed in registry.list_versions("churn")] == [entry.ref]


@pytest.mark.parametrize("comments", [("", ""), ("", "# b\n"), ("# a\n", "# b\n")])
def test_uploads_at_the_same_time_add_each_text_once(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    comments: tuple[str, str],
) -> None:
    def upload(comment: str) -> RegisteredVersion:
        return open_registry(tag_server.host).upload(upload_of(comment))

    with ThreadPoolExecutor(4) as pool:
        entries = list(pool.map(upload, comments * 2))

    listed = open_registry(tag_server.host).list_versions("churn")
    assert {entry.ref for entry in entries} <= {entry.ref for entry in listed}
    assert open_registry(tag_server.host).list_pipelines() == ["churn"]
    if len(set(comments)) == 1:
        assert len(listed) == 1


@pytest.mark.parametrize("marker", ["project", "name", "version", "text"])
def test_a_marker_that_the_server_drops_is_an_error(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    marker: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A marker of the version. The next push says so again."""

    def drop(request: Request, body: JsonDict) -> None:
        for item in (body, *body.get("pipeline_versions", ())):
            if "pipeline_version_id" in item:
                item.get("tags", {}).pop(f"kfgcp-{marker}", None)
                description = item.get("description", "")
                item["description"] = description.replace(f'"kfgcp-{marker}"', '"x"')

    change_answers(registry_server, monkeypatch, drop)

    with pytest.raises(BadAnswer, match="dropped the marker kfgcp-") as error:
        open_registry(registry_server.host).upload(upload_of())

    # Without the project, an entry has none of the markers.
    assert marker in error.value.message


def test_a_marker_of_the_pipeline_that_the_server_drops_is_an_error(
    registry_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drop(request: Request, body: JsonDict) -> None:
        body.pop("tags", None)
        body.pop("description", None)

    change_answers(registry_server, monkeypatch, drop)

    with pytest.raises(BadAnswer, match="dropped the marker kfgcp-project of the pipeline 'churn'"):
        open_registry(registry_server.host).upload(upload_of())


def drop_image(spec: JsonDict) -> None:
    del spec["deploymentSpec"]["executors"]["exec-say"]["container"]["image"]


def drop_default(spec: JsonDict) -> None:
    del spec["root"]["inputDefinitions"]["parameters"]["text"]["defaultValue"]


def drop_task(spec: JsonDict) -> None:
    spec["root"]["dag"]["tasks"] = {}


def drop_argument(spec: JsonDict) -> None:
    spec["deploymentSpec"]["executors"]["exec-say"]["container"]["args"].pop()


def add_task(spec: JsonDict) -> None:
    spec["root"]["dag"]["tasks"]["other"] = {}


def change_type(spec: JsonDict) -> None:
    spec["root"]["inputDefinitions"]["parameters"]["text"]["isOptional"] = 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (drop_image, "deploymentSpec.executors.exec-say.container.image"),
        (drop_default, "root.inputDefinitions.parameters.text.defaultValue"),
        (drop_task, "root.dag.tasks.say"),
        (drop_argument, "deploymentSpec.executors.exec-say.container.args"),
        (add_task, "root.dag.tasks.other"),
        (change_type, "root.inputDefinitions.parameters.text.isOptional"),
    ],
)
def test_a_pipeline_that_the_server_changes_is_an_error_with_the_field(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    change: Callable[[JsonDict], None],
    field: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def change_spec(request: Request, body: JsonDict) -> None:
        for item in (body, *body.get("pipeline_versions", ())):
            if "pipeline_spec" in item:
                change(item["pipeline_spec"])

    change_answers(tag_server, monkeypatch, change_spec)

    # The entry exists after the first push, and the second push finds it.
    for _ in range(2):
        with pytest.raises(BadAnswer) as error:
            open_registry(tag_server.host).upload(upload_of())
        assert f"with another {field} than" in error.value.message


@pytest.mark.parametrize("version", ["2.5.0", "2.14.3", "2.17.0"])
def test_a_pipeline_that_the_server_refuses_is_one_line(
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    version: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Recorded: pipeline-upload-bad. Before 2.17 the status is 500, which is not an outage."""
    recorded = exchange("pipeline-upload-bad", version)
    with testing.kubeflow(mode="instant", version=version) as server:
        handle = server.handle

        def refuse(request: Request) -> Response:
            if request.path.endswith("/upload_version"):
                return Response(recorded.status, recorded.answer)
            return handle(request)

        monkeypatch.setattr(server, "handle", refuse)
        with pytest.raises(Refused, match="unknown template format") as refusal:
            open_registry(server.host).upload(upload_of())

        assert server.requests.count("POST", "*/upload_version") == 1
        assert "\n" not in refusal.value.message


WRONG_VALUES: list[object] = [
    None,
    "",
    "x",
    0,
    -1,
    1.5,
    True,
    [],
    {},
    ["x"],
    {"a": 1},
    {"a": {"b": []}},
]


@pytest.mark.parametrize("version", RECORDED_VERSIONS)
@pytest.mark.parametrize("name", ["pipelines-list", "pipeline-versions-list"])
def test_recorded_answers_are_read(version: str, name: str) -> None:
    answer = exchange(name, version).answer
    assert isinstance(answer, dict)

    for item in answer.get("pipelines", ()):
        assert check_pipeline(item)["pipeline_id"] == item["pipeline_id"]
    for item in answer.get("pipeline_versions", ()):
        assert check_version_answer(item)["pipeline_spec"] == item["pipeline_spec"]


@pytest.mark.parametrize("version", RECORDED_VERSIONS)
@pytest.mark.filterwarnings("ignore::kfgcp.errors.NotWhole")
def test_changed_answers_give_only_errors_of_kfgcp(
    server: Server, open_registry: OpenRegistry, reply: type[Reply], version: str
) -> None:
    pipelines = exchange("pipelines-list", version).answer
    versions = exchange("pipeline-versions-list", version).answer
    assert isinstance(pipelines, dict)
    assert isinstance(versions, dict)
    name = pipelines["pipelines"][-1]["display_name"]

    for pipelines_body, versions_body in _mutated_pairs(pipelines, versions):
        server.answers(reply(pipelines_body))
        server.always(_always(reply(versions_body)))
        registry = open_registry(server.url)
        # Another exception is an error of kfgcp's own code.
        with suppress(KfgcpError):
            for entry in registry.list_versions(name):
                registry.read_text(entry)


def _always(answer: Reply) -> Callable[[ReceivedRequest], Reply]:
    return lambda _: answer


def _mutated_pairs(pipelines: JsonObject, versions: JsonObject) -> list[tuple[object, object]]:
    """Return both answers with one wrong value in one of them."""
    pairs: list[tuple[object, object]] = []
    for value in WRONG_VALUES:
        pairs += [(value, versions), (pipelines, value)]
        for key in ("pipelines", "next_page_token"):
            pairs.append(({**pipelines, key: value}, versions))
        for key in ("pipeline_versions", "next_page_token"):
            pairs.append((pipelines, {**versions, key: value}))
        for field in (*pipelines["pipelines"][0], "tags"):
            body = deepcopy(dict(pipelines))
            body["pipelines"][-1][field] = value
            pairs.append((body, versions))
        for field in (*versions["pipeline_versions"][0], "tags"):
            body = deepcopy(dict(versions))
            body["pipeline_versions"][0][field] = value
            pairs.append((pipelines, body))
    return pairs


def test_an_item_that_the_server_cannot_read_is_left_out_with_a_warning(
    tag_server: KubeflowStandIn,
    open_registry: OpenRegistry,
    upload_of: MakeUpload,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`toApiPipelineVersion` answers with the id and an error (server/api_converter.go)."""
    open_registry(tag_server.host).upload(upload_of())
    broken = {"pipeline_version_id": "v-9", "error": {"code": 13, "message": "not YAML"}}

    def add_broken(request: Request, body: JsonDict) -> None:
        if "pipeline_versions" in body:
            body["pipeline_versions"].append(broken)

    change_answers(tag_server, monkeypatch, add_broken)

    with pytest.warns(NotWhole, match="A pipeline version is left out"):
        entries = open_registry(tag_server.host).list_versions("churn")
    assert len(entries) == 1


def test_an_answer_that_breaks_off_is_read_again(
    server: Server, open_registry: OpenRegistry, reply: type[Reply]
) -> None:
    answer = exchange("pipelines-list", "2.17.0").answer
    server.answers(reply(answer, missing=10), reply(hang_up=True), reply(answer))

    assert open_registry(server.url).list_pipelines() == ["echo"]
