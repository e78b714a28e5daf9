"""Filter and order the pipeline jobs of a list.

The comments of ListPipelineJobsRequest in aiplatform_v1 list the fields and operators. The list
does not have `schedule_name`, but `PipelineJobSchedule.list_jobs` of google-cloud-aiplatform uses
this field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.filters import (
    EQUALITY,
    ORDER,
    WILDCARD,
    Field,
    build_leaf_compiler,
    compile_list_filter,
    read_key,
)
from kfgcp.testing.google import camel_case, invalid, list_page, micros, snake_case
from kfgcp.testing.jobs_from_runs import JOB_STATES

DEFAULT_PAGE: Final = 50
# Nothing confirms this limit. Clients ask for 100.
MAX_PAGE: Final = 100
_ORDERS: Final = ("create_time", "update_time", "end_time", "start_time")


def select_jobs(
    jobs: Sequence[tuple[JsonObject, int]], query: Mapping[str, str]
) -> tuple[list[JsonObject], str]:
    """Return a page of jobs, and the token of the next page.

    Args:
        jobs: for each job, its JSON and its number in the order of creation.
        query: the parameters of the request: `filter`, `orderBy`, `pageSize` and `pageToken`.

    Raises:
        GoogleError: 400, the filter, the order, the size or the token is wrong.
    """
    filter_text = query.get("filter", "")
    order_text = query.get("orderBy", "")
    fits = compile_list_filter(filter_text, build_leaf_compiler(_FIELDS))
    sort_key = _build_sort_key(order_text)
    keyed_jobs = [(sort_key(job, number), job) for job, number in jobs if fits(job)]
    page, token = list_page(
        sorted(keyed_jobs, key=_read_sort_key),
        _read_sort_key,
        size=query.get("pageSize"),
        token=query.get("pageToken"),
        scope=f"{filter_text}\n{order_text}",
        default=DEFAULT_PAGE,
        maximum=MAX_PAGE,
    )
    return [job for _, job in page], token


def _read_sort_key(keyed_job: tuple[tuple[int, ...], JsonObject]) -> tuple[int, ...]:
    return keyed_job[0]


def _build_sort_key(order: str) -> Callable[[JsonObject, int], tuple[int, ...]]:
    """Return the sort key for an `orderBy`. The default is the newest job first."""
    parts = (order or "create_time desc").split(",")
    fields = [_parse_order(part.strip()) for part in parts if part.strip()]
    if not fields:
        raise invalid(f'Invalid order_by: "{order}" has no field.', "order_by")
    # The number of the job makes all keys different. Jobs of the same time are in the order of
    # creation.
    last_sign = fields[-1][1]

    def sort_key(job: JsonObject, number: int) -> tuple[int, ...]:
        times = [sign * micros(job.get(name)) for name, sign in fields]
        return (*times, last_sign * number)

    return sort_key


def _parse_order(part: str) -> tuple[str, int]:
    """Return the camelCase name of a field, and -1 for a descending order or 1 for an ascending."""
    name, _, direction = part.partition(" ")
    direction = direction.strip().lower()
    if snake_case(name) not in _ORDERS or direction not in ("", "asc", "desc"):
        raise invalid(
            f'Invalid order_by: "{part}" is not one of {", ".join(_ORDERS)} [desc].', "order_by"
        )
    sign = -1 if direction == "desc" else 1
    return camel_case(name), sign


# A filter may have any state of the enum PipelineState. No job of the stand-in has the last two.
_STATES: Final = (*JOB_STATES.values(), "PIPELINE_STATE_QUEUED", "PIPELINE_STATE_UNSPECIFIED")


def _pipeline_name(job: JsonObject) -> Any:
    return job["pipelineSpec"]["pipelineInfo"]["name"]


def _job_id(job: JsonObject) -> str:
    return str(job["name"]).rpartition("/")[2]


def _template_version(job: JsonObject) -> Any:
    return (job.get("templateMetadata") or {}).get("version")


_FIELDS: Final[Mapping[str, Field[JsonObject]]] = {
    "pipeline_name": Field(_pipeline_name, EQUALITY),
    "display_name": Field(read_key("displayName"), WILDCARD),
    "pipeline_job_user_id": Field(_job_id, WILDCARD),
    "state": Field(read_key("state"), EQUALITY, choices=_STATES),
    "create_time": Field(read_key("createTime"), ORDER, "time"),
    "update_time": Field(read_key("updateTime"), ORDER, "time"),
    "end_time": Field(read_key("endTime"), ORDER, "time"),
    "labels": Field(read_key("labels"), kind="map"),
    "template_uri": Field(read_key("templateUri"), WILDCARD),
    "template_metadata.version": Field(_template_version, WILDCARD),
    "schedule_name": Field(read_key("scheduleName"), EQUALITY),
}
