"""For each rule of Kubeflow a pipeline that triggers it, and the smallest edit that silences it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kfgcp.options import RunOptions
from kfgcp.spec.load import Spec, from_documents

Document = dict[str, Any]

# A task with a component of its own, which runs `true`.
CONTAINER = {"image": "python:3.11", "command": ["true"], "args": []}


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
    edit: Callable[[Document, Document], object] = lambda document, platform: None
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


def load(document: Document, platform: Mapping[str, Any]) -> Spec:
    documents: list[Any] = [document]
    if platform:
        documents.append({"platforms": {"kubernetes": platform}})
    return from_documents(copy.deepcopy(documents), "p")


def pipeline(
    tasks: Document | None = None,
    executor: Document | None = None,
    root: Document | None = None,
    **components: Document,
) -> Document:
    """A pipeline with the task `work`, or with other tasks.

    The component `c` runs the executor `e`, and `leaf` runs it and returns a number.
    """
    return {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "pipelineInfo": {"name": "p"},
        "root": {"dag": {"tasks": tasks or {"work": task("c")}}, **(root or {})},
        "components": {"c": {"executorLabel": "e"}, "leaf": LEAF, "takes": TAKES} | components,
        "deploymentSpec": {"executors": {"e": executor or {"container": dict(CONTAINER)}}},
    }


def task(component: str, **fields: Any) -> Document:
    return {"taskInfo": {"name": component}, "componentRef": {"name": component}} | fields


def constant(value: object) -> Document:
    return {"runtimeValue": {"constant": value}}


def output_of(producer: str, key: str = "Output") -> Document:
    return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}


def takes(source: Document, *after: str) -> Document:
    """A task whose input `x` is a number."""
    return task("takes", inputs={"parameters": {"x": source}}, dependentTasks=list(after))


def container(**fields: Any) -> Document:
    return {"container": {**CONTAINER, **fields}}


def loop(component: str = "looped", items: str = "[1, 2]", **fields: Any) -> Document:
    iterator = {"itemInput": "i", "items": {"raw": items}}
    return task(component, parameterIterator=iterator, **fields)


def group(tasks: Document, inputs: Document | None = None, output: str = "") -> Document:
    """A nested pipeline; its output is that of the task `output`."""
    body: Document = {"dag": {"tasks": tasks}}
    if inputs:
        body["inputDefinitions"] = {"parameters": inputs}
    if output:
        source = {"valueFromParameter": {"producerSubtask": output, "outputParameterKey": "Output"}}
        body["dag"]["outputs"] = {"parameters": {"Output": source}}
        body |= OUTPUT
    return body


def tasks_of(document: Document, component: str = "") -> Document:
    owner = document["components"][component] if component else document["root"]
    found: Document = owner["dag"]["tasks"]
    return found


def container_of(document: Document) -> Document:
    found: Document = document["deploymentSpec"]["executors"]["e"]["container"]
    return found


def without(field_name: str, key: str = "work") -> Callable[[Document, Document], object]:
    """The edit that removes a field of a task of the root."""
    return lambda document, platform: tasks_of(document)[key].pop(field_name)


def with_container(**fields: Any) -> Callable[[Document, Document], object]:
    """The edit that changes fields of the container."""
    return lambda document, platform: container_of(document).update(fields)


def on_cluster(**settings: Any) -> Document:
    return {"deploymentSpec": {"executors": {"e": settings}}}


def without_settings(document: Document, platform: Document) -> None:
    platform.clear()


NUMBER = {"parameterType": "NUMBER_INTEGER"}
TEXT = {"parameterType": "STRING"}
OUTPUT = {"outputDefinitions": {"parameters": {"Output": NUMBER}}}
LEAF = {"executorLabel": "e", **OUTPUT}
TAKES = {"executorLabel": "e", "inputDefinitions": {"parameters": {"x": NUMBER}}}
TAKES_TEXT = {"executorLabel": "e", "inputDefinitions": {"parameters": {"x": TEXT}}}
TAKES_LIST = {
    "executorLabel": "e",
    "inputDefinitions": {"parameters": {"x": {"parameterType": "LIST"}, "v": TEXT}},
}
ITEM = {"i": NUMBER}
LOOPED = group({"one": task("c")}, ITEM)
COLLECTED = group({"one": task("leaf")}, ITEM, output="one")
ALWAYS = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
CACHED = {"enableCache": True}
METRICS = {
    "executorLabel": "e",
    "outputDefinitions": {"artifacts": {"m": {"artifactType": {"schemaTitle": "system.Metrics"}}}},
}
DATASETS = {"artifactType": {"schemaTitle": "system.Dataset"}, "isArtifactList": True}
IMPORTER = {
    "importer": {
        "artifactUri": {"constant": "gs://b/x"},
        "typeSchema": {"schemaTitle": "system.Dataset"},
    }
}
STATUS = {
    "executorLabel": "e",
    "inputDefinitions": {
        "parameters": {"s": {"parameterType": "TASK_FINAL_STATUS", "isOptional": True}}
    },
}


def _loop_over_artifacts() -> Document:
    source = {"taskOutputArtifact": {"producerTask": "make", "outputArtifactKey": "o"}}
    return pipeline(
        {
            "make": task("makes"),
            "work": task(
                "over",
                artifactIterator={"itemInput": "i", "items": {"inputArtifact": "all"}},
                inputs={"artifacts": {"all": source}},
                dependentTasks=["make"],
            ),
        },
        makes={"executorLabel": "e", "outputDefinitions": {"artifacts": {"o": DATASETS}}},
        over={
            "inputDefinitions": {
                "artifacts": {
                    "i": {"artifactType": {"schemaTitle": "system.Dataset"}},
                    "all": DATASETS,
                }
            },
            "dag": {"tasks": {"one": task("c")}},
        },
    )


def _with_final_status() -> Document:
    work = task(
        "status",
        inputs={"parameters": {"s": {"taskFinalStatus": {"producerTask": "exit-handler-1"}}}},
        dependentTasks=["exit-handler-1"],
        triggerPolicy=ALWAYS,
    )
    return pipeline(
        {"exit-handler-1": task("held"), "work": work},
        status=STATUS,
        held=group({"one": task("c")}),
    )


def _exit_pipeline(**fields: Any) -> Document:
    held = group({"one": task("c")}, {"a": TEXT})
    return pipeline(
        {
            "exit-handler-1": task(
                "held", inputs={"parameters": {"a": {"componentInputParameter": "a"}}}
            ),
            "work": task("c", dependentTasks=["exit-handler-1"], triggerPolicy=ALWAYS),
        },
        root={"inputDefinitions": {"parameters": {"a": {**TEXT, **fields}}}},
        held=held,
    )


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _with_default(value: object) -> Document:
    default = {"parameterType": "LIST", "isOptional": True, "defaultValue": value}
    return pipeline(root={"inputDefinitions": {"parameters": {"a": default}}})


def _set_default(value: object) -> Callable[[Document, Document], object]:
    def edit(document: Document, platform: Document) -> None:
        document["root"]["inputDefinitions"]["parameters"]["a"]["defaultValue"] = value

    return edit


def _untyped_item(type_of_item: Document) -> Document:
    inner = takes({"componentInputParameter": "i"})
    return pipeline({"l": loop("over")}, over=group({"one": inner}, {"i": type_of_item}))


def _collecting(looped: Document, items: str = "[1, 2]", **components: Document) -> Document:
    listed = {
        "executorLabel": "e",
        "inputDefinitions": {"parameters": {"x": {"parameterType": "LIST"}}},
    }
    work = task("listed", inputs={"parameters": {"x": output_of("l")}}, dependentTasks=["l"])
    return pipeline(
        {"l": loop("looped", items), "work": work}, listed=listed, looped=looped, **components
    )


def _collect_one(document: Document, platform: Document) -> None:
    """Takes the output of a task instead of that of the loop."""
    tasks_of(document)["n"] = task("makes_list")
    output = {"outputDefinitions": {"parameters": {"Output": {"parameterType": "LIST"}}}}
    document["components"]["makes_list"] = {"executorLabel": "e", **output}
    tasks_of(document)["work"]["inputs"]["parameters"]["x"] = output_of("n")
    tasks_of(document)["work"]["dependentTasks"] = ["n"]


def _nested_loops() -> Document:
    outer = group({"inner": loop("inner_body")}, ITEM, output="inner")
    return _collecting(outer, inner_body=COLLECTED)


def _list_constant(type_of_output: str) -> Document:
    work = task(
        "takes_list",
        inputs={
            "parameters": {
                "v": output_of("n"),
                "x": constant(["{{$.inputs.parameters['v']}}", "b"]),
            }
        },
        dependentTasks=["n"],
    )
    makes = {
        "executorLabel": "e",
        "outputDefinitions": {"parameters": {"Output": {"parameterType": type_of_output}}},
    }
    return pipeline(
        {"n": task("makes"), "work": work},
        makes=makes,
        takes_list={
            "executorLabel": "e",
            "inputDefinitions": {
                "parameters": {
                    "x": {"parameterType": "LIST"},
                    "v": {"parameterType": type_of_output},
                }
            },
        },
    )


def _text_argument(value: str) -> Document:
    work = task("text", inputs={"parameters": {"x": constant(value)}})
    return pipeline({"work": work}, text=TAKES_TEXT)


def _set_text(value: str) -> Callable[[Document, Document], object]:
    def edit(document: Document, platform: Document) -> None:
        tasks_of(document)["work"]["inputs"]["parameters"]["x"] = constant(value)

    return edit


def _equal_tasks() -> Document:
    same = takes(constant(1)) | {"cachingOptions": CACHED}
    return pipeline({"first": same, "work": copy.deepcopy(same)})


def _other_value(document: Document, platform: Document) -> None:
    tasks_of(document)["work"]["inputs"]["parameters"]["x"] = constant(2)


def _large_pipeline(count: int) -> Document:
    tasks = {f"t{i}": takes(constant(i)) for i in range(count)}
    for body in tasks.values():
        body["taskInfo"]["name"] = "x" * 60_000
    return pipeline(tasks)


def _drop_tasks(document: Document, platform: Document) -> None:
    del tasks_of(document)["t0"]


def _set(owner: str, key: str, value: object) -> Callable[[Document, Document], object]:
    return lambda document, platform: document[owner].update({key: value})


def _pipeline_config(**settings: Any) -> Document:
    return {"pipelineConfig": settings}


def _group_output() -> Document:
    nested = group({"one": task("leaf")}, output="one")
    return pipeline({"n": task("nested"), "work": takes(output_of("n"), "n")}, nested=nested)


def _use_leaf(document: Document, platform: Document) -> None:
    tasks_of(document)["n"] = task("leaf")


def _left_out() -> Document:
    nested = group({"one": task("c")}, {"x": {**TEXT, "isOptional": True}})
    return pipeline({"work": task("nested")}, nested=nested)


def _pass_value(document: Document, platform: Document) -> None:
    tasks_of(document)["work"]["inputs"] = {"parameters": {"x": constant("a")}}


def _in_loop(executor: Document) -> Document:
    return pipeline({"l": loop()}, executor=executor, looped=LOOPED)


def _out_of_loop(document: Document, platform: Document) -> None:
    document["root"]["dag"]["tasks"] = {"one": task("c")}


def _loop_in_exit_handler() -> Document:
    return pipeline(
        {
            "guard": task("held"),
            "end": task("c", dependentTasks=["guard"], triggerPolicy=ALWAYS),
        },
        held=group({"work": loop()}),
        looped=LOOPED,
    )


def _plain_after(document: Document, platform: Document) -> None:
    tasks_of(document)["end"].pop("triggerPolicy")


SECRET = {"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "K"}]}
SECRET_BY_PARAMETER = {
    "secretNameParameter": {"componentInputParameter": "s"},
    "keyToEnv": [{"secretKey": "k", "envVar": "K"}],
}

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
        _loop_over_artifacts(),
        lambda document, platform: (
            tasks_of(document)["work"].pop("artifactIterator"),
            document["components"]["over"]["inputDefinitions"]["artifacts"].pop("i"),
        ),
    ),
    Case(
        "K104",
        pipeline({"work": task("c", triggerPolicy={"condition": "true"})}, executor=IMPORTER),
        without("triggerPolicy"),
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
    Case("K107", _with_default(_deep(47)), _set_default(_deep(46)), task=""),
    Case(
        "K108",
        pipeline() | {"pipelineInfo": {"name": "p" * 243}},
        _set("pipelineInfo", "name", "p" * 242),
        task="",
    ),
    Case(
        "K109",
        pipeline(executor=container(args=["x" * 131_072])),
        with_container(args=["x" * 131_071]),
    ),
    Case("K110", _text_argument("x" * 131_072), _set_text("x" * 131_071)),
    Case("K111", _with_default([2**53 + 1]), _set_default([2**53]), task=""),
    Case(
        "K112",
        _untyped_item(TEXT),
        lambda document, platform: document["components"]["over"]["inputDefinitions"].update(
            parameters=ITEM
        ),
        task="l/one",
    ),
    Case(
        "K113",
        pipeline(),
        without_settings,
        platform=_pipeline_config(mutexName="m"),
        task="",
    ),
    Case("K114", pipeline(), without_settings, platform=_pipeline_config(resourceTtl=60), task=""),
    Case(
        "K115",
        pipeline() | {"pipelineInfo": {"name": "TRAIN"}},
        _set("pipelineInfo", "name", "TRAIn"),
        task="",
    ),
    Case("K201", _collecting(COLLECTED), _collect_one),
    Case(
        "K202",
        _with_final_status(),
        without("inputs"),
    ),
    Case("K203", _group_output(), _use_leaf),
    Case(
        "K204",
        pipeline(executor=container(image="{{$.inputs.parameters['i']}}")),
        with_container(image="python:3.11"),
    ),
    Case(
        "K205",
        pipeline(),
        without_settings,
        platform=_pipeline_config(workspace={"size": "1Gi"}),
        task="",
    ),
    Case(
        "K206",
        pipeline({"l": loop(), "work": task("c", dependentTasks=["l"])}, looped=LOOPED),
        without("dependentTasks"),
    ),
    Case(
        "K207",
        pipeline({"work": task("c", cachingOptions={**CACHED, "cacheKey": "k"})}),
        without("cachingOptions"),
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
        platform=_pipeline_config(resourceTtlOnCompletion=60),
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
        without("iteratorPolicy"),
    ),
    Case(
        "K222",
        pipeline({"work": task("c", cachingOptions={**CACHED, "cacheKey": "k"})}),
        without("cachingOptions"),
    ),
    Case("K223", _exit_pipeline(), without("triggerPolicy")),
    Case("K224", _text_argument("{{$.pipeline_job_name}}"), _set_text("nightly")),
    Case(
        "K225",
        pipeline({"work": task("c", retryPolicy={"maxRetryCount": 2})}),
        without("retryPolicy"),
    ),
    Case(
        "K226",
        pipeline(
            {"work": task("nested", retryPolicy={"maxRetryCount": 2})},
            nested=group({"one": task("c")}),
        ),
        without("retryPolicy"),
    ),
    Case("K227", _left_out(), _pass_value),
    Case("K228", _in_loop(IMPORTER), _out_of_loop, task="l/one"),
    Case("K229", _loop_in_exit_handler(), _plain_after, task="guard/work"),
    Case("K230", _text_argument("{{$.pipeline_job_create_time_utc}}"), _set_text("2026-01-01")),
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
    Case("K301", _nested_loops(), _collect_one),
    Case(
        "K302",
        _collecting(COLLECTED, "[]"),
        lambda document, platform: tasks_of(document)["l"]["parameterIterator"].update(
            items={"raw": "[1]"}
        ),
    ),
    Case(
        "K303",
        _collecting(
            group({"one": task("leaf", triggerPolicy={"condition": "true"})}, ITEM, output="one")
        ),
        lambda document, platform: tasks_of(document, "looped")["one"].pop("triggerPolicy"),
    ),
    Case(
        "K304",
        _list_constant("STRING"),
        lambda document, platform: document.update(_list_constant("NUMBER_INTEGER")),
    ),
    Case("K305", _with_final_status(), without("inputs")),
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
        _text_argument("run {{$.pipeline_job_name}}"),
        _set_text("{{$.pipeline_job_name}}"),
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
    Case("K312", _with_default(["x" * 119_992]), _set_default(["x" * 119_990]), task=""),
    # 27 names of 60,000 characters are more than 1.5 MiB, 26 are less.
    Case("K313", _large_pipeline(27), _drop_tasks, task=""),
    Case(
        "K314",
        _list_constant("NUMBER_INTEGER"),
        lambda document, platform: document.update(_list_constant("STRING")),
    ),
    Case(
        "K315",
        pipeline(executor=container(args=["{{$.inputs.artifacts['data']}}"])),
        with_container(args=["{{$.inputs.artifacts['data'].uri}}"]),
    ),
    Case(
        "K321",
        pipeline({"n": task("c"), "work": task("c", dependentTasks=["n"], triggerPolicy=ALWAYS)}),
        without("triggerPolicy"),
    ),
    Case(
        "K322",
        pipeline({"work": task("c", retryPolicy={"maxRetryCount": 2})}),
        without("retryPolicy"),
    ),
    Case(
        "K323",
        _exit_pipeline(isOptional=True),
        lambda document, platform: document["root"]["inputDefinitions"]["parameters"]["a"].update(
            defaultValue="x"
        ),
        task="exit-handler-1",
    ),
    Case("K324", _exit_pipeline(), without("triggerPolicy")),
    Case(
        "K325",
        pipeline(),
        task="",
        options=RunOptions(fail_fast=True),
        silent_options=RunOptions(),
    ),
    Case("K331", _equal_tasks(), _other_value),
    Case(
        "K332",
        pipeline(
            {"work": task("c", cachingOptions=CACHED)},
            executor=container(env=[{"name": "SEED", "value": "1"}]),
        ),
        without("cachingOptions"),
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
    Case(
        "K344", pipeline(), without_settings, platform=_pipeline_config(semaphoreKey="s"), task=""
    ),
    Case("K345", pipeline(), without_settings, platform=_pipeline_config(resourceTtl=60), task=""),
)
