"""The entries of a pipeline on Kubeflow Pipelines: names, order, and which of them is current.

The name of the first entry of a version is `sha256-<12 digits>`. The later entries of the same
version are `sha256-<12 digits>-<number>-<6 digits of the text>`. See `versions`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.version_markers import read_markers, read_user_tags
from kfgcp.backends.kubeflow.version_messages import VersionAnswer, name_of
from kfgcp.backends.versions import (
    PROJECT_MARKER,
    SHORT_DIGITS,
    TEXT_MARKER,
    VERSION_MARKER,
    RegisteredVersion,
    VersionUpload,
    digits,
)
from kfgcp.errors import NotFound

_NAME: Final = re.compile(
    r"sha256-(?P<version>[0-9a-f]{12})(?:-(?P<number>[1-9][0-9]{0,8})-[0-9a-f]{6})?"
)
_DIGITS: Final = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A version on the server.

    Attributes:
        answer: the version as the server has it.
        number: the number in its name, 1 for the first entry of a version, 0 for other names.
        registered: the version without its tags.
    """

    answer: VersionAnswer
    number: int
    registered: RegisteredVersion


def read_entry(answer: VersionAnswer, pipeline: str, host: str) -> Entry:
    """Return a version of the server as an entry.

    Args:
        answer: the version.
        pipeline: the name of its pipeline.
        host: the address of the server, without a slash at its end.
    """
    markers = read_markers(answer)
    pipeline_id = answer["pipeline_id"]
    version_id = answer["pipeline_version_id"]
    match = _NAME.fullmatch(name_of(answer))
    number = 0
    if match is not None:
        number = int(match["number"] or 1)
    registered = RegisteredVersion(
        pipeline=pipeline,
        ref=f"{pipeline_id}/{version_id}",
        version=_read_digest(markers, VERSION_MARKER),
        text_digest=_read_digest(markers, TEXT_MARKER),
        project=markers.get(PROJECT_MARKER, ""),
        tags=(),
        created_at=answer["created_at"],
        address=f"{host}/#/pipelines/details/{pipeline_id}/version/{version_id}",
    )
    return Entry(answer, number, registered)


def choose_name(upload: VersionUpload, entries: Sequence[Entry]) -> str:
    """Return the name of a new entry."""
    short_version = digits(upload.version, SHORT_DIGITS)
    numbers = [0]
    for entry in entries:
        match = _NAME.fullmatch(name_of(entry.answer))
        if match is not None and match["version"] == short_version:
            numbers.append(entry.number)
    number = max(numbers) + 1
    if number == 1:
        return f"sha256-{short_version}"
    return f"sha256-{short_version}-{number}-{digits(upload.text_digest, 6)}"


def newest_first(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries, the newest version first.

    The entries of one version are together, in the order of the numbers in their names. The server
    has times in whole seconds, and its clock can go back.
    """
    newest_times: dict[str, str] = {}
    for entry in entries:
        group = entry.registered.version or entry.registered.ref
        newest_times[group] = max(newest_times.get(group, ""), entry.answer["created_at"])

    def sort_key(entry: Entry) -> tuple[str, str, int, str, str]:
        ref = entry.registered.ref
        group = entry.registered.version or ref
        return newest_times[group], group, entry.number, entry.answer["created_at"], ref

    return sorted(entries, key=sort_key, reverse=True)


def with_tags(entries: Sequence[Entry]) -> list[RegisteredVersion]:
    """Return entries with their tags. Entries that are not current have no digest of the text.

    Args:
        entries: all entries of a pipeline, the newest first.
    """
    holders: dict[str, tuple[int, str]] = {}
    for entry in entries:
        for tag, number in read_user_tags(entry.answer).items():
            if tag not in holders or number > holders[tag][0]:
                holders[tag] = (number, entry.registered.ref)
    seen_versions: set[str] = set()
    versions: list[RegisteredVersion] = []
    for entry in entries:
        registered = entry.registered
        tags = [tag for tag, (_, ref) in holders.items() if ref == registered.ref]
        is_current = registered.version not in seen_versions
        seen_versions.add(registered.version)
        text_digest = registered.text_digest if is_current else ""
        versions.append(replace(registered, tags=tuple(sorted(tags)), text_digest=text_digest))
    return versions


def find_current(entries: Sequence[Entry], upload: VersionUpload) -> Entry | None:
    """Return the newest entry of a version, None when it has another text or does not exist."""
    for entry in entries:
        if entry.registered.has_version(upload.version):
            has_text = entry.registered.has_text(upload.text_digest)
            return entry if has_text else None
    return None


def find_ref(entries: Sequence[Entry], version: RegisteredVersion) -> Entry:
    """Return the entry with the identity of a version.

    Raises:
        NotFound: the entry does not exist any more.
    """
    for entry in entries:
        if entry.registered.ref == version.ref:
            return entry
    raise NotFound(
        f"This version of {version.pipeline!r} was deleted from {SERVICE}: {version.address}",
        hint=f"Show the versions: kfgcp version list {version.pipeline}",
        status=404,
    )


def _read_digest(markers: Mapping[str, str], name: str) -> str:
    """Return the digest in a marker, "" when the marker is missing or is not a digest."""
    value = markers.get(name, "")
    return f"sha256:{value}" if _DIGITS.fullmatch(value) else ""
