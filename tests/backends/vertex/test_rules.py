"""The rules of Vertex AI: a pipeline for each, and the smallest edit that silences it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from google.cloud.aiplatform_v1 import types

from json_types import JsonDict
from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.vertex import BACKEND
from kfgcp.backends.vertex.request import job as job_body
from kfgcp.backends.vertex.rules import vertex_rules
from kfgcp.backends.vertex.rules_refused import ACCELERATOR_TYPES
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.errors import Unsupported
from kfgcp.rules.findings import Severity
from kfgcp.rules.ignored import Ignored
from kfgcp.rules.rule import Rule
from kfgcp.spec.load import Spec
from rule_cases import ARTIFACT, NUMBER_IN_LIST, REMOVED, Case, check_case, find

TASKS: Final = "root/dag/tasks"
TRAIN: Final = "root/dag/tasks/train"
CONTAINER: Final = "deploymentSpec/executors/exec-train/container"
PLATFORM: Final = "platforms/kubernetes/deploymentSpec/executors/exec-train"
MODEL: Final = {"artifactType": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"}}
MODELS: Final = MODEL | {"isArtifactList": True}
IMPORTER: Final = {
    "artifactUri": {"constant": "gs://data/table"},
    "typeSchema": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
}


def loop(task: str, items: str, output: bool = True) -> JsonDict:
    """Edits that put the task `train` into a loop over items in JSON."""
    dag: dict[str, Any] = {
        "tasks": {"train": {"componentRef": {"name": task}, "taskInfo": {"name": "train"}}}
    }
    body: dict[str, Any] = {
        "dag": dag,
        "inputDefinitions": {"parameters": {"item": {"parameterType": "NUMBER_INTEGER"}}},
    }
    if output:
        selector = {"producerSubtask": "train", "outputArtifactKey": "model"}
        dag["outputs"] = {"artifacts": {"models": {"artifactSelectors": [selector]}}}
        body["outputDefinitions"] = {"artifacts": {"models": MODELS}}
    return {
        TASKS: {
            "for-loop-1": {
                "componentRef": {"name": "comp-for-loop-1"},
                "parameterIterator": {"itemInput": "item", "items": {"raw": items}},
            }
        },
        "components/comp-for-loop-1": body,
    }


def collected(items: str) -> JsonDict:
    """Edits after which the task `best` collects the models of a loop."""
    source = {"producerTask": "for-loop-1", "outputArtifactKey": "models"}
    return {
        **loop("comp-train", items),
        "components/comp-train/outputDefinitions": {"artifacts": {"model": MODEL}},
        f"{TASKS}/best": {
            "componentRef": {"name": "comp-best"},
            "dependentTasks": ["for-loop-1"],
            "inputs": {"artifacts": {"models": {"taskOutputArtifact": source}}},
        },
        "components/comp-best": {
            "executorLabel": "exec-train",
            "inputDefinitions": {"artifacts": {"models": MODELS}},
        },
    }


def numbers(count: int) -> str:
    return str(list(range(count)))


ITEMS_OF_PIPELINE: Final = {
    **collected("[]"),
    "root/inputDefinitions": {"parameters": {"items": {"parameterType": "LIST"}}},
    f"{TASKS}/for-loop-1/inputs": {"parameters": {"items": {"componentInputParameter": "items"}}},
    f"{TASKS}/for-loop-1/parameterIterator/items": {"inputParameter": "items"},
    "components/comp-for-loop-1/inputDefinitions/parameters/items": {"parameterType": "LIST"},
}
ITEMS: Final = f"{TASKS}/for-loop-1/parameterIterator/items/raw"
INPUT_LIST: Final = {"root/inputDefinitions": {"artifacts": {"data": MODELS}}}
VARIABLE: Final = f"{CONTAINER}/env"
TASK_CONFIG: Final = {"parameterType": "TASK_CONFIG"}
LITERALS: Final = {"parameterType": "STRING", "defaultValue": "a", "literals": ["a", "b"]}

CASES: Final[dict[str, Case]] = {
    "V101": Case(
        INPUT_LIST,
        {"root/inputDefinitions/artifacts/data": MODEL},
        "the input data of the pipeline is a list of artifacts, but Vertex AI accepts only one"
        " artifact for an input",
    ),
    "V102": Case(
        {f"{CONTAINER}/image": "argostub/createpvc"},
        {f"{CONTAINER}/image": "python@sha256:0"},
        "component train creates or deletes a Kubernetes volume, which Vertex AI does not have",
    ),
    "V103": Case(
        {
            f"{CONTAINER}/resources/accelerator": {
                "type": "nvidia.com/gpu",
                "count": "1",
                "resourceType": "nvidia.com/gpu",
                "resourceCount": "1",
            }
        },
        {f"{CONTAINER}/resources/accelerator/resourceType": "NVIDIA_L4"},
        "component train asks for the accelerator nvidia.com/gpu, which Vertex AI does not have",
    ),
    "V104": Case(
        {VARIABLE: [{"name": "ROWS", "value": "{{channel:task=count;name=Output;type=String;}}"}]},
        {f"{VARIABLE}/0/value": "3"},
        "component train has a placeholder in the environment variable ROWS, which Vertex AI"
        " leaves empty, so the task fails",
    ),
    "V105": Case(
        {VARIABLE: [{"name": "MODE"}]},
        {f"{VARIABLE}/0/value": "fast"},
        "component train has the empty environment variable MODE, which Vertex AI refuses when the"
        " task starts",
    ),
    "V106": Case(
        {f"{CONTAINER}/command": ["ls", "{{$.workspace_path}}/data"]},
        {f"{CONTAINER}/command/1": "/gcs/bucket/data"},
        "task train uses the workspace of the run, which Vertex AI does not have",
    ),
    "V107": Case(
        {VARIABLE: [{"name": "train.mode", "value": "fast"}]},
        {f"{VARIABLE}/0/name": "train_mode"},
        "component train has the environment variable train.mode, a name that Vertex AI refuses",
    ),
    "V201": Case(
        {f"{CONTAINER}/resources/cpuLimit": 96.5},
        {f"{CONTAINER}/resources/cpuLimit": 96.0},
        "component train asks for 96.5 CPUs, and Vertex AI has at most 96",
    ),
    "V202": Case(
        {f"{CONTAINER}/resources/memoryLimit": 625.0},
        {f"{CONTAINER}/resources/memoryLimit": 624.0},
        "component train asks for 625 GB of memory, and Vertex AI has at most 624 GB",
    ),
    "V203": Case(
        collected(numbers(101)),
        {ITEMS: numbers(100)},
        "task best takes 101 artifacts of a loop as one input, and Vertex AI accepts at most 100",
    ),
    "V204": Case(
        {f"{TRAIN}/iteratorPolicy": {"parallelismLimit": 2**53 + 1}},
        {f"{TRAIN}/iteratorPolicy": {"parallelismLimit": 2**53}},
        "the pipeline contains 9007199254740993, which a task would get as a different number:"
        " root.dag.tasks.train.iteratorPolicy.parallelismLimit",
    ),
    "V205": Case(
        {},
        {},
        "the name of the run has 129 characters, and Vertex AI accepts at most 128",
        {"name": "x" * 129},
        {"name": "x" * 128},
    ),
    "V206": Case(
        {},
        {},
        "the run has 65 labels, and Vertex AI accepts at most 64",
        {"labels": {f"l{number}": "x" for number in range(63)}},
        {"labels": {f"l{number}": "x" for number in range(62)}},
    ),
    "V207": Case(
        {},
        {},
        "Google refuses the label Team=ML",
        {"labels": {"Team": "ML"}},
        {"labels": {"team": "ml"}},
    ),
    "V301": Case(
        {
            f"{PLATFORM}/secretAsEnv": [
                {"secretName": "db", "keyToEnv": [{"secretKey": "p", "envVar": "DB_PASSWORD"}]}
            ]
        },
        {f"{PLATFORM}/secretAsEnv": REMOVED},
        "component train takes secret 'db' as DB_PASSWORD, which Vertex AI does not support: the"
        " variables are not set",
    ),
    "V302": Case(
        {f"{PLATFORM}/pvcMount": [{"constant": "data", "mountPath": "/data"}]},
        {f"{PLATFORM}/pvcMount": REMOVED},
        "component train mounts volume claim 'data' at /data, which Vertex AI does not support:"
        " the folder is missing",
    ),
    "V303": Case(
        {PLATFORM: {"nodeSelector": {"labels": {"a": "b"}}, "activeDeadlineSeconds": "60"}},
        {PLATFORM: {}},
        "component train has settings for Kubernetes, which Vertex AI ignores: timeout of 60 s,"
        " node selector",
    ),
    "V304": Case(
        {"platforms/kubernetes/pipelineConfig": {"resourceTtl": 60, "mutexName": "one"}},
        {"platforms/kubernetes/pipelineConfig": {}},
        "the pipeline has settings for Kubernetes, which Vertex AI ignores: time to live, mutex",
    ),
    "V305": Case(
        {f"{CONTAINER}/resources": {"cpuRequest": 8.0, "memoryRequest": 4.0, "memoryLimit": 8.0}},
        {f"{CONTAINER}/resources/cpuLimit": 8.0},
        "component train requests cpu without a limit, and Vertex AI reads only limits",
    ),
    "V306": Case(
        {f"{CONTAINER}/resources": REMOVED},
        {f"{CONTAINER}/resources": {"cpuLimit": 1.0}},
        "component train has no limits, so it runs on an e2-standard-4 with 4 CPUs and 16 GB of"
        " memory",
    ),
    "V307": Case(
        {},
        {},
        "the run has the label vertex-ai-pipelines-run-billing-id, and Vertex AI replaces its"
        " value",
        {"labels": {"vertex-ai-pipelines-run-billing-id": "x"}},
    ),
    "V308": Case(
        {f"{CONTAINER}/resources/resourceCpuLimit": "{{$.inputs.parameters['cpus']}}"},
        {f"{CONTAINER}/resources/resourceCpuLimit": "4"},
        "not judged: component train takes cpu from a parameter, and the documentation does not"
        " say whether Vertex AI supports this",
    ),
    "V309": Case(
        {
            **loop("comp-train", "[1, 2]", output=False),
            "deploymentSpec/executors/exec-train": {"importer": IMPORTER},
        },
        {TASKS: {"train": {"componentRef": {"name": "comp-train"}}}},
        "not judged: task for-loop-1/train imports an artifact in a loop, and the documentation"
        " does not say whether Vertex AI supports this",
    ),
    "V310": Case(
        {
            **INPUT_LIST,
            f"{TRAIN}/inputs": {"artifacts": {"data": {"componentInputArtifact": "data"}}},
            f"{TRAIN}/artifactIterator": {"itemInput": "data", "items": {"inputArtifact": "data"}},
            "components/comp-train/inputDefinitions": {"artifacts": {"data": MODELS}},
        },
        {f"{TRAIN}/artifactIterator": REMOVED},
        "not judged: task train loops over artifacts, and the documentation does not say whether"
        " Vertex AI supports this",
    ),
    "V311": Case(
        {f"{TRAIN}/cachingOptions": {"enableCache": True, "cacheKey": "v1"}},
        {f"{TRAIN}/cachingOptions/cacheKey": REMOVED},
        "not judged: task train has a cache key, and the documentation does not say whether"
        " Vertex AI uses it",
    ),
    "V312": Case(
        {
            "components/comp-train/outputDefinitions": {
                "artifacts": {"metrics": {"artifactType": {"schemaTitle": "system.Metrics"}}}
            }
        },
        {"components/comp-train/outputDefinitions": {"artifacts": {}}},
        "not judged: a metric may be NaN or infinite, and the documentation does not say what"
        " Vertex AI does then (train)",
    ),
    "V313": Case(
        {"root/inputDefinitions": {"parameters": {"mode": LITERALS}}},
        {"root/inputDefinitions/parameters/mode/literals": REMOVED},
        "not judged: a parameter with literals (mode) is new in the specification, and the"
        " documentation does not say whether Vertex AI supports it",
    ),
    "V315": Case(
        {**ARTIFACT, f"{CONTAINER}/args": ["{{$.inputs.artifacts['data']}}"]},
        {f"{CONTAINER}/args": ["{{$.inputs.artifacts['data'].uri}}"]},
        "not judged: component train passes the whole artifact 'data' to its command, and it is not"
        " documented which text the command gets on Vertex AI",
    ),
    "V316": Case(
        NUMBER_IN_LIST,
        {"root/inputDefinitions/parameters/n/parameterType": "STRING"},
        "not judged: task train puts 'n', which is NUMBER_INTEGER, inside the list 'items', and it"
        " is not documented whether it becomes text on Vertex AI",
    ),
    "V314": Case(
        {},
        {},
        "Vertex AI ignores --max-parallel, --executor, --strict-env: only runs on this machine use"
        " them",
        {"max_parallel": 2, "executor": "docker", "strict_env": True},
    ),
}


@pytest.mark.parametrize("rule", vertex_rules(), ids=lambda rule: rule.id)
def test_each_rule_has_a_pipeline_and_an_edit_that_silences_it(rule: Rule) -> None:
    assert rule.id in CASES, f"{rule.id} has no pipeline in this file"
    check_case(rule, CASES[rule.id])


def test_the_cases_are_about_rules() -> None:
    assert set(CASES) == {rule.id for rule in vertex_rules()}
    assert BACKEND.rules is not None
    assert list(BACKEND.rules()) == list(vertex_rules())


@pytest.mark.parametrize(
    ("rule_id", "edits", "message"),
    [
        (
            "V101",
            {"root/inputDefinitions": {"artifacts": {"a{b": MODELS | {"isOptional": True}}}},
            "not judged: the optional input a{b is a list of artifacts; a run that sets it fails,"
            " because Vertex AI does not accept such a list",
        ),
        (
            "V104",
            {VARIABLE: [{"name": "{RUN}", "value": "{{$.pipeline_job_name}}"}]},
            "not judged: component train has a placeholder in the environment variable {RUN}, and"
            " the documentation does not say whether Vertex AI fills it in",
        ),
        (
            "V203",
            ITEMS_OF_PIPELINE,
            "not judged: task best takes the artifacts of a loop as one input; Vertex AI accepts"
            " at most 100, and only the run shows how many items the loop has",
        ),
    ],
)
def test_what_only_the_run_knows_is_not_judged(rule_id: str, edits: Any, message: str) -> None:
    rules = [rule for rule in vertex_rules() if rule.id == rule_id]

    (finding,) = find(rules, [edits])

    assert (finding.severity, finding.message) == (Severity.NOT_JUDGED, message)


@pytest.mark.parametrize(
    ("edits", "subject"),
    [
        (
            {"components/comp-train/inputDefinitions": {"parameters": {"config": TASK_CONFIG}}},
            "dsl.TaskConfig (config)",
        ),
        (
            {
                "deploymentSpec/executors/exec-train": {
                    "importer": IMPORTER | {"downloadToWorkspace": True}
                }
            },
            "download_to_workspace of dsl.importer (train)",
        ),
    ],
)
def test_other_new_fields_are_not_judged(edits: Any, subject: str) -> None:
    (finding,) = find([rule for rule in vertex_rules() if rule.id == "V313"], [edits])

    assert finding.message.startswith(f"not judged: {subject} is new in the specification")


def test_nested_loops_multiply_what_is_collected() -> None:
    def count_for(inner: str, outer: str) -> list[str]:
        selector = {"producerSubtask": "for-loop-1", "outputArtifactKey": "models"}
        edits = collected(inner)
        outer_loop = {
            "componentRef": {"name": "comp-for-loop-2"},
            "parameterIterator": {"itemInput": "item", "items": {"raw": outer}},
        }
        source = {"producerTask": "for-loop-2", "outputArtifactKey": "models"}
        nested = {
            "components/comp-for-loop-2": {
                "dag": {
                    "tasks": edits[TASKS],
                    "outputs": {"artifacts": {"models": {"artifactSelectors": [selector]}}},
                },
                "inputDefinitions": {"parameters": {"item": {"parameterType": "NUMBER_INTEGER"}}},
                "outputDefinitions": {"artifacts": {"models": MODELS}},
            },
            f"{TASKS}/for-loop-1": REMOVED,
            f"{TASKS}/for-loop-2": outer_loop,
            f"{TASKS}/best/dependentTasks": ["for-loop-2"],
            f"{TASKS}/best/inputs/artifacts/models/taskOutputArtifact": source,
        }
        rules = [rule for rule in vertex_rules() if rule.id == "V203"]
        return [finding.message for finding in find(rules, [edits, nested])]

    assert count_for(numbers(10), numbers(10)) == []
    (message,) = count_for(numbers(11), numbers(10))
    assert message.startswith("task best takes 110 artifacts of a loop")


def test_nothing_is_found_in_a_plain_pipeline() -> None:
    assert find(vertex_rules(), []) == []


# -- what Google's own types say


def test_the_names_of_accelerators_are_those_of_the_api() -> None:
    names = {accelerator.name for accelerator in types.AcceleratorType}

    assert names - {"ACCELERATOR_TYPE_UNSPECIFIED"} == ACCELERATOR_TYPES


def test_the_api_documents_the_limits_of_jobs_and_variables() -> None:
    job = " ".join((types.PipelineJob.__doc__ or "").split())
    variable = " ".join((types.EnvVar.__doc__ or "").split())

    assert "name can be up to 128 characters long" in job
    assert "can only contain lowercase letters, numeric characters, underscores and dashes" in job
    assert "``vertex-ai-pipelines-run-billing-id``, user set value will get overrided" in job
    assert "Must be a valid C identifier." in variable
    assert "value (str): Required." in variable


# -- before a run


def test_a_run_is_refused_in_the_words_of_the_rule(
    edited: Callable[..., Spec],
    request_of: Callable[..., SubmitRequest],
    vertex_settings: Callable[..., VertexSettings],
) -> None:
    def ask_for_gpu(spec: JsonDict) -> None:
        (executor,) = spec["deploymentSpec"]["executors"].values()
        executor["container"]["resources"] = {"accelerator": {"type": "nvidia.com/gpu"}}

    request = request_of(edited("tests/pipelines/echo.py", ask_for_gpu))

    with pytest.raises(Unsupported) as caught:
        job_body(request, vertex_settings(), "abc123")
    assert caught.value.message == (
        "Component say asks for the accelerator nvidia.com/gpu, which Vertex AI does not have"
        " (V103)."
    )
    assert "NVIDIA_L4" in caught.value.hint
    # The list of names grows: the user can say that the service has this one.
    ignoring = replace(request, ignored=Ignored(frozenset({"V103"})))
    assert job_body(ignoring, vertex_settings(), "abc123")


def test_labels_of_the_environment_count(vertex_settings: Callable[..., VertexSettings]) -> None:
    rules = [rule for rule in vertex_rules() if rule.id == "V207"]

    (finding,) = find(rules, [], settings=vertex_settings(labels={"Owner": "Ann"}))

    assert finding.message == "Google refuses the label Owner=Ann"
    assert finding.hint.endswith("For example: owner=ann")
