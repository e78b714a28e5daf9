"""What is around every page: the sign-in, the navigation, and how up to date each environment
is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Final

import streamlit as st

from kfgcp.config import Project
from kfgcp_dashboard import access, data, elements, server, sync, text
from kfgcp_dashboard.links import PAGES

AGE: Final = 15.0
"""Seconds between two looks at how old things are, where there are remote environments."""
TITLES: Final = {
    "runs": ("Runs", ":material/table_rows:"),
    "compare": ("Compare", ":material/compare_arrows:"),
    "run": ("Run", ":material/account_tree:"),
    "launch": ("Launch", ":material/rocket_launch:"),
    "trends": ("Sweeps and trends", ":material/trending_up:"),
    "versions": ("Versions", ":material/history:"),
    "health": ("Health", ":material/monitor_heart:"),
}


def show() -> None:
    """The frame, and the page that the address names."""
    workspace = data.workspace()
    project = workspace.project
    try:
        visitor = _visitor(project)
    except access.DeniedError as denied:
        st.title("No access")
        st.text(str(denied))
        return
    if visitor is None:
        _login()
        return
    st.session_state["visitor"] = visitor
    threads = sync.of(workspace)
    threads.touch()
    page = st.navigation(
        [
            st.Page(
                file,
                title=TITLES[name][0],
                icon=TITLES[name][1],
                url_path=name,
                default=name == "runs",
            )
            for name, file in PAGES.items()
        ]
    )
    with st.sidebar:
        _sidebar(project, visitor, threads)
    _banners(threads)
    elements.guarded(page.run)()


def _visitor(project: Project) -> access.Visitor | None:
    """Who looks; None when they have to sign in first."""
    read_only = server.options.read_only
    assertions = _assertions(project)
    if assertions is not None:
        return access.authorize(project, _iap_email(assertions), read_only=read_only)
    if "auth" in _secrets():
        if not getattr(st.user, "is_logged_in", False):
            return None
        return access.authorize(
            project, access.read_oidc_email(st.user.to_dict()), read_only=read_only
        )
    if not access.is_loopback(st.get_option("server.address")) and not server.options.embedded:
        raise access.DeniedError(
            "This dashboard cannot tell who looks, so it answers on this machine only. Start it"
            " with: kfgcp dashboard"
        )
    return access.authorize(project, None, read_only=read_only)


def _iap_email(assertions: access.AssertionVerifier) -> str:
    """The address that came with this connection. An assertion is valid for minutes and a
    connection for hours, so each is verified once, when it is new."""
    assertion = st.context.headers.get(access.IAP_HEADER)
    known: tuple[str, str] | None = st.session_state.get("verified")
    if known is None or known[0] != assertion:
        known = (assertion or "", assertions.verify(assertion))
        st.session_state["verified"] = known
    return known[1]


@st.cache_resource
def _assertions_of(audience: str, _project: Project) -> access.AssertionVerifier | None:
    return access.iap_verifier(_project)


def _assertions(project: Project) -> access.AssertionVerifier | None:
    setting = project.dashboard.get("iap_audience")
    return None if setting is None else _assertions_of(setting.value, project)


def _secrets() -> Any:
    try:
        return dict(st.secrets)
    except FileNotFoundError:
        return {}


def _login() -> None:
    st.title("kfgcp")
    st.text("Sign in to see the runs.")
    if st.button("Sign in", type="primary", icon=":material/login:"):
        st.login()


def _sidebar(project: Project, visitor: access.Visitor, threads: sync.Sync) -> None:
    st.html(
        text.html_element(
            "div", project.name, style="font-weight:650;font-size:1.02rem;margin-top:.4rem"
        )
    )
    remote = any(not status.runs_here for status in threads.statuses)

    @st.fragment(run_every=AGE if remote else None)
    def ages() -> None:
        st.html("".join(_age(status) for status in threads.statuses))

    # Nothing is read when `sync` is empty, or names only environments that are not valid.
    if threads.statuses:
        ages()
    if remote and st.button("Read now", icon=":material/sync:", type="tertiary"):
        threads.now()
        st.rerun()
    if visitor.email:
        st.html(
            text.html_element(
                "div", visitor.email, style="font-size:.82rem;opacity:.7;overflow-wrap:anywhere"
            )
        )
    if not visitor.may_act:
        st.caption("Only looking", help=text.escape_markdown(visitor.reason))


def _age(status: sync.Status) -> str:
    """A line of HTML: an environment and how old what is shown of it is."""
    if status.error:
        colour, what = "#d64545", "not reached"
    elif status.runs_here:
        colour, what = "#2f9e62", "live"
    elif status.read_at is None:
        colour, what = "#d99a2b", "being read"
    else:
        at = datetime.fromtimestamp(status.read_at, UTC).isoformat()
        colour, what = "#2f9e62", text.format_age(at, datetime.fromtimestamp(time.time(), UTC))
    dot = f'<span style="color:{colour}">●</span> '
    name = text.html_element("span", status.env, style="font-weight:550")
    title = text.html_element(
        "span", f" {what}", style="opacity:.65", title=status.error or status.backend
    )
    return f'<div style="font-size:.86rem;line-height:1.7">{dot}{name}{title}</div>'


def _banners(threads: sync.Sync) -> None:
    """A line for each environment that cannot be reached; everything else works."""
    for status in threads.statuses:
        if status.error:
            seen = "" if status.read_at is None else " Its runs are shown as last seen."
            st.warning(
                f"{text.escape_markdown(status.env)} cannot be read:"
                f" {text.escape_markdown(status.error)}{seen}"
                + (f"  \n{text.escape_markdown(status.hint)}" if status.hint else ""),
                icon=":material/cloud_off:",
            )
