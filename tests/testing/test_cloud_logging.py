"""Log entries of tasks and jobs, entries that clients write, and the supported filters."""

from collections.abc import Callable
from typing import Any

import pytest

from json_types import JsonDict
from patience import REQUEST, WaitFor
from stand_in_apis import VertexApi

SCRIPT = '{"message": "structured", "severity": "WARNING", "step": 3}'


@pytest.fixture
def number(
    rest: VertexApi,
    body_of: Callable[..., JsonDict],
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> str:
    """Return the id of the custom job of a task that has written six lines."""
    text = f"plain\nWARNING: careful\nERROR bad\n{SCRIPT}\n[INFO] fine\nlast"
    rest.post("pipelineJobs", body_of("echo", {"text": text}), pipelineJobId="says")
    container = tasks(ended(rest, "says"))["say"]["executorDetail"]["containerDetail"]
    return str(container["mainJob"].rpartition("/")[2])


def _messages(entries: list[JsonDict]) -> list[str]:
    return [entry["jsonPayload"]["message"] for entry in entries]


def test_each_line_of_a_task_is_an_entry_in_order(rest: VertexApi, number: str) -> None:
    entries = rest.logs(f'resource.type="ml_job" AND resource.labels.job_id="{number}"')

    assert _messages(entries) == [
        "plain",
        "WARNING: careful",
        "ERROR bad",
        "structured",
        "[INFO] fine",
        "last",
    ]
    assert [entry["severity"] for entry in entries] == [
        "INFO",
        "WARNING",
        "ERROR",
        "WARNING",
        "INFO",
        "INFO",
    ]
    assert entries[3]["jsonPayload"]["step"] == 3
    times = [entry["timestamp"] for entry in entries]
    assert times == sorted(set(times))
    assert len({entry["insertId"] for entry in entries}) == 6
    assert {entry["resource"]["labels"]["project_id"] for entry in entries} == {rest.env.project}


def test_entries_come_in_either_order_page_by_page(rest: VertexApi, number: str) -> None:
    request = {
        "resourceNames": [f"projects/{rest.env.project_number}"],
        "filter": f"resource.labels.job_id={number}",
    }
    request |= {"pageSize": 4, "orderBy": "timestamp desc"}
    url = f"{rest.env.api_endpoint}/v2/entries:list"

    first_page = rest.session.post(url, json=request, timeout=REQUEST).json()
    second_page = rest.session.post(
        url, json=request | {"pageToken": first_page["nextPageToken"]}, timeout=REQUEST
    ).json()

    assert _messages(first_page["entries"])[0] == "last"
    assert _messages(second_page["entries"]) == ["WARNING: careful", "plain"]
    assert "nextPageToken" not in second_page


def test_filters_by_severity_time_and_payload(rest: VertexApi, number: str) -> None:
    base = f'resource.type="ml_job" resource.labels.job_id="{number}"'
    third_time = rest.logs(base)[2]["timestamp"]

    def matching_messages(condition: str) -> list[str]:
        return _messages(rest.logs(f"{base} {condition}"))

    assert matching_messages("severity>=WARNING") == ["WARNING: careful", "ERROR bad", "structured"]
    assert matching_messages("AND severity=ERROR") == ["ERROR bad"]
    assert matching_messages(f'timestamp>="{third_time}"') == [
        "ERROR bad",
        "structured",
        "[INFO] fine",
        "last",
    ]
    assert matching_messages(f'timestamp>"{third_time}" AND severity>=WARNING') == ["structured"]
    assert matching_messages(f'timestamp<"{third_time}"') == ["plain", "WARNING: careful"]
    assert matching_messages('jsonPayload.message:"CAREFUL"') == ["WARNING: careful"]
    assert matching_messages('jsonPayload.message=~"^.INFO"') == ["[INFO] fine"]
    assert matching_messages("jsonPayload.step=3") == ["structured"]
    assert matching_messages("jsonPayload.step:*") == ["structured"]
    assert matching_messages('NOT severity="INFO" AND NOT jsonPayload.step=3') == [
        "WARNING: careful",
        "ERROR bad",
    ]
    assert matching_messages('(severity=ERROR OR jsonPayload.message="last")') == [
        "ERROR bad",
        "last",
    ]


def test_another_custom_job_has_no_entries(rest: VertexApi, number: str) -> None:
    assert rest.logs('resource.type="ml_job" AND resource.labels.job_id="123"') == []


def test_a_field_may_be_compared_with_several_values(rest: VertexApi, number: str) -> None:
    assert _messages(
        rest.logs(f'resource.labels.job_id=("123" OR "{number}") AND severity=ERROR')
    ) == ["ERROR bad"]
    assert _messages(rest.logs('resource.labels.job_id=("123" OR "456")')) == []
    assert _messages(
        rest.logs(f'resource.labels.job_id={number} severity=("ERROR" OR WARNING)')
    ) == [
        "WARNING: careful",
        "ERROR bad",
        "structured",
    ]


def test_without_a_custom_job_the_logs_of_all_tasks_are_found(rest: VertexApi, number: str) -> None:
    assert _messages(rest.logs('resource.type="ml_job" severity=ERROR')) == ["ERROR bad"]
    assert (
        _messages(rest.logs(f'resource.type="ml_job" NOT resource.labels.job_id="{number}"')) == []
    )


def test_what_happened_to_a_job_is_there_too(rest: VertexApi, number: str) -> None:
    entries = rest.logs(
        'resource.type="aiplatform.googleapis.com/PipelineJob" AND'
        ' resource.labels.pipeline_job_id="says"'
    )

    jobs, tasks = (
        "aiplatform.googleapis.com%2Fpipeline_job_events",
        "aiplatform.googleapis.com%2Fpipeline_job_task_events",
    )
    assert [entry["logName"].rpartition("/")[2] for entry in entries] == [jobs, tasks, jobs]
    start_event, task_event, end_event = [entry["jsonPayload"] for entry in entries]
    assert (start_event["state"], end_event["state"]) == (
        "PIPELINE_STATE_RUNNING",
        "PIPELINE_STATE_SUCCEEDED",
    )
    assert end_event["pipelineName"] == "says"
    assert (task_event["payload"]["taskName"], task_event["payload"]["state"]) == (
        "say",
        "SUCCEEDED",
    )
    assert "state" not in task_event


def test_lines_can_be_text_payloads(rest: VertexApi, number: str) -> None:
    rest.env.logging.payload = "text"

    entries = rest.logs(f"resource.labels.job_id={number}")

    assert entries[0]["textPayload"] == "plain"
    assert entries[3]["jsonPayload"]["message"] == "structured"


def test_lines_of_a_task_that_runs_are_there_already(
    rest: VertexApi,
    body_of: Callable[..., JsonDict],
    eventually: WaitFor,
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    rest.post("pipelineJobs", body_of("sleeps", {"seconds": 600}), pipelineJobId="long")

    def lines() -> Any:
        detail = tasks(rest.get("pipelineJobs/long")).get("sleep", {})
        name = detail.get("executorDetail", {}).get("containerDetail", {}).get("mainJob", "")
        return name and rest.logs(f'resource.labels.job_id="{name.rpartition("/")[2]}"')

    assert _messages(eventually(lines)) == ["asleep"]


def test_a_traceback_is_an_error_only_where_the_attempt_failed(
    rest: VertexApi,
    body_of: Callable[..., JsonDict],
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    rest.post("pipelineJobs", body_of("one_fails"), pipelineJobId="fails")
    container = tasks(ended(rest, "fails"))["boom"]["executorDetail"]["containerDetail"]

    entries = rest.logs(f'resource.labels.job_id="{container["mainJob"].rpartition("/")[2]}"')

    severities = {entry["jsonPayload"]["message"]: entry["severity"] for entry in entries}
    assert severities["about to fail"] == "INFO"
    assert severities["Traceback (most recent call last):"] == "ERROR"
    assert severities["ValueError: no luck with 7"] == "ERROR"


@pytest.mark.parametrize(
    "filter",
    [
        *(
            '"free text"',
            "word",
            'colour="red"',
            "severity=LOUD",
            'timestamp>"soon"',
            "sample(insertId, 0.1)",
        ),
        *('resource.type="ml_job" AND', 'jsonPayload.message=~"("', 'textPayload>"a"', "labels=x"),
    ],
)
def test_a_filter_that_is_not_understood_is_refused(quick: VertexApi, filter: str) -> None:
    body = {"resourceNames": [f"projects/{quick.env.project}"], "filter": filter}

    answer = quick.session.post(
        f"{quick.env.api_endpoint}/v2/entries:list", json=body, timeout=REQUEST
    )

    assert quick.refused(answer)[:2] == (400, "INVALID_ARGUMENT")


def test_other_requests_are_refused(quick: VertexApi) -> None:
    def refused(**body: object) -> Any:
        answer = quick.session.post(
            f"{quick.env.api_endpoint}/v2/entries:list", json=body, timeout=REQUEST
        )
        return quick.refused(answer)[:2]

    assert refused() == (400, "INVALID_ARGUMENT")
    assert refused(resourceNames=["projects/another"]) == (403, "PERMISSION_DENIED")
    assert refused(resourceNames=[f"projects/{quick.env.project}"], colour="red") == (
        400,
        "INVALID_ARGUMENT",
    )
    assert refused(resourceNames=[f"projects/{quick.env.project}"], orderBy="severity") == (
        400,
        "INVALID_ARGUMENT",
    )


def test_entries_that_clients_write_are_kept(quick: VertexApi) -> None:
    name = f"projects/{quick.env.project}/logs/mine"
    body = {
        "logName": name,
        "labels": {"shared": "yes"},
        "entries": [
            {
                "textPayload": "one",
                "severity": "ERROR",
                "timestamp": "2026-01-01T00:00:00Z",
                "labels": {"n": "1"},
            },
            {"jsonPayload": {"message": "two"}},
        ],
    }

    assert (
        quick.session.post(
            f"{quick.env.api_endpoint}/v2/entries:write", json=body, timeout=REQUEST
        ).json()
        == {}
    )

    (text_entry, json_entry) = quick.logs(f'logName="{name}" labels.shared="yes"')
    assert (text_entry["textPayload"], text_entry["severity"], text_entry["labels"]) == (
        "one",
        "ERROR",
        {"shared": "yes", "n": "1"},
    )
    assert (json_entry["jsonPayload"], json_entry["severity"]) == ({"message": "two"}, "DEFAULT")
