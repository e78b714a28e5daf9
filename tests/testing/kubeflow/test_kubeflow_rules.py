"""The requests that the server refuses, and its errors."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from json_types import JsonDict
from kfgcp.errors import UsageError
from kfgcp.testing import kubeflow
from stand_in_apis import KubeflowApi


def test_nothing_is_found_under_an_unknown_id(quick: KubeflowApi) -> None:
    for path in (
        "runs/x",
        "experiments/x",
        "pipelines/x",
        "pipelines/x/versions",
        "recurringruns/x",
    ):
        assert quick.refused("GET", path)[:2] == (404, 5), path
    for action in ("archive", "unarchive", "terminate", "retry"):
        assert quick.refused("POST", f"runs/x:{action}")[:2] == (404, 5), action
    assert quick.refused("GET", "pipelines/names/x")[:2] == (404, 5)
    assert quick.refused("GET", "tasks")[:2] == (404, 5)
    assert quick.refused("GET", "runs", experiment_id="x")[:2] == (404, 5)


def test_a_run_needs_a_name_an_experiment_that_is_there_and_a_pipeline(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    spec = spec_of("echo")

    nameless = quick.refused("POST", "runs", {"pipeline_spec": spec})
    homeless = quick.refused(
        "POST", "runs", {"display_name": "x", "pipeline_spec": spec, "experiment_id": "nowhere"}
    )
    empty = quick.refused("POST", "runs", {"display_name": "x"})
    two_sources = {"pipeline_spec": spec, "pipeline_version_reference": {"pipeline_id": "x"}}
    unknown = quick.refused(
        "POST", "runs", {"display_name": "x", "pipeline_spec": spec, "labels": {}}
    )

    assert nameless[:2] == (500, 13)
    assert nameless[2].endswith("Invalid input error: Run name cannot be empty")
    assert homeless[:2] == (404, 5)
    assert homeless[2].endswith("ResourceNotFoundError: Experiment nowhere not found")
    assert empty[:2] == (500, 13)
    assert quick.refused("POST", "runs", {"display_name": "x", **two_sources})[:2] == (400, 3)
    assert unknown[:2] == (400, 3)
    assert 'unknown field "labels"' in unknown[2]
    assert quick.get("runs") == {}


def test_half_of_a_surrogate_pair_is_not_valid_in_proto_json(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    for field in ("display_name", "description"):
        body = {"display_name": "x", "pipeline_spec": spec_of("echo"), field: "\udc80"}
        assert quick.refused("POST", "runs", body)[:2] == (400, 3)
    assert quick.get("runs") == {}


def test_a_version_that_is_not_there_is_an_internal_error(quick: KubeflowApi) -> None:
    """The server wraps each error while it fetches the manifest, so the status is 500, not 404."""
    reference = {"pipeline_id": "a", "pipeline_version_id": "b"}

    status, code, message = quick.refused(
        "POST", "runs", {"display_name": "x", "pipeline_version_reference": reference}
    )

    assert (status, code) == (500, 13)
    assert "InternalServerError" in message
    assert message.endswith("PipelineVersion b not found")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "parameter n is not optional, yet has neither default value nor user provided value"),
        ({"n": 1, "m": 2}, "parameter(s) provided are not required by pipeline: m"),
        ({"n": "1"}, "input parameter n requires type double or integer"),
        ({"n": True}, "input parameter n requires type double or integer"),
        ({"n": 1, "text": 1}, "input parameter text requires type string"),
        ({"n": 1, "items": {}}, "input parameter items requires type list"),
    ],
)
def test_wrong_parameters_are_refused(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict], parameters: JsonDict, message: str
) -> None:
    spec = spec_of("echo")
    spec["root"]["inputDefinitions"]["parameters"] |= {
        "n": {"parameterType": "NUMBER_INTEGER"},
        "items": {"parameterType": "LIST", "isOptional": True},
    }
    body = {
        "display_name": "x",
        "pipeline_spec": spec,
        "runtime_config": {"parameters": parameters},
    }

    status, code, text = quick.refused("POST", "runs", body)

    assert (status, code) == (400, 3)
    assert message in text


def test_parameters_have_no_limit_but_that_of_etcd(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    def send(length: int, letter: str = "x") -> Any:
        config = {"parameters": {"text": letter * length}}
        body = {"display_name": "x", "pipeline_spec": spec_of("echo"), "runtime_config": config}
        return quick.call("POST", "runs", json=body)

    assert send(1_400_000).status_code == 200
    assert send(300_000, "\u4e2d").status_code == 200
    refused = send(1_600_000)
    assert refused.status_code == 500
    assert refused.json()["message"].endswith("etcdserver: request is too large")
    quick.env.runs.max_workflow_bytes = 50
    assert send(60).status_code == 500


def test_before_2_15_parameters_have_to_fit_a_column(
    api_of: type[KubeflowApi], spec_of: Callable[[str], JsonDict]
) -> None:
    with kubeflow(mode="instant", version="2.14.3") as env:
        body = {"display_name": "x", "pipeline_spec": spec_of("echo")}
        around = len('{"text":""}')
        for length, status in ((65_535 - around, 200), (65_536 - around, 500)):
            config = {"parameters": {"text": "x" * length}}
            answer = api_of(env).call("POST", "runs", json={**body, "runtime_config": config})
            assert answer.status_code == status
        assert len(env.runs.unseen) == 1  # its Workflow was made before


@pytest.mark.parametrize(
    ("field", "column"), [("display_name", "DisplayName"), ("description", "Description")]
)
def test_a_text_that_does_not_fit_its_column_is_an_internal_error(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict], field: str, column: str
) -> None:
    body = {"display_name": "x", "pipeline_spec": spec_of("echo")}
    assert quick.call("POST", "runs", json={**body, field: "\u00fc" * 255}).status_code == 200

    status, code, message = quick.refused("POST", "runs", {**body, field: "x" * 256})

    assert (status, code) == (500, 13)
    assert message.endswith(f"Data too long for column '{column}' at row 1")


def test_long_pipelines_are_refused(quick: KubeflowApi, spec_of: Callable[[str], JsonDict]) -> None:
    quick.env.pipelines.max_spec_bytes = 1000
    spec = spec_of("echo")
    spec["deploymentSpec"]["padding"] = "x" * (32 * 2**20)

    answer = quick.upload(json.dumps(spec_of("echo")), name="echo")
    run = quick.call("POST", "runs", json={"display_name": "x", "pipeline_spec": spec})

    assert (answer.status_code, set(answer.json())) == (400, {"error_message", "error_details"})
    assert answer.json()["error_message"] == "Failed to read a pipeline spec file"
    assert run.status_code == 400


def test_a_spec_that_is_not_schema_2_1_is_an_internal_error(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    old, broken = spec_of("echo"), spec_of("echo")
    old["schemaVersion"] = "2.0.0"
    del broken["root"]

    for spec, message in (
        (old, "KFP only supports schema version 2.1.0"),
        (broken, "unknown template format"),
    ):
        status, code, text = quick.refused(
            "POST", "runs", {"display_name": "x", "pipeline_spec": spec}
        )
        upload = quick.upload(json.dumps(spec), name="x")
        assert (status, code) == (500, 13)
        assert message in text
        assert upload.status_code == 400
        assert upload.json()["error_message"].startswith(message)
    assert quick.get("pipelines") == {}


def test_what_only_google_knows_is_refused(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    job, loop = spec_of("echo"), spec_of("echo")
    (executor,) = job["deploymentSpec"]["executors"].values()
    executor.clear()
    executor["customJob"] = {"customJob": {"jobSpec": {}}}
    task = loop["root"]["dag"]["tasks"]["say"]
    task["artifactIterator"] = {"itemInput": "text", "items": {"inputArtifact": "all"}}

    for spec, message in (
        (job, "non-container and non-importer executor not implemented"),
        (loop, "artifact iterator not implemented"),
    ):
        status, code, text = quick.refused(
            "POST", "runs", {"display_name": "x", "pipeline_spec": spec}
        )
        assert (status, code) == (500, 13)
        assert message in text


def test_names_are_taken_once(quick: KubeflowApi, spec_of: Callable[[str], JsonDict]) -> None:
    text = json.dumps(spec_of("echo"))
    pipeline_id = quick.upload(text, name="echo").json()["pipeline_id"]
    upload = {"files": {"uploadfile": ("a.yaml", text)}}

    again = quick.upload(text, name="Echo")
    version = quick.call(
        "POST",
        "pipelines/upload_version",
        **upload,
        params={"name": "echo", "pipelineid": pipeline_id},
    )
    other = quick.call(
        "POST",
        "pipelines/upload_version",
        **upload,
        params={"name": "v2", "pipelineid": pipeline_id},
    )

    assert again.status_code == version.status_code == 409
    assert again.json()["error_message"] == "Failed to create a pipeline and a pipeline version"
    assert other.status_code == 200
    assert quick.refused("POST", "pipelines", {"display_name": "echo"})[:2] == (409, 6)
    assert quick.refused("POST", "experiments", {"display_name": "Default"})[:2] == (409, 6)
    assert len(quick.get(f"pipelines/{pipeline_id}/versions")["pipeline_versions"]) == 2
    assert quick.get("pipelines/names/echo")["pipeline_id"] == pipeline_id


def test_pipelines_have_names_to_show_and_tags_since_2_17(
    api_of: type[KubeflowApi], spec_of: Callable[[str], JsonDict]
) -> None:
    """pipeline.proto and pipeline_tags.go of 2.17.0."""
    text = json.dumps(spec_of("echo"))
    with kubeflow(mode="instant") as new, kubeflow(mode="instant", version="2.16.1") as old:
        api = api_of(new)
        uploaded_pipeline = api.upload(
            text, name="echo", display_name="Echo", tags='{"team": "growth"}'
        ).json()
        path = f"pipelines/{uploaded_pipeline['pipeline_id']}"
        changed = api.good(
            api.call("PATCH", path, json={"display_name": "Louder", "tags": {"team": "risk"}})
        )

        assert (
            uploaded_pipeline["name"],
            uploaded_pipeline["display_name"],
            uploaded_pipeline["tags"],
        ) == (
            "echo",
            "Echo",
            {"team": "growth"},
        )
        assert (changed["name"], changed["display_name"], changed["tags"]) == (
            "echo",
            "Louder",
            {"team": "risk"},
        )
        assert api.get(path) == changed
        (version,) = api.get(f"{path}/versions")["pipeline_versions"]
        updated_pipeline = api.good(
            api.call(
                "PATCH",
                f"{path}/versions/{version['pipeline_version_id']}",
                json={"tags": {"a": "b"}},
            )
        )
        assert updated_pipeline["tags"] == {"a": "b"}
        many = {str(number): "" for number in range(21)}
        assert api.refused("PATCH", path, {"tags": many})[:2] == (400, 3)
        assert api.refused("PATCH", path, {"tags": {"a.b": "c"}})[:2] == (400, 3)
        other = api_of(old).upload(text, name="echo").json()
        assert "tags" not in other
        assert api_of(old).refused("PATCH", f"pipelines/{other['pipeline_id']}", {"tags": {}})[
            :2
        ] == (501, 12)


@pytest.mark.parametrize("kind", ["pipeline.zip", "pipeline.tar.gz", "pipeline.yml"])
def test_uploads_may_be_archives(
    quick: KubeflowApi, pipeline: Callable[[str], Path], kind: str
) -> None:
    text = pipeline("echo").read_bytes()
    packed = io.BytesIO()
    if kind.endswith(".zip"):
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("echo.yaml", text)
    elif kind.endswith(".gz"):
        with tarfile.open(fileobj=packed, mode="w:gz") as archived:
            file_header = tarfile.TarInfo("echo.yaml")
            file_header.size = len(text)
            archived.addfile(file_header, io.BytesIO(text))
    else:
        packed.write(text)

    answer = quick.call(
        "POST",
        "pipelines/upload",
        files={"uploadfile": (kind, packed.getvalue())},
        params={"name": "e"},
    )

    (version,) = quick.get(f"pipelines/{quick.good(answer)['pipeline_id']}/versions")[
        "pipeline_versions"
    ]
    assert version["pipeline_spec"] == yaml.safe_load(text)


def test_an_upload_without_a_file_and_one_that_is_not_an_archive(quick: KubeflowApi) -> None:
    none = quick.call("POST", "pipelines/upload", files={"other": ("a", "b")})
    broken = quick.call("POST", "pipelines/upload", files={"uploadfile": ("a.zip", b"PK nonsense")})

    assert none.status_code == broken.status_code == 400
    assert none.json()["error_message"] == "Failed to read pipeline from file"


def test_a_pipeline_without_a_version_runs_its_newest(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict]
) -> None:
    pipeline_id = quick.upload(json.dumps(spec_of("echo")), name="echo").json()["pipeline_id"]
    upload = {"files": {"uploadfile": ("a.yaml", json.dumps(spec_of("chain")))}}
    newest_version = quick.call(
        "POST",
        "pipelines/upload_version",
        **upload,
        params={"name": "v2", "pipelineid": pipeline_id},
    ).json()

    run = quick.post(
        "runs", {"display_name": "x", "pipeline_version_reference": {"pipeline_id": pipeline_id}}
    )

    assert run["pipeline_version_reference"] == {
        "pipeline_id": pipeline_id,
        "pipeline_version_id": newest_version["pipeline_version_id"],
    }
    wrong = {"pipeline_id": "other", "pipeline_version_id": newest_version["pipeline_version_id"]}
    body = {"display_name": "x", "pipeline_version_reference": wrong}
    assert "belongs to pipeline" in quick.refused("POST", "runs", body)[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "SOMETIMES"}, "invalid value for enum field mode"),
        ({"max_concurrency": None}, "at least 1 and at most 10. Received 0"),
        ({"trigger": {"cron_schedule": {"cron": "* *"}}}, "Expected 5 to 6 fields, found 2"),
        ({"trigger": {"cron_schedule": {"cron": "0 0 25 * * *"}}}, "not a supported format"),
        (
            {"trigger": {"periodic_schedule": {"interval_second": "0"}}},
            "invalid period schedule interval",
        ),
        ({"max_concurrency": "11"}, "at most 10"),
        ({"max_concurrency": "0.5"}, "invalid value for int64 field max_concurrency"),
        ({"runtime_config": {"parameters": {"n": 1}}}, "not required by pipeline: n"),
    ],
)
def test_recurring_runs_are_checked_when_they_are_made(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict], change: JsonDict, message: str
) -> None:
    trigger = {"cron_schedule": {"cron": "0 0 3 * * *"}}
    body = {"display_name": "x", "mode": "ENABLE", "trigger": trigger, "max_concurrency": "1"}
    body["pipeline_spec"] = spec_of("echo")
    assert quick.post("recurringruns", body)["status"] == "ENABLED"

    status, code, text = quick.refused("POST", "recurringruns", body | change)

    assert (status, code) == (400, 3)
    assert message in text


def test_a_recurring_run_starts_nothing_when_it_may_not(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
) -> None:
    trigger = {"periodic_schedule": {"interval_second": "60"}}
    body = {"display_name": "x", "mode": "ENABLE", "trigger": trigger, "max_concurrency": "1"}
    body["pipeline_spec"] = spec_of("sleeps")
    recurring_run_id = api.post(
        "recurringruns", {**body, "runtime_config": {"parameters": {"seconds": 600}}}
    )["recurring_run_id"]
    first_run_id = api.env.fire(recurring_run_id)

    with pytest.raises(
        UsageError, match=r"^1 runs of .* are running, and its max_concurrency is 1"
    ):
        api.env.fire(recurring_run_id)
    api.post(f"runs/{first_run_id}:terminate")
    ended(api, first_run_id)
    api.post(f"recurringruns/{recurring_run_id}:disable")
    with pytest.raises(UsageError, match="is disabled"):
        api.env.fire(recurring_run_id)
    with pytest.raises(UsageError, match="There is no recurring run other"):
        api.env.fire("other")


def test_only_what_has_failed_is_retried(
    api: KubeflowApi,
    spec_of: Callable[[str], JsonDict],
    ended: Callable[[KubeflowApi, str], JsonDict],
) -> None:
    run = api.run(pipeline_spec=spec_of("echo"))
    ended(api, run)

    status, code, message = api.refused("POST", f"runs/{run}:retry")

    assert (status, code) == (409, 10)
    assert "must be Failed/Error to retry" in message


def test_older_servers_refuse_what_came_later(
    api_of: type[KubeflowApi], guarded_file: Path
) -> None:
    specs = [next(iter(yaml.safe_load_all(guarded_file.read_text())))]
    with (
        kubeflow(mode="instant", version="2.13.0") as old,
        kubeflow(mode="instant", version="2.14.3") as new,
    ):
        for spec in specs:
            status, code, message = api_of(old).refused(
                "POST", "runs", {"display_name": "x", "pipeline_spec": spec}
            )
            assert (status, code) == (500, 13)
            assert "failed to add implicit deps" in message
            assert api_of(new).run(pipeline_spec=spec)
        assert api_of(old).get("healthz") == {
            "commit_sha": "0" * 40,
            "tag_name": "2.13.0",
            "multi_user": False,
        }
        assert api_of(new).get("healthz")["pipeline_store"] == "database"
    with pytest.raises(UsageError, match="'latest' is not a version"):
        kubeflow(version="latest")
