"""Edits that silence a rule of Kubeflow. They change a document or its platform spec in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubeflow_rule_pipelines import Document, constant, output_of, task

Edit = Callable[[Document, Document], object]
"""A function that changes a PipelineSpec and the settings of the platform kubernetes."""


def get_tasks(document: Document, component: str = "") -> Document:
    owner = document["components"][component] if component else document["root"]
    tasks: Document = owner["dag"]["tasks"]
    return tasks


def get_container(document: Document) -> Document:
    body: Document = document["deploymentSpec"]["executors"]["e"]["container"]
    return body


def without_field(field_name: str, key: str = "work") -> Edit:
    """Return the edit that removes a field of a task of the root."""
    return lambda document, platform: get_tasks(document)[key].pop(field_name)


def with_container(**fields: Any) -> Edit:
    """Return the edit that changes fields of the container."""
    return lambda document, platform: get_container(document).update(fields)


def without_settings(document: Document, platform: Document) -> None:
    platform.clear()


def set_default(value: object) -> Edit:
    def edit(document: Document, platform: Document) -> None:
        document["root"]["inputDefinitions"]["parameters"]["a"]["defaultValue"] = value

    return edit


def collect_one_output(document: Document, platform: Document) -> None:
    """Pass the output of a task instead of the output of the loop."""
    get_tasks(document)["n"] = task("makes_list")
    output = {"outputDefinitions": {"parameters": {"Output": {"parameterType": "LIST"}}}}
    document["components"]["makes_list"] = {"executorLabel": "e", **output}
    get_tasks(document)["work"]["inputs"]["parameters"]["x"] = output_of("n")
    get_tasks(document)["work"]["dependentTasks"] = ["n"]


def set_text(value: str) -> Edit:
    def edit(document: Document, platform: Document) -> None:
        get_tasks(document)["work"]["inputs"]["parameters"]["x"] = constant(value)

    return edit


def change_value(document: Document, platform: Document) -> None:
    get_tasks(document)["work"]["inputs"]["parameters"]["x"] = constant(2)


def drop_first_task(document: Document, platform: Document) -> None:
    del get_tasks(document)["t0"]


def set_field(owner: str, key: str, value: object) -> Edit:
    return lambda document, platform: document[owner].update({key: value})


def use_leaf(document: Document, platform: Document) -> None:
    get_tasks(document)["n"] = task("leaf")


def pass_value(document: Document, platform: Document) -> None:
    get_tasks(document)["work"]["inputs"] = {"parameters": {"x": constant("a")}}


def move_out_of_loop(document: Document, platform: Document) -> None:
    document["root"]["dag"]["tasks"] = {"one": task("c")}


def use_default_trigger(document: Document, platform: Document) -> None:
    get_tasks(document)["end"].pop("triggerPolicy")
