"""The page of environments: their settings, the age of their data, and the checks of doctor."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import streamlit as st

from kfgcp import Environment, Finding, Workspace
from kfgcp_dashboard import data, elements, sync, text
from kfgcp_dashboard.elements import Column

SHOWN_SETTINGS: Final = ("project", "location", "host", "namespace", "pipeline_root", "auth")
COLUMNS: Final = {
    "env": Column("Environment"),
    "backend": Column("Backend"),
    "settings": Column("Settings", width="large"),
    "read": Column("Last read", "time"),
    "problem": Column("Problem", width="large"),
}

# The result of a check -> an icon and its colour. None: not needed, or not checked.
SIGNS: Final = {
    True: (":material/check_circle:", "green"),
    False: (":material/error:", "red"),
    None: ("–", "gray"),  # noqa: RUF001
}

# Seconds between two updates while the checks run.
UPDATE_SECONDS: Final = 0.5


@dataclass
class Diagnosis:
    """The results of the checks of an environment, while a thread runs them.

    Attributes:
        findings: the results of the checks that have ended.
        done: whether all checks have ended.
        problem: an error of kfgcp that stopped the checks; empty without one.
    """

    findings: list[Finding] = field(default_factory=list)
    done: bool = False
    problem: str = ""


# All visitors see the same diagnoses. Streamlit runs this file again for each page, and a
# variable of the module would be empty again.
@st.cache_resource
def _diagnoses() -> dict[str, Diagnosis]:
    return {}


def show() -> None:
    st.title("Health", anchor=False)
    workspace = data.workspace()
    project = workspace.project
    threads = sync.start_for(workspace)
    rows = [_environment_row(env, threads) for env in project.environments.values()]
    elements.show_table("environments", COLUMNS, rows, export="environments")
    for error in project.invalid_environments.values():
        elements.show_error(error)
    st.subheader("Checks", anchor=False)
    st.caption(
        "The checks test what a run needs, one thing after another. They stop at the first problem."
        " They change nothing."
    )
    for env in project.environments.values():
        with st.container(border=True):
            _show_checks(workspace, env)


def _environment_row(env: Environment, threads: sync.Sync) -> data.Row:
    status = threads.status(env.name)
    read_at = None
    problem = "not read: it is not in the list `sync` in [dashboard] of kfgcp.toml"
    if status is not None:
        problem = status.error
        if status.read_at is not None:
            read_at = datetime.fromtimestamp(status.read_at, UTC).isoformat()
    settings = []
    for key in SHOWN_SETTINGS:
        value = env.get(key)
        if value:
            settings.append(f"{key} {value}")
    return {
        "env": env.name,
        "backend": env.backend,
        "settings": ", ".join(settings) or "this machine",
        "read": read_at,
        "problem": problem,
    }


def _show_checks(workspace: Workspace, env: Environment) -> None:
    name_place, button_place = st.columns([4, 1], vertical_alignment="center")
    name = text.html_element("span", env.name, style="font-weight:600")
    backend = text.html_element("span", f"  {env.backend}", style="opacity:.65")
    name_place.html(name + backend)
    key = f"{workspace.project.root}/{env.name}"
    if button_place.button("Check", key=f"doctor-{env.name}", icon=":material/stethoscope:"):
        _diagnoses()[key] = _start_checks(workspace, env.name)
    diagnosis = _diagnoses().get(key)
    if diagnosis is None:
        return

    @st.fragment(run_every=None if diagnosis.done else UPDATE_SECONDS)
    @elements.catch_errors
    def show_diagnosis() -> None:
        _show_diagnosis(diagnosis)

    show_diagnosis()


def _start_checks(workspace: Workspace, env: str) -> Diagnosis:
    diagnosis = Diagnosis()
    threading.Thread(target=_run_checks, args=(workspace, env, diagnosis), daemon=True).start()
    return diagnosis


def _run_checks(workspace: Workspace, env: str, diagnosis: Diagnosis) -> None:
    """Run the checks of an environment. Runs in a thread."""
    try:
        workspace.doctor(env, notice=diagnosis.findings.append)
    except Exception as error:
        # The page shows it, because nobody sees the errors of a thread.
        elements.LOG.exception("doctor failed")
        diagnosis.problem = f"An internal error: {type(error).__name__}: {error}"
    finally:
        diagnosis.done = True


def _show_diagnosis(diagnosis: Diagnosis) -> None:
    # The thread appends to the list while this page reads it, so this takes a copy.
    for finding in list(diagnosis.findings):
        _show_finding(finding)
    if diagnosis.problem:
        st.error(text.escape_markdown(diagnosis.problem))
    if not diagnosis.done:
        st.caption(":shimmer[checking]")


def _show_finding(finding: Finding) -> None:
    icon, color = SIGNS[finding.ok]
    check = text.escape_markdown(finding.check)
    detail = text.escape_markdown(finding.detail)
    st.markdown(f":{color}[{icon}] **{check}** &nbsp; {detail}")
    elements.show_hint(finding.hint)


# Streamlit runs this file as a script, each time that the page is shown.
show()
