"""The pipelines and versions that the server keeps.

- Names are compared without regard to case and trailing spaces, as MySQL and MariaDB compare text.
- Since 2.17 pipelines and versions have tags (see `pipeline_tags`). Since 2.14 they have a `name`:
  the recordings in api-2.5.0 have only display_name.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec
from kfgcp.testing.kubeflow_server.access import Access
from kfgcp.testing.kubeflow_server.creation import Creation
from kfgcp.testing.kubeflow_server.errors import (
    already_exists,
    invalid_input,
    not_found,
)
from kfgcp.testing.kubeflow_server.messages import drop_empty, format_time
from kfgcp.testing.kubeflow_server.pipeline_tags import Tags
from kfgcp.testing.kubeflow_server.uploads import format_spec


@dataclass(eq=False, slots=True)
class Pipeline:
    """A pipeline.

    Attributes:
        created: Unix time in seconds.
    """

    id: str
    name: str
    display_name: str
    namespace: str
    description: str
    created: int
    tags: Tags

    def to_json(self, *, with_name: bool) -> JsonObject:
        """Return the pipeline as JSON."""
        return drop_empty(
            {
                "pipeline_id": self.id,
                "display_name": self.display_name,
                "name": self.name if with_name else "",
                "description": self.description,
                "created_at": format_time(self.created),
                "namespace": self.namespace,
                "tags": self.tags,
            }
        )


@dataclass(eq=False, slots=True)
class Version:
    """A version of a pipeline.

    Attributes:
        pipeline_id: the id of its pipeline.
        created: Unix time in seconds.
        number: its place in the order of creation, over all pipelines.
    """

    id: str
    pipeline_id: str
    name: str
    display_name: str
    description: str
    created: int
    number: int
    spec: Spec
    tags: Tags

    @property
    def reference(self) -> dict[str, str]:
        """The value of `pipeline_version_reference` in a run of this version."""
        return {"pipeline_id": self.pipeline_id, "pipeline_version_id": self.id}

    def to_json(self, *, with_name: bool) -> JsonObject:
        """Return the version as JSON."""
        return drop_empty(
            {
                **self.reference,
                "display_name": self.display_name,
                "name": self.name if with_name else "",
                "description": self.description,
                "created_at": format_time(self.created),
                "pipeline_spec": format_spec(self.spec),
                "tags": self.tags,
            }
        )


class PipelineStore:
    """The pipelines of a server.

    Args:
        access: who may do what.
        creation: gives ids and times, and the version of the server.
    """

    def __init__(self, access: Access, creation: Creation) -> None:
        self._access = access
        self._creation = creation
        self._pipelines_by_id: dict[str, Pipeline] = {}
        self._versions_by_id: dict[str, Version] = {}
        self._count = 0
        # An upload holds the lock while it calls two methods that take it, so it must be reentrant.
        self._lock = threading.RLock()

    def all(self) -> list[Pipeline]:
        """Return the pipelines, the oldest first."""
        with self._lock:
            return list(self._pipelines_by_id.values())

    def get_versions(self, pipeline_id: str) -> list[Version]:
        """Return the versions of a pipeline, the oldest first."""
        with self._lock:
            versions = list(self._versions_by_id.values())
        return [version for version in versions if version.pipeline_id == pipeline_id]

    def get_allowed(self, pipeline_id: str, verb: str, *contexts: str) -> Pipeline:
        """Return a pipeline if it exists and the caller may use it.

        Raises:
            KfpError: NOT_FOUND or PERMISSION_DENIED.
        """
        pipeline = self._pipelines_by_id.get(pipeline_id)
        if pipeline is None:
            raise not_found("Pipeline", pipeline_id, *contexts)
        self._access.check(pipeline.namespace, verb, "pipelines", *contexts, shared=True)
        return pipeline

    def get_version_record(self, version_id: str, *contexts: str) -> Version:
        """Return a version, whether the caller may use it or not.

        Raises:
            KfpError: NOT_FOUND.
        """
        version = self._versions_by_id.get(version_id)
        if version is None:
            raise not_found("PipelineVersion", version_id, *contexts)
        return version

    def find_namespace(self, reference: JsonObject) -> str | None:
        """Return the namespace of the pipeline that a reference names.

        Returns:
            None if the pipeline does not exist.
        """
        version = self._versions_by_id.get(reference.get("pipeline_version_id") or "")
        pipeline_id = reference.get("pipeline_id") or ""
        if version is not None:
            pipeline_id = version.pipeline_id
        pipeline = self._pipelines_by_id.get(pipeline_id)
        return pipeline.namespace if pipeline else None

    def find_referenced_version(self, reference: JsonObject) -> Version:
        """Return the version that a `pipeline_version_reference` names.

        A reference without a version means the newest version of the pipeline.

        Raises:
            KfpError: INVALID or NOT_FOUND.
        """
        pipeline_id = reference.get("pipeline_id") or ""
        version_id = reference.get("pipeline_version_id") or ""
        context = "Failed to fetch a template due to error retrieving pipeline version"
        step = "Failed to fetch a pipeline version and its manifest from"
        if version_id:
            version = self.get_version_record(
                version_id,
                context,
                f"{step} pipeline version {version_id}",
                f"Failed to get a pipeline version with id {version_id}",
            )
            if pipeline_id not in ("", version.pipeline_id):
                message = (
                    f"Pipeline version {version_id} belongs to pipeline {version.pipeline_id} (not"
                    f" {pipeline_id})"
                )
                raise invalid_input(message, context)
            return version
        versions = self.get_versions(pipeline_id)
        if not versions:
            raise not_found(
                "PipelineVersion",
                pipeline_id,
                context,
                f"{step} pipeline {pipeline_id}",
                f"Failed to get the latest pipeline version with pipeline id {pipeline_id}",
            )
        return find_newest(versions)

    def add_pipeline(
        self,
        name: str,
        display_name: str,
        namespace: str,
        description: str,
        tags: Tags,
        *contexts: str,
    ) -> Pipeline:
        """Add a pipeline without a version.

        Raises:
            KfpError: ALREADY_EXISTS.
        """
        with self._lock:
            for other in self.all():
                if other.namespace == namespace and is_same_name(other.name, name):
                    message = (
                        f"Failed to create a new pipeline. The name {name} already exists. Please"
                        " specify a new name"
                    )
                    raise already_exists(message, *contexts)
            pipeline = Pipeline(
                id=self._creation.new_id(),
                name=name,
                display_name=display_name,
                namespace=namespace,
                description=description,
                created=self._creation.now(),
                tags=tags,
            )
            self._pipelines_by_id[pipeline.id] = pipeline
            return pipeline

    def add_version(
        self,
        pipeline_id: str,
        name: str,
        display_name: str,
        description: str,
        spec: Spec,
        tags: Tags,
    ) -> Version:
        """Add a version to a pipeline.

        Raises:
            KfpError: ALREADY_EXISTS.
        """
        with self._lock:
            for other in self.get_versions(pipeline_id):
                if is_same_name(other.name, name):
                    message = (
                        f"Failed to create a new pipeline version. The name {name} already exist."
                        " Specify a new name"
                    )
                    raise already_exists(
                        message, "Failed to create pipeline version in PipelineStore"
                    )
            self._count += 1
            version = Version(
                id=self._creation.new_id(),
                pipeline_id=pipeline_id,
                name=name,
                display_name=display_name,
                description=description,
                created=self._creation.now(),
                number=self._count,
                spec=spec,
                tags=tags,
            )
            self._versions_by_id[version.id] = version
            return version

    def remove_version(self, version_id: str, *contexts: str) -> None:
        """Remove a version.

        Raises:
            KfpError: NOT_FOUND.
        """
        with self._lock:
            self.get_version_record(version_id, *contexts)
            del self._versions_by_id[version_id]

    def remove_pipeline(self, pipeline_id: str, context: str, *, with_versions: bool) -> None:
        """Remove a pipeline.

        Args:
            pipeline_id: the id of the pipeline.
            context: what the server was doing, for errors.
            with_versions: whether to remove its versions too.

        Raises:
            KfpError: INVALID, the pipeline has versions and `with_versions` is false.
        """
        with self._lock:
            versions = self.get_versions(pipeline_id)
            if versions and not with_versions:
                newest = find_newest(versions)
                raise invalid_input(
                    f"Failed to delete pipeline with id {pipeline_id} as it has existing pipeline"
                    f" versions (e.g. {newest.id}). Set cascade=true to delete all versions",
                    context,
                )
            for version in versions:
                del self._versions_by_id[version.id]
            self._pipelines_by_id.pop(pipeline_id, None)


def find_newest(versions: list[Version]) -> Version:
    """Return the version that was created last."""
    return max(versions, key=lambda version: version.number)


def is_same_name(one: str, other: str) -> bool:
    """Return whether two names are equal for MySQL and MariaDB."""
    return one.rstrip(" ").lower() == other.rstrip(" ").lower()
