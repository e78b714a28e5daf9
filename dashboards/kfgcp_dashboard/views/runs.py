"""The page of all runs, newest first. Filters, order and page are in the address.

The store does the work in SQL, because a project can have 100,000 runs.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import streamlit as st

from kfgcp import Run, RunState, Store, UsageError
from kfgcp_dashboard import address, data, elements, text
from kfgcp_dashboard.colors import SIGNS
from kfgcp_dashboard.elements import Column, Selection
from kfgcp_dashboard.links import PAGES

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

# The columns that are shown when nobody has chosen columns.
DEFAULT_COLUMNS: Final = {
    "state": Column("State", "state"),
    "name": Column("Name", width=230),
    "pipeline": Column("Pipeline"),
    "env": Column("Environment"),
    "created_at": Column("Created", "time"),
    "seconds": Column("Duration", "duration"),
    "tags": Column("Tags", "tags"),
}
OTHER_COLUMNS: Final = {
    # The key is in the links of people, so it stays.
    "made_at": Column("Created at (UTC)", "exact", source="created_at"),
    "experiment": Column("Experiment"),
    "run_id": Column("Id"),
    "version": Column("Version"),
    "backend": Column("Backend"),
    "started_at": Column("Started", "time"),
    "ended_at": Column("Ended", "time"),
    "note": Column("Note"),
    "error": Column("Error", width="large"),
}
FACT_COLUMNS: Final = {**DEFAULT_COLUMNS, **OTHER_COLUMNS}

# Metrics that are shown when nobody has chosen columns.
DEFAULT_METRICS: Final = 4

# A click on the title of these columns does not sort: `data.SORTABLE` does not have them.
NOT_SORTABLE: Final = ("open", "tags", "note", "error", "made_at")

MAX_EXPORTED_RUNS: Final = 100_000

# The button at the beginning of each row.
_OPEN_COLUMN: Final = Column(" ", "button", width=44)
_OPEN_ICON: Final = ":material/open_in_full:"


def show() -> None:
    store = data.workspace().store
    head, export_place = st.columns([6, 1], vertical_alignment="bottom")
    head.title("Runs", anchor=False)
    if data.is_empty(store):
        elements.show_empty(
            "No runs yet. This page will show each run of the project as a row, for all backends.",
            "kfgcp init my-project && cd my-project",
            "kfgcp run pipelines/long_words.py",
        )
        elements.rerun_on_change(True, lambda: data.is_empty(store), active=True)
        return
    names = data.value_columns(store, st.query_params.get("pipeline", ""))
    query, columns_place = _show_filters(store, names)
    # The stamp is read before the runs, so a change between the two runs the page again.
    stamp = data.change_stamp(store)
    try:
        runs, total = data.find_runs(store, query)
        if not runs and total:
            # The address names a page that does not exist any more. Show the last page.
            query = replace(query, page=_count_pages(total))
            runs, total = data.find_runs(store, query)
    except UsageError as error:
        # The expression cannot be read.
        elements.show_error(error)
        return
    # The table can run the page again (`st.rerun`), which skips all code after the table. So this
    # code makes the choice of the page first, although it is below the table on the screen.
    table_place = st.container()
    _show_page_choice(query.page, total)
    with table_place:
        if runs:
            with columns_place:
                columns = _choose_columns(names, runs)
            _show_table(query, runs, columns)
            with export_place, st.container(horizontal_alignment="right"):
                elements.show_csv_button(
                    "runs-export",
                    "runs",
                    columns,
                    lambda: data.all_rows(store, query, MAX_EXPORTED_RUNS),
                )
        else:
            _show_no_match()
    elements.rerun_on_change(
        stamp, lambda: data.change_stamp(store), active=data.has_unfinished(store)
    )


def _show_filters(store: Store, names: Sequence[str]) -> tuple[data.Query, DeltaGenerator]:
    """Return the query of the filters, and the place for the choice of columns."""
    first, second, third, fourth = st.columns([4, 2, 2, 2], vertical_alignment="bottom")
    find = address.widget(
        first.text_input,
        "Find",
        key="where",
        default="",
        on_change=_go_to_first_page,
        icon=":material/search:",
        placeholder="a name, a tag, or: metrics.accuracy > 0.9 and params.lr < 0.1",
    )
    pipeline = _choose_value(second, store, "Pipeline", "pipeline")
    experiment = _choose_value(third, store, "Experiment", "experiment")
    env = _choose_value(fourth, store, "Environment", "env")
    left, middle, right = st.columns([7.2, 2.9, 1.3], vertical_alignment="center")
    states = address.widget(
        left.pills,
        "State",
        [state.value for state in RunState],
        key="state",
        default=list[str](),
        selection_mode="multi",
        on_change=_go_to_first_page,
        format_func=lambda state: f"{SIGNS[state]} {state.lower()}",
        label_visibility="collapsed",
    )
    sort_place = middle.container(
        horizontal=True, horizontal_alignment="right", vertical_alignment="center", wrap=False
    )
    with sort_place:
        sort, ascending = _choose_order(names)
    query = data.Query(
        find=find,
        pipeline=pipeline,
        experiment=experiment,
        env=env,
        states=tuple(states),
        sort=sort,
        descending=not ascending,
        page=max(1, address.read_value("page", 1)),
    )
    return query, right.container(horizontal_alignment="right")


def _choose_value(place: DeltaGenerator, store: Store, title: str, column: str) -> str:
    return address.widget(
        place.selectbox,
        title,
        [""] + data.column_values(store, column),
        key=column,
        default="",
        on_change=_go_to_first_page,
        format_func=lambda value: value or "all",
    )


def _choose_order(names: Sequence[str]) -> tuple[str, bool]:
    """Return the column to sort by, and whether the smallest value comes first."""
    sort = address.widget(
        st.selectbox,
        "Sort by",
        list(data.SORTABLE) + list(names),
        key="sort",
        default=data.NEWEST,
        on_change=_go_to_first_page,
        format_func=_column_title,
        label_visibility="collapsed",
        width=130,
    )
    ascending = address.widget(
        st.toggle,
        "asc",
        key="up",
        default=False,
        on_change=_go_to_first_page,
        help="Ascending: the smallest or the oldest comes first.",
    )
    return sort, ascending


def _column_title(name: str) -> str:
    if name in FACT_COLUMNS:
        return FACT_COLUMNS[name].title
    return name


def _go_to_first_page() -> None:
    # A callback runs before the script, so the page is right when the script reads it.
    st.session_state["page"] = 1


def _count_pages(total: int) -> int:
    """Return the number of pages, at least 1."""
    full_pages, runs_on_last_page = divmod(total, data.PAGE_SIZE)
    if runs_on_last_page:
        return full_pages + 1
    return max(1, full_pages)


def _show_page_choice(page: int, total: int) -> None:
    """Show the choice of the page, and the numbers of its runs."""
    pages = _count_pages(total)
    left, right = st.columns([3, 2], vertical_alignment="center")
    # The address can name a page that does not exist.
    st.session_state["page"] = min(page, pages)
    address.widget(lambda label, *, key: left.pagination(pages, key=key), "", key="page", default=1)
    numbers = "none"
    if total:
        first = (page - 1) * data.PAGE_SIZE + 1
        last = min(page * data.PAGE_SIZE, total)
        numbers = f"{first:,} to {last:,} of {total:,}"
    style = "text-align:right;opacity:.7;font-size:.9rem"
    right.html(text.html_element("div", numbers, style=style))


def _show_no_match() -> None:
    elements.show_empty("No run matches these filters.")
    if st.button("Show all", icon=":material/filter_alt_off:"):
        st.query_params.clear()
        st.rerun()


def _choose_columns(names: Sequence[str], runs: Sequence[Run]) -> dict[str, Column]:
    """Return the chosen columns, or the default ones with the first metrics of this page."""
    available = {**FACT_COLUMNS, **_value_columns(names)}
    page_metrics = [name for name in data.metric_columns(runs) if name in available]
    default = list(DEFAULT_COLUMNS) + page_metrics[:DEFAULT_METRICS]
    with st.popover("Columns", icon=":material/view_column:", type="tertiary"):
        chosen = address.widget(
            st.multiselect,
            "Columns",
            list(available),
            key="columns",
            default=default,
            format_func=_column_title,
        )
    return {name: available[name] for name in chosen or default}


def _value_columns(names: Sequence[str]) -> dict[str, Column]:
    """Return the columns of parameters and metrics.

    The title is the last part of the name when no other name ends with the same part.
    """
    last_parts = {name: name.rpartition(".")[2] for name in names}
    counts = Counter(last_parts.values())
    columns = {}
    for name, title in last_parts.items():
        if counts[title] > 1:
            title = name.partition(".")[2]
        columns[name] = Column(title, "number")
    return columns


def _show_table(query: data.Query, runs: Sequence[Run], columns: dict[str, Column]) -> None:
    ids = [run.run_id for run in runs]
    picked = [run_id for run_id in st.query_params.get_all("pick") if run_id]
    key = _table_key(query, ids, columns)
    _show_selection_bar(key, picked)
    rows = data.table_rows(runs)
    for row in rows:
        row["open"] = _OPEN_ICON
    picked_rows = [ids.index(run_id) for run_id in picked if run_id in ids]
    selection = Selection(
        rows=sorted(picked_rows),
        modes=("multi-row", "single-column"),
        on_select=partial(_sort_by_selected_column, key, query),
    )
    all_columns = {"open": _OPEN_COLUMN, **_mark_sorted(columns, query)}
    selected = elements.show_table(key, all_columns, rows, height="content", selection=selection)
    _open_pressed_run(ids)
    selected_ids = [ids[index] for index in selected]
    _store_picked(selected_ids, ids, picked)


def _table_key(query: data.Query, ids: Sequence[str], columns: dict[str, Column]) -> str:
    """Return a key that changes with the rows and columns of the table.

    Streamlit keeps the selection of a key by the position of rows, even when they are other runs
    now (streamlit issue 17026). And a column that was clicked would stay selected, so the next
    click would only deselect it.
    """
    contents = repr((ids, query.sort, query.descending, list(columns)))
    return f"runs-{zlib.crc32(contents.encode())}"


def _mark_sorted(columns: dict[str, Column], query: data.Query) -> dict[str, Column]:
    """Return the columns with an arrow in the title of the sorted one."""
    if query.sort not in columns:
        return columns
    arrow = "↓" if query.descending else "↑"
    column = columns[query.sort]
    return {**columns, query.sort: replace(column, title=f"{column.title} {arrow}")}


def _show_selection_bar(table_key: str, picked: Sequence[str]) -> None:
    """Show the buttons for the selected runs, above the table."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if not picked:
            st.caption("Select rows to compare runs. Click a column title to sort by it.")
            return
        if st.button(
            f"Compare {len(picked)}",
            type="primary",
            icon=":material/compare_arrows:",
            disabled=len(picked) < 2,
        ):
            st.switch_page(PAGES["compare"], query_params={"run": list(picked)})
        if st.button("Clear selection", type="tertiary"):
            del st.query_params["pick"]
            # Without it, the table would keep its selected rows, and write them back.
            st.session_state[table_key] = {"selection": {"rows": [], "columns": []}}
            st.rerun()
        st.caption(f"{len(picked)} selected")


