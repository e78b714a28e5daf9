"""The page that starts a run: a form with the parameters of a pipeline, a check, a confirmation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import streamlit as st

from kfgcp import KfgcpError, Project, RunOptions, Spec, Workspace
from kfgcp.spec.params import ANNOTATION_BY_TYPE, parse_assignments, resolve
from kfgcp.spec.records import ParamSpec
from kfgcp_dashboard import actions, address, data, elements, text
from kfgcp_dashboard.links import PAGES
from kfgcp_dashboard.pipelines import PipelineSource, compile_source, find_sources

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

# The value in the address -> what people read, and the option of the run.
CACHING_TITLES: Final = {"": "as in the pipeline", "on": "on", "off": "off"}
CACHING_OPTIONS: Final = {"": None, "on": True, "off": False}

# parameterType of KFP -> an example, as the placeholder of an empty field.
EXAMPLES: Final = {
    "LIST": "[1, 2]",
    "STRUCT": '{"name": "value"}',
    "NUMBER_INTEGER": "3",
    "NUMBER_DOUBLE": "0.1",
    "ARTIFACT": "gs://bucket/name",
    "ARTIFACT_LIST": '["gs://bucket/name"]',
}

# The form has a field for each of these. Other types are set by the backend.
FORM_TYPES: Final = frozenset(EXAMPLES) | {"STRING", "BOOLEAN"}
JSON_TYPES: Final = ("LIST", "STRUCT")
JSON_FIELD_HEIGHT: Final = 68

# Parameters of the pipeline in the address and in the session: `p.learning_rate`.
PARAM_PREFIX: Final = "p."

# Seconds that a compiled pipeline is used again. A change of its file shows after that time, or
# when somebody presses "Reload".
SPEC_SECONDS: Final = 60
MAX_SPECS: Final = 20


def show() -> None:
    st.title("Launch", anchor=False)
    workspace = data.workspace()
    visitor = actions.current_visitor()
    if not visitor.may_act:
        st.info(text.escape_markdown(visitor.reason), icon=":material/lock:")
    sources = find_sources(workspace.project, data.latest_runs(workspace.store))
    if not sources:
        elements.show_empty("No pipeline was found in this project.", "kfgcp init .")
        return
    titles = {source.key: source.title for source in sources}
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    key = address.widget(
        left.selectbox,
        "Pipeline",
        list(titles),
        key="pipeline",
        default=sources[0].key,
        format_func=lambda key: titles[key],
        on_change=_forget_parameters,
    )
    if right.button("Reload", icon=":material/sync:", type="tertiary"):
        _compile.clear()
    try:
        spec = _compile(workspace, key, sources)
    except KfgcpError as error:
        elements.show_error(error)
        return
    _show_form(workspace.project, spec)


# Streamlit runs the page at each click, and compiling takes seconds. It ignores parameters that
# begin with an underscore when it looks for a cached value.
@st.cache_resource(ttl=SPEC_SECONDS, max_entries=MAX_SPECS, show_spinner="Compiling")
def _compile(_workspace: Workspace, key: str, _sources: Sequence[PipelineSource]) -> Spec:
    return compile_source(_workspace, key, _sources)


def _forget_parameters() -> None:
    """Remove the parameters of the pipeline that was chosen before.

    Another pipeline can have a parameter with the same name.
    """
    for key in list(st.session_state):
        if str(key).startswith(PARAM_PREFIX):
            del st.session_state[key]
    for parameter in list(st.query_params):
        if parameter.startswith(PARAM_PREFIX):
            del st.query_params[parameter]


def _show_form(project: Project, spec: Spec) -> None:
    description = spec.pipeline_spec["pipelineInfo"].get("description", "")
    if description:
        st.text(text.visible_lines(description))
    with st.container(border=True):
        assignments = _show_parameters(spec)
    options = _show_options(project)
    values, problem = _read_values(spec, assignments)
    if problem is not None:
        elements.show_error(problem)
    is_ready = problem is None
    may_launch = is_ready and actions.current_visitor().may_act
    with st.container(horizontal=True):
        checks = st.button("Check", icon=":material/fact_check:", disabled=not is_ready)
        launches = st.button(
            "Launch", type="primary", icon=":material/rocket_launch:", disabled=not may_launch
        )
    if checks:
        _show_check(spec, options, values)
    if launches:
        actions.open_dialog("launch", spec.version)
    if is_ready and actions.is_dialog_open("launch", spec.version):
        _show_launch_dialog(spec, options, values)


def _show_parameters(spec: Spec) -> list[str]:
    """Show a field for each parameter, and return the texts as `NAME=VALUE`.

    Fields with their default are left out.
    """
    params = [param for param in spec.params.values() if param.type in FORM_TYPES]
    if not params:
        st.caption("The pipeline has no parameters.")
    assignments = []
    for start in range(0, len(params), 2):
        pair = params[start : start + 2]
        for column, param in zip(st.columns(2), pair, strict=False):
            with column:
                value = _show_field(param)
            if value is not None:
                assignments.append(f"{param.name}={value}")
    return assignments


def _show_field(param: ParamSpec) -> str | None:
    """Show the field of a parameter, and return its text.

    Returns:
        None when the run should start without a value, or with the default.
    """
    default = _to_text(param.default) if param.has_default else ""
    key = f"{PARAM_PREFIX}{param.name}"
    label = _field_label(param)
    description = text.escape_markdown(param.description) or None
    if param.literals or param.type == "BOOLEAN":
        options = _field_options(param)
        first_option = default if default in options else options[0]
        value = address.widget(
            st.selectbox, label, options, key=key, default=first_option, help=description
        )
    elif param.type in JSON_TYPES:
        value = address.widget(
            st.text_area,
            label,
            key=key,
            default=default,
            help=description,
            placeholder=EXAMPLES[param.type],
            height=JSON_FIELD_HEIGHT,
        )
    else:
        value = address.widget(
            st.text_input,
            label,
            key=key,
            default=default,
            help=description,
            placeholder=EXAMPLES.get(param.type),
        )
    if param.has_default and value == default:
        return None
    # An empty field means no value. Only a text with a default can be made empty.
    if value == "" and not (param.type == "STRING" and param.has_default):
        return None
    return value


def _field_label(param: ParamSpec) -> str:
    """Return the name of a parameter and its type as Markdown, the type small and grey."""
    facts = ANNOTATION_BY_TYPE.get(param.type, param.type)
    if param.required:
        facts += " · required"
    elif not param.has_default:
        facts += " · optional"
    return f"{text.escape_markdown(param.name)} :gray[:small[{facts}]]"


def _field_options(param: ParamSpec) -> list[str]:
    if param.literals:
        options = list(map(_to_text, param.literals))
    else:
        options = ["true", "false"]
    if param.has_default or param.required:
        return options
    # The empty option means no value.
    return [""] + options


def _to_text(value: object) -> str:
    """Return a value as `kfgcp run -p NAME=VALUE` reads it."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _show_options(project: Project) -> RunOptions:
    """Show the fields of the options, and return the options.

    The project decides the options whose fields are empty.
    """
    first, second, third, fourth = st.columns(4)
    env = _choose_environment(first, project)
    experiment = address.widget(
        second.text_input,
        "Experiment",
        key="experiment",
        default="",
        placeholder=project.experiment,
    )
    name = address.widget(
        third.text_input,
        "Name",
        key="name",
        default="",
        placeholder="automatic (contains the time)",
    )
    caching = address.widget(
        fourth.selectbox,
        "Caching",
        list(CACHING_TITLES),
        key="cache",
        default="",
        format_func=lambda value: CACHING_TITLES[value],
    )
    return RunOptions(env=env, experiment=experiment, name=name, cache=CACHING_OPTIONS[caching])


