"""Conditions: If, Elif, Else, OneOf and the tasks below them."""

from typing import NamedTuple

import pytest
from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def number(x: int) -> int:
    return x


@dsl.component(base_image=IMAGE)
def text(x: str) -> str:
    return x


@dsl.component(base_image=IMAGE)
def scores(x: float, flag: bool) -> NamedTuple("S", [("ratio", float), ("flag", bool)]):
    return x, flag


@dsl.component(base_image=IMAGE)
def fail() -> int:
    raise ValueError("on purpose")


@dsl.component(base_image=IMAGE)
def write(content: str, data: dsl.Output[dsl.Dataset]):
    with open(data.path, "w") as file:
        file.write(content)


@dsl.component(base_image=IMAGE)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.pipeline(name="branches")
def branches(x: int) -> int:
    first = number(x=x)
    with dsl.If(first.output == 1):
        one = number(x=10)
    with dsl.Elif(first.output == 2):
        two = number(x=20)
    with dsl.Elif(first.output >= 2):
        more = number(x=30)
    with dsl.Else():
        other = number(x=40)
    chosen = dsl.OneOf(one.output, two.output, more.output, other.output)
    return number(x=chosen).output


@pytest.mark.rule("Control flow: If / Elif / Else: children carry the negated earlier conditions")
@pytest.mark.rule("Control flow: OneOf picks the first producer that is SUCCEEDED or CACHED")
@pytest.mark.parametrize(("x", "branch"), [(1, 0), (2, 1), (3, 2), (-5, 3)])
def test_exactly_one_branch_runs(x, branch, execute, states, task):
    run = execute(branches, {"x": x})

    groups = ["condition-2", "condition-3", "condition-4", "condition-5"]
    tasks = ["number-2", "number-3", "number-4", "number-5"]
    group = f"condition-branches-1/{groups[branch]}"
    assert states(run) == {
        "number": "SUCCEEDED",
        "condition-branches-1": "SUCCEEDED",
        **{f"condition-branches-1/{name}": "SKIPPED" for name in groups},
        group: "SUCCEEDED",
        f"{group}/{tasks[branch]}": "SUCCEEDED",
        "number-6": "SUCCEEDED",
    }
    assert run.outputs == {"Output": 10 * (branch + 1)}


@pytest.mark.rule("Control flow: OneOf picks the first producer that is SUCCEEDED or CACHED")
def test_one_of_a_cached_producer(execute, states):
    execute(branches, {"x": 2})
    run = execute(branches, {"x": 2})

    assert states(run)["condition-branches-1/condition-3/number-3"] == "CACHED"
    assert run.outputs == {"Output": 20}


@pytest.mark.rule("Control flow: OneOf picks the first producer that is SUCCEEDED or CACHED")
@pytest.mark.parametrize(("x", "content"), [(1, "one"), (2, "other")])
def test_one_of_artifacts(x, content, execute, task):
    @dsl.pipeline(name="artifacts")
    def artifacts(x: int) -> dsl.Dataset:
        first = number(x=x)
        with dsl.If(first.output == 1):
            one = write(content="one")
        with dsl.Else():
            other = write(content="other")
        chosen = dsl.OneOf(one.outputs["data"], other.outputs["data"])
        read(data=chosen)
        return chosen

    run = execute(artifacts, {"x": x})

    assert task(run, "read").outputs == {"Output": content}
    assert run.outputs["Output"].startswith("file://")


def without_else(compiled):
    """`branches` where the last branch is not taken either: the DSL insists on an Else."""
    spec = compiled(branches)
    tasks = spec["components"]["comp-condition-branches-1"]["dag"]["tasks"]
    tasks["condition-5"]["triggerPolicy"]["condition"] = "false"
    return spec


@pytest.mark.rule("Control flow: OneOf without a producer that ran is an error")
def test_one_of_nothing_is_an_error(execute, compiled, states, task):
    run = execute(without_else(compiled), {"x": 0})

    assert run.state == "FAILED"
    assert states(run)["condition-branches-1"] == "FAILED"
    assert states(run)["number-6"] == "SKIPPED"
    message = task(run, "condition-branches-1").error.message
    assert "none of its producers ran" in message
    assert "condition-2" in message
    assert run.error.message == message


