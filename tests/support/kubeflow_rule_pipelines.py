"""Pipelines for the tests of Kubeflow's rules, and the parts that they consist of."""

from __future__ import annotations

import copy
from typing import Any

Document = dict[str, Any]

# A task with a component of its own, which runs `true`.
CONTAINER = {"image": "python:3.11", "command": ["true"], "args": []}


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


def task(component: str, **fields: object) -> Document:
    return {"taskInfo": {"name": component}, "componentRef": {"name": component}} | fields


def constant(value: object) -> Document:
    return {"runtimeValue": {"constant": value}}


def output_of(producer: str, key: str = "Output") -> Document:
    return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}


def takes(source: Document, *after: str) -> Document:
    """A task whose input `x` is a number."""
    return task("takes", inputs={"parameters": {"x": source}}, dependentTasks=list(after))


def container(**fields: object) -> Document:
    return {"container": {**CONTAINER, **fields}}


def loop(component: str = "looped", items: str = "[1, 2]", **fields: object) -> Document:
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


def on_cluster(**settings: object) -> Document:
    return {"deploymentSpec": {"executors": {"e": settings}}}


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


def loop_over_artifacts() -> Document:
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


def with_final_status() -> Document:
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


def with_exit_handler(**fields: object) -> Document:
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


def nested_lists(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def with_default(value: object) -> Document:
    default = {"parameterType": "LIST", "isOptional": True, "defaultValue": value}
    return pipeline(root={"inputDefinitions": {"parameters": {"a": default}}})


def with_item_type(type_of_item: Document) -> Document:
    inner = takes({"componentInputParameter": "i"})
    return pipeline({"l": loop("over")}, over=group({"one": inner}, {"i": type_of_item}))


def collect_from_loop(looped: Document, items: str = "[1, 2]", **components: Document) -> Document:
    listed = {
        "executorLabel": "e",
        "inputDefinitions": {"parameters": {"x": {"parameterType": "LIST"}}},
    }
    work = task("listed", inputs={"parameters": {"x": output_of("l")}}, dependentTasks=["l"])
    return pipeline(
        {"l": loop("looped", items), "work": work}, listed=listed, looped=looped, **components
    )


def nested_loops() -> Document:
    outer = group({"inner": loop("inner_body")}, ITEM, output="inner")
    return collect_from_loop(outer, inner_body=COLLECTED)


def with_list_argument(type_of_output: str) -> Document:
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


def with_text_argument(value: str) -> Document:
    work = task("text", inputs={"parameters": {"x": constant(value)}})
    return pipeline({"work": work}, text=TAKES_TEXT)


def equal_tasks() -> Document:
    same = takes(constant(1)) | {"cachingOptions": CACHED}
    return pipeline({"first": same, "work": copy.deepcopy(same)})


def large_pipeline(count: int) -> Document:
    tasks = {f"t{i}": takes(constant(i)) for i in range(count)}
    for body in tasks.values():
        body["taskInfo"]["name"] = "x" * 60_000
    return pipeline(tasks)


def pipeline_config(**settings: object) -> Document:
    return {"pipelineConfig": settings}


def with_group_output() -> Document:
    nested = group({"one": task("leaf")}, output="one")
    return pipeline({"n": task("nested"), "work": takes(output_of("n"), "n")}, nested=nested)


def without_optional_input() -> Document:
    nested = group({"one": task("c")}, {"x": {**TEXT, "isOptional": True}})
    return pipeline({"work": task("nested")}, nested=nested)


def in_loop(executor: Document) -> Document:
    return pipeline({"l": loop()}, executor=executor, looped=LOOPED)


def loop_in_exit_handler() -> Document:
    return pipeline(
        {
            "guard": task("held"),
            "end": task("c", dependentTasks=["guard"], triggerPolicy=ALWAYS),
        },
        held=group({"work": loop()}),
        looped=LOOPED,
    )


SECRET = {"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "K"}]}
SECRET_BY_PARAMETER = {
    "secretNameParameter": {"componentInputParameter": "s"},
    "keyToEnv": [{"secretKey": "k", "envVar": "K"}],
}
