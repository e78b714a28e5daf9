"""Check the answers of Kubeflow Pipelines about pipelines and their versions.

Names and types follow pipeline.proto of the v2beta1 API, as in `messages`. Servers before 2.14 have
only `display_name`. Servers before 2.17 have no `tags`.
"""

from __future__ import annotations

from typing import Any, Final, Required, TypedDict, cast

from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.services.fields import map_of, mapping, message, read, required_text, text, time


class PipelineAnswer(TypedDict, total=False):
    """A pipeline. It has versions."""

    pipeline_id: Required[str]
    name: str
    display_name: Required[str]
    description: str
    tags: dict[str, str]


class VersionAnswer(TypedDict, total=False):
    """A version of a pipeline."""

    pipeline_id: Required[str]
    pipeline_version_id: Required[str]
    name: str
    display_name: Required[str]
    description: str
    created_at: Required[str]
    pipeline_spec: dict[str, Any]
    tags: dict[str, str]


_PIPELINE: Final = message(
    {
        "pipeline_id": required_text,
        "name": text,
        "display_name": required_text,
        "description": text,
        "tags": map_of(text),
    },
    required=("pipeline_id", "display_name"),
)
_VERSION: Final = message(
    {
        "pipeline_id": required_text,
        "pipeline_version_id": required_text,
        "name": text,
        "display_name": required_text,
        "description": text,
        "created_at": time,
        "pipeline_spec": mapping,
        "tags": map_of(text),
    },
    required=("pipeline_id", "pipeline_version_id", "display_name", "created_at"),
)


def check_pipeline(answer: object) -> PipelineAnswer:
    """Return an answer, or an item of a list, as a pipeline.

    Raises:
        BadAnswer: the answer is not a pipeline. The message names the wrong field.
    """
    return cast("PipelineAnswer", read(answer, _PIPELINE, service=SERVICE, thing="a pipeline"))


def check_version_answer(answer: object) -> VersionAnswer:
    """Return an answer, or an item of a list, as a version of a pipeline.

    Raises:
        BadAnswer: the answer is not a version. The message names the wrong field.
    """
    checked = read(answer, _VERSION, service=SERVICE, thing="a pipeline version")
    return cast("VersionAnswer", checked)


def name_of(answer: PipelineAnswer | VersionAnswer) -> str:
    """Return the name of a pipeline or a version. The display name of an answer can be changed."""
    return answer.get("name") or answer["display_name"]
