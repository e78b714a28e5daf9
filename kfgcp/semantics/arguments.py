"""A container's command and arguments with their placeholders filled in, optional parts
included."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kfgcp.semantics.placeholders import fill_argument
from kfgcp.semantics.values import ValueProblem, format_json


def resolve(
    templates: Sequence[str], executor_input: Mapping[str, Any], job: Mapping[str, str]
) -> list[str]:
    """The words of the command.

    An element that is a JSON text `{"IfPresent": ...}` or `{"Concat": [...]}` is taken for the
    optional or joined part that it describes (semantics.md, Placeholders).

    Raises:
        ValueProblem: an element names an input or output that the task does not have.
    """
    return [
        word for template in templates for word in _words(_structure(template), executor_input, job)
    ]


def _structure(template: str) -> Any:
    if template.lstrip().startswith(('{"IfPresent"', '{"Concat"')):
        try:
            return json.loads(template)
        except ValueError:
            return template
    return template


def _words(part: Any, wire: Mapping[str, Any], job: Mapping[str, str]) -> Iterator[str]:
    if isinstance(part, str):
        yield fill_argument(part, wire, job)
    elif isinstance(part, list):
        for item in part:
            yield from _words(item, wire, job)
    elif isinstance(part, dict) and "Concat" in part:
        yield "".join(_words(part["Concat"], wire, job))
    elif isinstance(part, dict) and "IfPresent" in part:
        choice = part["IfPresent"]
        if not isinstance(choice, dict) or not isinstance(choice.get("InputName"), str):
            raise ValueProblem(f"this IfPresent placeholder has no InputName: {format_json(part)}")
        chosen = "Then" if _present(choice["InputName"], wire) else "Else"
        yield from _words(choice.get(chosen, []), wire, job)
    else:
        yield format_json(part)


def _present(name: str, wire: Mapping[str, Any]) -> bool:
    inputs = wire["inputs"]
    return inputs["parameterValues"].get(name) is not None or bool(inputs["artifacts"].get(name))
