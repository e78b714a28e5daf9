"""Whatever a spec holds: a run that ends, or one of our errors. Never a hang, never another
exception."""

import contextlib
import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfgcp.engine import files
from kfgcp.engine.layout import Layout
from kfgcp.errors import KfgcpError
from kfgcp.model import ErrorInfo, TaskState
from kfgcp.semantics import arguments, expressions, placeholders
from kfgcp.semantics.inputs import add_defaults
from kfgcp.semantics.nodes import Node
from kfgcp.semantics.scheduler import Scheduler
from kfgcp.semantics.values import ArtifactValue, ValueProblem, Values
from kfgcp.spec.graph import Container, build
from kfgcp.spec.load import from_documents, load
from kfgcp.spec.params import resolve
from trials import examples

SPECS = Path(__file__).parent / "specs"
MOST_STEPS = 3000

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["{{$}}", "{{$.inputs.parameters['x']}}", "[1, 2]", '{"a": 1}', "[[", "0s", "", "true"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
settings.register_profile("engine", deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="session")
def originals():
    names = ("features-2.0.1", "features-2.14.6", "guarded-2.7.0")
    return [load(str(SPECS / f"{name}.yaml")).pipeline_spec for name in names]


def places(value, at=()):
    """Every place below a value."""
    paths = [at] if at else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        paths += places(item, (*at, key))
    return paths


def mutated(spec, data):
    """The spec after a few changes: a part removed, replaced, or swapped for another one of the
    spec."""
    spec = copy.deepcopy(spec)
    for _ in range(data.draw(st.integers(1, 3))):
        body = {key: spec[key] for key in ("root", "components", "deploymentSpec") if key in spec}
        place = data.draw(st.sampled_from(places(body)))
        parent = spec
        for key in place[:-1]:
            parent = parent[key]
        how = data.draw(st.sampled_from(["remove", "replace", "swap", "number"]))
        if how == "remove":
            del parent[place[-1]]
        elif how == "replace":
            parent[place[-1]] = data.draw(json_values)
        elif how == "swap":
            other = spec
            for key in data.draw(st.sampled_from(places(body))):
                other = other[key] if not isinstance(other, list) or key < len(other) else {}
            parent[place[-1]] = copy.deepcopy(other)
        elif isinstance(parent[place[-1]], (int, float)):
            parent[place[-1]] = data.draw(st.sampled_from([-1, 0, 1, 7, 1e300, 2.5, 2**64]))
    return spec


def drive(spec, layout, data):
    """Runs a spec with tasks that put out arbitrary values, in arbitrary order."""
    scheduler = Scheduler(
        build(spec.pipeline_spec),
        Node,
        Values(resolve(spec.params, {})),
        constants=lambda node: {"pipeline_job_name": "job", "pipeline_job_resource_name": "r"},
    )
    scheduler.start()
    running = []
    for _ in range(MOST_STEPS):
        if scheduler.done:
            return scheduler
        while scheduler.ready:
            node = scheduler.ready.popleft()
            node.attempts += 1
            node.state = TaskState.RUNNING
            running.append(node)
        assert running, "the scheduler waits for nothing"
        node = running.pop(data.draw(st.integers(0, len(running) - 1)))
        try:
            outputs = put_out(node, layout, data)
        except ValueProblem as problem:
            if scheduler.record_failure(node, ErrorInfo(str(problem), node.path)) is not None:
                scheduler.requeue(node)
        else:
            scheduler.record_success(node, outputs)
    raise AssertionError("it does not end")


def put_out(node, layout, data):
    if data.draw(st.integers(0, 5)) == 0:
        raise ValueProblem("fails")
    wire = files.executor_input(node, add_defaults(node.inputs, node.component), layout)
    json.dumps(wire)
    container = node.component.executor
    if isinstance(container, Container):
        arguments.resolve((*container.command, *container.args), wire, {})
    written = {name: data.draw(json_values) for name in node.component.output_params}
    for name, declared in node.component.output_params.items():
        plain = {
            "NUMBER_INTEGER": 8,
            "STRING": "text",
            "LIST": [1, 2],
            "STRUCT": {"a": 1},
            "BOOLEAN": True,
        }
        if data.draw(st.integers(0, 3)):
            written[name] = plain.get(declared.type, 0.5)
    output_file = Path(wire["outputs"]["outputFile"])
    output_file.parent.mkdir(parents=True, exist_ok=True)
    output_file.write_text(json.dumps({"parameterValues": written}))
    return files.read_outputs(node.component, wire, layout.copies_folder)


@pytest.mark.trial("specs with random changes, run to their end")
@pytest.mark.rule(
    "Running a task: whatever passes validation ends in a finished run or one of our errors"
)
@given(data=st.data())
@settings(settings.get_profile("engine"), max_examples=examples(sample=80, proof=5_000))
def test_mutated_specs_end(originals, tmp_path_factory, data, trial):
    trial.count("specs")
    original = data.draw(st.sampled_from(range(len(originals))))
    document = mutated(originals[original], data)
    try:
        spec = from_documents([document], "fuzz")
        resolve(spec.params, {})
    except KfgcpError:
        return
    scheduler = drive(
        spec, Layout(tmp_path_factory.getbasetemp() / "fuzz", "p", "aaaa00000001"), data
    )

    assert scheduler.root.state.final


texts = st.text(max_size=40) | st.lists(
    st.sampled_from(
        [
            *(
                "inputs",
                ".parameter_values",
                "['x']",
                '["d"]',
                " == ",
                " < ",
                "1",
                "'a'",
                " && ",
                "!",
                "int(",
                ")",
                "(",
            ),
            *(
                "parseJson(string_value)",
                '["k"]',
                "[0]",
                "string_value",
                "list_value",
                "{",
                "}",
                "{{$",
                "}}",
                ".",
            ),
            *(
                ".inputs.parameters['x']",
                ".artifacts['a']",
                ".uri",
                ".json_escape[1]",
                "?",
                ":",
                "size(",
                "\0",
                "'",
            ),
        ]
    ),
    max_size=8,
).map("".join)


@pytest.mark.trial("conditions of random text")
@pytest.mark.rule("Control flow: a condition that cannot be evaluated is a failed task")
@given(expression=texts, value=json_values)
@settings(settings.get_profile("engine"), max_examples=examples(sample=400, proof=20_000))
def test_any_condition_ends_in_a_bool_or_a_problem(expression, value, trial):
    trial.count("conditions")
    inputs = Values(
        {"x": value, "d": {"k": [value]}}, {"a": (ArtifactValue("a", "t", "u", {"m": value}),)}
    )
    message = expression
    try:
        assert expressions.evaluate_condition(expression, inputs) in (True, False)
    except ValueProblem as problem:
        message = str(problem)
    assert expression in message


@pytest.mark.trial("selectors of random text")
@pytest.mark.rule(
    'Values: parameterExpressionSelector: CEL, chains of parseJson(string_value)["k"] and indexes'
)
@given(expression=texts, value=json_values)
@settings(settings.get_profile("engine"), max_examples=examples(sample=400, proof=20_000))
def test_any_selector_ends_in_a_value_or_a_problem(expression, value, trial):
    trial.count("selectors")
    message = expression
    try:
        expressions.apply_selector(expression, value)
    except ValueProblem as problem:
        message = str(problem)
    assert expression in message


@pytest.mark.rule(
    'Values: parameterExpressionSelector: CEL, chains of parseJson(string_value)["k"] and indexes'
)
@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" * 500 + "]" * 500, "no json", '"a\\u0000b"', "1e999", "NaN", "9" * 5000],
)
def test_hostile_json_ends_in_a_value_or_a_problem(text):
    with contextlib.suppress(ValueProblem):
        expressions.apply_selector("parseJson(string_value)", text)


