"""The methods of `Workspace` for what outlives a run: versions, schedules, plans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kfgcp.tracking.choose import as_list
from kfgcp.tracking.open_project import OpenProject

if TYPE_CHECKING:
    from kfgcp.deploy.plan.plan import Applied, ApplyStep, Plan
    from kfgcp.deploy.schedules.schedules import Schedules
    from kfgcp.deploy.versions.push import Pushed
    from kfgcp.tracking.pipelines import PipelineLike
    from kfgcp.tracking.versions import Versions


class DeployMethods(OpenProject):
    """The part of `Workspace` that pushes versions, and plans and applies schedules."""

    def push(
        self, pipeline: PipelineLike, env: str | None = None, tags: str | Sequence[str] = ()
    ) -> Pushed:
        """Add a version of a pipeline to the registry of an environment, and set tags.

        Nothing is written when the registry has the version, and the tags point to it.

        Args:
            pipeline: as in `submit`. The name in the registry is that of the pipeline itself.
            env: the environment, the default one when None.
            tags: tags to set. A tag that begins with `v` and a digit never moves.

        Raises:
            UsageError: a tag is not allowed or cannot move, or an image of the pipeline is not
                pinned. Nothing was written.
            ConfigError: the environment does not exist or has no registry.
            SpecError: the pipeline does not compile or is not a valid spec.
            BackendError: the registry refuses or cannot be reached.

        Example::

            kfgcp.push("pipelines/churn.py", env="dev", tags=["v1.4.0"]).version
        """
        # Only this verb needs these modules, and start-up time counts.
        from kfgcp.tracking.pipelines import load_pipeline
        from kfgcp.tracking.versions import push

        spec = load_pipeline(self, pipeline, env)
        return push(self, spec, env, as_list(tags))

    def plan(self, *names: str, env: str | None = None) -> Plan:
        """Return what `apply` would change in an environment. Nothing is written.

        The plan is computed from kfgcp.toml and from what the services have now. It has the
        pipelines whose key `envs` has the environment, its schedules, and the pipelines that these
        schedules run. Objects without the marker of this project are never changed.

        Args:
            names: only the pipelines and schedules with these names; all without names.
            env: the environment, the default one when None.

        Raises:
            UsageError: kfgcp.toml asks for something impossible, such as a parameter that the
                pipeline does not have.
            SpecError: a pipeline does not compile or is not a valid spec.
            BackendError: a service refuses or cannot be reached.

        Example::

            plan = kfgcp.plan(env="dev")
            print(plan.summary)
            plan.apply()
        """
        from kfgcp.tracking.deployment import make_plan

        return make_plan(self, names, env)

    def plan_of_file(self, file: str | Path) -> Plan:
        """Return the plan that `kfgcp plan --out FILE` wrote.

        Raises:
            UsageError: the file is not a plan of this project.
            CheckFailed: kfgcp.toml, a pipeline or a service has changed since. The message names
                what has changed.

        Example::

            kfgcp.Workspace.default().plan_of_file("dev.plan").apply()
        """
        from kfgcp.tracking.deployment import make_plan_of_file

        return make_plan_of_file(self, Path(file))

    def plan_to_destroy(self, *names: str, env: str | None = None) -> Plan:
        """Return what `destroy` would delete, see there.

        Example::

            kfgcp.Workspace.default().plan_to_destroy(env="dev").changes
        """
        from kfgcp.tracking.deployment import make_destroy_plan

        return make_destroy_plan(self, names, env)

    def apply(
        self,
        *names: str,
        env: str | None = None,
        notice: Callable[[ApplyStep], None] = lambda step: None,
    ) -> Applied:
        """Bring an environment to what kfgcp.toml declares, and return what was done.

        It makes a plan and writes its changes. `kfgcp.plan(…).apply()` writes a plan that you have
        seen.

        Args:
            names: as in `plan`.
            env: the environment, the default one when None.
            notice: called with each step, as soon as it was done.

        Raises:
            Locked: another apply is at work. Nothing was written.
            KfgcpError: as in `plan`. Or a change failed, and the others were written. Then another
                apply continues.

        Example::

            kfgcp.apply(env="dev").steps
        """
        from kfgcp.tracking.deployment import make_plan

        return make_plan(self, names, env, is_fixed=False).apply(notice)

    def destroy(
        self,
        *names: str,
        env: str | None = None,
        notice: Callable[[ApplyStep], None] = lambda step: None,
    ) -> Applied:
        """Delete the schedules of this project in an environment. Versions and runs stay.

        Args:
            names: only the schedules with these names; all without names.
            env: the environment, the default one when None.
            notice: called with each step, as soon as it was done.

        Raises:
            UsageError: the environment has no schedule of this project with one of the names.
            Locked: an apply is at work. Nothing was deleted.
            BackendError: a service refuses or cannot be reached.

        Example::

            kfgcp.destroy("churn-daily", env="dev").steps
        """
        return self.plan_to_destroy(*names, env=env).apply(notice)

    @property
    def versions(self) -> Versions:
        """The versions of pipelines in the registries: list, get, diff, tag and download them.

        Example::

            kfgcp.Workspace.default().versions.get("churn@v1.4.0", env="dev").version
        """
        from kfgcp.tracking.versions import Versions

        return Versions(self)

    @property
    def schedules(self) -> Schedules:
        """The schedules of the project: list, show and pause them, and start their runs.

        Example::

            kfgcp.Workspace.default().schedules.next("churn-daily")
        """
        from kfgcp.deploy.schedules.schedules import Schedules
        from kfgcp.tracking.deployment import open_services
        from kfgcp.tracking.schedule_runs import ScheduleRuns

        runs = ScheduleRuns(self)
        return Schedules(lambda: self.project, runs, runs.ended, open_services(self))
