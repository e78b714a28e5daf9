"""Start and list the runs of schedules, for `Workspace.schedules`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kfgcp.backends.registry import runs_here
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.deploy.schedules.labels import (
    UNKNOWN_DUE,
    due_text,
    project_label,
    run_labels,
    schedule_labels,
)
from kfgcp.labels import DUE, OTHER_SCHEDULES, PROJECT
from kfgcp.model import Run
from kfgcp.options import RunOptions
from kfgcp.query import RunFilter
from kfgcp.spec.load import Spec
from kfgcp.tracking import collect, lookup, named_pipelines, pipelines, submit
from kfgcp.tracking.open_project import OpenProject
from kfgcp.tracking.registries import load_version


class ScheduleRuns:
    """The runs of the schedules of a project. It is a `kfgcp.deploy.schedules.tick.Runs`.

    Args:
        workspace: where runs are started and recorded.
    """

    def __init__(self, workspace: OpenProject) -> None:
        self._workspace = workspace

    def of(self, schedule: ProjectSchedule) -> list[Run]:
        """Return the runs that have the labels of a schedule, in its environment."""
        labels = schedule_labels(self._workspace.project.name, schedule.name)
        run_filter = RunFilter(env=schedule.env, labels=labels)
        return collect.list_runs(self._workspace, run_filter, metrics=False)

    def unclear(self, schedule: ProjectSchedule) -> list[Run]:
        """Return the runs that either this schedule or another one has started.

        Their names do not tell which of the two, see `kfgcp.backends.kubeflow.schedule_origins`.
        """
        labels = {PROJECT: project_label(self._workspace.project.name), DUE: UNKNOWN_DUE}
        run_filter = RunFilter(env=schedule.env, labels=labels)
        runs = collect.list_runs(self._workspace, run_filter, metrics=False)
        return [run for run in runs if schedule.name in run.labels.get(OTHER_SCHEDULES, "").split()]

    def start(self, schedule: ProjectSchedule, due: datetime) -> str:
        """Start the run of a due time, and return its id.

        The parameter `time_param` is the due time in UTC, see `due_text`.
        """
        project = self._workspace.project
        labels = run_labels(project.name, schedule.name, due)
        name = ""
        if not runs_here(project.env(schedule.env).backend):
            # By this name, `apply` finds that the due time has a run, see `SupportsSchedules.fire`.
            name = f"{schedule.name}-{labels[DUE]}"
        return self._start(schedule, self._load(schedule, ""), due, labels, name)

    def start_now(self, schedule: ProjectSchedule, now: datetime, version: str) -> str:
        """Start a run that is not for a due time, and return its id.

        The parameter `time_param` is the current time in UTC.
        """
        labels = schedule_labels(self._workspace.project.name, schedule.name)
        return self._start(schedule, self._load(schedule, version), now, labels)

    def _start(
        self,
        schedule: ProjectSchedule,
        spec: Spec,
        time: datetime,
        labels: dict[str, str],
        name: str = "",
    ) -> str:
        params = named_pipelines.schedule_values(spec, schedule)
        if schedule.time_param is not None:
            params[schedule.time_param] = due_text(time)
        options = RunOptions(env=schedule.env, labels=labels, name=name)
        backend, request = submit.prepare(self._workspace, spec, params, options)
        return submit.start(self._workspace, backend, request).run_id

    def _load(self, schedule: ProjectSchedule, version: str) -> Spec:
        """Load the pipeline of a schedule, from its file or from the registry.

        A schedule names a pipeline as kfgcp.toml does. The registry has it by its own name. The
        parameters of the table [pipeline.X] apply in both cases.

        Args:
            schedule: the schedule.
            version: the version in the registry, "" for what kfgcp.toml names.
        """
        workspace = self._workspace
        name, is_version, value = schedule.pipeline.partition("@")
        if version:
            value = f"sha256:{version.removeprefix('sha256:')}"
        elif not is_version:
            return pipelines.load_pipeline(workspace, name, schedule.env)
        own_name = named_pipelines.load_named_pipeline(workspace.project, name, schedule.env).name
        spec = load_version(workspace, f"{own_name}@{value}", schedule.env)
        return replace(spec, entry=workspace.project.pipeline(name))

    def resume(self, run_id: str) -> None:
        """Continue an interrupted run in a process of its own."""
        submit.resume(self._workspace, lookup.show(self._workspace, run_id))

    def ended(self, run_ids: set[str]) -> set[str]:
        """Return which of some runs have ended."""
        runs = collect.list_runs(self._workspace, RunFilter(ids=sorted(run_ids)), metrics=False)
        return {run.run_id for run in runs if run.state.final}
