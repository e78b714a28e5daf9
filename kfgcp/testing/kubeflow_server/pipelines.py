"""Pipelines and their versions: `/apis/v2beta1/pipelines`.

Uploads answer errors in a form of their own, and every one but a name that is taken with 500: so does the server's
source. Versions that are fetched from an address (`package_url`) are not supported.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.spec.load import Spec
from kfgcp.testing.kubeflow_server import lists
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.errors import UNIMPLEMENTED, KfpError, exists, invalid, not_found
from kfgcp.testing.kubeflow_server.messages import body_of, query_of, stamp, text_of, without_empty
from kfgcp.testing.kubeflow_server.uploads import MAX_SPEC_BYTES, document_of, spec_of_text, uploaded
from kfgcp.testing.server import Request, Response, Route

_SHARED: Final[lists.Fields] = {
    **dict.fromkeys(("name", "display_name"), lambda item: item.name),
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
    "pipeline_id": lambda item: item.pipeline,
}


@dataclass(eq=False, slots=True)
class Pipeline:
    """created: Unix time in seconds."""

    id: str
    name: str
    namespace: str
    description: str
    created: int

    def view(self) -> Mapping[str, Any]:
        return without_empty(
            {
                "pipeline_id": self.id,
                "display_name": self.name,
                "name": self.name,
                "description": self.description,
                "created_at": stamp(self.created),
                "namespace": self.namespace,
            }
        )


@dataclass(eq=False, slots=True)
class Version:
    """A version. pipeline: the id of its pipeline. number: its place in the order of creation."""

    id: str
    pipeline: str
    name: str
    description: str
    created: int
    number: int
    spec: Spec

    @property
    def reference(self) -> dict[str, str]:
        return {"pipeline_id": self.pipeline, "pipeline_version_id": self.id}

    def view(self) -> Mapping[str, Any]:
        return without_empty(
            {
                **self.reference,
                "display_name": self.name,
                "name": self.name,
                "description": self.description,
                "created_at": stamp(self.created),
                "pipeline_spec": document_of(self.spec),
            }
        )


class Pipelines:
    """The pipelines of a server. max_spec_bytes: longer files are refused."""

    def __init__(self, access: Access) -> None:
        self.max_spec_bytes = MAX_SPEC_BYTES
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
        ]

    # -- uploads

    def upload(self, request: Request) -> Response:
        query = query_of(request)
        namespace = self._access.place(query.get("namespace", ""))
        try:
            file, text = uploaded(request, self.max_spec_bytes)
            self._access.check(
                namespace, "create", "pipelines", "Failed to create a pipeline due to authorization error", shared=True
            )
        except KfpError as error:
            return error.upload_response(400)
        around = "Failed to create a pipeline and a pipeline version"
        name = query.get("name") or query.get("display_name") or file
        try:
            spec = spec_of_text(text)
            with self._lock:
                made = self._add(name, namespace, query.get("description", ""))
                self._add_version(made.id, name, query.get("description", ""), spec)
        except KfpError as error:
            return error.within(around).upload_response(409 if error.status == 409 else 500)
        return Response(body=made.view())

    def upload_version(self, request: Request) -> Response:
        query = query_of(request)
        around, pipeline = "Failed to create a pipeline version", query.get("pipelineid", "")
        try:
            file, text = uploaded(request, self.max_spec_bytes)
            if not pipeline:
                raise KfpError(3, f"{around} due to error reading pipeline id")
            self._allowed(pipeline, "create", f"{around} due to error reading namespace")
        except KfpError as error:
            return error.upload_response(400)
        name = query.get("name") or query.get("display_name") or file
        try:
            made = self._add_version(pipeline, name, query.get("description", ""), spec_of_text(text))
        except KfpError as error:
            return error.within(around).upload_response(409 if error.status == 409 else 500)
        return Response(body=made.view())

    def from_address(self, request: Request, pipeline: str = "") -> Response:
        raise KfpError(UNIMPLEMENTED, "The stand-in fetches nothing: upload the file instead of naming a package_url")

    # -- pipelines

    def create(self, request: Request) -> Response:
        body = body_of(request, ("pipeline_id", "display_name", "name", "description", "namespace", "tags"))
        name, around = text_of(body, "name") or text_of(body, "display_name"), "Failed to create a pipeline"
        namespace = self._access.place(text_of(body, "namespace"))
        if not name:
            raise invalid("pipeline's name cannot be empty", around)
        self._access.check(namespace, "create", "pipelines", around, shared=True)
        return Response(body=self._add(name, namespace, text_of(body, "description")).view())

    def get(self, request: Request, pipeline: str) -> Response:
        return Response(body=self._allowed(pipeline, "get", "Failed to get a pipeline").view())

    def get_by_name(self, request: Request, name: str) -> Response:
        namespace = self._access.place(query_of(request).get("namespace", ""))
        around = "Failed to fetch pipeline by name and namespace"
        self._access.check(namespace, "get", "pipelines", around, shared=True)
        found = (item for item in self._all() if (item.name, item.namespace) == (name, namespace))
        pipeline = next(found, None)
        if pipeline is None:
            raise not_found("Pipeline", name, around)
        return Response(body=pipeline.view())

    def list_all(self, request: Request) -> Response:
        query = query_of(request)
        namespace = self._access.place(query.get("namespace", ""))
        self._access.check(namespace, "list", "pipelines", "Failed to list pipelines", shared=True)
        items = [item for item in self._all() if item.namespace == namespace]
        found, total, token = lists.listed(items, query, _FIELDS, lambda item: item.id)
        return Response(body=lists.answer("pipelines", [item.view() for item in found], total, token))

    def delete(self, request: Request, pipeline: str) -> Response:
        around = f"Failed to delete pipeline {pipeline}"
        self._allowed(pipeline, "delete", around)
        with self._lock:
            versions = self._of(pipeline)
            if versions and query_of(request).get("cascade", "").lower() != "true":
                raise invalid(f"pipeline {pipeline} has pipeline versions, delete them first", around)
            for version in versions:
                del self._versions[version.id]
            self._pipelines.pop(pipeline, None)
        return Response()

    # -- versions

    def list_versions(self, request: Request, pipeline: str) -> Response:
        self._allowed(pipeline, "list", "Failed to list pipeline versions")
        found, total, token = lists.listed(self._of(pipeline), query_of(request), _VERSION_FIELDS, lambda item: item.id)
        return Response(body=lists.answer("pipeline_versions", [item.view() for item in found], total, token))

    def get_version(self, request: Request, pipeline: str, version: str) -> Response:
        around = "Failed to get a pipeline version"
        self._allowed(pipeline, "get", around)
        return Response(body=self._version(version, around).view())

    def delete_version(self, request: Request, pipeline: str, version: str) -> Response:
        around = f"Failed to delete a pipeline version {version}"
        self._allowed(pipeline, "delete", around)
        with self._lock:
            self._version(version, around)
            del self._versions[version]
        return Response()

    # -- for runs

    def referred(self, reference: Mapping[str, Any]) -> Version:
        """The version of a `pipeline_version_reference`; without a version the newest of the pipeline.

        Raises:
            KfpError: INVALID or NOT_FOUND.
        """
        pipeline, version = reference.get("pipeline_id") or "", reference.get("pipeline_version_id") or ""
        if version:
            found = self._version(version, "Failed to fetch a pipeline version and its manifest")
            if pipeline not in ("", found.pipeline):
                raise invalid(f"Pipeline version {version} belongs to pipeline {found.pipeline} (not {pipeline})")
            return found
        versions = self._of(pipeline)
        if not versions:
            raise not_found("PipelineVersion", pipeline, f"Failed to get the latest pipeline version of {pipeline}")
        return max(versions, key=lambda item: item.number)

    def namespace(self, reference: Mapping[str, Any]) -> str | None:
        """Where the pipeline of a reference is, None when there is none."""
        version = self._versions.get(reference.get("pipeline_version_id") or "")
        pipeline = self._pipelines.get(version.pipeline if version else reference.get("pipeline_id") or "")
        return pipeline.namespace if pipeline else None

    # -- helpers

    def _all(self) -> list[Pipeline]:
        with self._lock:
            return list(self._pipelines.values())

    def _of(self, pipeline: str) -> list[Version]:
        with self._lock:
            return [version for version in self._versions.values() if version.pipeline == pipeline]

    def _allowed(self, pipeline: str, verb: str, *around: str) -> Pipeline:
        found = self._pipelines.get(pipeline)
        if found is None:
            raise not_found("Pipeline", pipeline, *around)
        self._access.check(found.namespace, verb, "pipelines", *around, shared=True)
        return found

    def _version(self, version: str, *around: str) -> Version:
        if version not in self._versions:
            raise not_found("PipelineVersion", version, *around)
        return self._versions[version]

    def _add(self, name: str, namespace: str, description: str) -> Pipeline:
        with self._lock:
            if any((item.name.lower(), item.namespace) == (name.lower(), namespace) for item in self._all()):
                raise exists(
                    f"Failed to create a new pipeline. The name {name} already exists. Please specify a new name"
                )
            made = Pipeline(str(uuid.uuid4()), name, namespace, description, int(time.time()))
            self._pipelines[made.id] = made
            return made

    def _add_version(self, pipeline: str, name: str, description: str, spec: Spec) -> Version:
        with self._lock:
            if any(item.name.lower() == name.lower() for item in self._of(pipeline)):
                raise exists(
                    f"Failed to create a new pipeline version. The name {name} already exists. Specify a new name"
                )
            self._count += 1
            made = Version(str(uuid.uuid4()), pipeline, name, description, int(time.time()), self._count, spec)
            self._versions[made.id] = made
            return made
