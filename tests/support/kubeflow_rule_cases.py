"""For each rule of Kubeflow a pipeline that triggers it, and the smallest edit that silences it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from kfgcp.options import RunOptions
from kfgcp.spec.load import Spec, from_documents
from kubeflow_rule_edits import (
    Edit,
    change_value,
    collect_one_output,
    drop_first_task,
    get_tasks,
    move_out_of_loop,
    pass_value,
    set_default,
    set_field,
    set_text,
    use_default_trigger,
    use_leaf,
    with_container,
    without_field,
    without_settings,
)
from kubeflow_rule_pipelines import (
    ALWAYS,
    CACHED,
    COLLECTED,
    IMPORTER,
    ITEM,
    LOOPED,
    METRICS,
    SECRET,
    SECRET_BY_PARAMETER,
    TEXT,
    Document,
    collect_from_loop,
    constant,
    container,
    equal_tasks,
    group,
    in_loop,
    large_pipeline,
    loop,
    loop_in_exit_handler,
    loop_over_artifacts,
    nested_lists,
    nested_loops,
    on_cluster,
    pipeline,
    pipeline_config,
    task,
    with_default,
    with_exit_handler,
    with_final_status,
    with_group_output,
    with_item_type,
    with_list_argument,
    with_text_argument,
    without_optional_input,
)


@dataclass(frozen=True)
class Case:
    """A pipeline that triggers a rule.

    Attributes:
        rule: the id of the rule.
        document: the PipelineSpec.
        edit: changes a copy of the document (and of the platform spec) so that it is silent.
        platform: the settings of the platform kubernetes.
        task: the task that the finding names, "" for the pipeline as a whole.
        options: how the pipeline is run.
        silent_options: the edit, when it is one of the options.
    """

    rule: str
    document: Document
    edit: Edit = lambda document, platform: None
    platform: Document = field(default_factory=dict)
    task: str = "work"
    options: RunOptions = field(default_factory=RunOptions)
    silent_options: RunOptions | None = None

    def spec(self) -> Spec:
        return load(self.document, self.platform)

    def silent_spec(self) -> Spec:
        document, platform = copy.deepcopy(self.document), copy.deepcopy(self.platform)
        self.edit(document, platform)
        return load(document, platform)


def load(document: Document, platform: Document) -> Spec:
    documents = [document]
    if platform:
        documents.append({"platforms": {"kubernetes": platform}})
    return from_documents(copy.deepcopy(documents), "p")


CASES = (
    Case(
        "K101",
        pipeline(executor={"customJob": {"customJob": {}}}),
        lambda document, platform: document["deploymentSpec"]["executors"].update(e=container()),
    ),
    Case(
        "K102",
        pipeline(executor={"resolver": {"outputArtifactQueries": {}}}),
        lambda document, platform: document["deploymentSpec"]["executors"].update(e=container()),
    ),
    Case(
        "K103",
        loop_over_artifacts(),
        lambda document, platform: (
            get_tasks(document)["work"].pop("artifactIterator"),
            document["components"]["over"]["inputDefinitions"]["artifacts"].pop("i"),
        ),
    ),
    Case(
        "K104",
        pipeline({"work": task("c", triggerPolicy={"condition": "true"})}, executor=IMPORTER),
        without_field("triggerPolicy"),
    ),
    Case(
        "K105",
        pipeline() | {"schemaVersion": "2.0.0"},
        lambda document, platform: document.update(schemaVersion="2.1.0"),
        task="",
    ),
    Case(
        "K106",
        pipeline(
            root={
                "inputDefinitions": {
                    "artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset"}}}
                }
            }
        ),
        lambda document, platform: document["root"].pop("inputDefinitions"),
        task="",
    ),
    # One more than the 47 nested lists of the message; the innermost list is empty.
    Case("K107", with_default(nested_lists(47)), set_default(nested_lists(46)), task=""),
    Case(
        "K108",
        pipeline() | {"pipelineInfo": {"name": "p" * 243}},
        set_field("pipelineInfo", "name", "p" * 242),
        task="",
    ),
    Case(
        "K109",
        pipeline(executor=container(args=["x" * 131_072])),
        with_container(args=["x" * 131_071]),
    ),
    Case("K110", with_text_argument("x" * 131_072), set_text("x" * 131_071)),
    Case("K111", with_default([2**53 + 1]), set_default([2**53]), task=""),
    Case(
        "K112",
        with_item_type(TEXT),
        lambda document, platform: document["components"]["over"]["inputDefinitions"].update(
            parameters=ITEM
        ),
        task="l/one",
    ),
    Case(
        "K113",
        pipeline(),
        without_settings,
        platform=pipeline_config(mutexName="m"),
        task="",
    ),
    Case("K114", pipeline(), without_settings, platform=pipeline_config(resourceTtl=60), task=""),
    Case(
        "K115",
        pipeline() | {"pipelineInfo": {"name": "TRAIN"}},
        set_field("pipelineInfo", "name", "TRAIn"),
        task="",
    ),
    Case("K201", collect_from_loop(COLLECTED), collect_one_output),
    Case(
        "K202",
        with_final_status(),
        without_field("inputs"),
    ),
    Case("K203", with_group_output(), use_leaf),
    Case(
        "K204",
        pipeline(executor=container(image="{{$.inputs.parameters['i']}}")),
        with_container(image="python:3.11"),
    ),
    Case(
        "K205",
        pipeline(),
        without_settings,
        platform=pipeline_config(workspace={"size": "1Gi"}),
        task="",
    ),
    Case(
        "K206",
        pipeline({"l": loop(), "work": task("c", dependentTasks=["l"])}, looped=LOOPED),
        without_field("dependentTasks"),
    ),
    Case(
        "K207",
        pipeline({"work": task("c", cachingOptions={**CACHED, "cacheKey": "k"})}),
        without_field("cachingOptions"),
    ),
    Case(
        "K208",
        pipeline(
            {"work": task("text", inputs={"parameters": {"x": constant("a")}})},
            text={
                "executorLabel": "e",
                "inputDefinitions": {"parameters": {"x": {**TEXT, "literals": ["a", "b"]}}},
            },
        ),
        lambda document, platform: document["components"]["text"]["inputDefinitions"]["parameters"][
            "x"
        ].pop("literals"),
        task="",
    ),
    Case(
        "K209",
        pipeline(
            {"work": task("config")},
            config={
                "executorLabel": "e",
                "inputDefinitions": {
                    "parameters": {"t": {"parameterType": "TASK_CONFIG", "isOptional": True}}
                },
            },
        ),
        lambda document, platform: document["components"]["config"].pop("inputDefinitions"),
    ),
    Case(
        "K210",
        pipeline(executor={"importer": {**IMPORTER["importer"], "downloadToWorkspace": True}}),
        lambda document, platform: document["deploymentSpec"]["executors"]["e"]["importer"].pop(
            "downloadToWorkspace"
        ),
        task="",
    ),
    Case(
        "K211",
        pipeline(),
        without_settings,
        platform=pipeline_config(resourceTtlOnCompletion=60),
        task="",
    ),
    Case(
        "K220",
        pipeline(executor=container(resources={"cpuLimit": 1.0, "resourceCpuLimit": "1"})),
        with_container(resources={"cpuLimit": 1.0}),
    ),
    Case(
        "K221",
        pipeline({"work": loop(iteratorPolicy={"parallelismLimit": 2})}, looped=LOOPED),
        without_field("iteratorPolicy"),
    ),
    Case(
        "K222",
        pipeline({"work": task("c", cachingOptions={**CACHED, "cacheKey": "k"})}),
        without_field("cachingOptions"),
    ),
    Case("K223", with_exit_handler(), without_field("triggerPolicy")),
    Case("K224", with_text_argument("{{$.pipeline_job_name}}"), set_text("nightly")),
    Case(
        "K225",
        pipeline({"work": task("c", retryPolicy={"maxRetryCount": 2})}),
        without_field("retryPolicy"),
    ),
    Case(
        "K226",
        pipeline(
            {"work": task("nested", retryPolicy={"maxRetryCount": 2})},
            nested=group({"one": task("c")}),
        ),
        without_field("retryPolicy"),
    ),
    Case("K227", without_optional_input(), pass_value),
    Case("K228", in_loop(IMPORTER), move_out_of_loop, task="l/one"),
    Case("K229", loop_in_exit_handler(), use_default_trigger, task="guard/work"),
    Case("K230", with_text_argument("{{$.pipeline_job_create_time_utc}}"), set_text("2026-01-01")),
    Case(
        "K231",
        pipeline(executor=container(args=['{"IfPresent": {"InputName": "m", "Then": ["x"]}}'])),
        with_container(args=["x"]),
    ),
    Case(
        "K240",
        pipeline(),
        without_settings,
        platform=on_cluster(emptyDirMounts=[{"volumeName": "v", "mountPath": "/v"}]),
    ),
    Case(
        "K241",
        pipeline(),
        without_settings,
        platform=on_cluster(tolerations=[{"key": "gpu", "operator": "Exists"}]),
    ),
    Case(
        "K242",
        pipeline(),
        without_settings,
        platform=on_cluster(
            genericEphemeralVolume=[{"volumeName": "v", "mountPath": "/v", "size": "1Gi"}]
        ),
    ),
    Case(
        "K243",
        pipeline(),
        without_settings,
        platform=on_cluster(nodeAffinity=[{"matchExpressions": [{"key": "a"}]}]),
    ),
    Case(
        "K244", pipeline(), without_settings, platform=on_cluster(securityContext={"runAsUser": 1})
    ),
    Case(
        "K245",
        pipeline(),
        lambda document, platform: platform["deploymentSpec"]["executors"]["e"]["pvcMount"][0].pop(
            "subPath"
        ),
        platform=on_cluster(pvcMount=[{"constant": "v", "mountPath": "/v", "subPath": "a"}]),
    ),
    Case(
        "K246",
        pipeline(),
        lambda document, platform: platform["deploymentSpec"]["executors"]["e"]["secretAsEnv"][
            0
        ].pop("optional"),
        platform=on_cluster(secretAsEnv=[{**SECRET, "optional": True}]),
    ),
    Case(
        "K247",
        pipeline(),
        lambda document, platform: platform["deploymentSpec"]["executors"]["e"]["secretAsEnv"][
            0
        ].update(secretName="s"),
        platform=on_cluster(secretAsEnv=[SECRET_BY_PARAMETER]),
    ),
    Case(
        "K248",
        pipeline(),
        without_settings,
        platform=on_cluster(initContainers=[{"name": "i", "image": "busybox"}]),
    ),
    Case("K301", nested_loops(), collect_one_output),
    Case(
        "K302",
        collect_from_loop(COLLECTED, "[]"),
        lambda document, platform: get_tasks(document)["l"]["parameterIterator"].update(
            items={"raw": "[1]"}
        ),
    ),
    Case(
        "K303",
        collect_from_loop(
            group({"one": task("leaf", triggerPolicy={"condition": "true"})}, ITEM, output="one")
        ),
        lambda document, platform: get_tasks(document, "looped")["one"].pop("triggerPolicy"),
    ),
    Case(
        "K304",
        with_list_argument("STRING"),
        lambda document, platform: document.update(with_list_argument("NUMBER_INTEGER")),
    ),
    Case("K305", with_final_status(), without_field("inputs")),
    Case(
        "K306",
        pipeline(executor=container(args=['{"Concat": ["a", "b"]}'])),
        with_container(args=["ab"]),
    ),
    Case(
        "K307",
        pipeline(executor=container(env=[{"name": "X", "value": "{{$.inputs.parameters['x']}}"}])),
        with_container(env=[{"name": "X", "value": "x"}]),
    ),
    Case(
        "K308",
        pipeline(executor=container(args=["{{$.pipeline_job_name}}"])),
        with_container(args=["nightly"]),
    ),
    Case(
        "K309",
        with_text_argument("run {{$.pipeline_job_name}}"),
        set_text("{{$.pipeline_job_name}}"),
    ),
    Case(
        "K310",
        pipeline({"work": task("m")}, m=METRICS),
        lambda document, platform: document["components"]["m"].pop("outputDefinitions"),
    ),
    Case(
        "K311",
        pipeline({"work": task("m")}, m=METRICS),
        lambda document, platform: document["components"]["m"].pop("outputDefinitions"),
    ),
    # {"a":["…"]} has ten characters besides the text.
    Case("K312", with_default(["x" * 119_992]), set_default(["x" * 119_990]), task=""),
    # 27 names of 60,000 characters are more than 1.5 MiB, 26 are less.
    Case("K313", large_pipeline(27), drop_first_task, task=""),
    Case(
        "K314",
        with_list_argument("NUMBER_INTEGER"),
        lambda document, platform: document.update(with_list_argument("STRING")),
    ),
    Case(
        "K315",
        pipeline(executor=container(args=["{{$.inputs.artifacts['data']}}"])),
        with_container(args=["{{$.inputs.artifacts['data'].uri}}"]),
    ),
    Case(
        "K321",
        pipeline({"n": task("c"), "work": task("c", dependentTasks=["n"], triggerPolicy=ALWAYS)}),
        without_field("triggerPolicy"),
    ),
    Case(
        "K322",
        pipeline({"work": task("c", retryPolicy={"maxRetryCount": 2})}),
        without_field("retryPolicy"),
    ),
    Case(
        "K323",
        with_exit_handler(isOptional=True),
        lambda document, platform: document["root"]["inputDefinitions"]["parameters"]["a"].update(
            defaultValue="x"
        ),
        task="exit-handler-1",
    ),
    Case("K324", with_exit_handler(), without_field("triggerPolicy")),
    Case(
        "K325",
        pipeline(),
        task="",
        options=RunOptions(fail_fast=True),
        silent_options=RunOptions(),
    ),
    Case("K331", equal_tasks(), change_value),
    Case(
        "K332",
        pipeline(
            {"work": task("c", cachingOptions=CACHED)},
            executor=container(env=[{"name": "SEED", "value": "1"}]),
        ),
        without_field("cachingOptions"),
    ),
    Case(
        "K342",
        pipeline(
            executor=container(image="gcr.io/ml-pipeline/google-cloud-pipeline-components:2.20.1")
        ),
        with_container(image="python:3.11"),
    ),
    Case(
        "K343",
        pipeline(),
        without_settings,
        platform=on_cluster(podAffinity=[{"topologyKey": "zone"}]),
    ),
    Case("K344", pipeline(), without_settings, platform=pipeline_config(semaphoreKey="s"), task=""),
    Case("K345", pipeline(), without_settings, platform=pipeline_config(resourceTtl=60), task=""),
)
