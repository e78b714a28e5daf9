"""`kfgcp diff`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import click

from kfgcp import api
from kfgcp.cli import options, output
from kfgcp.errors import CheckFailed
from kfgcp.spec.diff import CHANNEL, Change
from kfgcp.tracking.compare import MISSING

SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
COLORS: Final = {"+": "green", "-": "red", "~": "yellow", "@": "cyan"}
LONG: Final = 100
"""Characters of a value that stand beside another one in a line; longer ones have lines of their own."""


@click.command(epilog="Example: kfgcp diff train.py latest")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--exit-code", "exit_code", is_flag=True, help="Exit with 4 when they differ.")
@options.as_json
def command(before: str, after: str, exit_code: bool, as_json: bool) -> int:
    """Show what differs between pipelines, task by task.

    A and B are each a file (file.py, file.py:function, or a compiled .yaml or .json), a run, or a version that a run
    here had: sha256: and its first 8 digits or more. What makes no other version of a pipeline is no difference.
    """
    found = api.diff(before, after)
    if as_json:
        output.print_json(found.to_dict())
    else:
        for sign, spec in (("-", found.before), ("+", found.after)):
            _print(sign, f"{sign * 3} {spec.origin}  {spec.version[: len('sha256:') + 12]}")
        if not found.changes:
            click.echo("No difference.")
        for sign, line in _tree(found.changes):
            _print(sign, line)
    return CheckFailed.exit_code if found.changes and exit_code else 0


def _print(sign: str, line: str) -> None:
    click.echo(click.style(output.plain(line.rstrip()), fg=COLORS.get(sign)), color=output.color())


Lines = Iterator[tuple[str, str]]
"""Lines with the signs that colour them."""


def _tree(changes: Sequence[Change]) -> Lines:
    """Each task below those that it is in, and what changed in it below that."""
    shown: list[str] = []
    first: dict[Any, str] = {}
    for path, group in groupby(changes, key=lambda change: change.path):
        own = [*group]
        parts = path.split("/")
        new = next((depth for depth, part in enumerate(parts) if [*parts[:depth], part] != shown[: depth + 1]), 0)
        for depth, part in enumerate(parts[new:-1], new):
            yield "", f"{'  ' * depth}  {part}"
        shown, indent = parts, "  " * (len(parts) - 1)
        if own[0].what == "task":
            sign = SIGNS[own[0].kind]
            was = f" (was {own[0].before})" if sign == "~" else ""
            yield sign, f"{indent}{sign} {parts[-1]}{was}"
        else:
            yield "", f"{indent}  {parts[-1] or '(pipeline)'}"
        for change in own:
            if change.what != "task":
                yield from ((sign, f"{indent}    {line}") for sign, line in _told(change, first))


def _told(change: Change, first: dict[Any, str]) -> Lines:
    """A change in a line, or with lines below it; first: in which task a diff of several lines is shown."""
    sign = SIGNS[change.kind]
    label = f"{sign} {change.what} {change.name}".rstrip()
    one = change.after if change.kind == "added" else change.before
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
    if isinstance(before, dict) and isinstance(after, dict) and change.what in ("parameter", "artifact", "output"):
        same = {key for key in before if key in after and before[key] == after[key]}
        before, after = ({key: each[key] for key in each if key not in same} for each in (before, after))
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
        return ", ".join(_part(key, value[key]) for key in sorted(value, key=lambda key: (key != "type", key)))
    return MISSING if value in (None, {}) else json.dumps(value, ensure_ascii=False)


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
