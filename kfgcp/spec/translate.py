"""Translate what a pipeline asks for, GPUs and secrets, to the form that a backend takes.

A pipeline asks in one of two ways. It uses plain KFP: `set_accelerator_type("NVIDIA_L4")`, and
`set_env_variable("DB_PASSWORD", "secret:DB_PASSWORD")`. Or it is made for Kubernetes: the resource
`nvidia.com/gpu` with a node selector, and `use_secret_as_env` of kfp-kubernetes.

`translate` changes the two documents of a pipeline when they are sent. The version of the pipeline
is the digest of the documents before the translation, so it is the same in every environment.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.platform import SecretVariable, read_node_selector, read_secrets
from kfgcp.spec.portable_requests import (
    TYPE_FIELDS,
    TranslatedRequest,
    accelerator_change,
    accelerator_name,
    find_accelerator,
    find_cluster_secret,
    secret_change,
)

# Callers find it beside `translate`.
from kfgcp.spec.portable_requests import missing_translations as missing_translations
from kfgcp.spec.wire import as_mapping, read_executors
from kfgcp.translation_tables import Accelerator, Form, Secret, Tables, requested_secret

# The platform of kfp-kubernetes in the second document.
# A document of a pipeline that is being changed.
Document = dict[str, Any]

_KUBERNETES: Final = "kubernetes"


@dataclass(frozen=True, slots=True)
class Translated:
    """A pipeline in the form that a backend takes.

    Attributes:
        pipeline_spec: the PipelineSpec.
        platform_spec: the second document, None without one.
        changes: what was translated.
    """

    pipeline_spec: Mapping[str, Any]
    platform_spec: dict[str, Any] | None
    changes: tuple[TranslatedRequest, ...] = ()


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
    changes: list[TranslatedRequest] = []
    for label, executor in read_executors(pipeline_spec).items():
        platform = _platform_executor(platform_spec, label)
        # Copies are slow, and most containers of a large pipeline ask for nothing.
        if not _may_ask(as_mapping(executor.get("container")), platform):
            continue
        work = _Executor(label, executor, platform, tables)
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


def _may_ask(container: JsonObject, platform: JsonObject) -> bool:
    """Return whether an executor may ask for an accelerator or a secret."""
    if not container:
        return False
    has_accelerator = bool(accelerator_name(as_mapping(container.get("resources"))))
    return has_accelerator or bool(container.get("env")) or bool(platform.get("secretAsEnv"))


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
        self.changes: list[TranslatedRequest] = []
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
        entry = find_accelerator(name, node_selector, self._tables)
        if entry is None:
            return
        is_kubernetes = self._tables.form is Form.KUBERNETES
        accelerator = resources["accelerator"]
        for type_field in TYPE_FIELDS:
            if type_field in accelerator:
                accelerator[type_field] = entry.resource if is_kubernetes else entry.machine
        if is_kubernetes:
            self._add_node_selector(entry.node_selector)
            self._add_tolerations(entry)
        else:
            self._drop_placement(entry)
        change = accelerator_change(self._component, name, entry, self._tables.form)
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
            change = secret_change(self._component, variable, str(value), entry, self._tables.form)
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
        translated: set[SecretVariable] = set()
        for asked in read_secrets(self.platform):
            entry = find_cluster_secret(asked.secret, asked.key, self._tables)
            if entry is None:
                continue
            before = f"{asked.secret}/{asked.key}"
            change = secret_change(
                self._component, asked.variable, before, entry, self._tables.form
            )
            self.changes.append(change)
            if self._tables.form is Form.VERTEX:
                # In a pod, the variable of the secret replaces one of the same name.
                env = self._container.get("env") or ()
                others = [item for item in env if item.get("name") != asked.variable]
                variable = {"name": asked.variable, "value": entry.secret_manager}
                self._container["env"] = others + [variable]
                translated.add(asked)
        if translated:
            self._drop_secrets(translated)

    def _drop_secrets(self, translated: set[SecretVariable]) -> None:
        """Drop the variables that are in the PipelineSpec now."""
        remaining_items = []
        for item in self.platform["secretAsEnv"]:
            # `read_secrets` yields one variable for each item of keyToEnv, in the same order.
            variables = list(read_secrets({"secretAsEnv": [item]}))
            pairs = zip(item.get("keyToEnv") or (), variables, strict=True)
            remaining = [key_to_env for key_to_env, asked in pairs if asked not in translated]
            if remaining:
                remaining_items.append({**item, "keyToEnv": remaining})
        if remaining_items:
            self.platform["secretAsEnv"] = remaining_items
        else:
            del self.platform["secretAsEnv"]


def _as_list(value: object) -> list[JsonObject]:
    """Return a copy of the value if it is a list, else an empty list."""
    return list(value) if isinstance(value, list) else []


def _platform_executor(platform_spec: JsonObject | None, label: str) -> JsonObject:
    """Return the settings of an executor in the second document."""
    platforms = as_mapping((platform_spec or {}).get("platforms"))
    kubernetes = as_mapping(platforms.get(_KUBERNETES))
    executors = as_mapping(as_mapping(kubernetes.get("deploymentSpec")).get("executors"))
    return as_mapping(executors.get(label))


def _platform_document(executors: JsonObject) -> Document:
    return {"platforms": {_KUBERNETES: {"deploymentSpec": {"executors": executors}}}}


def _with_executors(pipeline_spec: JsonObject, executors: JsonObject) -> Document:
    """Return a PipelineSpec with other executors in the place of those with the same labels."""
    deployment = as_mapping(pipeline_spec.get("deploymentSpec"))
    all_executors = {**read_executors(pipeline_spec), **executors}
    return {**pipeline_spec, "deploymentSpec": {**deployment, "executors": all_executors}}


def _with_platform_executors(
    platform_spec: JsonObject | None, executors: JsonObject
) -> Document | None:
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
