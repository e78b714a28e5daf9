"""Read the tables [schedule.X] of kfgcp.toml: when the project's pipelines run by themselves."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kfgcp.config_pipelines import ParamSet, check_environment, is_pipeline_name, read_param_set
from kfgcp.errors import ConfigError, UsageError
from kfgcp.settings import TomlTable, check_types, did_you_mean

if TYPE_CHECKING:
    from kfgcp.cron import Timetable

SCHEDULE_KEYS: Final[Mapping[str, type]] = {
    "pipeline": str,
    "env": str,
    "cron": str,
    "every": str,
    "time_zone": str,
    "params": dict,
    "time_param": str,
    "catch_up": bool,
    "max_active": int,
    "paused": bool,
}

# The name is the value of a label of each run. Labels of Google Cloud have at most 63 lower-case
# characters, and so the name also fits into the 128 characters of names on Vertex AI and Kubeflow.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

# Kubeflow Pipelines allows at most 10 runs at the same time
# (kubeflow/pipelines:backend/src/apiserver/server/api_converter.go, toModelJob).
MAX_ACTIVE: Final = 10


@dataclass(frozen=True, slots=True)
class ProjectSchedule:
    """A schedule that kfgcp.toml declares.

    Attributes:
        name: its name, `churn-daily` for [schedule.churn-daily].
        pipeline: the pipeline as the file names it: `churn`, `churn@main` or `churn@sha256:…`. The
            name is that of the table [pipeline.X].
        env: the name of its environment.
        cron: its cron expression, None with an interval.
        every_seconds: its interval in seconds, None with a cron expression.
        time_zone: the IANA name of its zone.
        params: the parameters of its runs, over those of the pipeline.
        time_param: the parameter that receives the due time, None without one.
        catch_up: start a run for each missed due time. Otherwise only for the latest one.
        max_active: how many of its runs may run at the same time.
        paused: it starts nothing.
        origin: the table, for messages: `kfgcp.toml [schedule.churn-daily]`.
        folder: the folder of kfgcp.toml.
        every: its interval as kfgcp.toml has it, `6h`; None with a cron expression.
    """

    name: str
    pipeline: str
    env: str
    cron: str | None
    every_seconds: int | None
    time_zone: str
    params: ParamSet
    time_param: str | None
    catch_up: bool
    max_active: int
    paused: bool
    origin: str
    folder: Path
    every: str | None = None

    @property
    def timetable(self) -> Timetable:
        """When the schedule is due."""
        # Imported late, because each command reads kfgcp.toml.
        from kfgcp.cron import Timetable

        every = None if self.every_seconds is None else f"{self.every_seconds}s"
        return Timetable.parse(cron=self.cron, every=every, time_zone=self.time_zone)


def read_schedule(
    name: str,
    table: TomlTable,
    folder: Path,
    where: str,
    environments: Collection[str],
    pipelines: Collection[str],
) -> ProjectSchedule:
    """Return the schedule of a table [schedule.X].

    Args:
        name: the name of the schedule.
        table: its table.
        folder: the folder of kfgcp.toml.
        where: the table, for messages: `kfgcp.toml [schedule.churn-daily]`.
        environments: the names of all environments, also of those that are not valid.
        pipelines: the names of all pipelines, also of those that are not valid.

    Raises:
        ConfigError: the name is not allowed, a key is unknown or missing, or a value is not valid.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where}: {name!r} cannot be the name of a schedule.",
            hint="Use at most 63 lower-case letters, digits, - and _, and begin with a letter or"
            " digit.",
        )
    check_types(table, SCHEDULE_KEYS, where)
    env = _required(table, "env", where, '"prod"')
    check_environment(env, environments, where)
    max_active = table.get("max_active", 1)
    if not 1 <= max_active <= MAX_ACTIVE:
        raise ConfigError(
            f"{where}: max_active is {max_active}, which is not between 1 and {MAX_ACTIVE}.",
            hint="Write how many runs of the schedule may run at the same time: max_active = 1",
        )
    params = read_param_set(table.get("params", {}), f"{where} params")
    time_param = table.get("time_param")
    if time_param is not None and time_param in params.values:
        raise ConfigError(
            f"{where}: the parameter '{time_param}' is in params and is time_param too.",
            hint=f"Remove '{time_param}' from params: it receives the due time.",
        )
    timetable = _read_timetable(table, where)
    return ProjectSchedule(
        name=name,
        pipeline=_read_pipeline(table, where, pipelines),
        env=env,
        cron=table.get("cron"),
        every_seconds=timetable.every_seconds,
        time_zone=timetable.time_zone,
        params=params,
        time_param=time_param,
        catch_up=table.get("catch_up", False),
        max_active=max_active,
        paused=table.get("paused", False),
        origin=where,
        folder=folder,
        every=table.get("every"),
    )


def _read_timetable(table: TomlTable, where: str) -> Timetable:
    # Imported late, because most projects have no schedule.
    from kfgcp.cron import Timetable

    try:
        return Timetable.parse(
            cron=table.get("cron"),
            every=table.get("every"),
            time_zone=table.get("time_zone", "UTC"),
        )
    except UsageError as error:
        raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None


def _read_pipeline(table: TomlTable, where: str, pipelines: Collection[str]) -> str:
    pipeline = _required(table, "pipeline", where, '"churn"')
    name, separator, version = pipeline.partition("@")
    if not is_pipeline_name(name) or (separator and not version):
        raise ConfigError(
            f"{where}: pipeline is {pipeline!r}, which is not the name of a pipeline.",
            hint="Name a [pipeline.X], or one of its versions: X, X@main, X@sha256:…, X@latest.",
        )
    if name not in pipelines:
        names = ", ".join(sorted(pipelines))
        all_names = f"Pipelines: {names}. " if names else ""
        raise ConfigError(
            f"{where} names the pipeline '{name}', which kfgcp.toml does not have.",
            hint=f"{did_you_mean(name, pipelines)}{all_names}Add it as [pipeline.{name}].",
        )
    return pipeline


def _required(table: TomlTable, key: str, where: str, example: str) -> str:
    value: str = table.get(key, "").strip()
    if not value:
        raise ConfigError(f"{where} has no {key}.", hint=f"Write {key} = {example}.")
    return value
