"""The parts that pages consist of: tables, headings, messages.

Texts of runs go into tables, code, plain text or escaped HTML. They are never markup.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, ParamSpec, TypeVar

import streamlit as st

from kfgcp import KfgcpError
from kfgcp.tracking.csv_text import csv_text
from kfgcp_dashboard import text
from kfgcp_dashboard.colors import SIGNS, STATES

P = ParamSpec("P")
T = TypeVar("T")

Row = Mapping[str, object]
ColumnKind = Literal[
    "text", "right", "number", "state", "time", "exact", "duration", "tags", "button"
]

LOG: Final = logging.getLogger("kfgcp.dashboard")

# Key of Streamlit's session: the button of a table that was pressed.
BUTTON_KEY: Final = "pressed"

# A table with more rows scrolls, and has this height in pixels.
MAX_ROWS_WITHOUT_SCROLLING: Final = 16
SCROLLING_HEIGHT: Final = 600

# Seconds between two checks for changes while something runs.
CHECK_SECONDS: Final = 2.0

# Browsers have only floats. Larger integers would lose digits (ECMAScript, MAX_SAFE_INTEGER).
_MAX_SAFE_INTEGER: Final = 2**53


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: the head.
        kind: how values are shown. `right` is a text on the right, `time` is relative, `exact` is
            a time to the second, `duration` is seconds. A press on a `button` is in the session
            under `BUTTON_KEY`.
        width: pixels, or a name of Streamlit.
        pinned: whether it stays in view while the table scrolls.
        source: the key of the values in the rows; empty for the key of the column.
    """

    title: str
    kind: ColumnKind = "text"
    width: Literal["small", "medium", "large"] | int | None = None
    pinned: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """How rows of a table are selected.

    Attributes:
        rows: the indexes of the rows that are selected at first.
        modes: as in `st.dataframe`.
        on_select: called before the page runs again; `rerun` only runs it.
    """

    rows: Sequence[int] = ()
    modes: Sequence[Literal["multi-row", "single-row", "single-column"]] = ("single-row",)
    on_select: Callable[[], None] | Literal["rerun"] = "rerun"


