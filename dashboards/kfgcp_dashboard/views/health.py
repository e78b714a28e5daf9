"""The environments: what they are, how old what is shown of them is, and what keeps runs from
starting there."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import streamlit as st

from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Finding
from kfgcp.workspace import Workspace
from kfgcp_dashboard import data, elements, sync, text
from kfgcp_dashboard.elements import Column

SHOWN: Final = ("project", "location", "host", "namespace", "pipeline_root", "auth")
COLUMNS: Final = {
    "env": Column("Environment"),
    "backend": Column("Backend"),
    "where": Column("Where", width="large"),
    "read": Column("Read", "time"),
    "problem": Column("Problem", width="large"),
}
SIGNS: Final = {
    True: (":material/check_circle:", "green"),
    False: (":material/error:", "red"),
    None: ("–", "gray"),  # noqa: RUF001
}


@dataclass
class Diagnosis:
    """Findings as they come in from a thread."""

    findings: list[Finding] = field(default_factory=list)
    done: bool = False
    problem: str = ""


@st.cache_resource
def _diagnoses() -> dict[str, Diagnosis]:
    return {}


def show() -> None:
    st.title("Health", anchor=False)
    workspace = data.workspace()
    project = workspace.project
    threads = sync.of(workspace)
    rows = [_row(env, threads) for env in project.environments.values()]
    elements.table("environments", COLUMNS, rows, export="environments")
    for invalid in project.invalid_environments.values():
        elements.failure(invalid)
    st.subheader("Doctor", anchor=False)
    st.caption(
        "Looks at all that a run needs, in order, up to the first thing that is broken. Nothing is"
        " written."
    )
    for env in project.environments.values():
        with st.container(border=True):
            _doctor(workspace, env)


def _row(env: Environment, threads: sync.Sync) -> dict[str, Any]:
    status = threads.status(env.name)
    read_at = (
        None
        if status is None or status.read_at is None
        else datetime.fromtimestamp(status.read_at, UTC)
    )
    return {
        "env": env.name,
        "backend": env.backend,
        "where": ", ".join(f"{key} {env.get(key)}" for key in SHOWN if env.get(key))
        or "this machine",
        "read": None if read_at is None else read_at.isoformat(),
        "problem": "not read: not in `sync`" if status is None else status.error,
    }


def _doctor(workspace: Workspace, env: Environment) -> None:
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.html(
        text.html_element("span", env.name, style="font-weight:600")
        + text.html_element("span", f"  {env.backend}", style="opacity:.65")
    )
    key = f"{workspace.project.root}/{env.name}"
    if right.button("Look", key=f"doctor-{env.name}", icon=":material/stethoscope:"):
        _diagnoses()[key] = Diagnosis()
        threading.Thread(
            target=_diagnose, args=(workspace, env.name, _diagnoses()[key]), daemon=True
        ).start()
    found = _diagnoses().get(key)
    if found is None:
        return

    @st.fragment(run_every=None if found.done else 0.5)
    @elements.guarded
    def findings() -> None:
        for finding in list(found.findings):
            _finding(finding)
        if found.problem:
            st.error(text.escape_markdown(found.problem))
        if found.done:
            return
        st.caption(":shimmer[looking]")

    findings()


def _diagnose(workspace: Workspace, env: str, into: Diagnosis) -> None:
    try:
        workspace.doctor(env, notice=into.findings.append)
    except Exception as error:  # said on the page: nobody sees what a thread raises
        elements.LOG.exception("doctor failed")
        into.problem = f"It failed inside: {type(error).__name__}: {error}"
    finally:
        into.done = True


def _finding(finding: Finding) -> None:
    icon, colour = SIGNS[finding.ok]
    st.markdown(
        f":{colour}[{icon}] **{text.escape_markdown(finding.check)}** &nbsp;"
        f" {text.escape_markdown(finding.detail)}"
    )
    if finding.hint:
        st.code(text.visible_lines(finding.hint), language=None, wrap_lines=True)


show()
