"""What pages are made of. Texts of runs go into tables, code, plain text or escaped HTML, and are
never markup."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import streamlit as st

from kfgcp.errors import KfgcpError
from kfgcp.tracking.csv_text import csv_text
from kfgcp_dashboard import text
from kfgcp_dashboard.colors import SIGNS, STATES

T = TypeVar("T")
LOG: Final = logging.getLogger("kfgcp.dashboard")
BUTTON: Final = "pressed"
MOST_ROWS: Final = 16
HEIGHT: Final = 600
"""Pixels of a table with more rows."""
PULSE: Final = 2.0
"""Seconds between two looks for changes while something runs."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. kind: text, right (text to the right), number, state, time (relative),
    exact (a time), duration (seconds), tags, or button, which says under `BUTTON` in the state of
    the session where it was pressed. of: the value of the row that it shows, that of its own name
    when empty."""

    title: str
    kind: str = "text"
    width: Any = None
    pinned: bool = False
    of: str = ""


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Errors in words: ours with their hint, others with a line that says where to look. No
    tracebacks on pages."""

    @functools.wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except KfgcpError as error:
            failure(error)
        except Exception as error:
            LOG.exception("a page failed")
            st.error(
                f"This page failed inside: {text.escape_markdown(type(error).__name__)}. The"
                " dashboard's own log says more.",
                icon=":material/bug_report:",
            )
        return None

    return run


def failure(error: KfgcpError) -> None:
    """An error of ours: what happened, and what to do next."""
    st.error(text.escape_markdown(error.message), icon=":material/error:")
    if error.hint:
        st.code(text.visible_lines(error.hint), language=None, wrap_lines=True)


def empty(title: str, *commands: str) -> None:
    """A place where nothing is yet, and what to type."""
    with st.container(border=True, horizontal_alignment="center", gap="small"):
        st.html(
            text.html_element("div", title, style="text-align:center;opacity:.75;padding-top:1rem")
        )
        for command in commands:
            st.code(command, language="shell", width="content")


def heading(title: str, *facts: str) -> None:
    """The top of a page: a title and pieces of HTML below it that are escaped already."""
    line = ' <span style="opacity:.4">·</span> '.join(fact for fact in facts if fact)
    below = (
        f'<div style="opacity:.82;font-size:.93rem;margin-top:.15rem;line-height:1.7">{line}</div>'
        if line
        else ""
    )
    top = text.html_element(
        "h1",
        title,
        style="font-size:1.6rem;font-weight:650;padding:0;margin:0;overflow-wrap:anywhere",
    )
    st.html(top + below)


def chip(state: str) -> str:
    """A state as HTML: its sign, its word, its colour."""
    colour = STATES.get(state, STATES["PENDING"])
    style = (
        f"color:{colour};border:1px solid"
        f" {colour};background:{colour}1f;border-radius:1rem;padding:.05rem"
        " .6rem;font-size:.82rem;font-weight:600;white-space:nowrap"
    )
    return text.html_element("span", f"{SIGNS.get(state, '')} {state.lower()}", style=style)


def moment(at: str | None, now: datetime | None = None) -> str:
    """A timestamp as HTML: relative, and exact when the pointer is on it."""
    return (
        ""
        if at is None
        else text.html_element(
            "span", text.format_age(at, now or datetime.now(UTC)), title=text.format_time(at)
        )
    )


def strong(value: str) -> str:
    return text.html_element("span", value, style="font-weight:600")