def catch_errors(function: Callable[P, T]) -> Callable[P, T | None]:
    """Return the function with its errors as messages on the page, without tracebacks.

    Streamlit shows a traceback, or nothing at all with `client.showErrorDetails = "none"`. It
    stops and restarts scripts by exceptions too, but those are not subclasses of `Exception`
    (`streamlit.runtime.scriptrunner_utils.exceptions`).
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return function(*args, **kwargs)
        except KfgcpError as error:
            show_error(error)
        except Exception as error:
            LOG.exception("a page failed")
            name = text.escape_markdown(type(error).__name__)
            st.error(
                f"This page has an internal error: {name}. See the log of the dashboard.",
                icon=":material/bug_report:",
            )
        return None

    return call


def show_error(error: KfgcpError) -> None:
    """Show an error of ours: what happened, and what to do next."""
    st.error(text.escape_markdown(error.message), icon=":material/error:")
    show_hint(error.hint)


def show_hint(hint: str) -> None:
    """Show a hint as code, because it often is a command. Show nothing for an empty hint."""
    if hint:
        st.code(text.visible_lines(hint), language=None, wrap_lines=True)


def show_empty(title: str, *commands: str) -> None:
    """Show that there is nothing yet, and the commands that change this."""
    with st.container(border=True, horizontal_alignment="center", gap="small"):
        style = "text-align:center;opacity:.75;padding-top:1rem"
        st.html(text.html_element("div", title, style=style))
        for command in commands:
            st.code(command, language="shell", width="content")


def show_heading(title: str, *facts: str) -> None:
    """Show the title of a page with a line of facts below.

    Args:
        title: a plain text.
        facts: HTML that is escaped already. Empty facts are left out.
    """
    title_style = "font-size:1.6rem;font-weight:650;padding:0;margin:0;overflow-wrap:anywhere"
    heading = text.html_element("h1", title, style=title_style)
    line = ' <span style="opacity:.4">·</span> '.join(fact for fact in facts if fact)
    if line:
        line_style = "opacity:.82;font-size:.93rem;margin-top:.15rem;line-height:1.7"
        heading += f'<div style="{line_style}">{line}</div>'
    st.html(heading)


def show_values(key: str, values: Mapping[str, object], *, export: str = "") -> None:
    """Show names and values as a table of two columns."""
    columns = {"name": Column("Name"), "value": Column("Value", width="large")}
    rows = [{"name": name, "value": value} for name, value in values.items()]
    show_table(key, columns, rows, export=export)


def state_chip(state: str) -> str:
    """Return a state as HTML: its sign and its name in its colour."""
    color = STATES.get(state, STATES["PENDING"])
    style = (
        f"color:{color};border:1px solid {color};background:{color}1f;border-radius:1rem;"
        "padding:.05rem .6rem;font-size:.82rem;font-weight:600;white-space:nowrap"
    )
    return text.html_element("span", f"{SIGNS.get(state, '')} {state.lower()}", style=style)


def age_html(timestamp: str | None, now: datetime | None = None) -> str:
    """Return how long ago a timestamp is as HTML, with the exact time as a tooltip."""
    if timestamp is None:
        return ""
    age = text.format_age(timestamp, now or datetime.now(UTC))
    return text.html_element("span", age, title=text.format_time(timestamp))


def bold_html(value: str) -> str:
    """Return a text as bold HTML."""
    return text.html_element("span", value, style="font-weight:600")


def show_table(
    key: str,
    columns: Mapping[str, Column],
    rows: Sequence[Row],
    *,
    export: str = "",
    height: int | Literal["content"] | None = None,
    selection: Selection | None = None,
) -> list[int]:
    """Show a table.

    Args:
        key: of the element.
        columns: by the keys of their values in the rows, in their order.
        rows: the values.
        export: the name of a CSV file, without its ending; no button when empty.
        height: pixels; None for the height of the rows, up to a limit.
        selection: None when rows cannot be selected.

    Returns:
        The indexes of the selected rows.
    """
    from pandas import DataFrame

    if height is None:
        height = "content" if len(rows) <= MAX_ROWS_WITHOUT_SCROLLING else SCROLLING_HEIGHT
    values: dict[str, list[object]] = {}
    config: dict[str, Any] = {}
    for name, column in columns.items():
        source = column.source or name
        cells = [row.get(source) for row in rows]
        values[name] = _convert(column, cells)
        config[name] = _column_config(column, values[name])
    options: dict[str, Any] = {}
    if selection is not None:
        options["on_select"] = selection.on_select
        options["selection_mode"] = list(selection.modes)
        options["selection_default"] = {"selection": {"rows": list(selection.rows)}}
    state: Any = st.dataframe(
        DataFrame(values),
        key=key,
        height=height,
        column_config=config,
        hide_index=True,
        placeholder="",
        **options,
    )
    if export:
        show_csv_button(f"{key}-export", export, columns, lambda: rows)
    if selection is None:
        return []
    # Streamlit keeps the selection of a key when the table has other rows than before.
    return [index for index in state["selection"]["rows"] if index < len(rows)]


def show_csv_button(
    key: str, name: str, columns: Mapping[str, Column], get_rows: Callable[[], Sequence[Row]]
) -> None:
    """Show a button that saves a table as CSV.

    Args:
        key: of the button.
        name: of the file, without its ending.
        columns: of the table.
        get_rows: returns the rows. It is called only when somebody presses the button.
    """
    st.download_button(
        "CSV",
        data=lambda: to_csv(columns, get_rows()),
        file_name=f"{name}.csv",
        mime="text/csv",
        key=key,
        icon=":material/download:",
        type="tertiary",
        # Without it, a download would run the whole page again.
        on_click="ignore",
    )


def to_csv(columns: Mapping[str, Column], rows: Sequence[Row]) -> bytes:
    """Return rows as CSV with the titles of the columns.

    Values are written as in `kfgcp export`, not as the table shows them.
    """
    titles = []
    sources = []
    for name, column in columns.items():
        titles.append(column.title)
        sources.append(column.source or name)
    lines = _csv_lines(rows, sources)
    # A text can hold half of a surrogate pair, which UTF-8 cannot encode.
    return csv_text(titles, lines).encode("utf-8", "backslashreplace")


def _csv_lines(rows: Sequence[Row], sources: Sequence[str]) -> Iterator[list[object]]:
    for row in rows:
        yield [row.get(source) for source in sources]


def rerun_on_change(stamp: object, read_stamp: Callable[[], object], *, active: bool) -> None:
    """Run the page again after a change.

    Args:
        stamp: identifies the state of the data that the page shows.
        read_stamp: returns the stamp of the current data. It is called every two seconds, so it
            must be fast.
        active: whether the data can change without the visitor, as while a run has not ended.
    """
    if not active:
        return

    # A fragment runs without the rest of the page, so a check without a change costs little.
    @st.fragment(run_every=CHECK_SECONDS)
    def check() -> None:
        if read_stamp() != stamp:
            st.rerun()

    check()


def _convert(column: Column, values: list[Any]) -> list[object]:
    """Return the values of a column as the types that Streamlit's column of this kind needs."""
    if column.kind == "button":
        return values
    if column.kind == "state":
        # A multiselect column shows each of its values as a coloured chip.
        return list(map(_to_list, values))
    if column.kind == "tags":
        return [list(value or ()) for value in values]
    if column.kind == "duration":
        return list(map(text.format_duration, values))
    if column.kind in ("time", "exact"):
        return _convert_present(values, datetime.fromisoformat)
    if column.kind == "number" and all(map(_is_exact_in_browser, values)):
        return _convert_present(values, float)
    return _convert_present(values, text.format_value)


