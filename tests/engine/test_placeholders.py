"""Placeholders: in constants, on the real engine; in commands, with the ExecutorInput that a task
would get."""

import json
from typing import Optional

import pytest
from kfp import dsl

from kfgcp.engine import files
from kfgcp.engine.layout import Layout
from kfgcp.semantics import arguments
from kfgcp.semantics.inputs import add_defaults
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def same(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def number() -> int:
    return 7


@dsl.component(base_image=IMAGE)
def structure() -> dict:
    return {"k": ["it's", '"quoted"']}


@dsl.component(base_image=IMAGE)
def hostile_text() -> str:
    return "{{$.inputs.parameters['text']}} {{$}} '\"\n}}"


# -- constants


@pytest.mark.rule("Placeholders: whole constants of the job and task")
def test_constants_of_the_job_and_the_task(execute, task, home):
    @dsl.pipeline(name="constants")
    def constants():
        same(text=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
        same(text=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        same(text=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER)
        same(text=dsl.PIPELINE_TASK_NAME_PLACEHOLDER)
        same(text=dsl.PIPELINE_TASK_ID_PLACEHOLDER)
        same(text=dsl.PIPELINE_ROOT_PLACEHOLDER)
        same(text=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER)
        same(text=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER)

    run = execute(constants, name="my run")

    def output(number):
        return task(run, f"same-{number}" if number > 1 else "same").outputs["Output"]

    assert output(1) == f"constants-{run.run_id}"
    assert output(2) == run.run_id
    assert output(3) == f"local/constants-{run.run_id}"
    assert output(4) == "same-4"
    assert output(5).startswith(run.run_id)
    assert output(5) != output(2)
    assert output(6).endswith("/.kfgcp/artifacts")
    for number in (7, 8):
        assert output(number).startswith("20")
        assert output(number).endswith("Z")


@pytest.mark.rule("Placeholders: several may stand inside one string")
def test_several_in_one_constant(execute, task):
    @dsl.pipeline(name="several")
    def several(name: str = "x", ratio: float = 2.0):
        producer = number()
        deep = structure()
        same(
            text=(
                f"{name}/{producer.output}-{name} {ratio} {deep.output}"
                f" {dsl.PIPELINE_TASK_NAME_PLACEHOLDER}"
            )
        )

    run = execute(several)

    assert task(run, "same").outputs["Output"] == 'x/7-x 2 {"k":["it\'s","\\"quoted\\""]} same'


@pytest.mark.rule("Placeholders: several may stand inside one string")
def test_a_value_that_looks_like_a_placeholder_is_put_in_as_it_is(execute, task):
    @dsl.pipeline(name="hostile")
    def hostile(name: str):
        producer = hostile_text()
        same(text=f"<{producer.output}|{name}>")
        same(text=producer.output)
        same(text=name)

    name = "{{$.inputs.parameters['pipelinechannel--name']}}{{$.pipeline_job_name}}"
    run = execute(hostile, {"name": name})

    filled_text = "{{$.inputs.parameters['text']}} {{$}} '\"\n}}"
    assert task(run, "same").outputs["Output"] == f"<{filled_text}|{name}>"
    assert task(run, "same-2").outputs["Output"] == filled_text
    assert task(run, "same-3").outputs["Output"] == name


@pytest.mark.rule("Placeholders: several may stand inside one string")
@pytest.mark.parametrize(
    "text",
    [
        "{{$}}",
        "{{$.nothing}}",
        "a {{$name}} b",
        "{{",
        "}}{{$",
        "{{$.inputs.parameters['",
        "{% x %} ${HOME} $(id) %s {0}",
    ],
)
def test_a_constant_that_only_looks_like_a_placeholder_stays(text, execute, task):
    @dsl.pipeline(name="looks")
    def looks():
        same(text=text)

    assert task(execute(looks), "same").outputs["Output"] == text


@pytest.mark.rule("Placeholders: several may stand inside one string")
def test_the_order_of_inputs_does_not_matter(execute, compiled, task):
    @dsl.component(base_image=IMAGE)
    def three(a: str, b: str, c: str) -> str:
        import json

        return json.dumps([a, b, c])

    @dsl.pipeline(name="order")
    def order():
        three(a="x", b="x", c="x")

    errors = []
    for names in ("abc", "cba", "bca"):
        spec = compiled(order)
        constants = {
            "a": "<{{$.inputs.parameters['b']}}>",
            "b": "plain",
            "c": "<{{$.inputs.parameters['a']}}>",
        }
        spec["root"]["dag"]["tasks"]["three"]["inputs"]["parameters"] = {
            name: {"runtimeValue": {"constant": constants[name]}} for name in names
        }
        errors.append(task(execute(spec), "three").error.message)

    # An input that contains placeholders itself has no value for other inputs.
    problem = "input 'c' contains the placeholder {{$.inputs.parameters['a']}}, which has no value"
    assert errors == [problem] * 3


@pytest.mark.rule(
    "Values: a placeholder that is still unfilled when a task is about to start fails the task"
)
@pytest.mark.parametrize(
    "text",
    [
        "{{$.inputs.parameters['nobody']}}",
        "a {{$.inputs.parameters['text']}} b",
        "{{$.inputs.artifacts['data'].uri}}",
        "{{$.outputs.parameters['Output'].output_file}}",
    ],
)
def test_a_constant_with_a_placeholder_that_has_no_value_fails_the_task(text, execute, task):
    @dsl.pipeline(name="unfilled")
    def unfilled():
        same(text=text)

    failed = task(execute(unfilled), "same")

    assert failed.state == "FAILED"
    assert failed.error.message.startswith("input 'text' contains the placeholder {{$")


# -- commands


@dsl.container_component
def tool(
    text: str,
    items: list,
    ratio: float,
    data: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    result: dsl.OutputPath(str),
    maybe: Optional[str] = None,  # noqa: UP045
    flag: bool = True,
):
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["tool"],
        args=[
            text,
            items,
            ratio,
            data.uri,
            data.path,
            data.metadata["rows"],
            model.uri,
            model.path,
            result,
            flag,
            dsl.IfPresentPlaceholder(input_name="maybe", then=["--maybe", maybe], else_=["--none"]),
            dsl.IfPresentPlaceholder(input_name="maybe", then=["--maybe", maybe]),
            dsl.ConcatPlaceholder(["--text=", text, ";", ratio]),
            dsl.ConcatPlaceholder(["x", dsl.IfPresentPlaceholder("maybe", then=maybe, else_="no")]),
        ],
    )


@dsl.component(base_image=IMAGE)
def make(data: dsl.Output[dsl.Dataset]):
    data.metadata["rows"] = 3


@dsl.pipeline(name="tools")
def tools(text: str, items: list, ratio: float, maybe: Optional[str] = None):  # noqa: UP045
    producer = make()
    tool(text=text, items=items, ratio=ratio, data=producer.outputs["data"], maybe=maybe)


@pytest.fixture
def command(simulate, tmp_path):
    """The words of the command of the task `tool`, and its ExecutorInput."""

    def words(pipeline, params, extra_args=()):
        resolved = []

        def behave(node):
            if node.path == "make":
                data = ArtifactValue(
                    "data", "system.Dataset", "gs://bucket/a b/data", {"rows": 3, "k": {"n": 2.0}}
                )
                return Values({}, {"data": (data,)})
            wire = files.executor_input(
                node,
                add_defaults(node.inputs, node.component),
                Layout(tmp_path, "p", "aaaa00000001"),
            )
            container = node.component.executor
            job = {"pipeline_job_name": "job", "pipeline_task_name": "tool"}
            resolved.append(
                (
                    arguments.resolve(
                        (*container.command, *container.args, *extra_args), wire, job
                    ),
                    json.loads(json.dumps(wire)),
                )
            )
            return Values({"result": "done"}, {"model": ()})

        assert simulate(pipeline, behave, params).root.state == "SUCCEEDED"
        return resolved[0]

    return words


HOSTILE = 'it\'s {{$.inputs.parameters[\'ratio\']}} "q" {"IfPresent": 1}\n}}'


@pytest.mark.rule("Placeholders: {{$.inputs.parameters['k']}}")
@pytest.mark.rule("Placeholders: {{$.inputs.artifacts['k'].uri|path}} and .metadata['k']")
@pytest.mark.rule("Placeholders: {{$.outputs.artifacts['k'].uri|path}}")
@pytest.mark.rule("Placeholders: {{$.outputs.parameters['k'].output_file}}")
@pytest.mark.rule("Placeholders: IfPresent and Concat")
def test_the_command_of_a_container(command):
    words, wire = command(tools, {"text": HOSTILE, "items": [1, "a"], "ratio": 2.0})

    model = wire["outputs"]["artifacts"]["model"]["artifacts"][0]["uri"]
    result = wire["outputs"]["parameters"]["result"]["outputFile"]
    assert words == [
        "tool",
        HOSTILE,
        '[1,"a"]',
        "2",
        "gs://bucket/a b/data",
        "/gcs/bucket/a b/data",
        "3",
        model,
        model,
        result,
        "true",
        "--none",
        f"--text={HOSTILE};2",
        "xno",
    ]


@pytest.mark.rule("Placeholders: IfPresent and Concat")
def test_the_command_with_the_optional_input(command):
    words, _ = command(tools, {"text": "t", "items": [], "ratio": 0.1, "maybe": "{{$}}"})

    assert words[11:] == ["--maybe", "{{$}}", "--maybe", "{{$}}", "--text=t;0.1", "x{{$}}"]


@pytest.mark.rule("Placeholders: IfPresent and Concat")
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ('{"IfPresent": {"InputName": "data", "Then": "yes", "Else": "no"}}', ["yes"]),
        ('{"IfPresent": {"InputName": "nobody", "Then": ["yes"]}}', []),
        (
            (
                '{"IfPresent": {"InputName": "maybe", "Then": ["a"], "Else": ["b",'
                " \"{{$.inputs.parameters['ratio']}}\"]}}"
            ),
            ["b", "2"],
        ),
        (
            '{"Concat": ["a", {"Concat": ["b", "{{$.inputs.parameters[\'ratio\']}}"]}, "c"]}',
            ["ab2c"],
        ),
        ('{"Concat": []}', [""]),
        ('{"Other": 1}', ['{"Other": 1}']),
        ('{"IfPresent": broken', ['{"IfPresent": broken']),
    ],
)
def test_structures_written_as_arguments(argument, expected, command):
    words, _ = command(tools, {"text": "t", "items": [], "ratio": 2.0}, [argument])

    assert words[14:] == expected


