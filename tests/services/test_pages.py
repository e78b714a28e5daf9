"""Pages of lists: what is asked for, when pages are halved, and answers that are not a list."""

from collections.abc import Callable
from typing import Any

import pytest

from exchanges import VERSIONS, exchange
from kfgcp.backends.kubeflow.filters import PAGE_KEYS
from kfgcp.errors import BackendError, BadAnswer, Unreachable
from kfgcp.services.client import ServiceClient
from service_fixtures import Clock, ReceivedRequest, Reply, Server

Client = Callable[..., ServiceClient]


def test_pages_follow_one_another(server: Server, client: Client) -> None:
    server.answers(
        {"jobs": [1, 2], "nextPageToken": "p2"},
        {"nextPageToken": "p3"},
        {"jobs": [3], "nextPageToken": ""},
    )

    assert list(client().pages("jobs", {"filter": "f"}, "jobs", size=2)) == [1, 2, 3]
    assert [asked.query for asked in server.asked] == [
        {"filter": "f", "pageSize": "2"},
        {"filter": "f", "pageSize": "2", "pageToken": "p2"},
        {"filter": "f", "pageSize": "2", "pageToken": "p3"},
    ]


def test_pages_are_asked_for_when_they_are_needed(server: Server, client: Client) -> None:
    server.answers({"jobs": [1, 2], "nextPageToken": "p2"})

    assert next(client().pages("jobs", None, "jobs")) == 1
    assert [asked.query for asked in server.asked] == [{"pageSize": "100"}]


@pytest.mark.recorded(
    "Kubeflow: later pages of a list",
    "api-2.17.0/runs-list-since-page-1",
    "api-2.17.0/runs-list-since-page-2",
    "api-2.17.0/runs-list-since-page-2-refused",
)
@pytest.mark.parametrize("version", VERSIONS)
def test_later_pages_of_kubeflow_leave_the_filter_and_the_order_to_the_token(
    server: Server, client: Client, reply: type[Reply], version: str
) -> None:
    """The server answers as recorded: it refuses a later page that repeats `filter` or
    `sort_by`."""
    first = exchange("runs-list-since-page-1", version)
    second = exchange("runs-list-since-page-2", version)
    refused = exchange("runs-list-since-page-2-refused", version)

    def answer(asked: ReceivedRequest) -> Reply:
        if "page_token" not in asked.query:
            return reply(first.answer)
        if asked.query.keys() & {"filter", "sort_by"}:
            return reply(refused.answer, refused.status)
        return reply({**second.answer, "next_page_token": ""})

    server.always(answer)
    query = {"sort_by": first.query["sort_by"], "filter": first.query["filter"]}
    scope = {"namespace": "team", "experiment_id": "e"}

    runs = list(client(paging=PAGE_KEYS).pages(first.path, scope | query, "runs", size=1))

    assert [run["display_name"] for run in runs] == [
        run["display_name"] for page in (first, second) for run in page.answer["runs"]
    ]
    assert [asked.query for asked in server.asked] == [
        {**scope, **query, "page_size": "1"},
        {**scope, "page_size": "1", "page_token": first.answer["next_page_token"]},
    ]


