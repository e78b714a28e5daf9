"""Describe the changes between two pipelines as text.

`kfgcp diff` shows them as a tree, and `kfgcp compare` with one line for each change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from kfgcp.model import JsonValue
from kfgcp.spec.diff import Change
from kfgcp.spec.wire import CHANNEL
from kfgcp.tracking.difference import MISSING
from kfgcp.tracking.format import value_text

# The most characters of each of the two values that are shown in one line, `old → new`. Longer
# values get a line each.
MAX_INLINE: Final = 100

# The most characters of a value in a line of `format_line`, which is one of many lines in a table.
_MAX_VALUE: Final = 80

# The kinds of changes (`Change.what`) that add or remove one name in a list of names. `Change.name`
# and the value are then the same name, see `kfgcp.spec.diff`.
_NAME_LISTS: Final = ("dependency", "package")

_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}

Lines = Iterator[tuple[str, str]]
"""Pairs of a sign and a line. The sign ("+", "-", "~", or "") decides the colour of the line."""


def format_tree(changes: Sequence[Change]) -> Lines:
    """Yield the lines of a tree: tasks below their groups, changes below their tasks."""
    previous_names: list[str] = []
    first_path_of_diff: dict[tuple[str, tuple[str, ...]], str] = {}
    for path, group in groupby(changes, key=lambda change: change.path):
        changes_of_task = list(group)
        names = path.split("/")
        group_names, task_name = names[:-1], names[-1]
        new_depth = _first_new_depth(names, previous_names)
        for depth, group_name in enumerate(group_names[new_depth:], new_depth):
            yield "", f"{'  ' * depth}  {group_name}"
        previous_names = names
        indent = "  " * len(group_names)
        first_change = changes_of_task[0]
        if first_change.what == "task":
            sign = _SIGNS[first_change.kind]
            yield sign, f"{indent}{sign} {task_name}{_format_old_path(first_change)}"
        else:
            yield "", f"{indent}  {task_name or '(pipeline)'}"
        for change in changes_of_task:
            if change.what != "task":
                for sign, line in _format_change(change, first_path_of_diff):
                    yield sign, f"{indent}    {line}"


def _first_new_depth(names: Sequence[str], previous_names: Sequence[str]) -> int:
    """Return the depth at which a path begins to differ from the previous path."""
    for depth in range(len(names)):
        if names[: depth + 1] != previous_names[: depth + 1]:
            return depth
    return 0


def format_line(change: Change) -> str:
    """Return a change in one line.

    Example:
        >>> format_line(Change("train", "image", "changed", "one", "two"))
        '~ train: image: one → two'
    """
    sign = _SIGNS[change.kind]
    if change.what == "task":
        return f"{sign} {change.path}{_format_old_path(change)}"
    label = f"{sign} {change.path or 'pipeline'}: {change.what} {change.name}".rstrip()
    if change.lines:
        added = sum(line.startswith("+") for line in change.lines)
        removed = sum(line.startswith("-") for line in change.lines)
        return f"{label} (+{added} -{removed} lines)"
    if _is_name_only(change):
        return label
    before, after = (value_text(text, _MAX_VALUE) for text in _format_values(change))
    if change.kind == "changed":
        return f"{label}: {before} → {after}"
    return f"{label}: {after if change.kind == 'added' else before}"


def _format_old_path(change: Change) -> str:
    """Return the note `(was PATH)` for a task with a new path, "" for any other change."""
    return f" (was {change.before})" if change.kind == "changed" else ""


def _is_name_only(change: Change) -> bool:
    """Return whether a change has no value besides its name, such as a package."""
    return change.what in _NAME_LISTS and _select_value(change) == change.name


def _select_value(change: Change) -> JsonValue:
    """Return the value that was added or removed."""
    return change.after if change.kind == "added" else change.before


def _format_change(
    change: Change, first_path_of_diff: dict[tuple[str, tuple[str, ...]], str]
) -> Lines:
    """Yield a change as one line, or as a label with lines below it.

    Args:
        change: the change, not of a task as a whole.
        first_path_of_diff: the path of the first task with each diff of several lines. Other tasks
            with the same diff refer to that task. This function adds to the dict.
    """
    sign = _SIGNS[change.kind]
    label = f"{sign} {change.what} {change.name}".rstrip()
    value = _select_value(change)
    before, after = _format_values(change)
    if change.lines:
        first_path = first_path_of_diff.setdefault((change.what, change.lines), change.path)
        if first_path != change.path:
            yield sign, f"{label}: same change as in {first_path}"
            return
        yield sign, label
        for line in change.lines:
            yield line[:1], f"  {line}"
    elif change.kind != "changed" and isinstance(value, str) and "\n" in value:
        yield sign, label
        for line in value.splitlines():
            yield sign, f"  {sign}{line}"
    elif _is_name_only(change):
        yield sign, label
    elif change.kind != "changed":
        yield sign, f"{label}: {after if change.kind == 'added' else before}"
    elif max(len(before), len(after)) <= MAX_INLINE:
        yield sign, f"{label}: {before} → {after}"
    else:
        yield sign, label
        yield "-", f"  -{before}"
        yield "+", f"  +{after}"


def _format_values(change: Change) -> tuple[str, str]:
    """Return the value before and the value after as text.

    For a definition of a parameter, artifact or output, the text has only the fields that differ.
    """
    before, after = change.before, change.after
    is_definition = change.what in ("parameter", "artifact", "output")
    if is_definition and isinstance(before, dict) and isinstance(after, dict):
        same_keys = {key for key in before if key in after and before[key] == after[key]}
        before = _without_keys(before, same_keys)
        after = _without_keys(after, same_keys)
        if len(before) == 1 and before.keys() == after.keys():
            [key] = before
            # Only the value before has the name of the field: "default 1 → 2".
            after_text = _format_field(key, after[key]).removeprefix(f"{key} ")
            return _format_field(key, before[key]), after_text
    if change.what == "condition":
        short_before = _shorten_condition(str(before))
        short_after = _shorten_condition(str(after))
        if short_before != short_after:
            return short_before, short_after
    return _format_value(before), _format_value(after)


def _without_keys(mapping: Mapping[str, JsonValue], keys: set[str]) -> dict[str, JsonValue]:
    return {key: value for key, value in mapping.items() if key not in keys}


def _shorten_condition(condition: str) -> str:
    """Return a condition as people read it: `int(score) > 4`."""
    return re.sub(rf"inputs\.parameter_values\['(?:{CHANNEL})?([^']+)'\]", r"\1", condition)


def _format_value(value: JsonValue) -> str:
    """Return the value of a fact as people write it, see `kfgcp.spec.facts`."""
    if isinstance(value, str):
        return value
    if value is None or value == {}:
        return str(MISSING)
    if isinstance(value, dict):
        source = _format_source(value)
        if source:
            return f"{source} by {value['selector']}" if "selector" in value else source
        if value.keys() & {"type", "from", "default", "optional"}:
            # The type comes first, the other fields in the order of their names.
            keys = sorted(value, key=lambda key: (key != "type", key))
            return ", ".join(_format_field(key, value[key]) for key in keys)
    return json.dumps(value, ensure_ascii=False)


def _format_source(value: JsonValue) -> str:
    """Return the source that a value describes, such as `train.model`. "" without a source."""
    match value:
        case {"constant": constant}:
            return json.dumps(constant, ensure_ascii=False)
        case {"task": task, "output": name}:
            return f"{task}.{name}".replace(CHANNEL, "")
        case {"input": name}:
            return f"the input {name}".replace(CHANNEL, "")
        case {"status_of": task}:
            return f"the status of {task}"
    return ""


def _format_field(key: str, value: JsonValue) -> str:
    """Return a field of a definition."""
    if key == "type":
        return str(value)
    if key == "from" and isinstance(value, list):
        return "from " + " or ".join(_format_source(source) for source in value)
    if value is True:
        return key
    return f"{key} {json.dumps(value, ensure_ascii=False)}"
