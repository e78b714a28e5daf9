"""Declare the keys of a table of kfgcp.toml as the fields of a dataclass, and read their values.

`BackendSettings` has the keys that every environment has. A backend declares its own keys in a
subclass, and reads them as `MySettings.of(env.settings)`. A field is a key. A field without a
default is required. Types are text, whole numbers, true or false, lists of texts
(`tuple[str, ...]`) and tables of texts (`Mapping[str, str]`).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Final, Self, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from kfgcp.deadlines import REQUEST_SECONDS
from kfgcp.errors import ConfigError
from kfgcp.hosts import CLUSTER_DOMAINS, LOOPBACK, parse_address

# Where the address of an object has its bucket: `ENDPOINT/BUCKET/KEY` or `BUCKET.ENDPOINT/KEY`.
S3_ADDRESSING: Final = ("path", "virtual")

# A day. No request takes longer, and sockets refuse very large numbers.
MAX_REQUEST_SECONDS: Final = 86400

_TRUTH: Final[Mapping[str, bool]] = {"true": True, "false": False}
_TYPE_NAMES: Final[Mapping[type, str]] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
# How an environment variable writes a value; a table is written as K=V,K=V.
_VARIABLE_FORMS: Final[Mapping[type, str]] = {int: "a whole number", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of a key.

    Attributes:
        value: as the file or the environment variable has it.
        origin: where it came from, for messages: `kfgcp.toml [env.dev]`.
    """

    # Its type depends on the key, which the declaration of the backend knows.
    value: Any
    origin: str


@dataclass(frozen=True, kw_only=True)
class BackendSettings:
    """The keys that every environment has. See docs/guides/buckets.md for those of S3.

    Attributes:
        labels: labels of every run in the environment.
        pipeline_root: the bucket or folder for artifacts.
        request_seconds: how long one request to a service may take, with all its retries.
        s3_endpoint: the address of an S3 server that is not Amazon's.
        s3_region: the region of that server.
        s3_addressing: where its addresses have the bucket, `path` or `virtual`.

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

    @classmethod
    def types(cls) -> Mapping[str, type]:
        """Return the type of each key as TOML has it: str, int, bool, list or dict.

        Raises:
            TypeError: a field has a type that a key cannot have.
        """
        if cls not in _TYPES_OF_CLASS:
            _TYPES_OF_CLASS[cls] = _toml_types(cls)
        return _TYPES_OF_CLASS[cls]

    @classmethod
    def required(cls, settings: Mapping[str, Setting]) -> tuple[str, ...]:  # noqa: ARG003 - subclasses use them
        """Return the keys that must be there: by default, the fields without a default.

        The keys that the class itself declares come first, in their order.

        Args:
            settings: the keys that are set. What a subclass requires may depend on them.
        """
        required = [declared.name for declared in dataclasses.fields(cls) if _is_required(declared)]
        own_names = list(inspect.get_annotations(cls))

        def position(name: str) -> int:
            return own_names.index(name) if name in own_names else len(own_names)

        return tuple(sorted(required, key=position))

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
        """Check what the types do not say. A subclass that overrides this calls it, too.

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
        # Requests are signed, so nobody can read a secret on the way, but the artifacts can be
        # read.
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
    return (
        declared.default is dataclasses.MISSING and declared.default_factory is dataclasses.MISSING
    )


# Filled at the first use of a class. `get_type_hints` is slow, and each environment asks.
_TYPES_OF_CLASS: Final[dict[type[BackendSettings], dict[str, type]]] = {}


def _toml_types(cls: type[BackendSettings]) -> dict[str, type]:
    hints = get_type_hints(cls)
    return {
        declared.name: _toml_type(declared.name, hints[declared.name])
        for declared in dataclasses.fields(cls)
    }


def _toml_type(name: str, hint: Any) -> type:
    """Return the type of TOML that a type hint stands for.

    None in a union only says that the key may be missing.

    Raises:
        TypeError: TOML does not have the type.
    """
    choices = [choice for choice in get_args(hint) if choice is not NoneType]
    is_container = get_origin(hint) in (tuple, Mapping)
    if not is_container and len(choices) == 1:
        return _toml_type(name, choices[0])
    containers: dict[Any, type] = {tuple: list, Mapping: dict}
    kind: type = containers.get(get_origin(hint), hint)
    if kind not in _TYPE_NAMES:
        raise TypeError(f"The key {name} has the type {hint}, which kfgcp.toml does not have.")
    return kind


def read_settings(
    table: Mapping[str, Any],
    types: Mapping[str, type],
    where: str,
    prefix: str,
    environ: Mapping[str, str],
) -> dict[str, Setting]:
    """Return the values of a table. Environment variables win over the file.

    Args:
        table: the table as the file has it.
        types: the keys that it may have, and their types.
        where: the table, for messages.
        prefix: the beginning of the names of its environment variables: `KFGCP_ENV_DEV_`.
        environ: the environment variables.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type.
    """
    check_types(table, types, where)
    settings = {key: Setting(value, where) for key, value in table.items()}
    for key, kind in types.items():
        variable = prefix + variable_name(key)
        text = environ.get(variable)
        if text is not None:
            origin = f"environment variable {variable}"
            settings[key] = Setting(_parse(text, kind, origin), origin)
    return settings


def variable_name(name: str) -> str:
    """Return the name of an environment or key as it is written in an environment variable.

    Example:
        >>> variable_name("my-env")
        'MY_ENV'
    """
    return name.upper().replace("-", "_")


def check_types(table: Mapping[str, Any], types: Mapping[str, type], where: str) -> None:
    """Check the keys of a table and the types of its values.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type.
    """
    refuse_unknown(table, types, where)
    for key, value in table.items():
        kind = types[key]
        # A bool is an int in Python, but not in TOML.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ConfigError(f"{where}: {key} must be {_TYPE_NAMES[kind]}, not {value!r}.")


def refuse_unknown(table: Iterable[str], keys: Iterable[str], where: str) -> None:
    """Check that a table has only keys that it may have.

    Raises:
        ConfigError: a key is unknown. The hint names the most similar key.
    """
    known_keys = sorted(keys)
    for key in table:
        if key not in known_keys:
            hint = f"{did_you_mean(key, known_keys)}Known keys: {', '.join(known_keys)}."
            raise ConfigError(f"{where}: unknown key '{key}'.", hint=hint)


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return a sentence with the most similar of some words, and "" when none is similar.

    Example:
        >>> did_you_mean("regoin", ["region", "project"])
        "Did you mean 'region'? "
    """
    from difflib import get_close_matches

    close = get_close_matches(word, list(words), n=1)
    return f"Did you mean '{close[0]}'? " if close else ""


def _parse(text: str, kind: type, origin: str) -> Any:
    """Return the value of an environment variable. A list is `a,b`, and a table is `k=v,k=v`."""
    try:
        if kind is bool:
            return _TRUTH[text.strip().lower()]
        if kind is int:
            return int(text)
        if kind is list:
            return [entry.strip() for entry in text.split(",") if entry.strip()]
        if kind is dict:
            return dict(pair.split("=", 1) for pair in text.split(",") if pair)
    except (ValueError, KeyError):
        expected = _VARIABLE_FORMS.get(kind, "K=V,K=V")
        raise ConfigError(f"{origin} is {text!r}, not {expected}.") from None
    return text