def _to_list(value: object) -> list[object]:
    if value is None:
        return []
    return [value]


def _convert_present(values: list[Any], convert: Callable[[Any], object]) -> list[object]:
    """Return the converted values. None stays None."""
    converted: list[object] = [None] * len(values)
    for index, value in enumerate(values):
        if value is not None:
            converted[index] = convert(value)
    return converted


def _is_exact_in_browser(value: object) -> bool:
    """Return whether a browser shows a number without losing digits. None is shown as a blank."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= _MAX_SAFE_INTEGER
    return False


def _column_config(column: Column, values: list[object]) -> Any:
    """Return the configuration of Streamlit for a column and its converted values."""
    title = column.title
    common: dict[str, Any] = {"width": column.width, "pinned": column.pinned or None}
    kinds = st.column_config
    if column.kind == "state":
        return kinds.MultiselectColumn(
            title,
            options=list(STATES),
            color=list(STATES.values()),
            format_func=_state_label,
            **common,
        )
    if column.kind == "button":
        return kinds.ButtonColumn(title, type="tertiary", key=BUTTON_KEY, **common)
    if column.kind == "tags":
        return kinds.MultiselectColumn(
            title, options=_distinct_tags(values), color="primary", **common
        )
    if column.kind == "time":
        return kinds.DatetimeColumn(title, format="distance", **common)
    if column.kind == "exact":
        return kinds.DatetimeColumn(title, format="YYYY-MM-DD HH:mm:ss", timezone="UTC", **common)
    if column.kind == "number" and all(map(_is_float_or_none, values)):
        return kinds.NumberColumn(title, format="%.6g", **common)
    if column.kind in ("number", "duration", "right"):
        return kinds.TextColumn(title, alignment="right", **common)
    return kinds.TextColumn(title, **common)


def _is_float_or_none(value: object) -> bool:
    return value is None or isinstance(value, float)


def _distinct_tags(values: list[Any]) -> list[str]:
    tags = set[str]()
    for value in values:
        tags.update(value)
    return sorted(tags)


def _state_label(state: str) -> str:
    return f"{SIGNS[state]} {state.lower()}"
