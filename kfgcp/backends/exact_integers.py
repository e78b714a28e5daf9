"""Refuse integers that a service would change, because it keeps every number as a double.

In Vertex AI and in Kubeflow Pipelines, a parameter is a `google.protobuf.Value` (RuntimeConfig in
pipeline_job.proto and in v2beta1/runtime_config.proto), and a spec is a `google.protobuf.Struct`.
The numbers in these messages are doubles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kfgcp.errors import ParamError, SpecError
from kfgcp.spec.json_values import EXACT_DOUBLES, Place, format_place

# The types of JSON values that are not integers and contain no values.
_OTHER_TYPES: Final = frozenset({str, float, bool, type(None)})


def refuse_inexact(spec: Mapping[str, Any], params: Mapping[str, Any], service: str) -> None:
    """Refuse a run with an integer that would arrive as a different number.

    Args:
        spec: the PipelineSpec.
        params: the values of the parameters that are sent as numbers.
        service: the name of the service, for messages.

    Raises:
        ParamError: a parameter contains an integer that would change.
        SpecError: the spec contains an integer that would change.
    """
    hint = (
        f"{service} keeps numbers as doubles, which are exact up to 2**53. Pass the number as text"
        " (STRING) instead."
    )
    for name, value in params.items():
        inexact = first_inexact(value)
        if inexact is not None:
            _, number = inexact
            raise ParamError(
                f"The parameter {name} contains {number}, which a task would get as a different"
                " number.",
                hint=hint,
            )
    inexact = first_inexact(spec)
    if inexact is not None:
        place, number = inexact
        raise SpecError(
            f"The pipeline contains {number}, which a task would get as a different number:"
            f" {format_place(place)}.",
            hint=hint,
        )


def first_inexact(value: object, place: Place = ()) -> tuple[Place, int] | None:
    """Return the place and the value of the first integer that no double is equal to.

    Args:
        value: a JSON value.
        place: the place of the value in its document.
    """
    # Almost no pipeline has such an integer, and the search for its place is slow.
    return _find_inexact(value, place) if _has_large_integer(value) else None


def _has_large_integer(value: object) -> bool:
    """Return whether a JSON value contains an integer above 2**53, which may be inexact."""
    containers: list[Any] = [(value,)]
    while containers:
        container = containers.pop()
        items = container.values() if isinstance(container, (dict, Mapping)) else container
        # Most lists and mappings have only texts, and this test is faster than the loop.
        if _OTHER_TYPES.issuperset(map(type, items)):
            continue
        for item in items:
            if type(item) in _OTHER_TYPES:
                continue
            if isinstance(item, int):
                if abs(item) > EXACT_DOUBLES:
                    return True
            elif isinstance(item, (dict, list, tuple, Mapping)):
                containers.append(item)
    return False


def _find_inexact(value: object, place: Place) -> tuple[Place, int] | None:
    if isinstance(value, int):
        return None if _is_exact(value) else (place, value)
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    for step, item in items:
        inexact = _find_inexact(item, (*place, step))
        if inexact is not None:
            return inexact
    return None


def _is_exact(number: int) -> bool:
    """Return whether a double is equal to an integer."""
    if abs(number) <= EXACT_DOUBLES:
        return True
    try:
        return int(float(number)) == number
    except OverflowError:
        return False