@pytest.mark.rule("Control flow: a condition that cannot be evaluated is a failed task")
@pytest.mark.parametrize(
    "expression",
    ["(" * 100_000, "!" * 100_000 + "true", "1+" * 50_000 + "1", "[" * 5000 + "]" * 5000],
)
def test_enormous_expressions(expression):
    with pytest.raises(ValueProblem):
        expressions.evaluate_condition(expression, Values())


WIRE = {
    "inputs": {
        "parameterValues": {"x": "{{$}}", "d": {"k": 1}},
        "artifacts": {"a": {"artifacts": [{"name": "a", "uri": "gs://b/c", "metadata": {"k": 1}}]}},
    },
    "outputs": {"parameters": {}, "artifacts": {}, "outputFile": "/f"},
}


@pytest.mark.trial("placeholders of random text")
@pytest.mark.rule("Placeholders: several may stand inside one string")
@given(template=texts | st.text("{}$.'[]x", max_size=30), value=json_values)
@settings(settings.get_profile("engine"), max_examples=examples(sample=400, proof=20_000))
def test_any_template_ends_in_a_value_or_a_problem(template, value, trial):
    trial.count("templates")
    for constant in (template, [template], {template: [template]}):
        with contextlib.suppress(ValueProblem):
            placeholders.fill_constant(
                constant, {"x": value}, {"pipeline_job_name": "j"}, "input 'y'"
            )
    with contextlib.suppress(ValueProblem):
        assert all(
            isinstance(word, str) for word in arguments.resolve([template, template], WIRE, {})
        )


