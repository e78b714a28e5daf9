"""The words of findings that a rule cannot judge, for names with braces."""

import pytest

from kfgcp.rules.contexts import PipelineContext, TaskContext
from kfgcp.rules.findings import Match, NotJudged, Severity
from kfgcp.rules.rule import Rule, Target, judge, task_rule
from kfgcp.spec.load import from_documents

BRACES = ["a{b}c", "{", "}", "{}", "{0}", "{task}", "{{task}}", "{task.path}", "{env!r:>9}"]


@task_rule("T101", Severity.ERROR, "{task} is wrong")
def with_values(context: TaskContext, target: Target) -> Match:
    """Made up for this test."""
    container = context.container
    assert container is not None
    return NotJudged("{task} runs {image} on {env}", {"image": container.image})


@task_rule("T102", Severity.ERROR, "{task} is wrong")
def with_a_name_in_the_text(context: TaskContext, target: Target) -> Match:
    """Made up for this test."""
    return NotJudged(f"{{task}} is also called <{context.task.label}>")


def message_of(rule: Rule, *, task: str = "train", image: str = "python", label: str = "") -> str:
    document = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "braces"},
        "root": {
            "dag": {
                "tasks": {
                    task: {"componentRef": {"name": "comp-train"}, "taskInfo": {"name": label}}
                }
            }
        },
        "components": {"comp-train": {"executorLabel": "exec-train"}},
        "deploymentSpec": {"executors": {"exec-train": {"container": {"image": image}}}},
    }
    pipeline = PipelineContext(from_documents([document], "braces"))
    (finding,) = judge([rule], pipeline, Target("prod", "toy"))
    assert finding.severity is Severity.NOT_JUDGED
    return finding.message


@pytest.mark.parametrize("name", BRACES)
def test_a_task_and_an_image_may_have_braces_in_their_names(name: str) -> None:
    message = message_of(with_values, task=name, image=name)

    assert message == f"not judged: task {name} runs {name} on prod"


@pytest.mark.parametrize("name", ["a{b}c", "{", "}", "{}", "{0}", "{task.path}", "{env!r:>9}"])
def test_braces_that_a_rule_writes_into_the_text_stay(name: str) -> None:
    message = message_of(with_a_name_in_the_text, label=name)

    assert message == f"not judged: task train is also called <{name}>"
