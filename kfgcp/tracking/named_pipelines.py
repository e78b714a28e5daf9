"""Load the pipelines that kfgcp.toml declares as [pipeline.X], and find the values of their params.

A later set of parameters overrides the sets before it: the table itself, the table of the
environment, the parameters of the smoke run, and what the user gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from kfgcp.backends.registry import runs_here
from kfgcp.config import Environment, Project
from kfgcp.config_pipelines import ParamSet, ProjectPipeline
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.errors import ConfigError, UsageError
from kfgcp.settings import did_you_mean
from kfgcp.spec import params as spec_params
from kfgcp.spec.load import Spec, load
from kfgcp.spec.source import display_path

EXAMPLE_TIME: Final = "2026-03-01T06:00:00Z"
"""A due time as a schedule gives it to `time_param`."""


def load_named_pipeline(project: Project, name: str, env: str | None) -> Spec:
    """Load and check a pipeline of kfgcp.toml.

    Args:
        project: the project.
        name: the name of the pipeline.
        env: the environment whose sign-in reads Artifact Registry.

    Raises:
        ConfigError: kfgcp.toml lacks the pipeline, its table is not valid, or its source does not
            exist.
        SpecError: it does not compile or is not a valid spec.
        BackendError: Artifact Registry refused it or cannot be reached.
    """
    entry = project.pipeline(name)
    try:
        spec = _load_source(project, entry, env)
    except ConfigError:
        raise
    except UsageError as error:
        raise ConfigError(f"{entry.origin}: source: {error.message}", hint=error.hint) from None
    return replace(spec, entry=entry)


def entry_of_file(project: Project, pipeline: str) -> ProjectPipeline | None:
    """Return the table [pipeline.X] of a pipeline that is given by its file.

    Args:
        project: the project.
        pipeline: `file.py`, `file.py:function`, or a compiled file.

    Returns:
        None when no table has this file, or when several tables have it: then only a name can
        choose one of them.
    """
    file, function = _split_source(Path.cwd(), pipeline)
    entries = []
    for entry in project.pipelines.values():
        if "://" in entry.source:
            continue
        entry_file, entry_function = _split_source(entry.folder, entry.source)
        is_same_function = not function or not entry_function or function == entry_function
        if file == entry_file and is_same_function:
            entries.append(entry)
    return entries[0] if len(entries) == 1 else None


def _split_source(folder: Path, source: str) -> tuple[Path, str]:
    """Return the absolute file of a pipeline, and the name of its function or ""."""
    file, colon, function = source.rpartition(":")
    # A name of a file may have a colon too.
    if colon and function.isidentifier():
        return (folder / file).resolve(), function
    return (folder / source).resolve(), ""


def _load_source(project: Project, entry: ProjectPipeline, env: str | None) -> Spec:
    if "://" in entry.source:
        from kfgcp.backends.vertex.templates import is_template, load_template

        if is_template(entry.source):
            return load_template(entry.source, project.env(env))
    # A shown path is relative to the current folder where possible, so `load` finds the file.
    return load(str(display_path(entry.folder / entry.source)))


def check_environment(entry: ProjectPipeline, environment: Environment) -> None:
    """Check that a pipeline is for an environment. It may always run on this machine.

    Raises:
        ConfigError: the key `envs` of the pipeline does not have the environment.
    """
    is_listed = not entry.envs or environment.name in entry.envs
    if is_listed or runs_here(environment.backend):
        return
    raise ConfigError(
        f"The pipeline '{entry.name}' is not for the environment '{environment.name}'"
        f" ({entry.origin}: envs).",
        hint=f"Its environments: {', '.join(entry.envs)}. Add '{environment.name}' to envs, or"
        " choose another environment with --env.",
    )


def collect_values(
    spec: Spec, env: str, values: Mapping[str, object], *, smoke: bool = False
) -> Mapping[str, object]:
    """Return the values of parameters for a run: those of kfgcp.toml, and the user's over them.

    Args:
        spec: the pipeline. Without an entry in kfgcp.toml, only the user's values count.
        env: the name of the environment.
        values: the values that the user gave, by the names of parameters. A relative path of an
            artifact starts from the current folder. In kfgcp.toml it starts from the folder of the
            file.
        smoke: use the parameters of the smoke run too.

    Raises:
        UsageError: `smoke` is set, and the pipeline is not one of kfgcp.toml.
        ConfigError: `smoke` is set, and its table has no such parameters.
        ParamError: a value in kfgcp.toml is of the wrong type, or its parameter is unknown.
    """
    entry = spec.entry
    if entry is None:
        if smoke:
            raise UsageError(
                "Only a pipeline of kfgcp.toml has smoke parameters.",
                hint="Declare it as [pipeline.X] with smoke = { … }, and give its name: X.",
            )
        return values
    collected: dict[str, object] = {}
    for param_set in entry.param_sets(env, smoke=smoke):
        collected |= _checked_values(spec, param_set, entry.folder)
    return collected | spec_params.with_absolute_paths(spec.params, values)


def check_param_sets(spec: Spec) -> None:
    """Check all sets of parameters of a pipeline of kfgcp.toml.

    Raises:
        ParamError: a value is of the wrong type, or its parameter is unknown. The message names the
            table.
    """
    if spec.entry is None:
        return
    for param_set in spec.entry.all_param_sets():
        _checked_values(spec, param_set, spec.entry.folder)


def check_schedules(project: Project, spec: Spec) -> None:
    """Check the parameters of the schedules of a pipeline of kfgcp.toml.

    A schedule of another version, `churn@main`, can have other parameters, and is left out.

    Raises:
        ConfigError: `time_param` is not a parameter.
        ParamError: a value is of the wrong type, or its parameter is unknown. The message names the
            table.
    """
    if spec.entry is None:
        return
    for schedule in project.schedules.values():
        if schedule.pipeline == spec.entry.name:
            check_schedule(spec, schedule)


def check_schedule(spec: Spec, schedule: ProjectSchedule) -> None:
    """Check the parameters of a schedule of a pipeline.

    Raises:
        ConfigError: `time_param` is not a parameter.
        ParamError: a value is of the wrong type, or its parameter is unknown. The message names the
            table.
    """
    schedule_values(spec, schedule)
    time_param = schedule.time_param
    if time_param is None:
        return
    if time_param not in spec.params:
        names = ", ".join(spec.params)
        raise ConfigError(
            f"{schedule.origin}: time_param is '{time_param}', which is not a parameter of"
            f" '{schedule.pipeline}'.",
            hint=f"{did_you_mean(time_param, spec.params)}Parameters: {names}.",
        )
    spec_params.resolve_known(
        spec.params, {time_param: EXAMPLE_TIME}, subject=f"{schedule.origin} time_param"
    )


def schedule_values(spec: Spec, schedule: ProjectSchedule) -> dict[str, object]:
    """Return the values in `params` of a schedule. Relative paths start from its kfgcp.toml.

    Raises:
        ParamError: a value is of the wrong type, or its parameter is unknown. The message names the
            table.
    """
    return _checked_values(spec, schedule.params, schedule.folder)


def _checked_values(spec: Spec, param_set: ParamSet, folder: Path) -> dict[str, object]:
    values = {name: setting.value for name, setting in param_set.values.items()}
    # This call only checks the values. The run resolves them later, with those of the user.
    spec_params.resolve_known(spec.params, values, subject=param_set.origin)
    return spec_params.with_absolute_paths(spec.params, values, folder)
