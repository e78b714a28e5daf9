"""What of a pipeline a server cannot run: found in the spec, named with its task, refused before anything is made."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kfgcp import api
from kfgcp.backends.kubeflow.features import FEATURES, lacks, used, version_of
from kfgcp.errors import NotFound, Unsupported
from kfgcp.spec.load import Spec, from_documents, load
from kfgcp.testing import KubeflowStandIn, kubeflow

NEW, OLD = (2, 17), (2, 0)
PLAIN = {"image": "python:3.11", "command": ["true"]}


def spec_of(
    task: Mapping[str, Any] | None = None,
    container: Mapping[str, Any] | None = None,
    executor: Mapping[str, Any] | None = None,
    platform: Mapping[str, Any] | None = None,
    others: Mapping[str, Any] | None = None,
    **components: Any,
) -> Spec:
    """A pipeline whose task `work` is as given, beside `others`."""
    spec = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": "p"},
        "root": {
            "dag": {
                "tasks": {"work": {"taskInfo": {"name": "work"}, "componentRef": {"name": "c"}, **(task or {})}}
                | dict(others or {})
            }
        },
        "components": {"c": {"executorLabel": "e"}, **components},
        "deploymentSpec": {"executors": {"e": executor or {"container": {**PLAIN, **(container or {})}}}},
    }
    documents = [spec] if platform is None else [spec, {"platforms": {"kubernetes": platform}}]
    return from_documents(documents, "p")


def plain(component: str, **more: Any) -> dict[str, Any]:
    return {"taskInfo": {"name": component}, "componentRef": {"name": component}, **more}


OUT = {"outputDefinitions": {"parameters": {"Output": {"parameterType": "NUMBER_INTEGER"}}}}
NESTED = {
    **OUT,
    "dag": {
        "outputs": {
            "parameters": {"Output": {"valueFromParameter": {"producerSubtask": "one", "outputParameterKey": "Output"}}}
        },
        "tasks": {"one": plain("leaf")},
    },
}
LEAF = {"executorLabel": "e", **OUT}
TAKES = {
    "executorLabel": "e",
    "inputDefinitions": {"parameters": {"x": {"parameterType": "NUMBER_INTEGER"}}},
}
TAKES_OUTPUT = {
    "inputs": {"parameters": {"x": {"taskOutputParameter": {"producerTask": "n", "outputParameterKey": "Output"}}}},
    "dependentTasks": ["n"],
    "componentRef": {"name": "takes"},
}
LOOP = {"parameterIterator": {"itemInput": "i", "items": {"raw": "[1, 2]"}}}
LOOPED = {
    "inputDefinitions": {"parameters": {"i": {"parameterType": "NUMBER_INTEGER"}}},
    "dag": {"tasks": {"one": plain("c")}},
}
IMPORTER = {"importer": {"artifactUri": {"constant": "gs://b/x"}, "typeSchema": {"schemaTitle": "system.Dataset"}}}


def named(spec: Spec, version: tuple[int, ...] | None) -> list[tuple[str, str, bool]]:
    return [(lack.task, lack.what, lack.refused) for lack in lacks(spec, version)]


@pytest.mark.parametrize(
    ("spec", "task", "words", "since"),
    [
        (
            spec_of(others={"n": plain("nested")}, task=TAKES_OUTPUT, nested=NESTED, leaf=LEAF, takes=TAKES),
            "work",
            "an output of a nested pipeline",
            (2, 4),
        ),
        (spec_of(container={"image": "{{$.inputs.parameters['i']}}"}), "work", "an image that a parameter", (2, 4)),
        (spec_of(platform={"pipelineConfig": {"workspace": {"size": "1Gi"}}}), "", "has a workspace", (2, 14)),
    ],
    ids=["nested output", "image", "workspace"],
)
def test_what_a_server_is_too_old_for_is_refused(spec: Spec, task: str, words: str, since: tuple[int, int]) -> None:
    before = (since[0], since[1] - 1, 9)

    (found,) = lacks(spec, before)

    assert (found.task, found.refused, found.since) == (task, True, since)
    assert words in str(found)
    assert lacks(spec, since) == lacks(spec, None) == []


def test_outputs_of_loops_and_final_statuses_need_2_14(pipeline: Any) -> None:
    shapes = load(str(pipeline("shapes")))
    assert named(shapes, (2, 13)) == [("total", "collects the outputs of a loop (dsl.Collected)", True)]
    assert {task for task, _, refused in named(shapes, (2, 3)) if refused} == {"say-3", "total"}
    assert named(shapes, NEW) == []

    guarded = load(str(pipeline("guarded")))
    assert [(task, refused) for task, what, refused in named(guarded, (2, 13)) if "final status" in what] == [
        ("report", True)
    ]
    assert named(guarded, NEW) == []


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (spec_of(executor={"customJob": {"customJob": {}}}), "only Vertex AI runs"),
        (spec_of(executor=IMPORTER, task={"triggerPolicy": {"condition": "true"}}), "an importer with a condition"),
        (
            spec_of(
                task={
                    "artifactIterator": {"itemInput": "i", "items": {"inputArtifact": "all"}},
                    "inputs": {
                        "artifacts": {"all": {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "o"}}}
                    },
                    "dependentTasks": ["make"],
                    "componentRef": {"name": "looped"},
                },
                others={"make": plain("makes")},
                makes={
                    "executorLabel": "e",
                    "outputDefinitions": {
                        "artifacts": {"o": {"artifactType": {"schemaTitle": "system.Dataset"}, "isArtifactList": True}}
                    },
                },
                looped={
                    "inputDefinitions": {
                        "artifacts": {
                            "i": {"artifactType": {"schemaTitle": "system.Dataset"}},
                            "all": {"artifactType": {"schemaTitle": "system.Dataset"}, "isArtifactList": True},
                        }
                    },
                    "dag": {"tasks": {"one": plain("c")}},
                },
            ),
            "a loop over artifacts",
        ),
    ],
    ids=["custom job", "importer", "artifacts"],
)
def test_what_no_server_runs_is_refused_whatever_its_version(spec: Spec, words: str) -> None:
    for version in (OLD, NEW, None):
        (found,) = [lack for lack in lacks(spec, version) if lack.refused]
        assert (found.task, found.since) == ("work", None)
        assert words in found.what


@pytest.mark.parametrize(
    ("spec", "task", "words", "since"),
    [
        (
            spec_of(
                task={**LOOP, "iteratorPolicy": {"parallelismLimit": 2}, "componentRef": {"name": "looped"}},
                looped=LOOPED,
            ),
            "work",
            "all of them start at once",
            (2, 4),
        ),
        (spec_of(task={"cachingOptions": {"enableCache": True, "cacheKey": "k"}}), "work", "not heeded", (2, 4)),
        (
            spec_of(container={"resources": {"resourceCpuLimit": "{{$.inputs.parameters['i']}}"}}),
            "work",
            "without them",
            (2, 4),
        ),
        (spec_of(task={"retryPolicy": {"maxRetryCount": 2}}), "work", "tried once only", (2, 5)),
        (spec_of(container={"args": ["{{$.pipeline_job_name}}"]}), "work", "the placeholder itself", (2, 5)),
        (
            spec_of(others={"n": plain("nested", retryPolicy={"maxRetryCount": 2})}, nested=NESTED, leaf=LEAF),
            "n",
            "it is tried once",
            (2, 14),
        ),
        (
            spec_of(
                others={"n": plain("nested")},
                leaf=LEAF,
                nested={
                    **NESTED,
                    "inputDefinitions": {"parameters": {"x": {"parameterType": "STRING", "isOptional": True}}},
                },
            ),
            "n",
            "a parameter left out",
            (2, 14),
        ),
        (
            spec_of(
                platform={
                    "deploymentSpec": {"executors": {"e": {"emptyDirMounts": [{"volumeName": "v", "mountPath": "/v"}]}}}
                }
            ),
            "work",
            "the folder is not there",
            (2, 3),
        ),
    ],
    ids=["limit", "cache key", "resources", "retry", "name of the run", "nested retry", "left out", "empty folder"],
)
def test_what_an_older_server_leaves_out_is_a_note(spec: Spec, task: str, words: str, since: tuple[int, int]) -> None:
    before = (since[0], since[1] - 1)

    (found,) = [lack for lack in lacks(spec, before) if words in str(lack)]

    assert (found.task, found.refused, found.since) == (task, False, since)
    assert [lack for lack in lacks(spec, since) if words in str(lack)] == []


@pytest.mark.parametrize(
    ("spec", "task", "words"),
    [
        (spec_of(container={"env": [{"name": "X", "value": "{{$.inputs.parameters['x']}}"}]}), "work", "in a variable"),
        (
            spec_of(container={"image": "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.20.1"}),
            "work",
            "calls Vertex AI",
        ),
        (
            spec_of(executor=IMPORTER, others={"l": plain("looped", **LOOP)}, looped=LOOPED),
            "l/one",
            "an importer in a loop",
        ),
        (
            spec_of(
                others={
                    "guard": plain("held"),
                    "exit": plain(
                        "c", dependentTasks=["guard"], triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
                    ),
                },
                held={"dag": {"tasks": {"l": plain("looped", **LOOP)}}},
                looped=LOOPED,
            ),
            "guard/l",
            "a loop inside an exit handler",
        ),
    ],
    ids=["variable", "google", "importer", "exit handler"],
)
def test_what_is_doubtful_on_every_server_is_a_note(spec: Spec, task: str, words: str) -> None:
    (found,) = [lack for lack in lacks(spec, NEW) if words in str(lack)]

    assert (found.task, found.refused) == (task, False)


def test_a_plain_pipeline_lacks_nothing_anywhere(pipeline: Any) -> None:
    for version in (OLD, NEW, None):
        assert lacks(load(str(pipeline("echo"))), version) == []
        assert lacks(spec_of(), version) == []


def test_every_feature_can_be_told_apart_by_its_words() -> None:
    assert len({feature.what for feature in FEATURES}) == len(FEATURES)
    assert all(feature.since is None or (2, 0) < feature.since <= (2, 17) for feature in FEATURES)


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("2.14.3", (2, 14, 3)),
        ("v2.5.0-rc.1", (2, 5, 0)),
        ("2.0", (2, 0)),
        ("1.8.5", (1, 8, 5)),
        ("unknown", None),
        ("", None),
        ("dev-2.1", None),
        (None, None),
        (2.5, None),
        ("v1." + "9" * 5000, (1, 999999999)),
        ("9" * 5000 + ".1", None),
    ],
)
def test_versions_are_read_from_what_servers_call_themselves(tag: object, version: tuple[int, ...] | None) -> None:
    assert version_of(tag) == version


# -- against a server


def in_project(home: Path, server: KubeflowStandIn) -> None:
    (home / "kfgcp.toml").write_text(server.toml("gke"))


@pytest.fixture
def older(home: Path) -> Iterator[KubeflowStandIn]:
    with kubeflow(mode="instant", version="2.5.0") as server:
        in_project(home, server)
        yield server


def test_a_pipeline_that_the_server_is_too_old_for_is_refused_before_anything_is_made(
    older: KubeflowStandIn, kfgcp: Any, pipeline: Any
) -> None:
    done = kfgcp("run", pipeline("shapes"), "--env", "gke", "-p", "uri=gs://b/x", "--experiment", "new")

    assert done.code == 5
    assert "Task total collects the outputs of a loop (dsl.Collected): Kubeflow Pipelines can since 2.14." in done.err
    assert "This server is 2.5.0." in done.err
    assert "Upgrade the server" in done.err
    assert [request.method for request in older.requests] == ["GET"], "its version, once"


def test_what_is_doubtful_is_said_before_the_run(older: KubeflowStandIn, home: Path) -> None:
    spec = spec_of(container={"env": [{"name": "X", "value": "{{$.inputs.parameters['x']}}"}]})

    with pytest.warns(api.NotHeeded, match="task work has a value of the run in a variable"):
        handle = api.submit(spec, env="gke")

    assert any("task work has a value" in note for note in handle.notes)
    assert older.requests.count(path="*/healthz") == 0, "the version makes no difference"


def test_the_version_is_asked_once_for_all_submissions(older: KubeflowStandIn) -> None:
    spec = spec_of(task={"retryPolicy": {"maxRetryCount": 2}})

    for _ in range(3):
        assert api.submit(spec, env="gke").notes == []

    assert older.requests.count(path="*/healthz") == 1


def test_a_server_that_does_not_tell_its_version_is_taken_for_a_new_one_and_that_is_said(
    older: KubeflowStandIn,
) -> None:
    older.tells_version = False

    with pytest.warns(api.NotHeeded, match=r"does not tell its version.*work is tried again.*needs 2\.5"):
        api.submit(spec_of(task={"retryPolicy": {"maxRetryCount": 2}}), env="gke")


def test_a_custom_job_of_vertex_is_refused_with_the_way_to_run_it(older: KubeflowStandIn) -> None:
    with pytest.raises(Unsupported, match="Task work is a custom job, which only Vertex AI runs") as caught:
        api.submit(spec_of(executor={"customJob": {"customJob": {}}}), env="gke")

    assert "Vertex AI" in caught.value.hint
    assert older.requests.count(method="POST") == 0


def test_a_server_before_2_0_is_named_as_too_old(home: Path, pipeline: Any) -> None:
    with kubeflow(mode="instant", version="1.8.5") as server:
        in_project(home, server)
        for name in ("echo", "guarded"):
            with pytest.raises(Unsupported, match=r"Kubeflow Pipelines 1\.8\.5 with the API v1beta1 only") as caught:
                api.submit(str(pipeline(name)), env="gke")
            assert "Upgrade" in caught.value.hint
        assert server.requests.count(method="POST") == 0


def test_what_is_no_kubeflow_at_all_is_not_called_an_old_one(home: Path, pipeline: Any) -> None:
    with kubeflow(mode="instant") as server:
        in_project(home, server)
        text = (home / "kfgcp.toml").read_text().replace(f'host = "{server.host}"', f'host = "{server.host}/nowhere"')
        (home / "kfgcp.toml").write_text(text)
        with pytest.raises(NotFound):
            api.submit(str(pipeline("echo")), env="gke")


def test_the_features_of_a_spec_come_as_json_texts_too(pipeline: Any) -> None:
    """A spec whose numbers are floats, as the service gives them back, has the same features."""
    spec = load(str(pipeline("shapes")))
    again = from_documents([json.loads(json.dumps(spec.pipeline_spec), parse_int=float)], "again")

    assert list(used(again)) == list(used(spec))
