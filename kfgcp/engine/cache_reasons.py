"""Explain to the user why a task runs although it has earlier successes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.engine.cache_key import digest
from kfgcp.store.rows import DeletedSuccess

MAX_SUCCESSES: Final = 1000
"""The most earlier successes of a task that are read. A task in a loop has one for each item."""

_MAX_COMPARED: Final = 20
"""The most earlier successes that a task is compared with. This limit counts only when no earlier
success had the same inputs."""

SAME_CODE_AND_INPUTS: Final = "same code and inputs"

Parts = Mapping[str, Any]
"""The values from which a key was computed, see `kfgcp.engine.cache_key.key_parts`."""


class EarlierSuccesses:
    """The earlier successes of one task.

    Args:
        successes: the parts of the key of each success, the newest success first.
    """

    def __init__(self, successes: Sequence[Parts]) -> None:
        self._newest = successes[:_MAX_COMPARED]
        self._newest_by_inputs: dict[str, Parts] = {}
        for success in successes:
            self._newest_by_inputs.setdefault(_inputs_key(success), success)

    def explain(self, now: Parts, details: Parts) -> str:
        """Return the differences between a task and the earlier success that is most like it.

        If a success had the same inputs, the task is compared with the newest such success only. In
        a loop, for example, the successes of other items would explain nothing. If several
        successes are equally like the task, the newest one counts.

        Args:
            now: the parts of the key of the task.
            details: digests that are not part of the key, see `cache_key.source_parts`.

        Returns:
            One line for the user.
        """
        same_inputs = self._newest_by_inputs.get(_inputs_key(now))
        successes = self._newest if same_inputs is None else [same_inputs]
        if not successes:
            return "this task has not succeeded before"
        all_parts = {**now, **details}
        differences = [_compare(success, all_parts) for success in successes]
        return min(differences, key=_Differences.count).describe()


def explain_deleted(success: DeletedSuccess, match: str = SAME_CODE_AND_INPUTS) -> str:
    """Return the reason when a task runs because the run of its earlier success was deleted.

    Args:
        success: the success of the deleted run.
        match: what the task has in common with the success.
    """
    if success.had_files:
        return f"run {success.run_id} and its files were deleted"
    return f"run {success.run_id}, which had the {match}, was deleted"


@dataclass(frozen=True, slots=True)
class _Differences:
    """The differences between a task and an earlier success.

    Attributes:
        inputs: the names of the parameters and artifacts that changed.
        others: all other changes, each as a clause for the user.
    """

    inputs: Sequence[str]
    others: Sequence[str]

    def count(self) -> int:
        return len(self.inputs) + len(self.others)

    def describe(self) -> str:
        reasons = list(self.others)
        if self.inputs:
            reasons.insert(0, f"inputs changed: {', '.join(self.inputs)}")
        return "; ".join(reasons) or (
            "this task has not succeeded before with the same code and inputs"
        )


def _inputs_key(parts: Parts) -> str:
    """Return a digest that is equal for equal inputs."""
    names = ("params", "artifacts", "files", "component")
    return digest([parts.get(name) for name in names])


def _compare(before: Parts, now: Parts) -> _Differences:
    if before.get("key") != now.get("key"):
        return _Differences((), ["the cache key changed"])
    params = _changed_names(before, now, "params")
    artifacts = _changed_names(before, now, "artifacts")
    others: list[str] = []
    # When a parameter has the path of another file now, the parameter itself is listed as changed.
    if set(_changed_names(before, now, "files")) - set(params):
        others.append("a parameter has the path of a file, and the file changed")
    if before.get("component") != now.get("component"):
        others.append("the name of the component changed")
    if before.get("volumes") != now.get("volumes"):
        others.append("the volumes changed")
    if before.get("image") != now.get("image"):
        others.append("the image changed")
    if before.get("command") != now.get("command"):
        others.append(_command_difference(before, now))
    elif before.get("outputs") != now.get("outputs"):
        others.append("the code of the component changed")
    return _Differences(params + artifacts, others)


def _changed_names(before: Parts, now: Parts, part: str) -> list[str]:
    """Return the sorted names in one part of two keys whose values are different."""
    old = before.get(part, {})
    new = now.get(part, {})
    return [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def _command_difference(before: Parts, now: Parts) -> str:
    """Return which part of the command is different.

    KFP's compiler writes three things into the command: the user's code, the packages, and its own
    version.
    """
    if "source" in before and before["source"] == now.get("source"):
        if before["packages"] != now["packages"]:
            return "packages_to_install changed"
        if before["kfp"] != now["kfp"]:
            return "another version of kfp compiled the component"
    return "the code of the component changed"
