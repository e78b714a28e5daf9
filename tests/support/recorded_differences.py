"""In what an answer differs from the recorded one."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from exchanges import Exchange
from json_types import JsonDict

WORKFLOW = re.compile(r"\b[a-z][a-z0-9-]*-[0-9a-z]{5}\b(?=-\d|$|[)\"\s])")
"""The name of a workflow, whose last five characters differ between runs."""
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MESSAGE_LENGTH = 60
"""How many characters of a message are compared: clients may read that much of it."""
VALUES = (
    "code",
    "display_name",
    "mode",
    "multi_user",
    "pipeline_store",
    "state",
    "status",
    "storage_state",
    "tag_name",
    "total_size",
)
"""Keys whose values are compared too. Other values are ids and times, or were sent by the
client."""


def differences(recorded: Exchange, status: int, answer: Any) -> list[str]:
    """Return what is different in another answer to the same request, one line each.

    Compared are the status, the keys at every level (of lists those of the first item), the values
    of `VALUES`, the beginning of the message, and of the tasks of a run all names, states and keys.

    Args:
        recorded: the exchange with the real server.
        status: of the other answer.
        answer: the other answer, JSON as a value, or text.
    """
    if status != recorded.status:
        return [f"status {status}, not {recorded.status}"]
    return sorted({*_compared("", recorded.answer, answer)})


def _compared(where: str, recorded: Any, other: Any) -> Iterator[str]:
    if type(recorded) is not type(other):
        yield f"{where or 'answer'}: {type(other).__name__}, not {type(recorded).__name__}"
    elif isinstance(recorded, str):
        key = where.rpartition(".")[2]
        if key in ("message", "error_message", "") and _beginning(recorded) != _beginning(other):
            yield f"{where or 'answer'}: {_beginning(other)!r}, not {_beginning(recorded)!r}"
        if key in VALUES and recorded != other:
            yield f"{where}: {other!r}, not {recorded!r}"
    elif isinstance(recorded, dict):
        yield from _compared_keys(where, recorded, other)
    elif isinstance(recorded, list):
        if where.endswith("task_details"):
            yield from _compared_tasks(recorded, other)
        elif where.endswith("state_history"):
            yield from _compared_history(where, recorded, other)
        elif bool(recorded) != bool(other):
            yield f"{where}: {len(other)} items, not {len(recorded)}"
        elif recorded:
            yield from _compared(f"{where}[0]", recorded[0], other[0])
    elif where.rpartition(".")[2] in VALUES and recorded != other:
        yield f"{where}: {other!r}, not {recorded!r}"


def _compared_keys(where: str, recorded: JsonDict, other: JsonDict) -> Iterator[str]:
    for key in recorded.keys() - other.keys():
        yield f"{where}.{key}".lstrip(".") + ": missing"
    for key in other.keys() - recorded.keys():
        yield f"{where}.{key}".lstrip(".") + ": not in the recording"
    for key in recorded.keys() & other.keys():
        yield from _compared(f"{where}.{key}".lstrip("."), recorded[key], other[key])


def _compared_tasks(recorded: list[Any], other: list[Any]) -> Iterator[str]:
    """Compare the rows that have a name.

    Launchers write the rows without a name, and no launcher ran for the recordings.
    """
    expected, actual = Counter(_rows(recorded)), Counter(_rows(other))
    for row in (expected - actual).elements():
        yield f"task missing: {row}"
    for row in (actual - expected).elements():
        yield f"task not in the recording: {row}"


def _rows(details: list[Any]) -> Iterator[str]:
    for detail in details:
        if "display_name" in detail:
            name, children = (
                WORKFLOW.sub("W", detail["display_name"]),
                len(detail.get("child_tasks", ())),
            )
            yield f"{name} {detail.get('state', '')} {children} {' '.join(sorted(detail))}"


def _compared_history(where: str, recorded: list[Any], other: list[Any]) -> Iterator[str]:
    expected = [step.get("state") for step in recorded]
    actual = [step.get("state") for step in other]
    if expected != actual:
        yield f"{where}: {actual}, not {expected}"


def _beginning(text: str) -> str:
    """Return the part of a message that is compared, without ids.

    The text `proto:` is followed by a space or by U+00A0.
    """
    return WORKFLOW.sub("W", UUID.sub("ID", text.replace("\u00a0", " ")))[:MESSAGE_LENGTH]
