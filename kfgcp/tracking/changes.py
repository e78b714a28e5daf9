"""Changes of pipelines in words: one below the other for `kfgcp diff`, each in a line for `kfgcp
compare`. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from kfgcp.spec.diff import Change
from kfgcp.spec.wire import CHANNEL
from kfgcp.tracking.compare import MISSING
from kfgcp.tracking.format import value_text

LONG: Final = 100
"""Characters of a value that stand beside another one in a line; longer ones have lines of their
own."""

_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_LONGEST: Final = 80
"""Characters of a value where each change has one line."""

Lines = Iterator[tuple[str, str]]
"""Lines with the signs that colour them."""


def tree(changes: Sequence[Change]) -> Lines:
    """Each task below those that it is in, and what changed in it below that."""
    shown: list[str] = []
    first: dict[Any, str] = {}
    for path, group in groupby(changes, key=lambda change: change.path):
        own = [*group]
        parts = path.split("/")
        new = next(
            (
                depth
                for depth, part in enumerate(parts)
                if [*parts[:depth], part] != shown[: depth + 1]
            ),
            0,
        )
        for depth, part in enumerate(parts[new:-1], new):
            yield "", f"{'  ' * depth}  {part}"
        shown, indent = parts, "  " * (len(parts) - 1)
        if own[0].what == "task":
            sign = _SIGNS[own[0].kind]
            yield sign, f"{indent}{sign} {parts[-1]}{_was(own[0])}"
        else:
            yield "", f"{indent}  {parts[-1] or '(pipeline)'}"
        for change in own:
            if change.what != "task":
                yield from ((sign, f"{indent}    {line}") for sign, line in _told(change, first))


def line(change: Change) -> str:
    """A change in one line: `~ train: image: one → two`."""
    sign = _SIGNS[change.kind]
    if change.what == "task":
        return f"{sign} {change.path}{_was(change)}"
    label = f"{sign} {change.path or 'pipeline'}: {change.what} {change.name}".rstrip()
    if change.lines:
        more, less = (sum(line.startswith(side) for line in change.lines) for side in "+-")
        return f"{label} (+{more} -{less} lines)"
    if _one(change) == change.name:  # of a list of names
        return label
    before, after = (value_text(each, _LONGEST) for each in _texts(change))
    return (
        f"{label}: {before} → {after}"
        if sign == "~"
        else f"{label}: {after if sign == '+' else before}"
    )


def _was(change: Change) -> str:
    return f" (was {change.before})" if change.kind == "changed" else ""


def _one(change: Change) -> Any:
    """The value of what came or went."""
    return change.after if change.kind == "added" else change.before


def _told(change: Change, first: dict[Any, str]) -> Lines:
    """A change in a line, or with lines below it; first: in which task a diff of several lines is
    shown."""
    sign = _SIGNS[change.kind]
    label = f"{sign} {change.what} {change.name}".rstrip()
    one = _one(change)
    before, after = _texts(change)
    if change.lines:
        path = first.setdefault((change.what, change.lines), change.path)
        yield sign, label + (f": as in {path}" if path != change.path else "")
        if path == change.path:
            yield from ((line[:1], f"  {line}") for line in change.lines)
    elif change.kind != "changed" and isinstance(one, str) and "\n" in one:
        yield sign, label
        yield from ((sign, f"  {sign}{line}") for line in one.splitlines())
    elif one == change.name:  # of a list of names
        yield sign, label
    elif change.kind != "changed":
        yield sign, f"{label}: {after if sign == '+' else before}"
    elif max(len(before), len(after)) <= LONG:
        yield sign, f"{label}: {before} → {after}"
    else:
        yield sign, label
        yield "-", f"  -{before}"
        yield "+", f"  +{after}"


def _texts(change: Change) -> tuple[str, str]:
    """Both values; of two definitions only what is not the same."""
    before, after = change.before, change.after
    if (
        isinstance(before, dict)
        and isinstance(after, dict)
        and change.what in ("parameter", "artifact", "output")
    ):
        same = {key for key in before if key in after and before[key] == after[key]}
        before, after = (
            {key: each[key] for key in each if key not in same} for each in (before, after)
        )
        if len(before) == 1 and before.keys() == after.keys():
            (key,) = before
            return _part(key, before[key]), _part(key, after[key]).removeprefix(f"{key} ")
    if change.what == "condition" and _short(str(before)) != _short(str(after)):
        before, after = _short(str(before)), _short(str(after))
    return _text(before), _text(after)


def _short(condition: str) -> str:
    """A condition as it is read: `int(score) > 4`."""
    return re.sub(rf"inputs\.parameter_values\['(?:{CHANNEL})?([^']+)'\]", r"\1", condition)


def _text(value: Any) -> str:
    """A fact's value as people write it, see `kfgcp.spec.facts`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and (source := _source(value)):
        return f"{source} by {value['selector']}" if "selector" in value else source
    if isinstance(value, dict) and value.keys() & {"type", "from", "default", "optional"}:
        return ", ".join(
            _part(key, value[key]) for key in sorted(value, key=lambda key: (key != "type", key))
        )
    return str(MISSING) if value in (None, {}) else json.dumps(value, ensure_ascii=False)


def _source(value: Mapping[str, Any]) -> str:
    """Where a value comes from, "" when it is no such thing."""
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


def _part(key: str, value: Any) -> str:
    """A field of a definition."""
    if key == "type":
        return str(value)
    if key == "from":
        return "from " + " or ".join(map(_source, value))
    return key if value is True else f"{key} {json.dumps(value, ensure_ascii=False)}"
