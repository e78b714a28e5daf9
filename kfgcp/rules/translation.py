"""Rules about GPUs and secrets that an environment must translate, and about the translation.

`kfgcp.spec.translate` translates them with the tables `accelerators` and `secrets` of the
environment. docs/guides/portable.md explains the tables.
"""

from __future__ import annotations

from kfgcp.rules.contexts import TaskContext
from kfgcp.rules.findings import Match, NotJudged, Severity
from kfgcp.rules.rule import Target, task_rule
from kfgcp.spec.graph import Container
from kfgcp.spec.portable_requests import (
    ACCELERATOR,
    CLUSTER_SECRET,
    SECRET,
    Missing,
    accelerator_name,
    changes_in_container,
    missing_in_container,
)
from kfgcp.translation_tables import Form, Tables, requested_secret


@task_rule(
    "P201",
    Severity.ERROR,
    "{task} asks for the accelerator {name}, but {env} has no entry for this name",
    hint="Add it in kfgcp.toml: [env.{env}.accelerators] {entry}",
    methods=("set_accelerator_type", "add_node_selector_constraint", "set_accelerator_limit"),
    needs_target=True,
)
def accelerator_without_translation(context: TaskContext, target: Target) -> Match:
    """Kubernetes takes names of resources (driver.go of backend/src/v2: the name becomes a key of
    the limits, and extended resources have a domain), and Vertex AI takes names of AcceleratorType
    (google.cloud.aiplatform_v1)."""
    container = context.container
    if container is None or not accelerator_name(container.resources):
        return False
    if target.settings is None:
        return NotJudged(_WITHOUT_SETTINGS)
    tables = target.settings.tables
    for missing in _missing(context, container, tables, ACCELERATOR):
        if missing.depends_on_run:
            return NotJudged(
                "{task} takes its accelerator or its node selector from a parameter, so kfgcp"
                " cannot translate the accelerator"
            )
        if tables.form is Form.KUBERNETES:
            entry = f'{missing.name} = {{ resource = "nvidia.com/gpu", node_selector = {{ … }} }}'
        else:
            entry = f'"{missing.name}" = {{ machine = "NVIDIA_L4" }}'
        return {"name": missing.name, "entry": entry}
    return False


@task_rule(
    "P202",
    Severity.ERROR,
    "{task} asks for the secret {name}, but {env} has no entry for this secret",
    hint="Add it in kfgcp.toml: [env.{env}.secrets] {entry}",
    methods=("set_env_variable",),
    needs_target=True,
)
def secret_without_translation(context: TaskContext, target: Target) -> Match:
    """Without a place, the variable would have the text secret:NAME instead of a secret
    (docs/guides/portable.md)."""
    container = context.container
    if container is None or not any(map(requested_secret, container.env.values())):
        return False
    if target.settings is None:
        return NotJudged(_WITHOUT_SETTINGS)
    tables = target.settings.tables
    if tables.form is Form.NONE:
        return NotJudged(
            "kfgcp does not know whether the backend {backend} translates secrets",
            {"backend": target.backend},
        )
    missing = _missing(context, container, tables, SECRET)
    if not missing:
        return False
    names = dict.fromkeys(request.name for request in missing)
    return {"name": ", ".join(names), "entry": _secret_entry(next(iter(names)), tables.form)}


@task_rule(
    "P203",
    Severity.WARNING,
    "{task} does not get {variables} on {env}: the Kubernetes secret {name} does not exist there",
    hint="Add the secret in kfgcp.toml: [env.{env}.secrets] {entry}",
    methods=("use_secret_as_env",),
    needs_target=True,
)
def cluster_secret_without_translation(context: TaskContext, target: Target) -> Match:
    """Vertex AI does not read the second document of a pipeline (PipelineJob of
    google.cloud.aiplatform_v1 has no field for it)."""
    container = context.container
    if container is None or not container.cluster.secrets or target.settings is None:
        return False
    missing = _missing(context, container, target.settings.tables, CLUSTER_SECRET)
    required = [request for request in missing if not request.optional]
    if not required:
        return False
    if all(request.depends_on_run for request in required):
        return NotJudged(
            "{task} takes the names of its Kubernetes secrets from parameters, so kfgcp cannot"
            " translate these secrets"
        )
    fixed_requests = [request for request in required if not request.depends_on_run]
    secret, _, key = fixed_requests[0].name.partition("/")
    version = "projects/PROJECT/secrets/SECRET/versions/1"
    variable = fixed_requests[0].variable
    return {
        "variables": ", ".join(request.variable for request in fixed_requests),
        "name": ", ".join(dict.fromkeys(request.name for request in fixed_requests)),
        "entry": f'{variable} = {{ secret = "{secret}", key = "{key}",'
        f' secret_manager = "{version}" }}',
    }


@task_rule(
    "P204",
    Severity.NOTE,
    "{task} is translated for {env}: {changes}",
    hint="The version of the pipeline does not change: kfgcp computes it before the translation.",
    needs_target=True,
)
def translated(context: TaskContext, target: Target) -> Match:
    """The tables of the environment translate requests of pipelines (docs/guides/portable.md)."""
    container = context.container
    if container is None or target.settings is None:
        return False
    tables = target.settings.tables
    changes = changes_in_container(_short_name(context), container, tables)
    if not changes:
        return False
    return {"changes": "; ".join(f"{change.before} → {change.after}" for change in changes)}


@task_rule(
    "P205",
    Severity.NOTE,
    "on {env}, the variable {variables} of {task} contains the name of a secret version, not the"
    " secret",
    hint="In the code of the component, test the value: a value that starts with projects/ is the"
    " name of a secret version. Read the secret from Secret Manager then.",
    methods=("set_env_variable", "use_secret_as_env"),
    needs_target=True,
)
def secret_by_name(context: TaskContext, target: Target) -> Match:
    """A variable of a PipelineSpec has a name and a value only (PipelineContainerSpec.EnvVar in
    pipeline_spec.proto), so Vertex AI cannot fill in a secret
    (docs/decisions/0026-secrets-on-vertex.md)."""
    container = context.container
    if container is None or target.settings is None:
        return False
    tables = target.settings.tables
    if tables.form is not Form.VERTEX:
        return False
    changes = changes_in_container(_short_name(context), container, tables)
    variables = [change.variable for change in changes if change.kind == SECRET]
    return {"variables": ", ".join(variables)} if variables else False


# The reason of `NotJudged` when an environment lacks a required key.
_WITHOUT_SETTINGS = (
    "[env.{env}] of kfgcp.toml lacks required keys, so kfgcp cannot read its tables accelerators"
    " and secrets"
)


def _missing(
    context: TaskContext, container: Container, tables: Tables, kind: str
) -> list[Missing]:
    """Return the requests of one kind that the tables do not translate."""
    missing = missing_in_container(_short_name(context), container, tables)
    return [request for request in missing if request.kind == kind]


def _short_name(context: TaskContext) -> str:
    return context.component.name.removeprefix("comp-")


def _secret_entry(name: str, form: Form) -> str:
    """Return a line of the table `secrets` as an example."""
    if form is Form.KUBERNETES:
        return f'{name} = {{ secret = "SECRET", key = "KEY" }}'
    if form is Form.VERTEX:
        return f'{name} = {{ secret_manager = "projects/PROJECT/secrets/SECRET/versions/1" }}'
    return f'{name} = {{ variable = "{name}" }}'
