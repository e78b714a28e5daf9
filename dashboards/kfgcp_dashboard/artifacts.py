"""Show the artifacts of a run, with the beginning of their contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import streamlit as st

from kfgcp import Artifact, ConfigError, Environment, KfgcpError, Run, SupportsArtifacts
from kfgcp.backends.base import capability
from kfgcp.backends.registry import is_in_service_store
from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.tracking import artifact_contents
from kfgcp_dashboard import data, elements, links, previews, text
from kfgcp_dashboard.charts.curves import confusion_chart, roc_chart
from kfgcp_dashboard.elements import Column, Selection
from kfgcp_dashboard.previews import Preview

COLUMNS: Final = {
    "name": Column("Artifact"),
    "task": Column("Task"),
    "type": Column("Type"),
    "uri": Column("URI", width="large"),
}
FILE_COLUMNS: Final = {
    "name": Column("File", width="large"),
    "bytes": Column("Bytes", "number"),
}
IFRAME_HEIGHT: Final = 520
TABLE_HEIGHT: Final = 300


def show(run: Run) -> None:
    """Show all artifacts of a run as a table, and the selected one below it."""
    if not run.artifacts:
        st.caption("The run has no artifacts." if run.state.final else "No artifacts yet.")
        return
    rows = []
    keys = []
    for artifact in run.artifacts:
        keys.append(f"{artifact.task}/{artifact.name}")
        rows.append(
            {
                "name": artifact.name,
                "task": artifact.task,
                "type": artifact.type,
                "uri": artifact.uri,
            }
        )
    key_in_address = st.query_params.get("artifact", "")
    preselected = [keys.index(key_in_address)] if key_in_address in keys else []
    selected = elements.show_table(
        "artifacts",
        COLUMNS,
        rows,
        export=f"artifacts-{run.run_id}",
        selection=Selection(preselected),
    )
    if not selected:
        st.query_params.pop("artifact", None)
        st.caption("Select an artifact to see its contents.")
        return
    st.query_params["artifact"] = keys[selected[0]]
    _show_artifact(run, run.artifacts[selected[0]])


def show_task_artifacts(run: Run, path: str) -> None:
    """Show the artifacts of a task."""
    artifacts = [artifact for artifact in run.artifacts if artifact.task == path]
    if artifacts:
        st.subheader("Artifacts", anchor=False)
    for artifact in artifacts:
        title = text.escape_markdown(artifact.name)
        with st.expander(title, expanded=len(artifacts) == 1):
            _show_artifact(run, artifact)


def _show_artifact(run: Run, artifact: Artifact) -> None:
    st.code(text.visible(artifact.uri), language=None, wrap_lines=True)
    settings_error = _find_settings_error(run, artifact)
    link = None
    # The settings of the environment say whether s3:// is Amazon's or another server.
    if settings_error is None or not artifact.uri.startswith("s3://"):
        link = links.external_link(artifact.uri, _bucket_settings(run, artifact).endpoint)
    if link is not None:
        st.link_button("Open", link, icon=":material/open_in_new:")
    has_chart = _show_charts(artifact)
    metadata = dict(artifact.metadata)
    for name in data.CURVES:
        metadata.pop(name, None)
    if metadata:
        elements.show_values(f"metadata-{_key(artifact)}", metadata)
    # An artifact with curves has no file.
    if has_chart:
        return
    if settings_error is not None:
        elements.show_error(settings_error)
    else:
        _show_contents(run, artifact)


def _find_settings_error(run: Run, artifact: Artifact) -> ConfigError | None:
    """Return the error in the settings of the run's environment.

    These settings say where the bucket of an artifact is.

    Returns:
        None when the environment is valid, or was removed from kfgcp.toml, or the artifact is a
        file of this machine.
    """
    if previews.local_path(artifact.uri) is not None:
        return None
    return data.workspace().project.invalid_environments.get(run.env)


def _show_charts(artifact: Artifact) -> bool:
    """Show the curves of an artifact, and return whether it has any."""
    curve = data.read_roc(artifact)
    matrix = data.read_confusion(artifact)
    if curve:
        chart = roc_chart({artifact.name: curve})
        st.vega_lite_chart(chart, width="stretch", key=f"roc-{_key(artifact)}")
    if matrix:
        chart = confusion_chart(matrix.labels, matrix.rows)
        st.vega_lite_chart(chart, width="content", key=f"confusion-{_key(artifact)}")
    return bool(curve or matrix)


def _key(artifact: Artifact) -> str:
    """Return a text that is unique on the page, for the keys of elements."""
    return f"{artifact.task}-{artifact.name}"


def _bucket_settings(run: Run, artifact: Artifact) -> BucketSettings:
    """Return how to reach the bucket of an artifact.

    The settings come from the environment whose pipeline root contains the artifact, else from the
    environment of the run.
    """
    project = data.workspace().project
    env = previews.find_bucket_environment(artifact.uri, project, run.env)
    if env is None:
        env = project.environments.get(run.env)
    if env is None:
        return DEFAULTS
    return BucketSettings.of_environment(env)


def _show_contents(run: Run, artifact: Artifact) -> None:
    env = _find_environment(run, artifact)
    if env is None:
        folders = previews.artifact_folders(data.workspace().project)
        preview: Preview | None = previews.read_preview(artifact, folders)
    else:
        preview = _read_from_bucket(artifact, env)
    if preview is not None:
        _show_preview(artifact, preview)


def _find_environment(run: Run, artifact: Artifact) -> Environment | None:
    """Return the environment that can read an artifact, None when it is on this machine."""
    project = data.workspace().project
    env = previews.find_bucket_environment(artifact.uri, project, run.env)
    run_env = project.environments.get(run.env)
    # The service of the run reads its own store, for example `minio://` inside a cluster.
    if env is None and run_env is not None and is_in_service_store(run_env, run, artifact.uri):
        return run_env
    return env


def _read_from_bucket(artifact: Artifact, env: Environment) -> Preview | None:
    """Return the beginning of a file in a bucket, or None before somebody asks for it.

    Reading can take a while, and a bucket can charge for it, so a page does not read by itself.
    """
    if not st.button(
        "Show the beginning", key=f"read-{_key(artifact)}", icon=":material/cloud_download:"
    ):
        return None
    try:
        with st.spinner("Reading"):
            store = capability(data.workspace().backend(env.name), SupportsArtifacts)
            content = artifact_contents.text(
                artifact,
                previews.MAX_TEXT_BYTES,
                buckets=BucketSettings.of_environment(env),
                store=store,
            )
    except KfgcpError as error:
        elements.show_error(error)
        return None
    if content.binary:
        return Preview("none", "The file is binary.")
    artifact_type = "" if content.folder else artifact.type
    return previews.preview_text(content.content, artifact_type, content.truncated)


def _show_preview(artifact: Artifact, preview: Preview) -> None:
    if preview.is_cut:
        st.caption("Only the beginning is shown.")
    body = preview.body
    if isinstance(body, tuple):
        _, image = body
        st.image(image)
    elif isinstance(body, list):
        if preview.kind == "files":
            elements.show_table("files", FILE_COLUMNS, body)
        else:
            _show_data(artifact, body)
    elif preview.kind == "none":
        st.caption(text.escape_markdown(body))
    elif preview.kind == "html":
        st.caption("Shown without scripts and without access to the network.")
        st.iframe(previews.sandbox_html(body), height=IFRAME_HEIGHT)
    else:
        # Markdown is shown as its source. Rendered, it could look like a part of the dashboard.
        language = "json" if preview.kind == "json" else None
        with st.container(height="content"):
            st.code(body, language=language, wrap_lines=True)


def _show_data(artifact: Artifact, rows: Sequence[previews.Row]) -> None:
    names = list(rows[0]) if rows else []
    columns = {}
    for name in names:
        columns[name] = _data_column(name, rows)
    elements.show_table(f"frame-{_key(artifact)}", columns, rows, height=TABLE_HEIGHT)


def _data_column(name: str, rows: Sequence[previews.Row]) -> Column:
    for row in rows:
        value = row.get(name)
        if value is not None and not isinstance(value, (int, float)):
            return Column(name)
    return Column(name, "number")
