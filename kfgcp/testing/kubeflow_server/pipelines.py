"""Pipelines and their versions: `/apis/v2beta1/pipelines`.

- Errors of uploads have their own form, see `upload_errors`. The error for a name that is too long
  is plain text (pipeline-upload-long-name.json).
- The texts of other errors are those of pipeline-*.json. Texts without a recording are those of
  pipeline_server.go and resource_manager.go.
- Since 2.17 PATCH changes display_name and tags (pipeline.proto). The new tags replace all old tags
  (`updateEntityFields` in storage/pipeline_store.go).
- The first version of an upload gets the name and the description of the pipeline, but not its tags
  (`uploadPipeline` in pipeline_upload_server.go, 2.5.0 to 2.17.0).
- The stand-in refuses a version that is at an address (`package_url`): it downloads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec
from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import (
    INVALID,
    UNIMPLEMENTED,
    GatewayError,
    KfpError,
    internal_error,
    invalid_input,
    not_found,
)
from kfgcp.testing.kubeflow_server.filters import Fields
from kfgcp.testing.kubeflow_server.messages import read_body, read_query, read_text
from kfgcp.testing.kubeflow_server.pipeline_store import (
    Pipeline,
    PipelineStore,
    Version,
    is_same_name,
)
from kfgcp.testing.kubeflow_server.pipeline_tags import (
    Tags,
    check_tags,
    clears_tags,
    parse_tags,
    read_tags,
)
from kfgcp.testing.kubeflow_server.stored_specs import stored_spec
from kfgcp.testing.kubeflow_server.upload_errors import refuse_long_name, refuse_upload
from kfgcp.testing.kubeflow_server.uploads import MAX_SPEC_BYTES, parse_spec_file, read_upload
from kfgcp.testing.server import Request, Response, Route

T = TypeVar("T")

# The limits of names since 2.15, in bytes (apiserver/validation/length.go).
MAX_NAME: Final = 128
MAX_VERSION_NAME: Final = 127

_SHARED_FIELDS: Final[Fields] = {
    "name": lambda item: item.name,
    "display_name": lambda item: item.display_name,
    "created_at": lambda item: item.created,
    "description": lambda item: item.description,
}
_PIPELINE_FIELDS: Final[Fields] = {
    **_SHARED_FIELDS,
    **dict.fromkeys(("id", "pipeline_id"), lambda pipeline: pipeline.id),
    "namespace": lambda pipeline: pipeline.namespace,
}
_VERSION_FIELDS: Final[Fields] = {
    **_SHARED_FIELDS,
    **dict.fromkeys(("id", "pipeline_version_id"), lambda version: version.id),
}
_PIPELINES: Final = lists.Listable("Pipeline", _PIPELINE_FIELDS, lambda pipeline: pipeline.id)
_VERSIONS: Final = lists.Listable("PipelineVersion", _VERSION_FIELDS, lambda version: version.id)

# The fields of the messages Pipeline and PipelineVersion (pipeline.proto). `tags` is new in 2.17.
_PIPELINE_MESSAGE: Final = (
    "pipeline_id",
    "display_name",
    "name",
    "description",
    "created_at",
    "namespace",
    "error",
)
_VERSION_MESSAGE: Final = (
    "pipeline_id",
    "pipeline_version_id",
    "display_name",
    "name",
    "description",
    "created_at",
    "package_url",
    "code_source_url",
    "pipeline_spec",
    "error",
    "tags",
)
# Many messages in pipeline_server.go end with this text.
_STACK: Final = "Check error stack"


class Pipelines(PipelineStore):
    """The pipelines of a server, and the methods of its API for pipelines.

    Args:
        access: who may do what.
        creation: gives ids and times, and the version of the server.

    Attributes:
        max_spec_bytes: the size of the longest file that the server accepts.
    """

    def __init__(self, access: Access, creation: Creation) -> None:
        super().__init__(access, creation)
        self.max_spec_bytes = MAX_SPEC_BYTES
        self._server_version = creation.version

    def routes(self, base: str) -> list[Route]:
        """Return the routes of the API below a path."""
        pipelines = f"{base}/pipelines"
        pipeline = pipelines + "/{pipeline_id}"
        version = pipeline + "/versions/{version_id}"
        return [
            Route("POST", pipelines + "/upload", self.upload),
            Route("POST", pipelines + "/upload_version", self.upload_version),
            Route("POST", pipelines + "/create", self.create_from_address),
            Route("GET", pipelines + "/names/{name}", self.get_by_name),
            Route("POST", pipelines, self.create),
            Route("GET", pipelines, self.list_all),
            Route("GET", pipeline, self.get),
            Route("DELETE", pipeline, self.delete),
            Route("POST", pipeline + "/versions", self.create_from_address),
            Route("GET", pipeline + "/versions", self.list_versions),
            Route("GET", version, self.get_version),
            Route("DELETE", version, self.delete_version),
            Route("PATCH", pipeline, self.update),
            Route("PATCH", version, self.update_version),
        ]

    # -- uploads

    def upload(self, request: Request) -> Response:
        """Create a pipeline with its first version from a file."""
        query = read_query(request)
        server_version = self._server_version
        namespace = self._access.normalize_namespace(query.get("namespace", ""))
        read_summary = "Failed to create a pipeline"
        try:
            file_name, text = read_upload(request, self.max_spec_bytes)
        except KfpError as error:
            return refuse_upload(server_version, 400, error, error.contexts[0])
        try:
            contexts = (f"{read_summary} due to authorization error", "Authorization Failure")
            self._access.check(namespace, "create", "pipelines", *contexts, shared=True)
        except KfpError as error:
            return refuse_upload(server_version, 400, error, read_summary)
        name, display_name = self._read_names(query, file_name)
        try:
            tags = self._parse_tags(query)
        except KfpError as error:
            return refuse_upload(server_version, 400, error, error.message)
        if self._is_too_long(name, MAX_NAME):
            return refuse_long_name("Pipeline", MAX_NAME)
        summary = "Failed to create a pipeline and a pipeline version"
        description = query.get("description", "")
        try:
            check_tags(tags)
            spec = _parse_spec(text, summary)
            with self._lock:
                pipeline = self.add_pipeline(
                    name, display_name, namespace, description, tags, summary
                )
                self.add_version(pipeline.id, name, display_name, description, spec, {})
        except KfpError as error:
            return refuse_upload(server_version, _upload_status(error), error, summary)
        return Response(body=self._to_json(pipeline))

    def upload_version(self, request: Request) -> Response:
        """Add a version from a file to a pipeline."""
        query = read_query(request)
        server_version = self._server_version
        summary = "Failed to create a pipeline version"
        pipeline_id = query.get("pipelineid", "")
        try:
            file_name, text = read_upload(request, self.max_spec_bytes)
            if not pipeline_id:
                raise KfpError(INVALID, f"{summary} due to error reading pipeline id")
        except KfpError as error:
            return refuse_upload(server_version, 400, error, summary)
        name, display_name = self._read_names(query, file_name)
        if self._is_too_long(name, MAX_VERSION_NAME):
            return refuse_long_name("PipelineVersion", MAX_VERSION_NAME)
        try:
            self.get_allowed(pipeline_id, "create", f"{summary} due to error reading namespace")
        except KfpError as error:
            return refuse_upload(server_version, 400, error, summary)
        try:
            tags = self._parse_tags(query)
        except KfpError as error:
            return refuse_upload(server_version, 400, error, error.message)
        description = query.get("description", "")
        try:
            spec = _parse_spec(text, summary)
            check_tags(tags)
            version = self.add_version(pipeline_id, name, display_name, description, spec, tags)
        except KfpError as error:
            return refuse_upload(server_version, _upload_status(error), error, summary)
        return Response(body=self._to_json(version))

    def create_from_address(self, request: Request, pipeline_id: str = "") -> Response:
        """Refuse to create a pipeline or a version from an address."""
        raise KfpError(
            UNIMPLEMENTED,
            "The stand-in downloads nothing: upload the file, do not name a package_url",
        )

    # -- pipelines

    def create(self, request: Request) -> Response:
        """Create a pipeline without a version."""
        fields: tuple[str, ...] = _PIPELINE_MESSAGE
        if self._server_version.has_tags:
            fields += ("tags",)
        body = read_body(request, fields, lenient=not self._server_version.is_modern)
        tags = read_tags(body.get("tags"))
        name = read_text(body, "name") or read_text(body, "display_name")
        display_name = read_text(body, "display_name") or name
        context = "Failed to create a pipeline due to server error"
        namespace = self._access.normalize_namespace(read_text(body, "namespace"))
        if self._is_too_long(name, MAX_NAME):
            # toModelPipeline in server/api_converter.go makes a 500 of the refusal.
            too_long = invalid_input(f"Pipeline.Name length cannot exceed {MAX_NAME}")
            conversion_error = internal_error(
                too_long, "Failed to convert API pipeline to model pipeline"
            )
            raise conversion_error.within(
                "Failed to create a pipeline as pipeline conversion failed"
            )
        if not name:
            raise invalid_input("name is required", context)
        denied_context = (
            "Failed to create a pipeline due to authorization error. Check if you have write"
            f" permissions to namespace {namespace}"
        )
        self._access.check(namespace, "create", "pipelines", context, denied_context, shared=True)
        try:
            check_tags(tags)
        except KfpError as error:
            raise error.within(context) from None
        pipeline = self.add_pipeline(
            name,
            display_name,
            namespace,
            read_text(body, "description"),
            tags,
            context,
            "Failed to create a pipeline in PipelineStore",
        )
        return Response(body=self._to_json(pipeline))

    def get(self, request: Request, pipeline_id: str) -> Response:
        """Return a pipeline."""
        context = f"Failed to get a pipeline {pipeline_id}. {_STACK}"
        return Response(body=self._to_json(self.get_allowed(pipeline_id, "get", context)))

    def get_by_name(self, request: Request, name: str) -> Response:
        """Return the pipeline with a name."""
        query = read_query(request)
        namespace = self._access.normalize_namespace(query.get("namespace", ""))
        context = f"Failed to get a pipeline with name {name} and namespace {namespace}. {_STACK}."
        self._access.check(namespace, "get", "pipelines", context, shared=True)
        for pipeline in self.all():
            if pipeline.namespace == namespace and is_same_name(pipeline.name, name):
                return Response(body=self._to_json(pipeline))
        raise not_found("Namespace/Pipeline", f"{namespace}/{name}", context)

    def list_all(self, request: Request) -> Response:
        """Return a page of the pipelines in a namespace."""
        query = read_query(request)
        namespace = self._access.normalize_namespace(query.get("namespace", ""))
        context = f"Failed to list pipelines in namespace {namespace}. {_STACK}"
        self._access.check(namespace, "list", "pipelines", context, shared=True)
        pipelines = [item for item in self.all() if item.namespace == namespace]
        page, total, token = _list_page(pipelines, query, _PIPELINES, "Failed to list pipelines")
        items = [self._to_json(pipeline) for pipeline in page]
        return Response(body=lists.format_page("pipelines", items, total, token))

    def update(self, request: Request, pipeline_id: str) -> Response:
        """Change the display name and the tags of a pipeline."""
        context = f"Failed to update pipeline {pipeline_id}"
        self._check_can_update()
        record = self.get_allowed(pipeline_id, "update", f"{context} due to authorization error")
        fields = _PIPELINE_MESSAGE + ("tags",)
        return self._update(request, record, fields, f"{context}. {_STACK}")

    def delete(self, request: Request, pipeline_id: str) -> Response:
        """Delete a pipeline."""
        context = f"Failed to delete pipeline {pipeline_id}. {_STACK}"
        missing_context = f"Failed to delete pipeline with id {pipeline_id} as it was not found"
        self.get_allowed(pipeline_id, "delete", context, missing_context)
        cascade = read_query(request).get("cascade", "").lower() == "true"
        self.remove_pipeline(pipeline_id, context, with_versions=cascade)
        return Response()

    # -- versions

    def list_versions(self, request: Request, pipeline_id: str) -> Response:
        """Return a page of the versions of a pipeline."""
        context = f"Failed to list pipeline versions for pipeline {pipeline_id}"
        fetching_context = (
            "Failed to list pipeline versions due to error fetching the namespace for pipeline"
            f" {pipeline_id}"
        )
        self.get_allowed(pipeline_id, "list", context, fetching_context)
        page, total, token = _list_page(
            self.get_versions(pipeline_id),
            read_query(request),
            _VERSIONS,
            "Failed to list pipeline versions",
        )
        items = [self._to_json(version) for version in page]
        return Response(body=lists.format_page("pipeline_versions", items, total, token))

    def get_version(self, request: Request, pipeline_id: str, version_id: str) -> Response:
        """Return a version."""
        contexts = (
            f"Failed to get a pipeline version {version_id}",
            f"Failed to get a pipeline version with id {version_id}",
        )
        self.get_allowed(pipeline_id, "get", *contexts)
        return Response(body=self._to_json(self.get_version_record(version_id, *contexts)))

    def update_version(self, request: Request, pipeline_id: str, version_id: str) -> Response:
        """Change the display name and the tags of a version."""
        context = f"Failed to update pipeline version {version_id}"
        self._check_can_update()
        self.get_allowed(pipeline_id, "update", f"{context} due to authorization error")
        record = self.get_version_record(version_id, f"{context}. {_STACK}")
        return self._update(request, record, _VERSION_MESSAGE, f"{context}. {_STACK}")

    def delete_version(self, request: Request, pipeline_id: str, version_id: str) -> Response:
        """Delete a version."""
        context = (
            f"Failed to delete a pipeline version id {version_id} under pipeline id {pipeline_id}."
            f" {_STACK}"
        )
        missing_context = (
            f"Failed to delete pipeline version with id {version_id} as it was not found"
        )
        self.get_allowed(pipeline_id, "delete", context)
        self.remove_version(version_id, context, missing_context)
        return Response()

    # -- helpers

    def _to_json(self, item: Pipeline | Version) -> JsonObject:
        return item.to_json(with_name=self._server_version.is_modern)

    def _is_too_long(self, name: str, limit: int) -> bool:
        return self._server_version.limits_names and len(name.encode()) > limit

    def _read_names(self, query: Mapping[str, str], file_name: str) -> tuple[str, str]:
        """Return the name and the display name of an upload (buildPipelineName, 2.5.0 and 2.14.3).

        Servers before 2.14 read only `name`.
        """
        display_name = ""
        if self._server_version.is_modern:
            display_name = query.get("display_name", "")
        name = query.get("name") or display_name or file_name
        return name, display_name or name

    def _parse_tags(self, query: Mapping[str, str]) -> Tags:
        """Return the tags of an upload, which are not checked yet. There are none before 2.17."""
        return parse_tags(query.get("tags", "")) if self._server_version.has_tags else {}

    def _check_can_update(self) -> None:
        """Refuse PATCH before 2.17, as the HTTP gateway does."""
        if not self._server_version.has_tags:
            raise GatewayError(UNIMPLEMENTED, "Method Not Allowed")

    def _update(
        self,
        request: Request,
        record: Pipeline | Version,
        fields: Sequence[str],
        context: str,
    ) -> Response:
        """Replace the display name if the body has one, and all tags if the body has tags."""
        body = read_body(request, fields)
        display_name = read_text(body, "display_name")
        tags = read_tags(body.get("tags"))
        try:
            check_tags(tags)
        except KfpError as error:
            raise error.within(context) from None
        if tags or clears_tags(request.body):
            record.tags = tags
        record.display_name = display_name or record.display_name
        return Response(body=self._to_json(record))


def _parse_spec(text: str, summary: str) -> Spec:
    try:
        return stored_spec(parse_spec_file(text))
    except KfpError as error:
        raise error.within(f"{summary} due to template creation error") from None


def _upload_status(error: KfpError) -> int:
    """Return the HTTP status for an error after the file of an upload was read."""
    return 409 if error.status == 409 else 500


def _list_page(
    items: Sequence[T], query: Mapping[str, str], listable: lists.Listable, summary: str
) -> tuple[list[T], int, str]:
    try:
        return lists.list_page(items, query, listable)
    except KfpError as error:
        options = (
            f"pageToken: {query.get('page_token', '')}, pageSize: {query.get('page_size', '')},"
            f" sortBy: {query.get('sort_by', '')}, filter: {query.get('filter', '')}"
        )
        raise error.within(f"{summary} due invalid list options: {options}") from None
