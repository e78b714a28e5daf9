"""Log entries over the wire: pages, what is new, and what was written."""

from collections.abc import Callable

import pytest

from json_types import JsonDict
from kfgcp.errors import NotWhole
from kfgcp.services.client import ServiceClient
from kfgcp.services.cloud_logging import CloudLogging, Entry, Tail, quoted
from service_fixtures import Reply, Server

JOB = {"type": "ml_job", "labels": {"job_id": "7"}}


def entry(at: str, text: str, id: str | None = None, **more: object) -> JsonDict:
    """An entry of 2026-01-02, written at `at`: 03:04:05.1"""
    stamp = f"2026-01-02T{at}Z"
    return {
        "insertId": id or text,
        "timestamp": stamp,
        "severity": "INFO",
        "resource": JOB,
        "textPayload": text,
    } | more


@pytest.fixture
def logging(client: Callable[..., ServiceClient]) -> CloudLogging:
    return CloudLogging(client(service="Cloud Logging"), "acme")


def test_entries_are_asked_for_page_after_page(logging: CloudLogging, server: Server) -> None:
    server.answers(
        {"entries": [entry("03:00:01", "a")], "nextPageToken": "t1"},
        {"nextPageToken": "t2"},
        {"entries": [entry("03:00:02", "b")]},
    )

    entries = list(logging.entries(['resource.type="ml_job"', "severity>=INFO"], size=7))

    assert [entry_read.text for entry_read in entries] == ["a", "b"]
    assert [(request.method, request.path) for request in server.asked] == [
        ("POST", "/v2/entries:list")
    ] * 3
    asked = {
        "resourceNames": ["projects/acme"],
        "filter": 'resource.type="ml_job" AND severity>=INFO',
        "orderBy": "timestamp asc",
        "pageSize": 7,
    }
    assert [request.json for request in server.asked] == [
        asked,
        asked | {"pageToken": "t1"},
        asked | {"pageToken": "t2"},
    ]


def test_no_more_pages_are_asked_for_than_are_read(logging: CloudLogging, server: Server) -> None:
    server.answers(
        {"entries": [entry("03:00:02", "b"), entry("03:00:01", "a")], "nextPageToken": "t1"}
    )

    newest = next(logging.entries([], newest_first=True, size=2))

    assert newest.text == "b"
    assert server.asked[0].json["orderBy"] == "timestamp desc"


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("text", "with 'text' instead of a log entry"),
        (
            {"insertId": "x", "resource": []},
            "a log entry x whose resource is a list, not an object",
        ),
        (
            {"insertId": "x", "resource": {"labels": {"job_id": 7}}},
            "whose resource.labels.job_id is 7, not text",
        ),
        ({"insertId": "x", "timestamp": "soon"}, "whose timestamp is 'soon', not a time"),
        ({"insertId": "x", "jsonPayload": "a"}, "whose jsonPayload is 'a', not an object"),
    ],
)
def test_an_entry_that_cannot_be_read_is_left_out(
    logging: CloudLogging, server: Server, bad: object, problem: str
) -> None:
    server.answers({"entries": [bad, entry("03:00:01", "a"), bad]})

    with pytest.warns(NotWhole) as caught:
        entries = list(logging.entries([]))

    assert [entry_read.text for entry_read in entries] == ["a"]
    (note,) = caught
    assert str(note.message).startswith("Log entries are left out: Cloud Logging answered ")
    assert problem in str(note.message)


def test_a_tail_looks_back_from_the_first_year_of_all(
    logging: CloudLogging, server: Server
) -> None:
    server.answers(
        {"entries": [entry("03:00:01", "a", timestamp="0001-01-01T00:00:00Z")]}, {"entries": []}
    )
    tail = Tail(logging, [])

    assert [entry_read.text for entry_read in tail.read(["x"])] == ["a"]
    assert list(tail.read(["x"])) == []
    assert 'timestamp>="1970-01-01T00:00:00.000Z"' in server.asked[1].json["filter"]


