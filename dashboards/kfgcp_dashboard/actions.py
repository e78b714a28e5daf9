"""The actions on a run: compare, rerun, cancel. Rerun and cancel ask for a confirmation first."""

from __future__ import annotations

from typing import Final

import streamlit as st

from kfgcp import KfgcpError, Run
from kfgcp_dashboard import data, elements, text
from kfgcp_dashboard.access import Visitor
from kfgcp_dashboard.links import PAGES

# Keys of Streamlit's session: the visitor, and the dialog that is open.
VISITOR_KEY: Final = "visitor"
_DIALOG_KEY: Final = "dialog"


def current_visitor() -> Visitor:
    """Return the visitor of this page."""
    visitor: Visitor = st.session_state[VISITOR_KEY]
    return visitor


def show_buttons(run: Run) -> None:
    """Show the buttons at the top of a run."""
    if st.button("Compare", icon=":material/compare_arrows:"):
        st.switch_page(PAGES["compare"], query_params={"run": [run.run_id]})
    visitor = current_visitor()
    why_disabled = text.escape_markdown(visitor.reason) or None
    disabled = not visitor.may_act
    if st.button("Rerun", icon=":material/replay:", disabled=disabled, help=why_disabled):
        open_dialog("rerun", run.run_id)
    if not run.state.final and st.button(
        "Cancel", icon=":material/cancel:", disabled=disabled, help=why_disabled
    ):
        open_dialog("cancel", run.run_id)
    if is_dialog_open("rerun", run.run_id):
        _show_rerun_dialog(run)
    elif is_dialog_open("cancel", run.run_id):
        _show_cancel_dialog(run)


def open_dialog(action: str, subject: str) -> None:
    """Open a dialog, which stays open until `close_dialog`.

    Streamlit closes a dialog when the whole page runs again (streamlit pull request 17039 describes
    it), and a page with an unfinished run does so by itself. So the session remembers the dialog,
    and each run of the page opens it again.

    Args:
        action: what the dialog asks about.
        subject: what the action changes: the id of a run, or a version. The dialog is open only on
            the page of this run or version.
    """
    st.session_state[_DIALOG_KEY] = (action, subject)


def is_dialog_open(action: str, subject: str) -> bool:
    """Return whether this dialog is open."""
    return bool(st.session_state.get(_DIALOG_KEY) == (action, subject))


def close_dialog() -> None:
    """Close the dialog that is open."""
    st.session_state.pop(_DIALOG_KEY, None)


def confirm(yes: str, no: str) -> bool:
    """Show two buttons, and return whether `yes` was pressed.

    The button `no` closes the dialog.
    """
    with st.container(horizontal=True):
        confirmed = st.button(yes, type="primary")
        if st.button(no):
            close_dialog()
            st.rerun()
    return confirmed


def require_permission() -> None:
    """Raise an error when the visitor may not change anything.

    A disabled button does not protect: a modified browser can still press it.

    Raises:
        KfgcpError: with the reason.
    """
    visitor = current_visitor()
    if not visitor.may_act:
        raise KfgcpError(visitor.reason)


# `on_dismiss` is called when somebody closes the dialog with the cross or with Escape.
@st.dialog("Rerun this run?", on_dismiss=close_dialog)
@elements.catch_errors
def _show_rerun_dialog(run: Run) -> None:
    st.text("Tasks whose code and inputs are the same do not run again.")
    choices = [""]
    choices += [task.path for task in run.tasks]
    first_task = st.selectbox(
        "Run again",
        choices,
        format_func=lambda path: (
            f"{path} and the tasks that depend on it" if path else "only changed tasks"
        ),
    )
    if confirm("Rerun now", "Close"):
        require_permission()
        with st.spinner("Submitting"):
            new_run = data.workspace().rerun(run, from_task=first_task or None, wait=False)
        close_dialog()
        st.switch_page(PAGES["run"], query_params={"run": new_run.run_id})


@st.dialog("Cancel this run?", on_dismiss=close_dialog)
@elements.catch_errors
def _show_cancel_dialog(run: Run) -> None:
    name = text.visible(run.name or run.run_id)
    st.text(f"{name} is {run.state.value.lower()}. The results of its finished tasks are kept.")
    if confirm("Cancel the run", "Keep it running"):
        require_permission()
        with st.spinner("Cancelling"):
            data.workspace().cancel(run)
        close_dialog()
        st.rerun()
