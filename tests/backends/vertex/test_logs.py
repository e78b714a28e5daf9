"""Logs of a job over the wire: which custom jobs are asked for, and when."""

from collections.abc import Callable
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.backends.base import LogFilter
from kfgcp.backends.vertex import logs
from kfgcp.model import Task, TaskKind, TaskState
from kfgcp.services.client import ServiceClient
from kfgcp.services.cloud_logging import CloudLogging
from service_fixtures import Server

CREATED = 'resource.type="ml_job" AND timestamp>="2026-01-02T03:00:00.000Z"'
CHANGED = [Task("train", TaskKind.CONTAINER, TaskState.RUNNING)]


def entry(job: str, second: float, text: str, **more: object) -> JsonDict:
    return {
        "insertId": text,
        "timestamp": f"2026-01-02T03:00:{second:06.3f}Z",
        "severity": "INFO",
        "resource": {"type": "ml_job", "labels": {"job_id": job}},
        "textPayload": text,
    } | more


@pytest.fixture
def logging(client: Callable[..., ServiceClient]) -> CloudLogging:
    return CloudLogging(client(service="Cloud Logging"), "acme")


@pytest.fixture
def job(detail: Callable[..., JsonDict]) -> Callable[..., JsonDict]:
    """A job whose tasks have these attempts: name -> ids of custom jobs, the last one still
    running."""

    def make(**tasks: list[str]) -> JsonDict:
        details = [
            detail(
                number,
                name,
                state="RUNNING",
                executorDetail={
                    "containerDetail": {"mainJob": ids[-1], "failedMainJobs": ids[:-1]}
                },
            )
            for number, (name, ids) in enumerate(tasks.items(), 1)
        ]
        return {"createTime": "2026-01-02T03:00:00Z", "jobDetail": {"taskDetails": details}}

    return make


def filters(server: Server) -> list[str]:
    return [asked.json["filter"] for asked in server.asked]


def test_logs_are_read_attempt_by_attempt(
    logging: CloudLogging, server: Server, job: Callable[..., JsonDict]
) -> None:
    server.answers(
        {"entries": [entry("1", 1, "a")]}, {}, {"entries": [entry("3", 2, "c", severity="ERROR")]}
    )

    lines = list(logs.JobLogs(logging, job(train=["1", "2"], test=["3"])).read(LogFilter()))

    assert [(line.task, line.attempt, line.text, line.at, line.severity) for line in lines] == [
        ("train", 1, "a", "2026-01-02T03:00:01.000Z", "INFO"),
        ("test", 1, "c", "2026-01-02T03:00:02.000Z", "ERROR"),
    ]
    assert filters(server) == [
        f'{CREATED} AND resource.labels.job_id="{number}"' for number in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("log_filter", "asked"),
    [
        (LogFilter(task="test"), [f'{CREATED} AND resource.labels.job_id="3"']),
        (LogFilter(task="train", attempt=2), [f'{CREATED} AND resource.labels.job_id="2"']),
        (LogFilter(attempt=2), [f'{CREATED} AND resource.labels.job_id="2"']),
        (LogFilter(task="nobody"), []),
        (
            LogFilter(task="test", severity="ERROR", since="2026-01-02T05:00:00.000Z"),
            [
                'resource.type="ml_job" AND timestamp>="2026-01-02T05:00:00.000Z" AND'
                ' severity>=ERROR AND resource.labels.job_id="3"'
            ],
        ),
        (
            LogFilter(task="test", since="2020-01-01T00:00:00.000Z"),
            [f'{CREATED} AND resource.labels.job_id="3"'],
        ),
    ],
)
def test_only_the_selected_logs_are_requested(
    logging: CloudLogging,
    server: Server,
    job: Callable[..., JsonDict],
    log_filter: LogFilter,
    asked: list[str],
) -> None:
    server.answers(*[{}] * len(asked))

    assert list(logs.JobLogs(logging, job(train=["1", "2"], test=["3"])).read(log_filter)) == []

    assert filters(server) == asked