def test_a_failing_page_is_asked_for_again(
    logging: CloudLogging, server: Server, reply: type[Reply]
) -> None:
    server.answers(reply(status=503), {"entries": [entry("03:00:01", "a")]})

    assert [entry_read.text for entry_read in logging.entries([])] == ["a"]


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"textPayload": "a line\n"}, "a line"),
        ({"textPayload": ""}, ""),
        ({"jsonPayload": {"message": "said\r\n", "levelname": "INFO"}}, "said"),
        ({"jsonPayload": {"step": 3, "what": "ü"}}, '{"step": 3, "what": "ü"}'),
        ({"jsonPayload": {"message": {"nested": 1}}}, '{"message": {"nested": 1}}'),
        ({"protoPayload": {"@type": "audit", "message": "by proto"}}, "by proto"),
        ({}, "{}"),
    ],
)
def test_the_text_of_an_entry(
    logging: CloudLogging, server: Server, payload: JsonDict, text: str
) -> None:
    entry_json = {
        key: value for key, value in entry("03:00:01", "x").items() if key != "textPayload"
    }
    server.answers({"entries": [entry_json | payload]})

    (entry_read,) = logging.entries([])

    assert (entry_read.text, entry_read.severity, entry_read.resource) == (
        text,
        "INFO",
        {"job_id": "7"},
    )


def test_an_entry_may_lack_everything(logging: CloudLogging, server: Server) -> None:
    server.answers(
        {
            "entries": [
                {},
                "no entry",
                {"receiveTimestamp": "2026-01-02T03:00:00Z", "resource": None},
            ]
        }
    )

    entries = list(logging.entries([]))

    assert entries[0] == Entry(" ", "", "DEFAULT", "{}", {})
    assert [entry_read.at for entry_read in entries] == ["", "2026-01-02T03:00:00Z"]


def test_values_in_filters_are_quoted() -> None:
    assert quoted('a "b" \\ ü') == '"a \\"b\\" \\\\ ü"'


def test_a_tail_gives_each_entry_once_and_looks_back_for_late_ones(
    logging: CloudLogging, server: Server
) -> None:
    tail = Tail(logging, ["base"])
    one, two = entry("03:00:01", "one"), entry("03:00:30.5", "two")
    late, three = entry("03:00:12", "late"), entry("03:00:31", "three")
    server.answers(
        {"entries": [one, two]}, {"entries": [late, two]}, {"entries": [late, two, three]}, {}
    )

    read = [[entry_read.text for entry_read in tail.read(["this"])] for _ in range(4)]

    assert read == [["one", "two"], ["late"], ["three"], []]
    assert [request.json["filter"] for request in server.asked] == [
        "base AND this",
        'base AND timestamp>="2026-01-02T03:00:10.500Z" AND this',
        'base AND timestamp>="2026-01-02T03:00:10.500Z" AND this',
        'base AND timestamp>="2026-01-02T03:00:11.000Z" AND this',
    ]


def test_entries_of_the_same_time_are_distinguished_by_their_ids(
    logging: CloudLogging, server: Server
) -> None:
    tail = Tail(logging, [])
    same = [entry("03:00:01", "tick", id=f"i{number}") for number in range(3)]
    server.answers(
        {"entries": same[:2]},
        {"entries": same},
        {"entries": [*same, entry("03:00:02", "tock", id="i0")]},
    )

    read = [[entry_read.text for entry_read in tail.read(["this"])] for _ in range(3)]

    assert read == [["tick", "tick"], ["tick"], ["tock"]]


def test_each_alternative_is_one_request_and_none_is_no_request(
    logging: CloudLogging, server: Server
) -> None:
    tail = Tail(logging, ["base"])
    server.answers({"entries": [entry("03:00:09", "b")]}, {"entries": [entry("03:00:01", "a")]})

    assert list(tail.read([])) == []
    assert [entry_read.text for entry_read in tail.read(["first", "second"])] == ["b", "a"]

    assert [request.json["filter"] for request in server.asked] == [
        "base AND first",
        "base AND second",
    ]


def test_what_is_long_past_is_forgotten(logging: CloudLogging, server: Server) -> None:
    tail = Tail(logging, [])
    old, new = entry("03:00:00", "old"), entry("03:10:00", "new")
    server.answers({"entries": [old]}, {"entries": [new]}, {"entries": []})

    for _ in range(3):
        list(tail.read(["this"]))

    assert list(tail._returned_entries) == ["new 2026-01-02T03:10:00Z"]
