"""Refuse integers that a service would change, because it keeps every number as a double.

Vertex AI and Kubeflow Pipelines both have parameters as `google.protobuf.Value` (RuntimeConfig in
pipeline_job.proto and in v2beta1/runtime_config.proto), and a spec as `google.protobuf.Struct`.
Numbers of these messages are doubles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kfgcp.errors import ParamError, SpecError
from kfgcp.spec.json_values import Place, format_place

EXACT: Final = 2**53
"""Doubles have every integer up to this one, and some larger ones."""


def refuse_inexact(spec: Mapping[str, Any], params: Mapping[str, Any], service: str) -> None:
    """Refuse a run when an integer in its parameters or its spec would arrive as a different
    number.

    Args:
        spec: the PipelineSpec.
        params: the values of its parameters that are sent as numbers.
        service: the name of the service, for messages.

    Raises:
        ParamError: a parameter holds such an integer.
        SpecError: the spec does.
    """
    hint = (
        f"{service} keeps numbers as doubles, which are exact up to 2**53. Pass the number as text"
        " (STRING) instead."
    )
    for name, value in params.items():
        inexact = _first_inexact(value)
        if inexact is not None:
            _, number = inexact
            raise ParamError(
                f"The parameter {name} contains {number}, which would arrive as a different"
                " number.",
                hint=hint,
            )
    inexact = _first_inexact(spec)
    if inexact is not None:
        place, number = inexact
        raise SpecError(
            f"The pipeline contains {number}, which would arrive as a different number:"
            f" {format_place(place)}.",
            hint=hint,
        )


def _first_inexact(value: object, place: Place = ()) -> tuple[Place, int] | None:
    """Return the first integer in a JSON value that no double is equal to, with its place."""
    if isinstance(value, int):
        return None if _is_exact(value) else (place, value)
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    for step, item in items:
        inexact = _first_inexact(item, (*place, step))
        if inexact is not None:
            return inexact
    return None


def _is_exact(number: int) -> bool:
    try:
        return abs(number) <= EXACT or int(float(number)) == number
    except OverflowError:
        return False
