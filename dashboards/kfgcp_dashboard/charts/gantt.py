"""Draw when tasks ran, as bars over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from kfgcp import Run, Task
from kfgcp_dashboard.charts import ChartSpec
from kfgcp_dashboard.colors import STATES
from kfgcp_dashboard.text import format_duration

# Pixels of a bar with the space around it.
ROW_HEIGHT: Final = 22

# A loop can have thousands of tasks, and nobody reads that many bars.
MAX_BARS: Final = 200


def run_timeline(tasks: Sequence[Task], now: str) -> ChartSpec:
    """Return the tasks of a run as bars over the time in UTC.

    Args:
        tasks: in the order in which they started. Tasks that did not start are left out.
        now: timestamp, where the bars of unfinished tasks end.
    """
    rows: list[ChartSpec] = []
    paths: list[str] = []
    for task in _started_tasks(tasks):
        end = task.ended_at or now
        rows.append({**_bar_facts(task, now), "start": task.started_at, "end": end})
        paths.append(task.path)
    return {
        "data": {"values": rows},
        "height": {"step": ROW_HEIGHT},
        "mark": {"type": "bar", "cornerRadius": 3, "height": {"band": 0.62}, "minBandSize": 4},
        "encoding": {
            "y": _path_axis(paths),
            "x": {"field": "start", "type": "temporal", "scale": {"type": "utc"}, "title": None},
            "x2": {"field": "end"},
            "color": _state_color(),
            "tooltip": _tooltip(),
        },
    }


def compare_timelines(runs: Sequence[tuple[str, Run]], now: str) -> ChartSpec:
    """Return the tasks of several runs below each other, by the seconds since each run started.

    Args:
        runs: pairs of the name to show and the run.
        now: timestamp, where the bars of unfinished tasks end.
    """
    rows: list[ChartSpec] = []
    names = []
    for name, run in runs:
        names.append(name)
        rows += _relative_rows(name, run, now)
    # Tasks keep the order in which they first appear, so equal tasks have equal places.
    paths = list(dict.fromkeys(str(row["path"]) for row in rows))
    header = {
        "title": None,
        "labelAngle": 0,
        "labelAlign": "left",
        "labelAnchor": "start",
        "labelOrient": "top",
        "labelFontWeight": 600,
    }
    x_axis = {"field": "start", "type": "quantitative", "title": "seconds since the run started"}
    return {
        "data": {"values": rows},
        "facet": {"row": {"field": "run", "type": "nominal", "sort": names, "header": header}},
        "spec": {
            "width": 900,
            "height": {"step": ROW_HEIGHT},
            "mark": {"type": "bar", "cornerRadius": 3, "height": {"band": 0.62}},
            "encoding": {
                "y": _path_axis(paths),
                "x": x_axis,
                "x2": {"field": "end"},
                "color": _state_color(),
                "tooltip": _tooltip(),
            },
        },
        # Each run has only the rows of its own tasks.
        "resolve": {"scale": {"y": "independent"}},
    }


def _relative_rows(name: str, run: Run, now: str) -> list[ChartSpec]:
    tasks = _started_tasks(run.tasks)
    run_start = min((_unix_time(task.started_at) for task in tasks), default=0.0)
    rows: list[ChartSpec] = []
    for task in tasks:
        start = _unix_time(task.started_at) - run_start
        end = _unix_time(task.ended_at or now) - run_start
        times = {"start": round(start, 3), "end": round(end, 3)}
        rows.append({**_bar_facts(task, now), **times, "run": name})
    return rows


def _started_tasks(tasks: Sequence[Task]) -> list[Task]:
    return [task for task in tasks if task.started_at is not None][:MAX_BARS]


def _bar_facts(task: Task, now: str) -> ChartSpec:
    seconds = _unix_time(task.ended_at or now) - _unix_time(task.started_at)
    return {"path": task.path, "state": task.state.value, "duration": format_duration(seconds)}


def _path_axis(paths: list[str]) -> ChartSpec:
    return {
        "field": "path",
        "type": "nominal",
        "sort": paths,
        "title": None,
        "axis": {"labelLimit": 260},
    }


def _state_color() -> ChartSpec:
    scale = {"domain": list(STATES), "range": list(STATES.values())}
    return {"field": "state", "type": "nominal", "scale": scale, "legend": None}


def _tooltip() -> list[ChartSpec]:
    return [
        {"field": "path", "type": "nominal", "title": "task"},
        {"field": "state", "type": "nominal", "title": "state"},
        {"field": "duration", "type": "nominal", "title": "duration"},
    ]


def _unix_time(timestamp: str | None) -> float:
    if timestamp is None:
        return 0.0
    return datetime.fromisoformat(timestamp).timestamp()
