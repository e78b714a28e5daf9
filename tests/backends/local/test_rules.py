"""The rules of the local engine: a pipeline for each, and the smallest edit that silences it."""

from typing import Final

import pytest

from kfgcp.backends.local import BACKEND
from kfgcp.backends.local.rules import local_rules
from kfgcp.rules.rule import Rule
from rule_cases import ARTIFACT, NUMBER_IN_LIST, REMOVED, Case, check_case, find

CONTAINER: Final = "deploymentSpec/executors/exec-train/container"
TASK_CACHING: Final = "root/dag/tasks/train/cachingOptions"
PLATFORM: Final = "platforms/kubernetes/deploymentSpec/executors/exec-train"
FUNCTION: Final = {
    "image": "python:3.12",
    "command": [
        "sh",
        "-ec",
        'printf "%s" "$0" > "$program_path/ephemeral_component.py" && '
        '_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main "$@"',
        "def train() -> None: ...",
    ],
    "args": ["--executor_input", "{{$}}", "--function_to_execute", "train"],
}
"""A container as KFP compiles a Python function."""
IMPORTER: Final = {
    "artifactUri": {"constant": "gs://data/table"},
    "typeSchema": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
}
SECRET: Final = {"secretName": "db", "keyToEnv": [{"secretKey": "p", "envVar": "DB_PASSWORD"}]}

CASES: Final[dict[str, Case]] = {
    "L101": Case(
        {"deploymentSpec/executors/exec-train": {"customJob": {"customJob": {}}}},
        {"deploymentSpec/executors/exec-train": {"container": FUNCTION}},
        "component train is a customJob executor, which the local engine cannot run",
    ),
    "L102": Case(
        {f"{CONTAINER}/image": "argostub/deletepvc"},
        {f"{CONTAINER}/image": "python:3.12"},
        "component train creates or deletes a Kubernetes volume, which the local engine cannot do",
    ),
    "L103": Case(
        {},
        {},
        "component train runs a container, and --executor process does not allow containers",
        {"executor": "process"},
    ),
    "L104": Case(
        {**ARTIFACT, f"{CONTAINER}/args": ["{{$.inputs.artifacts['data']}}"]},
        {f"{CONTAINER}/args": ["{{$.inputs.artifacts['data'].uri}}"]},
        "component train passes the whole artifact 'data' to its command, but KFP does not say"
        " which text the command gets",
    ),
    "L201": Case(
        {},
        {CONTAINER: FUNCTION},
        "component train runs in a container, which needs a Docker engine on this machine",
    ),
    "L202": Case(
        {CONTAINER: FUNCTION | {"resources": {"cpuLimit": 4.0}}},
        {f"{CONTAINER}/resources": REMOVED},
        "component train runs in a process, so its limits of CPU and memory have no effect",
    ),
    "L203": Case(
        {f"{CONTAINER}/resources/accelerator": {"type": "NVIDIA_L4", "count": "2"}},
        {f"{CONTAINER}/resources/accelerator": REMOVED},
        "component train runs without the accelerator NVIDIA_L4 x 2, because the local engine"
        " assigns none",
    ),
    "L204": Case(
        {PLATFORM: {"nodeSelector": {"labels": {"pool": "big"}}, "tolerations": [{"key": "gpu"}]}},
        {PLATFORM: {}},
        "component train has settings for Kubernetes, which this machine ignores: node selector,"
        " tolerations",
    ),
    "L205": Case(
        {"platforms/kubernetes/pipelineConfig": {"resourceTtl": 60, "workspace": {"size": "1Gi"}}},
        {"platforms/kubernetes/pipelineConfig/resourceTtl": REMOVED},
        "the pipeline has settings for Kubernetes, which this machine ignores: time to live",
    ),
    "L206": Case(
        {f"{PLATFORM}/secretAsEnv": [SECRET]},
        {f"{PLATFORM}/secretAsEnv": REMOVED},
        "component train takes DB_PASSWORD from your shell, not from the secret 'db'",
    ),
    "L207": Case(
        {
            f"{PLATFORM}/pvcMount": [{"constant": "claim", "mountPath": "/data"}],
            f"{PLATFORM}/emptyDirMounts": [{"volumeName": "tmp", "mountPath": "/scratch"}],
        },
        {f"{PLATFORM}/pvcMount": REMOVED},
        "component train uses /data of this machine instead of the volume claim 'claim'",
    ),
    "L208": Case(
        {CONTAINER: FUNCTION | {"image": "pytorch/pytorch"}},
        {f"{CONTAINER}/image": "python:3.12-slim"},
        "not judged: component train runs its function without the image pytorch/pytorch, and"
        " kfgcp does not know whether the function needs software from this image",
    ),
    "L209": Case(
        {"deploymentSpec/executors/exec-train": {"importer": IMPORTER}},
        {"deploymentSpec/executors/exec-train/importer/artifactUri/constant": "file:///data/table"},
        "component train imports gs://data/table, which this machine reads with your own"
        " credentials",
    ),
    "L210": Case(
        NUMBER_IN_LIST,
        {"root/inputDefinitions/parameters/n/parameterType": "STRING"},
        "task train puts 'n', which is NUMBER_INTEGER, inside the list 'items', where it becomes"
        " text, as on Kubeflow",
    ),
    "L211": Case(
        {TASK_CACHING: {"enableCache": True}, f"{CONTAINER}/env": [{"name": "A", "value": "b"}]},
        {TASK_CACHING: {}},
        "task train has environment variables and is cached: when only variables changed, it gets"
        " its old outputs from the cache",
    ),
    "L212": Case(
        {f"{CONTAINER}/image": "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.20.1"},
        {f"{CONTAINER}/image": "python:3.12"},
        "component train is from google-cloud-pipeline-components: it calls services of Google"
        " Cloud",
    ),
}


@pytest.mark.parametrize("rule", local_rules(), ids=lambda rule: rule.id)
def test_each_rule_has_a_pipeline_and_an_edit_that_silences_it(rule: Rule) -> None:
    assert rule.id in CASES, f"{rule.id} has no pipeline in this file"
    check_case(rule, CASES[rule.id])


def test_the_cases_are_about_rules() -> None:
    assert set(CASES) == {rule.id for rule in local_rules()}
    assert BACKEND.rules is not None
    assert list(BACKEND.rules()) == list(local_rules())


def test_nothing_is_found_in_a_plain_function() -> None:
    assert find(local_rules(), [{CONTAINER: FUNCTION}]) == []


@pytest.mark.parametrize(
    "image",
    ["components-tabular:c-0123456789ab", "registry.example/ml/components-gcp@sha256:" + "0" * 64],
)
def test_a_component_of_kfgcp_needs_no_software_of_its_image(image: str) -> None:
    assert find(local_rules(), [{CONTAINER: FUNCTION | {"image": image}}]) == []


def test_a_function_in_a_container_has_its_image_and_its_limits() -> None:
    function = FUNCTION | {"image": "pytorch/pytorch", "resources": {"cpuLimit": 4.0}}

    findings = find(local_rules(), [{CONTAINER: function}], {"executor": "docker"})

    assert [finding.rule for finding in findings] == ["L201"]


def test_an_empty_folder_of_a_process_is_a_folder_of_this_machine() -> None:
    folder = {f"{PLATFORM}/emptyDirMounts": [{"volumeName": "tmp", "mountPath": "/scratch"}]}

    (finding,) = find(local_rules(), [{CONTAINER: FUNCTION}, folder])

    assert finding.message == (
        "component train uses /scratch of this machine instead of the empty folder 'tmp'"
    )