@pytest.mark.rule("Placeholders: {{$}} is the whole ExecutorInput as JSON")
@pytest.mark.rule("Placeholders: {{$.outputs.output_file}}")
@pytest.mark.rule("Placeholders: {{$.json_escape[n]}}")
@pytest.mark.rule("Placeholders: several may stand inside one string")
def test_the_whole_executor_input(command):
    words, wire = command(
        tools,
        {"text": HOSTILE, "items": [1], "ratio": 2.0},
        [
            "{{$}}",
            "{{$.outputs.output_file}}",
            "{{$.json_escape[0]}}",
            '"{{$.json_escape[1]}}"',
            "{{$.inputs.artifacts['data'].metadata}}",
            "{{$.pipeline_job_name}}/{{$.pipeline_task_name}}-{{$.inputs.parameters['ratio']}}",
            '{{$.inputs.artifacts["data"].metadata["k"]}}',
            "{{$.inputs.artifacts['data'].metadata['nobody']}}",
        ],
    )
    whole, output_file, once, escaped, metadata, several, struct, absent = words[14:]

    assert json.loads(whole) == wire
    assert '"ratio": 2,' in whole
    assert output_file == wire["outputs"]["outputFile"]
    assert json.loads(once) == wire
    assert json.loads(json.loads(escaped)) == wire
    assert json.loads(metadata) == {"rows": 3, "k": {"n": 2}}
    assert several == "job/tool-2"
    assert json.loads(struct) == {"n": 2}
    assert absent == ""


@pytest.mark.rule("Placeholders: {{$.inputs.parameters['k']}}")
@pytest.mark.parametrize(
    "argument",
    [
        "{{$.inputs.parameters['nobody']}}",
        "{{$.inputs.artifacts['nobody'].uri}}",
        "{{$.outputs.artifacts['nobody'].path}}",
        "{{$.outputs.parameters['nobody'].output_file}}",
    ],
)
def test_a_name_that_the_task_does_not_have(argument, command):
    with pytest.raises(ValueProblem, match="'nobody' has no value"):
        command(tools, {"text": "", "items": [], "ratio": 2.0}, [argument])


@pytest.mark.rule("Placeholders: a list of artifacts as a whole argument is refused")
@pytest.mark.parametrize(
    "side", ["inputs.artifacts['data']", 'inputs.artifacts["data"]', "outputs.artifacts['model']"]
)
def test_a_whole_artifact_in_a_command(side, command):
    """It is refused before the run; this is for what reaches the engine by another way."""
    with pytest.raises(
        ValueProblem, match=r"takes the whole artifact '(data|model)', but KFP does not define"
    ):
        command(tools, {"text": "", "items": [], "ratio": 2.0}, [f"--x={{{{$.{side}}}}}"])
