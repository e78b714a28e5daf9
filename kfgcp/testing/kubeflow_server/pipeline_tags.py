"""The tags of pipelines and versions, since 2.17.

The rules are those of apiserver/model/pipeline_tags.go, server/pipeline_upload_server.go and
clearTagsMiddleware in apiserver/main.go, at tag 2.17.0. Older servers do not read tags.
"""

from __future__ import annotations

import json
from typing import Final

from kfgcp.testing.kubeflow_server.errors import INVALID, GatewayError, KfpError, invalid_input

# The limits of pipeline_tags.go: the tags of an object, and the characters of a key or a value.
MAX_TAGS: Final = 20
MAX_TAG_LENGTH: Final = 63

Tags = dict[str, str]

_NOT_TAGS: Final = (
    "Failed to parse tags query parameter. Expected JSON object with string keys and values"
)


def parse_tags(text: str) -> Tags:
    """Return the tags in the query of an upload, which are not checked yet.

    Raises:
        KfpError: INVALID, the text is not a JSON object with text values.
    """
    try:
        tags = json.loads(text or "{}")
    except ValueError:
        raise KfpError(INVALID, _NOT_TAGS) from None
    if not _is_map(tags):
        raise KfpError(INVALID, _NOT_TAGS)
    return dict(tags or {})


def read_tags(value: object) -> Tags:
    """Return the field `tags` of a body, which is not checked yet. None is an empty map.

    Raises:
        GatewayError: INVALID, the value is not a map of texts, so proto JSON refuses it.
    """
    if not _is_map(value):
        raise GatewayError(INVALID, "proto: (line 1:9): invalid value for map field tags")
    assert value is None or isinstance(value, dict)
    return dict(value or {})


def clears_tags(body: bytes) -> bool:
    """Return whether a body of PATCH asks to remove all tags.

    Without the middleware, an empty map means the same as no map. The middleware compares the raw
    text of the field, so a map with a space in it removes nothing.
    """
    try:
        fields = json.loads(body or b"{}")
    except ValueError:
        return False
    return isinstance(fields, dict) and fields.get("tags") == {} and b"{}" in body


def check_tags(tags: Tags) -> None:
    """Check tags as `ValidateTags` does.

    Raises:
        KfpError: INVALID.
    """
    if len(tags) > MAX_TAGS:
        raise invalid_input(
            f"number of tags ({len(tags)}) exceeds maximum of {MAX_TAGS} per entity"
        )
    for key, value in tags.items():
        if not key:
            raise invalid_input("tag key cannot be empty")
        # Go's %q writes a text as JSON does, except for rare characters.
        shown_key = json.dumps(key, ensure_ascii=False)
        if "." in key:
            raise invalid_input(f"tag key {shown_key} must not contain '.' character")
        if len(key) > MAX_TAG_LENGTH:
            raise invalid_input(
                f"tag key {shown_key} exceeds maximum length of {MAX_TAG_LENGTH} characters"
            )
        if len(value) > MAX_TAG_LENGTH:
            shown_value = json.dumps(value, ensure_ascii=False)
            raise invalid_input(
                f"tag value {shown_value} for key {shown_key} exceeds maximum length of"
                f" {MAX_TAG_LENGTH} characters"
            )


def _is_map(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
