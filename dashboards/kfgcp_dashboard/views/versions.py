"""Which versions of a pipeline have run, how they did, and what is different between two of
them."""

from __future__ import annotations

from typing import Final

import streamlit as st

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
    pipelines = data.values(store, "pipeline")
    if not pipelines:
        elements.empty(
            "Each version of a pipeline that has run is shown here.", "kfgcp run PIPELINE"
        )
        return
    pipeline = address.widget(
        st.selectbox, "Pipeline", pipelines, key="pipeline", default=data.newest_pipeline(store)
    )
    found = data.versions_of(store, pipeline)
    rows = [{**row, "version": row["version"].removeprefix("sha256:")[:12]} for row in found]
    elements.table("versions", COLUMNS, rows, export="versions")
    if st.button("Runs of this pipeline", icon=":material/table_rows:", type="tertiary"):
        st.switch_page(PAGES["runs"], query_params={"pipeline": pipeline})
    if len(found) < 2:
        st.caption("There is one version, so there is nothing to compare.")
        return
    st.subheader("What is different", anchor=False)
    names = [row["version"] for row in found]
    left, right = st.columns(2)
    label = {
        row["version"]: f"{row['version'].removeprefix('sha256:')[:12]}, {row['runs']} runs"
        for row in found
    }
    before = address.widget(
        left.selectbox,
        "Before",
        names,
        key="before",
        default=names[1],
        format_func=lambda each: label[each],
    )
    after = address.widget(
        right.selectbox,
        "After",
        names,
        key="after",
        default=names[0],
        format_func=lambda each: label[each],
    )
    if before == after:
        st.caption("Pick two versions.")
    else:
        versions.of_two(store, before, after, key="versions")


show()
