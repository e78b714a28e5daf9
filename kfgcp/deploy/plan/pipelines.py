"""Compare a pipeline with its versions in a registry. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kfgcp.backends.versions import RegisteredVersion, short_version
from kfgcp.deploy.plan.changes import PlanAction, PlannedChange, ResourceKind
from kfgcp.deploy.versions.push import Push, refuse_move

# The beginning of the ref of an entry that the registry does not have yet. No registry has refs
# with a blank.
_PENDING: Final = "pending "


@dataclass(frozen=True, slots=True)
class DesiredPipeline:
    """A pipeline that an environment must have.

    Attributes:
        name: its name in kfgcp.toml.
        push: its text for the environment, and the tags that must point to it.
    """

    name: str
    push: Push


@dataclass(frozen=True, slots=True)
class LivePipeline:
    """What a registry has of a pipeline that an environment must have.

    Attributes:
        entry: the entry with the version of the pipeline, None without one.
        has_text: whether the entry has the text of the pipeline.
        newest_text: the text of the newest entry, "" when the pipeline has not changed or the
            registry has no entry.
    """

    entry: RegisteredVersion | None
    has_text: bool
    newest_text: str = ""


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """What happens to a pipeline.

    Attributes:
        desired: the pipeline.
        entry: its entry after the push, see `is_pending`.
        entries: all entries of its name after the push, the newest first.
        change: what is written, None for nothing.
    """

    desired: DesiredPipeline
    entry: RegisteredVersion
    entries: tuple[RegisteredVersion, ...]
    change: PlannedChange | None


def is_pending(entry: RegisteredVersion) -> bool:
    """Return whether an entry of a plan does not exist yet: the plan pushes it."""
    return entry.ref.startswith(_PENDING)


def plan_pipeline(
    env: str,
    desired: DesiredPipeline,
    live: LivePipeline,
    entries: Sequence[RegisteredVersion],
    describe: Callable[[str, Push], Sequence[str]],
) -> PipelinePlan:
    """Return what a push changes.

    Args:
        env: the name of the environment.
        desired: the pipeline.
        live: what the registry has of it.
        entries: all entries of its name, the newest first.
        describe: returns the lines for the difference between a text and the pipeline.

    Raises:
        UsageError: a tag that never moves points to another version.
    """
    push = desired.push
    upload = push.upload
    for tag in push.tags:
        refuse_move(tag, entries, live.entry, upload.version)
    lines: list[str] = []
    after = list(entries)
    entry = live.entry
    if entry is None:
        entry = RegisteredVersion(
            pipeline=upload.pipeline,
            ref=f"{_PENDING}{upload.text_digest}",
            version=upload.version,
            text_digest=upload.text_digest,
            project=upload.project,
            tags=(),
            created_at="",
            address="",
        )
        lines += _version_lines(upload.version, entries)
        if entries and live.newest_text:
            lines += describe(live.newest_text, push)
        after.insert(0, entry)
    elif not live.has_text:
        lines.append("text: the registry does not have it, so it is written again")
    for tag in push.tags:
        if tag in entry.tags:
            continue
        lines.append(_tag_line(tag, after, entry))
        after = [_without(item, tag) for item in after]
        index = [item.ref for item in after].index(entry.ref)
        entry = replace(after[index], tags=tuple(sorted(after[index].tags + (tag,))))
        after[index] = entry
    change = None
    if lines:
        action = PlanAction.UPDATE if entries else PlanAction.CREATE
        change = PlannedChange(ResourceKind.PIPELINE, desired.name, env, action, tuple(lines))
    return PipelinePlan(desired, entry, tuple(after), change)


def _version_lines(version: str, entries: Sequence[RegisteredVersion]) -> list[str]:
    new = version[: len("sha256:") + 12]
    if not entries:
        return [f"version: {new}"]
    if any(entry.has_version(version) for entry in entries):
        return [f"text: another one for {new}, because the environment translates it differently"]
    return [f"version: {short_version(entries[0])} -> {new}"]


def _tag_line(tag: str, entries: Sequence[RegisteredVersion], target: RegisteredVersion) -> str:
    for entry in entries:
        if tag in entry.tags:
            return f"tag {tag}: {short_version(entry)} -> {short_version(target)}"
    return f"tag {tag}: (none) -> {short_version(target)}"


def _without(entry: RegisteredVersion, tag: str) -> RegisteredVersion:
    if tag not in entry.tags:
        return entry
    return replace(entry, tags=tuple(other for other in entry.tags if other != tag))
