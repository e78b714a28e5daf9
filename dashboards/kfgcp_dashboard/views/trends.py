"""The page of one pipeline over time.

It shows a metric over time, the best run of each experiment, and the importance of the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import streamlit as st

from kfgcp import Direction, Run
from kfgcp.tracking.metric_direction import guess_direction
from kfgcp_dashboard import address, data, elements, text
from kfgcp_dashboard.charts.trends import (
    MIN_RUNS,
    importance_chart,
    metric_over_time,
    rank_parameters,
)
from kfgcp_dashboard.elements import Column, Selection
from kfgcp_dashboard.links import PAGES

# The newest runs of a pipeline. More points cannot be told apart in a chart.
MAX_RUNS: Final = 1000

BEST_COLUMNS: Final = {
    "experiment": Column("Experiment"),
    "name": Column("Best run", width=230),
    "value": Column("Value", "number"),
    "runs": Column("Runs", "number"),
    "created_at": Column("Created", "time"),
    "params": Column("Parameters", width="large"),
}

# The values in the address -> what people read.
BEST_VALUES: Final = {"greatest": "highest", "least": "lowest"}
MAX_PARAMETER_WIDTH: Final = 30


def show() -> None:
    st.title("Sweeps and trends", anchor=False)
    workspace = data.workspace()
    store = workspace.store
    pipelines = data.column_values(store, "pipeline")
    if not pipelines:
        elements.show_empty("This page shows metrics of runs over time.", "kfgcp run PIPELINE")
        return
    first, second, third = st.columns([3, 3, 2], vertical_alignment="bottom")
    pipeline = address.widget(
        first.selectbox,
        "Pipeline",
        pipelines,
        key="pipeline",
        default=data.newest_pipeline(store),
    )
    runs = data.recent_runs(store, pipeline, MAX_RUNS)
    titles = data.metric_titles(runs)
    if not titles:
        elements.show_empty(f"No run of {text.visible(pipeline)} has reported a metric.")
        return
    metric = address.widget(
        second.selectbox,
        "Metric",
        list(titles),
        key="metric",
        default=next(iter(titles)),
        format_func=lambda key: titles[key],
    )
    title = titles[metric]
    direction = workspace.project.metrics.get(title) or guess_direction(title)
    best = address.widget(
        third.segmented_control,
        "Best value",
        list(BEST_VALUES),
        key="best",
        default="least" if direction is Direction.MINIMIZE else "greatest",
        format_func=lambda value: BEST_VALUES[value],
        required=True,
    )
    _show_over_time(runs, metric, title)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _show_best_runs(runs, metric, highest=best == "greatest")
    with right:
        _show_importance(runs, metric, title)


def _show_over_time(runs: Sequence[Run], metric: str, title: str) -> None:
    points = []
    without_value = 0
    # The runs are newest first, and the line goes from the oldest to the newest.
    for run in reversed(runs):
        value = _finite_value(run, metric)
        if value is None:
            without_value += 1
        elif run.created_at is not None:
            points.append((run.name or run.run_id, run.created_at, value, run.env))
    st.vega_lite_chart(metric_over_time(points, title), width="stretch", key="over-time")
    notes = [f"{len(points):,} runs"]
    if without_value:
        notes.append(f"{without_value:,} runs without a finite value")
    if len(runs) == MAX_RUNS:
        notes.append(f"only the newest {MAX_RUNS:,} runs")
    st.caption(", ".join(notes))


def _show_best_runs(runs: Sequence[Run], metric: str, *, highest: bool) -> None:
    st.subheader("Best run of each experiment", anchor=False)
    best_runs = []
    rows = []
    for experiment, candidates in _group_by_experiment(runs, metric).items():
        # The sort is stable, so the newest of equal runs is the best one.
        candidates.sort(key=lambda candidate: candidate[0], reverse=highest)
        value, run = candidates[0]
        best_runs.append(run)
        rows.append(_best_row(experiment, len(candidates), value, run))
    selected = elements.show_table(
        f"best-{metric}-{highest}", BEST_COLUMNS, rows, export="best", selection=Selection()
    )
    for index in selected:
        st.switch_page(PAGES["run"], query_params={"run": best_runs[index].run_id})


def _group_by_experiment(runs: Sequence[Run], metric: str) -> dict[str, list[tuple[float, Run]]]:
    """Return pairs (value of the metric, run) by experiment, without runs that lack the metric."""
    groups: dict[str, list[tuple[float, Run]]] = {}
    for run in runs:
        value = _finite_value(run, metric)
        if value is not None:
            groups.setdefault(run.experiment, []).append((value, run))
    return dict(sorted(groups.items()))


def _best_row(experiment: str, count: int, value: float, run: Run) -> data.Row:
    params = []
    for name, param in run.params.items():
        params.append(f"{name}={text.format_value(param, MAX_PARAMETER_WIDTH)}")
    return {
        "experiment": experiment,
        "name": run.name or run.run_id,
        "value": value,
        "runs": count,
        "created_at": run.created_at,
        "params": ", ".join(params),
    }


def _show_importance(runs: Sequence[Run], metric: str, title: str) -> None:
    st.subheader("Importance of the parameters", anchor=False)
    names: dict[str, None] = {}
    for run in runs:
        names.update(dict.fromkeys(run.params))
    params = {name: _param_values(runs, name) for name in names}
    scores = [_finite_value(run, metric) for run in runs]
    ranking = rank_parameters(params, scores)
    if not ranking:
        st.caption(
            f"A ranking needs at least {MIN_RUNS} runs with the metric"
            f" {text.escape_markdown(title)}, and a parameter with different values."
        )
        return
    st.vega_lite_chart(importance_chart(ranking), width="stretch", key="importance")
    st.caption(
        "The chart shows the correlation of each single parameter with the metric. A correlation"
        " does not prove that the parameter causes the difference."
    )


def _param_values(runs: Sequence[Run], name: str) -> list[object]:
    return [run.params.get(name) for run in runs]


def _finite_value(run: Run, metric: str) -> float | None:
    value = data.metrics_by_key(run).get(metric)
    if value is None or not text.is_finite(value):
        return None
    return value


# Streamlit runs this file as a script, each time that the page is shown.
show()
