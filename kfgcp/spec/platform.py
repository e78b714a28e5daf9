"""Read the second document of a compiled pipeline: the settings for a Kubernetes cluster.

Only a cluster can apply these settings. The fields come from `KubernetesExecutorConfig`
(kfp-kubernetes, kubernetes_executor_config.proto) and from KFP's `PipelineConfig`
(pipeline_spec.proto).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kfgcp.spec.json_values import JsonObject


@dataclass(frozen=True, slots=True)
class Variables:
    """Environment variables that the cluster gives a task.

    Attributes:
        source: where their values come from, `secret 'db'` for example.
        names: the names of the variables.
        optional: whether the task runs without them when the source does not exist.
    """

    source: str
    names: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class SecretVariable:
    """An environment variable whose value is a key of a Kubernetes secret.

    Attributes:
        variable: the name of the variable.
        secret: the name of the secret. "" when a parameter has the name.
        key: the key in the secret.
        optional: whether the task runs without it when the secret does not exist.
    """

    variable: str
    secret: str
    key: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder that the cluster gives a task.

    Attributes:
        source: what the folder contains, `volume claim 'data'` for example.
        path: where the folder is in the container.
        optional: whether the task runs without the folder when the source does not exist.
        scratch: whether the folder is empty when the task starts.
    """

    source: str
    path: str
    optional: bool = False
    scratch: bool = False


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What a task asks of the cluster.

    Attributes:
        variables: environment variables.
        mounts: folders.
        timeout: seconds that an attempt may take, None for no limit.
        placement: the names of settings that say on which machine and as which user the task runs.
            They cannot change what the task computes.
        secrets: the environment variables that come from secrets. `variables` has them, too.
        node_selector: the labels of the nodes, None when a parameter has them.
    """

    variables: tuple[Variables, ...] = ()
    mounts: tuple[Mount, ...] = ()
    timeout: float | None = None
    placement: tuple[str, ...] = ()
    secrets: tuple[SecretVariable, ...] = ()
    node_selector: Mapping[str, str] | None = field(default_factory=dict)

    def words(self) -> list[str]:
        """Return a description of each setting, for messages.

        Example:
            >>> variables = Variables("secret 'db'", ("PASSWORD",))
            >>> ClusterConfig(variables=(variables,), timeout=60).words()
            ["secret 'db' as PASSWORD", 'timeout of 60 s']
        """
        words = [f"{item.source} as {', '.join(item.names)}" for item in self.variables]
        words += [f"{mount.source} at {mount.path}" for mount in self.mounts]
        if self.timeout is not None:
            words.append(f"timeout of {self.timeout:g} s")
        words.extend(self.placement)
        return words


NO_CLUSTER_CONFIG: Final = ClusterConfig()

# The field of `pipelineConfig` that asks for a volume which all tasks share.
WORKSPACE: Final = "workspace"

# The images of CreatePVC and DeletePVC in kfp-kubernetes. KFP on a cluster recognizes these names,
# and creates or deletes a volume instead of running the image.
VOLUME_IMAGES: Final = ("argostub/createpvc", "argostub/deletepvc")

_PLACEMENT: Final = {
    "nodeSelector": "node selector",
    "tolerations": "tolerations",
    "nodeAffinity": "node affinity",
    "podAffinity": "pod affinity",
    "podMetadata": "pod labels and annotations",
    "imagePullPolicy": "image pull policy",
    "imagePullSecret": "image pull secrets",
    "enabledSharedMemory": "shared memory",
    "securityContext": "security context",
}
_PIPELINE_SETTINGS: Final = {
    "semaphoreKey": "semaphore",
    "mutexName": "mutex",
    "resourceTtl": "time to live",
    "resourceTtlOnCompletion": "time to live",
    WORKSPACE: "workspace volume",
}

# Field of an executor -> the kind of object that its values come from.
_VARIABLE_FIELDS: Final = {"secretAsEnv": "secret", "configMapAsEnv": "config map"}
_MOUNT_FIELDS: Final = {
    "secretAsVolume": "secret",
    "configMapAsVolume": "config map",
    "pvcMount": "volume claim",
}
_SCRATCH_FIELDS: Final = {
    "emptyDirMounts": "empty folder",
    "genericEphemeralVolume": "ephemeral volume",
}
# Fields that have their own attribute in `ClusterConfig`. All others are part of the placement.
_READ_FIELDS: Final = frozenset({"fieldPathAsEnv", "activeDeadlineSeconds"}).union(
    _VARIABLE_FIELDS, _MOUNT_FIELDS, _SCRATCH_FIELDS
)

# The fields that name a secret, a config map or a volume claim.
_NAME_FIELDS: Final = ("secretName", "configMapName", "pvcName")


def executor_configs(platform_spec: Mapping[str, Any] | None) -> dict[str, ClusterConfig]:
    """Return the settings of the executors of a pipeline by the executors' labels.

    Executors without settings are left out.
    """
    configs = {}
    for platform in _platforms(platform_spec):
        executors = (platform.get("deploymentSpec") or {}).get("executors") or {}
        for label, body in executors.items():
            config = _read_config(body or {})
            if config.words():
                configs[label] = config
    return configs


def pipeline_settings(platform_spec: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the settings of the pipeline as a whole.

    Returns:
        Field of `pipelineConfig` -> its name in messages.

    Example:
        >>> pipeline_settings({
        ...     "platforms": {"kubernetes": {"pipelineConfig": {"workspace": {"size": "1Gi"}}}}
        ... })
        {'workspace': 'workspace volume'}
    """
    settings = {}
    for platform in _platforms(platform_spec):
        for key, value in (platform.get("pipelineConfig") or {}).items():
            if value:
                settings[key] = _PIPELINE_SETTINGS.get(key, key)
    return settings


