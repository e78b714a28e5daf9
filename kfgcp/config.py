"""kfgcp.toml as objects: the project, its environments, and where each value came from.

The file is looked for in the current folder and its parents. Without one there is a project with the single
environment `local`. A value is taken from, first to last: the environment variable `KFGCP_ENV_<NAME>_<KEY>`, the
file, the default; of the table [dashboard] likewise, from `KFGCP_DASHBOARD_<KEY>`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kfgcp.deadlines import REQUEST_SECONDS
from kfgcp.errors import ConfigError
from kfgcp.machine import current_folder

FILE_NAME: Final = "kfgcp.toml"
HOME_NAME: Final = ".kfgcp"

_PROJECT_KEYS: Final[Mapping[str, type]] = {"name": str, "experiment": str, "metrics": dict}

GOALS: Final = ("lower", "higher")
"""What may be better of a metric."""

DASHBOARD_KEYS: Final[Mapping[str, type]] = {
    "allow": list,
    "host_names": list,
    "iap_audience": str,
    "iap_keys_url": str,
    "pipelines": list,
    "read_only": bool,
    "sync": list,
    "sync_seconds": int,
}
"""The keys of [dashboard], and their types: docs/guides/dashboard.md."""

_SHARED: Final[Mapping[str, type]] = {
    "backend": str,
    "labels": dict,
    "pipeline_root": str,
    "request_seconds": int,
    "s3_endpoint": str,
    "s3_region": str,
    "s3_addressing": str,
}
_REMOTE: Final[Mapping[str, type]] = {
    "service_account": str,
    "auth": str,
    "token_file": str,
    "impersonate_service_account": str,
    "api_endpoint": str,
    "logging_endpoint": str,
    "artifact_registry_endpoint": str,
}

ENV_KEYS: Final[Mapping[str, Mapping[str, type]]] = {
    "local": {**_SHARED, "max_parallel": int, "container_credentials": bool},
    "vertex": {
        **_SHARED,
        **_REMOTE,
        "project": str,
        "location": str,
        "network": str,
        "psc_network_attachment": str,
        "reserved_ip_ranges": list,
        "encryption_key": str,
        "failure_policy": str,
        "preflight_validations": bool,
        "experiment_tracking": bool,
    },
    "kubeflow": {
        **_SHARED,
        **_REMOTE,
        "host": str,
        "namespace": str,
        "iap_client_id": str,
        "project": str,
        "ca_file": str,
        "kube_context": str,
        "kube_namespace": str,
        "kube_service": str,
    },
}
"""Backend -> the keys an environment of it may have, and their types."""

REQUIRED_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "local": (),
    "vertex": ("project", "location", "pipeline_root"),
    "kubeflow": ("host",),
}

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""Hosts that are this machine: no sign-in is allowed for them alone, plain http for them and inside of a cluster."""

ADDRESSES: Final = ("host", "api_endpoint", "logging_endpoint", "artifact_registry_endpoint")
"""The settings that are addresses of services."""

S3_ADDRESSING: Final = ("path", "virtual")
"""Where the address of an object has its bucket: `ENDPOINT/BUCKET/KEY`, or `BUCKET.ENDPOINT/KEY`."""

CLUSTER_DOMAINS: Final = (".svc", ".svc.cluster.local")
"""How the names of services end inside of a Kubernetes cluster."""

MOST_REQUEST_SECONDS: Final = 86400
"""A day. No request takes longer, and sockets refuse very large numbers."""

_TRUTH: Final[Mapping[str, bool]] = {"true": True, "false": False}

AUTH_MODES: Final = ("google", "iap", "token-file", "in-cluster", "port-forward", "anonymous")
_OWN_CLUSTER: Final = ("iap", "in-cluster", "port-forward")
"""Ways to sign in that only the backend `kubeflow` has."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from, in words: `kfgcp.toml [env.dev]`."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Environment:
    """A named backend with its settings."""

    name: str
    backend: str
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a setting, or `default` when it is not set."""
        setting = self.settings.get(key)
        return default if setting is None else setting.value

    @property
    def request_seconds(self) -> float:
        """How long one request to a service may take, from the sign-in to the last byte, with all its retries."""
        return float(self.get("request_seconds", REQUEST_SECONDS))