@pytest.mark.rule("Control flow: a false condition is SKIPPED")
def test_branches_that_nobody_reads_may_all_be_skipped(execute, states):
    @dsl.pipeline(name="none")
    def none(x: int):
        with dsl.If(x == 1):
            number(x=1)
        with dsl.Elif(x == 2):
            number(x=2)

    run = execute(none, {"x": 3})

    assert run.state == "SUCCEEDED"
    assert states(run) == {
        "condition-branches-1": "SUCCEEDED",
        "condition-branches-1/condition-2": "SKIPPED",
        "condition-branches-1/condition-3": "SKIPPED",
    }


@pytest.mark.rule("Control flow: a false condition is SKIPPED")
@pytest.mark.rule("Control flow: a skipped task blocks those below it, which become SKIPPED")
def test_tasks_below_a_false_condition(execute, compiled, states):
    @dsl.pipeline(name="below")
    def below(x: int):
        with dsl.If(x == 1):
            number(x=1)
        last = number(x=5)
        number(x=last.output)
        number(x=6)

    spec = compiled(below)
    spec["root"]["dag"]["tasks"]["number-2"]["dependentTasks"] = ["condition-1"]
    run = execute(spec, {"x": 2})

    assert run.state == "SUCCEEDED"
    assert states(run) == {
        "condition-1": "SKIPPED",
        "number-2": "SKIPPED",
        "number-3": "SKIPPED",
        "number-4": "SUCCEEDED",
    }


@pytest.mark.rule("Control flow: a skipped task blocks those below it, which become SKIPPED")
def test_what_is_left_out_because_of_others_was_given_nothing(execute, task):
    """Not its defaults either, as on the other backends; what a false condition looked at is
    there."""

    @dsl.component(base_image=IMAGE)
    def add(a: int, b: int = 2) -> int:
        return a + b

    @dsl.pipeline(name="left-out")
    def left_out(x: int):
        add(a=fail().output)
        with dsl.If(x == 1):
            number(x=1)

    run = execute(left_out, {"x": 2})

    assert (task(run, "add").state, task(run, "add").inputs) == ("SKIPPED", {})
    assert task(run, "condition-1").inputs == {"pipelinechannel--x": 2}


@pytest.mark.rule("Control flow: a task runs only when every upstream task is SUCCEEDED or CACHED")
def test_dependent_tasks_and_data_inputs(execute, states):
    @dsl.pipeline(name="depends")
    def depends():
        good = number(x=1)
        bad = fail()
        number(x=2).after(good)
        number(x=3).after(bad)
        number(x=bad.output)
        number(x=4).after(good, bad)

    run = execute(depends)

    assert states(run) == {
        "number": "SUCCEEDED",
        "fail": "FAILED",
        "number-2": "SUCCEEDED",
        "number-3": "SKIPPED",
        "number-4": "SKIPPED",
        "number-5": "SKIPPED",
    }


@pytest.mark.rule("Control flow: data inputs imply the dependency")
def test_a_data_input_without_dependent_tasks(execute, compiled, states):
    @dsl.pipeline(name="implied")
    def implied():
        first = number(x=1)
        number(x=first.output)

    spec = compiled(implied)
    assert spec["root"]["dag"]["tasks"]["number-2"].pop("dependentTasks") == ["number"]
    run = execute(spec)

    assert states(run) == {"number": "SUCCEEDED", "number-2": "SUCCEEDED"}
    assert [recorded_task.path for recorded_task in run.tasks] == ["number", "number-2"]


@pytest.mark.rule("Control flow: a task runs only when every upstream task is SUCCEEDED or CACHED")
def test_a_cached_upstream_lets_tasks_run(execute, states):
    @dsl.pipeline(name="cached")
    def cached(y: int):
        first = number(x=1)
        number(x=y).after(first)

    execute(cached, {"y": 1})
    assert states(execute(cached, {"y": 2})) == {"number": "CACHED", "number-2": "SUCCEEDED"}