def _choose_environment(place: DeltaGenerator, project: Project) -> str:
    """Return the chosen environment.

    Raises:
        ConfigError: none of the environments is valid.
    """
    labels = {}
    for name, env in project.environments.items():
        labels[name] = name if name == env.backend else f"{name} ({env.backend})"
    if not labels:
        # This raises the error of the default environment.
        project.env()
    default = project.default_env if project.default_env in labels else next(iter(labels))
    return address.widget(
        place.selectbox,
        "Environment",
        list(labels),
        key="env",
        default=default,
        format_func=lambda name: labels[name],
    )


def _read_values(
    spec: Spec, assignments: Sequence[str]
) -> tuple[dict[str, Any], KfgcpError | None]:
    """Return the values of the parameters as the command line reads them.

    The error says which value is wrong or missing; it is None when all values are valid.
    """
    try:
        values = parse_assignments(spec.params, assignments)
        resolve(spec.params, values)
    except KfgcpError as error:
        # Its hint is a table of the parameters. Here the form shows them.
        return {}, KfgcpError(error.message)
    return values, None


def _show_check(spec: Spec, options: RunOptions, values: Mapping[str, object]) -> None:
    """Show what a launch would do. Nothing is started."""
    try:
        with st.spinner("Checking"):
            preview = data.workspace().preview(spec, options, params=values)
    except KfgcpError as error:
        elements.show_error(error)
        return
    version = text.escape_markdown(data.short_version(preview.request.spec.version))
    st.success(
        f"The pipeline compiles (version {version}), and its parameters are complete.",
        icon=":material/check_circle:",
    )
    for note in preview.notes:
        st.warning(text.escape_markdown(note), icon=":material/info:")


# `on_dismiss` is called when somebody closes the dialog with the cross or with Escape.
@st.dialog("Launch this run?", on_dismiss=actions.close_dialog)
@elements.catch_errors
def _show_launch_dialog(spec: Spec, options: RunOptions, values: Mapping[str, object]) -> None:
    st.text(f"{text.visible(spec.name)} on {options.env}")
    lines = []
    for name, value in values.items():
        lines.append(text.visible(f"{name} = {text.value_text(value)}"))
    st.code("\n".join(lines) or "all parameters have their default values", language=None)
    if actions.confirm("Launch now", "Close"):
        actions.require_permission()
        with st.spinner("Submitting"):
            run = data.workspace().submit(spec, options, params=values)
        actions.close_dialog()
        st.switch_page(PAGES["run"], query_params={"run": run.run_id})


# Streamlit runs this file as a script, each time that the page is shown.
show()
