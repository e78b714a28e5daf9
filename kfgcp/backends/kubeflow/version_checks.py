"""Check a pipeline before it is uploaded, and compare it with what the server has stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from kfgcp.backends.exact_integers import first_inexact, refuse_inexact
from kfgcp.backends.kubeflow.limits import MAX_NAME_BYTES, SCHEMA
from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.names import is_same_name
from kfgcp.backends.kubeflow.version_documents import find_change
from kfgcp.backends.kubeflow.version_entries import Entry
from kfgcp.backends.kubeflow.version_markers import MAX_TAGS, read_markers, read_user_tags
from kfgcp.backends.kubeflow.version_messages import name_of
from kfgcp.backends.versions import MARKERS, RegisteredVersion, VersionUpload
from kfgcp.errors import BadAnswer, SpecError, Unsupported, UsageError
from kfgcp.services.redact import redacted_line
from kfgcp.spec.load import Spec, from_text

# The server refuses longer files (MaxFileLength in apiserver/common/const.go).
MAX_TEXT_BYTES: Final = 32 * 2**20

_TOO_MANY_HINT: Final = "Remove a tag that is not needed: kfgcp version tag --help"

# The name of a pipeline inside its spec (pipelineNamePattern in apiserver/common/utils.go).
_SPEC_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


def read_upload(upload: VersionUpload) -> Spec:
    """Return the pipeline of an upload.

    Raises:
        SpecError: the text is not a pipeline that the server accepts without a change. A file that
            is not YAML would keep the server busy for ever.
    """
    if len(upload.text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise SpecError(
            f"The pipeline {upload.pipeline!r} is larger than {MAX_TEXT_BYTES // 2**20} MiB,"
            f" the limit of {SERVICE}.",
            hint="Move code out of components into their images.",
        )
    spec = from_text(upload.text, upload.pipeline)
    if not _SPEC_NAME.fullmatch(spec.name):
        raise SpecError(
            f"{SERVICE} cannot store a pipeline whose name in @dsl.pipeline is {spec.name!r}.",
            hint="Use 1 to 128 lowercase letters, digits and hyphens.",
        )
    schema = spec.pipeline_spec.get("schemaVersion")
    if schema != SCHEMA:
        raise SpecError(
            f"The pipeline {upload.pipeline!r} has schemaVersion {schema!r}; {SERVICE} takes only"
            f" {SCHEMA}.",
            hint="Compile the pipeline again with KFP 2: kfgcp compile pipeline.py",
        )
    refuse_inexact(spec.pipeline_spec, {}, SERVICE)
    if spec.platform_spec is not None:
        _check_platform(spec.platform_spec, upload.pipeline)
    return spec


def _check_platform(platform_spec: Mapping[str, object], pipeline: str) -> None:
    platforms = platform_spec.get("platforms")
    # The server drops a platform spec for other platforms (IsPlatformSpecWithKubernetesConfig in
    # apiserver/template/v2_template.go).
    if not isinstance(platforms, Mapping) or "kubernetes" not in platforms:
        raise SpecError(
            f"The second document of {pipeline!r} has no settings for kubernetes, so {SERVICE}"
            " would drop it.",
            hint="Remove the second document.",
        )
    if first_inexact(platform_spec) is not None:
        raise SpecError(
            f"The second document of {pipeline!r} has an integer that {SERVICE} would change.",
            hint="Numbers are exact up to 2**53.",
        )


def check_name(name: str) -> None:
    """Refuse a name of a pipeline that a server refuses or stores in another form.

    Raises:
        UsageError: the name is empty or too long, or has a character that cannot be shown.
    """
    problem = ""
    if not name or name != name.strip():
        problem = "is empty, or begins or ends with a space"
    elif not name.isprintable():
        problem = "has a character that cannot be shown"
    elif len(name.encode()) > MAX_NAME_BYTES:
        problem = f"has {len(name.encode())} bytes; {SERVICE} takes at most {MAX_NAME_BYTES}"
    if problem:
        raise UsageError(
            f"The name of the pipeline {redacted_line(repr(name), limit=60)} {problem}.",
            hint="Choose another name in [pipeline.NAME] of kfgcp.toml.",
        )


def check_stored(entry: Entry, upload: VersionUpload, spec: Spec) -> None:
    """Check that the server has an entry as it was uploaded.

    Raises:
        BadAnswer: it has not.
    """
    name = redacted_line(name_of(entry.answer), limit=60)
    stored_markers = read_markers(entry.answer)
    for marker, value in upload.markers.items():
        if stored_markers.get(marker) != value:
            raise dropped_marker(f"the version {name} of {upload.pipeline!r}", marker)
    change = find_change(spec, entry.answer.get("pipeline_spec") or {})
    if change:
        raise BadAnswer(
            f"{SERVICE} has the version {name} of {upload.pipeline!r} with another"
            f" {redacted_line(change, limit=200)} than the one that was uploaded.",
            hint="Delete this version on the server. Then compile the pipeline for its release.",
        )


def check_new_tags(
    version: RegisteredVersion | None, stored: Mapping[str, str], keys: Sequence[str]
) -> None:
    """Refuse more tags than a version can have.

    Args:
        version: the entry, None when it is not uploaded yet.
        stored: the tags that the server has for it.
        keys: the keys of the new tags.

    Raises:
        Unsupported: the entry cannot have all of them.
    """
    present = stored if version is not None else dict.fromkeys(MARKERS, "")
    count = len(set(present) | set(keys))
    if count <= MAX_TAGS:
        return
    subject = "The new version" if version is None else f"The version {version.address}"
    raise Unsupported(
        f"{subject} would have {count} tags; {SERVICE} takes at most {MAX_TAGS}, and kfgcp uses"
        " some of them.",
        hint=_TOO_MANY_HINT,
    )


def check_new_tag(target: Entry, tag: str, key: str) -> None:
    """Refuse a tag that the server would refuse, or take for another tag.

    Raises:
        Unsupported, UsageError: the entry cannot get the tag.
    """
    tags = target.answer.get("tags") or {}
    if key not in tags and len(tags) >= MAX_TAGS:
        raise Unsupported(
            f"The version {target.registered.address} has {len(tags)} tags; {SERVICE} takes at"
            f" most {MAX_TAGS}, and kfgcp uses some of them.",
            hint=_TOO_MANY_HINT,
        )
    for other in read_user_tags(target.answer):
        # The keys of tags are in a primary key, which MySQL compares without regard to case.
        if other != tag and is_same_name(other, tag):
            raise UsageError(
                f"The version has the tag {other!r} already, which is equal to {tag!r} for MySQL.",
                hint="Choose a tag that differs in more than upper and lower case.",
            )


def dropped_marker(owner: str, marker: str) -> BadAnswer:
    """Return the error for a pipeline or a version without one of its markers.

    Args:
        owner: the pipeline or the version, in words.
        marker: the name of the marker.
    """
    return BadAnswer(
        f"{SERVICE} dropped the marker {marker} of {owner}.",
        hint="Check whether a proxy changes requests. If none does, update kfgcp.",
    )
