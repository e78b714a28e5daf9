"""The difference between two versions of a pipeline, as a table, and its changed code as lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import streamlit as st

from kfgcp.spec.diff import Change, diff
from kfgcp.store.store import Store
from kfgcp_dashboard import data, elements, text
from kfgcp_dashboard.elements import Column

COLUMNS: Final = {
    "path": Column("Task"),
    "what": Column("What"),
    "name": Column("Name"),
    "kind": Column("Change"),
    "before": Column("Before", width="medium"),
    "after": Column("After", width="medium"),
}
LONGEST: Final = 200


def of_two(store: Store, before: str, after: str, *, key: str) -> None:
    """What is different in the pipelines of two versions.

    Args:
        store: has their specs.
        before: version of the first.
        after: version of the second.
        key: of the table.
    """
    specs = data.specs_of(store, [before, after])
    differences(None if len(specs) < 2 else diff(specs[before], specs[after]), key=key)


def differences(changes: Sequence[Change] | None, *, key: str) -> None:
    """Changes as a table, and those of code as lines below it; None when one of the pipelines is
    not known."""
    if changes is None:
        st.caption("One of these pipelines cannot be read: its backend did not tell it.")
        return
    if not changes:
        st.caption("Nothing: it is the same pipeline.")
        return
    elements.table(
        f"{key}-diff", COLUMNS, [_row(change) for change in changes], export="pipeline-diff"
    )
    for number, change in enumerate(changes):
        if change.lines:
            title = text.escape_markdown(f"{change.path} {change.what} {change.name}".strip())
            with st.expander(title, key=f"{key}-{number}"):
                st.code("\n".join(map(text.visible, change.lines)), language="diff")


def _row(change: Change) -> dict[str, Any]:
    return {
        "path": change.path or "the pipeline",
        "what": change.what,
        "name": change.name,
        "kind": change.kind,
        "before": _short(change.before, change),
        "after": _short(change.after, change),
    }


def _short(value: Any, change: Change) -> str | None:
    """A value in a cell; a text of several lines is shown below the table, or by its length."""
    if value is None:
        return None
    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    lines = whole.count("\n") + 1
    return f"{lines} lines" if lines > 1 else text.format_value(whole, LONGEST)
