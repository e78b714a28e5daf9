"""Pipelines and their versions: `/apis/v2beta1/pipelines`.

- Uploads answer errors in a form of their own, see `upload_errors`. A name that is too long is
  plain text (pipeline-upload-long-name.json).
- The texts of other errors are those of pipeline-*.json or, where there is no recording, of
  pipeline_server.go and resource_manager.go.
- Since 2.17 pipelines and versions have at most 20 tags, and PATCH changes display_name and tags
  (pipeline.proto, pipeline_tags.go). `name` is there since 2.14 (api-2.5.0 has display_name only).
- Versions that are fetched from an address (`package_url`) are not supported.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.spec.load import Spec
from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import (
    UNIMPLEMENTED,
    GatewayError,
    KfpError,
    exists,
    invalid,
    not_found,
)
from kfgcp.testing.kubeflow_server.messages import body_of, query_of, stamp, text_of, without_empty
from kfgcp.testing.kubeflow_server.upload_errors import refused_upload, too_long
from kfgcp.testing.kubeflow_server.uploads import (
    MAX_SPEC_BYTES,
    document_of,
    spec_of_text,
    uploaded,
)
from kfgcp.testing.server import Request, Response, Route

_SHARED: Final[lists.Fields] = {
    "name": lambda item: item.name,
    "display_name": lambda item: item.display_name,
    "created_at": lambda item: item.created,
    "description": lambda item: item.description,
}
_FIELDS: Final[lists.Fields] = {
    **_SHARED,
    **dict.fromkeys(("id", "pipeline_id"), lambda item: item.id),
    "namespace": lambda item: item.namespace,
}
_VERSION_FIELDS: Final[lists.Fields] = {
    **_SHARED,
    **dict.fromkeys(("id", "pipeline_version_id"), lambda item: item.id),
}
_LISTABLE: Final = lists.Listable("Pipeline", _FIELDS, lambda item: item.id)
_VERSIONS: Final = lists.Listable("PipelineVersion", _VERSION_FIELDS, lambda item: item.id)
MAX_NAME: Final = 128
MAX_VERSION_NAME: Final = 127
"""Bytes, since 2.15 (apiserver/validation/length.go)."""
MAX_TAGS: Final = 20
MAX_TAG: Final = 63
"""Characters of a key and of a value."""
Tags = dict[str, str]


@dataclass(eq=False, slots=True)
class Pipeline:
    """created: Unix time in seconds."""

    id: str
    name: str
    display_name: str
    namespace: str
    description: str
    created: int
    tags: Tags

    def view(self, *, with_name: bool) -> Mapping[str, Any]:
        return without_empty(
            {
                "pipeline_id": self.id,
                "display_name": self.display_name,
                "name": self.name if with_name else "",
                "description": self.description,
                "created_at": stamp(self.created),
                "namespace": self.namespace,
                "tags": self.tags,
            }
        )


@dataclass(eq=False, slots=True)
class Version:
    """A version. pipeline: the id of its pipeline. number: its place in the order of creation."""

    id: str
    pipeline: str
    name: str
    display_name: str
    description: str
    created: int
    number: int
    spec: Spec
    tags: Tags

    @property
    def reference(self) -> dict[str, str]:
        return {"pipeline_id": self.pipeline, "pipeline_version_id": self.id}

    def view(self, *, with_name: bool) -> Mapping[str, Any]:
        return without_empty(
            {
                **self.reference,
                "display_name": self.display_name,
                "name": self.name if with_name else "",
                "description": self.description,
                "created_at": stamp(self.created),
                "pipeline_spec": document_of(self.spec),
                "tags": self.tags,
            }
        )


class Pipelines:
    """The pipelines of a server.

    Args:
        access: who may do what.
        creation: gives ids and times, and the version of the server.

    Attributes:
        max_spec_bytes: longer files are refused.
    """

    def __init__(self, access: Access, creation: Creation) -> None:
        self.max_spec_bytes = MAX_SPEC_BYTES
        self._creation = creation
        self._server = creation.version
        self._access = access
        self._pipelines: dict[str, Pipeline] = {}
        self._versions: dict[str, Version] = {}
        self._count = 0
        self._lock = threading.RLock()

    def routes(self, base: str) -> list[Route]:
        many, one = base + "/pipelines", base + "/pipelines/{pipeline}"
        version = one + "/versions/{version}"
        return [
            Route("POST", many + "/upload", self.upload),
            Route("POST", many + "/upload_version", self.upload_version),
            Route("POST", many + "/create", self.from_address),
            Route("GET", many + "/names/{name}", self.get_by_name),
            Route("POST", many, self.create),
            Route("GET", many, self.list_all),
            Route("GET", one, self.get),
            Route("DELETE", one, self.delete),
            Route("POST", one + "/versions", self.from_address),
            Route("GET", one + "/versions", self.list_versions),
            Route("GET", version, self.get_version),
            Route("DELETE", version, self.delete_version),
            Route("PATCH", one, self.update),
            Route("PATCH", version, self.update_version),
        ]

    # -- uploads

    def upload(self, request: Request) -> Response:
        query = query_of(request)
        namespace = self._access.place(query.get("namespace", ""))
        brief = "Failed to create a pipeline"
        try:
            file, text = uploaded(request, self.max_spec_bytes)
        except KfpError as error:
            return refused_upload(self._server, 400, error, error.around[0])
        try:
            around = (f"{brief} due to authorization error", "Authorization Failure")
            self._access.check(namespace, "create", "pipelines", *around, shared=True)
        except KfpError as error:
            return refused_upload(self._server, 400, error, brief)
        name = query.get("name") or query.get("display_name") or file
        if self._server.limits_names and len(name.encode()) > MAX_NAME:
            return too_long("Pipeline", MAX_NAME)
        brief = "Failed to create a pipeline and a pipeline version"
        shown, description = query.get("display_name") or name, query.get("description", "")
        try:
            tags = self._tags(_tags_of_query(query))
            spec = _spec(text, brief)
            with self._lock:
                pipeline = self._add(name, shown, namespace, description, tags, around=brief)
                self._add_version(pipeline.id, name, shown, description, spec, {})
        except KfpError as error:
            return refused_upload(self._server, 409 if error.status == 409 else 500, error, brief)
        return Response(body=self._shown(pipeline))

    def upload_version(self, request: Request) -> Response:
        query = query_of(request)
        brief, pipeline = "Failed to create a pipeline version", query.get("pipelineid", "")
        try:
            file, text = uploaded(request, self.max_spec_bytes)
            if not pipeline:
                raise KfpError(3, f"{brief} due to error reading pipeline id")
            self._allowed(pipeline, "create", f"{brief} due to error reading namespace")
        except KfpError as error:
            return refused_upload(self._server, 400, error, brief)
        name = query.get("name") or query.get("display_name") or file
        if self._server.limits_names and len(name.encode()) > MAX_VERSION_NAME:
            return too_long("PipelineVersion", MAX_VERSION_NAME)
        shown, description = query.get("display_name") or name, query.get("description", "")
        try:
            tags = self._tags(_tags_of_query(query))
            version = self._add_version(
                pipeline, name, shown, description, _spec(text, brief), tags
            )
        except KfpError as error:
            return refused_upload(self._server, 409 if error.status == 409 else 500, error, brief)
        return Response(body=self._shown(version))

    def from_address(self, request: Request, pipeline: str = "") -> Response:
        raise KfpError(
            UNIMPLEMENTED,
            "The stand-in fetches nothing: upload the file instead of naming a package_url",
        )

    # -- pipelines

    def create(self, request: Request) -> Response:
        body = body_of(
            request,
            ("pipeline_id", "display_name", "name", "description", "namespace", "tags"),
            lenient=not self._server.is_modern,
        )
        name = text_of(body, "name") or text_of(body, "display_name")
        shown = text_of(body, "display_name") or name
        around = "Failed to create a pipeline due to server error"
        namespace = self._access.place(text_of(body, "namespace"))
        if not name:
            raise invalid("name is required", around)
        if self._server.limits_names and len(name.encode()) > MAX_NAME:
            outer = "Failed to create a pipeline as pipeline conversion failed"
            raise invalid(f"Pipeline.Name length cannot exceed {MAX_NAME}", outer)
        denied = (
            "Failed to create a pipeline due to authorization error. Check if you have write"
            " permissions to"
        )
        self._access.check(
            namespace, "create", "pipelines", around, f"{denied} namespace {namespace}", shared=True
        )
        tags = self._tags(body.get("tags") or {})
        inner = "Failed to create a pipeline in PipelineStore"
        pipeline = self._add(
            name, shown, namespace, text_of(body, "description"), tags, around=(around, inner)
        )
        return Response(body=self._shown(pipeline))

    def get(self, request: Request, pipeline: str) -> Response:
        return Response(
            body=self._shown(
                self._allowed(pipeline, "get", f"Failed to get a pipeline {pipeline}. {_STACK}")
            )
        )

    def get_by_name(self, request: Request, name: str) -> Response:
        namespace = self._access.place(query_of(request).get("namespace", ""))
        around = f"Failed to get a pipeline with name {name} and namespace {namespace}. {_STACK}."
        self._access.check(namespace, "get", "pipelines", around, shared=True)
        for pipeline in self._all():
            if (pipeline.name, pipeline.namespace) == (name, namespace):
                return Response(body=self._shown(pipeline))
        raise not_found("Pipeline", name, around)

    def list_all(self, request: Request) -> Response:
        query = query_of(request)
        namespace = self._access.place(query.get("namespace", ""))
        around = f"Failed to list pipelines in namespace {namespace}. {_STACK}"
        self._access.check(namespace, "list", "pipelines", around, shared=True)
        items = [item for item in self._all() if item.namespace == namespace]
        page, total, token = _listed(items, query, _LISTABLE, "Failed to list pipelines")
        return Response(
            body=lists.answer("pipelines", [self._shown(item) for item in page], total, token)
        )

    def update(self, request: Request, pipeline: str) -> Response:
        around = f"Failed to update pipeline {pipeline}"
        self._check_changeable()
        known = self._allowed(pipeline, "update", f"{around} due to authorization error")
        return self._changed(request, known, f"{around}. {_STACK}")

    def delete(self, request: Request, pipeline: str) -> Response:
        around = f"Failed to delete pipeline {pipeline}. {_STACK}"
        self._allowed(
            pipeline,
            "delete",
            around,
            f"Failed to delete pipeline with id {pipeline} as it was not found",
        )
        with self._lock:
            versions = self._of(pipeline)
            if versions and query_of(request).get("cascade", "").lower() != "true":
                newest = max(versions, key=lambda item: item.number)
                text = (
                    f"Failed to delete pipeline with id {pipeline} as it has existing pipeline"
                    " versions"
                )
                raise invalid(
                    f"{text} (e.g. {newest.id}). Set cascade=true to delete all versions", around
                )
            for version in versions:
                del self._versions[version.id]
            self._pipelines.pop(pipeline, None)
        return Response()

    # -- versions

    def list_versions(self, request: Request, pipeline: str) -> Response:
        around = f"Failed to list pipeline versions for pipeline {pipeline}"
        inner = (
            "Failed to list pipeline versions due to error fetching the namespace for pipeline"
            f" {pipeline}"
        )
        self._allowed(pipeline, "list", around, inner)
        page, total, token = _listed(
            self._of(pipeline), query_of(request), _VERSIONS, "Failed to list pipeline versions"
        )
        return Response(
            body=lists.answer(
                "pipeline_versions", [self._shown(item) for item in page], total, token
            )
        )

    def get_version(self, request: Request, pipeline: str, version: str) -> Response:
        around = (
            f"Failed to get a pipeline version {version}",
            f"Failed to get a pipeline version with id {version}",
        )
        self._allowed(pipeline, "get", *around)
        return Response(body=self._shown(self._version(version, *around)))

    def update_version(self, request: Request, pipeline: str, version: str) -> Response:
        around = f"Failed to update pipeline version {version}"
        self._check_changeable()
        self._allowed(pipeline, "update", f"{around} due to authorization error")
        return self._changed(
            request, self._version(version, f"{around}. {_STACK}"), f"{around}. {_STACK}"
        )

    def delete_version(self, request: Request, pipeline: str, version: str) -> Response:
        around = (
            f"Failed to delete a pipeline version id {version} under pipeline id {pipeline}."
            f" {_STACK}"
        )
        self._allowed(pipeline, "delete", around)
        with self._lock:
            self._version(
                version,
                around,
                f"Failed to delete pipeline version with id {version} as it was not found",
            )
            del self._versions[version]
        return Response()

    # -- for runs

    def referred(self, reference: Mapping[str, Any]) -> Version:
        """The version of a `pipeline_version_reference`; without a version the newest of the
        pipeline.

        Raises:
            KfpError: INVALID or NOT_FOUND.
        """
        pipeline, version = (
            reference.get("pipeline_id") or "",
            reference.get("pipeline_version_id") or "",
        )
        outer = "Failed to fetch a template due to error retrieving pipeline version"
        fetching = "Failed to fetch a pipeline version and its manifest from"
        if version:
            known = self._version(
                version,
                outer,
                f"{fetching} pipeline version {version}",
                f"Failed to get a pipeline version with id {version}",
            )
            if pipeline not in ("", known.pipeline):
                text = (
                    f"Pipeline version {version} belongs to pipeline {known.pipeline} (not"
                    f" {pipeline})"
                )
                raise invalid(text, outer)
            return known
        versions = self._of(pipeline)
        if not versions:
            inner = f"Failed to get the latest pipeline version with pipeline id {pipeline}"
            raise not_found(
                "PipelineVersion", pipeline, outer, f"{fetching} pipeline {pipeline}", inner
            )
        return max(versions, key=lambda item: item.number)

    def namespace(self, reference: Mapping[str, Any]) -> str | None:
        """Where the pipeline of a reference is, None when there is none."""
        version = self._versions.get(reference.get("pipeline_version_id") or "")
        pipeline = self._pipelines.get(
            version.pipeline if version else reference.get("pipeline_id") or ""
        )
        return pipeline.namespace if pipeline else None

    # -- helpers

    def _all(self) -> list[Pipeline]:
        with self._lock:
            return list(self._pipelines.values())

    def _of(self, pipeline: str) -> list[Version]:
        with self._lock:
            return [version for version in self._versions.values() if version.pipeline == pipeline]

    def _allowed(self, pipeline: str, verb: str, *around: str) -> Pipeline:
        known = self._pipelines.get(pipeline)
        if known is None:
            raise not_found("Pipeline", pipeline, *around)
        self._access.check(known.namespace, verb, "pipelines", *around, shared=True)
        return known

    def _version(self, version: str, *around: str) -> Version:
        if version not in self._versions:
            raise not_found("PipelineVersion", version, *around)
        return self._versions[version]

    def _shown(self, item: Pipeline | Version) -> Mapping[str, Any]:
        return item.view(with_name=self._server.is_modern)

    def _check_changeable(self) -> None:
        """Refuse PATCH where there is none, as the HTTP gateway does."""
        if not self._server.has_tags:
            raise GatewayError(UNIMPLEMENTED, "Method Not Allowed")

    def _changed(self, request: Request, item: Pipeline | Version, around: str) -> Response:
        """Change what the body has: the name that is shown, and all tags."""
        body = body_of(request, _CHANGEABLE)
        try:
            if "tags" in body:
                item.tags = self._tags(body["tags"])
        except KfpError as error:
            raise error.within(around) from None
        item.display_name = text_of(body, "display_name") or item.display_name
        return Response(body=self._shown(item))

    def _tags(self, tags: Any) -> Tags:
        """Return tags that are good.

        Raises:
            KfpError: INVALID.
        """
        if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
            raise KfpError(
                3,
                "Failed to parse tags query parameter. Expected JSON object with string keys and"
                " values",
            )
        if len(tags) > MAX_TAGS:
            raise invalid(f"number of tags ({len(tags)}) exceeds maximum of {MAX_TAGS} per entity")
        for key, value in tags.items():
            if not key:
                raise invalid("tag key cannot be empty")
            if "." in key:
                raise invalid(f"tag key \"{key}\" must not contain '.' character")
            if max(len(key), len(value)) > MAX_TAG:
                raise invalid(f'tag key "{key}" exceeds maximum length of {MAX_TAG} characters')
        return tags if self._server.has_tags else {}

    def _add(
        self,
        name: str,
        shown: str,
        namespace: str,
        description: str,
        tags: Tags,
        around: str | tuple[str, ...],
    ) -> Pipeline:
        outer = (around,) if isinstance(around, str) else around
        with self._lock:
            if any(
                (item.name.lower(), item.namespace) == (name.lower(), namespace)
                for item in self._all()
            ):
                text = (
                    f"Failed to create a new pipeline. The name {name} already exists. Please"
                    " specify a new name"
                )
                raise exists(text, *outer)
            created = self._creation.now()
            pipeline = Pipeline(
                self._creation.new_id(), name, shown, namespace, description, created, tags
            )
            self._pipelines[pipeline.id] = pipeline
            return pipeline

    def _add_version(
        self, pipeline: str, name: str, shown: str, description: str, spec: Spec, tags: Tags
    ) -> Version:
        with self._lock:
            if any(item.name.lower() == name.lower() for item in self._of(pipeline)):
                text = (
                    f"Failed to create a new pipeline version. The name {name} already exists."
                    " Specify a new name"
                )
                raise exists(text, "Failed to create pipeline version in PipelineStore")
            self._count += 1
            version = Version(
                id=self._creation.new_id(),
                pipeline=pipeline,
                name=name,
                display_name=shown,
                description=description,
                created=self._creation.now(),
                number=self._count,
                spec=spec,
                tags=tags,
            )
            self._versions[version.id] = version
            return version


_STACK: Final = "Check error stack"
_CHANGEABLE: Final = (
    "pipeline_id",
    "pipeline_version_id",
    "display_name",
    "name",
    "description",
    "created_at",
    "namespace",
    "tags",
)


def _spec(text: str, brief: str) -> Spec:
    try:
        return spec_of_text(text)
    except KfpError as error:
        raise error.within(f"{brief} due to template creation error") from None


def _tags_of_query(query: Mapping[str, str]) -> Any:
    try:
        return json.loads(query.get("tags") or "{}")
    except ValueError:
        return None


def _listed(
    items: list[Any], query: Mapping[str, str], listable: lists.Listable, brief: str
) -> tuple[list[Any], int, str]:
    try:
        return lists.listed(items, query, listable)
    except KfpError as error:
        options = [query.get(name, "") for name in ("page_token", "page_size", "sort_by", "filter")]
        shown = "pageToken: {}, pageSize: {}, sortBy: {}, filter: {}".format(*options)
        raise error.within(f"{brief} due invalid list options: {shown}") from None
