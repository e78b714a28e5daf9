"""A pipeline in which no general rule finds anything, and edits of it that trigger rules."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from json_types import JsonDict
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import RuleFinding
from kfgcp.rules.general import general_rules
from kfgcp.rules.rule import Target, judge
from kfgcp.spec.load import from_documents

REMOVE = object()
"""As the value of an edit: removes the field."""

IMAGE = "python:3.12@sha256:" + "0" * 64
TASK = "root.dag.tasks.say"
COMPONENT = "components.comp-say"
CONTAINER = "deploymentSpec.executors.exec-say.container"

BASE: dict[str, Any] = {
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.16.0",
    "pipelineInfo": {"name": "hello"},
    "root": {
        "dag": {
            "tasks": {
                "say": {
                    "taskInfo": {"name": "say"},
                    "componentRef": {"name": "comp-say"},
                    "inputs": {"parameters": {"text": {"componentInputParameter": "text"}}},
                }
            }
        },
        "inputDefinitions": {"parameters": {"text": {"parameterType": "STRING"}}},
    },
    "components": {
        "comp-say": {
            "executorLabel": "exec-say",
            "inputDefinitions": {"parameters": {"text": {"parameterType": "STRING"}}},
            "outputDefinitions": {"parameters": {"Output": {"parameterType": "STRING"}}},
        }
    },
    "deploymentSpec": {
        "executors": {
            "exec-say": {
                "container": {
                    "image": IMAGE,
                    "command": ["echo", "{{$.inputs.parameters['text']}}"],
                }
            }
        }
    },
}
"""A pipeline in which no rule finds anything."""

Edit = tuple[str, Any]
"""A place, `root.dag.tasks.say`, and the value to put there."""


def dag(tasks: JsonDict, **fields: object) -> JsonDict:
    """A component that consists of tasks."""
    return {"dag": {"tasks": tasks}, **fields}


def task(component: str = "comp-say", **fields: object) -> JsonDict:
    """A task that needs no input."""
    inputs = {"parameters": {"text": {"runtimeValue": {"constant": "hello"}}}}
    return {"componentRef": {"name": component}, "inputs": inputs, **fields}


def constant(value: Any) -> JsonDict:
    return {"runtimeValue": {"constant": value}}


def output_of(producer: str) -> JsonDict:
    return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": "Output"}}


def python_function(source: str = "def say(text): ...", install: str = "") -> list[Edit]:
    """The edits that make the component a Python function, as KFP compiles it."""
    script = 'printf "%s" "$0" > "$program_path/ephemeral_component.py"'
    script += ' && _KFP_RUNTIME=true python3 -m kfp.dsl.executor_main "$@"'
    prelude = ["sh", "-c", f'python3 -m pip install {install} && "$0" "$@"'] if install else []
    return [
        (f"{CONTAINER}.command", [*prelude, "sh", "-ec", script, source]),
        (f"{CONTAINER}.args", ["--executor_input", "{{$}}", "--function_to_execute", "say"]),
    ]


def parameter(kind: str, **fields: object) -> JsonDict:
    return {"parameterType": kind, **fields}


def importer(uri: str, **fields: Any) -> list[Edit]:
    """The edits that make the component an importer."""
    body = {"artifactUri": {"constant": uri}, "reimport": True, **fields}
    return [
        ("deploymentSpec.executors.exec-say", {"importer": body}),
        (f"{TASK}.cachingOptions", {}),
    ]


FINAL_STATUS = parameter("TASK_FINAL_STATUS", isOptional=True)
CONDITION = "inputs.parameter_values['text'] == 'a'"
CLUSTER: dict[str, Any] = {
    "platforms": {
        "kubernetes": {
            "deploymentSpec": {"executors": {"exec-say": {"nodeSelector": {"labels": {"a": "b"}}}}}
        }
    }
}
BRANCHES: list[Edit] = [
    ("root.dag.tasks.if", task("comp-branches")),
    (
        "components.comp-branches",
        dag(
            {
                "a": task(triggerPolicy={"condition": "inputs.parameter_values['text'] == 'a'"}),
                "b": task(triggerPolicy={"condition": "inputs.parameter_values['text'] == 'b'"}),
            },
            inputDefinitions={"parameters": {"text": parameter("STRING")}},
            outputDefinitions={"parameters": {"chosen": parameter("STRING")}},
        ),
    ),
    (
        "components.comp-branches.dag.outputs",
        {
            "parameters": {
                "chosen": {
                    "valueFromOneof": {
                        "parameterSelectors": [
                            {"producerSubtask": "a", "outputParameterKey": "Output"},
                            {"producerSubtask": "b", "outputParameterKey": "Output"},
                        ]
                    }
                }
            }
        },
    ),
]


@dataclass(frozen=True)
class Case:
    """A pipeline that triggers a rule.

    Attributes:
        rule: the id of the rule.
        trigger: the edits of BASE after which the rule finds something.
        message: what it says then.
        fix: the smallest edits after which it finds nothing.
        platform: the second document of the file.
        fixed_platform: the same after the edit.
    """

    rule: str
    trigger: Sequence[Edit]
    message: str
    fix: Sequence[Edit]
    platform: dict[str, Any] | None = None
    fixed_platform: dict[str, Any] | None = None


def edited(document: JsonDict, edits: Sequence[Edit]) -> JsonDict:
    """Return a copy of a document after edits."""
    changed = copy.deepcopy(document)
    for place, value in edits:
        *parents, key = place.split(".")
        parent = changed
        for step in parents:
            parent = parent.setdefault(step, {})
        if value is REMOVE:
            del parent[key]
        else:
            parent[key] = copy.deepcopy(value)
    return changed


def findings(document: JsonDict, platform: JsonDict | None = None) -> list[RuleFinding]:
    documents = [document] if platform is None else [document, platform]
    pipeline = PipelineContext(from_documents(documents, "hello.yaml"))
    return judge(general_rules(), pipeline, Target("here", "local"))
