"""The page of one run: its error first, then its graph, tasks, timeline, artifacts and logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import streamlit as st

from kfgcp import ErrorInfo, Run, RunState, Task, TaskKind, UsageError
from kfgcp.model import timestamp
from kfgcp_dashboard import actions, artifacts, data, elements, links, logs, notes, sync, text
from kfgcp_dashboard.charts.gantt import run_timeline
from kfgcp_dashboard.charts.graph import draw_graph, fold_loops, list_iterations
from kfgcp_dashboard.elements import Column, Selection

TASK_COLUMNS: Final = {
    "path": Column("Task", width="large"),
    "state": Column("State", "state"),
    "duration": Column("Duration", "duration"),
    "attempts": Column("Attempts", "number"),
    "cache": Column("Cache", width="medium"),
    "started_at": Column("Started", "time"),
    "error": Column("Error", width="large"),
}
ITERATION_COLUMNS: Final = {
    name: TASK_COLUMNS[name] for name in ("path", "state", "duration", "started_at", "error")
}
METRIC_COLUMNS: Final = {
    "name": Column("Metric"),
    "value": Column("Value", "number"),
    "task": Column("Task"),
    "artifact": Column("Artifact"),
}

# Pixels of the table of tasks. It is lower than other tables, because the selected task is below.
MAX_TASKS_HEIGHT: Final = 400
HEADER_HEIGHT: Final = 38
ROW_HEIGHT: Final = 35


def show() -> None:
    workspace = data.workspace()
    store = workspace.store
    try:
        run, revision = data.get_run_and_revision(store, st.query_params.get("run", "latest"))
    except UsageError as error:
        st.title("Run")
        elements.show_error(error)
        elements.show_empty("The project needs a run first.", "kfgcp run PIPELINE")
        return
    _show_head(run)
    if not run.state.final:
        sync.start_for(workspace).watch(run.env, run.run_id)
        elements.rerun_on_change(revision, lambda: _read_revision(run), active=True)
    _show_run_error(run)
    _show_tabs(run)


def _show_tabs(run: Run) -> None:
    parts: dict[str, Callable[[Run], None]] = {
        "Overview": _show_overview,
        "Tasks": _show_tasks,
        "Timeline": _show_timeline,
        "Artifacts": artifacts.show,
        "Logs": logs.show,
    }
    # The titles never change, so Streamlit's own binding to the address is enough here.
    tabs = st.tabs(list(parts), key="tab", bind="query-params")
    for tab, show_part in zip(tabs, parts.values(), strict=True):
        # Without this check, Streamlit would send the contents of all tabs, and the dashboard would
        # read logs that nobody sees.
        if tab.open:
            with tab:
                show_part(run)


def _read_revision(run: Run) -> int:
    """Return the revision of a run. The background threads continue to read the run."""
    workspace = data.workspace()
    threads = sync.start_for(workspace)
    threads.touch()
    threads.watch(run.env, run.run_id)
    return workspace.store.rev(run.run_id)


def _show_head(run: Run) -> None:
    left, right = st.columns([3, 2], vertical_alignment="top")
    now = datetime.now(UTC)
    seconds = run.seconds
    if seconds is None and run.started_at is not None:
        seconds = (now - datetime.fromisoformat(run.started_at)).total_seconds()
    duration = ""
    if seconds is not None:
        duration = text.html_element("span", text.format_duration(seconds))
    with left:
        elements.show_heading(
            run.name or run.run_id,
            elements.state_chip(run.state.value),
            elements.bold_html(run.pipeline),
            text.html_element("span", f"on {run.env} ({run.backend})"),
            text.html_element("span", f"in {run.experiment}"),
            elements.age_html(run.created_at, now),
            duration,
            text.html_element("code", run.run_id),
        )
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        actions.show_buttons(run)
        console = links.external_link(run.url)
        if console is not None:
            st.link_button("Console", console, icon=":material/open_in_new:")


def _show_run_error(run: Run) -> None:
    error = run.error
    if error is None:
        return
    _show_message(error, task=error.task)
    if error.log_tail:
        with st.expander("The last lines of the log", expanded=run.state is RunState.FAILED):
            _show_log_tail(error)


def _show_message(error: ErrorInfo, task: str | None = None) -> None:
    message = text.escape_markdown(error.message)
    if task:
        message = f"{text.escape_markdown(task)}: {message}"
    st.error(message, icon=":material/error:")
    if error.hint:
        st.info(text.escape_markdown(error.hint), icon=":material/lightbulb:")


def _show_log_tail(error: ErrorInfo) -> None:
    st.code("\n".join(map(text.visible, error.log_tail)), language=None, wrap_lines=True)


def _show_overview(run: Run) -> None:
    _show_graph(run)
    _show_loops(run)
    left, right = st.columns(2)
    with left:
        _show_section("Parameters", "params", run.params)
    with right:
        _show_metrics(run)
        _show_section("Outputs", "outputs", run.outputs)
    notes.show(run)
    if run.labels:
        with st.expander("Labels"):
            elements.show_values("labels", dict(sorted(run.labels.items())), export="labels")


def _show_graph(run: Run) -> None:
    graph = data.build_graph(data.workspace().store, run)
    if graph is None and not run.tasks:
        st.caption("The pipeline of this run is not available yet.")
        return
    theme = "dark" if st.context.theme.type == "dark" else "light"
    with st.container(border=True):
        chart = draw_graph(graph, run.tasks, theme)
        st.graphviz_chart(chart, width="content", alt="The graph of the run")


def _show_loops(run: Run) -> None:
    for path in fold_loops(run.tasks):
        rows = _task_rows(list_iterations(path, run.tasks))
        if rows:
            with st.expander(f"Iterations of {text.escape_markdown(path)}"):
                elements.show_table(
                    f"loop-{path}", ITERATION_COLUMNS, rows, export=f"iterations-{run.run_id}"
                )


def _show_metrics(run: Run) -> None:
    if not run.metrics:
        return
    st.subheader("Metrics", anchor=False)
    rows: list[data.Row] = []
    for metric in run.metrics:
        row: data.Row = {
            "task": metric.task,
            "artifact": metric.artifact,
            "name": metric.name,
            "value": metric.value,
        }
        rows.append(row)
    elements.show_table("metrics", METRIC_COLUMNS, rows, export=f"metrics-{run.run_id}")


def _show_section(title: str, key: str, values: Mapping[str, object]) -> None:
    """Show names and values below a title, or nothing when there are none."""
    if values:
        st.subheader(title, anchor=False)
        elements.show_values(key, values, export=key)


def _show_tasks(run: Run) -> None:
    """Show the tasks as a table, and the selected one below it."""
    # A nested pipeline is a task too. Its tasks show the same and more, except its own error.
    tasks = [task for task in run.tasks if task.kind is not TaskKind.DAG or task.error is not None]
    if not tasks:
        st.caption("No task has started yet.")
        return
    paths = [task.path for task in tasks]
    path_in_address = st.query_params.get("task", "")
    preselected = [paths.index(path_in_address)] if path_in_address in paths else []
    selected = elements.show_table(
        "tasks",
        TASK_COLUMNS,
        _task_rows(tasks),
        export=f"tasks-{run.run_id}",
        height=min(MAX_TASKS_HEIGHT, HEADER_HEIGHT + ROW_HEIGHT * len(tasks)),
        selection=Selection(preselected),
    )
    if not selected:
        st.query_params.pop("task", None)
        st.caption("Select a task to see its inputs, outputs and artifacts.")
        return
    task = tasks[selected[0]]
    st.query_params["task"] = task.path
    with st.container(border=True):
        _show_task(run, task)


def _show_task(run: Run, task: Task) -> None:
    facts = [elements.state_chip(task.state.value), text.html_element("span", task.kind.value)]
    if task.seconds is not None:
        facts.append(text.html_element("span", text.format_duration(task.seconds)))
    if task.attempts:
        plural = "s" if task.attempts > 1 else ""
        facts.append(text.html_element("span", f"{task.attempts} attempt{plural}"))
    facts.append(elements.age_html(task.started_at))
    elements.show_heading(task.path, *facts)
    if task.cache is not None:
        source = "From the cache" if task.cache.hit else "Not from the cache"
        st.text(f"{source}: {text.visible(task.cache.reason)}")
    if task.error is not None:
        _show_message(task.error)
        if task.error.log_tail:
            _show_log_tail(task.error)
    left, right = st.columns(2)
    with left:
        _show_section("Inputs", "task-inputs", task.inputs)
    with right:
        _show_section("Outputs", "task-outputs", task.outputs)
    artifacts.show_task_artifacts(run, task.path)


def _show_timeline(run: Run) -> None:
    if not any(task.started_at for task in run.tasks):
        st.caption("No task has started yet.")
        return
    now = timestamp(datetime.now(UTC).timestamp())
    st.vega_lite_chart(run_timeline(run.tasks, now), width="stretch", key="gantt")


def _task_rows(tasks: Sequence[Task]) -> list[data.Row]:
    return [_task_row(task) for task in tasks]


def _task_row(task: Task) -> data.Row:
    return {
        "path": task.path,
        "state": task.state.value,
        "duration": task.seconds,
        "attempts": task.attempts,
        "cache": task.cache.reason if task.cache else None,
        "started_at": task.started_at,
        "error": _error_message(task.error),
    }


def _error_message(error: ErrorInfo | None) -> str | None:
    if error is None:
        return None
    return error.message


# Streamlit runs this file as a script, each time that the page is shown.
show()