def table(
    key: str,
    columns: Mapping[str, Column],
    rows: Sequence[Mapping[str, Any]],
    *,
    export: str = "",
    export_rows: Callable[[], Sequence[Mapping[str, Any]]] | None = None,
    **options: Any,
) -> Any:
    """A table with numbers to the right and chips for states; what `st.dataframe` returns.

    Args:
        key: of the element.
        columns: by the name of their values in the rows, in their order.
        rows: what is shown.
        export: the name of the file, without its ending; no button when empty.
        export_rows: gives what is exported, when that is more than what is shown.
        options: of `st.dataframe`.
    """
    from pandas import DataFrame

    data = {
        name: _values(column, [row.get(column.of or name) for row in rows])
        for name, column in columns.items()
    }
    config = {name: _config(column, data[name]) for name, column in columns.items()}
    options.setdefault("height", "content" if len(rows) <= MOST_ROWS else HEIGHT)
    result = st.dataframe(
        DataFrame(data),
        key=key,
        column_config={**config, **options.pop("column_config", {})},
        hide_index=True,
        placeholder="",
        **options,
    )
    if export:
        download(f"{key}-export", export, columns, export_rows or (lambda: rows))
    return result


def download(
    key: str,
    name: str,
    columns: Mapping[str, Column],
    rows: Callable[[], Sequence[Mapping[str, Any]]],
) -> None:
    """A button that gives a table as CSV, made when it is pressed."""
    st.download_button(
        "CSV",
        data=lambda: csv(columns, rows()),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=key,
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def csv(columns: Mapping[str, Column], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV with the titles of the columns.

    Values are written as in `kfgcp export`, not as the table shows them.
    """
    titles = [column.title for column in columns.values()]
    names = [column.of or name for name, column in columns.items()]
    values = ([row.get(name) for name in names] for row in rows)
    return csv_text(titles, values).encode("utf-8", "backslashreplace")


def pulse(stamp: Any, look: Callable[[], Any], *, active: bool) -> None:
    """Runs the page again when `look` finds something else than `stamp`; looks only while
    `active`."""
    if not active:
        return

    @st.fragment(run_every=PULSE)
    def watch() -> None:
        if look() != stamp:
            st.rerun()

    watch()


def _values(column: Column, values: list[Any]) -> list[Any]:
    if column.kind == "state":
        return [[] if value is None else [value] for value in values]
    if column.kind == "button":
        return values
    if column.kind == "tags":
        return [list(value or ()) for value in values]
    if column.kind in ("time", "exact"):
        return [None if value is None else datetime.fromisoformat(value) for value in values]
    if column.kind == "duration":
        return [text.format_duration(value) for value in values]
    if column.kind == "number" and all(_plain_number(value) for value in values):
        return [None if value is None else float(value) for value in values]
    return [None if value is None else text.format_value(value) for value in values]


def _plain_number(value: Any) -> bool:
    """Whether a browser's numbers hold it as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value is None
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= 2**53


def _config(column: Column, values: list[Any]) -> Any:
    common: dict[str, Any] = {"width": column.width, "pinned": column.pinned or None}
    title = column.title
    if column.kind == "state":
        return st.column_config.MultiselectColumn(
            title,
            options=list(STATES),
            color=list(STATES.values()),
            format_func=lambda state: _label(state),
            **common,
        )
    if column.kind == "button":
        return st.column_config.ButtonColumn(
            title, type="tertiary", key=BUTTON, on_click=lambda: None, **common
        )
    if column.kind == "tags":
        options = sorted({tag for value in values for tag in value})
        return st.column_config.MultiselectColumn(title, options=options, color="primary", **common)
    if column.kind == "time":
        return st.column_config.DatetimeColumn(title, format="distance", **common)
    if column.kind == "exact":
        return st.column_config.DatetimeColumn(
            title, format="YYYY-MM-DD HH:mm:ss", timezone="UTC", **common
        )
    if column.kind in ("duration", "right"):
        return st.column_config.TextColumn(title, alignment="right", **common)
    if column.kind == "number":
        if all(value is None or isinstance(value, float) for value in values):
            return st.column_config.NumberColumn(title, format="%.6g", **common)
        return st.column_config.TextColumn(title, alignment="right", **common)
    return st.column_config.TextColumn(title, **common)


def _label(state: str) -> str:
    return f"{SIGNS[state]} {state.lower()}"
