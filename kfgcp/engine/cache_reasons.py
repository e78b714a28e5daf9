"""Say why a task was not taken from the cache: compare it with its earlier successes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.engine.cache_key import digest
from kfgcp.store.rows import DeletedSuccess

MAX_SUCCESSES: Final = 1000
"""How many earlier successes of a task are read at most. A loop has one for each item."""

_MAX_COMPARED: Final = 20
"""How many of them a task is compared with at most when none of them had the same inputs."""

SAME_CODE_AND_INPUTS: Final = "same code and inputs"

Parts = Mapping[str, Any]
"""What a key is made of, see `kfgcp.engine.cache_key`."""


class EarlierSuccesses:
    """The earlier successes of one task.

    Args:
        parts: of the keys of the successes, the newest first.
    """

    def __init__(self, parts: Sequence[Parts]) -> None:
        self._newest = parts[:_MAX_COMPARED]
        self._by_inputs: dict[str, Parts] = {}
        for success in parts:
            self._by_inputs.setdefault(_inputs_key(success), success)

    def explain(self, now: Parts, details: Parts) -> str:
        """Return what is different in the earlier success that differs least.

        Of several such successes the newest one counts. When a success had the same inputs, only
        that one is looked at: in a loop, the successes of the other items do not tell anything.

        Args:
            now: the parts of the key of the task.
            details: digests that are not part of the key, see `cache_key.source_parts`.
        """
        same_inputs = self._by_inputs.get(_inputs_key(now))
        successes = self._newest if same_inputs is None else [same_inputs]
        if not successes:
            return "no earlier success of this task"
        all_parts = {**now, **details}
        differences = [_compare(success, all_parts) for success in successes]
        return min(differences, key=_Differences.count).text()


def explain_deleted(success: DeletedSuccess, match: str = SAME_CODE_AND_INPUTS) -> str:
    """Return why a task runs again: a run was deleted.

    Args:
        success: a success of the deleted run.
        match: what the task has in common with the success.
    """
    if success.had_files:
        return f"the files of run {success.run_id} were deleted with it"
    return f"run {success.run_id}, which had the {match}, was deleted"


@dataclass(frozen=True, slots=True)
class _Differences:
    """What is different in two successes.

    Attributes:
        inputs: names of parameters and artifacts.
        others: all other differences, each as a clause.
    """

    inputs: Sequence[str]
    others: Sequence[str]

    def count(self) -> int:
        return len(self.inputs) + len(self.others)

    def text(self) -> str:
        reasons = list(self.others)
        if self.inputs:
            reasons.insert(0, f"inputs changed: {', '.join(self.inputs)}")
        return "; ".join(reasons) or "no earlier success with the same code and inputs"


def _inputs_key(parts: Parts) -> str:
    names = ("params", "artifacts", "files", "component")
    return digest([parts.get(name) for name in names])


def _compare(before: Parts, now: Parts) -> _Differences:
    if before.get("key") != now.get("key"):
        return _Differences((), ["the cache key changed"])
    params = _changed_names(before, now, "params")
    artifacts = _changed_names(before, now, "artifacts")
    others: list[str] = []
    # A new path is a changed parameter already.
    if set(_changed_names(before, now, "files")) - set(params):
        others.append("a file that a parameter names has changed")
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


def _changed_names(before: Parts, now: Parts, kind: str) -> list[str]:
    old = before.get(kind, {})
    new = now.get(kind, {})
    return [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def _command_difference(before: Parts, now: Parts) -> str:
    """Return why the command is different.

    KFP writes the packages and its own version into the command, beside the user's code.
    """
    if "source" in before and before["source"] == now.get("source"):
        if before["packages"] != now["packages"]:
            return "packages_to_install changed"
        if before["kfp"] != now["kfp"]:
            return "another version of kfp compiled the component"
    return "the code of the component changed"
