"""Lists: predicates, order, pages and their tokens."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from json_types import JsonDict
from stand_in_apis import KubeflowApi


def predicates(*items: JsonDict) -> str:
    return json.dumps({"predicates": list(items)})


@pytest.fixture
def listed(quick: KubeflowApi) -> Callable[..., list[str]]:
    """Return a function that gives the names of the runs that a filter matches, out of six runs."""
    quick.env.seed(
        4, display_name=lambda number: f"Run {number}", experiment="churn", step=60, age=600
    )
    quick.env.seed(1, failing={"train": "no luck"}, display_name="bad", age=60)
    quick.env.seed(1, display_name="50% + more", description="special")

    def call(filter: str = "", **query: object) -> list[str]:
        body = quick.get("runs", filter=filter, **query)
        return [run["display_name"] for run in body.get("runs", [])]

    return call


@pytest.mark.parametrize(
    ("predicate", "names"),
    [
        ({"operation": "EQUALS", "key": "state", "string_value": "FAILED"}, ["bad"]),
        ({"operation": 1, "key": "state", "stringValue": "FAILED"}, ["bad"]),
        ({"operation": "NOT_EQUALS", "key": "display_name", "string_value": "BAD"}, 5),
        (
            {"operation": "IN", "key": "name", "string_values": {"values": ["run 1", "Run 3"]}},
            ["Run 1", "Run 3"],
        ),
        ({"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "UN 2"}, ["Run 2"]),
        ({"operation": "EQUALS", "key": "description", "string_value": "special"}, ["50% + more"]),
        ({"operation": "EQUALS", "key": "storage_state", "string_value": "ARCHIVED"}, []),
        ({"operation": "EQUALS", "key": "namespace", "string_value": ""}, 6),
        (
            {
                "operation": "GREATER_THAN",
                "key": "created_at",
                "timestamp_value": "2000-01-01T00:00:00Z",
            },
            6,
        ),
        ({"operation": "LESS_THAN_EQUALS", "key": "finished_at", "long_value": "1"}, []),
    ],
)
def test_each_operation_is_understood(
    listed: Any, predicate: JsonDict, names: list[str] | int
) -> None:
    listed_names = listed(predicates(predicate))

    assert (len(listed_names) if isinstance(names, int) else listed_names) == names


def test_times_are_compared_by_whole_seconds(listed: Any, quick: KubeflowApi) -> None:
    third = quick.get("runs")["runs"][2]
    third_time = third["created_at"]
    compared = {
        operation: listed(
            predicates({"operation": operation, "key": "created_at", "timestamp_value": third_time})
        )
        for operation in (
            "EQUALS",
            "LESS_THAN",
            "LESS_THAN_EQUALS",
            "GREATER_THAN",
            "GREATER_THAN_EQUALS",
        )
    }

    assert third["display_name"] == "Run 2"
    assert compared == {
        "EQUALS": ["Run 2"],
        "LESS_THAN": ["Run 0", "Run 1"],
        "LESS_THAN_EQUALS": ["Run 0", "Run 1", "Run 2"],
        "GREATER_THAN": ["Run 3", "bad", "50% + more"],
        "GREATER_THAN_EQUALS": ["Run 2", "Run 3", "bad", "50% + more"],
    }


def test_all_predicates_must_hold(listed: Any) -> None:
    name_predicate = {"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "run"}
    other = {"operation": "NOT_EQUALS", "key": "display_name", "string_value": "Run 1"}

    assert listed(predicates(name_predicate, other)) == ["Run 0", "Run 2", "Run 3"]
    assert listed("{}") == listed() != []


def test_a_filter_is_decoded_once_more_than_the_query(listed: Any) -> None:
    """A plus or a percent sign in a filter must be encoded twice."""
    text = predicates({"operation": "EQUALS", "key": "display_name", "string_value": "50% + more"})

    assert listed(quote(text)) == ["50% + more"]
    assert listed(text.replace("%", "%25")) == []


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("not json", 'failed to parse valid filter from "not json"'),
        (json.dumps({"predicate": []}), "failed to parse valid filter from"),
        (
            predicates({"operation": "EQUALS", "key": "metrics", "string_value": "x"}),
            'unrecognized field "metrics"',
        ),
        (
            predicates({"operation": "LIKE", "key": "name", "string_value": "x"}),
            "invalid predicate operation: LIKE",
        ),
        (
            predicates({"key": "name", "string_value": "x"}),
            "invalid predicate operation: OPERATION_UNSPECIFIED",
        ),
        (predicates({"operation": "EQUALS", "string_value": "x"}), "key cannot be empty"),
        (predicates({"operation": "EQUALS", "key": "name"}), "must have one value, it has 0"),
        (
            predicates({"operation": "IN", "key": "name", "string_value": "x"}),
            "cannot use IN operator with scalar",
        ),
        (
            predicates({"operation": "EQUALS", "key": "name", "string_values": {"values": ["x"]}}),
            "cannot use scalar operator EQUALS on array",
        ),
        (
            predicates({"operation": "IS_SUBSTRING", "key": "created_at", "long_value": "1"}),
            "cannot use non string",
        ),
        (
            predicates({"operation": "EQUALS", "key": "created_at", "timestamp_value": "today"}),
            "invalid timestamp_value",
        ),
        (predicates({"operation": "EQUALS", "key": "name", "text": "x"}), 'unknown field "text"'),
    ],
)
def test_a_filter_that_is_not_understood_is_refused(
    quick: KubeflowApi, filter: str, message: str
) -> None:
    status, code, text = quick.refused("GET", "runs", filter=filter)

    assert (status, code) == (400, 3)
    assert message in text


def test_pages_end_at_200_and_start_at_20(quick: KubeflowApi) -> None:
    quick.env.seed(450)

    sizes = {
        size: len(quick.get("runs", **({"page_size": size} if size else {}))["runs"])
        for size in (0, 5, 200, 201, 1000)
    }

    assert sizes == {0: 20, 5: 5, 200: 200, 201: 200, 1000: 200}
    assert quick.refused("GET", "runs", page_size="-1")[:2] == (400, 3)
    assert quick.refused("GET", "runs", page_size="many")[:2] == (400, 3)


@pytest.mark.parametrize("order", ["", "created_at desc", "name asc", "finished_at"])
def test_pages_follow_each_other_whatever_comes_in_between(quick: KubeflowApi, order: str) -> None:
    quick.env.seed(30, step=1, age=100)
    whole = [run["run_id"] for run in quick.get("runs", page_size=200, sort_by=order)["runs"]]

    listed_ids: list[str] = []
    token = ""
    while True:
        body = quick.get(
            "runs", page_size=7, sort_by=order, **({"page_token": token} if token else {})
        )
        listed_ids += [run["run_id"] for run in body["runs"]]
        if not (token := body.get("next_page_token", "")):
            break
        quick.call("DELETE", f"runs/{listed_ids[0]}")

    assert listed_ids == whole


def test_what_has_the_same_second_is_sorted_by_its_id(quick: KubeflowApi) -> None:
    quick.env.seed(10, step=0)

    for order in ("created_at", "created_at desc"):
        run_ids = [run["run_id"] for run in quick.get("runs", sort_by=order)["runs"]]
        assert run_ids == sorted(run_ids, reverse=order.endswith("desc"))


def test_a_page_token_belongs_to_its_filter_and_order(quick: KubeflowApi) -> None:
    quick.env.seed(6, display_name=lambda number: "even" if number % 2 == 0 else "odd")
    even = predicates({"operation": "EQUALS", "key": "display_name", "string_value": "even"})
    odd = even.replace("even", "odd")
    token = quick.get("runs", filter=even, sort_by="created_at desc", page_size=1)[
        "next_page_token"
    ]

    alone = quick.get("runs", page_token=token)
    same = quick.get("runs", page_token=token, filter=even, sort_by="created_at desc")

    assert [run["display_name"] for run in alone["runs"]] == ["even", "even"]
    assert same == alone
    for other in (
        {"filter": odd},
        {"sort_by": "name"},
        {"filter": even},
        {"sort_by": "created_at desc"},
        {"filter": odd, "sort_by": "created_at desc"},
    ):
        assert (
            "page token does not match"
            in quick.refused("GET", "runs", page_token=token, **other)[2]
        )
    nonsense = {"page_token": "bm9uc2Vuc2U="}
    assert quick.refused("GET", "runs", **nonsense)[:2] == (400, 3)


@pytest.mark.parametrize(
    "predicate",
    [
        {
            "operation": "GREATER_THAN",
            "key": "created_at",
            "timestamp_value": "2000-01-01T00:00:00Z",
        },
        {"operation": "GREATER_THAN", "key": "created_at", "long_value": "1"},
        {"operation": "IN", "key": "state", "string_values": {"values": ["SUCCEEDED"]}},
    ],
)
def test_a_filter_on_a_time_a_number_or_a_list_cannot_be_repeated(
    quick: KubeflowApi, predicate: JsonDict
) -> None:
    quick.env.seed(3)
    filter = predicates(predicate)
    token = quick.get("runs", filter=filter, page_size=1)["next_page_token"]

    assert (
        "page token does not match"
        in quick.refused("GET", "runs", page_token=token, filter=filter)[2]
    )
    assert len(quick.get("runs", page_token=token)["runs"]) == 2


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("un_2", ["run 2", "run_2"]),
        ("r%2", ["run 2", "run_2"]),
        ("un\\_2", ["run_2"]),
        ("UN 2", ["run 2"]),
    ],
)
def test_a_part_of_a_text_has_the_wildcards_of_sql(
    quick: KubeflowApi, part: str, names: list[str]
) -> None:
    for name in ("run 2", "run_2", "other"):
        quick.env.seed(1, display_name=name, step=0)
    predicate = {"operation": "IS_SUBSTRING", "key": "display_name", "string_value": part}

    listed = quick.get("runs", filter=predicates(predicate))["runs"]

    assert sorted(run["display_name"] for run in listed) == names


@pytest.mark.parametrize("order", ["created_at down", "created_at desc please", "params.lr"])
def test_an_order_that_is_not_understood_is_refused(quick: KubeflowApi, order: str) -> None:
    assert quick.refused("GET", "runs", sort_by=order)[:2] == (400, 3)


@pytest.mark.parametrize("kind", ["experiments", "pipelines", "recurringruns"])
def test_other_lists_have_filters_and_pages_too(
    quick: KubeflowApi, spec_of: Callable[[str], JsonDict], kind: str
) -> None:
    for number in range(3):
        if kind == "experiments":
            quick.post(kind, {"display_name": f"item {number}"})
        elif kind == "pipelines":
            assert (
                quick.upload(json.dumps(spec_of("echo")), name=f"item {number}").status_code == 200
            )
        else:
            trigger = {"periodic_schedule": {"interval_second": "60"}}
            body = {
                "display_name": f"item {number}",
                "mode": "ENABLE",
                "trigger": trigger,
                "max_concurrency": "1",
            }
            quick.post(kind, {**body, "pipeline_spec": spec_of("echo")})
    name = "recurringRuns" if kind == "recurringruns" else kind
    filter_text = predicates(
        {"operation": "IS_SUBSTRING", "key": "display_name", "string_value": "item"}
    )

    first_page = quick.get(kind, filter=filter_text, sort_by="display_name desc", page_size=2)
    second_page = quick.get(kind, page_token=first_page["next_page_token"])

    assert [item["display_name"] for item in first_page[name] + second_page[name]] == [
        "item 2",
        "item 1",
        "item 0",
    ]
    assert first_page["total_size"] == 3


def test_an_empty_list_has_no_list(quick: KubeflowApi) -> None:
    assert quick.get("runs") == {}
