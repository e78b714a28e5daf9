"""Pairs of pipelines for tests of rules: one that a rule is about, and the smallest edit of it."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kfgcp.options import RunOptions
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.rule import Rule, Target, judge
from kfgcp.settings import BackendSettings
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec, from_documents

REMOVED: Final = None
"""The value of an edit that removes a field."""

Edits = Mapping[str, Any]
"""Place in the pipeline or in its platform spec -> new value: `root/dag/tasks/train/inputs`."""

# One task that runs a command, without anything that a rule could be about.
_PIPELINE: Final = {
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.16.0",
    "pipelineInfo": {"name": "small"},
    "root": {
        "dag": {
            "tasks": {
                "train": {
                    "taskInfo": {"name": "train"},
                    "componentRef": {"name": "comp-train"},
                    "cachingOptions": {},
                }
            }
        }
    },
    "components": {"comp-train": {"executorLabel": "exec-train"}},
    "deploymentSpec": {
        "executors": {
            "exec-train": {
                "container": {
                    "image": "python@sha256:0",
                    "command": ["python", "-c", "pass"],
                    "resources": {"cpuLimit": 4.0, "memoryLimit": 16.0},
                }
            }
        }
    },
}

ARTIFACT: Final[Edits] = {
    "components/comp-train/inputDefinitions": {
        "artifacts": {"data": {"artifactType": {"schemaTitle": "system.Dataset"}}}
    },
}
"""The component takes an artifact."""

NUMBER_IN_LIST: Final[Edits] = {
    "root/inputDefinitions": {"parameters": {"n": {"parameterType": "NUMBER_INTEGER"}}},
    "root/dag/tasks/train/inputs": {
        "parameters": {
            "pipelinechannel--n": {"componentInputParameter": "n"},
            "items": {
                "runtimeValue": {"constant": [4, "{{$.inputs.parameters['pipelinechannel--n']}}"]}
            },
        }
    },
    "components/comp-train/inputDefinitions": {"parameters": {"items": {"parameterType": "LIST"}}},
}
"""The task takes the list [4, n], where n is a number that the run gets."""


@dataclass(frozen=True)
class Case:
    """A pipeline that a rule finds something in, and the smallest edit that silences the rule.

    Attributes:
        pipeline: the edits of a small pipeline that make the rule find something.
        edit: the edits after which the rule finds nothing.
        message: what the rule says about the pipeline.
        options: the options with which the rule finds something.
        other_options: the options with which it finds nothing.
        severity: of the finding, None for that of the rule.
    """

    pipeline: Edits
    edit: Edits
    message: str
    options: Mapping[str, Any] = field(default_factory=dict)
    other_options: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity | None = None


def build_spec(edits: Iterable[Edits] = ()) -> Spec:
    """Return the small pipeline after some edits."""
    documents: list[Any] = [copy.deepcopy(_PIPELINE), {}]
    for changes in edits:
        for place, value in changes.items():
            document = documents[1] if place.startswith("platforms") else documents[0]
            _edit(document, place.split("/"), copy.deepcopy(value))
    return from_documents([document for document in documents if document], "small")


def find(
    rules: Sequence[Rule],
    edits: Iterable[Edits],
    options: JsonObject | None = None,
    settings: BackendSettings | None = None,
) -> list[RuleFinding]:
    """Return what rules find in the small pipeline after some edits."""
    target = Target("there", "any", settings=settings, options=RunOptions(**options or {}))
    return judge(rules, PipelineContext(build_spec(edits)), target)


def check_case(rule: Rule, case: Case) -> None:
    """Check that a rule finds something in the pipeline of a case, and nothing after the edit."""
    (finding,) = find([rule], [case.pipeline], case.options)
    assert finding.message == case.message
    assert finding.severity is (case.severity or rule.severity)
    assert finding.hint or finding.severity is Severity.NOT_JUDGED
    assert case.edit or case.other_options != case.options, "nothing is edited"
    assert find([rule], [case.pipeline, case.edit], case.other_options) == []


def _edit(document: Any, place: Sequence[str], value: Any) -> None:
    for step in place[:-1]:
        document = (
            document[int(step)] if isinstance(document, list) else document.setdefault(step, {})
        )
    last = place[-1]
    if value is REMOVED:
        del document[last]
    elif isinstance(document, list):
        document[int(last)] = value
    else:
        document[last] = value
