"""Write what a plan changes: pipelines first, then each schedule and its tag."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial

from kfgcp.backends.locks import HeldLock, Locked
from kfgcp.backends.schedules import DesiredSchedule, SupportsSchedules
from kfgcp.backends.versions import RegisteredVersion, SupportsVersions, short_version
from kfgcp.deploy.plan.changes import PlannedChange, ResourceKind
from kfgcp.deploy.plan.commands import apply_command
from kfgcp.deploy.plan.pipelines import PipelinePlan, is_pending
from kfgcp.deploy.plan.plan import Applied, ApplyStep, Notice
from kfgcp.deploy.plan.schedules import SchedulePlan, with_entry
from kfgcp.deploy.plan.use_tags import TagMove
from kfgcp.deploy.schedules.converge import Clock, converge
from kfgcp.deploy.schedules.steps import Step, StepKind
from kfgcp.deploy.versions.push import UPLOADED, check_text, run_push
from kfgcp.errors import AuthError, BackendError, KfgcpError, NotFound, Refused
from kfgcp.services.image_registry import ImageRegistry


@dataclass(slots=True)
class Writer:
    """Writes the changes of one environment.

    A failed change does not prevent the others. Only a lost lock stops all of them.

    Attributes:
        env: the name of the environment.
        project: the name of the project.
        registry: the registry of versions, None when no change needs it.
        service: the schedules of the service, None when the service has none.
        images: the registry of the project's images, None without tags of images.
        lock: the lock of the environment.
        clock: the time, for schedules.
        notice: called with each step.
        steps: the steps so far.
        failures: the errors so far.
    """

    env: str
    project: str
    registry: SupportsVersions | None
    service: SupportsSchedules | None
    images: ImageRegistry | None
    lock: HeldLock
    clock: Clock
    notice: Notice
    steps: list[ApplyStep] = field(default_factory=list)
    failures: list[tuple[str, KfgcpError]] = field(default_factory=list)
    _pushed: dict[str, RegisteredVersion] = field(default_factory=dict)

    def write(
        self, pipelines: Sequence[PipelinePlan], schedules: Sequence[SchedulePlan]
    ) -> Applied:
        """Write the changes, and return what was done.

        Raises:
            Locked: another process took the lock over.
            KfgcpError: the first error, after all other changes were written.
        """
        changes: list[PlannedChange] = []
        to_push = [plan for plan in pipelines if plan.change is not None]
        for plan in to_push:
            # All texts are checked before the first write.
            check_text(plan.desired.push)
        for plan in to_push:
            if plan.change is not None:
                changes.append(plan.change)
                self._try(plan.change, partial(self._push, plan))
        for schedule in schedules:
            if schedule.change is not None:
                changes.append(schedule.change)
                self._try(schedule.change, partial(self._schedule, schedule))
        self._raise_failure(len(changes))
        return Applied(self.env, tuple(changes), tuple(self.steps))

    def _try(self, change: PlannedChange, write: Callable[[], None]) -> None:
        """Write one change, and record its error."""
        try:
            write()
        except Locked:
            raise
        except KfgcpError as error:
            self.failures.append((f"{change.kind.value} {change.name}", error))
            self._step(change.kind, change.name, f"failed: {error.message}", failed=True)

    def _raise_failure(self, count: int) -> None:
        """Raise the first error. Its message names the change."""
        if not self.failures:
            return
        name, first = self.failures[0]
        # A copy keeps the class of the error, which decides the exit code.
        error = copy.copy(first)
        error.message = f"{name}: {first.message}"
        if count > 1:
            error.message = f"{len(self.failures)} of {count} changes failed. {error.message}"
        error.args = (error.message,)
        error.hint = first.hint or "Repeat the command. It continues with what is left."
        raise error from first

    def _step(
        self,
        kind: ResourceKind,
        name: str,
        text: str,
        *,
        run_id: str | None = None,
        failed: bool = False,
    ) -> None:
        step = ApplyStep(kind, name, self.env, text, run_id, failed)
        self.steps.append(step)
        self.notice(step)

    # -- pipelines

    def _push(self, plan: PipelinePlan) -> None:
        if self.registry is None:
            raise ValueError("a plan with pipelines has a registry")
        self.lock.check()
        pushed = run_push(self.registry, plan.desired.push, self.env)
        self._pushed[plan.entry.ref] = pushed.entry
        name = plan.desired.name
        if pushed.action == UPLOADED:
            version = f"{pushed.pipeline}@{short_version(pushed.entry)}"
            self._step(ResourceKind.PIPELINE, name, f"pushed {version}")
        for tag in pushed.new_tags:
            self._step(ResourceKind.PIPELINE, name, f"tag {tag} set")

    # -- schedules

    def _schedule(self, plan: SchedulePlan) -> None:
        if self.service is None:
            raise ValueError("a plan with schedules has a service")
        desired = plan.desired
        move = plan.move
        if desired is not None and plan.entry is not None and is_pending(plan.entry):
            entry = self._pushed.get(plan.entry.ref)
            if entry is None:
                raise BackendError(
                    f"The pipeline {plan.pipeline} was not pushed, so the schedule stays as it is."
                )
            desired = with_entry(desired, entry)
            if move is not None:
                move = replace(move, target=entry)
        # The images have the tag before the schedule uses them, so a clean-up keeps them.
        self._set_image_tags(plan)
        if desired is None:
            self._remove_image_tags(plan)
        if move is not None:
            self._remove_tags(move)
            if move.target is None:
                self._step(ResourceKind.SCHEDULE, plan.name, move.line)
        self._converge(plan, desired)
        if move is not None and move.target is not None:
            self._open_tags().set_tag(move.target, move.tag)
            self._step(ResourceKind.SCHEDULE, plan.name, move.line)
        if desired is not None:
            self._remove_image_tags(plan)

    def _converge(self, plan: SchedulePlan, desired: DesiredSchedule | None) -> None:
        if self.service is None:
            raise ValueError("a plan with schedules has a service")
        running: list[Step] = []
        old_refs: set[str] = set()

        def report() -> None:
            """Report the step that has just been executed."""
            while running:
                step = running.pop()
                if step.kind is StepKind.CREATE:
                    # From here on, the older schedules stay only until the new one has taken over.
                    old_refs.update(live.ref for live in plan.live)
                self._step(ResourceKind.SCHEDULE, plan.name, step_text(step, old_refs))

        def before_step(step: Step) -> None:
            self.lock.check()
            report()
            if step.kind is StepKind.WAIT and step.until is not None:
                text = f"waits until {step.until:%H:%M:%S} UTC, because a run is due"
                self._step(ResourceKind.SCHEDULE, plan.name, text)
                return
            running.append(step)

        done = converge(
            self.service,
            self.project,
            plan.name,
            desired,
            plan.live,
            clock=self.clock,
            notice=before_step,
        )
        report()
        if done.is_busy:
            text = "is deleted by the next apply, after its active runs have ended"
            self._step(ResourceKind.SCHEDULE, plan.name, text)
        for due, run_id in done.fired:
            text = f"started the run of {due.isoformat()}, which was due meanwhile: {run_id}"
            self._step(ResourceKind.SCHEDULE, plan.name, text, run_id=run_id)
        if done.waiting and desired is not None:
            command = apply_command(self.env, [plan.name])
            count = len(done.waiting)
            missed = "1 missed due time waits" if count == 1 else f"{count} missed due times wait"
            text = (
                f"{missed} since {done.waiting[0].isoformat()},"
                f" because max_active is {desired.max_active}. When the active runs have ended,"
                f" start the next ones: {command}"
            )
            self._step(ResourceKind.SCHEDULE, plan.name, text)

    def _remove_tags(self, move: TagMove) -> None:
        """Remove the tag of a schedule from the versions of pipelines that it no longer runs.

        This comes before the change of the schedule. So a killed apply leaves a schedule without
        its tag, which the next plan sees. The next plan would not see a tag that stays at a
        pipeline without schedules, because a plan reads only the pipelines of schedules.
        """
        target = move.target
        for holder in move.holders:
            # `set_tag` removes the tag from the other versions of its pipeline.
            if target is None or holder.pipeline != target.pipeline:
                self._open_tags().remove_tag(holder, move.tag)

    def _open_tags(self) -> SupportsVersions:
        """Check the lock, and return the registry for a change of tags."""
        if self.registry is None:
            raise ValueError("a plan with tags has a registry")
        self.lock.check()
        return self.registry

    def _set_image_tags(self, plan: SchedulePlan) -> None:
        """Set the tag at images. The schedule is written even when the registry refuses the tag.

        Raises:
            NotFound: the registry does not have an image, so runs of the schedule would fail.
        """
        for move in plan.image_moves:
            if move.after is None or self.images is None:
                continue
            self.lock.check()
            text = move.line
            try:
                if not self.images.set_tag(move.image, move.after, move.tag):
                    text = f"image tag {move.tag} is not set at {move.image}: kfgcp cannot sign in"
            except NotFound:
                raise
            except KfgcpError as error:
                self._fail_image_tag(plan, error)
                continue
            self._step(ResourceKind.SCHEDULE, plan.name, text)

    def _remove_image_tags(self, plan: SchedulePlan) -> None:
        """Remove the tag from images. A schedule is deleted even when the registry refuses this.

        Raises:
            BackendError: the registry does not answer. The next apply tries again.
        """
        for move in plan.image_moves:
            if move.after is not None or self.images is None:
                continue
            self.lock.check()
            stays = f"image tag {move.tag} stays at {move.image}"
            try:
                is_removed = self.images.delete_tag(move.image, move.tag)
            except (AuthError, Refused) as error:
                self._fail_image_tag(plan, error.amended(message=f"{stays}: {error.message}"))
                continue
            text = move.line if is_removed else f"{stays}: the registry cannot delete tags"
            self._step(ResourceKind.SCHEDULE, plan.name, text)

    def _fail_image_tag(self, plan: SchedulePlan, error: KfgcpError) -> None:
        """Record an error about the tag of an image that does not stop the schedule."""
        self.failures.append((f"image tag of schedule {plan.name}", error))
        text = f"failed: {error.message}"
        self._step(ResourceKind.SCHEDULE, plan.name, text, failed=True)


def step_text(step: Step, old_refs: Set[str] = frozenset()) -> str:
    """Return what a step did, in words.

    Args:
        step: the step.
        old_refs: the identities of the schedules that are replaced. A service without updates gets
            a new schedule for each change.

    Example:
        >>> step_text(Step(StepKind.UPDATE, fields=("cron", "max_active")))
        'updated cron, max_active'
    """
    if step.kind is StepKind.CREATE:
        created = "created a replacement" if old_refs else "created"
        return created if step.enabled else f"{created}, which starts no runs yet"
    if step.kind is StepKind.UPDATE:
        return f"updated {', '.join(step.fields)}"
    done = f"{step.kind.value}d"
    if step.live is None or not old_refs:
        return done
    if step.live.ref not in old_refs:
        return f"{done} the replacement"
    if step.kind is StepKind.DELETE:
        return "replaced: the new schedule has taken over, and the old one is deleted"
    return f"{done} the old schedule"
