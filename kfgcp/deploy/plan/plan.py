"""A plan as people and programs get it, and the result of an apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kfgcp.deploy.plan.changes import PlanAction, PlannedChange, ResourceKind, count_changes
from kfgcp.deploy.plan.fingerprint import Fingerprint
from kfgcp.model import JsonValue


@dataclass(frozen=True, slots=True)
class ApplyStep:
    """One thing that `apply` or `destroy` did, or could not do.

    Attributes:
        kind: whether it is about a pipeline or a schedule.
        name: the name of the pipeline or schedule.
        env: the name of the environment.
        text: what was done, in words.
        run_id: the run that was started for a due time, None for other steps.
        failed: whether it is an error.
    """

    kind: ResourceKind
    name: str
    env: str
    text: str
    run_id: str | None = None
    failed: bool = False

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the step as JSON."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "env": self.env,
            "text": self.text,
            "run_id": self.run_id,
            "failed": self.failed,
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply did.

    Attributes:
        env: the name of the environment.
        changes: what was changed.
        steps: the steps in their order.
    """

    env: str
    changes: tuple[PlannedChange, ...]
    steps: tuple[ApplyStep, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the result as JSON, in the form that `kfgcp apply --json` prints."""
        changes: list[JsonValue] = [change.to_dict() for change in self.changes]
        steps: list[JsonValue] = [step.to_dict() for step in self.steps]
        return {"env": self.env, "changes": changes, "steps": steps}


Notice = Callable[[ApplyStep], None]
"""Called with each step, as soon as it was done."""


def ignore_step(step: ApplyStep) -> None:
    """Do nothing with a step."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `apply` would change in an environment.

    Attributes:
        project: the name of the project.
        env: the name of the environment.
        names: the pipelines and schedules that the caller named; empty for everything.
        changes: what changes, pipelines first. Empty when the environment is as kfgcp.toml says.
        notes: what to know, a line for each.
        fingerprint: what the plan was computed from.

    Example::

        plan = kfgcp.plan(env="dev")
        for change in plan.changes:
            print(change.title)
        plan.apply()
    """

    project: str
    env: str
    names: tuple[str, ...]
    changes: tuple[PlannedChange, ...]
    notes: tuple[str, ...]
    fingerprint: Fingerprint
    apply_with: Callable[[Plan, Callable[[ApplyStep], None]], Applied] = field(
        repr=False, compare=False
    )

    def apply(self, notice: Callable[[ApplyStep], None] = ignore_step) -> Applied:
        """Write the changes, and return what was done.

        The plan is computed again first. A failed change does not prevent the others.

        Args:
            notice: called with each step.

        Raises:
            CheckFailed: kfgcp.toml, a pipeline or a service has changed since the plan was made.
                Nothing was written.
            Locked: another apply is at work. Nothing was written.
            KfgcpError: a change failed. The others were written. Another apply continues.

        Example::

            kfgcp.plan(env="dev").apply().steps
        """
        if not self.changes:
            return Applied(self.env, (), ())
        return self.apply_with(self, notice)

    @property
    def summary(self) -> str:
        """The changes in one line: `1 to create, 2 to update`."""
        counts = count_changes(self.changes)
        words = {
            PlanAction.CREATE: "to create",
            PlanAction.UPDATE: "to update",
            PlanAction.DELETE: "to delete",
            PlanAction.DRIFT: "to set back",
        }
        parts = [f"{counts[action]} {word}" for action, word in words.items() if counts[action]]
        return ", ".join(parts) or f"No changes: {self.env} is as kfgcp.toml says."

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the plan as JSON, in the form that `kfgcp plan --json` prints."""
        changes: list[JsonValue] = [change.to_dict() for change in self.changes]
        return {
            "project": self.project,
            "env": self.env,
            "names": list(self.names),
            "changes": changes,
            "notes": list(self.notes),
        }
