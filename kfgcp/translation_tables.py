"""The tables of an environment that translate what a pipeline asks for: GPUs and secrets.

A pipeline names a GPU and a secret once. Each backend has other names for them, and the tables
`accelerators` and `secrets` of an environment have these names:

    [env.gke.accelerators]
    NVIDIA_L4 = { resource = "nvidia.com/gpu", node_selector = { ... } }

    [env.gke.secrets]
    DB_PASSWORD = { secret = "db", key = "password" }

An entry may have the names of all backends. Each environment uses the names of its own backend, so
the same table can stand in every environment. `kfgcp.spec.translate` applies the tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from kfgcp.errors import ConfigError

# The value of an environment variable that asks for a secret: `secret:DB_PASSWORD`.
TomlTable = Mapping[str, Any]
"""A table of kfgcp.toml, as it was read."""

_SECRET_REQUEST: Final = re.compile(r"secret:([A-Za-z_][A-Za-z0-9_-]*)")
_SECRET_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

# The resource name of a secret version, from the REST reference of Secret Manager, v1. Secrets of a
# region have a location in their names.
_SECRET_VERSION: Final = re.compile(
    r"projects/[^/]+(?:/locations/[^/]+)?/secrets/[^/]+/versions/[^/]+"
)

_ACCELERATOR_KEYS: Final = ("resource", "node_selector", "tolerations", "machine")
_SECRET_KEYS: Final = ("secret", "key", "secret_manager", "variable", "file")

# Key in kfgcp.toml -> its type. The fields of `Toleration` in kubernetes_executor_config.proto.
_TOLERATION_TYPES: Final[Mapping[str, type]] = {
    "key": str,
    "operator": str,
    "value": str,
    "effect": str,
    "toleration_seconds": int,
}
_TYPE_NAMES: Final[Mapping[type, str]] = {str: "a text", int: "a whole number"}

_GUIDE: Final = "See docs/guides/portable.md."


class Form(StrEnum):
    """The form in which a backend takes GPUs and secrets."""

    NONE = "none"
    """The backend takes the text of the pipeline as it is."""
    KUBERNETES = "kubernetes"
    """Resources, node selectors and secrets of Kubernetes."""
    VERTEX = "vertex"
    """AcceleratorType of Vertex AI, and versions of secrets in Secret Manager."""
    LOCAL = "local"
    """This machine: variables and files. GPUs are not asked for."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The names of a GPU or TPU.

    Attributes:
        name: its name in the table.
        machine: its name on Vertex AI (AcceleratorType), `NVIDIA_L4`. "" when it is not known.
        resource: its resource on Kubernetes, `nvidia.com/gpu`. "" when it is not known.
        node_selector: the labels of the nodes that have it.
        tolerations: tolerations of the taints of these nodes, in the JSON of a platform spec.
    """

    name: str
    machine: str = ""
    resource: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """The places of a secret. A place that is not known is "".

    Attributes:
        name: its name in the table, which pipelines use.
        secret: the name of the Kubernetes secret.
        key: the key in the Kubernetes secret.
        secret_manager: the resource name of the version in Secret Manager.
        variable: the environment variable of this machine.
        file: the file of this machine.
    """

    name: str
    secret: str = ""
    key: str = ""
    secret_manager: str = ""
    variable: str = ""
    file: str = ""

    def is_known(self, form: Form) -> bool:
        """Return whether the place is known that a form needs."""
        if form is Form.KUBERNETES:
            return bool(self.secret)
        if form is Form.VERTEX:
            return bool(self.secret_manager)
        return form is Form.LOCAL and bool(self.variable or self.file)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of an environment.

    Attributes:
        form: the form that its backend takes.
        accelerators: in the order of the table.
        secrets: by their names.
    """

    form: Form = Form.NONE
    accelerators: tuple[Accelerator, ...] = ()
    secrets: Mapping[str, Secret] = field(default_factory=dict)

    def find_machine(self, name: str) -> Accelerator | None:
        """Return the accelerator with a Kubernetes resource that a pipeline asks for by name.

        Args:
            name: the name on Vertex AI, or the name in the table.
        """
        for accelerator in self.accelerators:
            # The name of an entry may be its resource, which needs no translation.
            is_known = accelerator.resource not in ("", name)
            if is_known and name in (accelerator.machine, accelerator.name):
                return accelerator
        return None

    def find_resource(self, resource: str, labels: Mapping[str, str]) -> Accelerator | None:
        """Return the accelerator with a name on Vertex AI that a pipeline asks for.

        Several GPUs have the same resource. The node selector distinguishes them, so the entry with
        the most labels wins.

        Args:
            resource: the resource on Kubernetes, or the name in the table.
            labels: the node selector of the task.
        """
        best: Accelerator | None = None
        for accelerator in self.accelerators:
            if not accelerator.machine or resource not in (accelerator.resource, accelerator.name):
                continue
            has_labels = accelerator.node_selector.items() <= labels.items()
            is_asked_by_name = resource == accelerator.name and "/" not in resource
            if not has_labels and not is_asked_by_name:
                continue
            if best is None or len(accelerator.node_selector) > len(best.node_selector):
                best = accelerator
        return best

    def find_kubernetes_secret(self, secret: str, key: str) -> Secret | None:
        """Return the entry of a key of a Kubernetes secret."""
        for entry in self.secrets.values():
            if secret and (entry.secret, entry.key) == (secret, key):
                return entry
        return None


