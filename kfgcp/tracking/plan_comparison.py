"""Compare what kfgcp.toml declares for an environment with what its services have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from kfgcp.backends.base import SupportsRefresh, capability
from kfgcp.backends.schedules import (
    DesiredSchedule,
    FindsOtherSchedulers,
    LiveSchedule,
    SupportsSchedules,
)
from kfgcp.backends.versions import ChecksUploads, RegisteredVersion, SupportsVersions
from kfgcp.config_schedules import ProjectSchedule
from kfgcp.deploy.plan.changes import PlannedChange
from kfgcp.deploy.plan.image_tag_reader import ImageTagReader
from kfgcp.deploy.plan.pipelines import LivePipeline, PipelinePlan, is_pending, plan_pipeline
from kfgcp.deploy.plan.read import PipelineReading, RegistryAfterPush
from kfgcp.deploy.plan.schedules import (
    SchedulePlan,
    missed_note,
    plan_deletion,
    plan_schedule,
)
from kfgcp.deploy.plan.use_tags import TagMove, move_of, use_tag
from kfgcp.deploy.schedules.steps import next_step
from kfgcp.deploy.versions.names import parse_version_name
from kfgcp.deploy.versions.push import Push
from kfgcp.deploy.versions.resolve import check_digits, find_version, read_spec
from kfgcp.errors import BackendError, ConfigError, SpecError, Unsupported, UsageError
from kfgcp.services.image_registry import ImageRegistry
from kfgcp.spec.diff import diff
from kfgcp.spec.image_names import container_images
from kfgcp.spec.load import Spec, from_text
from kfgcp.tracking import changes
from kfgcp.tracking.declared import (
    LoadedPipeline,
    Selection,
    build_schedule,
    registered_spec,
    unknown_name,
    unknown_schedule,
)
from kfgcp.tracking.open_project import OpenProject


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything that a plan consists of, for `apply`.

    Attributes:
        selection: what belongs to the environment.
        pipelines: what happens to each pipeline.
        schedules: what happens to each schedule.
        notes: what to know, a line for each.
        entries: name of a pipeline in the registry -> its versions, as they were read.
        registry: the registry, None when the environment has none.
        service: the schedules of the service, None when the service has none.
        images: the registry of the project's images, None without tags of images.
    """

    selection: Selection
    pipelines: tuple[PipelinePlan, ...]
    schedules: tuple[SchedulePlan, ...]
    notes: tuple[str, ...]
    entries: Mapping[str, tuple[RegisteredVersion, ...]]
    registry: SupportsVersions | None
    service: SupportsSchedules | None
    images: ImageRegistry | None = None

    @property
    def changes(self) -> tuple[PlannedChange, ...]:
        """What is written, pipelines first."""
        planned = [plan.change for plan in self.pipelines] + [
            plan.change for plan in self.schedules
        ]
        return tuple(change for change in planned if change is not None)


