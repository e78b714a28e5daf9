"""When tasks ran."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from kfgcp.model import Run, Task
from kfgcp_dashboard.colors import STATES
from kfgcp_dashboard.text import duration

ROW: Final = 22
"""Pixels of a bar and the space around it."""
MOST: Final = 200
"""Bars of a run at most: a loop may have thousands of tasks, and nobody reads so many."""


def gantt(tasks: Sequence[Task], now: str) -> dict[str, Any]:
    """The tasks of a run as bars over time in UTC, in the order they started; what goes on ends at
    `now`."""
    started = [task for task in tasks if task.started_at is not None][:MOST]
    rows = [
        {
            **_bar(task, now),
            "start": task.started_at,
            "end": task.ended_at or now,
            "path": task.path,
        }
        for task in started
    ]
    return {
        "data": {"values": rows},
        "height": {"step": ROW},
        "mark": {"type": "bar", "cornerRadius": 3, "height": {"band": 0.62}, "minBandSize": 4},
        "encoding": {
            "y": _paths([task.path for task in started]),
            "x": {"field": "start", "type": "temporal", "scale": {"type": "utc"}, "title": None},
            "x2": {"field": "end"},
            "color": _states(),
            "tooltip": _tooltip(),
        },
    }


def gantts(runs: Sequence[tuple[str, Run]], now: str) -> dict[str, Any]:
    """The tasks of several runs below each other, on one axis: seconds since each run started.

    Args:
        runs: each with the name to show.
        now: where what goes on ends.
    """
    rows = []
    for name, run in runs:
        started = [task for task in run.tasks if task.started_at is not None][:MOST]
        begin = min((_seconds(task.started_at) for task in started), default=0.0)
        for task in started:
            start, end = _seconds(task.started_at) - begin, _seconds(task.ended_at or now) - begin
            rows.append(
                {
                    **_bar(task, now),
                    "run": name,
                    "path": task.path,
                    "start": round(start, 3),
                    "end": round(end, 3),
                }
            )
    paths = dict.fromkeys(row["path"] for row in rows)
    return {
        "data": {"values": rows},
        "facet": {
            "row": {
                "field": "run",
                "type": "nominal",
                "sort": [name for name, _ in runs],
                "header": {
                    "title": None,
                    "labelAngle": 0,
                    "labelAlign": "left",
                    "labelAnchor": "start",
                    "labelOrient": "top",
                    "labelFontWeight": 600,
                },
            }
        },
        "spec": {
            "width": 900,
            "height": {"step": ROW},
            "mark": {"type": "bar", "cornerRadius": 3, "height": {"band": 0.62}},
            "encoding": {
                "y": _paths(list(paths)),
                "x": {
                    "field": "start",
                    "type": "quantitative",
                    "title": "seconds since the run started",
                },
                "x2": {"field": "end"},
                "color": _states(),
                "tooltip": _tooltip(),
            },
        },
        "resolve": {"scale": {"y": "independent"}},
    }


def _bar(task: Task, now: str) -> dict[str, Any]:
    end = task.ended_at or now
    took = _seconds(end) - _seconds(task.started_at)
    return {"state": task.state.value, "took": duration(took)}


def _paths(paths: list[str]) -> dict[str, Any]:
    return {
        "field": "path",
        "type": "nominal",
        "sort": paths,
        "title": None,
        "axis": {"labelLimit": 260},
    }


def _states() -> dict[str, Any]:
    scale = {"domain": list(STATES), "range": list(STATES.values())}
    return {"field": "state", "type": "nominal", "scale": scale, "legend": None}


def _tooltip() -> list[dict[str, Any]]:
    return [
        {"field": name, "type": "nominal", "title": title}
        for name, title in (("path", "task"), ("state", "state"), ("took", "took"))
    ]


def _seconds(at: str | None) -> float:
    return 0.0 if at is None else datetime.fromisoformat(at).timestamp()
