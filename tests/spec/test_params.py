"""Parameters: declared, given as texts, files or values, and resolved."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfgcp.errors import ParamError, UsageError
from kfgcp.spec.json_values import normalize_numbers
from kfgcp.spec.params import declared_params, parse_assignments, read_file, resolve
from kfgcp.spec.records import ParamSpec

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


def one_param(kind, **fields):
    return {"x": ParamSpec("x", kind, **fields)}


def refused(call, *args):
    with pytest.raises(ParamError) as caught:
        call(*args)
    assert "\n" not in caught.value.message
    return caught.value


def test_declared_parameters_come_in_the_order_of_the_spec():
    parameters = {
        "b": {
            "parameterType": "NUMBER_INTEGER",
            "defaultValue": 2.0,
            "isOptional": True,
            "description": "the b",
        },
        "a": {"parameterType": "STRING", "literals": ["x", "y"]},
        "c": {"parameterType": "LIST", "isOptional": True},
    }
    declared = declared_params({"root": {"inputDefinitions": {"parameters": parameters}}})
    assert list(declared) == ["b", "a", "c"]
    assert declared["b"] == ParamSpec("b", "NUMBER_INTEGER", 2, True, True, "the b")
    assert isinstance(declared["b"].default, int)
    assert declared["a"] == ParamSpec("a", "STRING", None, False, False, "", ("x", "y"))
    assert declared["c"] == ParamSpec("c", "LIST", None, False, True)
    assert [param.required for param in declared.values()] == [False, True, False]


def test_a_pipeline_without_inputs_declares_nothing():
    assert declared_params({"root": {"dag": {"tasks": {}}}}) == {}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("STRING", "5", "5"),
        ("STRING", "true", "true"),
        ("STRING", "null", "null"),
        ("STRING", "{}", "{}"),
        ("STRING", "", ""),
        ("STRING", " x ", " x "),
        ("STRING", "a=b=c", "a=b=c"),
        ("STRING", "2024-01-01", "2024-01-01"),
        ("NUMBER_INTEGER", "5", 5),
        ("NUMBER_INTEGER", "-7", -7),
        ("NUMBER_INTEGER", "+007", 7),
        ("NUMBER_INTEGER", "9007199254740993", 9007199254740993),
        ("NUMBER_INTEGER", "9" * 4300, 10**4300 - 1),
        ("NUMBER_DOUBLE", "2", 2),
        ("NUMBER_DOUBLE", "1e-3", 0.001),
        ("NUMBER_DOUBLE", "-.5", -0.5),
        ("NUMBER_DOUBLE", "2.50", 2.5),
        ("BOOLEAN", "true", True),
        ("BOOLEAN", "FALSE", False),
        ("LIST", '[1, 2.0, "a", null]', [1, 2, "a", None]),
        ("STRUCT", '{"a": {"b": [1.0]}}', {"a": {"b": [1]}}),
    ],
)
def test_a_text_is_read_by_the_declared_type(kind, text, value):
    values = parse_assignments(one_param(kind), [f"x={text}"])
    assert values == {"x": value}
    assert json.dumps(values["x"]) == json.dumps(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("NUMBER_INTEGER", ""),
        ("NUMBER_INTEGER", "2.0"),
        ("NUMBER_INTEGER", "1_000"),
        ("NUMBER_INTEGER", "0x10"),
        ("NUMBER_INTEGER", "\u0661"),
        ("NUMBER_INTEGER", "true"),
        ("NUMBER_INTEGER", "9" * 5000),
        ("NUMBER_INTEGER", "null"),
        ("NUMBER_DOUBLE", "nan"),
        ("NUMBER_DOUBLE", "-Infinity"),
        ("NUMBER_DOUBLE", "1e999"),
        ("NUMBER_DOUBLE", "1_0.5"),
        ("NUMBER_DOUBLE", "x"),
        ("BOOLEAN", "1"),
        ("BOOLEAN", "yes"),
        ("BOOLEAN", ""),
        ("LIST", "a,b"),
        ("LIST", "{}"),
        ("LIST", "[NaN]"),
        ("LIST", "[1e999]"),
        ("LIST", "[" * 200 + "]" * 200),
        ("LIST", "[" * 200_000),
        ("STRUCT", "[]"),
        ("STRUCT", '{"a": 1, "a": 2}'),
        ("STRUCT", '{"a": "\\ud800"}'),
        ("TASK_FINAL_STATUS", "{}"),
        ("TASK_CONFIG", "{}"),
    ],
)
def test_a_text_of_another_type_is_refused(kind, text):
    error = refused(parse_assignments, one_param(kind), [f"x={text}"])
    assert "Wrong parameters: x " in error.message
    assert len(error.message) < 250


@pytest.mark.parametrize("kind", ["NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT"])
def test_null_stands_for_no_value_of_an_optional_parameter_only(kind):
    assert parse_assignments(one_param(kind, optional=True), ["x=null"]) == {"x": None}
    refused(parse_assignments, one_param(kind), ["x=null"])
    refused(
        parse_assignments, one_param(kind, optional=True, has_default=True, default=[]), ["x=null"]
    )


@pytest.mark.parametrize("assignment", ["x", "", "=5", "--lr"])
def test_an_assignment_without_name_or_equals_sign_shows_the_form(assignment):
    with pytest.raises(UsageError, match="NAME=VALUE"):
        parse_assignments(one_param("STRING"), [assignment])


def test_everything_wrong_is_named_at_once():
    params = {
        "rate": ParamSpec("rate", "NUMBER_DOUBLE", description="Step size.\nMore."),
        "steps": ParamSpec("steps", "NUMBER_INTEGER", 10, True, True),
        "tag": ParamSpec("tag", "STRING"),
    }
    error = refused(parse_assignments, params, ["rat=1", "steps=ten", "tag=a", "tag=b"])
    assert (
        error.message
        == "Wrong parameters: rat is unknown (did you mean rate?); steps must be int, not 'ten';"
        " tag has two values."
    )
    assert (
        error.hint
        == "The pipeline's parameters:\n  rate   float  required  Step size.\n  steps  int    10\n "
        " tag    str    required"
    )
    error = refused(resolve, params, {"stepz": 1, "steps": 2.5})
    assert (
        error.message
        == "Wrong parameters: stepz is unknown (did you mean steps?); steps must be int, not float"
        " 2.5; rate, tag are required."
    )


def test_resolve_gives_every_parameter_in_the_declared_order():
    params = {
        "c": ParamSpec("c", "STRING", "d", True, True),
        "a": ParamSpec("a", "NUMBER_INTEGER"),
        "o": ParamSpec("o", "LIST", optional=True),
        "f": ParamSpec("f", "TASK_FINAL_STATUS"),
    }
    assert list(resolve(params, {"a": 1}).items()) == [
        ("c", "d"),
        ("a", 1),
        ("o", None),
        ("f", None),
    ]
    assert resolve(params, {"a": 2.0, "c": "", "o": []}) == {"c": "", "a": 2, "o": [], "f": None}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (5.0, "5"),
        (0.1, "0.1"),
        (True, "true"),
        ([1.0, "a", None], '[1,"a",null]'),
        ({"b": 1, "a": "é"}, '{"a":"é","b":1}'),
        ("", ""),
        ("é\n'\"{{$}}", "é\n'\"{{$}}"),
    ],
)
def test_a_string_receives_the_json_text_of_another_kind_of_value(value, text):
    assert resolve(one_param("STRING"), {"x": value}) == {"x": text}
    assert resolve(one_param("STRING", default=value, has_default=True), {}) == {"x": text}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("STRING", None),
        ("STRING", object()),
        ("STRING", float("nan")),
        ("STRING", "\udcff"),
        ("NUMBER_INTEGER", 2.5),
        ("NUMBER_INTEGER", "2"),
        ("NUMBER_INTEGER", True),
        ("NUMBER_INTEGER", None),
        ("NUMBER_INTEGER", 1e300),
        ("NUMBER_DOUBLE", "0.1"),
        ("NUMBER_DOUBLE", False),
        ("NUMBER_DOUBLE", float("inf")),
        ("NUMBER_DOUBLE", 10**400),
        ("BOOLEAN", 1),
        ("BOOLEAN", "true"),
        ("LIST", "[]"),
        ("LIST", {}),
        ("LIST", [float("nan")]),
        ("LIST", [{"a": {1: 2}}]),
        ("LIST", [b"bytes"]),
        ("STRUCT", []),
        ("STRUCT", {1: 2}),
        ("STRUCT", {"a": {2, 3}}),
        ("STRUCT", {"a": 10**5000}),
        ("TASK_CONFIG", {}),
    ],
)
def test_a_value_of_another_type_is_refused(kind, value):
    error = refused(resolve, one_param(kind), {"x": value})
    assert "x " in error.message
    assert "is required" not in error.message


def test_values_that_contain_themselves_or_nest_without_end_are_refused():
    loop: list = []
    loop.append(loop)
    assert "nests deeper" in refused(resolve, one_param("LIST"), {"x": loop}).message
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert "nests deeper" in refused(resolve, one_param("LIST"), {"x": deep}).message
    while deep:  # taken apart here, for freeing it at once would recurse
        deep = deep.pop()


def test_the_numbers_and_tuples_of_other_libraries_become_plain():
    values = resolve(one_param("LIST"), {"x": (np.int64(1), np.float64(0.5), (2,))})["x"]
    assert values == [1, 0.5, [2]]
    assert [type(value) for value in values] == [int, float, list]


def test_a_value_must_be_one_of_the_literals():
    params = one_param("NUMBER_INTEGER", literals=(1, 2))
    assert resolve(params, {"x": 2.0}) == {"x": 2}
    assert (
        refused(resolve, params, {"x": 3}).message
        == "Wrong parameters: x must be one of 1, 2, not 3."
    )
    assert (
        "one of 'a', 'b'"
        in refused(parse_assignments, one_param("STRING", literals=("a", "b")), ["x=c"]).message
    )


def test_a_default_of_the_wrong_type_is_named_as_such():
    params = one_param("NUMBER_INTEGER", default="abc", has_default=True)
    assert "the default of x must be int" in refused(resolve, params, {}).message


def test_a_wrong_parameter_of_a_pipeline_without_any_says_so():
    assert refused(resolve, {}, {"x": 1}).hint == "The pipeline has no parameters."


def test_a_parameter_file_reads_scalars_as_a_person_means_them(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(
        "day: 2024-01-01\nrate: 1e-3\nat: 12:30\ncountry: no\nflag: true\nnone: ~\ncode: 010\nn:"
        " -5\nx: 2.5\nitems: [1, two]\nempty:\nnested: {a: 2020-02-02T10:00:00Z}\n"
    )
    assert read_file(path) == {
        "day": "2024-01-01",
        "rate": 0.001,
        "at": "12:30",
        "country": "no",
        "flag": True,
        "none": None,
        "code": "010",
        "n": -5,
        "x": 2.5,
        "items": [1, "two"],
        "empty": None,
        "nested": {"a": "2020-02-02T10:00:00Z"},
    }


def test_a_parameter_file_may_be_json_or_empty(tmp_path):
    (tmp_path / "p.json").write_text('\ufeff{"a": [1, 2.5]}')
    (tmp_path / "p.yml").write_text("# nothing yet\n")
    assert read_file(str(tmp_path / "p.json")) == {"a": [1, 2.5]}
    assert read_file(tmp_path / "p.yml") == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.yaml", "- 1\n", "p.yaml:1: a file of parameters must be a mapping, not list"),
        ("p.yaml", "a: 1\nb: [\n", "p.yaml:3:1: not valid YAML"),
        ("p.yaml", "a: 1\nb: 2\na: 3\n", "p.yaml:3:1: not valid YAML: it has the key 'a' twice"),
        ("p.yaml", "a: 1\nb:\n  c: .nan\n", "p.yaml:3: b.c is nan"),
        ("p.yaml", "a: 1\n2: b\n", "has the key 2"),
        ("p.yaml", "a: 1\n---\nb: 2\n", "2 YAML documents"),
        ("p.yaml", "a: !!python/object:os.system {}\n", "p.yaml:1:4: not valid YAML"),
        ("p.json", '{"a": 1,\n "b": }', "p.json:2:7: not valid JSON"),
        ("p.json", "[1]", "a mapping"),
        ("p.json", '{"a": NaN}', "JSON has no number NaN"),
        ("p.json", "[" * 100_000, "is nested too deeply"),
    ],
)
def test_a_bad_parameter_file_is_an_error_that_names_the_place(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    assert message in refused(read_file, tmp_path / name).message


def test_a_missing_parameter_file_is_named(tmp_path):
    assert "nowhere.yaml cannot be read" in refused(read_file, tmp_path / "nowhere.yaml").message


@given(JSON)
def test_whole_changes_nothing_but_the_type_of_integral_numbers(value):
    assert normalize_numbers(value) == value
    assert not _integral_floats(normalize_numbers(value))
    assert json.dumps(normalize_numbers(normalize_numbers(value))) == json.dumps(
        normalize_numbers(value)
    )


def _integral_floats(value):
    if isinstance(value, dict):
        return any(map(_integral_floats, value.values()))
    if isinstance(value, list):
        return any(map(_integral_floats, value))
    return isinstance(value, float) and value.is_integer() and abs(value) < 1e21


def test_whole_leaves_floats_that_proto_json_writes_with_an_exponent():
    assert (normalize_numbers(2.0**53), type(normalize_numbers(2.0**53))) == (2**53, int)
    assert (normalize_numbers([1.7e18]), type(normalize_numbers([1.7e18])[0])) == (
        [1700000000000000000],
        int,
    )
    assert isinstance(normalize_numbers(1e21), float)
    assert isinstance(normalize_numbers(1e300), float)
    assert normalize_numbers(True) is True


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_what_is_parsed_from_json_is_what_was_written(value):
    assert parse_assignments(one_param("STRUCT"), [f"x={json.dumps(value)}"]) == {"x": value}
    assert resolve(one_param("STRUCT"), {"x": value}) == {"x": value}


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (1.7e18, 1700000000000000000),
        (-(2.0**53), -(2**53)),
        (2.0**60, 2**60),
        (1e21, 10**21),
        (1e30, 1000000000000000019884624838656),
        (9007199254740993, 9007199254740993),
    ],
)
def test_a_default_of_the_compiled_spec_is_that_integer(written, number):
    definition = {"parameterType": "NUMBER_INTEGER", "defaultValue": written, "literals": [written]}
    params = declared_params({"root": {"inputDefinitions": {"parameters": {"x": definition}}}})

    value = resolve(params, {})["x"]

    assert (value, type(value)) == (number, int)
    assert resolve(params, {"x": number}) == {"x": number}


def test_a_double_stays_one():
    params = one_param("NUMBER_DOUBLE")

    assert isinstance(resolve(params, {"x": 1e18})["x"], float)
    assert isinstance(parse_assignments(params, ["x=1e18"])["x"], float)


@pytest.mark.parametrize("text", ["9" * 4301, "9" * 5000])
def test_an_integer_that_python_cannot_convert_is_refused(text):
    assert (
        "x has more than 4,300 digits"
        in refused(parse_assignments, one_param("NUMBER_INTEGER"), [f"x={text}"]).message
    )
    assert (
        "is a number of more than 4300 digits"
        in refused(resolve, one_param("NUMBER_INTEGER"), {"x": 10**4300}).message
    )


@given(st.text())
def test_a_string_is_never_changed(text):
    assert parse_assignments(one_param("STRING"), [f"x={text}"]) == {"x": text}
    assert resolve(one_param("STRING"), {"x": text}) == {"x": text}


@given(st.integers(-(10**300), 10**300))
def test_integers_survive_their_text(number):
    assert parse_assignments(one_param("NUMBER_INTEGER"), [f"x={number}"]) == {"x": number}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_their_text(number):
    assert parse_assignments(one_param("NUMBER_DOUBLE"), [f"x={number!r}"]) == {"x": number}