@pytest.mark.rule("Control flow: a condition is a CEL bool over the inputs")
@pytest.mark.parametrize(
    ("operator", "x", "is_true"),
    [
        ("==", 2, True),
        ("==", 3, False),
        ("!=", 2, False),
        ("!=", 3, True),
        ("<", 1, True),
        ("<", 2, False),
        ("<=", 2, True),
        (">", 3, True),
        (">", 2, False),
        (">=", 2, True),
    ],
)
def test_comparisons(operator, x, is_true, execute, states):
    @dsl.pipeline(name="compares")
    def compares(x: int):
        left = number(x=x)
        with dsl.If(
            {
                "==": left.output == 2,
                "!=": left.output != 2,
                "<": left.output < 2,
                "<=": left.output <= 2,
                ">": left.output > 2,
                ">=": left.output >= 2,
            }[operator]
        ):
            number(x=1)

    assert states(execute(compares, {"x": x}))["condition-1"] == (
        "SUCCEEDED" if is_true else "SKIPPED"
    )


@pytest.mark.rule("Control flow: a condition is a CEL bool over the inputs")
def test_conditions_of_every_type(execute, states):
    @dsl.pipeline(name="types")
    def types(name: str = "a", x: int = 3, y: int = 3):
        producer = scores(x=0.5, flag=True)
        with dsl.If(producer.outputs["ratio"] == 0.5):
            number(x=1)
        with dsl.If(producer.outputs["ratio"] > 0.4):
            number(x=2)
        with dsl.If(producer.outputs["ratio"] < 0.1):
            number(x=3)
        with dsl.If(producer.outputs["flag"] == True):  # noqa: E712
            number(x=4)
        with dsl.If(producer.outputs["flag"] == False):  # noqa: E712
            number(x=5)
        with dsl.If(name == "a"):
            number(x=6)
        with dsl.If(name != "a"):
            number(x=7)
        with dsl.If(x == y):
            number(x=8)
        with dsl.If("a" == name):  # noqa: SIM300
            number(x=9)

    run = execute(types)

    taken = [states(run)[f"condition-{n}"] == "SUCCEEDED" for n in range(1, 10)]
    assert taken == [True, True, False, True, False, True, False, True, True]


@pytest.mark.rule("Control flow: a condition is a CEL bool over the inputs")
@pytest.mark.parametrize(
    ("condition", "is_true"),
    [
        ("int(inputs.parameter_values['x']) == 3", True),
        ("inputs.parameter_values['x'] == 3", True),
        ("inputs.parameter_values['x'] == 3.0", True),
        ("double(inputs.parameter_values['x']) > 2.5", True),
        ("inputs.parameter_values['x'] > 2.5", True),
        ("!(int(inputs.parameter_values['x']) == 3)", False),
        ("int(inputs.parameter_values['x']) > 1 && inputs.parameter_values['s'] == 'a'", True),
        ("int(inputs.parameter_values['x']) > 9 || inputs.parameter_values['s'] == 'a'", True),
        ("int(inputs.parameter_values['x']) > 9 || inputs.parameter_values['s'] == \"b\"", False),
        (
            (
                "!(int(inputs.parameter_values['x']) == 1) && !(int(inputs.parameter_values['x'])"
                " == 3)"
            ),
            False,
        ),
        ("inputs.parameter_values['l'][1] == 'two'", True),
        ("inputs.parameter_values['d']['k']['n'] == 2", True),
        ("'nobody' in inputs.parameter_values", False),
        ("inputs.parameter_values['s'] in ['a', 'b']", True),
        ("true", True),
        ("false", False),
    ],
)
def test_expressions_written_by_hand(condition, is_true, execute, compiled, states):
    @dsl.pipeline(name="by-hand")
    def by_hand(x: int = 3, s: str = "a", l: list = ["one", "two"], d: dict = {"k": {"n": 2}}):  # noqa: B006, E741
        with dsl.If(x == 0):
            number(x=1)

    spec = compiled(by_hand)
    group = spec["root"]["dag"]["tasks"]["condition-1"]
    group["inputs"]["parameters"] |= {name: {"componentInputParameter": name} for name in "xsld"}
    group["triggerPolicy"]["condition"] = condition

    assert states(execute(spec))["condition-1"] == ("SUCCEEDED" if is_true else "SKIPPED")


