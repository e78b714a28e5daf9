"""Versions of pipelines on Kubeflow Pipelines, see `SupportsVersions`.

A pipeline of the registry is a pipeline of the server with the same name. An entry is a version of
that pipeline. The name of the first entry of a version is `sha256-<12 digits>`. When only the text
changes, because the environment translates the pipeline in another way, the same version gets
another entry: `sha256-<12 digits>-2-<6 digits of the text>`. The number grows with each entry. See
docs/decisions/0031-versions-on-kubeflow.md, `version_markers` and `version_documents`.
"""

from __future__ import annotations

import json
import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from kfgcp.backends.kubeflow.messages import SERVICE
from kfgcp.backends.kubeflow.names import API, CONFLICT, is_same_name
from kfgcp.backends.kubeflow.server_version import Server
from kfgcp.backends.kubeflow.version_checks import (
    check_name,
    check_stored,
    dropped_marker,
    read_upload,
)
from kfgcp.backends.kubeflow.version_documents import format_documents
from kfgcp.backends.kubeflow.version_entries import (
    Entry,
    choose_name,
    find_current,
    newest_first,
    read_entry,
    with_tags,
)
from kfgcp.backends.kubeflow.version_markers import (
    FIRST_WITH_TAGS,
    marker_fields,
    read_markers,
)
from kfgcp.backends.kubeflow.version_messages import (
    PipelineAnswer,
    VersionAnswer,
    check_pipeline,
    check_version_answer,
    name_of,
)
from kfgcp.backends.kubeflow.version_tags import VersionTags, read_version
from kfgcp.backends.versions import (
    NAME_MARKER,
    PROJECT_MARKER,
    RegisteredVersion,
    VersionUpload,
)
from kfgcp.errors import (
    BackendError,
    BadAnswer,
    NotFound,
    NotWhole,
    Refused,
    UsageError,
)
from kfgcp.services.client import ServiceClient
from kfgcp.services.redact import redacted_line

PIPELINES: Final = f"{API}/pipelines"
# The server sends at most 200 items in a page. A version has its whole pipeline, so its pages are
# shorter.
PIPELINES_PAGE: Final = 200
VERSIONS_PAGE: Final = 100
# How often an upload chooses a name at most. Another process can take the same name.
_TRIES: Final = 4
# The most retries of an upload. Before 2.17, the server can answer 500 to a bad pipeline.
_UPLOAD_RETRIES: Final = 4


