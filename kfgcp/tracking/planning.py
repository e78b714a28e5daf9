"""Compute a plan: read kfgcp.toml and the services of an environment, and compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from typing import Final

from kfgcp.backends.base import SupportsRefresh, capability
from kfgcp.backends.schedules import LiveSchedule, SupportsSchedules
from kfgcp.backends.versions import NamesPipelines, SupportsVersions
from kfgcp.deploy.plan.foreign import foreign_notes, refuse_renamed
from kfgcp.deploy.plan.image_tag_reader import ImageTagReader, open_image_tags
from kfgcp.deploy.plan.read import ServiceReader
from kfgcp.deploy.plan.schedules import our_schedules, pipeline_of
from kfgcp.deploy.versions.push import Push
from kfgcp.errors import BackendError, ConfigError, KfgcpError, Unsupported
from kfgcp.tracking.declared import (
    LoadedPipeline,
    Selection,
    load_pipelines,
    require_project_name,
    select,
)
from kfgcp.tracking.open_project import OpenProject
from kfgcp.tracking.plan_comparison import Comparison, Draft, tag_of
from kfgcp.tracking.registries import open_registry

_NO_SCHEDULES_HINT: Final = "Name another environment in these schedules, or remove the schedules."


class Planner:
    """Computes the plan of an environment. The pipelines are compiled once.

    Args:
        workspace: the project.
        env: the name of the environment, the default one when None.
        names: only the pipelines and schedules with these names; all when empty.
        destroys: whether the schedules of the project are deleted.

    Raises:
        ConfigError: there is no such environment, kfgcp.toml does not name the project, or a table
            of kfgcp.toml is not valid.
    """

    def __init__(
        self,
        workspace: OpenProject,
        env: str | None,
        names: Sequence[str],
        *,
        destroys: bool = False,
    ) -> None:
        self._workspace = workspace
        self._project = workspace.project
        self._destroys = destroys
        environment = self._project.env(env)
        require_project_name(self._project, environment)
        if destroys:
            self.selection = Selection(environment, tuple(names), (), (), destroys=True)
        else:
            self.selection = select(self._project, env, names)
        self._loaded: Mapping[str, LoadedPipeline] | None = None

    def draft(self) -> Draft:
        """Read the services, and return the plan.

        Raises:
            UsageError: kfgcp.toml asks for something that is not possible. Nothing was written.
            SpecError: a pipeline does not compile.
            BackendError: a service refuses or cannot be reached.
        """
        registry = self._open_registry()
        service = self._open_schedules()
        with ServiceReader(registry, service) as reader:
            loaded = self._load_pipelines(reader)
            all_live = reader.schedules()
            live = our_schedules(all_live, self._project.name)
            self._refuse_renamed(all_live, service)
            removable = self._removable(live)
            image_tags = self._start_image_tags(reader, removable)
            pipeline_names: Sequence[str] = ()
            if self._start_other_pipelines(reader, registry, live, removable):
                pipeline_names = reader.pipeline_names()
            else:
                registry = None
            comparison = Comparison(
                workspace=self._workspace,
                selection=self.selection,
                loaded=loaded,
                registry=registry,
                service=service,
                readings=reader.pipelines(self._pushes_by_name()),
                live=live,
                removable=removable,
                pipeline_names=pipeline_names,
                image_tags=image_tags,
                notes=self._foreign_notes(all_live),
            )
            image_tags.wait()
        return comparison.draft()

    def _load_pipelines(self, reader: ServiceReader) -> Mapping[str, LoadedPipeline]:
        """Compile the pipelines, and start to read the versions of each when it is compiled.

        A second draft uses the pipelines that the first one compiled.
        """
        if self._loaded is None:
            self._loaded = load_pipelines(
                self._project, self.selection, lambda spec: reader.start_pipeline(spec.name)
            )
        else:
            for name in self._pushes_by_name():
                reader.start_pipeline(name)
        return self._loaded

    def _refuse_renamed(
        self, live: Sequence[LiveSchedule], service: SupportsSchedules | None
    ) -> None:
        """Refuse a schedule that the service has under another display name.

        Raises:
            UsageError: there is one.
        """
        if service is None:
            return
        selection = self.selection
        names = {schedule.name for schedule in selection.schedules}
        has_update = service.schedule_facts.has_update
        refuse_renamed(live, self._project.name, selection.env.name, names, has_update=has_update)

    def _start_image_tags(self, reader: ServiceReader, removable: Set[str]) -> ImageTagReader:
        """Start to read the tags of schedules at images."""
        env = self.selection.env
        image_tags = open_image_tags(self._project, env)
        names = [schedule.name for schedule in self.selection.schedules]
        names += sorted(name for name in removable if self.selection.takes(name))
        tags = [tag_of(self._workspace, env.name, name) for name in names]
        image_tags.start(tags, reader.start_read)
        return image_tags

    def _foreign_notes(self, live: Sequence[LiveSchedule]) -> list[str]:
        selection = self.selection
        names = {schedule.name for schedule in selection.schedules}
        return foreign_notes(live, self._project.name, selection.env.name, selection.takes, names)

    def _open_registry(self) -> SupportsVersions | None:
        """Return the registry of the environment, None when it has none and needs none.

        Raises:
            ConfigError: a pipeline needs a registry, and the environment has none.
        """
        env = self.selection.env.name
        if self.selection.pipelines or self.selection.schedules:
            return open_registry(self._workspace, env)
        return capability(self._workspace.backend(env), SupportsVersions)

    def _start_other_pipelines(
        self,
        reader: ServiceReader,
        registry: SupportsVersions | None,
        live: Mapping[str, tuple[LiveSchedule, ...]],
        removable: Set[str],
    ) -> bool:
        """Start to read the pipelines of live schedules, for their tags.

        When a schedule is deleted or gets another pipeline, its tag is still at the old one.

        Returns:
            Whether the environment has a registry that can be read. A plan that only deletes needs
            none.

        Raises:
            ConfigError: a pipeline needs a registry, and the environment has none.
            BackendError: a pipeline needs the registry, and it cannot be read.
        """
        try:
            names_in_registry = reader.pipeline_names()
        except (ConfigError, BackendError):
            if self.selection.pipelines or self.selection.schedules:
                raise
            return False
        started = self._pushes_by_name().keys()
        names: set[str] = set()
        declared = {schedule.name for schedule in self.selection.schedules}
        for schedule in live.keys() & (declared | removable):
            names |= {_pipeline_of(item, registry) for item in live[schedule]}
        for name in sorted(names - started):
            if name in names_in_registry:
                reader.start_pipeline(name)
        return True

    # -- schedules that kfgcp.toml does not have

    def _removable(self, live: Mapping[str, tuple[LiveSchedule, ...]]) -> set[str]:
        """Return the names of our schedules on the service that may be deleted."""
        return {name for name in live if not self._belongs_here(name)}

    def _belongs_here(self, name: str) -> bool:
        """Return whether kfgcp.toml has a schedule for this service, or may have one."""
        project = self._project
        invalid = project.invalid_schedules.get(name)
        if invalid is not None:
            # `apply` keeps the schedule of a table that is not valid. `destroy` deletes it.
            return not self._destroys or not invalid.may_belong_to(self.selection.env.name)
        if name not in project.schedules:
            return False
        other = project.schedules[name].env
        if other == self.selection.env.name:
            return not self._destroys
        return self._is_same_place(other)

    def _is_same_place(self, other: str) -> bool:
        """Return whether an environment has the same service and place as that of the plan.

        When the place of the other environment is not known, the answer is True, so that no
        schedule is deleted.
        """
        here = capability(self._workspace.backend(self.selection.env.name), SupportsRefresh)
        with suppress(KfgcpError):
            there = capability(self._workspace.backend(other), SupportsRefresh)
            if here is not None and there is not None:
                return here.place == there.place
            return there is here
        return True

    def _open_schedules(self) -> SupportsSchedules | None:
        """Return the schedules of the service of the environment.

        Raises:
            Unsupported: kfgcp.toml has schedules for a service that has none.
        """
        env = self.selection.env
        service = capability(self._workspace.backend(env.name), SupportsSchedules)
        if service is None and self.selection.schedules:
            raise Unsupported(
                f"{self.selection.schedules[0].origin}: the environment '{env.name}' has no"
                f" schedules, because the backend '{env.backend}' does not support them.",
                hint=_NO_SCHEDULES_HINT,
            )
        return service

    def _pushes_by_name(self) -> Mapping[str, list[Push]]:
        """Return what is pushed, by the names of pipelines in the registry."""
        pushes: dict[str, list[Push]] = {}
        for pipeline in (self._loaded or {}).values():
            pushes_of_name = pushes.setdefault(pipeline.spec.name, [])
            if pipeline.desired is not None:
                pushes_of_name.append(pipeline.desired.push)
        return pushes


def _pipeline_of(live: LiveSchedule, registry: SupportsVersions | None) -> str:
    """Return the name of the pipeline of a schedule in the registry, "" when it is not known."""
    entry = live.fields.get("entry")
    if isinstance(registry, NamesPipelines) and isinstance(entry, str):
        return registry.pipeline_of(entry)
    return pipeline_of(live)
