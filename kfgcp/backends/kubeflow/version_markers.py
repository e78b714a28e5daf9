"""The markers of kfgcp on pipelines and versions, and the tags of users.

From 2.17 on, a pipeline and a version have tags: at most 20, a key and a value have at most 63
characters, and a key has no full stop (apiserver/model/pipeline_tags.go, tag 2.17.0).

    kfgcp-project: churn    a marker
    kfgcp-tag-v1,4,0: 3     the tag v1.4.0 of a user. The number grows when the tag is moved.

On older servers, the description ends with a line that has the markers:

    kfgcp: {"kfgcp-project":"churn","kfgcp-name":"train"}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.request import format_labels_line, parse_description
from kfgcp.backends.kubeflow.version_messages import PipelineAnswer, VersionAnswer
from kfgcp.backends.versions import PROJECT_MARKER
from kfgcp.errors import UsageError
from kfgcp.services.redact import redacted_line

# The first release with tags (pipeline.proto).
FIRST_WITH_TAGS: Final = (2, 17)
MAX_TAGS: Final = 20
MAX_TAG_CHARACTERS: Final = 63

_TAG_PREFIX: Final = "kfgcp-tag-"
# A key has no full stop, and a tag of a user has no comma.
_FULL_STOP: Final = "."
_STAND_IN_FOR_FULL_STOP: Final = ","
_MAX_USER_TAG: Final = MAX_TAG_CHARACTERS - len(_TAG_PREFIX)
_USER_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]*")


@dataclass(frozen=True, slots=True)
class MarkerFields:
    """The fields of a new pipeline or version that have the markers.

    Attributes:
        tags: the tags, empty when the description has the markers.
        description: the description, "" when the tags have the markers.
    """

    tags: Mapping[str, str]
    description: str


def marker_fields(markers: Mapping[str, str], *, has_tags: bool) -> MarkerFields:
    """Return the fields for markers. A marker that is too long for a tag is in the description.

    Args:
        markers: the markers.
        has_tags: whether the server has tags.

    Example:
        >>> marker_fields({"kfgcp-project": "churn"}, has_tags=False).description
        'kfgcp: {"kfgcp-project":"churn"}'
    """
    longest = max(len(value) for value in markers.values())
    if has_tags and longest <= MAX_TAG_CHARACTERS:
        return MarkerFields(markers, "")
    return MarkerFields({}, format_labels_line(markers))


def read_markers(answer: PipelineAnswer | VersionAnswer) -> Mapping[str, str]:
    """Return the markers of a pipeline or a version, empty when kfgcp did not make it.

    A version keeps the markers in its description when the server is upgraded.
    """
    tags = answer.get("tags") or {}
    if PROJECT_MARKER in tags:
        return tags
    labels = parse_description(answer.get("description"))
    return labels if PROJECT_MARKER in labels else {}


def tag_key(tag: str) -> str:
    """Return the key for a tag of a user.

    Raises:
        UsageError: the server cannot have the tag.

    Example:
        >>> tag_key("v1.4.0")
        'kfgcp-tag-v1,4,0'
    """
    if len(tag) > _MAX_USER_TAG or not _USER_TAG.fullmatch(tag):
        raise UsageError(
            f"{SERVICE} cannot have the tag {redacted_line(repr(tag), limit=80)}.",
            hint=(
                f"Use 1 to {_MAX_USER_TAG} letters, digits, full stops, hyphens and underscores."
                " Begin with a letter, a digit or an underscore."
            ),
        )
    return _TAG_PREFIX + tag.replace(_FULL_STOP, _STAND_IN_FOR_FULL_STOP)


def read_user_tags(answer: VersionAnswer) -> dict[str, int]:
    """Return the tags of users on a version, with the number of each tag.

    The version with the highest number has the tag. Another version can have the tag, too, when a
    process was killed before it removed the tag there.
    """
    numbers: dict[str, int] = {}
    for key, value in (answer.get("tags") or {}).items():
        if key.startswith(_TAG_PREFIX):
            tag = key.removeprefix(_TAG_PREFIX).replace(_STAND_IN_FOR_FULL_STOP, _FULL_STOP)
            # A person can change the value. Then any later move of the tag counts more.
            numbers[tag] = int(value) if value.isascii() and value.isdigit() else 0
    return numbers