def _platforms(platform_spec: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    for platform in ((platform_spec or {}).get("platforms") or {}).values():
        yield platform or {}


def _read_config(body: JsonObject) -> ClusterConfig:
    # A proto3 field without a value reads as 0, so 0 means that there is no deadline.
    deadline = float(body.get("activeDeadlineSeconds") or 0)
    return ClusterConfig(
        variables=tuple(_read_variables(body)),
        mounts=tuple(_read_mounts(body)),
        timeout=deadline or None,
        placement=tuple(_read_placement(body)),
        secrets=tuple(read_secrets(body)),
        node_selector=read_node_selector(body),
    )


def read_node_selector(body: JsonObject) -> dict[str, str] | None:
    """Return the labels of the nodes of an executor, None when a parameter has them.

    Args:
        body: the settings of the executor (KubernetesExecutorConfig).

    Example:
        >>> read_node_selector({"nodeSelector": {"labels": {"disk": "ssd"}}})
        {'disk': 'ssd'}
    """
    selector = body.get("nodeSelector")
    if not isinstance(selector, Mapping):
        return {}
    if "nodeSelectorJson" not in selector:
        labels = selector.get("labels")
        return dict(labels) if isinstance(labels, Mapping) else {}
    # kubernetes_executor_config.proto: node_selector_json takes precedence over labels.
    constant = _read_constant(selector["nodeSelectorJson"])
    return dict(constant) if isinstance(constant, Mapping) else None


def read_secrets(body: JsonObject) -> Iterator[SecretVariable]:
    """Yield the environment variables of an executor that come from Kubernetes secrets.

    Args:
        body: the settings of the executor (KubernetesExecutorConfig).
    """
    for item in body.get("secretAsEnv") or ():
        secret = str(_read_source_name(item) or "")
        for key_to_env in item.get("keyToEnv") or ():
            variable, key = str(key_to_env.get("envVar")), str(key_to_env.get("secretKey"))
            yield SecretVariable(variable, secret, key, bool(item.get("optional")))


def _read_placement(body: JsonObject) -> list[str]:
    """Return the names of all other settings, also of settings that this version does not know."""
    keys = [key for key, value in body.items() if value and key not in _READ_FIELDS]
    # The fields of a proto message have no order in JSON, so the names get a fixed order here.
    known_names = [name for key, name in _PLACEMENT.items() if key in keys]
    unknown_names = sorted(key for key in keys if key not in _PLACEMENT)
    return known_names + unknown_names


def _read_variables(body: JsonObject) -> Iterator[Variables]:
    for list_field, kind in _VARIABLE_FIELDS.items():
        for item in body.get(list_field) or ():
            keys_to_env = item.get("keyToEnv") or ()
            names = tuple(str(key_to_env.get("envVar")) for key_to_env in keys_to_env)
            yield Variables(_describe_source(kind, item), names, bool(item.get("optional")))
    for item in body.get("fieldPathAsEnv") or ():
        yield Variables(f"pod field {item.get('fieldPath')}", (str(item.get("name")),))


def _read_mounts(body: JsonObject) -> Iterator[Mount]:
    for list_field, kind in _MOUNT_FIELDS.items():
        for item in body.get(list_field) or ():
            path = str(item.get("mountPath"))
            yield Mount(_describe_source(kind, item), path, bool(item.get("optional")))
    for list_field, kind in _SCRATCH_FIELDS.items():
        for item in body.get(list_field) or ():
            path = str(item.get("mountPath"))
            yield Mount(f"{kind} '{item.get('volumeName')}'", path, scratch=True)


def _describe_source(kind: str, item: Mapping[str, Any]) -> str:
    """Return `secret 'db'`, or only `secret` when the name is not known before the run."""
    name = _read_source_name(item)
    return f"{kind} '{name}'" if name else kind


def _read_source_name(item: JsonObject) -> object:
    for name_field in _NAME_FIELDS:
        name = item.get(name_field)
        if isinstance(name, str) and name:
            return name
        # kubernetes_executor_config.proto: `secretName` is deprecated, and newer versions of
        # kfp-kubernetes write `secretNameParameter`. The two other fields have changed in the same
        # way.
        constant = _read_constant(item.get(f"{name_field}Parameter"))
        if constant:
            return constant
    # The field `constant` of the deprecated pvc_reference names a volume claim.
    return item.get("constant")


def _read_constant(parameter: object) -> object:
    """Return the constant of an InputParameterSpec, None when the value comes from a run."""
    runtime_value = parameter.get("runtimeValue") if isinstance(parameter, Mapping) else None
    return runtime_value.get("constant") if isinstance(runtime_value, Mapping) else None
