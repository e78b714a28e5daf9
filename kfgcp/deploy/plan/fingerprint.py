"""Recognize a plan that is out of date by the data that it was computed from. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from kfgcp.backends.applied import applied_digest
from kfgcp.backends.schedules import LiveSchedule
from kfgcp.backends.versions import RegisteredVersion
from kfgcp.deploy.plan.pipelines import PipelinePlan
from kfgcp.model import JsonValue

_PARTS: Final = ("services", "pipelines", "declared", "versions", "live", "updated")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a plan was computed from.

    Each value is one text, so that two fingerprints are easy to compare.

    Attributes:
        services: `place` -> where the runs of the environment are, and `registry` -> the address of
            its registry.
        pipelines: name of a pipeline of kfgcp.toml -> its version, the digest of its text, and its
            tags.
        declared: name of a schedule of kfgcp.toml -> the digest of its properties. Schedules that
            are deleted are only in `live`.
        versions: name of a pipeline in the registry -> its entries with their tags.
        live: name of a schedule on the service -> its identities, properties and states.
        updated: name of a schedule on the service -> when it was changed last. Services also change
            this time when a schedule starts a run, so it is not compared.
    """

    services: Mapping[str, str] = field(default_factory=dict)
    pipelines: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    live: Mapping[str, str] = field(default_factory=dict)
    updated: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the fingerprint as JSON."""
        data: dict[str, JsonValue] = {}
        for name in _PARTS:
            texts: Mapping[str, str] = getattr(self, name)
            data[name] = dict(texts)
        return data

    def has_same_project(self, other: Self) -> bool:
        """Return whether kfgcp.toml and the pipelines are the same. The services may have changed.

        Example:
            >>> Fingerprint(live={"daily": "a"}).has_same_project(Fingerprint())
            True
        """
        return (self.pipelines, self.declared) == (other.pipelines, other.declared)

    @classmethod
    def from_dict(cls, data: Mapping[str, JsonValue]) -> Self:
        """Return the fingerprint from the JSON of `to_dict`.

        Raises:
            ValueError: a part is missing, or is not a mapping of texts.
        """
        parts: dict[str, Mapping[str, str]] = {}
        for name in _PARTS:
            part = data.get(name)
            if not isinstance(part, dict):
                raise ValueError(f"{name} is not a mapping")
            texts = {key: value for key, value in part.items() if isinstance(value, str)}
            if len(texts) != len(part):
                raise ValueError(f"{name} has values that are not texts")
            parts[name] = texts
        return cls(**parts)


def describe_moves(before: Fingerprint, now: Fingerprint, env: str) -> list[str]:
    """Return in words what has changed since a plan was made, [] when nothing has.

    Args:
        before: what the plan was computed from.
        now: what a plan would be computed from now.
        env: the name of the environment.

    Example:
        >>> describe_moves(Fingerprint(live={"daily": "a"}), Fingerprint(), "dev")
        ['the schedule daily in dev']
    """
    services = _changed(before.services, now.services)
    if services:
        # Another service has other objects, so it is useless to compare them.
        return [f"the {name} of {env}" for name in services]
    moves = [
        f"the pipeline {name} on this machine" for name in _changed(before.pipelines, now.pipelines)
    ]
    # The schedules of a changed pipeline change with it, so they are not named.
    if not moves:
        schedules = _changed(before.declared, now.declared)
        moves = [f"the schedule {name} in kfgcp.toml" for name in schedules]
    pipeline_names = _changed(before.versions, now.versions)
    moves += [f"the versions of {name} in the registry of {env}" for name in pipeline_names]
    for name in _changed(before.live, now.live):
        time = now.updated.get(name)
        moves.append(f"the schedule {name} in {env}" + (f" (at {time})" if time else ""))
    return moves


def pipeline_text(plan: PipelinePlan) -> str:
    """Return the text that stands for a pipeline of kfgcp.toml in a fingerprint."""
    push = plan.desired.push
    return f"{push.upload.version} {push.upload.text_digest} {' '.join(sorted(push.tags))}".strip()


def versions_text(entries: Sequence[RegisteredVersion]) -> str:
    """Return the text that stands for the entries of a pipeline in a fingerprint."""
    return "; ".join(f"{entry.ref} {' '.join(entry.tags)}".strip() for entry in entries)


def live_text(live: Sequence[LiveSchedule]) -> str:
    """Return the text that stands for the live schedules of one name in a fingerprint."""
    texts = [f"{item.ref} {_digest(item)}" for item in live]
    return "; ".join(sorted(texts))


def _digest(live: LiveSchedule) -> str:
    return applied_digest(live.fields, paused=not live.enabled)


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = before.keys() | now.keys()
    return sorted(name for name in names if before.get(name) != now.get(name))
