"""Read all tables [pipeline.X] and [schedule.X] of kfgcp.toml.

A table that is not valid raises its error only when it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kfgcp.config_files import Tables
from kfgcp.config_pipelines import ProjectPipeline, read_pipeline
from kfgcp.config_schedules import ProjectSchedule, read_schedule
from kfgcp.errors import ConfigError


class TableLeftOut(UserWarning):
    """A table of kfgcp.toml is not valid, and the command does not need it."""


@dataclass(frozen=True, slots=True)
class InvalidTable:
    """A table [pipeline.X] or [schedule.X] of kfgcp.toml that is not valid.

    Attributes:
        error: what is wrong.
        envs: the environments that the table names. Empty when it names none of kfgcp.toml.
    """

    error: ConfigError
    envs: tuple[str, ...] = ()

    def may_belong_to(self, env: str) -> bool:
        """Return whether the table is for an environment, or does not say for which it is."""
        return not self.envs or env in self.envs


def read_pipelines(
    tables: Tables, root: Path
) -> tuple[dict[str, ProjectPipeline], dict[str, InvalidTable]]:
    """Return the valid pipelines of the tables [pipeline.X], and the others.

    Args:
        tables: the tables of all files.
        root: the folder of kfgcp.toml.
    """
    pipelines: dict[str, ProjectPipeline] = {}
    invalid: dict[str, InvalidTable] = {}
    for name, table in tables.pipelines.items():
        try:
            file_name = tables.pipeline_files[name]
            pipelines[name] = read_pipeline(name, table, root, file_name, tables.environments)
        except ConfigError as error:
            invalid[name] = InvalidTable(error, _named(table.get("envs"), tables.environments))
    return pipelines, invalid


def read_schedules(
    tables: Tables, root: Path
) -> tuple[dict[str, ProjectSchedule], dict[str, InvalidTable]]:
    """Return the valid schedules of the tables [schedule.X], and the others.

    Args:
        tables: the tables of all files.
        root: the folder of kfgcp.toml.
    """
    schedules: dict[str, ProjectSchedule] = {}
    invalid: dict[str, InvalidTable] = {}
    for name, table in tables.schedules.items():
        where = f"{tables.schedule_files[name]} [schedule.{name}]"
        try:
            schedules[name] = read_schedule(
                name, table, root, where, tables.environments, tables.pipelines
            )
        except ConfigError as error:
            invalid[name] = InvalidTable(error, _named([table.get("env")], tables.environments))
    return schedules, invalid


def warn_invalid(table: InvalidTable) -> None:
    """Warn of a table that is not valid, in a command that does not need it."""
    warnings.warn(f"{table.error.message} The table is left out.", TableLeftOut, stacklevel=2)


def _named(values: object, environments: Collection[str]) -> tuple[str, ...]:
    """Return the environments in the list of a table, () when one of them does not exist."""
    if not isinstance(values, list):
        return ()
    names = tuple(value for value in values if isinstance(value, str) and value in environments)
    return names if len(names) == len(values) else ()
