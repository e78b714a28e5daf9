"""Each general rule finds what it is about, and nothing else; errors are true for the engine."""

from collections.abc import Sequence

import pytest

from general_rule_cases import CASES
from general_rule_pipelines import (
    BASE,
    CONTAINER,
    TASK,
    Case,
    Edit,
    constant,
    edited,
    findings,
    python_function,
)
from json_types import JsonDict
from kfgcp.model import TaskState
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.general import general_rules
from kfgcp.rules.rule import Rule, Target, judge
from kfgcp.semantics import arguments
from kfgcp.semantics.expressions import evaluate_condition
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.scheduler import Scheduler
from kfgcp.semantics.values import ValueProblem, Values
from kfgcp.spec.graph import Container, build
from kfgcp.spec.load import from_documents


def messages(rule: str, all_findings: Sequence[RuleFinding]) -> list[str]:
    return [finding.message for finding in all_findings if finding.rule == rule]


def test_no_rule_finds_anything_in_a_good_pipeline() -> None:
    assert findings(BASE) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule} {case.message[:40]}")
def test_a_rule_finds_what_it_is_about_until_it_is_fixed(case: Case) -> None:
    bad = edited(BASE, case.trigger)

    shown = messages(case.rule, findings(bad, case.platform))
    after_fix = messages(case.rule, findings(edited(bad, case.fix), case.fixed_platform))

    assert len(shown) == 1
    # The reason of S110 is the text of the CEL library.
    assert shown[0].startswith(case.message) if case.rule == "S110" else shown == [case.message]
    assert after_fix == []


def test_every_general_rule_has_a_case() -> None:
    # test_translation.py has the cases of rules that read the tables of an environment.
    rules = {rule.id for rule in general_rules() if not rule.needs_target}

    assert {case.rule for case in CASES} == rules


@pytest.mark.parametrize("rule", general_rules(), ids=lambda rule: rule.id)
def test_a_rule_has_a_hint_and_a_source(rule: Rule) -> None:
    assert rule.hint
    assert len(rule.source) > 40
    assert "\n" not in rule.message + rule.hint


def test_messages_never_show_a_secret() -> None:
    secrets = ("hunter2", "a1B2", "Z7Q2", "pw1")
    for case in CASES:
        for finding in findings(edited(BASE, case.trigger), case.platform):
            if finding.rule.startswith(("Y", "P")):
                assert not any(secret in finding.message + finding.hint for secret in secrets)


def test_findings_name_the_part_that_must_change() -> None:
    bad = edited(
        BASE,
        [
            (f"{TASK}.inputs.parameters.text", constant("/home/ann/rows.csv")),
            (f"{CONTAINER}.env", [{"name": "DATA", "value": "/home/ann/rows.csv"}]),
            ("root.inputDefinitions.parameters.text.defaultValue", "/home/ann/rows.csv"),
        ],
    )

    path_findings = [finding for finding in findings(bad) if finding.rule == "P110"]

    assert [(str(finding.part), finding.task, finding.component) for finding in path_findings] == [
        ("pipeline", "", ""),
        ("component", "say", "comp-say"),
        ("task", "say", "comp-say"),
    ]


def test_a_general_rule_is_judged_once_for_all_targets() -> None:
    document = edited(BASE, [(f"{CONTAINER}.image", "python")])
    pipeline = PipelineContext(from_documents([document], "hello.yaml"))

    here = judge(general_rules(), pipeline, Target("here", "local"))
    there = judge(general_rules(), pipeline, Target("there", "vertex"))

    assert [finding.severity for finding in here] == [Severity.WARNING]
    assert here[0] is there[0]