def _open_pressed_run(ids: Sequence[str]) -> None:
    """Open the run whose button was pressed. Streamlit shows the press to one run of the script."""
    press = st.session_state.get(elements.BUTTON_KEY)
    if press is not None and press["row"] < len(ids):
        st.switch_page(PAGES["run"], query_params={"run": ids[press["row"]]})


def _store_picked(selected: Sequence[str], ids: Sequence[str], picked: Sequence[str]) -> None:
    """Write the selected runs into the address, in the order in which they were selected.

    Args:
        selected: the selected runs of this page.
        ids: all runs of this page.
        picked: the runs in the address, which can be on other pages too.
    """
    still_picked = [run_id for run_id in picked if run_id not in ids or run_id in selected]
    new = [run_id for run_id in selected if run_id not in picked]
    new_picked = still_picked + new
    if new_picked == list(picked):
        return
    if new_picked:
        st.query_params["pick"] = new_picked
    else:
        st.query_params.pop("pick", None)
    # The bar above the table shows the number of the selected runs.
    st.rerun()


def _sort_by_selected_column(table_key: str, query: data.Query) -> None:
    """Sort by the column whose title was clicked; the second click reverses the order.

    Streamlit sorts only the rows that it has, which are one page. So the click selects a column,
    and this callback changes the order of the query.
    """
    for name in st.session_state[table_key]["selection"]["columns"]:
        if name not in NOT_SORTABLE:
            is_second_click = name == query.sort
            st.session_state["up"] = query.descending if is_second_click else False
            st.session_state["sort"] = name
            _go_to_first_page()


# Streamlit runs this file as a script, each time that the page is shown.
show()
