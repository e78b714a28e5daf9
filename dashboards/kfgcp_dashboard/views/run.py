"""One run: its error first, its graph, its tasks with all that is known of them, its logs as they
grow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from kfgcp.errors import UsageError
from kfgcp.model import Run, RunState, Task, TaskKind, timestamp
from kfgcp_dashboard import actions, artifacts, data, elements, links, logs, notes, sync, text
from kfgcp_dashboard.charts.gantt import run_timeline
from kfgcp_dashboard.charts.graph import draw_graph, fold_loops, list_iterations
from kfgcp_dashboard.elements import Column

TABS = ("Overview", "Tasks", "Timeline", "Artifacts", "Logs")
TASKS = {
    "path": Column("Task", width="large"),
    "state": Column("State", "state"),
    "took": Column("Took", "duration"),
    "attempts": Column("Attempts", "number"),
    "cache": Column("Cache", width="medium"),
    "started_at": Column("Started", "time"),
    "error": Column("Error", width="large"),
}


def show() -> None:
    wanted = st.query_params.get("run", "latest")
    workspace = data.workspace()
    store = workspace.store
    try:
        run = data.run_of(store, wanted)
    except UsageError as error:
        st.title("Run")
        elements.failure(error)
        elements.empty("Runs appear here once there are some.", "kfgcp run PIPELINE")
        return
    if not run.state.final:
        sync.of(workspace).watch(run.env, run.run_id)
    rev = store.rev(run.run_id)
    _head(run)
    if run.state.final:
        elements.pulse(rev, lambda: rev, active=False)
    else:
        elements.pulse(rev, lambda: _look(run.run_id, run.env), active=True)
    _error(run)
    tabs = st.tabs(TABS, key="tab", bind="query-params")
    parts = (_overview, _tasks, _timeline, artifacts.show, logs.show)
    for tab, part in zip(tabs, parts, strict=True):
        if tab.open:
            with tab:
                part(run)


def _look(run_id: str, env: str) -> int:
    workspace = data.workspace()
    threads = sync.of(workspace)
    threads.touch()
    threads.watch(env, run_id)
    return workspace.store.rev(run_id)


def _head(run: Run) -> None:
    left, right = st.columns([3, 2], vertical_alignment="top")
    now = datetime.now(UTC)
    with left:
        took = run.seconds
        if took is None and run.started_at is not None:
            took = (now - datetime.fromisoformat(run.started_at)).total_seconds()
        elements.heading(
            run.name or run.run_id,
            elements.chip(run.state.value),
            elements.strong(run.pipeline),
            text.html_element("span", f"on {run.env} ({run.backend})"),
            text.html_element("span", f"in {run.experiment}"),
            elements.moment(run.created_at, now),
            text.html_element("span", text.format_duration(took)) if took is not None else "",
            text.html_element("code", run.run_id),
        )
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        actions.buttons(run)
        console = links.external_link(run.url)
        if console is not None:
            st.link_button("Console", console, icon=":material/open_in_new:")


def _error(run: Run) -> None:
    if run.error is None:
        return
    where = f"{text.escape_markdown(run.error.task)}: " if run.error.task else ""
    st.error(f"{where}{text.escape_markdown(run.error.message)}", icon=":material/error:")
    if run.error.hint:
        st.info(text.escape_markdown(run.error.hint), icon=":material/lightbulb:")
    if run.error.log_tail:
        with st.expander("The last lines of its log", expanded=run.state is RunState.FAILED):
            st.code(
                "\n".join(map(text.visible, run.error.log_tail)), language=None, wrap_lines=True
            )


def _overview(run: Run) -> None:
    store = data.workspace().store
    graph = data.graph_of(store, run)
    if graph is None and not run.tasks:
        st.caption("Its pipeline is not known here yet.")
    else:
        theme = "dark" if st.context.theme.type == "dark" else "light"
        with st.container(border=True):
            st.graphviz_chart(
                draw_graph(graph, run.tasks, theme), width="content", alt="The graph of the run"
            )
    _loops(run)
    left, right = st.columns(2)
    with left:
        _values(
            "Parameters",
            "params",
            [{"name": name, "value": value} for name, value in run.params.items()],
        )
    with right:
        rows = [
            {"task": m.task, "artifact": m.artifact, "name": m.name, "value": m.value}
            for m in run.metrics
        ]
        if rows:
            st.subheader("Metrics", anchor=False)
            columns = {
                "name": Column("Metric"),
                "value": Column("Value", "number"),
                "task": Column("Task"),
                "artifact": Column("Artifact"),
            }
            elements.table("metrics", columns, rows, export=f"metrics-{run.run_id}")
        _values(
            "Outputs",
            "outputs",
            [{"name": name, "value": value} for name, value in run.outputs.items()],
        )
    notes.show(run)
    if run.labels:
        with st.expander("Labels"):
            _table(
                "labels",
                [{"name": name, "value": value} for name, value in sorted(run.labels.items())],
            )


def _loops(run: Run) -> None:
    for path in fold_loops(run.tasks):
        rows = _rows(list_iterations(path, run.tasks))
        if rows:
            with st.expander(f"Iterations of {text.escape_markdown(path)}"):
                columns = {
                    name: TASKS[name] for name in ("path", "state", "took", "started_at", "error")
                }
                elements.table(f"loop-{path}", columns, rows, export=f"iterations-{run.run_id}")


def _values(title: str, key: str, rows: Sequence[dict[str, object]]) -> None:
    if rows:
        st.subheader(title, anchor=False)
        _table(key, rows)


def _table(key: str, rows: Sequence[dict[str, object]]) -> None:
    columns = {"name": Column("Name"), "value": Column("Value", width="large")}
    elements.table(key, columns, rows, export=key)


def _tasks(run: Run) -> None:
    tasks = [task for task in run.tasks if task.kind is not TaskKind.DAG or task.error is not None]
    if not tasks:
        st.caption("No task has started yet.")
        return
    wanted = st.query_params.get("task")
    paths = [task.path for task in tasks]
    default = {"selection": {"rows": [paths.index(wanted)]}} if wanted in paths else None
    event = elements.table(
        "tasks",
        TASKS,
        _rows(tasks),
        export=f"tasks-{run.run_id}",
        on_select="rerun",
        selection_mode="single-row",
        selection_default=default,
        height=min(400, 38 + 35 * len(tasks)),
    )
    picked = list(event["selection"]["rows"])
    if not picked:
        st.query_params.pop("task", None)
        st.caption("Pick a task to see its inputs, outputs and artifacts.")
        return
    task = tasks[picked[0]]
    st.query_params["task"] = task.path
    _task(run, task)


def _task(run: Run, task: Task) -> None:
    with st.container(border=True):
        facts = [elements.chip(task.state.value), text.html_element("span", task.kind.value)]
        if task.seconds is not None:
            facts.append(text.html_element("span", text.format_duration(task.seconds)))
        if task.attempts:
            facts.append(
                text.html_element(
                    "span", f"{task.attempts} attempt{'s' if task.attempts > 1 else ''}"
                )
            )
        elements.heading(task.path, *facts, elements.moment(task.started_at))
        if task.cache is not None:
            st.text(
                f"{'From the cache' if task.cache.hit else 'Not from the cache'}:"
                f" {text.visible(task.cache.reason)}"
            )
        if task.error is not None:
            st.error(text.escape_markdown(task.error.message), icon=":material/error:")
            if task.error.hint:
                st.info(text.escape_markdown(task.error.hint), icon=":material/lightbulb:")
            if task.error.log_tail:
                st.code(
                    "\n".join(map(text.visible, task.error.log_tail)),
                    language=None,
                    wrap_lines=True,
                )
        left, right = st.columns(2)
        with left:
            _values(
                "Inputs", "task-inputs", [{"name": k, "value": v} for k, v in task.inputs.items()]
            )
        with right:
            _values(
                "Outputs",
                "task-outputs",
                [{"name": k, "value": v} for k, v in task.outputs.items()],
            )
        artifacts.of_task(run, task.path)


def _timeline(run: Run) -> None:
    if not any(task.started_at for task in run.tasks):
        st.caption("No task has started yet.")
        return
    st.vega_lite_chart(
        run_timeline(run.tasks, timestamp(datetime.now(UTC).timestamp())),
        width="stretch",
        key="gantt",
    )


def _rows(tasks: Sequence[Task]) -> list[dict[str, object]]:
    return [
        {
            "path": task.path,
            "state": task.state.value,
            "took": task.seconds,
            "attempts": task.attempts,
            "cache": None if task.cache is None else task.cache.reason,
            "started_at": task.started_at,
            "error": None if task.error is None else task.error.message,
        }
        for task in tasks
    ]


show()
