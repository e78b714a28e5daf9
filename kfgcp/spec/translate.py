"""Translate what a pipeline asks for, GPUs and secrets, to the form that a backend takes.

A pipeline asks in one of two ways. It uses plain KFP: `set_accelerator_type("NVIDIA_L4")`, and
`set_env_variable("DB_PASSWORD", "secret:DB_PASSWORD")`. Or it is made for Kubernetes: the resource
`nvidia.com/gpu` with a node selector, and `use_secret_as_env` of kfp-kubernetes.

`translate` changes the two documents of a pipeline when they are sent. The version of the pipeline
is the digest of the documents before the translation, so it is the same in every environment.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.model import JsonValue
from kfgcp.spec.graph import Container, Graph
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.platform import executor_configs, read_node_selector
from kfgcp.spec.wire import as_mapping, read_executors
from kfgcp.translation_tables import Accelerator, Form, Secret, Tables, requested_secret

# The fields of an AcceleratorConfig (pipeline_spec.proto) with the name of the accelerator. kfp
# writes also the deprecated `type`, for older servers (kubeflow/pipelines, #11097).
_TYPE_FIELDS: Final = ("resourceType", "type")

# The platform of kfp-kubernetes in the second document.
_KUBERNETES: Final = "kubernetes"

ACCELERATOR: Final = "accelerator"
SECRET: Final = "secret"  # noqa: S105 - a kind of request
CLUSTER_SECRET: Final = "cluster secret"  # noqa: S105 - a kind of request


@dataclass(frozen=True, slots=True)
class Change:
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


@dataclass(frozen=True, slots=True)
class Translated:
    """A pipeline in the form that a backend takes.

    Attributes:
        pipeline_spec: the PipelineSpec.
        platform_spec: the second document, None without one.
        changes: what was translated.
    """

    pipeline_spec: JsonObject
    platform_spec: dict[str, Any] | None
    changes: tuple[Change, ...] = ()


def translate(
    pipeline_spec: JsonObject, platform_spec: JsonObject | None, tables: Tables
) -> Translated:
    """Return a pipeline in the form that a backend takes. The arguments stay unchanged.

    A request that the tables do not have stays as it is, see `missing_translations`. A pipeline
    that is already translated stays as it is, too.

    Args:
        pipeline_spec: a valid PipelineSpec.
        platform_spec: the second document, None without one.
        tables: the tables of the environment.

    Example:
        >>> accelerator = {"resourceType": "NVIDIA_L4", "resourceCount": "1"}
        >>> container = {"image": "python", "resources": {"accelerator": accelerator}}
        >>> spec = {"deploymentSpec": {"executors": {"exec-train": {"container": container}}}}
        >>> entry = Accelerator("NVIDIA_L4", "NVIDIA_L4", "nvidia.com/gpu", {"gpu": "l4"})
        >>> translated = translate(spec, None, Tables(Form.KUBERNETES, (entry,)))
        >>> print(translated.changes[0])
        train: NVIDIA_L4 → nvidia.com/gpu on nodes with gpu=l4
    """
    executors: dict[str, Any] = {}
    platform_executors: dict[str, Any] = {}
    changes: list[Change] = []
    for label, executor in read_executors(pipeline_spec).items():
        if not as_mapping(executor).get("container"):
            continue
        work = _Executor(label, executor, _platform_executor(platform_spec, label), tables)
        work.translate()
        if work.changes:
            executors[label] = work.executor
            platform_executors[label] = work.platform
            changes += work.changes
    if not changes:
        unchanged = dict(platform_spec) if platform_spec is not None else None
        return Translated(pipeline_spec, unchanged)
    return Translated(
        _with_executors(pipeline_spec, executors),
        _with_platform_executors(platform_spec, platform_executors),
        tuple(changes),
    )


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
) -> tuple[Change, ...]:
    """Return what `translate` changes in a container, see `missing_in_container`."""
    changes = []
    cluster = container.cluster
    name = accelerator_name(container.resources)
    entry = _find_accelerator(name, cluster.node_selector, tables)
    if entry is not None:
        changes.append(_accelerator_change(component, name, entry, tables.form))
    for variable, value in container.env.items():
        secret = tables.secrets.get(requested_secret(value))
        if secret is not None and secret.is_known(tables.form):
            changes.append(_secret_change(component, variable, value, secret, tables.form))
    for asked in cluster.secrets:
        secret = _find_cluster_secret(asked.secret, asked.key, tables)
        if secret is not None:
            before = f"{asked.secret}/{asked.key}"
            changes.append(_secret_change(component, asked.variable, before, secret, tables.form))
    return tuple(changes)


def accelerator_name(resources: Mapping[str, Any]) -> str:
    """Return the name of the accelerator that a container asks for, "" when it asks for none.

    Args:
        resources: the `resources` of the container.

    Example:
        >>> accelerator_name({"accelerator": {"type": "NVIDIA_L4", "count": "1"}})
        'NVIDIA_L4'
    """
    accelerator = as_mapping(resources.get("accelerator"))
    for type_field in _TYPE_FIELDS:
        if accelerator.get(type_field):
            return str(accelerator[type_field])
    return ""


# -- which requests are translated


def _find_accelerator(
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


def _find_cluster_secret(secret: str, key: str, tables: Tables) -> Secret | None:
    """Return the entry that translates a key of a Kubernetes secret, None when it stays."""
    entry = tables.find_kubernetes_secret(secret, key)
    is_translated = entry is not None and tables.form in (Form.VERTEX, Form.LOCAL)
    return entry if entry is not None and is_translated and entry.is_known(tables.form) else None


def _missing_accelerator(component: str, container: Container, tables: Tables) -> Missing | None:
    name = accelerator_name(container.resources)
    if not name or tables.form not in (Form.KUBERNETES, Form.VERTEX):
        return None
    node_selector = container.cluster.node_selector
    if _find_accelerator(name, node_selector, tables) is not None:
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
        if _find_cluster_secret(asked.secret, asked.key, tables) is None:
            yield Missing(
                component,
                CLUSTER_SECRET,
                f"{asked.secret or '?'}/{asked.key}",
                asked.variable,
                asked.optional,
                depends_on_run=not asked.secret,
            )


# -- changes in words


def _accelerator_change(component: str, name: str, entry: Accelerator, form: Form) -> Change:
    if form is Form.VERTEX:
        return Change(component, ACCELERATOR, name, entry.machine)
    after = entry.resource
    if entry.node_selector:
        labels = [f"{label}={value}" for label, value in entry.node_selector.items()]
        after += f" on nodes with {', '.join(labels)}"
    return Change(component, ACCELERATOR, name, after)


def _secret_change(component: str, variable: str, before: str, entry: Secret, form: Form) -> Change:
    if form is Form.KUBERNETES:
        after = f"key {entry.key} of the Kubernetes secret {entry.secret}"
    elif form is Form.VERTEX:
        after = f"the name {entry.secret_manager}"
    elif entry.variable:
        after = f"variable {entry.variable} of this machine"
    else:
        after = f"file {entry.file}"
    return Change(component, SECRET, before, after, variable)


# -- the documents


class _Executor:
    """A copy of an executor and of its settings in the second document, which are translated.

    Attributes:
        executor: the executor of the PipelineSpec.
        platform: the executor of the second document.
        changes: what was translated.
    """

    def __init__(
        self, label: str, executor: JsonObject, platform: JsonObject, tables: Tables
    ) -> None:
        self.executor: dict[str, Any] = copy.deepcopy(dict(executor))
        self.platform: dict[str, Any] = copy.deepcopy(dict(platform))
        self.changes: list[Change] = []
        self._component = label.removeprefix("exec-")
        self._container: dict[str, Any] = self.executor["container"]
        self._tables = tables

    def translate(self) -> None:
        self._translate_accelerator()
        # Before the requests of variables: these add Kubernetes secrets, which stay as they are.
        self._translate_cluster_secrets()
        self._translate_variables()

    def _translate_accelerator(self) -> None:
        resources = as_mapping(self._container.get("resources"))
        name = accelerator_name(resources)
        node_selector = read_node_selector(self.platform)
        entry = _find_accelerator(name, node_selector, self._tables)
        if entry is None:
            return
        is_kubernetes = self._tables.form is Form.KUBERNETES
        accelerator = resources["accelerator"]
        for type_field in _TYPE_FIELDS:
            if type_field in accelerator:
                accelerator[type_field] = entry.resource if is_kubernetes else entry.machine
        if is_kubernetes:
            self._add_node_selector(entry.node_selector)
            self._add_tolerations(entry)
        else:
            self._drop_placement(entry)
        change = _accelerator_change(self._component, name, entry, self._tables.form)
        self.changes.append(change)

    def _add_node_selector(self, labels: Mapping[str, str]) -> None:
        """Add labels to those of the pipeline. The pipeline's own value of a label stays."""
        if not labels:
            return
        selector = dict(as_mapping(self.platform.get("nodeSelector")))
        self.platform["nodeSelector"] = selector
        if "nodeSelectorJson" in selector:
            value = selector["nodeSelectorJson"]["runtimeValue"]
            value["constant"] = {**labels, **value["constant"]}
        else:
            selector["labels"] = {**labels, **as_mapping(selector.get("labels"))}

    def _add_tolerations(self, entry: Accelerator) -> None:
        tolerations = _as_list(self.platform.get("tolerations"))
        for toleration in entry.tolerations:
            if toleration not in tolerations:
                tolerations.append(dict(toleration))
        if tolerations:
            self.platform["tolerations"] = tolerations

    def _drop_placement(self, entry: Accelerator) -> None:
        """Drop the labels and tolerations that the name on Vertex AI now stands for."""
        selector = dict(as_mapping(self.platform.get("nodeSelector")))
        labels = dict(as_mapping(selector.get("labels")))
        for label in entry.node_selector:
            labels.pop(label, None)
        if labels:
            self.platform["nodeSelector"] = {**selector, "labels": labels}
        elif "nodeSelectorJson" not in selector:
            self.platform.pop("nodeSelector", None)
        tolerations = _as_list(self.platform.get("tolerations"))
        remaining = [
            toleration for toleration in tolerations if toleration not in entry.tolerations
        ]
        if remaining:
            self.platform["tolerations"] = remaining
        else:
            self.platform.pop("tolerations", None)

    def _translate_variables(self) -> None:
        """Translate the variables whose values are `secret:NAME`."""
        remaining = []
        for item in self._container.get("env") or ():
            variable, value = str(item.get("name")), item.get("value")
            entry = self._tables.secrets.get(requested_secret(value))
            if entry is None or not entry.is_known(self._tables.form):
                remaining.append(item)
                continue
            change = _secret_change(self._component, variable, str(value), entry, self._tables.form)
            self.changes.append(change)
            if self._tables.form is Form.KUBERNETES:
                self._add_secret(variable, entry)
            elif self._tables.form is Form.VERTEX:
                remaining.append({**item, "value": entry.secret_manager})
            else:
                # The engine reads the secret when the task starts, so the text has no value of it.
                remaining.append(item)
        if remaining:
            self._container["env"] = remaining
        else:
            self._container.pop("env", None)

    def _add_secret(self, variable: str, entry: Secret) -> None:
        # kubernetes_executor_config.proto: `secretName` is deprecated, but servers of all versions
        # read it. Older servers do not know `secretNameParameter`.
        self.platform.setdefault("secretAsEnv", []).append(
            {
                "secretName": entry.secret,
                "keyToEnv": [{"secretKey": entry.key, "envVar": variable}],
                "optional": False,
            }
        )

    def _translate_cluster_secrets(self) -> None:
        """Translate the variables that kfp-kubernetes takes from Kubernetes secrets."""
        config = executor_configs(_platform_document({"": self.platform})).get("")
        if config is None:
            return
        translated: set[tuple[str, str, str]] = set()
        for asked in config.secrets:
            entry = _find_cluster_secret(asked.secret, asked.key, self._tables)
            if entry is None:
                continue
            before = f"{asked.secret}/{asked.key}"
            change = _secret_change(
                self._component, asked.variable, before, entry, self._tables.form
            )
            self.changes.append(change)
            if self._tables.form is Form.VERTEX:
                # In a pod, the variable of the secret replaces one of the same name.
                env = self._container.get("env") or ()
                others = [item for item in env if item.get("name") != asked.variable]
                variable = {"name": asked.variable, "value": entry.secret_manager}
                self._container["env"] = others + [variable]
                translated.add((asked.secret, asked.key, asked.variable))
        if translated:
            self._drop_secrets(translated)

    def _drop_secrets(self, translated: set[tuple[str, str, str]]) -> None:
        """Drop the variables that are in the PipelineSpec now."""
        remaining_items = []
        for item in self.platform["secretAsEnv"]:
            config = executor_configs(_platform_document({"": {"secretAsEnv": [item]}}))[""]
            names = [(asked.secret, asked.key, asked.variable) for asked in config.secrets]
            pairs = zip(item["keyToEnv"], names, strict=True)
            remaining = [key_to_env for key_to_env, name in pairs if name not in translated]
            if remaining:
                remaining_items.append({**item, "keyToEnv": remaining})
        if remaining_items:
            self.platform["secretAsEnv"] = remaining_items
        else:
            del self.platform["secretAsEnv"]


