"""The markers of kfgcp on versions in Artifact Registry: two tags and three comment lines.

Versions of the format KFP have no labels (docs/decisions/0030-markers-in-artifact-registry.md).

    k-<12 digits>               a version of a pipeline -> the text that its environment runs now
    t-<12 digits>-<12 digits>   a version and the digest of a text -> that text. It never moves.

A tag has a part of a digest, so the file has the whole version. It begins with these lines, and the
text of the pipeline follows unchanged:

    # kfgcp-project: churn
    # kfgcp-name: train
    # kfgcp-version: sha256:<64 digits>
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kfgcp.backends.versions import (
    NAME_MARKER,
    PROJECT_MARKER,
    SHORT_DIGITS,
    VERSION_MARKER,
    VersionUpload,
    digits,
)
from kfgcp.errors import UsageError
from kfgcp.services.redact import redacted_line

# The lines end with a line feed, and the text follows at once. So no character of the text is lost.
_MARKED: Final = re.compile(
    rf"# {PROJECT_MARKER}: (?P<project>[^\r\n]*)\n"
    rf"# {NAME_MARKER}: (?P<pipeline>[^\r\n]*)\n"
    rf"# {VERSION_MARKER}: (?P<version>sha256:[0-9a-f]{{64}})\n"
)
_VERSION_TAG: Final = re.compile(r"k-(?P<version>[0-9a-f]{12})")
_TEXT_TAG: Final = re.compile(r"t-(?P<version>[0-9a-f]{12})-(?P<text>[0-9a-f]{12})")


@dataclass(frozen=True, slots=True)
class TagMarkers:
    """The markers in the tags of an entry.

    Attributes:
        version: the version of the pipeline, `sha256:` and 12 digits; "" when no tag has it.
        text_digest: the digest of the text in the same form; "" when no tag has it.
        is_current: whether the environment runs this text for the version.
    """

    version: str
    text_digest: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text with its markers.

    Attributes:
        project: the name of the project.
        pipeline: the name of the pipeline.
        version: the version of the pipeline, `sha256:` and 64 digits.
        text: the text of the pipeline without the comment lines.
    """

    project: str
    pipeline: str
    version: str
    text: str


def version_tag(upload: VersionUpload) -> str:
    """Return the tag for the version of an upload."""
    return f"k-{digits(upload.version, SHORT_DIGITS)}"


def text_tag(upload: VersionUpload) -> str:
    """Return the tag for the text of an upload.

    It has the version, too: two versions can become the same text in an environment.
    """
    version_digits = digits(upload.version, SHORT_DIGITS)
    return f"t-{version_digits}-{digits(upload.text_digest, SHORT_DIGITS)}"


def is_marker(tag: str) -> bool:
    """Return whether a tag has the form of a marker."""
    return bool(_VERSION_TAG.fullmatch(tag) or _TEXT_TAG.fullmatch(tag))


def read_tags(tags: Sequence[str]) -> TagMarkers:
    """Return the markers in the tags of an entry.

    An entry has at most one tag of each kind, unless somebody has moved tags. Tags that do not say
    which version the entry has are ignored.

    Example:
        >>> read_tags(["k-0123456789ab", "latest"]).version
        'sha256:0123456789ab'
    """
    text_matches = [match for tag in tags if (match := _TEXT_TAG.fullmatch(tag))]
    version_matches = [match for tag in tags if (match := _VERSION_TAG.fullmatch(tag))]
    if len(text_matches) == 1:
        version, text = text_matches[0]["version"], f"sha256:{text_matches[0]['text']}"
    elif len(version_matches) == 1:
        version, text = version_matches[0]["version"], ""
    else:
        return TagMarkers("", "", is_current=False)
    return TagMarkers(f"sha256:{version}", text, is_current=f"k-{version}" in tags)


def add_markers(upload: VersionUpload) -> str:
    """Return the text of an upload with its markers. `read_markers` is the inverse.

    Raises:
        UsageError: a name has characters that a comment in YAML cannot have.
    """
    for name in (upload.project, upload.pipeline):
        # A line break would end the comment. YAML allows few other characters that are not
        # printable (YAML 1.2.2, section 5.1).
        if not name.isprintable():
            raise UsageError(
                f"{redacted_line(name, limit=100)!r} has characters that cannot be printed, so it"
                " cannot be the name of a project or a pipeline in Artifact Registry.",
                hint="Use another name in kfgcp.toml or in the pipeline.",
            )
    markers = (
        f"# {PROJECT_MARKER}: {upload.project}\n"
        f"# {NAME_MARKER}: {upload.pipeline}\n"
        f"# {VERSION_MARKER}: {upload.version}\n"
    )
    return markers + upload.text


def read_markers(content: str) -> MarkedText | None:
    """Return the markers and the text of a file, None for a file that kfgcp did not make.

    Example:
        >>> read_markers("pipelineInfo: {name: train}") is None
        True
    """
    match = _MARKED.match(content)
    if match is None:
        return None
    return MarkedText(**match.groupdict(), text=content[match.end() :])