@pytest.mark.trial("IfPresent and Concat of random structure")
@pytest.mark.rule("Placeholders: IfPresent and Concat")
@given(
    structure=json_values | st.builds(lambda value: {"IfPresent": value}, json_values),
    key=st.sampled_from(["Else", "Then"]),
)
@settings(settings.get_profile("engine"), max_examples=examples(sample=200, proof=10_000))
def test_any_structure_ends_in_words_or_a_problem(structure, key, trial):
    trial.count("structures")
    for part in ({"Concat": structure}, {"IfPresent": {"InputName": "x", key: structure}}):
        with contextlib.suppress(ValueProblem):
            assert all(
                isinstance(word, str) for word in arguments.resolve([json.dumps(part)], WIRE, {})
            )


@pytest.mark.rule("Placeholders: several may stand inside one string")
@pytest.mark.parametrize(
    "piece",
    [
        "{{$",
        "{{$.a'",
        "{{$}",
        "{{$.inputs.parameters['",
        "{{$}}",
        "{{channel:task=",
        "{{channel:task=;name=a",
    ],
)
def test_templates_are_read_in_linear_time(piece):
    text = piece * 20_000
    placeholders.fill_constant(text, {}, {}, "x")


@pytest.mark.trial("output files of random content")
@pytest.mark.rule("Artifacts: the executor's output file holds uri, metadata and custom path")
@given(
    written=json_values
    | st.fixed_dictionaries({"parameterValues": json_values, "artifacts": json_values})
    | st.fixed_dictionaries(
        {
            "artifacts": st.fixed_dictionaries(
                {"a": json_values | st.fixed_dictionaries({"artifacts": json_values})}
            )
        }
    )
    | st.fixed_dictionaries(
        {
            "artifacts": st.fixed_dictionaries(
                {
                    "a": st.fixed_dictionaries(
                        {
                            "artifacts": st.lists(
                                st.dictionaries(
                                    st.sampled_from(
                                        ["uri", "name", "type", "metadata", "custom_path"]
                                    ),
                                    json_values,
                                ),
                                max_size=2,
                            )
                        }
                    )
                }
            )
        }
    )
)
@settings(settings.get_profile("engine"), max_examples=examples(sample=300, proof=10_000))
def test_any_output_file_ends_in_values_or_a_problem(written, tmp_path_factory, trial):
    trial.count("files")
    spec = json.loads((SPECS / "outputs.json").read_text())
    component = build(spec).components["comp-a"]
    folder = tmp_path_factory.getbasetemp() / "outputs"
    folder.mkdir(exist_ok=True)
    (folder / "out.json").write_text(json.dumps(written))
    wire = {
        "outputs": {
            "outputFile": str(folder / "out.json"),
            "parameters": {"p": {"outputFile": str(folder / "nothing")}},
            "artifacts": {
                "a": {
                    "artifacts": [
                        {"name": "a", "uri": str(folder / "a"), "type": {"schemaTitle": "t"}}
                    ]
                }
            },
        }
    }
    try:
        outputs = files.read_outputs(component, wire, folder / "remote")
    except ValueProblem:
        return
    json.dumps([dict(outputs.params), [item.to_wire() for item in outputs.artifacts["a"]]])
