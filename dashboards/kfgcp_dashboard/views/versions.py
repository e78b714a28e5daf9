"""The page of the versions of a pipeline: how they did, and the difference between two of them."""

from __future__ import annotations

from typing import Final

import streamlit as st

from kfgcp import Store
from kfgcp_dashboard import address, data, elements, versions
from kfgcp_dashboard.elements import Column
from kfgcp_dashboard.links import PAGES

COLUMNS: Final = {
    "version": Column("Version", width=150),
    "runs": Column("Runs", "number"),
    "succeeded": Column("Succeeded", "right"),
    "first": Column("First run", "time"),
    "last": Column("Last run", "time"),
    "envs": Column("Environments"),
}


def show() -> None:
    st.title("Versions", anchor=False)
    store = data.workspace().store
    pipelines = data.column_values(store, "pipeline")
    if not pipelines:
        elements.show_empty("This page shows the versions of the pipelines.", "kfgcp run PIPELINE")
        return
    pipeline = address.widget(
        st.selectbox, "Pipeline", pipelines, key="pipeline", default=data.newest_pipeline(store)
    )
    rows = []
    labels = {}
    for row in data.list_versions(store, pipeline):
        version = str(row["version"])
        short_version = data.short_version(version)
        rows.append({**row, "version": short_version})
        labels[version] = f"{short_version}, {row['runs']} runs"
    elements.show_table("versions", COLUMNS, rows, export="versions")
    if st.button("Runs of this pipeline", icon=":material/table_rows:", type="tertiary"):
        st.switch_page(PAGES["runs"], query_params={"pipeline": pipeline})
    if len(labels) < 2:
        st.caption("There is only one version, so there is nothing to compare.")
    else:
        _show_differences(store, labels)


def _show_differences(store: Store, labels: dict[str, str]) -> None:
    """Show the difference between two versions.

    Args:
        store: has the versions.
        labels: the versions, the most recently used first -> what people read.
    """
    st.subheader("Differences", anchor=False)
    names = list(labels)
    left, right = st.columns(2)
    before = address.widget(
        left.selectbox,
        "Before",
        names,
        key="before",
        default=names[1],
        format_func=lambda version: labels[version],
    )
    after = address.widget(
        right.selectbox,
        "After",
        names,
        key="after",
        default=names[0],
        format_func=lambda version: labels[version],
    )
    if before == after:
        st.caption("Select two versions.")
    else:
        versions.show_diff(store, before, after, key="versions")


# Streamlit runs this file as a script, each time that the page is shown.
show()
