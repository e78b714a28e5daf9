"""Show the frame around each page: the sign-in, the navigation, and the age of the data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import streamlit as st

from kfgcp import Project
from kfgcp_dashboard import access, actions, data, elements, server, sync, text
from kfgcp_dashboard.links import PAGES

# Seconds between two updates of the ages in the sidebar.
AGE_SECONDS: Final = 15.0

# Page -> its title and its icon.
TITLES: Final = {
    "runs": ("Runs", ":material/table_rows:"),
    "compare": ("Compare", ":material/compare_arrows:"),
    "run": ("Run", ":material/account_tree:"),
    "launch": ("Launch", ":material/rocket_launch:"),
    "trends": ("Sweeps and trends", ":material/trending_up:"),
    "versions": ("Versions", ":material/history:"),
    "health": ("Health", ":material/monitor_heart:"),
}

_RED: Final = "#d64545"
_GREEN: Final = "#2f9e62"
_ORANGE: Final = "#d99a2b"

# Key of Streamlit's session: the last assertion of IAP, and the e-mail address that it proves.
_VERIFIED_KEY: Final = "verified"


def show() -> None:
    """Show the frame and the page that the address names."""
    workspace = data.workspace()
    project = workspace.project
    try:
        visitor = _identify(project)
    except access.DeniedError as denied:
        st.title("No access")
        st.text(str(denied))
        return
    if visitor is None:
        _show_login()
        return
    st.session_state[actions.VISITOR_KEY] = visitor
    threads = sync.start_for(workspace)
    threads.touch()
    pages = []
    for name, file in PAGES.items():
        title, icon = TITLES[name]
        # The name is also in the addresses that people share, so it must not follow the title.
        pages.append(st.Page(file, title=title, icon=icon, url_path=name, default=name == "runs"))
    page = st.navigation(pages)
    with st.sidebar:
        _show_sidebar(project, visitor, threads)
    _show_banners(threads)
    elements.catch_errors(page.run)()


def _identify(project: Project) -> access.Visitor | None:
    """Return the visitor, None when they have to sign in first.

    Raises:
        access.DeniedError: the visitor may not see anything.
    """
    read_only = server.options.read_only
    verifier = _iap_verifier(project)
    if verifier is not None:
        return access.authorize(project, _verify_assertion(verifier), read_only=read_only)
    if "auth" in _read_secrets():
        # `st.user` has this attribute only when a login is configured and Authlib is installed.
        if not getattr(st.user, "is_logged_in", False):
            return None
        email = access.read_oidc_email(st.user.to_dict())
        return access.authorize(project, email, read_only=read_only)
    # `server.serve` checks this too. Here it protects when somebody starts Streamlit with app.py
    # directly, or removes the sign-in while the dashboard runs.
    is_local = access.is_loopback(st.get_option("server.address"))
    if not is_local and not server.options.embedded:
        raise access.DeniedError(
            "This dashboard cannot identify its visitors, so it answers on this machine only."
            " Start it with: kfgcp dashboard"
        )
    return access.authorize(project, None, read_only=read_only)


def _verify_assertion(verifier: access.AssertionVerifier) -> str:
    """Return the e-mail address that the assertion of this connection proves.

    Streamlit has only the headers that came at the start of the websocket. An assertion is valid
    for minutes, but a connection lasts for hours. So each assertion is verified once, when it is
    new.
    """
    assertion = st.context.headers.get(access.IAP_HEADER)
    verified: tuple[str, str] | None = st.session_state.get(_VERIFIED_KEY)
    if verified is not None and verified[0] == assertion:
        return verified[1]
    email = verifier.verify(assertion)
    st.session_state[_VERIFIED_KEY] = (assertion, email)
    return email


def _iap_verifier(project: Project) -> access.AssertionVerifier | None:
    setting = project.dashboard.get("iap_audience")
    if setting is None:
        return None
    return _cached_verifier(setting.value, project)


# One object for all visitors, because it keeps the public keys. Streamlit ignores parameters that
# begin with an underscore when it looks for a cached value.
@st.cache_resource
def _cached_verifier(audience: str, _project: Project) -> access.AssertionVerifier | None:
    return access.iap_verifier(_project)


def _read_secrets() -> Mapping[str, object]:
    # Without a file, each access to `st.secrets` raises an error.
    try:
        return dict(st.secrets)
    except FileNotFoundError:
        return {}


def _show_login() -> None:
    st.title("kfgcp")
    st.text("Sign in to see the runs.")
    if st.button("Sign in", type="primary", icon=":material/login:"):
        st.login()


def _show_sidebar(project: Project, visitor: access.Visitor, threads: sync.Sync) -> None:
    name_style = "font-weight:650;font-size:1.02rem;margin-top:.4rem"
    st.html(text.html_element("div", project.name, style=name_style))
    has_services = any(not status.runs_here for status in threads.statuses)

    # The data of this machine is always new, so its age does not change.
    @st.fragment(run_every=AGE_SECONDS if has_services else None)
    def show_ages() -> None:
        st.html("".join(map(_age_line, threads.statuses)))

    # Without a valid environment in `sync`, nothing is read in the background: no status exists.
    # `st.html` refuses an empty text.
    if threads.statuses:
        show_ages()
    if has_services and st.button("Refresh now", icon=":material/sync:", type="tertiary"):
        threads.read_now()
        st.rerun()
    if visitor.email:
        email_style = "font-size:.82rem;opacity:.7;overflow-wrap:anywhere"
        st.html(text.html_element("div", visitor.email, style=email_style))
    if not visitor.may_act:
        st.caption("Read-only", help=text.escape_markdown(visitor.reason))


def _age_line(status: sync.EnvironmentStatus) -> str:
    """Return a line of HTML with an environment and the age of its data."""
    color, age = _describe_age(status)
    dot = f'<span style="color:{color}">●</span> '
    name = text.html_element("span", status.env, style="font-weight:550")
    tooltip = status.error or status.backend
    age_element = text.html_element("span", f" {age}", style="opacity:.65", title=tooltip)
    return f'<div style="font-size:.86rem;line-height:1.7">{dot}{name}{age_element}</div>'


def _describe_age(status: sync.EnvironmentStatus) -> tuple[str, str]:
    if status.error:
        return _RED, "not reached"
    if status.runs_here:
        return _GREEN, "live"
    if status.read_at is None:
        return _ORANGE, "being read"
    read_at = datetime.fromtimestamp(status.read_at, UTC).isoformat()
    now = datetime.fromtimestamp(time.time(), UTC)
    return _GREEN, text.format_age(read_at, now)


def _show_banners(threads: sync.Sync) -> None:
    """Show a message for each environment that cannot be read. Everything else works."""
    for status in threads.statuses:
        if not status.error:
            continue
        env = text.escape_markdown(status.env)
        message = f"{env} cannot be read: {text.escape_markdown(status.error)}"
        if status.read_at is not None:
            message += " The dashboard shows the last known state of its runs."
        if status.hint:
            # Two blanks before a line break are a line break in Markdown.
            message += f"  \n{text.escape_markdown(status.hint)}"
        st.warning(message, icon=":material/cloud_off:")
