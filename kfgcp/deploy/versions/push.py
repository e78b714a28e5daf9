"""Add a pipeline to a registry, and set tags. The same content makes no write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kfgcp.backends.versions import (
    RegisteredVersion,
    SupportsVersions,
    VersionUpload,
    refused_move,
)
from kfgcp.deploy.versions.names import check_pipeline_name, check_tag, is_fixed_tag
from kfgcp.errors import BadAnswer, NotFound, UsageError
from kfgcp.model import JsonValue
from kfgcp.spec.digest import digest
from kfgcp.spec.load import Spec, from_text

UPLOADED = "uploaded"
UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push.

    Attributes:
        pipeline: the name of the pipeline in the registry.
        version: the version of the pipeline, `sha256:` and 64 digits.
        env: the name of the environment.
        registry: the address of the registry.
        action: `uploaded`, or `unchanged` when the registry had this pipeline.
        new_tags: the tags that were set or moved now.
        entry: the entry of the registry, with all its tags.
        notes: what to know about the pipeline in this environment, a line for each.
        required_params: the parameters that each run must give.
    """

    pipeline: str
    version: str
    env: str
    registry: str
    action: str
    new_tags: tuple[str, ...]
    entry: RegisteredVersion
    notes: tuple[str, ...] = ()
    required_params: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the result as JSON, in the form that `kfgcp push --json` prints."""
        return {
            "pipeline": self.pipeline,
            "version": self.version,
            "env": self.env,
            "registry": self.registry,
            "action": self.action,
            "new_tags": list(self.new_tags),
            "tags": list(self.entry.tags),
            "ref": self.entry.ref,
            "address": self.entry.address,
        }


@dataclass(frozen=True, slots=True)
class Push:
    """What to push.

    Attributes:
        upload: the text that the environment runs, and its version.
        sent: the pipeline of the text.
        tags: the tags to set.
    """

    upload: VersionUpload
    sent: Spec
    tags: Sequence[str]


def prepare_push(project: str, spec: Spec, sent: Spec, text: str, tags: Sequence[str]) -> Push:
    """Check what is about to be pushed.

    Args:
        project: the name of the project.
        spec: the pipeline.
        sent: the pipeline as the environment runs it.
        text: the text of `sent`.
        tags: the tags to set.

    Raises:
        UsageError: a tag or the name of the pipeline is not allowed, or the pipeline comes from a
            registry.
        SpecError: the text is not a valid pipeline.
    """
    if spec.registered is not None or spec.template is not None:
        raise UsageError(
            f"{spec.origin} comes from a registry.",
            hint="Push the file of the pipeline. To set a tag: kfgcp version tag NAME@TAG TAG",
        )
    check_pipeline_name(spec.name)
    for tag in tags:
        check_tag(tag)
    upload = VersionUpload(project, spec.name, spec.version, text)
    push = Push(upload, sent, tuple(dict.fromkeys(tags)))
    check_text(push)
    return push


def check_text(push: Push) -> None:
    """Check before an upload that the text is valid and means the pipeline.

    A file that is not YAML keeps a server of Kubeflow Pipelines busy for ever.

    Raises:
        SpecError: the text is not a valid pipeline.
    """
    sent = push.sent
    if not _is_same(from_text(push.upload.text, sent.origin), sent):
        raise AssertionError(f"The text of {sent.origin} does not mean the pipeline.")


def run_push(registry: SupportsVersions, push: Push, env: str, notes: Sequence[str] = ()) -> Pushed:
    """Upload a pipeline when the registry does not have it, and set its tags.

    Args:
        registry: the registry.
        push: what to push.
        env: the name of the environment.
        notes: what to know about the pipeline in this environment.

    Raises:
        UsageError: a tag that begins with `v` and a digit points to another version. Nothing was
            written.
        Unsupported: the registry has no tags, or takes fewer than the entry would have. Nothing was
            written.
        BackendError: the registry refuses or cannot be reached.
    """
    upload = push.upload
    if push.tags:
        registry.require_tags(push.tags)
    entries = registry.list_versions(upload.pipeline)
    entry, has_text = find_entry(registry, push, entries)
    for tag in push.tags:
        refuse_move(tag, entries, entry, upload.version)
    if entry is not None and push.tags:
        registry.require_tags(push.tags, entry)
    action = UNCHANGED
    if entry is None or not has_text:
        entry = registry.upload(upload)
        action = UPLOADED
    new_tags = [tag for tag in push.tags if tag not in entry.tags]
    entry = set_tags(registry, entry, new_tags)
    return Pushed(
        upload.pipeline,
        upload.version,
        env,
        registry.registry,
        action,
        tuple(new_tags),
        entry,
        tuple(notes),
        tuple(name for name, param in push.sent.params.items() if param.required),
    )


def set_tags(
    registry: SupportsVersions, entry: RegisteredVersion, tags: Sequence[str]
) -> RegisteredVersion:
    """Let tags point to an entry, and return the entry with them.

    Args:
        registry: the registry.
        entry: the entry.
        tags: the tags, which `check_tag` and `refuse_move` allow.

    Raises:
        UsageError: another process has set a tag that never moves since `refuse_move`.
    """
    for tag in tags:
        registry.set_tag(entry, tag, fixed=is_fixed_tag(tag))
    return _with_tags(entry, set(entry.tags) | set(tags))


def _with_tags(entry: RegisteredVersion, tags: set[str]) -> RegisteredVersion:
    return replace(entry, tags=tuple(sorted(tags)))


def refuse_move(
    tag: str,
    entries: Sequence[RegisteredVersion],
    target: RegisteredVersion | None,
    version: str,
) -> None:
    """Check that a tag may point to an entry.

    Args:
        tag: the tag.
        entries: the entries of the pipeline.
        target: the entry, None when it is not uploaded yet.
        version: the version of the entry.

    Raises:
        UsageError: the tag begins with `v` and a digit, and points to another entry.
    """
    if not is_fixed_tag(tag):
        return
    for entry in entries:
        if tag not in entry.tags or (target is not None and entry.ref == target.ref):
            continue
        raise refused_move(tag, entry, version)


def find_entry(
    registry: SupportsVersions, push: Push, entries: Sequence[RegisteredVersion]
) -> tuple[RegisteredVersion | None, bool]:
    """Return the entry that already has the pipeline in the form for this environment.

    The text of an entry is read only when its version is the same and its digest is not.

    Args:
        registry: the registry.
        push: what to push.
        entries: the entries of the pipeline, the newest first.

    Returns:
        The entry, None without one, and whether the registry has its text. When a text is missing
        or was changed, an upload writes it again.
    """
    upload = push.upload
    same_version = [entry for entry in entries if entry.has_version(upload.version)]
    if not same_version:
        return None, False
    # NAME@sha256:… means the newest entry. When an older one has the text, because a translation
    # was changed and changed back, `upload` makes it the newest one again.
    newest = same_version[0]
    if newest.has_text(upload.text_digest):
        return newest, True
    try:
        text = registry.read_text(newest)
    except (BadAnswer, NotFound):
        return newest, False
    # Another version of the KFP SDK writes the same pipeline as another text.
    if _is_same(from_text(text, upload.pipeline), push.sent):
        return newest, True
    return None, False


def _is_same(one: Spec, other: Spec) -> bool:
    """Return whether two pipelines mean the same, with their second documents."""
    is_same_pipeline = digest(one.pipeline_spec) == digest(other.pipeline_spec)
    return is_same_pipeline and (one.platform_spec or {}) == (other.platform_spec or {})
