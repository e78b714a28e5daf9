"""Starts a run: a form from the parameters that a pipeline declares, a look at what would happen, a
confirmation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import streamlit as st

from kfgcp.config import Project
from kfgcp.errors import KfgcpError
from kfgcp.options import RunOptions
from kfgcp.spec.load import Spec
from kfgcp.spec.params import TYPES, parse, resolve
from kfgcp.spec.wire import ParamSpec
from kfgcp.workspace import Workspace
from kfgcp_dashboard import actions, address, data, elements, text
from kfgcp_dashboard.links import PAGES
from kfgcp_dashboard.pipelines import Offer, compiled, offers

CACHING: Final = {"": "as the pipeline says", "on": "on", "off": "off"}
EXAMPLES: Final = {
    "LIST": "[1, 2]",
    "STRUCT": '{"name": "value"}',
    "NUMBER_INTEGER": "3",
    "NUMBER_DOUBLE": "0.1",
    "ARTIFACT": "gs://bucket/name",
    "ARTIFACT_LIST": '["gs://bucket/name"]',
}


def show() -> None:
    st.title("Launch", anchor=False)
    workspace = data.workspace()
    project = workspace.project
    visitor = actions.who()
    if not visitor.may_act:
        st.info(text.escape_markdown(visitor.reason), icon=":material/lock:")
    known = offers(project, data.latest_of_each(workspace.store))
    if not known:
        elements.empty("No pipeline was found in this project.", "kfgcp init .")
        return
    titles = {offer.key: offer.title for offer in known}
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    key = address.widget(
        left.selectbox,
        "Pipeline",
        list(titles),
        key="pipeline",
        default=known[0].key,
        format_func=lambda each: titles[each],
        on_change=_other_pipeline,
    )
    if right.button("Read it again", icon=":material/sync:", type="tertiary"):
        _spec.clear()
    try:
        spec = _spec(workspace, key, known)
    except KfgcpError as error:
        elements.failure(error)
        return
    _form(project, spec)


@st.cache_resource(ttl=60, max_entries=20, show_spinner="Compiling")
def _spec(_workspace: Workspace, key: str, _known: Sequence[Offer]) -> Spec:
    return compiled(_workspace, key, _known)


def _other_pipeline() -> None:
    """Values of one pipeline are not those of another."""
    for key in [key for key in st.session_state if str(key).startswith("p.")]:
        del st.session_state[key]
    for key in [key for key in st.query_params if key.startswith("p.")]:
        del st.query_params[key]


def _form(project: Project, spec: Spec) -> None:
    about = spec.pipeline_spec["pipelineInfo"].get("description", "")
    if about:
        st.text(text.visible_lines(about))
    with st.container(border=True):
        assignments = _parameters(spec)
    options = _options(project)
    values, problem = _values(spec, assignments)
    if problem is not None:
        elements.failure(problem)
    ready = problem is None
    with st.container(horizontal=True):
        check = st.button("Check", icon=":material/fact_check:", disabled=not ready)
        launch = st.button(
            "Launch",
            type="primary",
            icon=":material/rocket_launch:",
            disabled=not (ready and actions.who().may_act),
        )
    if check:
        _check(spec, options, values)
    if launch:
        actions.ask("launch", spec.version)
    if ready and actions.asked("launch", spec.version):
        _confirm(spec, options, values)


def _parameters(spec: Spec) -> list[str]:
    """What was typed, as `NAME=VALUE` texts; what is as the default says is left out."""
    params = [
        param
        for param in spec.params.values()
        if param.type in EXAMPLES or param.type in ("STRING", "BOOLEAN")
    ]
    if not params:
        st.caption("It has no parameters.")
    assignments = []
    for start in range(0, len(params), 2):
        for place, param in zip(st.columns(2), params[start : start + 2], strict=False):
            with place:
                typed = _widget(param)
            if typed is not None:
                assignments.append(f"{param.name}={typed}")
    return assignments


def _widget(param: ParamSpec) -> str | None:
    default = _as_text(param)
    kind = TYPES.get(param.type, param.type)
    note = "required" if param.required else "" if param.has_default else "optional"
    label = f"{text.escape_markdown(param.name)} :gray[:small[{kind}{' · ' if note else ''}{note}]]"
    about = text.escape_markdown(param.description) or None
    key = f"p.{param.name}"
    if param.literals or param.type == "BOOLEAN":
        options = [_json(each) for each in param.literals] or ["true", "false"]
        options = options if param.has_default or param.required else ["", *options]
        first = default if default in options else options[0]
        typed = address.widget(st.selectbox, label, options, key=key, default=first, help=about)
    else:
        make = st.text_area if param.type in ("LIST", "STRUCT") else st.text_input
        height = {"height": 68} if param.type in ("LIST", "STRUCT") else {}
        typed = address.widget(
            make,
            label,
            key=key,
            default=default,
            help=about,
            placeholder=EXAMPLES.get(param.type),
            **height,
        )
    if typed == default and param.has_default:
        return None
    return None if typed == "" and (param.type != "STRING" or not param.has_default) else typed


def _as_text(param: ParamSpec) -> str:
    return _json(param.default) if param.has_default else ""


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _options(project: Project) -> RunOptions:
    """Return the options that were chosen; fields that are empty leave the choice to the
    project."""
    first, second, third, fourth = st.columns(4)
    envs = list(project.environments)
    if not envs:
        # None of the environments is valid. This raises the error of the default one.
        project.env()
    backends = {name: env.backend for name, env in project.environments.items()}
    default = project.default_env if project.default_env in envs else envs[0]
    env = address.widget(
        first.selectbox,
        "Environment",
        envs,
        key="env",
        default=default,
        format_func=lambda name: name if name == backends[name] else f"{name} ({backends[name]})",
    )
    experiment = address.widget(
        second.text_input,
        "Experiment",
        key="experiment",
        default="",
        placeholder=project.experiment,
    )
    name = address.widget(
        third.text_input, "Name", key="name", default="", placeholder="made from the time"
    )
    caching = address.widget(
        fourth.selectbox,
        "Caching",
        list(CACHING),
        key="cache",
        default="",
        format_func=lambda each: CACHING[each],
    )
    cache = {"on": True, "off": False}.get(caching)
    return RunOptions(env=env, experiment=experiment, name=name, cache=cache)


def _values(spec: Spec, assignments: Sequence[str]) -> tuple[dict[str, Any], KfgcpError | None]:
    """What was typed, read as the command line reads it, and what is wrong with it."""
    try:
        values = parse(spec.params, assignments)
        resolve(spec.params, values)
    except KfgcpError as error:
        return {}, KfgcpError(
            error.message
        )  # its hint is the table of parameters, which is the form
    return values, None


def _check(spec: Spec, options: RunOptions, values: Mapping[str, Any]) -> None:
    """What a submission would meet; nothing is started."""
    try:
        with st.spinner("Looking"):
            plan = data.workspace().plan(spec, options, params=values)
    except KfgcpError as error:
        elements.failure(error)
        return
    st.success(
        f"It compiles (version {text.escape_markdown(plan.request.spec.version[7:19])}), and its"
        " parameters are complete.",
        icon=":material/check_circle:",
    )
    for note in plan.notes:
        st.warning(text.escape_markdown(note), icon=":material/info:")


@st.dialog("Launch this run?", on_dismiss=actions.answered)
@elements.guarded
def _confirm(spec: Spec, options: RunOptions, values: Mapping[str, Any]) -> None:
    st.text(f"{text.visible(spec.name)} on {options.env}")
    lines = [f"{name} = {text.value_text(value)}" for name, value in values.items()]
    st.code(
        "\n".join(map(text.visible, lines)) or "all parameters as they are by default",
        language=None,
    )
    if actions.confirmed("Launch it", "Not yet"):
        actions.must_be_allowed()
        with st.spinner("Submitting"):
            started = data.workspace().submit(spec, options, params=values)
        actions.answered()
        st.switch_page(PAGES["run"], query_params={"run": started.run_id})


show()
