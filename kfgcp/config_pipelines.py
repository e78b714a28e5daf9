"""Read the tables [pipeline.X] of kfgcp.toml: the pipelines that a project declares by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kfgcp.errors import ConfigError
from kfgcp.settings import Setting, TomlTable, check_types, did_you_mean

PIPELINE_KEYS: Final[Mapping[str, type]] = {
    "source": str,
    "envs": list,
    "params": dict,
    "smoke": dict,
    "tags": list,
    "env": dict,
}
_ENV_KEYS: Final[Mapping[str, type]] = {"params": dict}

# A name has no dot, slash or colon, so it can never be the name of a pipeline's file, the address
# of a template or a version such as `sha256:1a2b3c4d`.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class ParamSet:
    """Values of parameters that one table of kfgcp.toml has.

    Attributes:
        values: name of the parameter -> value with its origin.
        origin: the table, for messages: `kfgcp.toml [pipeline.churn] params`.
    """

    values: Mapping[str, Setting]
    origin: str


@dataclass(frozen=True, slots=True)
class ProjectPipeline:
    """A pipeline that kfgcp.toml declares.

    Attributes:
        name: its name, `churn` for [pipeline.churn].
        source: the pipeline as the file names it: `pipelines/churn.py:churn`.
        folder: the folder of kfgcp.toml. Relative paths start there.
        origin: the table, for messages: `kfgcp.toml [pipeline.churn]`.
        envs: the names of the environments it is for; empty for all environments.
        params: its parameters in all environments.
        smoke: the parameters of its smoke run, None without one.
        env_params: the name of an environment -> its parameters there.
        tags: the version tags that `apply` sets.
    """

    name: str
    source: str
    folder: Path
    origin: str
    envs: tuple[str, ...]
    params: ParamSet
    smoke: ParamSet | None
    env_params: Mapping[str, ParamSet]
    tags: tuple[str, ...] = ()

    def param_sets(self, env: str, *, smoke: bool = False) -> list[ParamSet]:
        """Return the sets of parameters for a run. A later set overrides the sets before it.

        Args:
            env: the name of the environment.
            smoke: also use the parameters of the smoke run.

        Raises:
            ConfigError: `smoke` is set, and the table has no such parameters.
        """
        sets = [self.params]
        if env in self.env_params:
            sets.append(self.env_params[env])
        if smoke:
            if self.smoke is None:
                raise ConfigError(
                    f"{self.origin} has no smoke parameters.",
                    hint="Write the parameters of a short run: smoke = { rows = 100 }",
                )
            sets.append(self.smoke)
        return sets

    def all_param_sets(self) -> list[ParamSet]:
        """Return all sets of parameters of the table, in the order of the documentation."""
        sets = [self.params] + list(self.env_params.values())
        if self.smoke is not None:
            sets.append(self.smoke)
        return sets


def is_pipeline_name(text: str) -> bool:
    """Return whether a text has the form of a pipeline's name in kfgcp.toml.

    Example:
        >>> is_pipeline_name("churn-daily"), is_pipeline_name("churn.py"), is_pipeline_name("a/b")
        (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


def read_pipeline(
    name: str, table: TomlTable, folder: Path, file_name: str, environments: Collection[str]
) -> ProjectPipeline:
    """Return the pipeline of a table [pipeline.X].

    Args:
        name: the name of the pipeline.
        table: its table.
        folder: the folder of kfgcp.toml.
        file_name: the file with the table, for messages.
        environments: the names of all environments, also of those that are not valid.

    Raises:
        ConfigError: the name is not allowed, a key is unknown, a value has the wrong type, `source`
            is missing, or an environment does not exist.
    """
    where = f"{file_name} [pipeline.{name}]"
    if not is_pipeline_name(name):
        raise ConfigError(
            f"{where}: {name!r} cannot be the name of a pipeline.",
            hint="Use letters, digits, - and _, and begin with a letter or digit.",
        )
    check_types(table, PIPELINE_KEYS, where)
    source = table.get("source", "")
    if not source.strip():
        raise ConfigError(
            f"{where} has no source.", hint='Write source = "pipelines/churn.py:churn".'
        )
    envs = _read_envs(table.get("envs", []), where, environments)
    env_params = {}
    for env, env_table in table.get("env", {}).items():
        env_where = f"{file_name} [pipeline.{name}.env.{env}]"
        if not isinstance(env_table, dict):
            raise ConfigError(f"{where}: env.{env} must be a table, not {env_table!r}.")
        check_environment(env, environments, env_where)
        check_types(env_table, _ENV_KEYS, env_where)
        env_params[env] = read_param_set(env_table.get("params", {}), f"{env_where} params")
    smoke = table.get("smoke")
    return ProjectPipeline(
        name=name,
        source=source,
        folder=folder,
        origin=where,
        envs=envs,
        params=read_param_set(table.get("params", {}), f"{where} params"),
        smoke=None if smoke is None else read_param_set(smoke, f"{where} smoke"),
        env_params=env_params,
        tags=_read_tags(table.get("tags", []), where),
    )


def _read_tags(tags: Iterable[object], where: str) -> tuple[str, ...]:
    names = []
    for tag in tags:
        if not isinstance(tag, str) or not tag.strip():
            raise ConfigError(
                f"{where}: tags contains {tag!r}, which is not a text.",
                hint='Write the names of version tags: tags = ["main"]',
            )
        names.append(tag)
    return tuple(names)


def _read_envs(
    envs: Iterable[object], where: str, environments: Collection[str]
) -> tuple[str, ...]:
    names = []
    for env in envs:
        if not isinstance(env, str):
            raise ConfigError(f"{where}: envs contains {env!r}, which is not a text.")
        check_environment(env, environments, f"{where}: envs")
        names.append(env)
    return tuple(names)


def check_environment(env: str, environments: Collection[str], where: str) -> None:
    """Check that kfgcp.toml has an environment.

    Args:
        env: its name.
        environments: the names of all environments.
        where: the table that names the environment, for messages.

    Raises:
        ConfigError: kfgcp.toml does not have it.
    """
    if env not in environments:
        names = ", ".join(sorted(environments))
        raise ConfigError(
            f"{where} names the environment '{env}', which kfgcp.toml does not have.",
            hint=f"{did_you_mean(env, environments)}Environments: {names}.",
        )


def read_param_set(values: TomlTable, origin: str) -> ParamSet:
    """Return the values of a table of parameters with their origin."""
    settings = {name: Setting(value, origin) for name, value in values.items()}
    return ParamSet(settings, origin)
