"""How a metric went over time, the best run of each experiment, and which parameters it goes along
with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import streamlit as st

from kfgcp.model import Direction, Run
from kfgcp.tracking.metric_direction import goal_of
from kfgcp_dashboard import address, data, elements, text
from kfgcp_dashboard.charts.trends import (
    MIN_RUNS,
    importance_chart,
    metric_over_time,
    rank_parameters,
)
from kfgcp_dashboard.elements import Column
from kfgcp_dashboard.links import PAGES

MOST: Final = 1000
"""Runs that are looked at, the newest."""
BEST: Final = {
    "experiment": Column("Experiment"),
    "name": Column("Best run", width=230),
    "value": Column("Value", "number"),
    "runs": Column("Runs", "number"),
    "created_at": Column("Made", "time"),
    "params": Column("Parameters", width="large"),
}


def show() -> None:
    st.title("Sweeps and trends", anchor=False)
    workspace = data.workspace()
    project, store = workspace.project, workspace.store
    pipelines = data.values(store, "pipeline")
    if not pipelines:
        elements.empty("Metrics of runs are shown here over time.", "kfgcp run PIPELINE")
        return
    first, second, third = st.columns([3, 3, 2], vertical_alignment="bottom")
    newest = data.newest_pipeline(store)
    pipeline = address.widget(
        first.selectbox, "Pipeline", pipelines, key="pipeline", default=newest
    )
    runs = data.history(store, pipeline, MOST)
    titles = data.metric_titles(runs)
    if not titles:
        elements.empty(f"No run of {text.visible(pipeline)} has reported a metric.")
        return
    metric = address.widget(
        second.selectbox,
        "Metric",
        list(titles),
        key="metric",
        default=next(iter(titles)),
        format_func=lambda key: titles[key],
    )
    direction = project.metrics.get(titles[metric]) or goal_of(titles[metric])
    best = address.widget(
        third.segmented_control,
        "Best is",
        ["greatest", "least"],
        key="best",
        default="least" if direction is Direction.MINIMIZE else "greatest",
        required=True,
    )
    _over_time(runs, metric, titles[metric])
    left, right = st.columns([3, 2], gap="large")
    with left:
        _best(runs, metric, greatest=best == "greatest")
    with right:
        _importance(runs, metric, titles[metric])


def _over_time(runs: Sequence[Run], metric: str, title: str) -> None:
    points = [
        (run.name or run.run_id, run.created_at, value, run.env)
        for run in reversed(runs)
        if run.created_at is not None and (value := _value(run, metric)) is not None
    ]
    st.vega_lite_chart(metric_over_time(points, title), width="stretch", key="over-time")
    left_out = sum(1 for run in runs if _value(run, metric) is None)
    said = [f"{len(points):,} runs"]
    if left_out:
        said.append(f"{left_out:,} without a finite value")
    if len(runs) == MOST:
        said.append(f"the newest {MOST:,} only")
    st.caption(", ".join(said))


def _best(runs: Sequence[Run], metric: str, *, greatest: bool) -> None:
    st.subheader("Best run of each experiment", anchor=False)
    groups: dict[str, list[tuple[float, Run]]] = {}
    for run in runs:
        value = _value(run, metric)
        if value is not None:
            groups.setdefault(run.experiment, []).append((value, run))
    chosen = [
        (experiment, len(found), *(max if greatest else min)(found, key=lambda pair: pair[0]))
        for experiment, found in sorted(groups.items())
    ]
    rows = [_row(experiment, count, value, run) for experiment, count, value, run in chosen]
    event = elements.table(
        f"best-{metric}-{greatest}",
        BEST,
        rows,
        export="best",
        on_select="rerun",
        selection_mode="single-row",
    )
    for row in event["selection"]["rows"]:
        st.switch_page(PAGES["run"], query_params={"run": chosen[row][3].run_id})


def _row(experiment: str, count: int, value: float, run: Run) -> dict[str, Any]:
    params = ", ".join(f"{name}={text.format_value(each, 30)}" for name, each in run.params.items())
    return {
        "experiment": experiment,
        "name": run.name or run.run_id,
        "value": value,
        "runs": count,
        "created_at": run.created_at,
        "params": params,
    }


def _importance(runs: Sequence[Run], metric: str, title: str) -> None:
    st.subheader("What it goes along with", anchor=False)
    names = dict.fromkeys(name for run in runs for name in run.params)
    params = {name: [run.params.get(name) for run in runs] for name in names}
    found = rank_parameters(params, [_value(run, metric) for run in runs])
    if not found:
        st.caption(
            f"No parameter differs in {MIN_RUNS} runs or more that have"
            f" {text.escape_markdown(title)}."
        )
        return
    st.vega_lite_chart(importance_chart(found), width="stretch", key="importance")
    st.caption("A correlation, each parameter by itself: it is no proof that one makes the other.")


def _value(run: Run, metric: str) -> float | None:
    value = data.metrics_of(run).get(metric)
    return value if value is not None and text.is_finite(value) else None


show()
