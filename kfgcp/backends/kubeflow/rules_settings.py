"""The rules K24x and K34x about settings for the cluster (kfp-kubernetes) and for the workflow.

`fixed_in` is the first release that applies a setting, by the server's source at the tags of
releases (github.com/kubeflow/pipelines). A driver ignores settings that it does not know
(UnmarshalString in common/util/json.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from kfgcp.backends.kubeflow.spec_parts import (
    cluster_settings,
    items_of,
    pipeline_settings,
)
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import Match, Severity, at_task, match_texts
from kfgcp.rules.rule import Target, pipeline_rule
from kfgcp.spec.json_values import JsonObject

# The fields of a PvcMount whose name comes from a parameter.
_NEW_PVC_FIELDS: Final = frozenset({"pvcNameParameter", "mountPath", "subPath"})

# Settings for the cluster that the driver of 2.1 and later reads, with their names in messages.
_SETTINGS_OF_2_1: Final = {
    "configMapAsEnv": "config maps",
    "configMapAsVolume": "config maps",
    "tolerations": "tolerations",
    "fieldPathAsEnv": "environment variables with fields of its pod",
    "activeDeadlineSeconds": "a timeout",
    "imagePullPolicy": "an image pull policy",
    "imagePullSecret": "image pull secrets",
    "podMetadata": "labels or annotations of its pod",
}

# Settings that no driver reads, with their names in messages.
_IGNORED_SETTINGS: Final = {
    "podAffinity": "a pod affinity",
    "enabledSharedMemory": "shared memory",
}


@pipeline_rule(
    "K240",
    Severity.WARNING,
    "{task} mounts an empty folder (kubernetes.empty_dir_mount): Kubeflow Pipelines supports this"
    " since 2.3, and on an older server the folder does not exist",
    hint="Upgrade the server, or use a folder of the image.",
    fixed_in=(2, 3),
)
def empty_folder(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """#10913. Older drivers ignore unknown settings (UnmarshalString in common/util/json.go)."""
    return _tasks_with(pipeline, "emptyDirMounts")