@dataclass(frozen=True, slots=True)
class Project:
    """What one kfgcp.toml says. `root` is the folder of the file, `home` the state folder, `dashboard` its table.

    metrics: names of metrics -> `lower` or `higher`, whichever is better.
    """

    name: str
    experiment: str
    root: Path
    home: Path
    file: Path | None
    default_env: str
    environments: Mapping[str, Environment]
    metrics: Mapping[str, str] = field(default_factory=dict)
    dashboard: Mapping[str, Setting] = field(default_factory=dict)

    def env(self, name: str | None = None) -> Environment:
        """The environment of that name, or the default one.

        Raises:
            ConfigError: there is none of that name.
        """
        name = name or self.default_env
        if name not in self.environments:
            known = ", ".join(sorted(self.environments))
            where = self.file.name if self.file else "no kfgcp.toml was found"
            raise ConfigError(
                f"There is no environment '{name}' ({where}).",
                hint=f"{_did_you_mean(name, self.environments)}Environments: {known}. Add one as [env.{name}].",
            )
        return self.environments[name]


def required_keys(env: Environment) -> tuple[str, ...]:
    """The keys that an environment must have to be used."""
    if env.get("auth") in ("port-forward", "in-cluster"):  # kubectl makes the address, or it is the usual one
        return ()
    return REQUIRED_KEYS[env.backend]


def load(start: Path | None = None, environ: Mapping[str, str] | None = None) -> Project:
    """The project of a folder: read from kfgcp.toml there or in a parent.

    Args:
        start: the folder to look in first, the current one by default.
        environ: environment variables, the process's own by default.

    Raises:
        ConfigError: the file cannot be read, or has an unknown key or a value of the wrong type.
    """
    environ = os.environ if environ is None else environ
    start = (start or current_folder()).absolute()
    folder = project_folder(start)
    file = folder / FILE_NAME if folder else None
    root = folder or start
    data = _read(file) if file else {}
    _refuse_unknown(data, ("project", "env", "dashboard"), FILE_NAME)
    project = _table(data, "project")
    _check_types(project, _PROJECT_KEYS, f"{FILE_NAME} [project]")
    tables = {name: _table(_table(data, "env"), name, "env.") for name in _table(data, "env")}
    tables.setdefault("local", {"backend": "local"})
    home = environ.get("KFGCP_HOME")
    return Project(
        name=project.get("name", root.name),
        experiment=project.get("experiment", "default"),
        root=root,
        home=_home(home) if home else root / HOME_NAME,
        file=file,
        default_env=environ.get("KFGCP_ENV") or "local",
        environments={name: _environment(name, table, environ) for name, table in tables.items()},
        metrics=_goals(project.get("metrics", {})),
        dashboard=_dashboard(_table(data, "dashboard"), tables, environ),
    )


def project_folder(start: Path) -> Path | None:
    """Return the folder of the kfgcp.toml that belongs to an absolute folder, None when there is none.

    The file is in that folder or in the nearest one above it. It is not read.
    """
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder
    return None


def _goals(metrics: Mapping[str, Any]) -> Mapping[str, str]:
    for name, goal in metrics.items():
        if goal not in GOALS:
            raise ConfigError(
                f"{FILE_NAME} [project]: of the metric {name} {goal!r} cannot be better.",
                hint=f"Write one of: {', '.join(GOALS)}.",
            )
    return metrics


def _home(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ConfigError(f"KFGCP_HOME is {text!r}, but there is no such user.") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}.", hint="See README.md for an example.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from None


def _table(data: Mapping[str, Any], key: str, prefix: str = "") -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{FILE_NAME}: {prefix}{key} must be a table.", hint=f"Write [{prefix}{key}].")
    return value


def _environment(name: str, table: Mapping[str, Any], environ: Mapping[str, str]) -> Environment:
    where = f"{FILE_NAME} [env.{name}]"
    prefix = f"KFGCP_ENV_{_variable(name)}_"
    backend = environ.get(f"{prefix}BACKEND", table.get("backend"))
    if not isinstance(backend, str) or backend not in ENV_KEYS:
        said = "has no backend" if backend is None else f"has the unknown backend '{backend}'"
        raise ConfigError(f"{where} {said}.", hint=f"backend is one of: {', '.join(ENV_KEYS)}.")
    keys = ENV_KEYS[backend]
    settings = _settings(table, keys, where, prefix, environ)
    settings.pop("backend", None)
    environment = Environment(name, backend, settings)
    _check_values(environment, where)
    return environment


