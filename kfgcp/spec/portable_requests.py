"""What containers ask for, GPUs and secrets, and how the tables of an environment answer.

`kfgcp.spec.translate` applies the answers to the documents of a pipeline. Rules ask here which
requests have no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from kfgcp.model import JsonValue
from kfgcp.spec.graph import Container, Graph
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.wire import as_mapping
from kfgcp.translation_tables import Accelerator, Form, Secret, Tables, requested_secret

# The fields of an AcceleratorConfig (pipeline_spec.proto) with the name of the accelerator. kfp
# writes also the deprecated `type`, for older servers (kubeflow/pipelines, #11097).
TYPE_FIELDS: Final = ("resourceType", "type")

ACCELERATOR: Final = "accelerator"
SECRET: Final = "secret"  # noqa: S105 - a kind of request
CLUSTER_SECRET: Final = "cluster secret"  # noqa: S105 - a kind of request


@dataclass(frozen=True, slots=True)
class TranslatedRequest:
    """A part of a pipeline that was translated.

    Attributes:
        component: the name of the component, without `comp-`.
        kind: `accelerator` or `secret`.
        before: what the pipeline asks for.
        after: what the backend gets, in words. It never contains the value of a secret.
        variable: the environment variable that gets the secret, "" for an accelerator.
    """

    component: str
    kind: str
    before: str
    after: str
    variable: str = ""

    def __str__(self) -> str:
        owner = f"{self.variable} of {self.component}" if self.variable else self.component
        return f"{owner}: {self.before} → {self.after}"

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON."""
        return {
            "component": self.component,
            "kind": self.kind,
            "before": self.before,
            "after": self.after,
            "variable": self.variable or None,
        }


@dataclass(frozen=True, slots=True)
class Missing:
    """A request of a component that the tables of an environment do not translate.

    Attributes:
        component: the name of the component, without `comp-`.
        kind: `accelerator`, `secret` (`secret:NAME`), or `cluster secret` (kfp-kubernetes).
        name: what the pipeline asks for: `NVIDIA_L4`, `DB_PASSWORD`, or `db/password`.
        variable: the environment variable that gets the secret.
        optional: whether the task runs without it.
        depends_on_run: whether a parameter of the run decides, so nobody can translate it before.
    """

    component: str
    kind: str
    name: str
    variable: str = ""
    optional: bool = False
    depends_on_run: bool = False


def missing_translations(graph: Graph, tables: Tables) -> tuple[Missing, ...]:
    """Return the requests of a pipeline that a backend needs translated, and the tables lack."""
    missing: list[Missing] = []
    for component in graph.components.values():
        if isinstance(component.executor, Container):
            name = component.name.removeprefix("comp-")
            missing += missing_in_container(name, component.executor, tables)
    return tuple(missing)


def missing_in_container(
    component: str, container: Container, tables: Tables
) -> tuple[Missing, ...]:
    """Return the requests of a container that the tables lack, see `missing_translations`.

    Args:
        component: the name of its component, for the result.
        container: the container.
        tables: the tables of the environment.
    """
    missing = []
    accelerator = _missing_accelerator(component, container, tables)
    if accelerator is not None:
        missing.append(accelerator)
    if tables.form is Form.NONE:
        return tuple(missing)
    for variable, value in container.env.items():
        name = requested_secret(value)
        entry = tables.secrets.get(name)
        if name and (entry is None or not entry.is_known(tables.form)):
            missing.append(Missing(component, SECRET, name, variable))
    if tables.form is Form.VERTEX:
        missing += _missing_cluster_secrets(component, container, tables)
    return tuple(missing)


def changes_in_container(
    component: str, container: Container, tables: Tables
) -> tuple[TranslatedRequest, ...]:
    """Return what `translate` changes in a container, see `missing_in_container`."""
    changes = []
    cluster = container.cluster
    name = accelerator_name(container.resources)
    entry = find_accelerator(name, cluster.node_selector, tables)
    if entry is not None:
        changes.append(accelerator_change(component, name, entry, tables.form))
    for variable, value in container.env.items():
        secret = tables.secrets.get(requested_secret(value))
        if secret is not None and secret.is_known(tables.form):
            changes.append(secret_change(component, variable, value, secret, tables.form))
    for asked in cluster.secrets:
        secret = find_cluster_secret(asked.secret, asked.key, tables)
        if secret is not None:
            before = f"{asked.secret}/{asked.key}"
            changes.append(secret_change(component, asked.variable, before, secret, tables.form))
    return tuple(changes)


