"""Show the differences between two versions of a pipeline: a table, and changed code by line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import streamlit as st

from kfgcp import Change, Store
from kfgcp.spec.diff import diff
from kfgcp_dashboard import data, elements, text
from kfgcp_dashboard.elements import Column

COLUMNS: Final = {
    "path": Column("Task"),
    "what": Column("Part"),
    "name": Column("Name"),
    "kind": Column("Change"),
    "before": Column("Before", width="medium"),
    "after": Column("After", width="medium"),
}
MAX_CELL_WIDTH: Final = 200


def show_diff(store: Store, before: str, after: str, *, key: str) -> None:
    """Show the changes from one version of a pipeline to another.

    Args:
        store: has the pipelines.
        before: a version.
        after: a version.
        key: of the table.
    """
    specs = data.read_specs(store, [before, after])
    if len(specs) < 2:
        show_changes(None, key=key)
    else:
        show_changes(diff(specs[before], specs[after]), key=key)


def show_changes(changes: Sequence[Change] | None, *, key: str) -> None:
    """Show changes as a table, and changed code as lines below it.

    Args:
        changes: None when one of the pipelines is not available.
        key: of the table.
    """
    if changes is None:
        st.caption("One of the pipelines is not available: its backend did not provide it.")
        return
    if not changes:
        st.caption("The pipelines are the same.")
        return
    rows = [_row(change) for change in changes]
    elements.show_table(f"{key}-diff", COLUMNS, rows, export="pipeline-diff")
    for index, change in enumerate(changes):
        if change.lines:
            title = f"{change.path} {change.what} {change.name}".strip()
            with st.expander(text.escape_markdown(title), key=f"{key}-{index}"):
                st.code("\n".join(map(text.visible, change.lines)), language="diff")


def _row(change: Change) -> data.Row:
    return {
        "path": change.path or "the pipeline",
        "what": change.what,
        "name": change.name,
        "kind": change.kind,
        "before": _format_cell(change.before),
        "after": _format_cell(change.after),
    }


def _format_cell(value: object) -> str | None:
    """Return a value on one line. The lines of a longer text are below the table."""
    if value is None:
        return None
    if isinstance(value, str):
        whole_text = value
    else:
        whole_text = json.dumps(value, ensure_ascii=False)
    lines = whole_text.count("\n") + 1
    if lines > 1:
        return f"{lines} lines"
    return text.format_value(whole_text, MAX_CELL_WIDTH)
