"""Runs side by side: what differs, in numbers and in pictures. The first is what the others are
measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import streamlit as st

from kfgcp.model import Run, timestamp
from kfgcp.tracking.compare import MISSING, Comparison, Difference
from kfgcp_dashboard import address, data, elements, text, versions
from kfgcp_dashboard.charts.curves import confusion_chart, roc_chart
from kfgcp_dashboard.charts.gantt import compare_timelines
from kfgcp_dashboard.charts.runs import metric_bars, parallel_chart, scatter_chart
from kfgcp_dashboard.elements import Column

MOST: Final = 20
RECENT: Final = 200
"""Runs that the picker offers beside those that are picked."""
GROUPS: Final = {
    "run": "Run",
    "params": "Parameters",
    "metrics": "Metrics",
    "tasks": "Tasks",
    "cache": "Cache",
    "images": "Images",
    "durations": "Durations",
}
BETTER: Final = {True: " ▲", False: " ▽", None: ""}


def show() -> None:
    workspace = data.workspace()
    project, store = workspace.project, workspace.store
    ids = st.query_params.get_all("run")
    st.title("Compare", anchor=False)
    runs, missing = data.runs_of(store, ids[:MOST])
    for message in missing:
        st.warning(text.escape_markdown(message), icon=":material/search_off:")
    runs = _picker(runs)
    if len(runs) < 2:
        elements.empty("Pick two runs or more, here or on the page Runs.", "kfgcp compare RUN RUN")
        return
    names = data.names(runs)
    compared = data.compared(store, runs, project.metrics)
    _differences(compared, names, data.metric_titles(runs))
    _metrics(runs, names)
    _quality(runs, names)
    _pictures(runs, names)
    _versions(compared, names)
    st.subheader("Timelines", anchor=False)
    now = timestamp(datetime.now(UTC).timestamp())
    st.vega_lite_chart(
        compare_timelines([(names[run.run_id], run) for run in runs], now),
        width="content",
        key="gantts",
    )


def _picker(runs: list[Run]) -> list[Run]:
    """The runs to compare, in the order they were picked; the address follows."""
    store = data.workspace().store
    known = {run.run_id: run for run in (*runs, *store.select(limit=RECENT))}
    names = data.names(list(known.values()))
    picked = st.multiselect(
        "Runs",
        list(known),
        [run.run_id for run in runs],
        format_func=lambda run_id: f"{names[run_id]}  {text.short_id(run_id)}",
        max_selections=MOST,
        placeholder="Pick runs; the first is the baseline",
        help="The first is the baseline.",
        key="compare-" + ",".join(run.run_id for run in runs),
    )
    if picked != [run.run_id for run in runs]:
        st.query_params.from_dict({**st.query_params.to_dict(), "run": picked})
        st.rerun()
    return runs


def _differences(compared: Comparison, names: Mapping[str, str], titles: Mapping[str, str]) -> None:
    st.subheader("What differs", anchor=False)
    if not compared.differences:
        st.caption("Nothing: facts, parameters, metrics, states and durations are the same.")
        return
    ids = [run.run_id for run in compared.runs]
    columns = {"group": Column(" ", pinned=True), "name": Column("Name", pinned=True)}
    for number, run_id in enumerate(ids):
        columns[run_id] = Column(names[run_id] + (" (baseline)" if number == 0 else ""), "right")
    rows = [_row(difference, ids, titles) for difference in compared.differences]
    elements.table("differences", columns, rows, export="differences")
    if any(
        better is not None for difference in compared.differences for better in difference.better
    ):
        st.caption("▲ better and ▽ worse than the baseline")


def _row(difference: Difference, ids: Sequence[str], titles: Mapping[str, str]) -> dict[str, Any]:
    name = (
        titles.get(difference.name, difference.name)
        if difference.group == "metrics"
        else difference.name
    )
    row: dict[str, Any] = {"group": GROUPS.get(difference.group, difference.group), "name": name}
    cells = zip(ids, difference.values, difference.deltas, difference.better, strict=True)
    for run_id, value, delta, better in cells:
        row[run_id] = _cell(value, delta, better, seconds=difference.group == "durations")
    return row


def _cell(value: Any, delta: float | None, better: bool | None, *, seconds: bool) -> str:
    if value is MISSING:
        return str(MISSING)
    shown = text.format_duration(value) if seconds else text.format_value(value)
    if not delta:
        return shown
    size = text.format_duration(abs(delta)) if seconds else _size(abs(delta))
    return f"{shown}   {'+' if delta > 0 else '−'}{size}{BETTER[better]}"  # noqa: RUF001


def _size(delta: float) -> str:
    """Three digits of a difference; whole numbers as they are."""
    return text.format_number(delta) if isinstance(delta, int) else f"{delta:.3g}"


def _metrics(runs: Sequence[Run], names: Mapping[str, str]) -> None:
    titles = data.metric_titles(runs)
    if not titles:
        return
    st.subheader("Metrics", anchor=False)
    chosen = address.widget(
        st.pills,
        "Metrics",
        list(titles),
        key="metric",
        default=list(titles)[:6],
        selection_mode="multi",
        label_visibility="collapsed",
        format_func=lambda key: text.escape_markdown(titles[key]),
    )
    tables = {run.run_id: data.metrics_of(run) for run in runs}
    values = {
        titles[key]: [(names[run.run_id], tables[run.run_id].get(key)) for run in runs]
        for key in chosen
    }
    if values:
        st.vega_lite_chart(metric_bars(values), width="content", key="bars")


def _quality(runs: Sequence[Run], names: Mapping[str, str]) -> None:
    """ROC curves over each other, confusion matrices side by side."""
    curves, matrices = {}, []
    for run in runs:
        for artifact in run.artifacts:
            several = sum(1 for each in run.artifacts if each.type == artifact.type) > 1
            name = f"{names[run.run_id]} {artifact.task}" if several else names[run.run_id]
            if curve := data.roc_of(artifact):
                curves[name] = curve
            if (matrix := data.confusion_of(artifact)) is not None:
                matrices.append((name, matrix))
    if not (curves or matrices):
        return
    left, right = st.columns([2, 3], gap="large")
    if curves:
        with left:
            st.subheader("ROC", anchor=False)
            st.vega_lite_chart(roc_chart(curves), width="stretch", key="roc")
    if matrices:
        with right:
            st.subheader("Confusion", anchor=False)
            for start in range(0, len(matrices), 2):
                for cell, (name, matrix) in zip(
                    st.columns(2), matrices[start : start + 2], strict=False
                ):
                    with cell:
                        st.text(text.visible(name))
                        key = f"confusion-{start}-{name}"
                        st.vega_lite_chart(
                            confusion_chart(matrix.labels, matrix.rows), width="stretch", key=key
                        )


def _pictures(runs: Sequence[Run], names: Mapping[str, str]) -> None:
    columns = _columns(runs)
    if not columns:
        return
    varied = {
        title: values
        for title, values in columns.items()
        if len({str(value) for value in values}) > 1
    }
    st.subheader("Parameters and metrics together", anchor=False)
    st.echarts_chart(
        parallel_chart([names[run.run_id] for run in runs], varied or columns),
        height=340,
        key="parallel",
    )
    st.subheader("Any two", anchor=False)
    left, right = st.columns(2)
    titles = list(varied or columns)
    x = address.widget(left.selectbox, "Across", titles, key="x", default=titles[0])
    y = address.widget(right.selectbox, "Up", titles, key="y", default=titles[-1])
    points = [(names[run.run_id], columns[x][at], columns[y][at]) for at, run in enumerate(runs)]
    st.vega_lite_chart(scatter_chart(points, x, y), width="stretch", key="scatter")


def _columns(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Every parameter and metric with a value a run, None where it has none; and how long it
    took."""
    params = dict.fromkeys(name for run in runs for name in run.params)
    titles = data.metric_titles(runs)
    tables = [data.metrics_of(run) for run in runs]
    found: dict[str, list[Any]] = {name: [run.params.get(name) for run in runs] for name in params}
    found |= {title: [table.get(key) for table in tables] for key, title in titles.items()}
    return found | {"seconds": [run.seconds for run in runs]}


def _versions(compared: Comparison, names: Mapping[str, str]) -> None:
    """What is different in the pipelines themselves, against that of the baseline."""
    if not compared.versions:
        return
    st.subheader("Pipelines", anchor=False)
    changes = {change.version: change for change in compared.versions}
    chosen = next(iter(changes))
    if len(changes) > 1:
        chosen = address.widget(
            st.selectbox,
            "Against the baseline",
            list(changes),
            key="version",
            default=chosen,
            format_func=lambda version: (
                f"{names[changes[version].runs[0]]} ({data.short(version)})"
            ),
        )
    versions.differences(changes[chosen].changes, key="compare")


show()