@pipeline_rule(
    "K241",
    Severity.WARNING,
    "{task} has {names}: Kubeflow Pipelines supports this since 2.1, and an older server ignores"
    " it",
    hint="Upgrade the server, or remove the setting from the task.",
    fixed_in=(2, 1),
)
def settings_since_2_1(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The driver of 2.0 reads only secrets, volume claims and node selectors (driver/driver.go)."""
    return _tasks_with_names(pipeline, _SETTINGS_OF_2_1)


@pipeline_rule(
    "K242",
    Severity.WARNING,
    "{task} has an ephemeral volume: Kubeflow Pipelines supports this since 2.2, and on an older"
    " server the folder does not exist",
    hint="Upgrade the server, or mount a volume claim.",
    fixed_in=(2, 2),
)
def ephemeral_volume(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The driver of 2.2.0 is the first that reads genericEphemeralVolume (driver/driver.go)."""
    return _tasks_with(pipeline, "genericEphemeralVolume")


@pipeline_rule(
    "K243",
    Severity.WARNING,
    "{task} has a node affinity: Kubeflow Pipelines supports this since 2.14, and an older server"
    " ignores it",
    hint="Upgrade the server, or use a node selector.",
    fixed_in=(2, 14),
)
def node_affinity(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The driver of 2.14.0 is the first that reads nodeAffinity (driver/k8s.go)."""
    return _tasks_with(pipeline, "nodeAffinity")


@pipeline_rule(
    "K244",
    Severity.WARNING,
    "{task} has a security context: Kubeflow Pipelines supports this since 2.16, and an older"
    " server ignores it",
    hint="Upgrade the server, or set the user in the image.",
    fixed_in=(2, 16),
)
def security_context(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """The driver of 2.16.0 is the first that reads securityContext (driver/k8s.go)."""
    return _tasks_with(pipeline, "securityContext")


@pipeline_rule(
    "K245",
    Severity.WARNING,
    "{task} mounts one folder of a volume (sub_path): Kubeflow Pipelines supports this since"
    " 2.16, and an older server mounts the whole volume",
    hint="Upgrade the server, or use the path of the folder in the program.",
    fixed_in=(2, 16),
)
def volume_folder(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """PvcMount.sub_path is new in 2.16.0 (kubernetes_executor_config.proto, driver/k8s.go)."""
    for context, settings in cluster_settings(pipeline):
        if any(mount.get("subPath") for mount in items_of(settings, "pvcMount")):
            yield at_task(context)


@pipeline_rule(
    "K246",
    Severity.WARNING,
    "{task} gets environment variables from an optional secret or config map: Kubeflow Pipelines"
    " supports this since 2.15, and on an older server the task waits until the secret or config"
    " map exists",
    hint="Upgrade the server, or create the secret or config map.",
    fixed_in=(2, 15),
)
def optional_variables(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """SecretAsEnv.optional and ConfigMapAsEnv.optional are new in 2.15.0
    (kubernetes_executor_config.proto)."""
    for context, settings in cluster_settings(pipeline):
        if any(
            item.get("optional") for item in items_of(settings, "secretAsEnv", "configMapAsEnv")
        ):
            yield at_task(context)


@pipeline_rule(
    "K247",
    Severity.WARNING,
    "{task} takes the name of a secret, config map or volume claim from a parameter: Kubeflow"
    " Pipelines supports this since 2.5, and an older server does not find the name",
    hint="Upgrade the server, or compile the pipeline with kfp-kubernetes<1.5 and a fixed name.",
    fixed_in=(2, 5),
)
def names_by_parameters(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """#11621: secretNameParameter and others. Older drivers read only secretName and the like
    (kubernetes_executor_config.proto)."""
    for context, settings in cluster_settings(pipeline):
        if any(_has_only_parameter(item) for item in items_of(settings, *settings)):
            yield at_task(context)


@pipeline_rule(
    "K248",
    Severity.WARNING,
    "{task} has init containers: Kubeflow Pipelines supports this since 3.0, and an older server"
    " ignores them",
    hint="Do the work of the init containers in a separate task.",
    fixed_in=(3, 0),
)
def init_containers(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """KubernetesExecutorConfig.init_containers is new after 2.17.0, and older drivers ignore
    unknown settings (kubernetes_executor_config.proto; UnmarshalString in common/util/json.go)."""
    return _tasks_with(pipeline, "initContainers")


@pipeline_rule(
    "K343",
    Severity.WARNING,
    "{task} has {names}: Kubeflow Pipelines ignores it",
    hint="Instead of a pod affinity, use a node selector or a node affinity. Instead of shared"
    " memory, use an empty folder in memory (medium='Memory').",
)
def ignored_settings(pipeline: PipelineContext, target: Target) -> Iterator[Match]:
    """kubernetes_executor_config.proto has podAffinity and enabledSharedMemory, but no driver reads
    them (driver/k8s.go)."""
    return _tasks_with_names(pipeline, _IGNORED_SETTINGS)


@pipeline_rule(
    "K344",
    Severity.WARNING,
    "the pipeline has {names}: Kubeflow Pipelines ignores it",
    hint="Remove the setting from PipelineConfig.",
    fixed_in=(2, 15),
)
def ignored_lock(pipeline: PipelineContext, target: Target) -> Match:
    """PipelineConfig had semaphoreKey and mutexName until 2.15, but no compiler read them
    (pipeline_spec.proto, argocompiler)."""
    return match_texts("names", pipeline_settings(pipeline, ("semaphoreKey", "mutexName")))


@pipeline_rule(
    "K345",
    Severity.WARNING,
    "the pipeline has {names}: Kubeflow Pipelines ignores it",
    hint="Remove the setting from PipelineConfig, or upgrade the server and compile again.",
    fixed_in=(2, 17),
)
def ignored_time_to_live(pipeline: PipelineContext, target: Target) -> Match:
    """PipelineConfig had resourceTtl until 2.17, but no compiler read it (pipeline_spec.proto,
    argocompiler)."""
    return match_texts("names", pipeline_settings(pipeline, ("resourceTtl",)))


def _tasks_with(pipeline: PipelineContext, field: str) -> Iterator[Match]:
    """Yield each task with a setting for the cluster."""
    for context, settings in cluster_settings(pipeline):
        if settings.get(field):
            yield at_task(context)


def _tasks_with_names(
    pipeline: PipelineContext, names_by_field: Mapping[str, str]
) -> Iterator[Match]:
    """Yield each task with at least one of several settings, and the names of its settings."""
    for context, settings in cluster_settings(pipeline):
        names = dict.fromkeys(name for field, name in names_by_field.items() if settings.get(field))
        if names:
            yield at_task(context, {"names": ", ".join(names)})


def _has_only_parameter(item: JsonObject) -> bool:
    """Return whether a parameter names a secret, config map or volume claim, and no text does."""
    for field in ("secretName", "configMapName"):
        if item.get(f"{field}Parameter") and not item.get(field):
            return True
    # The fields besides these are the older ways to name a claim.
    return bool(item.get("pvcNameParameter")) and item.keys() <= _NEW_PVC_FIELDS