@pytest.mark.parametrize(
    ("edit", "rule"),
    [
        ((f"{CONTAINER}.env", [{"name": "PAD_TOKEN", "value": "<pad>"}]), "Y103"),
        ((f"{CONTAINER}.env", [{"name": "SECRET_NAME", "value": "db"}]), "Y103"),
        ((f"{CONTAINER}.env", [{"name": "TOKEN", "value": "${TOKEN}"}]), "Y103"),
        ((f"{TASK}.inputs.parameters.eos_token", constant("end")), "Y103"),
        ((f"{CONTAINER}.args", ["--data", "x/gcs/bucket", "/gcs/"]), "P112"),
        ((f"{CONTAINER}.args", ["{{$.inputs.parameters['pandas']"]), "S110"),
        ((f"{CONTAINER}.args", ["see https://acme.example/a: b@c"]), "Y104"),
        ((f"{CONTAINER}.args", ["wget -q https://acme.example/a | shuf"]), "Y111"),
        ((f"{TASK}.inputs.parameters.text", constant("a:/b and c")), "P110"),
        ((f"{TASK}.inputs.parameters.text", constant("gs://bucket/C:/x")), "P110"),
        ((f"{TASK}.inputs.parameters.text", constant(10**20)), "S120"),
        ((f"{CONTAINER}.image", "{{$.inputs.parameters['text']}}"), "R101"),
        ((f"{CONTAINER}.image", "argostub/createpvc"), "R101"),
        ((f"{TASK}.triggerPolicy", {"condition": "size(inputs.parameter_values) > 0"}), "S110"),
        ((f"{TASK}.task_info", {"name": "say"}), "S141"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_only_looks_like_a_problem_is_left_alone(edit: Edit, rule: str) -> None:
    assert messages(rule, findings(edited(BASE, [edit]))) == []


def test_long_texts_take_linear_time() -> None:
    """A rule that needs quadratic time would take minutes for one of these texts."""
    for unit in ("a+", "a://", "curl ", "https://a/", "a@", "-----BEGIN A ", "x://a:", "{{"):
        text = unit * (50_000 // len(unit))
        edits = [
            (f"{TASK}.inputs.parameters.text", constant(text)),
            *python_function(text, install=text),
        ]

        assert findings(edited(BASE, edits)) is not None


def test_a_quotation_without_an_end_does_not_fail() -> None:
    document = edited(BASE, python_function(install='six "numpy'))

    assert messages("R103", findings(document)) == ["component say installs six without a version"]


# -- errors are true


def states_after_start(document: JsonDict) -> set[TaskState]:
    """Return the states of the tasks when the run has started, before a task has ended."""
    scheduler = Scheduler(build(document), Node, Values({"text": "hello"}))
    scheduler.start()
    return {node.state for node in scheduler.root.children.values()}


# The rules of the other errors are about commands and variables, which the next tests fill in.
BEFORE_START = ("S102", "S110", "S111", "S123", "S125")


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.rule in BEFORE_START],
    ids=lambda case: case.message[:50],
)
def test_a_task_with_an_error_fails_before_it_starts(case: Case) -> None:
    bad = edited(BASE, case.trigger)

    assert states_after_start(bad) == {TaskState.FAILED}
    assert TaskState.FAILED not in states_after_start(edited(bad, case.fix))


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.rule == "S103"],
    ids=lambda case: case.message[:50],
)
def test_a_command_with_an_error_cannot_be_filled_in(case: Case) -> None:
    artifact = {"uri": "gs://bucket/data", "metadata": {}}
    executor_input = {
        "inputs": {
            "parameterValues": {"text": "hello"},
            "artifacts": {"data": {"artifacts": [artifact]}},
        },
        "outputs": {"parameters": {"Output": {"outputFile": "/tmp/out"}}},
    }
    bad = edited(BASE, case.trigger)

    with pytest.raises(ValueProblem):
        arguments.resolve(command_of(bad), executor_input, {})


def command_of(document: JsonDict) -> list[str]:
    container = build(document).components["comp-say"].executor
    assert isinstance(container, Container)
    return [*container.command, *container.args]


def test_every_error_is_proved() -> None:
    errors = {
        rule.id
        for rule in general_rules()
        if rule.severity is Severity.ERROR and not rule.needs_target
    }

    # S105: tests/semantics and the engine's tests fill in variables, lists and dicts.
    # S127: tests/cli/test_dry_run.py runs KFP's executor without a status.
    assert errors == {*BEFORE_START, "S103", "S105", "S127"}


@pytest.mark.parametrize(
    ("expression", "values", "result"),
    [
        ("inputs.parameter_values['x'] == 'True'", [True, False], False),
        ("inputs.parameter_values['x'] != 'True'", [True, False], True),
        ("inputs.parameter_values['x'] == 1", ["1", "", "a"], False),
        ("inputs.parameter_values['x'] == 'a'", [[], ["a"], {"a": 1}, 1, 2.5], False),
    ],
)
def test_values_of_different_types_are_never_equal(
    expression: str, values: list[object], result: bool
) -> None:
    assert {evaluate_condition(expression, Values({"x": value})) for value in values} == {result}


def test_values_of_different_types_have_no_order() -> None:
    with pytest.raises(ValueProblem):
        evaluate_condition("inputs.parameter_values['x'] > 'a'", Values({"x": True}))
