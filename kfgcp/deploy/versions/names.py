"""Names of versions in a registry: `NAME@TAG`, `NAME@sha256:…` and `NAME@latest`. Pure."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from kfgcp.errors import UsageError

LATEST: Final = "latest"

# Tags of Artifact Registry are part of addresses, which allow more (the reference of the resource
# Tag). On Kubeflow Pipelines a tag is a key with at most 63 characters, of which the prefix of
# kfgcp takes 10 (kfgcp.backends.kubeflow.version_markers). The rule is the part that both take.
MAX_TAG_CHARACTERS: Final = 53
_TAG: Final = re.compile(rf"[a-z][a-z0-9._-]{{0,{MAX_TAG_CHARACTERS - 1}}}")

# Tags that another client has set are only read. So a name can have all characters of a tag of
# Artifact Registry (Tag.name).
_READ_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~@-]{0,127}")

# `k-…` marks a version in Artifact Registry, and `t-…` marks its text. `use-…` is reserved for
# releases.
_RESERVED_PREFIXES: Final = ("k-", "t-", "use-", "sha256-")

# These tags name one version for ever.
_FIXED_TAG: Final = re.compile(r"v[0-9].*")

_DIGITS: Final = re.compile(r"[0-9a-f]{8,64}")

# The names that the KFP compiler writes, in the characters that a package of Artifact Registry has
# (see `kfgcp.backends.vertex.templates`).
_PIPELINE: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)

# The digits of a version in the example of a tag.
_EXAMPLE_DIGITS: Final = 12

_FORMS_HINT: Final = "Write NAME@TAG, NAME@latest, or NAME@sha256: and at least 8 digits."


class NameKind(enum.Enum):
    """What the part after `@` is."""

    TAG = "tag"
    VERSION = "version"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class VersionName:
    """A name of a version.

    Attributes:
        pipeline: the name of the pipeline in the registry.
        kind: what `value` is.
        value: a tag, the word `latest`, or `sha256:` and 8 to 64 digits.
    """

    pipeline: str
    kind: NameKind
    value: str

    def __str__(self) -> str:
        return f"{self.pipeline}@{self.value}"


def is_version_name(text: str) -> bool:
    """Return whether a text has the form NAME@VALUE. It need not be a valid name.

    Example:
        >>> is_version_name("churn@v1"), is_version_name("churn"), is_version_name("https://a@b/c")
        (True, False, False)
    """
    pipeline, separator, _ = text.partition("@")
    is_name = bool(separator) and _PIPELINE.fullmatch(pipeline) is not None
    return is_name and "/" not in text


def parse_version_name(text: str) -> VersionName:
    """Return the parts of a name.

    Raises:
        UsageError: the text is not the name of a version.

    Example:
        >>> parse_version_name("churn@v1.4.0").kind
        <NameKind.TAG: 'tag'>
        >>> str(parse_version_name("churn@sha256:0123abcd"))
        'churn@sha256:0123abcd'
    """
    if not is_version_name(text):
        raise UsageError(f"{text} is not the name of a version.", hint=_FORMS_HINT)
    pipeline, _, value = text.partition("@")
    if value == LATEST:
        return VersionName(pipeline, NameKind.LATEST, value)
    if value.startswith("sha256:"):
        if not _DIGITS.fullmatch(value.removeprefix("sha256:")):
            raise UsageError(f"{text}: {value} is not a version.", hint=_FORMS_HINT)
        return VersionName(pipeline, NameKind.VERSION, value)
    if not _READ_TAG.fullmatch(value):
        raise UsageError(f"{text}: {value!r} is not a tag.", hint=_FORMS_HINT)
    return VersionName(pipeline, NameKind.TAG, value)


def looks_like_digits(tag: str) -> bool:
    """Return whether a tag can be the digits of a version.

    Example:
        >>> looks_like_digits("0123abcd"), looks_like_digits("1.0.0")
        (True, False)
    """
    return _DIGITS.fullmatch(tag) is not None


def check_tag(tag: str) -> None:
    """Check a tag that a user gives to a version.

    Raises:
        UsageError: the tag is not allowed. The message says why.

    Example:
        >>> check_tag("v1.4.0")
        >>> check_tag("k-0123456789ab")
        Traceback (most recent call last):
        kfgcp.errors.UsageError: The tag 'k-0123456789ab' is reserved: kfgcp uses tags with k-.
    """
    if tag == LATEST:
        raise UsageError(
            "The tag 'latest' is reserved: it always means the newest version.",
            hint="Choose another tag, such as stable.",
        )
    for prefix in _RESERVED_PREFIXES:
        if tag.startswith(prefix):
            raise UsageError(
                f"The tag {tag!r} is reserved: kfgcp uses tags with {prefix}.",
                hint="Choose another tag, such as main or stable.",
            )
    digits = tag.removeprefix("sha256").removeprefix(":")
    if looks_like_digits(digits) or tag.startswith("sha256"):
        raise UsageError(
            f"The tag {tag!r} looks like a version.",
            hint=f"Begin the tag with a word: build-{digits[:_EXAMPLE_DIGITS]}",
        )
    if not _TAG.fullmatch(tag):
        raise UsageError(
            f"{tag!r} is not a tag.",
            hint="A tag begins with a lowercase letter and has at most"
            f" {MAX_TAG_CHARACTERS} of: a-z 0-9 . _ -",
        )


def check_pipeline_name(name: str) -> None:
    """Check the name of a pipeline that is about to be pushed.

    Raises:
        UsageError: NAME@TAG could not name it.

    Example:
        >>> check_pipeline_name("churn-daily")
    """
    if not _PIPELINE.fullmatch(name):
        raise UsageError(
            f"A registry cannot have a pipeline with the name {name!r}.",
            hint="Begin the name with a letter or digit, and use at most 128 of: a-z 0-9 . _ -",
        )


def is_fixed_tag(tag: str) -> bool:
    """Return whether a tag never moves to another version: it begins with `v` and a digit.

    Example:
        >>> is_fixed_tag("v1.4.0"), is_fixed_tag("stable"), is_fixed_tag("validated")
        (True, False, False)
    """
    return _FIXED_TAG.fullmatch(tag) is not None