def requested_secret(value: object) -> str:
    """Return the name of the secret that the value of a variable asks for, "" when it is a text.

    Example:
        >>> requested_secret("secret:DB_PASSWORD"), requested_secret("secret: none")
        ('DB_PASSWORD', '')
    """
    match = _SECRET_REQUEST.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else ""


def read_tables(form: Form, accelerators: TomlTable, secrets: TomlTable, where: str = "") -> Tables:
    """Return the tables of an environment.

    Args:
        form: the form that its backend takes.
        accelerators: the table `accelerators`, as TOML has it.
        secrets: the table `secrets`, as TOML has it.
        where: the environment, for messages: `kfgcp.toml [env.gke]`.

    Raises:
        ConfigError: an entry is not valid.

    Example:
        >>> table = {"NVIDIA_L4": {"resource": "nvidia.com/gpu"}}
        >>> read_tables(Form.KUBERNETES, table, {}).find_machine("NVIDIA_L4").resource
        'nvidia.com/gpu'
    """
    accelerator_entries = []
    for name, body in accelerators.items():
        accelerator_entries.append(_read_accelerator(name, body, f"{where}: accelerators.{name}"))
    secret_entries = {}
    for name, body in secrets.items():
        secret_entries[name] = _read_secret(name, body, f"{where}: secrets.{name}")
    _refuse_same_request(form, accelerator_entries, where)
    _refuse_same_key(secret_entries.values(), where)
    return Tables(form, tuple(accelerator_entries), secret_entries)


# -- accelerators


def _read_accelerator(name: str, body: object, where: str) -> Accelerator:
    table = _require_table(
        body, _ACCELERATOR_KEYS, where, '{ resource = "nvidia.com/gpu", machine = "NVIDIA_L4" }'
    )
    resource = _read_text(table, "resource", where)
    machine = _read_text(table, "machine", where)
    if resource and "/" not in resource:
        raise ConfigError(
            f"{where}: resource must be a resource of Kubernetes, such as nvidia.com/gpu, not"
            f" {resource!r}.",
            hint=_GUIDE,
        )
    if "/" in machine:
        raise ConfigError(
            f"{where}: machine must be an AcceleratorType of Vertex AI, such as NVIDIA_L4, not"
            f" {machine!r}.",
            hint=_GUIDE,
        )
    if not resource and not machine:
        raise ConfigError(
            f"{where} needs one of the keys `resource` (for Kubernetes) and `machine` (for Vertex"
            " AI).",
            hint=_GUIDE,
        )
    # The name of an entry is already one of the two names.
    if "/" in name:
        resource = resource or name
    else:
        machine = machine or name
    return Accelerator(
        name=name,
        machine=machine,
        resource=resource,
        node_selector=_read_labels(table, where),
        tolerations=_read_tolerations(table, where),
    )


def _read_labels(table: TomlTable, where: str) -> dict[str, str]:
    labels = table.get("node_selector", {})
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise ConfigError(
            f"{where}: node_selector must be a table of texts, not {labels!r}.",
            hint='Write { "cloud.google.com/gke-accelerator" = "nvidia-l4" }.',
        )
    return dict(labels)