def test_the_last_lines_are_those_of_the_last_attempt(
    logging: CloudLogging, server: Server, job: Callable[..., JsonDict]
) -> None:
    newest_first = [entry("2", 9 - number, f"line {9 - number}") for number in range(5)]
    server.answers({"entries": newest_first, "nextPageToken": "more"})

    last_lines = logs.JobLogs(logging, job(train=["1", "2"])).read_end("train", 3)

    assert last_lines == ["line 7", "line 8", "line 9"]
    assert filters(server) == [f'{CREATED} AND resource.labels.job_id="2"']
    assert logs.JobLogs(logging, job()).read_end("train", 3) == []


def test_a_task_that_is_seen_late_loses_no_line(
    logging: CloudLogging, server: Server, job: Callable[..., JsonDict]
) -> None:
    jobs = [job(train=["1"]), job(train=["1"], test=["2"])]
    tail = logs.JobTail(logging, lambda: jobs.pop(0), LogFilter())
    server.answers(
        {"entries": [entry("1", 59, "a minute")]}, {}, {"entries": [entry("2", 2, "long before")]}
    )

    read = [[(line.task, line.text) for line in tail.read(CHANGED)] for _ in range(2)]

    assert read == [[("train", "a minute")], [("test", "long before")]]
    assert filters(server) == [
        f'{CREATED} AND resource.labels.job_id="1"',
        f'{CREATED} AND timestamp>="2026-01-02T03:00:39.000Z" AND resource.labels.job_id="1"',
        f'{CREATED} AND resource.labels.job_id="2"',
    ]


def test_a_tail_asks_for_new_attempts_only_when_tasks_have_changed(
    logging: CloudLogging,
    server: Server,
    job: Callable[..., JsonDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[Any] = []
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.0)

    def look() -> Any:
        looked.append(job(train=["1", "2"]) if looked else job(train=["1"]))
        return looked[-1]

    tail = logs.JobTail(logging, look, LogFilter())
    server.answers({}, {}, {}, {"entries": [entry("2", 5, "again")]})

    assert [list(tail.read(tasks)) for tasks in ([], [])] == [[], []]
    assert len(looked) == 1, "the job must be read once, before the first request"
    (line,) = tail.read(CHANGED)
    assert (line.task, line.attempt, line.text, len(looked)) == ("train", 2, "again", 2)


def test_a_tail_pauses_while_no_task_changes(
    logging: CloudLogging, server: Server, job: Callable[..., JsonDict]
) -> None:
    tail = logs.JobTail(logging, lambda: job(train=["1"]), LogFilter())
    server.answers({})

    for _ in range(5):
        assert list(tail.read([])) == []

    assert len(server.asked) == 1


def test_many_custom_jobs_are_asked_for_in_groups_below_the_limit_of_a_filter(
    logging: CloudLogging, server: Server, job: Callable[..., JsonDict]
) -> None:
    ids = [f"{10**18 + number}" for number in range(120)]
    many = job(**{f"t{number}": [custom_job] for number, custom_job in enumerate(ids)})
    tail = logs.JobTail(logging, lambda: many, LogFilter())
    server.answers(
        {}, {}, {"entries": [entry(ids[-1], 1, "last"), entry("0", 1, "of another run")]}
    )

    assert [line.task for line in tail.read(CHANGED)] == ["t119"]

    assert all(len(clause) < 20_000 for clause in filters(server))
    named = [number for clause in filters(server) for number in ids if number in clause]
    assert sorted(named) == ids


def test_an_attempt_that_ended_is_asked_for_a_while_longer(
    logging: CloudLogging,
    server: Server,
    job: Callable[..., JsonDict],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = job(train=["1"], test=["2"])
    ended["jobDetail"]["taskDetails"][0]["state"] = "SUCCEEDED"
    tail = logs.JobTail(logging, lambda: ended, LogFilter())
    server.answers({}, {"entries": [entry("1", 7, "late")]}, {})

    assert list(tail.read(CHANGED)) == []
    assert [line.text for line in tail.read(CHANGED)] == ["late"]
    monkeypatch.setattr(logs, "LINGER_SECONDS", 0.0)
    assert list(tail.read(CHANGED)) == []
    assert filters(server)[-1].endswith('resource.labels.job_id="2"')
