"""The page with runs side by side: their differences as a table and as charts.

The first run is the baseline of the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import streamlit as st

from kfgcp import Comparison, Difference, Run
from kfgcp.model import timestamp
from kfgcp.tracking.artifact_contents import ConfusionMatrix
from kfgcp.tracking.difference import MISSING
from kfgcp_dashboard import address, data, elements, text, versions
from kfgcp_dashboard.charts.curves import confusion_chart, roc_chart
from kfgcp_dashboard.charts.gantt import compare_timelines
from kfgcp_dashboard.charts.runs import metric_bars, parallel_chart, scatter_chart
from kfgcp_dashboard.elements import Column

# More columns do not fit into a page.
MAX_RUNS: Final = 20

# The choice of runs offers this many of the newest runs, besides the runs in the address.
RECENT_RUNS: Final = 200

# Metrics that are drawn when nobody has chosen metrics.
DEFAULT_METRICS: Final = 6

# The groups of a comparison -> their titles.
GROUPS: Final = {
    "run": "Run",
    "params": "Parameters",
    "metrics": "Metrics",
    "tasks": "Tasks",
    "cache": "Cache",
    "images": "Images",
    "durations": "Durations",
}
BETTER_SIGNS: Final = {True: " ▲", False: " ▽", None: ""}


def show() -> None:
    workspace = data.workspace()
    store = workspace.store
    st.title("Compare", anchor=False)
    ids = st.query_params.get_all("run")[:MAX_RUNS]
    runs, problems = data.get_runs(store, ids)
    for problem in problems:
        st.warning(text.escape_markdown(problem), icon=":material/search_off:")
    _show_run_choice(runs)
    if len(runs) < 2:
        elements.show_empty(
            "Select two or more runs, here or on the page Runs.", "kfgcp compare RUN RUN"
        )
        return
    names = data.display_names(runs)
    comparison = data.compare_runs(store, runs, workspace.project.metrics)
    _show_differences(comparison, names, data.metric_titles(runs))
    _show_metrics(runs, names)
    _show_quality(runs, names)
    _show_correlations(runs, names)
    _show_pipelines(comparison, names)
    st.subheader("Timelines", anchor=False)
    now = timestamp(datetime.now(UTC).timestamp())
    named_runs = []
    for run in runs:
        name = names[run.run_id]
        named_runs.append((name, run))
    st.vega_lite_chart(compare_timelines(named_runs, now), width="content", key="gantts")


def _show_run_choice(runs: Sequence[Run]) -> None:
    """Show the choice of runs. Another choice goes into the address and runs the page again."""
    available = {run.run_id: run for run in runs}
    for run in data.workspace().store.select(limit=RECENT_RUNS):
        available.setdefault(run.run_id, run)
    names = data.display_names(list(available.values()))
    ids = [run.run_id for run in runs]
    chosen = st.multiselect(
        "Runs",
        list(available),
        ids,
        format_func=lambda run_id: f"{names[run_id]}  {text.short_id(run_id)}",
        max_selections=MAX_RUNS,
        placeholder="Select runs",
        help="The first run is the baseline: the other runs are compared with it.",
        # The address can change without this widget, and Streamlit ignores a new default of a
        # key that it knows (streamlit issue 12880).
        key="compare-" + ",".join(ids),
    )
    if chosen != ids:
        st.query_params.from_dict({**st.query_params.to_dict(), "run": chosen})
        st.rerun()


def _show_differences(
    comparison: Comparison, names: Mapping[str, str], titles: Mapping[str, str]
) -> None:
    st.subheader("Differences", anchor=False)
    if not comparison.differences:
        st.caption("None: versions, parameters, metrics, states and durations are the same.")
        return
    ids = [run.run_id for run in comparison.runs]
    columns = {"group": Column(" ", pinned=True), "name": Column("Name", pinned=True)}
    for run_id in ids:
        columns[run_id] = Column(names[run_id], "right")
    columns[ids[0]] = Column(f"{names[ids[0]]} (baseline)", "right")
    rows = [_difference_row(difference, ids, titles) for difference in comparison.differences]
    elements.show_table("differences", columns, rows, export="differences")
    if _has_better_or_worse(comparison.differences):
        st.caption("▲ better and ▽ worse than the baseline")


def _has_better_or_worse(differences: Sequence[Difference]) -> bool:
    """Return whether a value in the table is marked as better or worse than the baseline."""
    for difference in differences:
        if any(is_better is not None for is_better in difference.better):
            return True
    return False


def _difference_row(
    difference: Difference, ids: Sequence[str], titles: Mapping[str, str]
) -> data.Row:
    name = difference.name
    if difference.group == "metrics":
        name = titles.get(name, name)
    row: data.Row = {"group": GROUPS.get(difference.group, difference.group), "name": name}
    cells = zip(ids, difference.values, difference.deltas, difference.better, strict=True)
    for run_id, value, delta, is_better in cells:
        if difference.group == "durations":
            row[run_id] = _format_duration_cell(value, delta)
        else:
            row[run_id] = _format_cell(value, delta, is_better)
    return row


def _format_cell(value: object, delta: float | None, is_better: bool | None) -> str:
    """Return a value with its distance from the baseline: `0.91   +0.02 ▲`."""
    if value is MISSING:
        return str(MISSING)
    cell = text.format_value(value)
    if not delta:
        return cell
    if isinstance(delta, int):
        distance = text.format_number(abs(delta))
    else:
        distance = f"{abs(delta):.3g}"
    return f"{cell}   {_sign(delta)}{distance}{BETTER_SIGNS[is_better]}"


def _format_duration_cell(value: object, delta: float | None) -> str:
    if not isinstance(value, (int, float)):
        return str(MISSING)
    cell = text.format_duration(value)
    if not delta:
        return cell
    return f"{cell}   {_sign(delta)}{text.format_duration(abs(delta))}"


def _sign(delta: float) -> str:
    return "+" if delta > 0 else "−"  # noqa: RUF001


def _show_metrics(runs: Sequence[Run], names: Mapping[str, str]) -> None:
    titles = data.metric_titles(runs)
    if not titles:
        return
    st.subheader("Metrics", anchor=False)
    chosen = address.widget(
        st.pills,
        "Metrics",
        list(titles),
        key="metric",
        default=list(titles)[:DEFAULT_METRICS],
        selection_mode="multi",
        label_visibility="collapsed",
        format_func=lambda key: text.escape_markdown(titles[key]),
    )
    metrics: dict[str, list[tuple[str, float | None]]] = {}
    for run in runs:
        values = data.metrics_by_key(run)
        for key in chosen:
            run_value = (names[run.run_id], values.get(key))
            metrics.setdefault(titles[key], []).append(run_value)
    if metrics:
        st.vega_lite_chart(metric_bars(metrics), width="content", key="bars")


def _show_quality(runs: Sequence[Run], names: Mapping[str, str]) -> None:
    """Show ROC curves over each other, and confusion matrices side by side."""
    curves: dict[str, list[tuple[float, float]]] = {}
    matrices: list[tuple[str, ConfusionMatrix]] = []
    for run in runs:
        for artifact in run.artifacts:
            name = names[run.run_id]
            same_type = [other for other in run.artifacts if other.type == artifact.type]
            if len(same_type) > 1:
                name = f"{name} {artifact.task}"
            curve = data.read_roc(artifact)
            if curve:
                curves[name] = curve
            matrix = data.read_confusion(artifact)
            if matrix is not None:
                matrices.append((name, matrix))
    if not curves and not matrices:
        return
    left, right = st.columns([2, 3], gap="large")
    if curves:
        with left:
            st.subheader("ROC curves", anchor=False)
            st.vega_lite_chart(roc_chart(curves), width="stretch", key="roc")
    if matrices:
        with right:
            st.subheader("Confusion matrices", anchor=False)
            _show_matrices(matrices)


def _show_matrices(matrices: Sequence[tuple[str, ConfusionMatrix]]) -> None:
    for start in range(0, len(matrices), 2):
        pair = matrices[start : start + 2]
        for cell, (name, matrix) in zip(st.columns(2), pair, strict=False):
            cell.text(text.visible(name))
            cell.vega_lite_chart(
                confusion_chart(matrix.labels, matrix.rows),
                width="stretch",
                key=f"confusion-{start}-{name}",
            )


def _show_correlations(runs: Sequence[Run], names: Mapping[str, str]) -> None:
    """Show all parameters and metrics in one chart, and two of them in another."""
    columns = _value_columns(runs)
    # Columns with one value say nothing, unless there are no others.
    varied = {title: values for title, values in columns.items() if _is_varied(values)}
    if varied:
        columns = varied
    st.subheader("All parameters and metrics", anchor=False)
    run_names = [names[run.run_id] for run in runs]
    chart = parallel_chart(run_names, columns)
    st.echarts_chart(chart, height=340, key="parallel")
    st.subheader("Two values", anchor=False)
    left, right = st.columns(2)
    titles = list(columns)
    x = address.widget(left.selectbox, "Horizontal axis", titles, key="x", default=titles[0])
    y = address.widget(right.selectbox, "Vertical axis", titles, key="y", default=titles[-1])
    points = []
    for run, x_value, y_value in zip(runs, columns[x], columns[y], strict=True):
        points.append((names[run.run_id], x_value, y_value))
    st.vega_lite_chart(scatter_chart(points, x, y), width="stretch", key="scatter")


def _is_varied(values: Sequence[object]) -> bool:
    return len(set(map(str, values))) > 1


def _value_columns(runs: Sequence[Run]) -> dict[str, list[object]]:
    """Return parameters, metrics and the duration, with a value for each run.

    The value is None where a run has none.
    """
    columns: dict[str, list[object]] = {}
    for run in runs:
        for name in run.params:
            columns[name] = [other.params.get(name) for other in runs]
    metrics = [data.metrics_by_key(run) for run in runs]
    for key, title in data.metric_titles(runs).items():
        columns[title] = [values.get(key) for values in metrics]
    columns["seconds"] = [run.seconds for run in runs]
    return columns


def _show_pipelines(comparison: Comparison, names: Mapping[str, str]) -> None:
    """Show how the other pipelines differ from the pipeline of the baseline."""
    if not comparison.versions:
        return
    st.subheader("Pipelines", anchor=False)
    changes = {}
    labels = {}
    for change in comparison.versions:
        changes[change.version] = change
        first_run = names[change.runs[0]]
        labels[change.version] = f"{first_run} ({data.short_version(change.version)})"
    chosen = next(iter(changes))
    if len(changes) > 1:
        chosen = address.widget(
            st.selectbox,
            "Compared with the baseline",
            list(changes),
            key="version",
            default=chosen,
            format_func=lambda version: labels[version],
        )
    versions.show_changes(changes[chosen].changes, key="compare")


# Streamlit runs this file as a script, each time that the page is shown.
show()
