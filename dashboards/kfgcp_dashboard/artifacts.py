"""The artifacts of a run, with the beginning of what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from kfgcp.backends.base import SupportsArtifacts, capability
from kfgcp.backends.registry import is_in_service_store
from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.config import Environment
from kfgcp.errors import KfgcpError
from kfgcp.model import Artifact, Run
from kfgcp.tracking import artifact_contents
from kfgcp_dashboard import data, elements, links, text
from kfgcp_dashboard.charts.curves import confusion_chart, roc_chart
from kfgcp_dashboard.elements import Column
from kfgcp_dashboard.previews import (
    BYTES,
    Preview,
    boxed,
    env_of_root,
    folders_of,
    of_text,
    preview,
)

COLUMNS = {
    "name": Column("Artifact"),
    "task": Column("Task"),
    "type": Column("Type"),
    "uri": Column("Where", width="large"),
}


def show(run: Run) -> None:
    """All artifacts of a run as a table, and the one that is picked below it."""
    if not run.artifacts:
        st.caption(
            "It has put out no artifacts."
            if run.state.final
            else "It has put out no artifacts yet."
        )
        return
    rows = [{"name": a.name, "task": a.task, "type": a.type, "uri": a.uri} for a in run.artifacts]
    keys = [f"{a.task}/{a.name}" for a in run.artifacts]
    wanted = st.query_params.get("artifact")
    event = elements.table(
        "artifacts",
        COLUMNS,
        rows,
        export=f"artifacts-{run.run_id}",
        on_select="rerun",
        selection_mode="single-row",
        selection_default={"selection": {"rows": [keys.index(wanted)]}} if wanted in keys else None,
    )
    picked = list(event["selection"]["rows"])
    if not picked:
        st.query_params.pop("artifact", None)
        st.caption("Pick one to see what it holds.")
        return
    st.query_params["artifact"] = keys[picked[0]]
    _one(run, run.artifacts[picked[0]])


def of_task(run: Run, path: str) -> None:
    """The artifacts that a task put out."""
    found = [artifact for artifact in run.artifacts if artifact.task == path]
    if found:
        st.subheader("Artifacts", anchor=False)
    for artifact in found:
        with st.expander(text.escape_markdown(artifact.name), expanded=len(found) == 1):
            _one(run, artifact)


def _one(run: Run, artifact: Artifact) -> None:
    st.code(text.visible(artifact.uri), language=None, wrap_lines=True)
    place = links.external_link(artifact.uri, _buckets(run, artifact).endpoint)
    if place is not None:
        st.link_button("Open", place, icon=":material/open_in_new:")
    curve, matrix = data.roc_of(artifact), data.confusion_of(artifact)
    if curve:
        st.vega_lite_chart(
            roc_chart({artifact.name: curve}),
            width="stretch",
            key=f"roc-{artifact.task}-{artifact.name}",
        )
    if matrix:
        st.vega_lite_chart(
            confusion_chart(matrix.labels, matrix.rows),
            width="content",
            key=f"confusion-{artifact.task}-{artifact.name}",
        )
    plain = {name: value for name, value in artifact.metadata.items() if name not in data.CURVES}
    if plain:
        rows = [{"name": name, "value": value} for name, value in plain.items()]
        columns = {"name": Column("Name"), "value": Column("Value", width="large")}
        elements.table(f"metadata-{artifact.task}-{artifact.name}", columns, rows)
    if not (curve or matrix):
        _contents(run, artifact)


def _buckets(run: Run, artifact: Artifact) -> BucketSettings:
    """Return where the bucket of an artifact is: by the environment whose root it is below, else by
    that of the run."""
    project = data.workspace().project
    env = env_of_root(artifact.uri, project, run.env) or project.environments.get(run.env)
    return DEFAULTS if env is None else BucketSettings.of_environment(env)


def _contents(run: Run, artifact: Artifact) -> None:
    project = data.workspace().project
    env = env_of_root(artifact.uri, project, run.env)
    run_env = project.environments.get(run.env)
    if env is None and run_env is not None and is_in_service_store(run_env, run, artifact.uri):
        env = run_env
    if env is not None:
        found = _from_bucket(artifact, env)
        if found is None:
            return
    else:
        found = preview(artifact, folders_of(project))
    if found.cut:
        st.caption("Only its beginning is shown.")
    if found.kind == "none":
        st.caption(text.escape_markdown(found.body))
    elif found.kind in (
        "text",
        "json",
        "markdown",
    ):  # Markdown too is shown as it was written: it could pose as ours
        with st.container(height="content"):
            st.code(found.body, language="json" if found.kind == "json" else None, wrap_lines=True)
    elif found.kind == "image":
        st.image(found.body[1])
    elif found.kind == "html":
        st.caption("Shown without its scripts, and cut off from the network.")
        st.iframe(boxed(found.body), height=520)
    elif found.kind == "files":
        elements.table(
            "files",
            {"name": Column("File", width="large"), "bytes": Column("Bytes", "number")},
            found.body,
        )
    else:
        _frame(artifact, found.body)


def _from_bucket(artifact: Artifact, env: Environment) -> Preview | None:
    """What a file in a bucket begins with, once somebody has asked: it may take a while."""
    if not st.button(
        "Read its beginning",
        key=f"read-{artifact.task}-{artifact.name}",
        icon=":material/cloud_download:",
    ):
        return None
    try:
        with st.spinner("Reading"):
            store = capability(data.workspace().backend(env.name), SupportsArtifacts)
            buckets = BucketSettings.of_environment(env)
            read = artifact_contents.text(artifact, BYTES, buckets=buckets, store=store)
    except KfgcpError as error:
        elements.failure(error)
        return None
    if read.binary:
        return Preview("none", "It is binary.")
    return of_text(read.content, "" if read.folder else artifact.type, read.truncated)


def _frame(artifact: Artifact, rows: Sequence[dict[str, Any]]) -> None:
    names = list(rows[0]) if rows else []
    columns = {name: Column(name, "number" if _numeric(rows, name) else "text") for name in names}
    elements.table(f"frame-{artifact.task}-{artifact.name}", columns, rows, height=300)


def _numeric(rows: Sequence[dict[str, Any]], name: str) -> bool:
    return all(isinstance(row.get(name), (int, float)) or row.get(name) is None for row in rows)
