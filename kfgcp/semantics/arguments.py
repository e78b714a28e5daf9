"""Fill in the placeholders in the command and arguments of a container.

An argument can be optional (`dsl.IfPresentPlaceholder`) or joined from parts
(`dsl.ConcatPlaceholder`). KFP's compiler writes such an argument as JSON text (semantics.md,
Placeholders).
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

    An optional element, `{"IfPresent": ...}`, becomes no word, one word or several words. Any other
    element becomes one word.

    Args:
        templates: the elements of the command and arguments in the spec.
        executor_input: the ExecutorInput of the attempt.
        job: values of `pipeline_job_name` and the other placeholders of the job and the task.

    Raises:
        ValueProblem: an element names an input or output that the task does not have, or an
            optional element is not valid.

    Example:
        >>> executor_input = {"inputs": {"parameterValues": {"rate": 0.1}, "artifacts": {}}}
        >>> optional = '{"IfPresent": {"InputName": "seed", "Then": ["--seed"]}}'
        >>> resolve(["--rate", "{{$.inputs.parameters['rate']}}", optional], executor_input, {})
        ['--rate', '0.1']
    """
    words: list[str] = []
    for template in templates:
        words += _fill_words(_parse_template(template), executor_input, job)
    return words


def _parse_template(template: str) -> Any:
    """Return the JSON value of an optional or joined element, and any other element as it is."""
    if not template.lstrip().startswith(('{"IfPresent"', '{"Concat"')):
        return template
    try:
        return json.loads(template)
    except ValueError:
        return template


def _fill_words(element: Any, executor_input: JsonObject, job: Mapping[str, str]) -> Iterator[str]:
    """Yield the words for a part of an element, which `_parse_template` has returned."""
    if isinstance(element, str):
        yield fill_argument(element, executor_input, job)
    elif isinstance(element, list):
        for item in element:
            yield from _fill_words(item, executor_input, job)
    elif isinstance(element, dict) and "Concat" in element:
        yield "".join(_fill_words(element["Concat"], executor_input, job))
    elif isinstance(element, dict) and "IfPresent" in element:
        choice = element["IfPresent"]
        if not isinstance(choice, dict) or not isinstance(choice.get("InputName"), str):
            text = format_json(element)
            raise ValueProblem(f"this IfPresent placeholder has no InputName: {text}")
        branch = "Then" if _is_present(choice["InputName"], executor_input) else "Else"
        # Without Else there is no word.
        yield from _fill_words(choice.get(branch, []), executor_input, job)
    else:
        yield format_json(element)


def _is_present(name: str, executor_input: JsonObject) -> bool:
    """Return whether an input has a value other than null."""
    inputs = executor_input["inputs"]
    has_parameter = inputs["parameterValues"].get(name) is not None
    return has_parameter or bool(inputs["artifacts"].get(name))
