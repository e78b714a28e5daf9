"""All runs, newest first: filters, sorting and the page are in the address; SQL does the work."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import streamlit as st

from kfgcp.errors import UsageError
from kfgcp.model import Run, RunState
from kfgcp_dashboard import address, data, elements, text
from kfgcp_dashboard.colors import SIGNS
from kfgcp_dashboard.elements import Column
from kfgcp_dashboard.links import PAGES

FACTS: Final = {
    "state": Column("State", "state"),
    "name": Column("Name", width=230),
    "pipeline": Column("Pipeline"),
    "env": Column("Environment"),
    "created_at": Column("Made", "time"),
    "seconds": Column("Took", "duration"),
    "tags": Column("Tags", "tags"),
}
MORE: Final = {
    "made_at": Column("Made at (UTC)", "exact", of="created_at"),
    "experiment": Column("Experiment"),
    "run_id": Column("Id"),
    "version": Column("Version"),
    "backend": Column("Backend"),
    "started_at": Column("Started", "time"),
    "ended_at": Column("Ended", "time"),
    "note": Column("Note"),
    "error": Column("Error", width="large"),
}
AUTOMATIC: Final = 4
"""Metrics that are shown when nobody has picked columns."""
UNSORTED: Final = ("open", "tags", "note", "error", "made_at")
EXPORTED: Final = 100_000


def show() -> None:
    store = data.workspace().store
    head, export = st.columns([6, 1], vertical_alignment="bottom")
    head.title("Runs", anchor=False)
    if data.is_empty(store):
        elements.empty(
            "No runs yet. Each run of this project will be a row here, whatever it runs on.",
            "kfgcp init my-project && cd my-project",
            "kfgcp run pipelines/long_words.py",
        )
        elements.pulse(True, lambda: data.is_empty(store), active=True)
        return
    names = data.value_columns(store, st.query_params.get("pipeline", ""))
    query, picker = _filters(store, names)
    try:
        runs, total = data.found(store, query)
        if not runs and total:  # a page that was there before
            query = replace(query, page=-(-total // data.PAGE))
            runs, total = data.found(store, query)
    except UsageError as error:  # an expression that cannot be read
        elements.failure(error)
        return
    stamp = data.stamp(store)
    place = st.container()
    _page(query.page, total)
    with place:
        if runs:
            _table(store, query, runs, names, export, picker)
        else:
            elements.empty("No run matches these filters.")
            if st.button("Show all", icon=":material/filter_alt_off:"):
                st.query_params.clear()
                st.rerun()
    elements.pulse(stamp, lambda: data.stamp(store), active=data.unfinished(store))


def _filters(store: Any, names: Sequence[str]) -> tuple[data.Query, Any]:
    """What the address asks for, and the place of the column picker."""
    first, second, third, fourth = st.columns([4, 2, 2, 2], vertical_alignment="bottom")
    where = address.widget(
        first.text_input,
        "Find",
        key="where",
        default="",
        on_change=_first_page,
        icon=":material/search:",
        placeholder="a name, a tag, or: metrics.accuracy > 0.9 and params.lr < 0.1",
    )
    pipeline = _choice(second, store, "Pipeline", "pipeline")
    experiment = _choice(third, store, "Experiment", "experiment")
    env = _choice(fourth, store, "Environment", "env")
    left, middle, right = st.columns([7.2, 2.9, 1.3], vertical_alignment="center")
    states = address.widget(
        left.pills,
        "State",
        [state.value for state in RunState],
        key="state",
        default=[],
        selection_mode="multi",
        on_change=_first_page,
        format_func=lambda state: f"{SIGNS[state]} {state.lower()}",
        label_visibility="collapsed",
    )
    with (
        middle,
        st.container(
            horizontal=True, horizontal_alignment="right", vertical_alignment="center", wrap=False
        ),
    ):
        sort, up = _sort(names)
    with right:
        place = st.container(horizontal_alignment="right")
    page = max(1, address.peek("page", 1))
    return data.Query(where, pipeline, experiment, env, tuple(states), sort, not up, page), place


def _sort(names: Sequence[str]) -> tuple[str, bool]:
    """The column to sort by, and whether the smallest comes first."""
    titles = {**FACTS, **MORE}
    sort = address.widget(
        st.selectbox,
        "Sort by",
        [*data.SORTABLE, *names],
        key="sort",
        default=data.NEWEST,
        on_change=_first_page,
        format_func=lambda name: titles[name].title if name in titles else name,
        label_visibility="collapsed",
        width=130,
    )
    up = address.widget(
        st.toggle,
        "up",
        key="up",
        default=False,
        on_change=_first_page,
        help="The smallest, or the oldest, first.",
    )
    return sort, up


def _choice(place: Any, store: Any, title: str, column: str) -> str:
    chosen: str = address.widget(
        place.selectbox,
        title,
        ["", *data.values(store, column)],
        key=column,
        default="",
        on_change=_first_page,
        format_func=lambda value: value or "all",
    )
    return chosen


def _first_page() -> None:
    st.session_state["page"] = 1


def _page(page: int, total: int) -> None:
    """The choice of the page, and which runs are on it."""
    pages = max(1, -(-total // data.PAGE))
    st.session_state["page"] = min(page, pages)
    left, right = st.columns([3, 2], vertical_alignment="center")
    address.widget(lambda label, *, key: left.pagination(pages, key=key), "", key="page", default=1)
    first = (page - 1) * data.PAGE + 1
    shown = f"{first:,} to {min(first + data.PAGE - 1, total):,} of {total:,}" if total else "none"
    right.html(text.html_element("div", shown, style="text-align:right;opacity:.7;font-size:.9rem"))


def _table(
    store: Any,
    query: data.Query,
    runs: Sequence[Run],
    names: Sequence[str],
    export: Any,
    picker: Any,
) -> None:
    with picker:
        columns = _columns(names, runs)
    rows = data.rows(runs)
    picked = [run for run in st.query_params.get_all("pick") if run]
    ids = [run.run_id for run in runs]
    _bar(picked)
    arrow = "↓" if query.descending else "↑"
    titled = {
        name: replace(column, title=f"{column.title} {arrow}") if name == query.sort else column
        for name, column in columns.items()
    }
    key = f"runs-{zlib.crc32(repr((ids, query.sort, query.descending, list(columns))).encode())}"
    event = elements.table(
        key,
        {"open": Column(" ", "button", width=44), **titled},
        [{**row, "open": ":material/open_in_full:"} for row in rows],
        on_select=partial(_sorted, key, query),
        selection_mode=["multi-row", "single-column"],
        selection_default={
            "selection": {"rows": [at for at, run_id in enumerate(ids) if run_id in picked]}
        },
        height="content",
    )
    _opened(ids)
    _picked(event, ids, picked)
    with export, st.container(horizontal_alignment="right"):
        elements.download(
            "runs-export", "runs", columns, lambda: data.all_rows(store, query, EXPORTED)
        )


def _columns(names: Sequence[str], runs: Sequence[Run]) -> dict[str, Column]:
    """Those that were picked, else the facts and the first metrics of the runs on this page."""
    available = {**FACTS, **MORE, **_of_values(names)}
    on_page = data.metric_columns(runs)
    default = [*FACTS, *[name for name in on_page if name in available][:AUTOMATIC]]
    with st.popover("Columns", icon=":material/view_column:", type="tertiary"):
        chosen = address.widget(
            st.multiselect,
            "Columns",
            list(available),
            key="columns",
            default=default,
            format_func=lambda name: available[name].title if name in (*FACTS, *MORE) else name,
        )
    return {name: available[name] for name in chosen or default}


def _of_values(names: Sequence[str]) -> dict[str, Column]:
    """Columns of parameters and metrics, called by their last part where that is unique."""
    last = Counter(name.rpartition(".")[2] for name in names)
    return {
        name: Column(
            title if last[title := name.rpartition(".")[2]] == 1 else name.partition(".")[2],
            "number",
        )
        for name in names
    }


def _bar(picked: Sequence[str]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if not picked:
            st.caption("Pick rows to compare runs. A click on a title sorts by it.")
            return
        if st.button(
            f"Compare {len(picked)}",
            type="primary",
            icon=":material/compare_arrows:",
            disabled=len(picked) < 2,
        ):
            st.switch_page(PAGES["compare"], query_params={"run": list(picked)})
        if st.button("Pick none", type="tertiary"):
            del st.query_params["pick"]
            st.rerun()
        st.caption(f"{len(picked)} picked")


def _opened(ids: Sequence[str]) -> None:
    click = st.session_state.get(elements.BUTTON)
    if click is not None and click["row"] < len(ids):
        st.switch_page(PAGES["run"], query_params={"run": ids[click["row"]]})


def _picked(event: Any, ids: Sequence[str], before: Sequence[str]) -> None:
    """Keeps the runs that are picked in the address, those of other pages too, in the order they
    were picked."""
    here = [ids[row] for row in event["selection"]["rows"] if row < len(ids)]
    now = [run for run in before if run not in ids or run in here] + [
        run for run in here if run not in before
    ]
    if now != list(before):
        if now:
            st.query_params["pick"] = now
        else:
            st.query_params.pop("pick", None)
        st.rerun()


def _sorted(key: str, query: data.Query) -> None:
    """A title that was clicked sorts by its column, at the second click the other way round."""
    for name in st.session_state[key]["selection"]["columns"]:
        if name not in UNSORTED:
            st.session_state["up"] = query.descending if name == query.sort else False
            st.session_state["sort"] = name
            _first_page()


show()
