"""Write the tags of pipeline versions on Kubeflow Pipelines.

A request replaces all tags of a version, and the server has no condition for it. So the tags are
read just before and just after each request. See docs/decisions/0031-versions-on-kubeflow.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.names import API
from kfgcp.backends.kubeflow.server_version import Server
from kfgcp.backends.kubeflow.version_checks import check_new_tag, check_new_tags
from kfgcp.backends.kubeflow.version_entries import Entry, find_ref, with_tags
from kfgcp.backends.kubeflow.version_markers import FIRST_WITH_TAGS, read_user_tags, tag_key
from kfgcp.backends.kubeflow.version_messages import VersionAnswer, check_version_answer
from kfgcp.backends.versions import RegisteredVersion, refused_move
from kfgcp.errors import BadAnswer, NotFound, Refused, Unsupported
from kfgcp.rules.versions import format_version
from kfgcp.services.client import ServiceClient

# How often the tags of a version are written at most, when other processes write them, too.
_TRIES: Final = 4
# The statuses of a server without PATCH (recorded: a method that does not exist is 501).
_NO_SUCH_METHOD: Final = (405, 501)

# Another process with the same tag sees a claim, and the holder of the tag has a higher number.
_CLAIM: Final = "0"

# Returns the versions of a pipeline, the newest first. The argument is one of its versions.
ReadEntries = Callable[[RegisteredVersion], Sequence[Entry]]


class VersionTags:
    """The tags of users on the pipeline versions of a server. It belongs to one thread.

    Args:
        http: the client of the pipelines API.
        server: the release of the server.
        read_entries: returns the versions of a pipeline.
    """

    def __init__(self, http: ServiceClient, server: Server, read_entries: ReadEntries) -> None:
        self._http = http
        self._server = server
        self._read_entries = read_entries

    def require(self, tags: Sequence[str], version: RegisteredVersion | None) -> None:
        """Check tags without a write, see `SupportsVersions.require_tags`."""
        keys = [tag_key(tag) for tag in tags]
        release = self._server.version
        if release is not None and release < FIRST_WITH_TAGS:
            raise _without_tags(format_version(release))
        stored: Mapping[str, str] = {}
        if version is not None:
            stored = read_version(self._http, version.ref).get("tags") or {}
        check_new_tags(version, stored, keys)

    def set(self, version: RegisteredVersion, tag: str, *, fixed: bool) -> None:
        """Let a tag point to an entry, see `KubeflowVersions.set_tag`."""
        key = tag_key(tag)
        self.require([], None)
        entries = self._read_entries(version)
        target = find_ref(entries, version)
        others = _holders(entries, target, tag)
        if fixed and others:
            _refuse(entries, target, tag)
        highest_number = 0
        for entry in others:
            highest_number = max(highest_number, read_user_tags(entry.answer)[tag])
        if read_user_tags(target.answer).get(tag, 0) <= highest_number:
            check_new_tag(target, tag, key)
            if fixed:
                self._claim(version, tag, key)
            self._change(version.ref, key, str(highest_number + 1))
        for entry in others:
            self._change(entry.registered.ref, key, None)

    def _claim(self, version: RegisteredVersion, tag: str, key: str) -> None:
        """Add a tag to an entry, and check that no other entry has it.

        Of two processes that do this at the same time, at least one sees the other's claim.

        Raises:
            UsageError: another entry has it. Then the tag is removed again.
        """
        self._change(version.ref, key, _CLAIM)
        entries = self._read_entries(version)
        target = find_ref(entries, version)
        if not _holders(entries, target, tag):
            return
        self._change(version.ref, key, None)
        _refuse([entry for entry in entries if entry is not target], target, tag)

    def remove(self, version: RegisteredVersion, tag: str) -> None:
        """Remove a tag of an entry, see `SupportsVersions.remove_tag`."""
        key = tag_key(tag)
        try:
            entries = self._read_entries(version)
            target = find_ref(entries, version)
        except NotFound:
            return
        if not any(item.ref == version.ref and tag in item.tags for item in with_tags(entries)):
            return
        # When the target loses the tag first and the process is killed, another entry has it.
        for entry in _holders(entries, target, tag):
            self._change(entry.registered.ref, key, None)
        self._change(version.ref, key, None)

    def _change(self, ref: str, key: str, value: str | None) -> None:
        """Set or remove one tag of an entry, and keep the others.

        Args:
            ref: the identity of the entry.
            key: the key of the tag.
            value: its value, None to remove it.

        Raises:
            Unsupported: the server has no tags.
            BadAnswer: the server dropped a tag, or other processes replace it again and again.
        """
        lost_tags: dict[str, str] = {}
        tags = _tags_of(self._http, ref)
        for _ in range(_TRIES):
            if tags.get(key) == value and not lost_tags:
                return
            new_tags = tags | lost_tags
            new_tags.pop(key, None)
            if value is not None:
                new_tags[key] = value
            self._patch(ref, new_tags)
            tags = _tags_of(self._http, ref)
            if tags.get(key) == value:
                return
            # Another process read the tags before this request and wrote them after it. So it has
            # also removed what was added since.
            lost_tags = {name: new_tags[name] for name in new_tags.keys() - tags.keys() - {key}}
        raise _dropped_tag(key)

    def _patch(self, ref: str, tags: Mapping[str, str]) -> None:
        """Replace all tags of an entry.

        Raises:
            Unsupported: the server has no tags.
            BadAnswer: the server dropped a tag.
        """
        try:
            answer = self._http.patch(version_path(ref), body={"tags": dict(tags)})
        except Refused as refused:
            if self._server.version is None and refused.status in _NO_SUCH_METHOD:
                raise _without_tags("of this release") from None
            raise
        stored = check_version_answer(answer).get("tags") or {}
        for key in tags:
            if stored.get(key) != tags[key]:
                raise _dropped_tag(key)


def read_version(http: ServiceClient, ref: str) -> VersionAnswer:
    """Return a pipeline version as the server has it now.

    Args:
        http: the client of the pipelines API.
        ref: the identity of the version, `PIPELINE_ID/VERSION_ID`.
    """
    return check_version_answer(http.get(version_path(ref)))


def version_path(ref: str) -> str:
    """Return the path of a version. ref: `PIPELINE_ID/VERSION_ID`."""
    pipeline_id, _, version_id = ref.partition("/")
    return f"{API}/pipelines/{quote(pipeline_id, safe='')}/versions/{quote(version_id, safe='')}"


def _tags_of(http: ServiceClient, ref: str) -> dict[str, str]:
    return dict(read_version(http, ref).get("tags") or {})


def _holders(entries: Sequence[Entry], target: Entry, tag: str) -> list[Entry]:
    """Return the other entries that have a tag."""
    return [
        entry for entry in entries if entry is not target and tag in read_user_tags(entry.answer)
    ]


def _refuse(entries: Sequence[Entry], target: Entry, tag: str) -> None:
    """Raise the error for a tag that another entry has.

    The entry that the tag points to can be the target, when a claim of another process was cut off.
    """
    for item in with_tags(entries):
        if tag in item.tags and item.ref != target.registered.ref:
            raise refused_move(tag, item, target.registered.version)


def _dropped_tag(key: str) -> BadAnswer:
    return BadAnswer(
        f"{SERVICE} dropped the tag {key} of a pipeline version.",
        hint="Another process may have changed the tags. Set the tag again.",
    )


def _without_tags(release: str) -> Unsupported:
    return Unsupported(
        f"{SERVICE} {release} has no tags for versions.",
        hint="Name the version itself (NAME@sha256:…), or upgrade the server to 2.17.",
    )