@pytest.mark.rule("Control flow: a condition that cannot be evaluated is a failed task")
@pytest.mark.parametrize(
    "condition",
    [
        "inputs.parameter_values['nobody'] == 1",
        "inputs.parameter_values['pipelinechannel--x']",
        "int(inputs.parameter_values['s']) == 1",
        "inputs.parameter_values['pipelinechannel--x'] ==",
        "nonsense(1)",
        "1 / 0 == 1",
        "'x'",
    ],
)
def test_a_condition_that_cannot_be_evaluated(
    condition, ignore_rules, execute, compiled, states, task
):
    ignore_rules("S110", "S111")

    @dsl.pipeline(name="broken")
    def broken(x: int = 3, s: str = "some text"):
        with dsl.If(x == 0):
            number(x=1)
        number(x=2)

    spec = compiled(broken)
    spec["root"]["dag"]["tasks"]["number-2"]["dependentTasks"] = ["condition-1"]
    condition_task = spec["root"]["dag"]["tasks"]["condition-1"]
    condition_task["inputs"]["parameters"]["s"] = {"componentInputParameter": "s"}
    condition_task["triggerPolicy"]["condition"] = condition
    run = execute(spec)

    assert run.state == "FAILED"
    assert states(run) == {"condition-1": "FAILED", "number-2": "SKIPPED"}
    message = task(run, "condition-1").error.message
    assert condition in message
    assert '"pipelinechannel--x": 3' in message
    assert "some text" in message


HOSTILE = [
    "it's",
    'say "x"',
    "both ' and \"",
    "back\\slash \\n",
    "line\nbreak\ttab",
    "{{$.inputs.parameters['x']}}",
    "'] == '' || true || inputs.parameter_values['x",
    "Grüße 日本 😀",
    "",
]


@pytest.mark.rule("Running a task: values are data and conditions compare them correctly")
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_texts_compare_as_data(value, execute, states, task):
    @dsl.pipeline(name="hostile")
    def hostile(value: str, other: str):
        producer = text(x=value)
        with dsl.If(producer.output == value):
            text(x=producer.output)
        with dsl.If(producer.output == other):
            number(x=2)
        with dsl.If(producer.output != other):
            number(x=3)

    run = execute(hostile, {"value": value, "other": value + "x"})

    assert [states(run)[f"condition-{n}"] for n in (1, 2, 3)] == [
        "SUCCEEDED",
        "SKIPPED",
        "SUCCEEDED",
    ]
    assert task(run, "condition-1/text-2").outputs == {"Output": value}


@pytest.mark.rule("Running a task: values are data and conditions compare them correctly")
def test_a_text_that_cannot_be_compared_is_an_error_and_never_a_wrong_answer(execute, states, task):
    @dsl.pipeline(name="nul")
    def nul(value: str, other: str):
        text(x=value)
        with dsl.If(value == other):
            number(x=2)

    run = execute(nul, {"value": "a\0b", "other": "a\0c"})

    assert task(run, "text").outputs == {"Output": "a\0b"}
    assert states(run)["condition-1"] == "FAILED"
    assert "NUL character" in task(run, "condition-1").error.message


@pytest.mark.rule("Running a task: values are data and conditions compare them correctly")
def test_a_large_value_compares_correctly(execute, states):
    @dsl.pipeline(name="large")
    def large(value: str, other: str):
        producer = text(x=value)
        with dsl.If(producer.output == value):
            number(x=1)
        with dsl.If(producer.output == other):
            number(x=2)

    big = "x'\"" * 170_000
    run = execute(large, {"value": big, "other": big[:-1]})

    assert states(run)["condition-1"] == "SUCCEEDED"
    assert states(run)["condition-2"] == "SKIPPED"
    assert run.tasks[0].outputs["Output"] == big


@pytest.mark.rule("Control flow: a condition is evaluated when the task's inputs are resolved")
def test_a_condition_on_the_upstream_of_the_group(execute, states):
    @dsl.pipeline(name="order")
    def order():
        first = number(x=1)
        second = number(x=2).after(first)
        with dsl.If(second.output == 2):
            third = number(x=3)
            with dsl.If(third.output == 3):
                number(x=4)
            with dsl.If(third.output == 4):
                number(x=5)

    assert states(execute(order)) == {
        "number": "SUCCEEDED",
        "number-2": "SUCCEEDED",
        "condition-1": "SUCCEEDED",
        "condition-1/number-3": "SUCCEEDED",
        "condition-1/condition-2": "SUCCEEDED",
        "condition-1/condition-2/number-4": "SUCCEEDED",
        "condition-1/condition-3": "SKIPPED",
    }
