"""Load what kfgcp.toml declares for an environment: pipelines to push, and schedules."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kfgcp.backends.base import SubmitRequest
from kfgcp.backends.registry import runs_here
from kfgcp.backends.schedules import DesiredSchedule
from kfgcp.backends.versions import RegisteredVersion, VersionUpload
from kfgcp.config import Environment, Project
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.config_tables import warn_invalid
from kfgcp.deploy.images.pins import pin_images, require_pinned_images, stand_in_notes
from kfgcp.deploy.plan.pipelines import DesiredPipeline
from kfgcp.deploy.versions.names import check_pipeline_name, check_tag
from kfgcp.deploy.versions.push import Push
from kfgcp.errors import ConfigError, UsageError
from kfgcp.labels import label_value, pipeline_labels
from kfgcp.options import RunOptions
from kfgcp.settings import did_you_mean
from kfgcp.spec import params as spec_params
from kfgcp.spec.load import Spec
from kfgcp.spec.registered import RegisteredRef
from kfgcp.spec.write import to_yaml
from kfgcp.tracking import named_pipelines
from kfgcp.tracking.registries import sent_spec


@dataclass(frozen=True, slots=True)
class Selection:
    """The tables of kfgcp.toml that belong to an environment.

    Attributes:
        env: the environment.
        names: the names that the user gave; empty for everything.
        pipelines: the names of the pipelines to push.
        schedules: the schedules of its service. Empty for an environment on this machine, where
            `kfgcp schedule tick` reads kfgcp.toml.
        destroys: whether the schedules of the project are deleted.
    """

    env: Environment
    names: tuple[str, ...]
    pipelines: tuple[str, ...]
    schedules: tuple[ProjectSchedule, ...]
    destroys: bool = False

    def takes(self, name: str) -> bool:
        """Return whether the user asked for this name, or for everything."""
        return not self.names or name in self.names


@dataclass(frozen=True, slots=True)
class LoadedPipeline:
    """A compiled pipeline of kfgcp.toml.

    Attributes:
        spec: the pipeline.
        sent: the pipeline as the environment runs it.
        desired: what to push. None when a schedule needs only the name of the pipeline, because it
            runs a version such as `churn@v1`.
        notes: what to know about the pipeline in this environment.
    """

    spec: Spec
    sent: Spec
    desired: DesiredPipeline | None
    notes: tuple[str, ...] = ()


def select(project: Project, env: str | None, names: Sequence[str]) -> Selection:
    """Return the tables of kfgcp.toml that belong to an environment.

    These are the pipelines whose key `envs` names the environment, its schedules, and the pipelines
    that these schedules run. A pipeline without `envs` belongs to each environment, but is pushed
    only when a schedule runs it or the user names it.

    Args:
        project: the project.
        env: the name of the environment, the default one when None.
        names: only the pipelines and schedules with these names, and the pipelines of these
            schedules; all when empty.

    Raises:
        ConfigError: there is no such environment, or a table is not valid.
    """
    environment = project.env(env)
    _check_tables(project, environment.name, names)
    has_service = not runs_here(environment.backend)
    schedules = [
        schedule
        for schedule in project.schedules.values()
        if has_service and schedule.env == environment.name
    ]
    pipelines = [
        entry.name for entry in project.pipelines.values() if environment.name in entry.envs
    ]
    if names:
        schedules = [schedule for schedule in schedules if schedule.name in names]
        pipelines = [name for name in project.pipelines if name in names]
    for schedule in schedules:
        if "@" not in schedule.pipeline:
            pipelines.append(schedule.pipeline)
    unique_pipelines = tuple(dict.fromkeys(pipelines))
    for name in unique_pipelines:
        named_pipelines.check_environment(project.pipeline(name), environment)
    return Selection(environment, tuple(names), unique_pipelines, tuple(schedules))


def require_project_name(project: Project, env: Environment) -> None:
    """Check that kfgcp.toml names the project, when it is deployed to a service.

    The name is in the marker of each schedule. With the name of the folder, a checkout in another
    folder would be another project, and its schedules would run beside the first ones.

    Raises:
        ConfigError: the name is missing.
    """
    if project.has_own_name or runs_here(env.backend):
        return
    where = project.file.name if project.file is not None else "kfgcp.toml"
    raise ConfigError(
        f"{where} does not name the project, and kfgcp marks everything that it deploys to"
        f" '{env.name}' with this name.",
        hint=f"Add this line to its table [project]: name = {json.dumps(project.name)}",
    )


def _check_tables(project: Project, env: str, names: Sequence[str]) -> None:
    """Raise the error of a table that is not valid, and warn of such a table of other environments.

    A table that does not name its environment may belong to this one. So it is an error too, unless
    the user gives other names.
    """
    for name, table in project.invalid_pipelines.items():
        if name in names or (not names and table.may_belong_to(env)):
            project.pipeline(name)
        elif not names:
            warn_invalid(table)
    for name, table in project.invalid_schedules.items():
        if name in names or (not names and table.may_belong_to(env)):
            project.schedule(name)
        elif not names:
            warn_invalid(table)


def unknown_name(project: Project, selection: Selection, name: str) -> UsageError:
    """Return the error for a name that neither kfgcp.toml nor the service has."""
    env = selection.env.name
    if name in project.schedules:
        other = project.schedules[name].env
        if other != env:
            return _in_other_environment(name, env, other)
        return UsageError(
            f"The environment '{other}' is on this machine, so its schedule '{name}' is not"
            " deployed.",
            hint="Start its due runs with: kfgcp schedule tick",
        )
    names = sorted(project.pipelines.keys() | project.schedules.keys())
    return ConfigError(
        f"kfgcp.toml has no pipeline or schedule '{name}', and the environment '{env}' has no"
        f" schedule '{name}' of this project.",
        hint=f"{did_you_mean(name, names)}Names: {', '.join(names)}.",
    )


def unknown_schedule(
    project: Project, selection: Selection, name: str, existing: Sequence[str]
) -> UsageError:
    """Return the error for a name without a schedule that can be deleted.

    Args:
        project: the project.
        selection: what is deleted.
        name: the name that the user gave.
        existing: the names of the schedules that can be deleted.
    """
    env = selection.env.name
    if name in project.schedules and project.schedules[name].env != env:
        return _in_other_environment(name, env, project.schedules[name].env)
    listing = f"'{env}' has no schedules of this project."
    if existing:
        listing = f"Schedules in '{env}': {', '.join(existing)}."
    if name in project.pipelines and name not in project.schedules:
        return UsageError(
            f"'{name}' is a pipeline, and only schedules are deleted.",
            hint=listing,
        )
    return UsageError(
        f"The environment '{env}' has no schedule '{name}' of this project, so there is nothing to"
        " delete.",
        hint=f"{did_you_mean(name, existing)}{listing}",
    )


def _in_other_environment(name: str, env: str, other: str) -> UsageError:
    return UsageError(
        f"The schedule '{name}' is not in the environment '{env}', but in '{other}'.",
        hint=f"Name this environment: --env {other}",
    )


def load_pipelines(
    project: Project, selection: Selection, notice: Callable[[Spec], None]
) -> Mapping[str, LoadedPipeline]:
    """Compile the pipelines of a selection, by their names in kfgcp.toml.

    Args:
        project: the project.
        selection: what the plan is about.
        notice: called with each pipeline when it is compiled.

    Raises:
        SpecError: one does not compile.
        UsageError: the environment cannot have one of them, or a tag is not allowed.
    """
    names = list(selection.pipelines)
    names += [schedule.pipeline.partition("@")[0] for schedule in selection.schedules]
    loaded: dict[str, LoadedPipeline] = {}
    for name in dict.fromkeys(names):
        try:
            loaded[name] = _load(project, selection, name)
        except UsageError as error:
            raise error.in_table(project.pipeline(name).origin) from error
        notice(loaded[name].spec)
    _refuse_shared_tags(project, loaded)
    return loaded


def _load(project: Project, selection: Selection, name: str) -> LoadedPipeline:
    env = selection.env
    spec = named_pipelines.load_named_pipeline(project, name, env.name)
    spec = pin_images(spec, lambda: project)
    if name not in selection.pipelines:
        return LoadedPipeline(spec, spec, None)
    if spec.registered is not None or spec.template is not None:
        raise ConfigError(
            "The pipeline comes from a registry, so it cannot be pushed.",
            hint="Name the file of the pipeline as its source.",
        )
    require_pinned_images(spec, project, env)
    check_pipeline_name(spec.name)
    tags = project.pipeline(name).tags
    for tag in tags:
        check_tag(tag)
    named_pipelines.check_param_sets(spec)
    sent = sent_spec(env, spec)
    upload = VersionUpload(project.name, spec.name, spec.version, to_yaml(sent))
    push = Push(upload, sent, tuple(dict.fromkeys(tags)))
    notes = tuple(stand_in_notes(spec, project, env))
    return LoadedPipeline(spec, sent, DesiredPipeline(name, push), notes)


def _refuse_shared_tags(project: Project, loaded: Mapping[str, LoadedPipeline]) -> None:
    """Refuse a tag that two versions of one pipeline must have. Each apply would move it.

    Raises:
        ConfigError: there is such a tag.
    """
    holders: dict[tuple[str, str], tuple[str, str]] = {}
    for name, pipeline in loaded.items():
        if pipeline.desired is None:
            continue
        upload = pipeline.desired.push.upload
        for tag in pipeline.desired.push.tags:
            holder, version = holders.setdefault((upload.pipeline, tag), (name, upload.version))
            if version != upload.version:
                raise ConfigError(
                    f"{project.pipeline(name).origin}: the tag {tag} of {upload.pipeline} is also a"
                    f" tag of [pipeline.{holder}], which is another version.",
                    hint="Use different tags, or other names in @dsl.pipeline(name=...).",
                )


def registered_spec(env: str, entry: RegisteredVersion, pipeline: LoadedPipeline) -> Spec:
    """Return a compiled pipeline as the registry has it, without a request."""
    registered = RegisteredRef(entry.ref, pipeline.spec.version, entry.address, env)
    return replace(
        pipeline.sent,
        registered=registered,
        template=entry.template or None,
        entry=pipeline.spec.entry,
    )


def build_schedule(
    project: Project, schedule: ProjectSchedule, spec: Spec, env_labels: Mapping[str, str]
) -> DesiredSchedule:
    """Return a schedule as its service must have it.

    Args:
        project: the project.
        schedule: the table of kfgcp.toml.
        spec: the pipeline as the registry has it, with `Spec.entry`.
        env_labels: the labels of the environment.

    Raises:
        ParamError: a parameter is unknown, missing or of the wrong type.
        ConfigError: `time_param` is not a parameter.
    """
    named_pipelines.check_schedule(spec, schedule)
    values = named_pipelines.schedule_values(spec, schedule)
    if schedule.time_param is not None:
        values[schedule.time_param] = named_pipelines.EXAMPLE_TIME
    all_values = named_pipelines.collect_values(spec, schedule.env, values)
    params = spec_params.resolve(spec.params, all_values, subject=schedule.origin)
    if schedule.time_param is not None:
        del params[schedule.time_param]
    # Labels of git and of the user would change a schedule without a change of the pipeline.
    labels = {
        **pipeline_labels(spec.name, spec.version),
        "env": label_value(schedule.env),
        **env_labels,
    }
    options = RunOptions(env=schedule.env, experiment=project.experiment, labels=labels)
    folder = str(schedule.folder)
    request = SubmitRequest(spec=spec, params=params, options=options, submit_dir=folder)
    return DesiredSchedule(
        project=project.name,
        name=schedule.name,
        timetable=schedule.timetable,
        request=request,
        time_param=schedule.time_param or "",
        catch_up=schedule.catch_up,
        max_active=schedule.max_active,
        paused=schedule.paused,
    )