def _dashboard(
    table: Mapping[str, Any], environments: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Setting]:
    where = f"{FILE_NAME} [dashboard]"
    settings = _settings(table, DASHBOARD_KEYS, where, "KFGCP_DASHBOARD_", environ)
    for key in ("allow", "host_names", "pipelines", "sync"):
        for entry in settings[key].value if key in settings else ():
            if not isinstance(entry, str):
                raise ConfigError(f"{where}: {key} holds {entry!r}, not a text.")
    for name in settings["sync"].value if "sync" in settings else ():
        if name not in environments:
            known = ", ".join(sorted(environments))
            raise ConfigError(
                f"{where}: sync names the environment '{name}', which is not there.",
                hint=f"{_did_you_mean(name, environments)}Environments: {known}.",
            )
    for name in settings["host_names"].value if "host_names" in settings else ():
        from kfgcp.cross_site import parse_authority

        if parse_authority(name) is None:
            raise ConfigError(
                f"{where}: host_names has {name!r}, which is not a host name.",
                hint='Write names as in "dash.acme.example" or "localhost:9000", without http:// and without a path.',
            )
    if "sync_seconds" in settings and settings["sync_seconds"].value < 1:
        raise ConfigError(f"{where}: sync_seconds must be at least 1.")
    if "iap_keys_url" in settings:
        scheme, host = _address(settings["iap_keys_url"].value, f"{where}: iap_keys_url")
        if scheme == "http" and host not in LOOPBACK:
            raise ConfigError(f"{where}: plain http is allowed for a loopback iap_keys_url only, not for {host}.")
    return settings


def _settings(
    table: Mapping[str, Any], keys: Mapping[str, type], where: str, prefix: str, environ: Mapping[str, str]
) -> dict[str, Setting]:
    """The values of a table; environment variables win."""
    _check_types(table, keys, where)
    settings = {key: Setting(value, where) for key, value in table.items()}
    for key, kind in keys.items():
        text = environ.get(prefix + _variable(key))
        if text is not None:
            origin = f"environment variable {prefix}{_variable(key)}"
            settings[key] = Setting(_parse(text, kind, origin), origin)
    return settings


def _variable(text: str) -> str:
    return text.upper().replace("-", "_")


def _parse(text: str, kind: type, origin: str) -> Any:
    """The value of an environment variable: text, a whole number, `true` or `false`, `a,b` for a list, or `k=v,k=v` for
    a table."""
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
        expected = {int: "a whole number", bool: "true or false"}.get(kind, "K=V,K=V")
        raise ConfigError(f"{origin} is {text!r}, not {expected}.") from None
    return text


