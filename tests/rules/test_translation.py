"""Rules about GPUs and secrets: for each a pipeline that triggers it, and the smallest edit that
silences it. The edit is sometimes one of kfgcp.toml."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from kfp import dsl, kubernetes
from kfp.dsl.base_component import BaseComponent

from kfgcp.backends.kubeflow.settings import KubeflowSettings
from kfgcp.backends.local.settings import LocalSettings
from kfgcp.backends.vertex.settings import VertexSettings
from kfgcp.rules import translation
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import Part, RuleFinding, Severity
from kfgcp.rules.rule import Target, judge, rules_of
from kfgcp.settings import BackendSettings
from kfgcp.spec.load import Spec, from_documents

VERSION = "projects/acme/secrets/db/versions/3"
GPU = {"NVIDIA_L4": {"resource": "nvidia.com/gpu", "node_selector": {"gpu": "l4"}}}
SECRET = {"DB": {"secret": "db", "key": "password", "secret_manager": VERSION, "variable": "DB"}}


def cluster(**tables: Any) -> Target:
    return Target("gke", "kubeflow", settings=KubeflowSettings(host="https://a.example", **tables))


def vertex(**tables: Any) -> Target:
    settings = VertexSettings(
        project="acme", location="europe-west4", pipeline_root="gs://acme", **tables
    )
    return Target("dev", "vertex", settings=settings)


def local(**tables: Any) -> Target:
    return Target("local", "local", settings=LocalSettings(**tables))


@dsl.component(base_image="python:3.12")
def train() -> int:
    return 1


def spec_of(configure: Callable[[dsl.PipelineTask], object]) -> Spec:
    @dsl.pipeline(name="asks")
    def pipeline(gpu: str = "NVIDIA_L4", name: str = "db") -> None:
        configure(train())

    return compiled(pipeline)


def compiled(pipeline: BaseComponent) -> Spec:
    messages = (pipeline.pipeline_spec, pipeline.platform_spec)
    documents = [json_format.MessageToDict(message) for message in messages]
    return from_documents([document for document in documents if document], "test")


def plain(task: dsl.PipelineTask) -> None:
    task.set_env_variable("MODE", "fast")


def ask_gpu(task: dsl.PipelineTask) -> None:
    task.set_accelerator_type("NVIDIA_L4").set_accelerator_limit(1)


def ask_resource(task: dsl.PipelineTask) -> None:
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)


def ask_secret(task: dsl.PipelineTask) -> None:
    task.set_env_variable("PASSWORD", "secret:DB")


def ask_cluster_secret(task: dsl.PipelineTask) -> None:
    kubernetes.use_secret_as_env(task, "db", {"password": "PASSWORD"})


def judge_translation(spec: Spec, target: Target, rule: str = "") -> list[RuleFinding]:
    findings = judge(rules_of(translation), PipelineContext(spec), target)
    return [finding for finding in findings if rule in ("", finding.rule)]


CASES = {
    "P201 of Kubeflow": (
        "P201",
        (ask_gpu, cluster()),
        (ask_gpu, cluster(accelerators=GPU)),
        "task train asks for the accelerator NVIDIA_L4, but gke has no entry for this name",
        "Add it in kfgcp.toml: [env.gke.accelerators] NVIDIA_L4 = { resource = "
        '"nvidia.com/gpu", node_selector = { … } }',
    ),
    "P201 of Vertex": (
        "P201",
        (ask_resource, vertex()),
        (ask_resource, vertex(accelerators={"nvidia.com/gpu": {"machine": "NVIDIA_L4"}})),
        "task train asks for the accelerator nvidia.com/gpu, but dev has no entry for this name",
        'Add it in kfgcp.toml: [env.dev.accelerators] "nvidia.com/gpu" = { machine = "NVIDIA_L4" }',
    ),
    "P202 of Kubeflow": (
        "P202",
        (ask_secret, cluster(secrets={"DB": {"variable": "DB"}})),
        (ask_secret, cluster(secrets=SECRET)),
        "task train asks for the secret DB, but gke has no entry for this secret",
        'Add it in kfgcp.toml: [env.gke.secrets] DB = { secret = "SECRET", key = "KEY" }',
    ),
    "P202 of Vertex": (
        "P202",
        (ask_secret, vertex()),
        (ask_secret, vertex(secrets=SECRET)),
        "task train asks for the secret DB, but dev has no entry for this secret",
        "Add it in kfgcp.toml: [env.dev.secrets] DB = { secret_manager ="
        ' "projects/PROJECT/secrets/SECRET/versions/1" }',
    ),
    "P202 here": (
        "P202",
        (ask_secret, local()),
        (ask_secret, local(secrets=SECRET)),
        "task train asks for the secret DB, but local has no entry for this secret",
        'Add it in kfgcp.toml: [env.local.secrets] DB = { variable = "DB" }',
    ),
    "P203": (
        "P203",
        (ask_cluster_secret, vertex()),
        (ask_cluster_secret, vertex(secrets=SECRET)),
        "task train does not get PASSWORD on dev: the Kubernetes secret db/password does not"
        " exist there",
        'Add the secret in kfgcp.toml: [env.dev.secrets] PASSWORD = { secret = "db", key ='
        ' "password", secret_manager = "projects/PROJECT/secrets/SECRET/versions/1" }',
    ),
    "P204": (
        "P204",
        (ask_gpu, cluster(accelerators=GPU)),
        (ask_resource, cluster(accelerators=GPU)),
        "task train is translated for gke: NVIDIA_L4 → nvidia.com/gpu on nodes with gpu=l4",
        "The version of the pipeline does not change: kfgcp computes it before the translation.",
    ),
    "P205": (
        "P205",
        (ask_secret, vertex(secrets=SECRET)),
        (ask_secret, cluster(secrets=SECRET)),
        "on dev, the variable PASSWORD of task train contains the name of a secret version, not"
        " the secret",
        "In the code of the component, test the value: a value that starts with projects/ is the"
        " name of a secret version. Read the secret from Secret Manager then.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_has_a_trigger_and_an_edit_that_silences_it(case: str) -> None:
    rule, (ask, target), (other_ask, other_target), message, hint = CASES[case]

    (finding,) = judge_translation(spec_of(ask), target, rule)

    assert (finding.message, finding.hint) == (message, hint)
    assert (finding.task, finding.component) == ("train", "comp-train")
    assert finding.part is Part.TASK
    assert judge_translation(spec_of(other_ask), other_target, rule) == []


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES.values()} == {rule.id for rule in rules_of(translation)}


@pytest.mark.parametrize("target", [cluster(), vertex(), local()], ids=lambda t: t.backend)
def test_a_pipeline_that_asks_for_nothing_has_no_finding(target: Target) -> None:
    assert judge_translation(spec_of(plain), target) == []


@pytest.mark.parametrize(
    ("ask", "target"),
    [
        (ask_gpu, vertex()),
        (ask_resource, cluster()),
        (ask_gpu, local()),
        (ask_resource, local()),
        (ask_cluster_secret, cluster()),
        (ask_cluster_secret, local()),
    ],
)
def test_what_a_backend_has_needs_no_table(
    ask: Callable[[dsl.PipelineTask], object], target: Target
) -> None:
    assert judge_translation(spec_of(ask), target) == []


def test_an_optional_secret_of_the_cluster_may_be_missing() -> None:
    def ask(task: dsl.PipelineTask) -> None:
        kubernetes.use_secret_as_env(task, "db", {"password": "PASSWORD"}, optional=True)

    assert judge_translation(spec_of(ask), vertex()) == []


def test_values_of_a_run_are_not_judged() -> None:
    @dsl.pipeline(name="asks")
    def pipeline(gpu: str = "NVIDIA_L4", name: str = "db") -> None:
        task = train().set_accelerator_type(gpu)
        kubernetes.use_secret_as_env(task, name, {"password": "PASSWORD"})

    findings = judge_translation(compiled(pipeline), vertex())

    assert {(finding.rule, finding.severity) for finding in findings} == {
        ("P201", Severity.NOT_JUDGED),
        ("P203", Severity.NOT_JUDGED),
    }
    assert all(finding.message.startswith("not judged: ") for finding in findings)


@pytest.mark.parametrize(("ask", "rule"), [(ask_gpu, "P201"), (ask_secret, "P202")])
def test_an_environment_without_its_required_keys_is_not_judged(
    ask: Callable[[dsl.PipelineTask], object], rule: str
) -> None:
    (finding,) = judge_translation(spec_of(ask), Target("gke", "kubeflow"))

    assert (finding.rule, finding.severity) == (rule, Severity.NOT_JUDGED)


def test_a_backend_of_another_distribution_is_not_judged() -> None:
    findings = judge_translation(
        spec_of(ask_secret), Target("toy", "toy", settings=BackendSettings())
    )

    assert [finding.severity for finding in findings] == [Severity.NOT_JUDGED]
    assert findings[0].message == (
        "not judged: kfgcp does not know whether the backend toy translates secrets"
    )
