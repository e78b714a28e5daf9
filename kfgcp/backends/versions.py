"""The interface of registries: places that keep versions of pipelines.

A version is the digest of a PipelineSpec, see `kfgcp.spec.digest`. A registry keeps the text that
an environment runs. That text can differ from the pipeline, because an environment translates
portable requests. So each entry has two markers: the version of the pipeline, and the digest of
the text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from kfgcp.errors import UsageError
from kfgcp.model import JsonValue

PROJECT_MARKER: Final = "kfgcp-project"
NAME_MARKER: Final = "kfgcp-name"
VERSION_MARKER: Final = "kfgcp-version"
TEXT_MARKER: Final = "kfgcp-text"
MARKERS: Final = (PROJECT_MARKER, NAME_MARKER, VERSION_MARKER, TEXT_MARKER)

# Labels of Google Cloud have at most 63 characters, so a marker has a part of the digest.
MARKER_DIGITS: Final = 32
SHORT_DIGITS: Final = 12


def digest_text(text: str) -> str:
    """Return `sha256:` and the hexadecimal digest of the text of a compiled pipeline.

    Example:
        >>> digest_text("")[:19]
        'sha256:e3b0c44298fc'
    """
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def digits(digest: str, count: int = MARKER_DIGITS) -> str:
    """Return the first hexadecimal digits of a digest.

    Args:
        digest: `sha256:` and at least `count` digits.
        count: how many digits.

    Example:
        >>> digits("sha256:0123456789abcdef", 12)
        '0123456789ab'
    """
    return digest.removeprefix("sha256:")[:count]


@dataclass(frozen=True, slots=True)
class VersionUpload:
    """A text to add to a registry.

    Attributes:
        project: the name of the project, for the marker.
        pipeline: the name of the pipeline in the registry.
        version: the version of the pipeline, `sha256:` and 64 digits.
        text: the text that the environment runs, valid YAML of one or two documents.
    """

    project: str
    pipeline: str
    version: str
    text: str

    @property
    def text_digest(self) -> str:
        """The digest of the text, `sha256:` and 64 digits."""
        return digest_text(self.text)

    @property
    def markers(self) -> Mapping[str, str]:
        """The markers of the entry."""
        return {
            PROJECT_MARKER: self.project,
            NAME_MARKER: self.pipeline,
            VERSION_MARKER: digits(self.version),
            TEXT_MARKER: digits(self.text_digest),
        }


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """An entry of a registry.

    Attributes:
        pipeline: the name of the pipeline in the registry.
        ref: the identity of the entry in the registry: the digest of Artifact Registry, the ids of
            the pipeline and the version on Kubeflow (`PIPELINE_ID/VERSION_ID`), or the digest of
            the text in a folder. It never changes.
        version: the version of the pipeline: `sha256:` and the digits that the registry has, at
            least 12. "" for an entry that kfgcp did not make.
        text_digest: the digest of the text in the same form, "" when the registry does not have it.
        project: the name of the project that made the entry, "" when the registry does not have it.
        tags: the tags that point to the entry, sorted, without the tags of kfgcp's own markers.
        created_at: RFC 3339 text in UTC.
        address: the address for people, which never changes.
        template: the address in Artifact Registry, which a job on Vertex AI names; "" for other
            registries.
    """

    pipeline: str
    ref: str
    version: str
    text_digest: str
    project: str
    tags: tuple[str, ...]
    created_at: str
    address: str
    template: str = ""

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the entry as JSON, in the form that `kfgcp version show --json` prints."""
        return {
            "pipeline": self.pipeline,
            "version": self.version,
            "tags": list(self.tags),
            "created_at": self.created_at,
            "project": self.project,
            "ref": self.ref,
            "text_digest": self.text_digest,
            "address": self.address,
        }

    def has_version(self, version: str) -> bool:
        """Return whether the entry has a version.

        Args:
            version: `sha256:` and at least 8 digits.
        """
        if not self.version:
            return False
        return version.startswith(self.version) or self.version.startswith(version)

    def has_text(self, text_digest: str) -> bool:
        """Return whether the entry has the text with a digest of 64 digits."""
        return bool(self.text_digest) and text_digest.startswith(self.text_digest)


