"""Check a version and a tag before they are sent to Artifact Registry."""

from __future__ import annotations

import re
from typing import Final

from kfgcp.backends.versions import VersionUpload
from kfgcp.backends.vertex.registry_addresses import PIPELINE_NAME
from kfgcp.backends.vertex.version_markers import add_markers, is_marker
from kfgcp.errors import SpecError, UsageError
from kfgcp.services.redact import redacted_line

# Users may set these tags. They have the characters and the length of tags of images (distribution
# specification of the Open Container Initiative), which every format of Artifact Registry has.
_USER_TAG: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}")


def checked_content(upload: VersionUpload) -> bytes:
    """Return the file of an upload after a check of the pipeline in it.

    Raises:
        UsageError: Artifact Registry cannot have a pipeline with this name.
        SpecError: the text is not a valid pipeline.
    """
    # It takes time to import, and most commands add no version.
    from kfgcp.spec.load import from_text

    if not PIPELINE_NAME.fullmatch(upload.pipeline):
        raise UsageError(
            f"{redacted_line(upload.pipeline, limit=130)!r} cannot be the name of a pipeline in"
            " Artifact Registry.",
            hint="Use at most 128 lowercase letters, digits and -. A - must not be the first.",
        )
    # PyYAML and libyaml do not agree on a byte order mark after the comment lines of kfgcp.
    if upload.text.startswith("\ufeff"):
        raise SpecError(
            f"The text of {upload.pipeline} begins with a byte order mark.",
            hint="Save the file as UTF-8 without a byte order mark.",
        )
    text = add_markers(upload)
    spec = from_text(text, upload.pipeline)
    if spec.name != upload.pipeline:
        raise UsageError(
            f"The pipeline has the name {redacted_line(spec.name, limit=130)!r}, and Artifact"
            f" Registry would not add it as {upload.pipeline!r}.",
            hint="Use the name of the pipeline itself: @dsl.pipeline(name=...).",
        )
    return text.encode()


def check_tag(tag: str) -> None:
    """Check that a user may set and remove a tag.

    Raises:
        UsageError: Artifact Registry cannot have it, or kfgcp uses it as a marker.
    """
    shown_tag = redacted_line(tag, limit=140)
    if not _USER_TAG.fullmatch(tag):
        raise UsageError(
            f"{shown_tag!r} cannot be a tag in Artifact Registry.",
            hint="Use at most 128 letters, digits, -, _ and . and begin with a letter or a digit.",
        )
    if is_marker(tag):
        raise UsageError(
            f"kfgcp itself uses the tag {shown_tag!r} to recognize a version.",
            hint="Use another tag, such as v1.0.0.",
        )
