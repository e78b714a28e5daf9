"""A container's command and arguments, with their placeholders filled in.

Optional and joined parts (`dsl.IfPresentPlaceholder`, `dsl.ConcatPlaceholder`) come as JSON text:
KFP's compiler writes them so (semantics.md, Placeholders).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kfgcp.semantics.placeholders import fill_argument
from kfgcp.semantics.values import ValueProblem, format_json
from kfgcp.spec.json_values import JsonObject


def resolve(
    templates: Sequence[str], executor_input: JsonObject, job: Mapping[str, str]
) -> list[str]:
    """Return the words of a command.

    An element may become no word or several: `{"IfPresent": ...}` is an optional part, and
    `{"Concat": [...]}` is one word.

    Args:
        templates: the elements of the spec.
        executor_input: the ExecutorInput of the attempt.
        job: values of `pipeline_job_name` and the other placeholders of the job and the task.

    Raises:
        ValueProblem: an element names an input or output that the task does not have.

    Example:
        >>> executor_input = {"inputs": {"parameterValues": {"rate": 0.1}, "artifacts": {}}}
        >>> optional = '{"IfPresent": {"InputName": "seed", "Then": ["--seed"]}}'
        >>> resolve(["--rate", "{{$.inputs.parameters['rate']}}", optional], executor_input, {})
        ['--rate', '0.1']
    """
    words: list[str] = []
    for template in templates:
        words += _words(_parse_template(template), executor_input, job)
    return words


def _parse_template(template: str) -> Any:
    """Return the structure of an optional or joined part, and any other element as it is."""
    if not template.lstrip().startswith(('{"IfPresent"', '{"Concat"')):
        return template
    try:
        return json.loads(template)
    except ValueError:
        return template


def _words(part: Any, executor_input: JsonObject, job: Mapping[str, str]) -> Iterator[str]:
    if isinstance(part, str):
        yield fill_argument(part, executor_input, job)
    elif isinstance(part, list):
        for item in part:
            yield from _words(item, executor_input, job)
    elif isinstance(part, dict) and "Concat" in part:
        yield "".join(_words(part["Concat"], executor_input, job))
    elif isinstance(part, dict) and "IfPresent" in part:
        choice = part["IfPresent"]
        if not isinstance(choice, dict) or not isinstance(choice.get("InputName"), str):
            raise ValueProblem(f"this IfPresent placeholder has no InputName: {format_json(part)}")
        branch = "Then" if _is_present(choice["InputName"], executor_input) else "Else"
        # Without Else the argument disappears.
        yield from _words(choice.get(branch, []), executor_input, job)
    else:
        yield format_json(part)


def _is_present(name: str, executor_input: JsonObject) -> bool:
    """Return whether an input has a value. null counts as none."""
    inputs = executor_input["inputs"]
    has_parameter = inputs["parameterValues"].get(name) is not None
    return has_parameter or bool(inputs["artifacts"].get(name))
