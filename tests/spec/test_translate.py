"""GPUs and secrets are translated in both directions, beside what kfp-kubernetes wrote, and never
in place."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from kfp import dsl, kubernetes
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from json_types import JsonDict
from kfgcp.errors import SpecError
from kfgcp.spec.digest import digest
from kfgcp.spec.graph import Container, build
from kfgcp.spec.load import from_documents
from kfgcp.spec.portable_requests import changes_in_container
from kfgcp.spec.translate import Translated, missing_translations, translate
from kfgcp.translation_tables import Form, Tables, read_tables

LABEL = "cloud.google.com/gke-accelerator"
VERSION = "projects/acme/secrets/db/versions/3"
ACCELERATORS: dict[str, Any] = {
    "NVIDIA_L4": {
        "resource": "nvidia.com/gpu",
        "node_selector": {LABEL: "nvidia-l4"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "toleration_seconds": 60}],
    },
    "NVIDIA_TESLA_T4": {
        "resource": "nvidia.com/gpu",
        "node_selector": {LABEL: "nvidia-tesla-t4"},
    },
    "small": {"resource": "amd.com/gpu", "machine": "NVIDIA_TESLA_P4"},
}
SECRETS: dict[str, Any] = {
    "DB": {"secret": "db", "key": "password", "secret_manager": VERSION, "variable": "DB_HERE"}
}


def tables(form: Form, accelerators: Any = None, secrets: Any = None) -> Tables:
    return read_tables(
        form,
        ACCELERATORS if accelerators is None else accelerators,
        SECRETS if secrets is None else secrets,
    )


@dsl.component(base_image="python:3.12")
def train() -> int:
    return 1


def documents(configure: Callable[[dsl.PipelineTask], object]) -> tuple[JsonDict, JsonDict | None]:
    """Both documents of a pipeline with one task."""

    @dsl.pipeline(name="asks")
    def pipeline() -> None:
        configure(train())

    platform = json_format.MessageToDict(pipeline.platform_spec)
    return json_format.MessageToDict(pipeline.pipeline_spec), platform or None


def container_of(translated: Translated) -> JsonDict:
    executors = translated.pipeline_spec["deploymentSpec"]["executors"]
    container: dict[str, Any] = executors["exec-train"]["container"]
    return container


def cluster_of(translated: Translated) -> Any:
    if translated.platform_spec is None:
        return None
    platform = translated.platform_spec["platforms"]["kubernetes"]
    return platform["deploymentSpec"]["executors"].get("exec-train")


def accelerator_of(translated: Translated) -> list[str]:
    accelerator = container_of(translated)["resources"]["accelerator"]
    return [accelerator["resourceType"], accelerator["type"], accelerator["resourceCount"]]


def ask_vertex(task: dsl.PipelineTask) -> None:
    task.set_accelerator_type("NVIDIA_L4").set_accelerator_limit(2)
    task.set_env_variable("PASSWORD", "secret:DB")
    task.set_env_variable("MODE", "secret: fast")


def ask_kubernetes(task: dsl.PipelineTask) -> None:
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)
    kubernetes.add_node_selector(task, LABEL, "nvidia-l4")
    kubernetes.use_secret_as_env(task, "db", {"password": "PASSWORD", "user": "USER"})


# -- Kubernetes


def test_kubernetes_gets_a_resource_nodes_tolerations_and_the_secret() -> None:
    translated = translate(*documents(ask_vertex), tables(Form.KUBERNETES))

    assert accelerator_of(translated) == ["nvidia.com/gpu", "nvidia.com/gpu", "2"]
    assert container_of(translated)["env"] == [{"name": "MODE", "value": "secret: fast"}]
    assert cluster_of(translated) == {
        "nodeSelector": {"labels": {LABEL: "nvidia-l4"}},
        "tolerations": [{"key": "gpu", "operator": "Exists", "tolerationSeconds": "60"}],
        "secretAsEnv": [
            {
                "secretName": "db",
                "keyToEnv": [{"secretKey": "password", "envVar": "PASSWORD"}],
                "optional": False,
            }
        ],
    }


def test_the_messages_of_kfp_take_the_translated_documents() -> None:
    translated = translate(*documents(ask_vertex), tables(Form.KUBERNETES))

    json_format.ParseDict(translated.pipeline_spec, pipeline_spec_pb2.PipelineSpec())
    config = json_format.ParseDict(
        cluster_of(translated), kubernetes_pb2.KubernetesExecutorConfig()
    )
    assert config.node_selector.labels[LABEL] == "nvidia-l4"
    assert config.secret_as_env[0].key_to_env[0].env_var == "PASSWORD"
    assert config.tolerations[0].toleration_seconds == 60


def test_what_kfp_kubernetes_wrote_stays() -> None:
    def ask(task: dsl.PipelineTask) -> None:
        ask_vertex(task)
        kubernetes.add_node_selector(task, "disk", "ssd")
        kubernetes.add_toleration(task, key="team", operator="Exists", effect="NoSchedule")
        kubernetes.add_toleration(task, key="gpu", operator="Exists", toleration_seconds=60)
        kubernetes.use_secret_as_env(task, "other", {"key": "OTHER"})

    cluster = cluster_of(translate(*documents(ask), tables(Form.KUBERNETES)))

    assert cluster["nodeSelector"] == {"labels": {"disk": "ssd", LABEL: "nvidia-l4"}}
    assert [toleration["key"] for toleration in cluster["tolerations"]] == ["team", "gpu"]
    assert [secret["secretName"] for secret in cluster["secretAsEnv"]] == ["other", "db"]


def test_the_pipelines_own_value_of_a_label_stays() -> None:
    def ask(task: dsl.PipelineTask) -> None:
        task.set_accelerator_type("NVIDIA_L4")
        kubernetes.add_node_selector(task, LABEL, "nvidia-l4-vws")

    cluster = cluster_of(translate(*documents(ask), tables(Form.KUBERNETES)))

    assert cluster["nodeSelector"] == {"labels": {LABEL: "nvidia-l4-vws"}}


def test_labels_are_added_to_a_constant_node_selector_in_json() -> None:
    def ask(task: dsl.PipelineTask) -> None:
        task.set_accelerator_type("NVIDIA_L4")
        kubernetes.add_node_selector_json(task, {"disk": "ssd"})

    cluster = cluster_of(translate(*documents(ask), tables(Form.KUBERNETES)))

    constant = cluster["nodeSelector"]["nodeSelectorJson"]["runtimeValue"]["constant"]
    assert constant == {"disk": "ssd", LABEL: "nvidia-l4"}


def test_a_node_selector_from_a_parameter_prevents_the_translation() -> None:
    @dsl.pipeline(name="asks")
    def pipeline(nodes: dict) -> None:
        task = train().set_accelerator_type("NVIDIA_L4")
        kubernetes.add_node_selector_json(task, nodes)

    spec = json_format.MessageToDict(pipeline.pipeline_spec)
    platform = json_format.MessageToDict(pipeline.platform_spec)

    assert translate(spec, platform, tables(Form.KUBERNETES)).changes == ()
    (missing,) = missing_translations(build(spec, platform), tables(Form.KUBERNETES))
    assert missing.name == "NVIDIA_L4"
    assert missing.depends_on_run


def test_an_entry_can_be_asked_for_by_its_own_name() -> None:
    def ask(task: dsl.PipelineTask) -> None:
        task.set_accelerator_type("small")

    on_kubernetes = translate(*documents(ask), tables(Form.KUBERNETES))
    on_vertex = translate(*documents(ask), tables(Form.VERTEX))

    assert accelerator_of(on_kubernetes)[0] == "amd.com/gpu"
    assert cluster_of(on_kubernetes) is None or cluster_of(on_kubernetes) == {}
    assert accelerator_of(on_vertex)[0] == "NVIDIA_TESLA_P4"


# -- Vertex AI


def test_vertex_gets_the_accelerator_of_the_nodes_and_the_name_of_the_version() -> None:
    translated = translate(*documents(ask_kubernetes), tables(Form.VERTEX))

    assert accelerator_of(translated) == ["NVIDIA_L4", "NVIDIA_L4", "2"]
    assert container_of(translated)["env"] == [{"name": "PASSWORD", "value": VERSION}]
    # What is left is left out of the request, and a note names it.
    assert [item["keyToEnv"] for item in cluster_of(translated)["secretAsEnv"]] == [
        [{"envVar": "USER", "secretKey": "user"}]
    ]
    assert "nodeSelector" not in cluster_of(translated)


def test_a_variable_that_asks_for_a_secret_gets_the_name_of_the_version() -> None:
    translated = translate(*documents(ask_vertex), tables(Form.VERTEX))

    assert container_of(translated)["env"] == [
        {"name": "PASSWORD", "value": VERSION},
        {"name": "MODE", "value": "secret: fast"},
    ]
    assert accelerator_of(translated)[0] == "NVIDIA_L4"
    assert [change.kind for change in translated.changes] == ["secret"]


def test_the_entry_with_the_most_labels_wins() -> None:
    table = {
        "nvidia.com/gpu": {"machine": "NVIDIA_TESLA_P4"},
        "l4": {
            "resource": "nvidia.com/gpu",
            "machine": "NVIDIA_L4",
            "node_selector": {LABEL: "nvidia-l4"},
        },
    }

    def ask(task: dsl.PipelineTask) -> None:
        task.set_accelerator_type("nvidia.com/gpu")

    without_nodes = translate(*documents(ask), tables(Form.VERTEX, table))
    with_nodes = translate(*documents(ask_kubernetes), tables(Form.VERTEX, table))

    assert accelerator_of(without_nodes)[0] == "NVIDIA_TESLA_P4"
    assert accelerator_of(with_nodes)[0] == "NVIDIA_L4"


def test_other_nodes_are_another_gpu() -> None:
    def ask(task: dsl.PipelineTask) -> None:
        task.set_accelerator_type("nvidia.com/gpu")
        kubernetes.add_node_selector(task, LABEL, "nvidia-h100-80gb")

    spec, platform = documents(ask)

    assert translate(spec, platform, tables(Form.VERTEX)).changes == ()
    (missing,) = missing_translations(build(spec, platform), tables(Form.VERTEX))
    assert (missing.kind, missing.name) == ("accelerator", "nvidia.com/gpu")


def test_a_variable_of_a_secret_replaces_one_of_the_same_name() -> None:
    def ask(task: dsl.PipelineTask) -> None:
        ask_kubernetes(task)
        task.set_env_variable("PASSWORD", "none")

    assert container_of(translate(*documents(ask), tables(Form.VERTEX)))["env"] == [
        {"name": "PASSWORD", "value": VERSION}
    ]


# -- every form


def test_there_and_back_again() -> None:
    """A text for Kubernetes, translated for Vertex AI, is what Vertex AI gets from the original."""
    spec, platform = documents(ask_vertex)
    there = translate(spec, platform, tables(Form.KUBERNETES))

    back = translate(there.pipeline_spec, there.platform_spec, tables(Form.VERTEX))

    assert accelerator_of(back) == accelerator_of(translate(spec, platform, tables(Form.VERTEX)))
    assert {"name": "PASSWORD", "value": VERSION} in container_of(back)["env"]
    assert cluster_of(back) is None


@pytest.mark.parametrize("form", [Form.KUBERNETES, Form.VERTEX])
@pytest.mark.parametrize("ask", [ask_vertex, ask_kubernetes])
def test_a_translated_text_stays_as_it_is(
    form: Form, ask: Callable[[dsl.PipelineTask], object]
) -> None:
    once = translate(*documents(ask), tables(form))

    twice = translate(once.pipeline_spec, once.platform_spec, tables(form))

    assert twice.changes == ()
    assert (twice.pipeline_spec, twice.platform_spec) == (once.pipeline_spec, once.platform_spec)


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("ask", [ask_vertex, ask_kubernetes])
def test_the_arguments_and_so_the_version_stay(
    form: Form, ask: Callable[[dsl.PipelineTask], object]
) -> None:
    spec, platform = documents(ask)
    before = copy.deepcopy((spec, platform, digest(spec)))

    translate(spec, platform, tables(form))

    assert (spec, platform, digest(spec)) == before


@pytest.mark.parametrize("form", [Form.NONE, Form.LOCAL])
@pytest.mark.parametrize("ask", [ask_vertex, ask_kubernetes])
def test_elsewhere_the_text_stays(form: Form, ask: Callable[[dsl.PipelineTask], object]) -> None:
    spec, platform = documents(ask)

    translated = translate(spec, platform, tables(form))

    assert (translated.pipeline_spec, translated.platform_spec) == (spec, platform)
    asks_for_secret = [change.after for change in translated.changes]
    expected = ["variable DB_HERE of this machine"] if form is Form.LOCAL else []
    assert asks_for_secret == expected


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("ask", [ask_vertex, ask_kubernetes])
def test_rules_see_the_changes_that_are_made(
    form: Form, ask: Callable[[dsl.PipelineTask], object]
) -> None:
    spec, platform = documents(ask)
    container = build(spec, platform).components["comp-train"].executor
    assert isinstance(container, Container)

    seen = changes_in_container("train", container, tables(form))

    applied = translate(spec, platform, tables(form)).changes
    assert sorted(map(str, seen)) == sorted(map(str, applied))


def test_empty_tables_change_nothing_and_everything_is_missing() -> None:
    spec, platform = documents(ask_vertex)
    empty = tables(Form.KUBERNETES, {}, {})

    assert translate(spec, platform, empty).pipeline_spec is spec
    missing = missing_translations(build(spec, platform), empty)
    assert [(item.kind, item.name, item.variable) for item in missing] == [
        ("accelerator", "NVIDIA_L4", ""),
        ("secret", "DB", "PASSWORD"),
    ]


def test_an_accelerator_from_a_parameter_is_not_translated() -> None:
    @dsl.pipeline(name="asks")
    def pipeline(gpu: str = "NVIDIA_L4") -> None:
        train().set_accelerator_type(gpu)

    spec = json_format.MessageToDict(pipeline.pipeline_spec)

    assert translate(spec, None, tables(Form.KUBERNETES)).changes == ()
    (missing,) = missing_translations(build(spec), tables(Form.KUBERNETES))
    assert missing.depends_on_run


def test_the_name_of_a_secret_from_a_parameter_is_not_known() -> None:
    @dsl.pipeline(name="asks")
    def pipeline(name: str = "db") -> None:
        kubernetes.use_secret_as_env(train(), name, {"password": "PASSWORD"})

    spec = json_format.MessageToDict(pipeline.pipeline_spec)
    platform = json_format.MessageToDict(pipeline.platform_spec)

    (missing,) = missing_translations(build(spec, platform), tables(Form.VERTEX))
    assert (missing.kind, missing.depends_on_run) == ("cluster secret", True)


def test_other_platforms_and_executors_stay() -> None:
    spec, _ = documents(ask_vertex)
    platform = {
        "platforms": {
            "kubernetes": {
                "deploymentSpec": {"executors": {"exec-other": {"nodeSelector": {}}}},
                "pipelineConfig": {"resourceTtl": 3600},
            },
            "other": {"deploymentSpec": {"executors": {}}},
        }
    }
    from_documents([spec, platform], "test")

    translated = translate(spec, platform, tables(Form.KUBERNETES)).platform_spec

    assert translated is not None
    kubernetes_part = translated["platforms"]["kubernetes"]
    assert kubernetes_part["pipelineConfig"] == {"resourceTtl": 3600}
    assert list(kubernetes_part["deploymentSpec"]["executors"]) == ["exec-other", "exec-train"]
    assert translated["platforms"]["other"] == platform["platforms"]["other"]
    json.dumps(translated)


# -- damaged documents


REPLACEMENTS: tuple[Any, ...] = (
    *(None, "", 0, 1.5, True, [], {}, "x", ["a"], {"a": 1}),
    *("{{$.inputs.parameters['x']}}", "nvidia.com/gpu", "secret:DB"),
    {"runtimeValue": {"constant": {"disk": "ssd"}}},
    {"componentInputParameter": "x"},
)
FIELDS = ("nodeSelectorJson", "labels", "secretAsEnv", "keyToEnv", "tolerations", "env", "type")


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all parts of the executor in both documents."""
    paths = [place] if "exec-train" in place else []
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, part in items:
        paths += places(part, (*place, key))
    return paths


