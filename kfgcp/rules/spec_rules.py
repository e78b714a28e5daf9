"""Rules about the pipeline itself: what it says is wrong, or does not do what it seems to."""

from __future__ import annotations

from kfgcp.rules.contexts import TaskContext
from kfgcp.rules.rule import Match, Severity, Target, task_rule


@task_rule(
    "S101",
    Severity.WARNING,
    "{task} loops over an empty list, so nothing in it runs",
    hint="Give the loop items, or remove it.",
)
def empty_loop(context: TaskContext, target: Target) -> Match:
    """A loop without items is valid and completes (docs/reference/semantics.md, loops)."""
    iterator = context.task.iterator
    return iterator is not None and iterator.raw is not None and iterator.raw.strip() == "[]"