def _check_types(table: Mapping[str, Any], keys: Mapping[str, type], where: str) -> None:
    _refuse_unknown(table, keys, where)
    names = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}
    for key, value in table.items():
        kind = keys[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ConfigError(f"{where}: {key} must be {names[kind]}, not {value!r}.")


def _check_values(environment: Environment, where: str) -> None:
    auth = environment.get("auth")
    if auth is not None and auth not in AUTH_MODES:
        raise ConfigError(f"{where}: auth is {auth!r}.", hint=f"auth is one of: {', '.join(AUTH_MODES)}.")
    if auth in _OWN_CLUSTER and environment.backend != "kubeflow":
        raise ConfigError(f'{where}: auth = "{auth}" is for the backend kubeflow, not for {environment.backend}.')
    if auth == "port-forward" and environment.get("host") is not None:
        raise ConfigError(
            f'{where}: auth = "port-forward" makes its own address, so there must be no host.',
            hint="Remove host, or forward the port by yourself and set auth to anonymous.",
        )
    if environment.get("max_parallel", 1) < 1:
        raise ConfigError(f"{where}: max_parallel must be at least 1.")
    if not 1 <= environment.get("request_seconds", 1) <= MOST_REQUEST_SECONDS:
        raise ConfigError(f"{where}: request_seconds must be from 1 to {MOST_REQUEST_SECONDS}.")
    _check_s3(environment, where)
    policy = environment.get("failure_policy")
    if policy not in (None, "slow", "fast"):
        raise ConfigError(f"{where}: failure_policy is {policy!r}.", hint="failure_policy is one of: slow, fast.")
    root = environment.get("pipeline_root", "gs://")
    if environment.backend == "vertex" and not root.startswith("gs://"):
        raise ConfigError(
            f"{where}: pipeline_root is {root!r}, not in Cloud Storage.", hint="Write gs://BUCKET/FOLDER."
        )
    for range_name in environment.get("reserved_ip_ranges") or ():
        if not isinstance(range_name, str):
            raise ConfigError(f"{where}: reserved_ip_ranges holds {range_name!r}, not a text.")
    for key, value in (environment.get("labels") or {}).items():
        if not isinstance(value, str):
            raise ConfigError(f"{where}: label {key} must be a text, not {value!r}.")
    hosts = {key: environment.get(key) for key in ADDRESSES if environment.get(key) is not None}
    for key, text in hosts.items():
        scheme, host = _address(text, f"{where}: {key}")
        if host in LOOPBACK or (auth == "in-cluster" and key == "host" and host.endswith(CLUSTER_DOMAINS)):
            continue
        if scheme == "http" or auth == "anonymous":
            what = "plain http" if scheme == "http" else 'auth = "anonymous"'
            raise ConfigError(
                f"{where}: {what} is allowed for a loopback {key} only, not for {host}.",
                hint=f"A service of the pod's own cluster ({', '.join(f'*{end}' for end in CLUSTER_DOMAINS)}) may be "
                'used over http with auth = "in-cluster".'
                if scheme == "http" and environment.backend == "kubeflow"
                else "",
            )
    if auth == "anonymous" and not hosts:
        raise ConfigError(f'{where}: auth = "anonymous" is allowed for a loopback api_endpoint only.')


def is_loopback(address: str | None) -> bool:
    """Return whether an address is one of this machine, as that of a stand-in is."""
    return address is not None and urlsplit(address).hostname in LOOPBACK


def _check_s3(environment: Environment, where: str) -> None:
    addressing = environment.get("s3_addressing")
    if addressing not in (None, *S3_ADDRESSING):
        raise ConfigError(
            f"{where}: s3_addressing is {addressing!r}.", hint=f"s3_addressing is one of: {', '.join(S3_ADDRESSING)}."
        )
    endpoint = environment.get("s3_endpoint")
    if endpoint is None:
        return
    scheme, host = _address(endpoint, f"{where}: s3_endpoint")
    url = urlsplit(endpoint)
    if url.username is not None or url.password is not None:
        raise ConfigError(
            f"{where}: s3_endpoint must not have a user name or password.",
            hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
        )
    # Requests are signed, so no secret can be read on the way, but the artifacts can.
    if scheme == "http" and host not in LOOPBACK and not host.endswith(CLUSTER_DOMAINS):
        raise ConfigError(
            f"{where}: plain http is allowed for an s3_endpoint on this machine or inside a cluster only, not for"
            f" {host}.",
            hint=f"Write https://, or a name of the cluster's own DNS, which ends in {' or '.join(CLUSTER_DOMAINS)}.",
        )


def _address(text: str, what: str) -> tuple[str, str]:
    """Scheme and host of a URL."""
    try:
        url = urlsplit(text)
        if url.scheme in ("http", "https") and url.hostname:
            return url.scheme, url.hostname
    except ValueError:  # half of an IPv6 address
        pass
    raise ConfigError(f"{what} is {text!r}, not a URL.", hint="Write https://HOST or https://HOST:PORT.")


def _refuse_unknown(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = sorted(known)
    for key in table:
        if key not in known:
            hint = f"{_did_you_mean(key, known)}Known keys: {', '.join(known)}."
            raise ConfigError(f"{where}: unknown key '{key}'.", hint=hint)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1)
    return f"Did you mean '{close[0]}'? " if close else ""
