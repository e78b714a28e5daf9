"""What may be done with a run: compare it, repeat it, cancel it; each but the first asks once
more."""

from __future__ import annotations

from typing import Final

import streamlit as st

from kfgcp.errors import KfgcpError
from kfgcp.model import Run
from kfgcp_dashboard import access, data, elements, text
from kfgcp_dashboard.links import PAGES

_ASKED: Final = "asked"


def who() -> access.Visitor:
    """Who looks at this page."""
    visitor: access.Visitor = st.session_state["visitor"]
    return visitor


def buttons(run: Run) -> None:
    """The buttons at the top of a run."""
    if st.button("Compare", icon=":material/compare_arrows:"):
        st.switch_page(PAGES["compare"], query_params={"run": [run.run_id]})
    visitor = who()
    if st.button(
        "Rerun", icon=":material/replay:", disabled=not visitor.may_act, help=_why_not(visitor)
    ):
        ask("rerun", run.run_id)
    if not run.state.final and st.button(
        "Cancel", icon=":material/cancel:", disabled=not visitor.may_act, help=_why_not(visitor)
    ):
        ask("cancel", run.run_id)
    if asked("rerun", run.run_id):
        _rerun(run)
    elif asked("cancel", run.run_id):
        _cancel(run)


def ask(what: str, of: str) -> None:
    """Opens a question; it stays open when the page is drawn anew, as happens while something
    runs."""
    st.session_state[_ASKED] = (what, of)


def asked(what: str, of: str) -> bool:
    """Whether that question is open."""
    return bool(st.session_state.get(_ASKED) == (what, of))


def answered() -> None:
    """Closes the question."""
    st.session_state.pop(_ASKED, None)


@st.dialog("Repeat this run", on_dismiss=answered)
@elements.guarded
def _rerun(run: Run) -> None:
    st.text("Tasks whose code and inputs are the same are not run again.")
    paths = [task.path for task in run.tasks]
    start = st.selectbox(
        "Run again from", ["", *paths], format_func=lambda path: path or "only what changed"
    )
    if confirmed("Repeat it", "Keep it as it is"):
        must_be_allowed()
        with st.spinner("Submitting"):
            again = data.workspace().rerun(run, from_task=start or None, wait=False)
        answered()
        st.switch_page(PAGES["run"], query_params={"run": again.run_id})


@st.dialog("Cancel this run", on_dismiss=answered)
@elements.guarded
def _cancel(run: Run) -> None:
    st.text(
        f"{text.visible(run.name or run.run_id)} is {run.state.value.lower()}. What it has finished"
        " stays."
    )
    if confirmed("Cancel the run", "Let it run"):
        must_be_allowed()
        with st.spinner("Asking it to end"):
            data.workspace().cancel(run)
        answered()
        st.rerun()


def confirmed(yes: str, no: str) -> bool:
    """Whether it was said yes to; a no closes the question."""
    with st.container(horizontal=True):
        agreed = st.button(yes, type="primary")
        if st.button(no):
            answered()
            st.rerun()
    return agreed


def must_be_allowed() -> None:
    """Raises when who looks may only look.

    A button that is shown disabled can be pressed all the same by a browser of one's own.
    """
    visitor = who()
    if not visitor.may_act:
        raise KfgcpError(visitor.reason)


def _why_not(visitor: access.Visitor) -> str | None:
    return None if visitor.may_act else text.escape_markdown(visitor.reason)