def short_version(entry: RegisteredVersion) -> str:
    """Return the version of an entry as messages show it. An entry of others has `(foreign)`."""
    return entry.version[: len("sha256:") + SHORT_DIGITS] or "(foreign)"


def refused_move(tag: str, holder: RegisteredVersion, version: str) -> UsageError:
    """Return the error for a tag that cannot move.

    Args:
        tag: the tag.
        holder: the entry that the tag points to.
        version: the version of the entry that the tag would move to, "" for one of others.
    """
    before = short_version(holder)
    after = version[: len("sha256:") + SHORT_DIGITS] or "(foreign)"
    if version and holder.has_version(version):
        after += " with another text"
    return UsageError(
        f"The tag {tag} of {holder.pipeline} points to {before} and cannot move to {after}.",
        hint="Tags that begin with v and a digit never move. Use a new tag.",
    )


@runtime_checkable
class SupportsVersions(Protocol):
    """Has a registry for versions of pipelines.

    Each method raises the errors of `kfgcp.errors`: `ConfigError` when the environment has no
    registry or one of another format, `BackendError` when the service refuses or cannot be reached.

    A registry belongs to one thread. But after `list_pipelines` has returned, several threads may
    call `list_versions`, `read_text` and `read` at the same time.
    """

    @property
    def registry(self) -> str:
        """The address of the registry, for messages."""

    def list_versions(self, pipeline: str) -> Sequence[RegisteredVersion]:
        """Return the versions of a pipeline, the newest first.

        It also returns entries that kfgcp did not make. Their `version` is "". The result is empty
        when the registry does not have the pipeline.
        """

    def list_pipelines(self) -> Sequence[str]:
        """Return the names of the pipelines in the registry, sorted."""

    def read_text(self, version: RegisteredVersion) -> str:
        """Return the text of an entry, exactly as the registry has it.

        Raises:
            NotFound: the entry does not exist any more.
        """

    def read(self, version: RegisteredVersion) -> tuple[RegisteredVersion, str]:
        """Return an entry with all digits of its version that the registry has, and its text.

        Raises:
            NotFound: the entry does not exist any more.
            BadAnswer: the text is not the one that was pushed.
        """

    def upload(self, upload: VersionUpload) -> RegisteredVersion:
        """Add an entry, and return it as the registry has it afterwards.

        When an answer is lost, the request is repeated, and it adds no second entry. The markers
        are on the entry when this method returns. An entry that was added without its markers, by a
        process that was killed, is completed and not added again.

        Raises:
            BadAnswer: the registry dropped a marker or changed the text. The message names it.
        """

    def require_tags(
        self, tags: Sequence[str] = (), version: RegisteredVersion | None = None
    ) -> None:
        """Check that an entry can get tags of users, without a write.

        Args:
            tags: the tags to set.
            version: the entry, None when it is not uploaded yet.

        Raises:
            Unsupported: the registry has no tags, or the entry would have too many.
            UsageError: the registry cannot have a tag.
        """

    def set_tag(self, version: RegisteredVersion, tag: str, *, fixed: bool = False) -> None:
        """Let a tag point to an entry. When it points to another entry, it is moved.

        Args:
            version: the entry.
            tag: the tag.
            fixed: never move the tag, also when several processes set it at the same time.

        Raises:
            Unsupported: the registry has no tags.
            UsageError: `fixed` is set, and the tag points to another entry, see `refused_move`.
        """

    def remove_tag(self, version: RegisteredVersion, tag: str) -> None:
        """Remove a tag of an entry. Do nothing when the entry does not have it."""


@runtime_checkable
class NamesPipelines(Protocol):
    """A registry whose entries do not have the name of their pipeline in their identity."""

    def pipeline_of(self, ref: str) -> str:
        """Return the name of the pipeline of an entry, "" when it is not known.

        After `list_pipelines`, it sends no request.

        Args:
            ref: the identity of the entry, see `RegisteredVersion.ref`.
        """


@runtime_checkable
class ChecksUploads(Protocol):
    """A registry that cannot have every pipeline, and can tell before an upload."""

    def check_upload(self, upload: VersionUpload) -> None:
        """Check an upload. After `list_pipelines`, it sends no request.

        Raises:
            UsageError: the registry cannot have a pipeline with this name, or the pipeline belongs
                to somebody else.
            SpecError, Unsupported: the registry cannot have this text.
        """
