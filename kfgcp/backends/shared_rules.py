"""What rules of several backends ask a pipeline, and answer in the same way."""

from __future__ import annotations

from typing import Final

from kfgcp.backends.exact_integers import first_inexact
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import Match
from kfgcp.spec.json_values import format_place

_INEXACT: Final = "first inexact integer"


def match_inexact_integer(pipeline: PipelineContext) -> Match:
    """Return the number and the place of an integer that no double is equal to.

    The rules of Vertex AI and of Kubeflow Pipelines both ask this. The document is searched once.
    """
    if _INEXACT not in pipeline.memo:
        pipeline.memo[_INEXACT] = first_inexact(pipeline.document) or ()
    inexact = pipeline.memo[_INEXACT]
    if not inexact:
        return False
    place, number = inexact
    return {"number": str(number), "place": format_place(place)}
