"""The keys of a table of kfgcp.toml: the fields of a dataclass, with types, defaults and checks.

`BackendSettings` has the keys that every environment has. A backend declares its own keys in a
subclass, and reads them as `MySettings.of(env.settings)`. A field is a key. A field without a
default is required. Types are text, whole numbers, true or false, lists of texts
(`tuple[str, ...]`), tables of texts (`Mapping[str, str]`) and tables of tables
(`Mapping[str, Mapping[str, object]]`). `validate` checks what is inside a table.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType
from typing import Any, Final, Self, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from kfgcp.deadlines import REQUEST_SECONDS
from kfgcp.errors import ConfigError
from kfgcp.hosts import CLUSTER_DOMAINS, LOOPBACK, parse_address
from kfgcp.translation_tables import Form, Tables, read_tables
from kfgcp.translation_tables import TomlTable as TomlTable

S3_ADDRESSING: Final = ("path", "virtual")

# One day in seconds. No request takes longer, and sockets refuse very large numbers.
MAX_REQUEST_SECONDS: Final = 86400

_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "false": False}
_TYPE_NAMES: Final[Mapping[type, str]] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
_VARIABLE_FORMS: Final[Mapping[type, str]] = {int: "a whole number", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of a key.

    Attributes:
        value: as TOML has it.
        origin: where the value came from, for messages: `kfgcp.toml [env.dev]`.
    """

    value: Any
    origin: str