class KubeflowVersions:
    """The pipelines of a server and a namespace, see `SupportsVersions`.

    The ids of all pipelines are read once, with one list. Then the versions of a pipeline are one
    request.

    Args:
        http: the client of the pipelines API.
        server: the release of the server.
        host: the address of the server, without a slash at its end.
        namespace: the namespace of the pipelines, "" when none is set.
    """

    def __init__(self, http: ServiceClient, server: Server, host: str, namespace: str) -> None:
        self._http = http
        self._server = server
        self._host = host
        self._scope = {"namespace": namespace} if namespace else {}
        self._pipelines_by_name: dict[str, PipelineAnswer] | None = None
        self._tags = VersionTags(http, server, self._entries_beside)

    @property
    def registry(self) -> str:
        """The address of the server, with the namespace."""
        namespace = self._scope.get("namespace")
        return f"{self._host} (namespace {namespace})" if namespace else self._host

    # -- reading

    def list_pipelines(self) -> list[str]:
        """Return the names of the pipelines, sorted."""
        return sorted(self._pipelines())

    def pipeline_of(self, ref: str) -> str:
        """Return the name of the pipeline of an entry, see `NamesPipelines`."""
        pipeline_id = ref.partition("/")[0]
        for name, answer in self._pipelines().items():
            if answer["pipeline_id"] == pipeline_id:
                return name
        return ""

    def list_versions(self, pipeline: str) -> list[RegisteredVersion]:
        """Return the versions of a pipeline, see `SupportsVersions.list_versions`.

        Only the newest entry of a version has a `text_digest`. The older entries have texts that
        the environment does not run any more.
        """
        answer = self._pipelines().get(pipeline)
        if answer is None:
            return []
        try:
            entries = self._read_entries(answer["pipeline_id"], pipeline)
        except NotFound:
            # The pipeline was deleted after its id was read.
            self._pipelines_by_name = None
            return []
        return with_tags(entries)

    def read_text(self, version: RegisteredVersion) -> str:
        """Return the pipeline of an entry as YAML.

        The server keeps the documents of the text, but not the text itself.

        Raises:
            NotFound: the entry does not exist any more.
            BadAnswer: the server cannot read its version.
        """
        answer = read_version(self._http, version.ref)
        pipeline_spec = answer.get("pipeline_spec")
        if not pipeline_spec:
            raise BadAnswer(
                f"{SERVICE} answered with version {redacted_line(name_of(answer))} without"
                " pipeline_spec.",
                hint="Push the pipeline again, or ask the administrator of the server.",
            )
        return format_documents(pipeline_spec)

    def read(self, version: RegisteredVersion) -> tuple[RegisteredVersion, str]:
        """Return an entry and its text, see `SupportsVersions.read`."""
        return version, self.read_text(version)

    def _pipelines(self) -> Mapping[str, PipelineAnswer]:
        """Return the pipelines of the namespace by name. They are requested once."""
        if self._pipelines_by_name is None:
            pipelines: dict[str, PipelineAnswer] = {}
            items = self._http.pages(PIPELINES, self._scope, "pipelines", size=PIPELINES_PAGE)
            for item in items:
                try:
                    pipeline = check_pipeline(item)
                except BadAnswer as error:
                    _warn("A pipeline", error)
                    continue
                pipelines[name_of(pipeline)] = pipeline
            self._pipelines_by_name = pipelines
        return self._pipelines_by_name

    def _entries_beside(self, version: RegisteredVersion) -> list[Entry]:
        """Return all versions of the pipeline of an entry, the newest first."""
        return self._read_entries(version.ref.partition("/")[0], version.pipeline)

    def _read_entries(self, pipeline_id: str, pipeline: str) -> list[Entry]:
        """Return the versions of a pipeline, the newest first."""
        path = f"{PIPELINES}/{quote(pipeline_id, safe='')}/versions"
        params = {"sort_by": "created_at desc"}
        entries: list[Entry] = []
        for item in self._http.pages(path, params, "pipeline_versions", size=VERSIONS_PAGE):
            try:
                answer = check_version_answer(item)
            except BadAnswer as error:
                _warn("A pipeline version", error)
                continue
            entries.append(read_entry(answer, pipeline, self._host))
        return newest_first(entries)

    # -- uploading

    def check_upload(self, upload: VersionUpload) -> None:
        """Check an upload, see `ChecksUploads`."""
        read_upload(upload)
        check_name(upload.pipeline)
        pipeline = self._find_pipeline(upload)
        if pipeline is not None:
            self._check_owner(upload, pipeline)

    def upload(self, upload: VersionUpload) -> RegisteredVersion:
        """Add an entry, see `SupportsVersions.upload`.

        The name of an entry is unique in its pipeline, so a repeated request adds no second entry.

        Raises:
            SpecError, Unsupported, UsageError: the server cannot have this pipeline. Nothing was
                written.
            BadAnswer: the server dropped a marker or changed the pipeline.
        """
        spec = read_upload(upload)
        check_name(upload.pipeline)
        pipeline_id = self._ensure_pipeline(upload)
        for retry_number in range(_TRIES):
            entries = self._read_entries(pipeline_id, upload.pipeline)
            entry = find_current(entries, upload)
            if entry is None:
                answer = self._add(pipeline_id, choose_name(upload, entries), upload, retry_number)
                if answer is None:
                    continue
                entry = read_entry(answer, upload.pipeline, self._host)
                entries.insert(0, entry)
            check_stored(entry, upload, spec)
            ref = entry.registered.ref
            current = next(item for item in with_tags(entries) if item.ref == ref)
            return replace(current, version=upload.version, text_digest=upload.text_digest)
        raise AssertionError("the last try returns or raises")

    def _add(
        self, pipeline_id: str, name: str, upload: VersionUpload, retry_number: int
    ) -> VersionAnswer | None:
        """Add an entry, and return it as the server has it.

        Returns:
            None when the caller must read the entries again: the entry may exist after a lost
            answer, or another process has taken the name.
        """
        fields = marker_fields(upload.markers, has_tags=self._has_tags)
        params = {"pipelineid": pipeline_id, "name": name}
        if fields.description:
            params["description"] = fields.description
        if fields.tags:
            params["tags"] = json.dumps(dict(fields.tags), ensure_ascii=False)
        content_type, body = _multipart(upload.text)
        try:
            response = self._http.exchange(
                "POST",
                f"{PIPELINES}/upload_version",
                params=params,
                data=body,
                content_type=content_type,
                repeatable=True,
                retries=_UPLOAD_RETRIES,
            )
            created = check_version_answer(response.json(may_be_empty=False))
        except BackendError as error:
            may_exist = error.unknown or isinstance(error, BadAnswer)
            if retry_number == _TRIES - 1 or not (may_exist or _is_conflict(error)):
                raise
            return None
        # The answer to the upload has what was sent. So read what the server has stored.
        ref = f"{created['pipeline_id']}/{created['pipeline_version_id']}"
        return read_version(self._http, ref)

    def _ensure_pipeline(self, upload: VersionUpload) -> str:
        """Return the id of the pipeline. Create the pipeline when it does not exist.

        Raises:
            UsageError: the server has a pipeline with this name that belongs to somebody else, or
                a name that differs only in case.
        """
        pipeline = self._find_pipeline(upload)
        if pipeline is None:
            pipeline = self._create_pipeline(upload)
        self._check_owner(upload, pipeline)
        return pipeline["pipeline_id"]

    def _find_pipeline(self, upload: VersionUpload) -> PipelineAnswer | None:
        """Return the pipeline of an upload, None when it does not exist.

        Raises:
            UsageError: the server has a pipeline whose name differs only in case.
        """
        pipeline = self._pipelines().get(upload.pipeline)
        if pipeline is not None:
            return pipeline
        for name in self._pipelines():
            if is_same_name(name, upload.pipeline):
                raise UsageError(
                    f"{self.registry} has a pipeline {name!r}. Its name and"
                    f" {upload.pipeline!r} differ only in case, and are equal for MySQL.",
                    hint=_RENAME_HINT,
                )
        return None

    def _check_owner(self, upload: VersionUpload, pipeline: PipelineAnswer) -> None:
        """Check that a pipeline belongs to the project of an upload.

        Raises:
            UsageError: it does not.
        """
        owner = read_markers(pipeline).get(PROJECT_MARKER)
        if owner is None:
            raise UsageError(
                f"The pipeline {upload.pipeline!r} on {self.registry} was not made by kfgcp, so"
                " kfgcp does not change it.",
                hint=_RENAME_HINT,
            )
        if owner != upload.project:
            raise UsageError(
                f"The pipeline {upload.pipeline!r} on {self.registry} belongs to the project"
                f" {owner!r}.",
                hint=_RENAME_HINT,
            )

    def _create_pipeline(self, upload: VersionUpload) -> PipelineAnswer:
        """Create a pipeline without versions.

        `pipelines/upload` would create it with a version. But that version gets the name and the
        description of the pipeline, and not its tags (uploadPipeline in pipeline_upload_server.go).
        """
        markers = {name: upload.markers[name] for name in (PROJECT_MARKER, NAME_MARKER)}
        fields = marker_fields(markers, has_tags=self._has_tags)
        body: dict[str, object] = {"display_name": upload.pipeline, **self._scope}
        if fields.description:
            body["description"] = fields.description
        if fields.tags:
            body["tags"] = dict(fields.tags)
        # A name is unique, so a repeated request creates no second pipeline.
        try:
            answer = check_pipeline(self._http.post(PIPELINES, body=body, repeatable=True))
        except BackendError as error:
            may_exist = error.unknown or isinstance(error, BadAnswer)
            if not (may_exist or _is_conflict(error)):
                raise
            self._pipelines_by_name = None
            existing = self._pipelines().get(upload.pipeline)
            if existing is None:
                raise
            return existing
        stored_markers = read_markers(answer)
        for name, value in markers.items():
            if stored_markers.get(name) != value:
                self._pipelines_by_name = None
                raise dropped_marker(f"the pipeline {upload.pipeline!r}", name)
        if self._pipelines_by_name is not None:
            self._pipelines_by_name[upload.pipeline] = answer
        return answer

    @property
    def _has_tags(self) -> bool:
        """Whether the server certainly has tags. A server that does not report its version may not.

        Every server has descriptions.
        """
        version = self._server.version
        return version is not None and version >= FIRST_WITH_TAGS

    # -- tags of users

    def require_tags(
        self, tags: Sequence[str] = (), version: RegisteredVersion | None = None
    ) -> None:
        """Check that an entry can get tags, see `SupportsVersions.require_tags`."""
        self._tags.require(tags, version)

    def set_tag(self, version: RegisteredVersion, tag: str, *, fixed: bool = False) -> None:
        """Let a tag point to an entry, see `SupportsVersions.set_tag`.

        The entry gets the tag with a higher number than all other entries. From then on, the tag
        points to it. Then the tag is removed from the other entries. A fixed tag is added with the
        number 0 first. When another entry has it by then, it is removed again.

        Raises:
            NotFound: the entry does not exist any more.
            Unsupported: the server has no tags, or the entry has too many.
            UsageError: the server cannot have the tag, or `fixed` is set and the tag points to
                another entry.
        """
        self._tags.set(version, tag, fixed=fixed)

    def remove_tag(self, version: RegisteredVersion, tag: str) -> None:
        """Remove a tag of an entry, see `SupportsVersions.remove_tag`."""
        self._tags.remove(version, tag)


_RENAME_HINT: Final = (
    "Choose another name in [pipeline.NAME] of kfgcp.toml, or delete the pipeline on the server."
)


# -- errors


def _is_conflict(error: BackendError) -> bool:
    return isinstance(error, Refused) and error.status == CONFLICT


def _warn(kind: str, error: BadAnswer) -> None:
    warnings.warn(f"{kind} is left out: {error.message}", NotWhole, stacklevel=3)


def _multipart(text: str) -> tuple[str, bytes]:
    """Return the media type and the body of a form with one file (RFC 7578)."""
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="uploadfile"; filename="pipeline.yaml"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + text.encode() + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body
