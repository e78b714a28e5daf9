"""Which pipeline jobs a list has, in which order: the comments of ListPipelineJobsRequest say what
is supported.

`schedule_name` is not among them, but `PipelineJobSchedule.list_jobs` filters by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kfgcp.testing.filters import (
    EQUALITY,
    ORDER,
    WILDCARD,
    Field,
    FilterError,
    build_leaf,
    compile_filter,
)
from kfgcp.testing.google import camel_case, invalid, list_page, micros, snake_case
from kfgcp.testing.jobs_from_runs import JOB_STATES

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 100
"""Not confirmed; 100 is what clients use."""
_ORDERS: Final = ("create_time", "update_time", "end_time", "start_time")

View = Mapping[str, Any]


def listed(jobs: Sequence[tuple[View, int]], query: Mapping[str, str]) -> tuple[list[View], str]:
    """A page of jobs and the token of the next one. jobs: each with its number in the order of
    creation.

    Raises:
        GoogleError: 400, filter, order, size or token are not understood.
    """
    try:
        wanted = compile_filter(query.get("filter", ""), build_leaf(_FIELDS))
    except FilterError as error:
        raise invalid(f"Invalid filter: {error}.", "filter") from None
    key = _order(query.get("orderBy", ""))
    found = sorted(
        ((key(view, number), view) for view, number in jobs if wanted(view)),
        key=lambda entry: entry[0],
    )
    items, token = list_page(
        found,
        lambda entry: entry[0],
        size=query.get("pageSize"),
        token=query.get("pageToken"),
        scope=f"{query.get('filter', '')}\n{query.get('orderBy', '')}",
        default=DEFAULT_PAGE,
        maximum=MAX_PAGE,
    )
    return [view for _, view in items], token


def _order(text: str) -> Callable[[View, int], tuple[int, ...]]:
    """The sort key that an `orderBy` asks for; newest first without one."""
    fields: list[tuple[str, int]] = []
    for part in filter(None, (part.strip() for part in (text or "create_time desc").split(","))):
        name, _, direction = part.partition(" ")
        if snake_case(name) not in _ORDERS or direction.strip().lower() not in ("", "asc", "desc"):
            raise invalid(
                f'Invalid order_by: "{part}" is not one of {", ".join(_ORDERS)} [desc].', "order_by"
            )
        fields.append((camel_case(name), -1 if direction.strip().lower() == "desc" else 1))
    last = fields[-1][1]
    if len(fields) == 1:
        only = fields[0][0]
        return lambda view, number: (last * micros(view.get(only)), last * number)
    return lambda view, number: (
        *(sign * micros(view.get(name)) for name, sign in fields),
        last * number,
    )


_STATES: Final = (*JOB_STATES.values(), "PIPELINE_STATE_QUEUED", "PIPELINE_STATE_UNSPECIFIED")
"""All of the enum PipelineState: what may be asked for, though no job of the stand-in waits in a
queue."""


def _plain(name: str) -> Callable[[View], Any]:
    return lambda view: view.get(name)


_FIELDS: Final[Mapping[str, Field[View]]] = {
    "pipeline_name": Field(lambda view: view["pipelineSpec"]["pipelineInfo"]["name"], EQUALITY),
    "display_name": Field(_plain("displayName"), WILDCARD),
    "pipeline_job_user_id": Field(lambda view: view["name"].rpartition("/")[2], WILDCARD),
    "state": Field(_plain("state"), EQUALITY, choices=_STATES),
    "create_time": Field(_plain("createTime"), ORDER, "time"),
    "update_time": Field(_plain("updateTime"), ORDER, "time"),
    "end_time": Field(_plain("endTime"), ORDER, "time"),
    "labels": Field(_plain("labels"), kind="map"),
    "template_uri": Field(_plain("templateUri"), WILDCARD),
    "template_metadata.version": Field(
        lambda view: (view.get("templateMetadata") or {}).get("version"), WILDCARD
    ),
    "schedule_name": Field(_plain("scheduleName"), EQUALITY),
}