@dataclass(frozen=True, kw_only=True)
class BackendSettings:
    """The keys that every environment has. docs/guides/buckets.md explains the keys of S3.

    Attributes:
        labels: the labels of every run.
        pipeline_root: the bucket or folder for artifacts.
        request_seconds: how many seconds one request to a service may take, with all its retries.
        s3_endpoint: the address of an S3 server that is not Amazon's.
        s3_region: the region of that server.
        s3_addressing: `path` when an address of that server has the bucket in its path, `virtual`
            when it has the bucket in its host name.
        accelerators: the names of GPUs here, by the names that pipelines use. See
            docs/guides/portable.md.
        secrets: the places of secrets here, by the names that pipelines use. See
            docs/guides/portable.md.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class ToySettings(BackendSettings):
        ...     folder: str
        ...     speed: int = 1
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    pipeline_root: str | None = None
    request_seconds: int = int(REQUEST_SECONDS)
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_addressing: str | None = None
    accelerators: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    # Without an annotation, it is an attribute of the class and not a key.
    form = Form.NONE
    """The form in which the backend takes GPUs and secrets."""

    signs_in_to_google = False
    """Whether the tokens of the environment are for Google's services."""

    @cached_property
    def tables(self) -> Tables:
        """The tables `accelerators` and `secrets`, for `kfgcp.spec.translate`."""
        return read_tables(self.form, self.accelerators, self.secrets)

    @classmethod
    def types(cls) -> Mapping[str, type]:
        """Return the type of each key as TOML has it: str, int, bool, list or dict.

        Raises:
            TypeError: a field has a type that a key cannot have.

        Example:
            >>> BackendSettings.types()["request_seconds"]
            <class 'int'>
        """
        if cls not in _types_by_class:
            _types_by_class[cls] = _toml_types(cls)
        return _types_by_class[cls]

    @classmethod
    def required(cls, settings: Mapping[str, Setting]) -> tuple[str, ...]:  # noqa: ARG003 - subclasses use them
        """Return the required keys.

        By default, these are the fields without a default: first those that the class itself
        declares, in their order.

        Args:
            settings: the values of the environment. In some classes, they decide which other keys
                are required.
        """
        own_names = list(inspect.get_annotations(cls))
        own: list[str] = []
        inherited: list[str] = []
        for declared in dataclasses.fields(cls):
            if not _is_required(declared):
                continue
            if declared.name in own_names:
                own.append(declared.name)
            else:
                inherited.append(declared.name)
        own.sort(key=own_names.index)
        return (*own, *inherited)

    @classmethod
    def of(cls, settings: Mapping[str, Setting]) -> Self:
        """Return the settings of an environment as an object of this class.

        Only the keys that this class declares are read, so a class with the keys that several
        backends share reads the environments of all of them.

        Args:
            settings: `Environment.settings`. Each required key must be there; the registry checks
                that before it opens a backend.

        Example:
            >>> settings = {"labels": Setting({"team": "vision"}, "kfgcp.toml [env.dev]")}
            >>> BackendSettings.of(settings).labels
            {'team': 'vision'}
            >>> BackendSettings.of(settings).request_seconds
            120
        """
        values: dict[str, Any] = {}
        for declared in dataclasses.fields(cls):
            if declared.name in settings:
                value = settings[declared.name].value
                values[declared.name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    def validate(self, where: str) -> None:
        """Check the values. Their types were checked before.

        A subclass with checks of its own must also call this method.

        Args:
            where: the table, for messages: `kfgcp.toml [env.dev]`.

        Raises:
            ConfigError: a value is not allowed.
        """
        for key, value in self.labels.items():
            if not isinstance(value, str):
                raise ConfigError(f"{where}: the label {key} must be a text, not {value!r}.")
        if not 1 <= self.request_seconds <= MAX_REQUEST_SECONDS:
            raise ConfigError(f"{where}: request_seconds must be from 1 to {MAX_REQUEST_SECONDS}.")
        read_tables(self.form, self.accelerators, self.secrets, where)
        self._validate_s3(where)

    def _validate_s3(self, where: str) -> None:
        if self.s3_addressing is not None and self.s3_addressing not in S3_ADDRESSING:
            raise ConfigError(
                f"{where}: s3_addressing must be one of {', '.join(S3_ADDRESSING)}, not"
                f" {self.s3_addressing!r}.",
                hint="See docs/guides/buckets.md.",
            )
        if self.s3_endpoint is None:
            return
        scheme, host = parse_address(self.s3_endpoint, f"{where}: s3_endpoint")
        url = urlsplit(self.s3_endpoint)
        if url.username is not None or url.password is not None:
            raise ConfigError(
                f"{where}: s3_endpoint must not have a user name or password.",
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
            )
        # Requests are signed, so nobody on the way can read a secret. But anybody there can read
        # the artifacts.
        if scheme == "http" and host not in LOOPBACK and not host.endswith(CLUSTER_DOMAINS):
            domains = " or ".join(CLUSTER_DOMAINS)
            raise ConfigError(
                f"{where}: plain http is allowed for an s3_endpoint on this machine or inside a"
                f" cluster only, not for {host}.",
                hint=(
                    f"Write https://, or a name of the cluster's own DNS, which ends in {domains}."
                ),
            )


def _is_required(declared: dataclasses.Field[Any]) -> bool:
    has_default = declared.default is not dataclasses.MISSING
    return not has_default and declared.default_factory is dataclasses.MISSING


# Reading type hints is slow, and each environment of a project needs them.
_types_by_class: Final[dict[type[BackendSettings], dict[str, type]]] = {}


def _toml_types(cls: type[BackendSettings]) -> dict[str, type]:
    hints = get_type_hints(cls)
    names = [declared.name for declared in dataclasses.fields(cls)]
    return {name: _toml_type(name, hints[name]) for name in names}


def _toml_type(name: str, hint: object) -> type:
    """Return the type of TOML for a type hint. `X | None`, for an optional key, has the type X."""
    origin = get_origin(hint)
    if origin is tuple:
        return list
    if origin is Mapping:
        return dict
    members = [member for member in get_args(hint) if member is not NoneType]
    if len(members) == 1:
        return _toml_type(name, members[0])
    if not isinstance(hint, type) or hint not in _TYPE_NAMES:
        raise TypeError(f"the key {name} has the type {hint}, which kfgcp.toml does not have")
    return hint


def read_settings(
    table: Mapping[str, Any],
    types: Mapping[str, type],
    where: str,
    prefix: str,
    environ: Mapping[str, str],
) -> dict[str, Setting]:
    """Return the values of a table. An environment variable wins over the file.

    Args:
        table: the table in the file.
        types: the keys that the table may have, and their types.
        where: the name of the table, for messages.
        prefix: the first part of the names of environment variables: `KFGCP_ENV_DEV_`.
        environ: the environment variables.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type.
    """
    check_types(table, types, where)
    settings = {key: Setting(value, where) for key, value in table.items()}
    for key, toml_type in types.items():
        variable = prefix + variable_name(key)
        text = environ.get(variable)
        if text is not None:
            origin = f"environment variable {variable}"
            settings[key] = Setting(_parse(text, toml_type, origin), origin)
    return settings


def variable_name(name: str) -> str:
    """Return the name of an environment or key as a part of the name of an environment variable.

    Example:
        >>> variable_name("my-dev")
        'MY_DEV'
    """
    return name.upper().replace("-", "_")


def check_types(table: Mapping[str, Any], types: Mapping[str, type], where: str) -> None:
    """Check the keys of a table and the types of its values.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type.
    """
    refuse_unknown(table, types, where)
    for key, value in table.items():
        toml_type = types[key]
        # A bool is an int in Python, but not in TOML.
        is_bool_for_int = isinstance(value, bool) and toml_type is not bool
        if is_bool_for_int or not isinstance(value, toml_type):
            raise ConfigError(f"{where}: {key} must be {_TYPE_NAMES[toml_type]}, not {value!r}.")


def refuse_unknown(table: Iterable[str], known: Iterable[str], where: str) -> None:
    """Check that all keys of a table are known.

    Args:
        table: the keys of the table.
        known: the keys that the table may have.
        where: the name of the table, for messages.

    Raises:
        ConfigError: a key is unknown. The hint names the most similar key.
    """
    known_keys = sorted(known)
    for key in table:
        if key not in known_keys:
            hint = f"{did_you_mean(key, known_keys)}Known keys: {', '.join(known_keys)}."
            raise ConfigError(f"{where}: unknown key '{key}'.", hint=hint)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a sentence that names the most similar known word, "" when none is similar.

    Example:
        >>> did_you_mean("projct", ["project", "location"])
        "Did you mean 'project'? "
    """
    # difflib is slow to import, and only errors need it.
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known), n=1)
    return f"Did you mean '{matches[0]}'? " if matches else ""


def _parse(text: str, toml_type: type, origin: str) -> object:
    """Return the value of an environment variable. A list is `a,b`, and a table is `k=v,k=v`."""
    try:
        if toml_type is bool:
            return _BOOLEANS[text.strip().lower()]
        if toml_type is int:
            return int(text)
        if toml_type is list:
            return [entry.strip() for entry in text.split(",") if entry.strip()]
        if toml_type is dict:
            return dict(pair.split("=", 1) for pair in text.split(",") if pair)
    except (ValueError, KeyError):
        expected = _VARIABLE_FORMS.get(toml_type, "K=V,K=V")
        raise ConfigError(f"{origin} is {text!r}, not {expected}.") from None
    return text
