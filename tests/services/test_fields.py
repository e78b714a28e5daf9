"""Fields of answers have the types that services document, or the error names the service and the
field."""

import pytest

from kfgcp.errors import BadAnswer
from kfgcp.services.fields import (
    Kind,
    list_of,
    map_of,
    mapping,
    message,
    nests_too_deep,
    read,
    required_text,
    text,
    time,
    truth,
    whole_number,
)

THING = message(
    {
        "name": required_text,
        "labels": map_of(text),
        "tasks": list_of(message({"state": text, "started": time})),
    },
    required=("name",),
)


def message_of(answer: object) -> str:
    with pytest.raises(BadAnswer) as caught:
        read(answer, THING, service="Vertex AI", thing="a job")
    assert caught.value.exit_code == 5
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (3, "with 3 instead of a job."),
        (None, "with null instead of a job."),
        ([], "with a list instead of a job."),
        ({}, "with a job without name."),
        ({"name": None}, "with a job without name."),
        ({"name": ""}, "with a job without name."),
        ({"name": "a", "labels": []}, "with a job a whose labels is a list, not an object."),
        ({"name": "a", "labels": {"x": True}}, "with a job a whose labels.x is true, not text."),
        ({"name": "a", "labels": {"a b": 1}}, 'with a job a whose labels["a b"] is 1, not text.'),
        ({"name": "a", "tasks": {}}, "with a job a whose tasks is an object, not a list."),
        ({"name": "a", "tasks": [{}, None]}, "with a job a whose tasks[1] is null, not an object."),
        (
            {"name": "a", "tasks": [{"state": 2**70}]},
            f"with a job a whose tasks[0].state is {2**70}, not text.",
        ),
        (
            {"name": "a", "tasks": [{"started": "noon"}]},
            "with a job a whose tasks[0].started is 'noon', not a time.",
        ),
        (
            {"name": "a\nb\x1b[31m", "labels": 1},
            "with a job a b [31m whose labels is 1, not an object.",
        ),
    ],
)
def test_an_error_names_the_service_and_the_field(answer: object, problem: str) -> None:
    assert message_of(answer) == f"Vertex AI answered {problem}"


def test_a_long_value_is_shown_in_part() -> None:
    message = message_of({"name": "x" * 5000, "labels": "y" * 5000})

    assert len(message) < 400
    assert "\n" not in message


def test_what_is_null_is_missing_and_what_is_not_known_stays() -> None:
    answer = {"name": "a", "labels": {"x": "1", "y": None}, "tasks": None, "other": [None, 3]}

    assert read(answer, THING, service="Vertex AI", thing="a job") == {
        "name": "a",
        "labels": {"x": "1"},
        "other": [None, 3],
    }


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (text, "", ""),
        (whole_number, "-9223372036854775808", -(2**63)),
        (whole_number, 2**63 - 1, 2**63 - 1),
        (truth, False, False),
        (mapping, {"a": None}, {"a": None}),
        (time, "", ""),
        (time, "2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.123456789Z"),
        (time, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        (time, "2026-01-02T03:04:05", "2026-01-02T03:04:05"),
    ],
)
def test_values_of_each_kind(kind: Kind, value: object, expected: object) -> None:
    assert read(value, kind, service="Vertex AI", thing="a value") == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((text, value) for value in (3, True, [], {}, None)),
        *(
            (whole_number, value)
            for value in ("", "x", "1.0", 1.0, True, 2**63, str(2**63), "9" * 5000, [], None)
        ),
        *((truth, value) for value in (0, "true", None)),
        *((mapping, value) for value in ("", [], 3, None)),
        *(
            (time, value)
            for value in (3, None, "soon", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00")
        ),
        (time, "9999-12-31T23:59:59-14:00"),
    ],
)
def test_values_of_another_kind_are_refused(kind: Kind, value: object) -> None:
    with pytest.raises(BadAnswer, match=r"Vertex AI answered with .* instead of a value"):
        read(value, kind, service="Vertex AI", thing="a value")


def nested(depth: int) -> object:
    value: object = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": value, "b": []}
    return value


@pytest.mark.parametrize(("value", "deep"), [(1, False), (nested(199), False), (nested(201), True)])
def test_what_nests_too_deep(value: object, deep: bool) -> None:
    assert nests_too_deep(value) is deep
