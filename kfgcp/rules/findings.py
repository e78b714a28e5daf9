"""What a rule answers, and what becomes of the answer: a finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from kfgcp.rules.contexts import TaskContext


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The pipeline does not run there, or not to its end."""
    WARNING = "warning"
    """It runs, but something is ignored or has another result."""
    NOTE = "note"
    """It is good to know, and too common or too harmless to be shown at every run."""
    NOT_JUDGED = "not judged"
    """Nobody knows, or it depends on values that exist only at run time."""


class Part(StrEnum):
    """The part of a pipeline that must change to silence a rule."""

    TASK = "task"
    """The call that makes the task, or a method of the task."""
    COMPONENT = "component"
    """The definition of the component."""
    PIPELINE = "pipeline"
    """The definition of the pipeline."""


@dataclass(frozen=True, slots=True)
class NotJudged:
    """The answer of a rule that cannot know.

    Attributes:
        reason: completes "not judged: ". It may have placeholders, as the message of a rule.
        values: the values of its placeholders, beside `{task}`, `{component}`, `{env}` and
            `{version}`. Names that users choose belong here.
    """

    reason: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Located:
    """The answer of a rule about a whole pipeline that has found a part of it.

    Attributes:
        values: the values of the placeholders in the message.
        part: what must change.
        task: the path of the task, empty for the pipeline itself.
        component: the name of the component in the spec, empty when the answer is not about one.
    """

    values: Mapping[str, str]
    part: Part = Part.PIPELINE
    task: str = ""
    component: str = ""


def at_task(context: TaskContext, values: Mapping[str, str] | None = None) -> Located:
    """Return the answer of a rule about a whole pipeline that has found one of its tasks.

    Args:
        context: the task.
        values: the values of the placeholders in the message of the rule.
    """
    return Located(values or {}, Part.TASK, context.path, context.component.name)


Match: TypeAlias = bool | Mapping[str, str] | Located | NotJudged | None
"""What a rule returns. False and None: it has nothing to say. A mapping has the values of the
placeholders in its message, beside `{task}`, `{component}`, `{env}` and `{version}`."""


def match_texts(placeholder: str, texts: Iterable[str], separator: str = ", ") -> Match:
    """Return the answer of a rule whose message lists texts, False without texts.

    Example:
        >>> match_texts("names", ["a", "b"]), match_texts("names", [])
        ({'names': 'a, b'}, False)
    """
    listed = list(texts)
    return {placeholder: separator.join(listed)} if listed else False


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """Something that a rule has to say about a pipeline.

    Attributes:
        rule: the id of the rule.
        severity: how bad it is.
        message: one line.
        hint: what to do, one line; empty when there is nothing to do.
        task: the path of the task in the spec; empty for the pipeline as a whole.
        component: the name of the component in the spec; empty when the finding is not about one.
        part: what must change.
        methods: the methods of a task that write it in Python, such as `set_retry`. The line of
            their call is the line of the finding.
    """

    rule: str
    severity: Severity
    message: str
    hint: str = ""
    task: str = ""
    component: str = ""
    part: Part = Part.TASK
    methods: tuple[str, ...] = ()