def accelerator_name(resources: JsonObject) -> str:
    """Return the name of the accelerator that a container asks for, "" when it asks for none.

    Args:
        resources: the `resources` of the container.

    Example:
        >>> accelerator_name({"accelerator": {"type": "NVIDIA_L4", "count": "1"}})
        'NVIDIA_L4'
    """
    accelerator = as_mapping(resources.get("accelerator"))
    for type_field in TYPE_FIELDS:
        if accelerator.get(type_field):
            return str(accelerator[type_field])
    return ""


# -- which requests are translated


def find_accelerator(
    name: str, node_selector: Mapping[str, str] | None, tables: Tables
) -> Accelerator | None:
    """Return the entry that translates an accelerator, None when it is not translated.

    Args:
        name: what the pipeline asks for.
        node_selector: the labels of the nodes; None when a parameter has them, so that labels
            cannot be compared or added.
        tables: the tables of the environment.
    """
    if not name:
        return None
    if tables.form is Form.KUBERNETES:
        entry = tables.find_machine(name)
        cannot_add = entry is not None and entry.node_selector and node_selector is None
        return None if cannot_add else entry
    if tables.form is Form.VERTEX:
        entry = tables.find_resource(name, node_selector or {})
        # The name is already the one of Vertex AI.
        return None if entry is not None and entry.machine == name else entry
    return None


def find_cluster_secret(secret: str, key: str, tables: Tables) -> Secret | None:
    """Return the entry that translates a key of a Kubernetes secret, None when it stays."""
    entry = tables.find_kubernetes_secret(secret, key)
    is_translated = entry is not None and tables.form in (Form.VERTEX, Form.LOCAL)
    return entry if entry is not None and is_translated and entry.is_known(tables.form) else None


def _missing_accelerator(component: str, container: Container, tables: Tables) -> Missing | None:
    name = accelerator_name(container.resources)
    if not name or tables.form not in (Form.KUBERNETES, Form.VERTEX):
        return None
    node_selector = container.cluster.node_selector
    if find_accelerator(name, node_selector, tables) is not None:
        return None
    if "{{$" in name:
        return Missing(component, ACCELERATOR, name, depends_on_run=True)
    # An extended resource of Kubernetes has the domain of its vendor in its name, and names on
    # Vertex AI have no slash.
    is_resource = "/" in name
    if is_resource is (tables.form is Form.KUBERNETES):
        return None
    return Missing(component, ACCELERATOR, name, depends_on_run=node_selector is None)


def _missing_cluster_secrets(
    component: str, container: Container, tables: Tables
) -> Iterator[Missing]:
    for asked in container.cluster.secrets:
        if find_cluster_secret(asked.secret, asked.key, tables) is None:
            yield Missing(
                component,
                CLUSTER_SECRET,
                f"{asked.secret or '?'}/{asked.key}",
                asked.variable,
                asked.optional,
                depends_on_run=not asked.secret,
            )


# -- changes in words


def accelerator_change(
    component: str, name: str, entry: Accelerator, form: Form
) -> TranslatedRequest:
    if form is Form.VERTEX:
        return TranslatedRequest(component, ACCELERATOR, name, entry.machine)
    after = entry.resource
    if entry.node_selector:
        labels = [f"{label}={value}" for label, value in entry.node_selector.items()]
        after += f" on nodes with {', '.join(labels)}"
    return TranslatedRequest(component, ACCELERATOR, name, after)


def secret_change(
    component: str, variable: str, before: str, entry: Secret, form: Form
) -> TranslatedRequest:
    if form is Form.KUBERNETES:
        after = f"key {entry.key} of the Kubernetes secret {entry.secret}"
    elif form is Form.VERTEX:
        after = f"the name {entry.secret_manager}"
    elif entry.variable:
        after = f"variable {entry.variable} of this machine"
    else:
        after = f"file {entry.file}"
    return TranslatedRequest(component, SECRET, before, after, variable)