@dataclass(slots=True)
class Comparison:
    """Compares what is declared with what was read.

    Attributes:
        workspace: the project.
        selection: what belongs to the environment.
        loaded: the compiled pipelines by their names in kfgcp.toml.
        registry: the registry, None when the environment has none.
        service: the schedules of the service, None when the service has none.
        readings: what the registry has, by the names of pipelines there.
        live: the schedules of the project on the service by their names.
        removable: the names of the schedules in `live` that may be deleted.
        pipeline_names: the names of all pipelines in the registry.
        image_tags: the tags of schedules at images.
        entries: the entries of each pipeline after the pushes.
        notes: what to know, a line for each.
        has_tags: whether the registry has tags.
    """

    workspace: OpenProject
    selection: Selection
    loaded: Mapping[str, LoadedPipeline]
    registry: SupportsVersions | None
    service: SupportsSchedules | None
    readings: Mapping[str, PipelineReading]
    live: Mapping[str, tuple[LiveSchedule, ...]]
    removable: Set[str]
    pipeline_names: Sequence[str]
    image_tags: ImageTagReader
    entries: dict[str, tuple[RegisteredVersion, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    has_tags: bool = True

    def draft(self) -> Draft:
        """Return what changes.

        Raises:
            UsageError: kfgcp.toml asks for something that is not possible.
        """
        self._check_names()
        for pipeline in self.loaded.values():
            self.notes += pipeline.notes
        pipelines = self._plan_pipelines()
        self._check_registry(pipelines)
        schedules = [self._plan_schedule(schedule) for schedule in self.selection.schedules]
        schedules += self._plan_deletions()
        self._note_other_schedulers(schedules)
        self.notes += self.image_tags.notes
        return Draft(
            self.selection,
            tuple(pipelines),
            tuple(schedules),
            tuple(dict.fromkeys(self.notes)),
            {name: reading.entries for name, reading in self.readings.items()},
            self.registry,
            self.service,
            self.image_tags.registry,
        )

    def _check_names(self) -> None:
        project = self.workspace.project
        schedule_names = [schedule.name for schedule in self.selection.schedules]
        for name in self.selection.names:
            is_declared = name in self.selection.pipelines or name in schedule_names
            if not is_declared and name not in self.removable:
                if self.selection.destroys:
                    raise unknown_schedule(project, self.selection, name, sorted(self.removable))
                raise unknown_name(project, self.selection, name)

    # -- pipelines

    def _plan_pipelines(self) -> list[PipelinePlan]:
        for name, reading in self.readings.items():
            self.entries[name] = reading.entries
        plans: list[PipelinePlan] = []
        # Several tables can push to one name. `readings` has their pushes in this order.
        positions: dict[str, int] = {}
        for pipeline in self.loaded.values():
            desired = pipeline.desired
            if desired is None:
                continue
            registry_name = pipeline.spec.name
            position = positions.get(registry_name, 0)
            positions[registry_name] = position + 1
            live = LivePipeline(None, has_text=False)
            if registry_name in self.readings:
                live = self.readings[registry_name].live[position]
            live = self._with_earlier_push(desired.push, live)
            before = self.entries.get(registry_name, ())
            try:
                plan = plan_pipeline(
                    self.selection.env.name, desired, live, before, _describe_difference
                )
            except UsageError as error:
                origin = self.workspace.project.pipeline(desired.name).origin
                raise error.in_table(origin) from error
            self.entries[registry_name] = plan.entries
            plans.append(plan)
        return plans

    def _with_earlier_push(self, push: Push, live: LivePipeline) -> LivePipeline:
        """Return what the registry has after the pushes of earlier tables to the same name."""
        for entry in self.entries.get(push.upload.pipeline, ()):
            if is_pending(entry) and entry.has_text(push.upload.text_digest):
                return LivePipeline(entry, has_text=True)
            if live.entry is not None and entry.ref == live.entry.ref:
                # An earlier table may have moved tags.
                return replace(live, entry=entry)
        return live

    def _check_registry(self, pipelines: Sequence[PipelinePlan]) -> None:
        """Check that the registry can have the pipelines and tags, and note when it has no tags.

        Raises:
            UsageError: the registry cannot have a pipeline.
            Unsupported: a pipeline has tags, and the registry has none.
        """
        if self.registry is None:
            return
        for plan in pipelines:
            try:
                self._check_push(self.registry, plan)
            except (UsageError, Unsupported) as error:
                origin = self.workspace.project.pipeline(plan.desired.name).origin
                raise error.in_table(origin) from error
        if not self.selection.schedules and not self.live:
            return
        try:
            self.registry.require_tags()
        except Unsupported as error:
            self.has_tags = False
            self.notes.append(f"Versions of schedules get no tag use-…: {error.message}")

    def _check_push(self, registry: SupportsVersions, plan: PipelinePlan) -> None:
        push = plan.desired.push
        if is_pending(plan.entry) and isinstance(registry, ChecksUploads):
            registry.check_upload(push.upload)
        if plan.change is not None and push.tags:
            registry.require_tags(push.tags)

    # -- schedules

    def _plan_schedule(self, schedule: ProjectSchedule) -> SchedulePlan:
        if self.service is None:
            raise ValueError("a plan with schedules has a service")
        try:
            entry, desired = self._desired(schedule)
            fields = self.service.fields_of(desired)
        except (UsageError, SpecError, Unsupported) as error:
            raise error.in_table(schedule.origin) from error
        live = self.live.get(schedule.name, ())
        move = self._move(schedule.name, entry)
        facts = self.service.schedule_facts
        step = next_step(desired, fields, live, facts, datetime.now(UTC), may_wait=False)
        images = container_images(desired.request.spec.pipeline_spec)
        image_moves = self.image_tags.moves(self._use_tag(schedule.name), images)
        compare = partial(plan_schedule, self.selection.env.name, desired, fields, live, move, step)
        # Only some tags of images are a reason for a change. But a change shows all of them.
        change = compare(image_moves=self.image_tags.needed(image_moves))
        if change is not None:
            change = compare(image_moves=image_moves)
        note = missed_note(desired, step)
        if note is not None:
            self.notes.append(note)
        pipeline = schedule.pipeline.partition("@")[0]
        return SchedulePlan(
            schedule.name, pipeline, desired, fields, entry, live, move, change, image_moves
        )

    def _desired(self, schedule: ProjectSchedule) -> tuple[RegisteredVersion, DesiredSchedule]:
        name, is_version, version = schedule.pipeline.partition("@")
        pipeline = self.loaded[name]
        project = self.workspace.project
        env = self.selection.env.name
        if not is_version:
            entry = self._pushed_entry(pipeline)
            spec = registered_spec(env, entry, pipeline)
        else:
            try:
                entry, spec = self._find_version(f"{pipeline.spec.name}@{version}", pipeline)
            except UsageError as error:
                # kfgcp.toml names a version that does not exist.
                raise ConfigError(error.message, hint=error.hint) from error
        labels = self.selection.env.get("labels") or {}
        return entry, build_schedule(project, schedule, spec, labels)

    def _pushed_entry(self, pipeline: LoadedPipeline) -> RegisteredVersion:
        """Return the entry of a pipeline that the plan pushes, as it is afterwards."""
        if pipeline.desired is None:
            raise ValueError("the pipeline of a schedule is pushed")
        upload = pipeline.desired.push.upload
        # The newest entry of a version is the current one, see `find_version`.
        for entry in self.entries[upload.pipeline]:
            if entry.has_version(upload.version):
                return entry
        raise ValueError("a pushed pipeline has an entry")

    def _find_version(self, name: str, pipeline: LoadedPipeline) -> tuple[RegisteredVersion, Spec]:
        """Return the entry that a name means after the pushes, and its pipeline.

        The pipeline is read from the registry only when no compiled pipeline has the same text.
        """
        if self.registry is None:
            raise ValueError("a plan with schedules has a registry")
        env = self.selection.env.name
        after_push = RegistryAfterPush(
            self.registry.registry, self.registry, self.pipeline_names, self.entries, self._pushes()
        )
        version_name = parse_version_name(name)
        entry = find_version(after_push, version_name, env)
        for other in self.loaded.values():
            if other.desired is None or other.spec.name != entry.pipeline:
                continue
            upload = other.desired.push.upload
            if entry.has_version(upload.version) and entry.has_text(upload.text_digest):
                return entry, replace(registered_spec(env, entry, other), entry=pipeline.spec.entry)
        spec = read_spec(after_push, entry, name, self._recorded_versions)
        check_digits(version_name, spec)
        if spec.registered is not None:
            spec = replace(spec, registered=replace(spec.registered, env=env))
        return entry, replace(spec, entry=pipeline.spec.entry)

    def _pushes(self) -> dict[str, Push]:
        pushes: dict[str, Push] = {}
        for pipeline in self.loaded.values():
            if pipeline.desired is not None:
                pushes[pipeline.desired.push.upload.text_digest] = pipeline.desired.push
        return pushes

    def _recorded_versions(self, prefix: str) -> Sequence[str]:
        store = self.workspace.recorded_store
        return store.versions(prefix) if store is not None else ()

    def _note_other_schedulers(self, schedules: Sequence[SchedulePlan]) -> None:
        """Note what else starts the pipelines of new schedules, such as jobs of Cloud Scheduler.

        Only a plan that creates a schedule sends this request.
        """
        new_pipelines = set()
        for plan in schedules:
            if plan.desired is not None and not plan.live:
                new_pipelines.add(plan.desired.request.spec.name)
        env = self.selection.env.name
        finder = capability(self.workspace.backend(env), FindsOtherSchedulers)
        if finder is None or not new_pipelines:
            return
        try:
            others = finder.find_other_schedulers()
        except BackendError as error:
            self.notes.append(f"Other schedulers of the pipelines are not known: {error.message}")
            return
        for other in others:
            if other.pipeline in new_pipelines:
                self.notes.append(
                    f"{other.title[:1].upper()}{other.title[1:]} starts {other.pipeline} too"
                    f" ({other.due}). Remove it, so that no due time starts two runs."
                )

    # -- schedules that kfgcp.toml does not have

    def _plan_deletions(self) -> list[SchedulePlan]:
        plans: list[SchedulePlan] = []
        for name in sorted(self.removable):
            if not self.selection.takes(name):
                continue
            live = self.live[name]
            move = self._move(name, None)
            image_moves = self.image_tags.moves(self._use_tag(name), ())
            change = plan_deletion(self.selection.env.name, name, live, move, image_moves)
            plans.append(SchedulePlan(name, "", None, {}, None, live, move, change, image_moves))
        return plans

    def _move(self, schedule: str, target: RegisteredVersion | None) -> TagMove | None:
        if not self.has_tags:
            return None
        return move_of(self._use_tag(schedule), target, self.entries)

    def _use_tag(self, schedule: str) -> str:
        return tag_of(self.workspace, self.selection.env.name, schedule)


def tag_of(workspace: OpenProject, env: str, schedule: str) -> str:
    """Return the tag that marks the version and the images of a schedule, see `use_tag`.

    Args:
        workspace: the project.
        env: the name of the environment of the schedule.
        schedule: the name of the schedule.
    """
    return use_tag(schedule, workspace.project.name, place_of(workspace, env))


def place_of(workspace: OpenProject, env: str) -> str:
    """Return where the runs of an environment are, "" on this machine."""
    runs = capability(workspace.backend(env), SupportsRefresh)
    return "" if runs is None else runs.place


def _describe_difference(text: str, push: Push) -> Sequence[str]:
    """Return the lines for the difference between a text of the registry and a pipeline."""
    try:
        before = from_text(text, push.upload.pipeline)
    except SpecError:
        # Another client may have added something that is not a pipeline.
        return ()
    differences = diff(
        before.pipeline_spec,
        push.sent.pipeline_spec,
        before.platform_spec,
        push.sent.platform_spec,
    )
    return [line.rstrip() for _, line in changes.format_tree(differences)]