def test_pages_that_are_too_large_are_halved(
    server: Server, client: Client, reply: type[Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of 300 kB where an answer may have 1 MB: three are a page, so 10, 5 and then 2 are asked
    for."""
    monkeypatch.setattr("kfgcp.services.transport.LARGEST", 1_000_000)
    runs = [{"run_id": str(number), "pipeline_spec": "x" * 300_000} for number in range(7)]

    def answer(asked: ReceivedRequest) -> Reply:
        start = int(asked.query.get("page_token", "0"))
        end = start + int(asked.query["page_size"])
        return reply(
            {"runs": runs[start:end], "next_page_token": str(end) if end < len(runs) else ""}
        )

    server.always(answer)

    assert list(client(paging=PAGE_KEYS).pages("runs", None, "runs", size=10)) == runs
    sizes = [(asked.query["page_size"], asked.query.get("page_token")) for asked in server.asked]
    assert sizes == [("10", None), ("5", None), ("2", None), ("2", "2"), ("2", "4"), ("2", "6")]


def test_pages_grow_again_after_short_ones(
    server: Server, client: Client, reply: type[Reply], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first two of 40 runs are large. A page may be longer again when the last one had at
    most 250 kB."""
    monkeypatch.setattr("kfgcp.services.transport.LARGEST", 1_000_000)
    runs = [
        {"run_id": str(number), "pipeline_spec": "x" * (600_000 if number < 2 else 10_000)}
        for number in range(40)
    ]

    def answer(asked: ReceivedRequest) -> Reply:
        start = int(asked.query.get("page_token", "0"))
        end = start + int(asked.query["page_size"])
        return reply(
            {"runs": runs[start:end], "next_page_token": str(end) if end < len(runs) else ""}
        )

    server.always(answer)

    assert list(client(paging=PAGE_KEYS).pages("runs", None, "runs", size=8)) == runs
    sizes = [(asked.query["page_size"], asked.query.get("page_token")) for asked in server.asked]
    halved = [("8", None), ("4", None), ("2", None), ("1", None), ("1", "1")]
    grown = [("1", "2"), ("2", "3"), ("4", "5"), ("8", "9"), ("8", "17"), ("8", "25"), ("8", "33")]
    assert sizes == halved + grown


@pytest.mark.parametrize("size", [1, None])
def test_one_item_that_is_too_large_is_an_error(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    monkeypatch.setattr("kfgcp.services.transport.LARGEST", 1_000_000)
    server.answers({"runs": ["x" * 1_000_001]})

    with pytest.raises(Unreachable, match="sent more than 1 MB"):
        list(client().pages("runs", None, "runs", size=size))


def test_pages_that_are_asked_for_in_the_body(
    server: Server, client: Client, reply: type[Reply]
) -> None:
    server.answers({"entries": [1], "nextPageToken": "t"}, reply(hang_up=True), {"entries": [2]})
    body = {"filter": "f"}

    assert list(
        client().pages("entries:list", None, "entries", method="POST", body=body, size=5)
    ) == [1, 2]
    assert [asked.json for asked in server.asked] == [
        {"filter": "f", "pageSize": 5},
        {"filter": "f", "pageSize": 5, "pageToken": "t"},
        {"filter": "f", "pageSize": 5, "pageToken": "t"},
    ]
    assert body == {"filter": "f"}


@pytest.mark.parametrize("names", [["a", "a"], ["a", "b", "a"]])
def test_a_page_token_that_comes_again_is_an_error(
    server: Server, client: Client, names: list[str]
) -> None:
    server.answers(*({"jobs": [name], "nextPageToken": name} for name in names))
    jobs = client().pages("jobs", None, "jobs")

    assert [next(jobs) for _ in names] == names
    with pytest.raises(BadAnswer) as caught:
        next(jobs)
    assert caught.value.message == "Vertex AI sent the same page token twice. (Request: GET jobs)"


@pytest.mark.parametrize("jobs", [[], ["a"]])
def test_pages_without_anything_new_have_an_end(
    server: Server, client: Client, reply: type[Reply], jobs: list[str]
) -> None:
    """Each has a token of its own; the first page with an item is new."""
    tokens = iter(range(1000))
    server.always(lambda _: reply({"jobs": jobs, "nextPageToken": str(next(tokens))}))

    with pytest.raises(
        BadAnswer, match=r"Vertex AI sent 100 pages without new items, .* \(Request: GET jobs\)"
    ):
        list(client().pages("jobs", None, "jobs"))

    assert len(server.asked) == 100 + len(jobs)


def test_pages_without_anything_new_end_after_ten_minutes(
    server: Server, client: Client, reply: type[Reply], clock: Clock
) -> None:
    tokens = iter(range(1000))

    def late(_: ReceivedRequest) -> Reply:
        clock.now += 100
        return reply({"jobs": [], "nextPageToken": str(next(tokens))})

    server.always(late)

    with pytest.raises(BadAnswer, match="Vertex AI sent no new items for 600 s"):
        list(client().pages("jobs", None, "jobs"))


def test_empty_pages_among_others_are_passed_over(server: Server, client: Client) -> None:
    """Cloud Logging sends them while it searches. Each page with a new item starts the count
    again."""
    tokens = iter(range(1000))
    pages = [*[[]] * 99, ["a"], *[[]] * 99, ["b"]]
    server.answers(
        *({"jobs": jobs, "nextPageToken": str(next(tokens))} for jobs in pages), {"jobs": ["c"]}
    )

    assert list(client().pages("jobs", None, "jobs")) == ["a", "b", "c"]


@pytest.mark.parametrize("page", [{"jobs": {"a": 1}}, {"jobs": "text"}])
def test_a_list_that_is_none(server: Server, client: Client, page: Any) -> None:
    server.answers(page)

    with pytest.raises(
        BackendError, match="In the answer of Vertex AI to GET jobs, 'jobs' is not a list"
    ):
        list(client().pages("jobs", None, "jobs"))


@pytest.mark.parametrize("token", [5, ["x"], True])
def test_a_page_token_that_is_not_text_is_refused(
    server: Server, client: Client, token: object
) -> None:
    """Else a list would end in its middle, and nobody would know."""
    server.answers({"jobs": [1], "nextPageToken": token})

    with pytest.raises(
        BadAnswer, match="In the answer of Vertex AI to GET jobs, the page token is not text"
    ):
        list(client().pages("jobs", None, "jobs"))


@pytest.mark.parametrize("token", ["", None])
def test_a_list_ends_without_a_page_token(server: Server, client: Client, token: object) -> None:
    server.answers({"jobs": [1], "nextPageToken": token})

    assert list(client().pages("jobs", None, "jobs")) == [1]


@pytest.mark.parametrize("items", ["", 0, False, {}])
def test_what_is_empty_and_not_a_list_is_refused(
    server: Server, client: Client, items: Any
) -> None:
    server.answers({"jobs": items})

    with pytest.raises(
        BadAnswer, match="In the answer of Vertex AI to GET jobs, 'jobs' is not a list"
    ):
        list(client().pages("jobs", None, "jobs"))