def _read_tolerations(table: TomlTable, where: str) -> tuple[Mapping[str, Any], ...]:
    tolerations = table.get("tolerations", [])
    example = '[{ key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule" }]'
    if not isinstance(tolerations, list):
        raise ConfigError(
            f"{where}: tolerations must be a list of tables, not {tolerations!r}.",
            hint=f"Write {example}.",
        )
    result: list[Mapping[str, Any]] = []
    for body in tolerations:
        toleration = _require_table(body, _TOLERATION_TYPES, f"{where}: tolerations", example)
        for key, value in toleration.items():
            expected = _TOLERATION_TYPES[key]
            # A bool is an int in Python, but not in TOML.
            if isinstance(value, bool) or not isinstance(value, expected):
                raise ConfigError(
                    f"{where}: {key} of a toleration must be {_TYPE_NAMES[expected]}, not"
                    f" {value!r}.",
                    hint=f"Write {example}.",
                )
        result.append(_toleration_json(toleration))
    return tuple(result)


def _toleration_json(toleration: TomlTable) -> dict[str, Any]:
    """Return a toleration in the JSON of protos, as kfp-kubernetes writes it."""
    result = dict(toleration)
    if "toleration_seconds" in result:
        # The JSON mapping of protos writes integers of 64 bits as text.
        result["tolerationSeconds"] = str(result.pop("toleration_seconds"))
    return result


def _refuse_same_request(form: Form, accelerators: Iterable[Accelerator], where: str) -> None:
    """Refuse two entries that translate the same request to different names."""
    names: dict[object, str] = {}
    for accelerator in accelerators:
        request: object = None
        words = accelerator.machine
        if form is Form.KUBERNETES and accelerator.resource:
            request = accelerator.machine
        elif form is Form.VERTEX and accelerator.machine and accelerator.resource:
            labels = tuple(sorted(accelerator.node_selector.items()))
            request = (accelerator.resource, labels)
            words = f"{accelerator.resource} with the same node_selector"
        if not request:
            continue
        if request in names:
            raise ConfigError(
                f"{where}: accelerators.{names[request]} and accelerators.{accelerator.name} both"
                f" translate {words}.",
                hint="Remove one of them.",
            )
        names[request] = accelerator.name


# -- secrets


def _read_secret(name: str, body: object, where: str) -> Secret:
    if not _SECRET_NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: the name of a secret may have only letters, digits, _ and -.",
            hint="A pipeline asks for the secret by this name: secret:DB_PASSWORD",
        )
    table = _require_table(body, _SECRET_KEYS, where, '{ secret = "db", key = "password" }')
    places = {key: _read_text(table, key, where) for key in table}
    if not places:
        raise ConfigError(f"{where} does not say where the secret is stored.", hint=_GUIDE)
    if bool(places.get("secret")) != bool(places.get("key")):
        missing = "key" if places.get("secret") else "secret"
        raise ConfigError(
            f"{where}: the key {missing} is missing.",
            hint='A Kubernetes secret needs both: { secret = "db", key = "password" }',
        )
    version = places.get("secret_manager", "")
    if version and not _SECRET_VERSION.fullmatch(version):
        raise ConfigError(
            f"{where}: secret_manager must be the name of a secret version, not {version!r}.",
            hint="Write projects/PROJECT/secrets/SECRET/versions/VERSION.",
        )
    if places.get("variable") and places.get("file"):
        raise ConfigError(
            f"{where} has the keys variable and file, but only one of them is allowed.",
            hint="Remove one of the two keys.",
        )
    return Secret(name, **places)


def _refuse_same_key(secrets: Iterable[Secret], where: str) -> None:
    names: dict[tuple[str, str], str] = {}
    for entry in secrets:
        place = (entry.secret, entry.key)
        if entry.secret and place in names:
            raise ConfigError(
                f"{where}: secrets.{names[place]} and secrets.{entry.name} are the same key of the"
                f" Kubernetes secret {entry.secret}.",
                hint="Remove one of them.",
            )
        names[place] = entry.name


# -- both tables


def _require_table(
    body: object, known_keys: Iterable[str], where: str, example: str
) -> Mapping[str, Any]:
    # kfgcp.settings imports this module.
    from kfgcp.settings import refuse_unknown

    if not isinstance(body, dict):
        raise ConfigError(f"{where} must be a table, not {body!r}.", hint=f"Write {example}.")
    refuse_unknown(body, known_keys, where)
    return body


def _read_text(table: TomlTable, key: str, where: str) -> str:
    """Return the text of a key, "" when the table does not have the key."""
    if key not in table:
        return ""
    text = table[key]
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"{where}: {key} must be a text that is not empty, not {text!r}.")
    return text
