"""What of a pipeline a server cannot run: found in the spec, named with its task, refused before
anything is made."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kfgcp import api
from kfgcp.backends.kubeflow.features import FEATURES, lacks, parse_version, possible_lacks
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
                "tasks": {
                    "work": {
                        "taskInfo": {"name": "work"},
                        "componentRef": {"name": "c"},
                        **(task or {}),
                    }
                }
                | dict(others or {})
            }
        },
        "components": {"c": {"executorLabel": "e"}, **components},
        "deploymentSpec": {
            "executors": {"e": executor or {"container": {**PLAIN, **(container or {})}}}
        },
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
            "parameters": {
                "Output": {
                    "valueFromParameter": {"producerSubtask": "one", "outputParameterKey": "Output"}
                }
            }
        },
        "tasks": {"one": plain("leaf")},
    },
}
LEAF = {"executorLabel": "e", **OUT}
TAKES = {
    "executorLabel": "e",
    "inputDefinitions": {"parameters": {"x": {"parameterType": "NUMBER_INTEGER"}}},
}
TAKES_REF = {"componentRef": {"name": "takes"}}
TAKES_OUTPUT = {
    "inputs": {
        "parameters": {
            "x": {"taskOutputParameter": {"producerTask": "n", "outputParameterKey": "Output"}}
        }
    },
    "dependentTasks": ["n"],
    "componentRef": {"name": "takes"},
}
LOOP = {"parameterIterator": {"itemInput": "i", "items": {"raw": "[1, 2]"}}}
LOOPED = {
    "inputDefinitions": {"parameters": {"i": {"parameterType": "NUMBER_INTEGER"}}},
    "dag": {"tasks": {"one": plain("c")}},
}
IMPORTER = {
    "importer": {
        "artifactUri": {"constant": "gs://b/x"},
        "typeSchema": {"schemaTitle": "system.Dataset"},
    }
}


def named(spec: Spec, version: tuple[int, ...] | None) -> list[tuple[str, str, bool]]:
    return [(lack.task, lack.feature.text, lack.is_refused) for lack in lacks(spec, version)]


@pytest.mark.parametrize(
    ("spec", "task", "words", "since"),
    [
        (
            spec_of(
                others={"n": plain("nested")},
                task=TAKES_OUTPUT,
                nested=NESTED,
                leaf=LEAF,
                takes=TAKES,
            ),
            "work",
            "an output of a nested pipeline",
            (2, 4),
        ),
        (
            spec_of(container={"image": "{{$.inputs.parameters['i']}}"}),
            "work",
            "an image that a parameter",
            (2, 4),
        ),
        (
            spec_of(platform={"pipelineConfig": {"workspace": {"size": "1Gi"}}}),
            "",
            "has a workspace",
            (2, 14),
        ),
    ],
    ids=["nested output", "image", "workspace"],
)
def test_what_a_server_is_too_old_for_is_refused(
    spec: Spec, task: str, words: str, since: tuple[int, int]
) -> None:
    before = (since[0], since[1] - 1, 9)

    (found,) = lacks(spec, before)

    assert (found.task, found.is_refused, found.feature.since) == (task, True, since)
    assert words in str(found)
    assert lacks(spec, since) == lacks(spec, None) == []


def test_outputs_of_loops_and_final_statuses_need_2_14(pipeline: Any) -> None:
    shapes = load(str(pipeline("shapes")))
    empty = ("total", "collects from a loop that may be empty", False)
    assert named(shapes, (2, 13)) == [
        ("total", "collects the outputs of a loop (dsl.Collected)", True),
        empty,
    ]
    assert {task for task, _, refused in named(shapes, (2, 3)) if refused} == {"say-3", "total"}
    assert named(shapes, NEW) == [empty]

    guarded = load(str(pipeline("guarded")))
    assert [(task, what) for task, what, refused in named(guarded, (2, 13)) if refused] == [
        ("report", "takes the final status of another task (dsl.PipelineTaskFinalStatus)")
    ]
    assert [lack for lack in lacks(guarded, NEW) if lack.is_refused] == []


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (spec_of(executor={"customJob": {"customJob": {}}}), "only Vertex AI runs"),
        (
            spec_of(executor=IMPORTER, task={"triggerPolicy": {"condition": "true"}}),
            "an importer with a condition",
        ),
        (
            spec_of(
                task={
                    "artifactIterator": {"itemInput": "i", "items": {"inputArtifact": "all"}},
                    "inputs": {
                        "artifacts": {
                            "all": {
                                "taskOutputArtifact": {
                                    "producerTask": "make",
                                    "outputArtifactKey": "o",
                                }
                            }
                        }
                    },
                    "dependentTasks": ["make"],
                    "componentRef": {"name": "looped"},
                },
                others={"make": plain("makes")},
                makes={
                    "executorLabel": "e",
                    "outputDefinitions": {
                        "artifacts": {
                            "o": {
                                "artifactType": {"schemaTitle": "system.Dataset"},
                                "isArtifactList": True,
                            }
                        }
                    },
                },
                looped={
                    "inputDefinitions": {
                        "artifacts": {
                            "i": {"artifactType": {"schemaTitle": "system.Dataset"}},
                            "all": {
                                "artifactType": {"schemaTitle": "system.Dataset"},
                                "isArtifactList": True,
                            },
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
        (found,) = [lack for lack in lacks(spec, version) if lack.is_refused]
        assert (found.task, found.feature.since) == ("work", None)
        assert words in found.feature.text


@pytest.mark.parametrize(
    ("spec", "task", "words", "since"),
    [
        (
            spec_of(
                task={
                    **LOOP,
                    "iteratorPolicy": {"parallelismLimit": 2},
                    "componentRef": {"name": "looped"},
                },
                looped=LOOPED,
            ),
            "work",
            "all of them start at once",
            (2, 4),
        ),
        (
            spec_of(task={"cachingOptions": {"enableCache": True, "cacheKey": "k"}}),
            "work",
            "key is ignored",
            (2, 4),
        ),
        (
            spec_of(container={"resources": {"resourceCpuLimit": "{{$.inputs.parameters['i']}}"}}),
            "work",
            "without them",
            (2, 4),
        ),
        (spec_of(task={"retryPolicy": {"maxRetryCount": 2}}), "work", "tried once only", (2, 5)),
        (
            spec_of(container={"args": ["{{$.pipeline_job_name}}"]}),
            "work",
            "it may get the text of the placeholder",
            (2, 5),
        ),
        (
            spec_of(
                others={"n": plain("nested", retryPolicy={"maxRetryCount": 2})},
                nested=NESTED,
                leaf=LEAF,
            ),
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
                    "inputDefinitions": {
                        "parameters": {"x": {"parameterType": "STRING", "isOptional": True}}
                    },
                },
            ),
            "n",
            "a parameter left out",
            (2, 14),
        ),
        (
            spec_of(
                platform={
                    "deploymentSpec": {
                        "executors": {
                            "e": {"emptyDirMounts": [{"volumeName": "v", "mountPath": "/v"}]}
                        }
                    }
                }
            ),
            "work",
            "the folder does not exist",
            (2, 3),
        ),
        (
            spec_of(executor=IMPORTER, others={"l": plain("looped", **LOOP)}, looped=LOOPED),
            "l/one",
            "an importer in a loop",
            (2, 17),
        ),
        (
            spec_of(
                others={
                    "guard": plain("held"),
                    "exit": plain(
                        "c",
                        dependentTasks=["guard"],
                        triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
                    ),
                },
                held={"dag": {"tasks": {"l": plain("looped", **LOOP)}}},
                looped=LOOPED,
            ),
            "guard/l",
            "a loop inside an exit handler",
            (2, 17),
        ),
    ],
    ids=[
        "limit",
        "cache key",
        "resources",
        "retry",
        "name of the run",
        "nested retry",
        "left out",
        "empty folder",
        "importer in a loop",
        "loop in an exit handler",
    ],
)
def test_what_an_older_server_leaves_out_is_a_note(
    spec: Spec, task: str, words: str, since: tuple[int, int]
) -> None:
    before = (since[0], since[1] - 1)

    (found,) = [lack for lack in lacks(spec, before) if words in str(lack)]

    assert (found.task, found.is_refused, found.feature.since) == (task, False, since)
    assert [lack for lack in lacks(spec, since) if words in str(lack)] == []


@pytest.mark.parametrize(
    ("spec", "task", "words"),
    [
        (
            spec_of(container={"env": [{"name": "X", "value": "{{$.inputs.parameters['x']}}"}]}),
            "work",
            "in an environment variable",
        ),
        (
            spec_of(
                container={"image": "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.20.1"}
            ),
            "work",
            "calls Vertex AI",
        ),
    ],
    ids=["variable", "google"],
)
def test_what_is_doubtful_on_every_server_is_a_note(spec: Spec, task: str, words: str) -> None:
    (found,) = [lack for lack in lacks(spec, NEW) if words in str(lack)]

    assert (found.task, found.is_refused) == (task, False)


RECORDED = Path(__file__).parents[2] / "recorded" / "cluster-2.17.0"


@pytest.mark.parametrize(
    ("name", "task", "words"),
    [
        (
            "collected-nested",
            "show",
            "collects from nested loops: on Kubeflow, it gets one flat list",
        ),
        (
            "loop-empty",
            "total",
            "collects from a loop that may be empty: on Kubeflow, the run fails when the loop",
        ),
        (
            "collected-skipped",
            "show",
            "collects from a loop with a condition inside: on Kubeflow, the run fails when",
        ),
        (
            "list-arguments",
            "see-8",
            "is given a list or dict that contains values of the run: on Kubeflow, it fails",
        ),
        (
            "exit-bad",
            "ending",
            "reads a final status: on Kubeflow, the state is COMPLETE or FAILED, the error",
        ),
        (
            "containers",
            "shell",
            "has a ConcatPlaceholder: on Kubeflow, it gets the JSON text of the placeholder",
        ),
        (
            "fail-dep-ignore",
            "joined-2",
            "ignores failures of tasks before it: on Kubeflow, the run may be SUCCEEDED",
        ),
        ("digits", "", "has metrics: on Kubeflow, metrics keep only six decimals before 3.0"),
    ],
)
def test_what_was_recorded_to_be_different_is_a_note(name: str, task: str, words: str) -> None:
    spec = load(str(RECORDED / name / "pipeline.yaml"))

    for version in (OLD, NEW, None):
        notes = [
            lack for lack in lacks(spec, version) if lack.feature.differs and not lack.is_refused
        ]
        assert any(lack.task == task and words in str(lack) for lack in notes)


def test_retries_have_no_effect_with_the_defaults_of_2_17() -> None:
    """Recorded as retry-good-with-default-configmap; retry-good ran without these defaults."""
    spec = load(str(RECORDED / "retry-good" / "pipeline.yaml"))

    assert [lack for lack in lacks(spec, (2, 16)) if "2.17.0" in str(lack)] == []
    for version in ((2, 17, 0), None):
        [note] = [lack for lack in lacks(spec, version) if "2.17.0" in str(lack)]
        assert not note.is_refused


@pytest.mark.parametrize(
    "name",
    [
        "hello",
        "values",
        "conditions",
        "loop-constants",
        "nested",
        "exit-pipeline",
        "loop-nested",
        "importing",
    ],
)
def test_a_pipeline_that_was_recorded_to_run_as_documented_differs_in_nothing(name: str) -> None:
    spec = load(str(RECORDED / name / "pipeline.yaml"))

    assert [str(lack) for lack in lacks(spec, NEW) if lack.feature.differs] == []


@pytest.mark.parametrize("name", ["importer-loop", "exit-loop"])
def test_what_2_17_was_recorded_to_run_is_no_note_there(name: str) -> None:
    spec = load(str(RECORDED / name / "pipeline.yaml"))

    assert [lack for lack in lacks(spec, NEW) if "older servers" in str(lack)] == []
    assert [lack for lack in lacks(spec, (2, 14, 3)) if "older servers" in str(lack)] != []


@pytest.mark.parametrize(
    ("container", "differs"),
    [
        ({"resources": {"accelerator": {"type": "NVIDIA_TESLA_T4", "count": "1"}}}, True),
        ({"resources": {"accelerator": {"type": "nvidia.com/gpu", "count": "1"}}}, False),
        (
            {
                "resources": {
                    "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "1"}
                }
            },
            False,
        ),
    ],
)
def test_accelerators_have_the_names_of_kubernetes(
    container: Mapping[str, Any], differs: bool
) -> None:
    notes = [str(lack) for lack in lacks(spec_of(container=container), NEW)]

    assert any("nvidia.com/gpu" in note for note in notes) is differs


def test_numbers_in_a_list_are_as_documented() -> None:
    """As recorded. Texts, lists and dicts are in danger, and parameters of the pipeline, which may
    be any of these."""
    spec = load(str(RECORDED / "list-arguments" / "pipeline.yaml"))

    notes = {lack.task for lack in lacks(spec, NEW) if "given a list" in lack.feature.text}

    assert notes & {"see-2", "see-3", "see-4"} == set()
    assert {"see-5", "see-6", "see-8"} <= notes


@pytest.mark.parametrize(
    ("cached", "value", "equal"), [(True, 1, True), (True, 2, False), (False, 1, False)]
)
def test_equal_tasks_may_share_a_result(cached: bool, value: int, equal: bool) -> None:
    caching = {"cachingOptions": {"enableCache": cached}}
    inputs = {"inputs": {"parameters": {"x": {"runtimeValue": {"constant": value}}}}}
    first = {
        "inputs": {"parameters": {"x": {"runtimeValue": {"constant": 1}}}},
        "componentRef": {"name": "takes"},
    }
    spec = spec_of(
        others={"first": plain("takes", **first, **caching)},
        task={**TAKES_REF, **inputs, **caching},
        takes=TAKES,
    )

    notes = [lack.task for lack in lacks(spec, NEW) if "the same as another" in lack.feature.text]

    assert notes == (["work"] if equal else [])


def test_variables_are_not_in_the_cache_key() -> None:
    variables = {"env": [{"name": "SEED", "value": "1"}]}
    cached = spec_of(container=variables, task={"cachingOptions": {"enableCache": True}})

    assert any("only variables changed" in str(lack) for lack in lacks(cached, NEW))
    assert lacks(spec_of(container=variables), NEW) == []


def test_a_plain_pipeline_lacks_nothing_anywhere(pipeline: Any) -> None:
    for version in (OLD, NEW, None):
        assert lacks(load(str(pipeline("echo"))), version) == []
        assert lacks(spec_of(), version) == []


def test_every_feature_can_be_told_apart_by_its_words() -> None:
    assert len({feature.text for feature in FEATURES}) == len(FEATURES)
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
def test_versions_are_read_from_what_servers_call_themselves(
    tag: object, version: tuple[int, ...] | None
) -> None:
    assert parse_version(tag) == version


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
    done = kfgcp(
        "run", pipeline("shapes"), "--env", "gke", "-p", "uri=gs://b/x", "--experiment", "new"
    )

    assert done.code == 5
    task = "Task total collects the outputs of a loop (dsl.Collected)"
    assert f"{task}: Kubeflow Pipelines supports this since 2.14." in done.err
    assert "This server is 2.5.0." in done.err
    assert "Upgrade the server" in done.err
    assert [request.method for request in older.requests] == ["GET"], "its version, once"


def test_what_is_doubtful_is_said_before_the_run(older: KubeflowStandIn, home: Path) -> None:
    spec = spec_of(container={"env": [{"name": "X", "value": "{{$.inputs.parameters['x']}}"}]})

    with pytest.warns(
        api.NotHeeded, match="task work has a value of the run in an environment variable"
    ):
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

    with pytest.warns(
        api.NotHeeded, match=r"does not report its version.*work is tried again.*needs version 2\.5"
    ):
        api.submit(spec_of(task={"retryPolicy": {"maxRetryCount": 2}}), env="gke")


def test_a_custom_job_of_vertex_is_refused_with_the_way_to_run_it(older: KubeflowStandIn) -> None:
    with pytest.raises(
        Unsupported, match="Task work is a custom job, which only Vertex AI runs"
    ) as caught:
        api.submit(spec_of(executor={"customJob": {"customJob": {}}}), env="gke")

    assert "Vertex AI" in caught.value.hint
    assert older.requests.count(method="POST") == 0


def test_a_server_before_2_0_is_named_as_too_old(home: Path, pipeline: Any) -> None:
    with kubeflow(mode="instant", version="1.8.5") as server:
        in_project(home, server)
        for name in ("echo", "guarded"):
            with pytest.raises(
                Unsupported, match=r"Kubeflow Pipelines 1\.8\.5, which has only the API v1beta1"
            ) as caught:
                api.submit(str(pipeline(name)), env="gke")
            assert "Upgrade" in caught.value.hint
        assert server.requests.count(method="POST") == 0


def test_what_is_no_kubeflow_at_all_is_not_called_an_old_one(home: Path, pipeline: Any) -> None:
    with kubeflow(mode="instant") as server:
        in_project(home, server)
        text = (
            (home / "kfgcp.toml")
            .read_text()
            .replace(f'host = "{server.host}"', f'host = "{server.host}/nowhere"')
        )
        (home / "kfgcp.toml").write_text(text)
        with pytest.raises(NotFound):
            api.submit(str(pipeline("echo")), env="gke")


def test_the_features_of_a_spec_come_as_json_texts_too(pipeline: Any) -> None:
    """A spec whose numbers are floats, as the service gives them back, has the same features."""
    spec = load(str(pipeline("shapes")))
    again = from_documents([json.loads(json.dumps(spec.pipeline_spec), parse_int=float)], "again")

    assert list(possible_lacks(again)) == list(possible_lacks(spec))