def _as_list(value: object) -> list[Any]:
    """Return a copy of the value if it is a list, else an empty list."""
    return list(value) if isinstance(value, list) else []


def _platform_executor(platform_spec: JsonObject | None, label: str) -> JsonObject:
    """Return the settings of an executor in the second document."""
    platforms = as_mapping((platform_spec or {}).get("platforms"))
    kubernetes = as_mapping(platforms.get(_KUBERNETES))
    executors = as_mapping(as_mapping(kubernetes.get("deploymentSpec")).get("executors"))
    return as_mapping(executors.get(label))


def _platform_document(executors: JsonObject) -> dict[str, Any]:
    return {"platforms": {_KUBERNETES: {"deploymentSpec": {"executors": executors}}}}


def _with_executors(pipeline_spec: JsonObject, executors: JsonObject) -> dict[str, Any]:
    """Return a PipelineSpec with other executors in the place of those with the same labels."""
    deployment = as_mapping(pipeline_spec.get("deploymentSpec"))
    all_executors = {**read_executors(pipeline_spec), **executors}
    return {**pipeline_spec, "deploymentSpec": {**deployment, "executors": all_executors}}


def _with_platform_executors(
    platform_spec: JsonObject | None, executors: JsonObject
) -> dict[str, Any] | None:
    """Return a second document with other executors. An executor without settings is left out."""
    platforms = as_mapping((platform_spec or {}).get("platforms"))
    kubernetes = as_mapping(platforms.get(_KUBERNETES))
    deployment = as_mapping(kubernetes.get("deploymentSpec"))
    merged = {**as_mapping(deployment.get("executors")), **executors}
    merged = {label: body for label, body in merged.items() if body or label not in executors}
    if platform_spec is None:
        return _platform_document(merged) if merged else None
    new_kubernetes = {**kubernetes, "deploymentSpec": {**deployment, "executors": merged}}
    return {**platform_spec, "platforms": {**platforms, _KUBERNETES: new_kubernetes}}
