"""Describe which runs to list, for the store and the backends. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kfgcp.model import Run, RunState

# Labels that match by the beginning of their value: digests, which nobody types in full.
PREFIX_LABELS: Final = ("git", "version")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The runs to list. A run must match every field that is set.

    Attributes:
        pipeline: the name of its pipeline.
        experiment: the name of its experiment.
        env: the name of its environment.
        states: its state is one of these.
        labels: name -> value. For `git` and `version`, the beginning of the value is enough.
        since: RFC 3339 text. The run was created at this time or later.
        where: an expression, see `kfgcp.store.search_expressions`.
        version: the digest of its version, or the beginning of the digest.
        until: RFC 3339 text. The run was created before this time.
        tags: it has all of these tags.
        text: its id, name, pipeline, experiment, note or one of its tags contains this text, in
            upper or lower case.
        ids: its id is one of these complete ids, of which there can be any number.
    """

    pipeline: str | None = None
    experiment: str | None = None
    env: str | None = None
    states: Sequence[RunState] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    since: str | None = None
    where: str | None = None
    version: str | None = None
    until: str | None = None
    tags: Sequence[str] = ()
    text: str | None = None
    ids: Sequence[str] = ()

    @property
    def needs_store(self) -> bool:
        """Whether only the store can choose the runs, because no service can."""
        return any((self.where, self.version, self.until, self.tags, self.text, self.ids))


def matches(run_filter: RunFilter, run: Run) -> bool:
    """Return whether a run matches a filter that does not need the store.

    Example:
        >>> run = Run("a1b2", "dev", "vertex", "churn", "sha256:0", RunState.SUCCEEDED)
        >>> matches(RunFilter(pipeline="churn"), run)
        True
        >>> matches(RunFilter(pipeline="churn", states=[RunState.FAILED]), run)
        False
    """
    if run_filter.pipeline is not None and run.pipeline != run_filter.pipeline:
        return False
    if run_filter.experiment is not None and run.experiment != run_filter.experiment:
        return False
    if run_filter.env is not None and run.env != run_filter.env:
        return False
    if run_filter.states and run.state not in run_filter.states:
        return False
    if (run.created_at or "") < (run_filter.since or ""):
        return False
    return all(_has_label(run, name, value) for name, value in run_filter.labels.items())


def _has_label(run: Run, name: str, value: str) -> bool:
    label = run.labels.get(name)
    if label is None:
        return False
    if name in PREFIX_LABELS:
        return label.startswith(value)
    return label == value