def damage(both: list[Any], chance: random.Random) -> list[Any]:
    """Both documents with one to three random edits of the executor."""
    damaged = copy.deepcopy(both)
    for _ in range(chance.choice((1, 1, 2, 3))):
        *parents, last = chance.choice(places(damaged) or [(0, "deploymentSpec", "executors")])
        part = damaged
        for key in parents:
            part = part[key]
        edit = chance.random()
        if edit < 0.3:
            del part[last]
        elif edit < 0.45 and isinstance(part, dict):
            part[chance.choice(FIELDS)] = copy.deepcopy(chance.choice(REPLACEMENTS))
        else:
            part[last] = copy.deepcopy(chance.choice(REPLACEMENTS))
    return damaged


def test_no_valid_document_breaks_the_translation() -> None:
    """Documents that kfgcp accepts are translated, and a second time nothing changes."""

    def ask(task: dsl.PipelineTask) -> None:
        ask_kubernetes(task)
        kubernetes.add_toleration(task, key="gpu", operator="Exists")
        task.set_env_variable("TOKEN", "secret:DB")

    chance = random.Random(20261130)  # noqa: S311 - edits need no secure numbers
    both = list(documents(ask))
    valid = 0
    for _ in range(600):
        try:
            spec = from_documents(damage(both, chance), "test")
        except SpecError:
            continue
        valid += 1
        graph = build(spec.pipeline_spec, spec.platform_spec)
        for form in Form:
            once = translate(spec.pipeline_spec, spec.platform_spec, tables(form))
            twice = translate(once.pipeline_spec, once.platform_spec, tables(form))
            missing_translations(graph, tables(form))
            assert twice.changes == () or form is Form.LOCAL
    assert valid > 100
